// The part of wasmtime's C interface that this package uses, declared here because the headers of the library stand in
// a folder of the module cache that a package of another module cannot name. TestABI holds these declarations against the
// real ones: with CC_REAL_HEADERS they follow those, and the compiler compares.
#ifndef CC_ABI_H
#define CC_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef CC_REAL_HEADERS
typedef struct wasm_config_t wasm_config_t;
typedef struct wasm_engine_t wasm_engine_t;
typedef struct wasm_functype_t wasm_functype_t;
typedef struct wasm_valtype_t wasm_valtype_t;
typedef struct wasm_memorytype_t wasm_memorytype_t;
typedef struct wasm_trap_t wasm_trap_t;
typedef struct wasmtime_error wasmtime_error_t;
typedef struct wasmtime_store wasmtime_store_t;
typedef struct wasmtime_context wasmtime_context_t;
typedef struct wasmtime_module wasmtime_module_t;
typedef struct wasmtime_caller wasmtime_caller_t;

typedef struct wasm_byte_vec_t {
	size_t size;
	char *data;
} wasm_byte_vec_t;

typedef struct wasm_valtype_vec_t {
	size_t size;
	wasm_valtype_t **data;
} wasm_valtype_vec_t;

typedef struct wasmtime_func {
	uint64_t store_id;
	void *__private;
} wasmtime_func_t;

typedef struct wasmtime_table {
	struct {
		uint64_t store_id;
		uint32_t __private1;
	};
	uint32_t __private2;
} wasmtime_table_t;

typedef struct wasmtime_memory {
	struct {
		uint64_t store_id;
		uint32_t __private1;
	};
	uint32_t __private2;
} wasmtime_memory_t;

typedef struct wasmtime_global {
	uint64_t store_id;
	uint32_t __private1;
	uint32_t __private2;
	uint32_t __private3;
} wasmtime_global_t;

typedef union wasmtime_extern_union {
	wasmtime_func_t func;
	wasmtime_global_t global;
	wasmtime_table_t table;
	wasmtime_memory_t memory;
	struct wasmtime_sharedmemory *sharedmemory;
} wasmtime_extern_union_t;

typedef struct wasmtime_extern {
	uint8_t kind;
	wasmtime_extern_union_t of;
} wasmtime_extern_t;

// Only the numbers are of use here; the union is as large as the real one, whose largest members are references.
typedef union wasmtime_valunion {
	int32_t i32;
	int64_t i64;
	wasmtime_func_t funcref;
	struct {
		uint64_t store_id;
		uint32_t __private1, __private2;
		void *__private3;
	} reference;
} wasmtime_valunion_t;

typedef struct wasmtime_val {
	uint8_t kind;
	wasmtime_valunion_t of;
} wasmtime_val_t;

typedef union wasmtime_val_raw {
	int32_t i32;
	int64_t i64;
	uint8_t v128[16];
	void *funcref;
} wasmtime_val_raw_t;

typedef struct wasmtime_externref {
	uint64_t store_id;
	uint32_t __private1;
	uint32_t __private2;
	void *__private3;
} wasmtime_externref_t;

typedef struct wasmtime_instance {
	uint64_t store_id;
	size_t __private;
} wasmtime_instance_t;

typedef struct wasmtime_linear_memory {
	void *env;
	uint8_t *(*get_memory)(void *env, size_t *byte_size, size_t *byte_capacity);
	wasmtime_error_t *(*grow_memory)(void *env, size_t new_size);
	void (*finalizer)(void *);
} wasmtime_linear_memory_t;

typedef struct wasmtime_memory_creator {
	void *env;
	wasmtime_error_t *(*new_memory)(void *env, const wasm_memorytype_t *ty, size_t minimum, size_t maximum,
		size_t reserved_size_in_bytes, size_t guard_size_in_bytes, wasmtime_linear_memory_t *memory_ret);
	void (*finalizer)(void *);
} wasmtime_memory_creator_t;

