//go:build wasmtime && cgo && linux && (amd64 || arm64)

#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "glue.h"
#include "_cgo_export.h"

// Stacks. Guests run on the stacks of Go's threads, which get the C library's default size: it is raised before the first
// of them is made. It is address space; what is not touched costs nothing. The first thread's stack is another's
// affair, and no guest runs there.

__attribute__((constructor)) static void prepare(void) {
	pthread_attr_t attr;
	size_t size;
	// The library would look up its own frames for each error, if somebody debugs a program of Rust in this environment.
	setenv("RUST_LIB_BACKTRACE", "0", 1);
	if (pthread_getattr_default_np(&attr) != 0)
		return;
	if (pthread_attr_getstacksize(&attr, &size) == 0 && size < CC_THREAD_STACK &&
		pthread_attr_setstacksize(&attr, CC_THREAD_STACK) == 0)
		pthread_setattr_default_np(&attr);
	pthread_attr_destroy(&attr);
}

// roomy tells whether this thread has room for a guest: another group may have used much of its stack.
static bool roomy(void) {
	static _Thread_local int known; // 1: its stack is large, 2: it is not
	static _Thread_local uintptr_t lowest;
	if (known == 0) {
		pthread_attr_t attr;
		void *from;
		size_t size = 0;
		known = 2;
		if (syscall(SYS_gettid) != getpid() && pthread_getattr_np(pthread_self(), &attr) == 0) {
			if (pthread_attr_getstack(&attr, &from, &size) == 0 && size >= CC_THREAD_STACK) {
				known = 1;
				lowest = (uintptr_t)from;
			}
			pthread_attr_destroy(&attr);
		}
	}
	return known == 1 && (uintptr_t)__builtin_frame_address(0) - lowest >= CC_WASM_STACK + CC_HOST_STACK;
}

// Endings.

static void take(cc_text *out, wasm_byte_vec_t *v) {
	out->data = malloc(v->size + 1);
	out->size = 0;
	if (out->data != NULL) {
		memcpy(out->data, v->data, v->size);
		out->size = v->size;
	}
	wasm_byte_vec_delete(v);
}

// depth counts the calls that are active on this thread; inner is the trap of one of them, for a host function that may
// pass it on: a new one would cost a walk over all frames of all calls.
static _Thread_local int depth;
static _Thread_local wasm_trap_t *inner;

// enter begins a call. The engine sets a group's limit of stack at the first of its calls that are active, and for its
// thread: the others must be on that one, and need not look.
static int enter(cc_run *run, bool *first) {
	*first = run->thread == NULL;
	if (!*first && run->thread != &depth)
		return CC_ELSEWHERE;
	if (*first && !roomy())
		return CC_THREAD;
	run->thread = &depth;
	depth++;
	return CC_OK;
}

static void leave(cc_run *run, bool first) {
	if (first)
		run->thread = NULL;
	if (--depth == 0 && inner != NULL) {
		wasm_trap_delete(inner);
		inner = NULL;
	}
}

static void keep(wasm_trap_t *trap) {
	if (inner != NULL)
		wasm_trap_delete(inner);
	inner = trap;
}

static int ended(wasmtime_error_t *error, wasm_trap_t *trap, cc_text *out) {
	wasm_byte_vec_t v;
	uint8_t code;
	out->data = NULL;
	out->size = 0;
	if (error != NULL) {
		wasmtime_error_message(error, &v);
		wasmtime_error_delete(error);
		take(out, &v);
		return CC_ERROR;
	}
	if (trap != NULL) {
		out->code = wasmtime_trap_code(trap, &code) ? code : -1;
		// The text of one that has a code is a line for each frame, of which there may be millions.
		if (out->code < 0) {
			wasm_trap_message(trap, &v);
			take(out, &v);
		}
		keep(trap);
		return CC_TRAP;
	}
	return CC_OK;
}

// Memories.

// making is the instance that this thread makes now, whose memory the engine will ask for.
static _Thread_local struct {
	uint64_t group;
	uint32_t index;
	bool wanted;
	uint64_t pages, max_pages;
} making;

static uint8_t *linear_get(void *env, size_t *size, size_t *capacity) {
	cc_linear *l = env;
	*size = l->size;
	*capacity = l->capacity;
	return l->base;
}

static wasmtime_error_t *linear_grow(void *env, size_t size) {
	cc_linear *l = env;
	if (size <= l->size)
		return NULL;
	if (size > l->capacity)
		return wasmtime_error_new("memory is at its maximum");
	if (l->group != 0) {
		if (!ccGrowMemory(l->group, l->index, size))
			return wasmtime_error_new("memory may not grow further here");
	} else if (size > l->most) {
		return wasmtime_error_new("memory is at its limit");
	} else if (mprotect(l->base + l->size, size - l->size, PROT_READ | PROT_WRITE) != 0) {
		return wasmtime_error_new("no memory");
	}
	l->size = size;
	return NULL;
}

