// What the Go side calls: one C call for each thing that it wants done, with results in plain integers.
#ifndef CC_GLUE_H
#define CC_GLUE_H

#include "abi.h"

// Guests get CC_WASM_STACK bytes, more than the largest stack of a device's compiler; a thread has some beside it for
// the host, of which CC_HOST_STACK must be left for a guest to begin. A memory is followed by CC_GUARD bytes of nothing.
#define CC_WASM_STACK ((size_t)96 << 20)
#define CC_THREAD_STACK (CC_WASM_STACK + ((size_t)8 << 20))
#define CC_HOST_STACK ((size_t)4 << 20)
#define CC_GUARD ((size_t)32 << 20)

// How something ended.
enum {
	CC_OK,
	CC_TRAP,      // text and code
	CC_ERROR,     // text
	CC_THREAD,    // nothing was done: this thread's stack has no room
	CC_ELSEWHERE, // nothing was done: the group runs on another thread
};

// cc_text is a text of the engine's, to be released with free.
typedef struct cc_text {
	char *data;
	size_t size;
	int code; // of the trap, -1: it has none
} cc_text;

// cc_run is what a group's calls share.
typedef struct cc_run {
	cc_text text;       // of the call that ended last
	const void *thread; // that the group runs on; NULL: it does not run
} cc_run;

// cc_import is a host function of one instance. group and index name it on the Go side.
typedef struct cc_import {
	uint64_t group;
	uint32_t index, slots;
	uint64_t mask[]; // of each parameter: which of its slot's bits are its own
} cc_import;

// cc_linear is the memory that an instance defines: linmem's, or, for what the engine wants for itself, one of its own.
typedef struct cc_linear {
	uint64_t group; // 0: of its own
	uint32_t index;
	uint8_t *base;
	size_t size, capacity;
	size_t most; // that one of its own may grow to
} cc_linear;

// cc_engine_new makes an engine, each of whose stores may have heap bytes beside its memories.
wasm_engine_t *cc_engine_new(int opt_level, size_t stack, uint64_t reservation, uint64_t guard, size_t heap);
int cc_compile(wasm_engine_t *, const uint8_t *bin, size_t size, wasmtime_module_t **, cc_text *);
int cc_serialize(wasmtime_module_t *, wasm_byte_vec_t *, cc_text *);
int cc_load(wasm_engine_t *, const char *path, wasmtime_module_t **, cc_text *);

// cc_import_new makes a host function. params and results are value types in binary form.
void cc_import_new(wasmtime_context_t *, uint64_t group, uint32_t index, const uint8_t *params, size_t nparams,
	const uint8_t *results, size_t nresults, wasmtime_extern_t *);
// cc_instantiate makes the memory with the limits given, of those that the engine asks for, through ccNewMemory(group, index);
// pages is UINT64_MAX if there is none. heap says that the engine may want memory for itself.
int cc_instantiate(wasmtime_context_t *, const wasmtime_module_t *, const wasmtime_extern_t *imports, size_t nimports,
	uint64_t group, uint32_t index, bool heap, uint64_t pages, uint64_t max_pages, wasmtime_instance_t *, cc_run *);
int cc_call(wasmtime_context_t *, void *func, uint64_t store_id, uint64_t *stack, size_t slots, cc_run *);
uint64_t cc_global_get(wasmtime_context_t *, const wasmtime_global_t *);
void cc_global_set(wasmtime_context_t *, const wasmtime_global_t *, uint8_t kind, uint64_t);
bool cc_memory_grow(wasmtime_context_t *, const wasmtime_memory_t *, uint64_t pages, uint64_t *old);

#endif // CC_GLUE_H