typedef wasm_trap_t *(*wasmtime_func_unchecked_callback_t)(void *env, wasmtime_caller_t *caller,
	wasmtime_val_raw_t *args_and_results, size_t num_args_and_results);
#endif // CC_REAL_HEADERS

_Static_assert(sizeof(wasm_byte_vec_t) == 16 && offsetof(wasm_byte_vec_t, data) == 8, "wasm_byte_vec_t");
_Static_assert(sizeof(wasm_valtype_vec_t) == 16 && offsetof(wasm_valtype_vec_t, data) == 8, "wasm_valtype_vec_t");
_Static_assert(sizeof(wasmtime_func_t) == 16, "wasmtime_func_t");
_Static_assert(sizeof(wasmtime_table_t) == 24, "wasmtime_table_t");
_Static_assert(sizeof(wasmtime_memory_t) == 24, "wasmtime_memory_t");
_Static_assert(sizeof(wasmtime_global_t) == 24, "wasmtime_global_t");
_Static_assert(sizeof(wasmtime_instance_t) == 16, "wasmtime_instance_t");
_Static_assert(sizeof(wasmtime_externref_t) == 24, "wasmtime_externref_t");
_Static_assert(sizeof(wasmtime_extern_t) == 32 && offsetof(wasmtime_extern_t, of) == 8, "wasmtime_extern_t");
_Static_assert(sizeof(wasmtime_val_t) == 32 && offsetof(wasmtime_val_t, of) == 8, "wasmtime_val_t");
_Static_assert(sizeof(wasmtime_val_raw_t) == 16, "wasmtime_val_raw_t");
_Static_assert(sizeof(wasmtime_linear_memory_t) == 32 && offsetof(wasmtime_linear_memory_t, finalizer) == 24, "wasmtime_linear_memory_t");
_Static_assert(sizeof(wasmtime_memory_creator_t) == 24 && offsetof(wasmtime_memory_creator_t, new_memory) == 8, "wasmtime_memory_creator_t");

// Kinds: of types in wasm_valtype_new and wasmtime_val_t, and of wasmtime_extern_t.
enum { CC_I32, CC_I64, CC_F32, CC_F64 };
enum { CC_EXTERN_FUNC, CC_EXTERN_GLOBAL, CC_EXTERN_TABLE, CC_EXTERN_MEMORY };

wasm_config_t *wasm_config_new(void);
wasm_engine_t *wasm_engine_new_with_config(wasm_config_t *);
void wasm_engine_delete(wasm_engine_t *);
void wasm_byte_vec_delete(wasm_byte_vec_t *);
wasm_valtype_t *wasm_valtype_new(uint8_t kind);
void wasm_valtype_vec_new_uninitialized(wasm_valtype_vec_t *, size_t);
wasm_functype_t *wasm_functype_new(wasm_valtype_vec_t *params, wasm_valtype_vec_t *results);
void wasm_functype_delete(wasm_functype_t *);
void wasm_trap_message(const wasm_trap_t *, wasm_byte_vec_t *);
void wasm_trap_delete(wasm_trap_t *);