// own_free releases one of the engine's own; Go's are released there.
static void linear_free(void *env) { free(env); }

static void own_free(void *env) {
	cc_linear *l = env;
	munmap(l->base, l->capacity + CC_GUARD);
	free(l);
}

static wasmtime_error_t *new_memory(void *env, const wasm_memorytype_t *ty, size_t minimum, size_t maximum, size_t reserved,
	size_t guard, wasmtime_linear_memory_t *out) {
	uint64_t max_pages = UINT64_MAX;
	bool limited = wasmtime_memorytype_maximum(ty, &max_pages);
	cc_linear *l = calloc(1, sizeof *l);
	if (l == NULL || guard > CC_GUARD) {
		free(l);
		return wasmtime_error_new("no memory");
	}
	out->env = l;
	out->get_memory = linear_get;
	out->grow_memory = linear_grow;
	if (making.wanted && wasmtime_memorytype_minimum(ty) == making.pages && (limited ? max_pages : UINT64_MAX) == making.max_pages) {
		making.wanted = false;
		l->group = making.group;
		l->index = making.index;
		out->finalizer = linear_free;
		if (!ccNewMemory(l->group, l->index, minimum, maximum, l)) {
			free(l);
			return wasmtime_error_new("memory was refused");
		}
		return NULL;
	}
	l->capacity = reserved > minimum ? reserved : minimum;
	l->size = minimum;
	l->most = *(size_t *)env;
	out->finalizer = own_free;
	l->base = mmap(NULL, l->capacity + CC_GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (l->base == MAP_FAILED) {
		free(l);
		return wasmtime_error_new("no memory");
	}
	if (minimum > 0 && mprotect(l->base, minimum, PROT_READ | PROT_WRITE) != 0) {
		own_free(l);
		return wasmtime_error_new("no memory");
	}
	return NULL;
}

bool cc_memory_grow(wasmtime_context_t *ctx, const wasmtime_memory_t *memory, uint64_t pages, uint64_t *old) {
	wasmtime_error_t *error = wasmtime_memory_grow(ctx, memory, pages, old);
	if (error != NULL)
		wasmtime_error_delete(error);
	return error == NULL;
}

// The engine, code.

wasm_engine_t *cc_engine_new(int opt_level, size_t stack, uint64_t reservation, uint64_t guard, size_t heap) {
	size_t *most = malloc(sizeof *most);
	if (most == NULL)
		abort();
	*most = heap;
	wasm_config_t *c = wasm_config_new();
	wasmtime_memory_creator_t creator = {most, new_memory, free};
	wasmtime_config_cranelift_opt_level_set(c, opt_level);
	wasmtime_config_parallel_compilation_set(c, true);
	wasmtime_config_native_unwind_info_set(c, false);
	wasmtime_config_max_wasm_stack_set(c, stack);
	// What the device's engine runs, and no more.
	wasmtime_config_wasm_simd_set(c, true);
	wasmtime_config_wasm_bulk_memory_set(c, true);
	wasmtime_config_wasm_multi_value_set(c, true);
	wasmtime_config_wasm_reference_types_set(c, true);
	wasmtime_config_wasm_function_references_set(c, true);
	wasmtime_config_wasm_tail_call_set(c, true);
	wasmtime_config_wasm_threads_set(c, true);
	wasmtime_config_wasm_exceptions_set(c, true);
	wasmtime_config_wasm_relaxed_simd_set(c, false);
	wasmtime_config_wasm_multi_memory_set(c, false);
	wasmtime_config_wasm_memory64_set(c, false);
	wasmtime_config_wasm_gc_set(c, false);
	wasmtime_config_wasm_wide_arithmetic_set(c, false);
	wasmtime_config_wasm_custom_page_sizes_set(c, false);
	wasmtime_config_memory_may_move_set(c, false);
	wasmtime_config_memory_reservation_set(c, reservation);
	wasmtime_config_memory_guard_size_set(c, guard);
	wasmtime_config_memory_init_cow_set(c, false);
	wasmtime_config_host_memory_creator_set(c, &creator);
	return wasm_engine_new_with_config(c);
}

int cc_compile(wasm_engine_t *engine, const uint8_t *bin, size_t size, wasmtime_module_t **out, cc_text *text) {
	return ended(wasmtime_module_new(engine, bin, size, out), NULL, text);
}

int cc_serialize(wasmtime_module_t *module, wasm_byte_vec_t *out, cc_text *text) {
	return ended(wasmtime_module_serialize(module, out), NULL, text);
}

int cc_load(wasm_engine_t *engine, const char *path, wasmtime_module_t **out, cc_text *text) {
	return ended(wasmtime_module_deserialize_file(engine, path, out), NULL, text);
}

// Instances and calls.

static wasm_trap_t *host_call(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values, size_t slots) {
	cc_import *im = env;
	uint64_t stack[im->slots > 0 ? im->slots : 1];
	uint32_t i;
	for (i = 0; i < im->slots; i++)
		stack[i] = (uint64_t)values[i].i64 & im->mask[i];
	if (!ccHostCall(im->group, im->index, stack, im->slots)) {
		wasm_trap_t *trap = inner != NULL ? inner : wasmtime_trap_new("host", 4);
		inner = NULL;
		return trap;
	}
	for (i = 0; i < im->slots; i++)
		values[i].i64 = (int64_t)stack[i];
	return NULL;
}

static uint8_t kind_of(uint8_t type) {
	switch (type) {
	case 0x7f:
		return CC_I32;
	case 0x7e:
		return CC_I64;
	case 0x7d:
		return CC_F32;
	default:
		return CC_F64;
	}
}

static void types_of(wasm_valtype_vec_t *out, const uint8_t *types, size_t n) {
	wasm_valtype_vec_new_uninitialized(out, n);
	for (size_t i = 0; i < n; i++)
		out->data[i] = wasm_valtype_new(kind_of(types[i]));
}

void cc_import_new(wasmtime_context_t *ctx, uint64_t group, uint32_t index, const uint8_t *params, size_t nparams,
	const uint8_t *results, size_t nresults, wasmtime_extern_t *out) {
	size_t slots = nparams > nresults ? nparams : nresults;
	cc_import *im = calloc(1, sizeof *im + slots * sizeof im->mask[0]);
	wasm_valtype_vec_t p, r;
	if (im == NULL)
		abort();
	im->group = group;
	im->index = index;
	im->slots = slots;
	for (size_t i = 0; i < nparams; i++)
		im->mask[i] = params[i] == 0x7f || params[i] == 0x7d ? UINT32_MAX : UINT64_MAX;
	types_of(&p, params, nparams);
	types_of(&r, results, nresults);
	wasm_functype_t *type = wasm_functype_new(&p, &r);
	out->kind = CC_EXTERN_FUNC;
	wasmtime_func_new_unchecked(ctx, type, host_call, im, free, &out->of.func);
	wasm_functype_delete(type);
}

int cc_instantiate(wasmtime_context_t *ctx, const wasmtime_module_t *module, const wasmtime_extern_t *imports, size_t nimports,
	uint64_t group, uint32_t index, bool heap, uint64_t pages, uint64_t max_pages, wasmtime_instance_t *out, cc_run *run) {
	wasm_trap_t *trap = NULL;
	bool first;
	int how = enter(run, &first);
	if (how != CC_OK)
		return how;
	if (heap) {
		// The engine's heap of exceptions comes from the same creator: it is asked for here, and not among memories.
		wasmtime_externref_t ref;
		if (wasmtime_externref_new(ctx, NULL, NULL, &ref))
			wasmtime_externref_unroot(&ref);
	}
	making.group = group;
	making.index = index;
	making.pages = pages;
	making.max_pages = max_pages;
	making.wanted = pages != UINT64_MAX;
	wasmtime_error_t *error = wasmtime_instance_new(ctx, module, imports, nimports, out, &trap);
	making.wanted = false;
	how = ended(error, trap, &run->text);
	leave(run, first);
	return how;
}

int cc_call(wasmtime_context_t *ctx, void *func, uint64_t store_id, uint64_t *stack, size_t slots, cc_run *run) {
	wasmtime_func_t f = {store_id, func};
	wasmtime_val_raw_t values[slots > 0 ? slots : 1];
	wasm_trap_t *trap = NULL;
	size_t i;
	bool first;
	int how = enter(run, &first);
	if (how != CC_OK)
		return how;
	for (i = 0; i < slots; i++)
		values[i].i64 = (int64_t)stack[i];
	wasmtime_error_t *error = wasmtime_func_call_unchecked(ctx, &f, values, slots, &trap);
	how = ended(error, trap, &run->text);
	leave(run, first);
	if (how == CC_OK)
		for (i = 0; i < slots; i++)
			stack[i] = (uint64_t)values[i].i64;
	return how;
}

// Globals. Another thread may be running the guest: these only follow pointers that stay, and load or store one
// aligned word.

uint64_t cc_global_get(wasmtime_context_t *ctx, const wasmtime_global_t *global) {
	wasmtime_val_t v;
	wasmtime_global_get(ctx, global, &v);
	return v.kind == CC_I32 || v.kind == CC_F32 ? (uint32_t)v.of.i32 : (uint64_t)v.of.i64;
}

void cc_global_set(wasmtime_context_t *ctx, const wasmtime_global_t *global, uint8_t kind, uint64_t value) {
	wasmtime_val_t v;
	memset(&v, 0, sizeof v);
	v.kind = kind_of(kind);
	if (v.kind == CC_I32 || v.kind == CC_F32)
		v.of.i32 = (int32_t)value;
	else
		v.of.i64 = (int64_t)value;
	wasmtime_error_t *error = wasmtime_global_set(ctx, global, &v);
	if (error != NULL)
		abort(); // type and mutability were checked
}