void wasmtime_config_max_wasm_stack_set(wasm_config_t *, size_t);
void wasmtime_config_wasm_threads_set(wasm_config_t *, bool);
void wasmtime_config_wasm_tail_call_set(wasm_config_t *, bool);
void wasmtime_config_wasm_reference_types_set(wasm_config_t *, bool);
void wasmtime_config_wasm_function_references_set(wasm_config_t *, bool);
void wasmtime_config_wasm_gc_set(wasm_config_t *, bool);
void wasmtime_config_wasm_simd_set(wasm_config_t *, bool);
void wasmtime_config_wasm_relaxed_simd_set(wasm_config_t *, bool);
void wasmtime_config_wasm_bulk_memory_set(wasm_config_t *, bool);
void wasmtime_config_wasm_multi_value_set(wasm_config_t *, bool);
void wasmtime_config_wasm_multi_memory_set(wasm_config_t *, bool);
void wasmtime_config_wasm_memory64_set(wasm_config_t *, bool);
void wasmtime_config_wasm_wide_arithmetic_set(wasm_config_t *, bool);
void wasmtime_config_wasm_exceptions_set(wasm_config_t *, bool);
void wasmtime_config_wasm_custom_page_sizes_set(wasm_config_t *, bool);
void wasmtime_config_cranelift_opt_level_set(wasm_config_t *, uint8_t);
void wasmtime_config_parallel_compilation_set(wasm_config_t *, bool);
void wasmtime_config_native_unwind_info_set(wasm_config_t *, bool);
void wasmtime_config_memory_may_move_set(wasm_config_t *, bool);
void wasmtime_config_memory_reservation_set(wasm_config_t *, uint64_t);
void wasmtime_config_memory_guard_size_set(wasm_config_t *, uint64_t);
void wasmtime_config_memory_init_cow_set(wasm_config_t *, bool);
void wasmtime_config_host_memory_creator_set(wasm_config_t *, wasmtime_memory_creator_t *);

wasmtime_error_t *wasmtime_error_new(const char *);
void wasmtime_error_message(const wasmtime_error_t *, wasm_byte_vec_t *);
void wasmtime_error_delete(wasmtime_error_t *);
wasm_trap_t *wasmtime_trap_new(const char *, size_t);
bool wasmtime_trap_code(const wasm_trap_t *, uint8_t *);

wasmtime_error_t *wasmtime_module_new(wasm_engine_t *, const uint8_t *, size_t, wasmtime_module_t **);
wasmtime_error_t *wasmtime_module_serialize(wasmtime_module_t *, wasm_byte_vec_t *);
wasmtime_error_t *wasmtime_module_deserialize_file(wasm_engine_t *, const char *, wasmtime_module_t **);
void wasmtime_module_delete(wasmtime_module_t *);

wasmtime_store_t *wasmtime_store_new(wasm_engine_t *, void *, void (*finalizer)(void *));
wasmtime_context_t *wasmtime_store_context(wasmtime_store_t *);
void wasmtime_store_limiter(wasmtime_store_t *, int64_t memory_size, int64_t table_elements, int64_t instances, int64_t tables, int64_t memories);
void wasmtime_store_delete(wasmtime_store_t *);

wasmtime_error_t *wasmtime_instance_new(wasmtime_context_t *, const wasmtime_module_t *, const wasmtime_extern_t *, size_t,
	wasmtime_instance_t *, wasm_trap_t **);
bool wasmtime_instance_export_get(wasmtime_context_t *, const wasmtime_instance_t *, const char *, size_t, wasmtime_extern_t *);
void wasmtime_func_new_unchecked(wasmtime_context_t *, const wasm_functype_t *, wasmtime_func_unchecked_callback_t, void *,
	void (*finalizer)(void *), wasmtime_func_t *);
wasmtime_error_t *wasmtime_func_call_unchecked(wasmtime_context_t *, const wasmtime_func_t *, wasmtime_val_raw_t *, size_t,
	wasm_trap_t **);
void wasmtime_global_get(wasmtime_context_t *, const wasmtime_global_t *, wasmtime_val_t *);
wasmtime_error_t *wasmtime_global_set(wasmtime_context_t *, const wasmtime_global_t *, const wasmtime_val_t *);
wasmtime_error_t *wasmtime_memory_grow(wasmtime_context_t *, const wasmtime_memory_t *, uint64_t, uint64_t *);

bool wasmtime_externref_new(wasmtime_context_t *, void *, void (*finalizer)(void *), wasmtime_externref_t *);
void wasmtime_externref_unroot(wasmtime_externref_t *);

uint64_t wasmtime_memorytype_minimum(const wasm_memorytype_t *);
bool wasmtime_memorytype_maximum(const wasm_memorytype_t *, uint64_t *);

#endif // CC_ABI_H
