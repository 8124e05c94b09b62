// Ways over the edge of a module, many at a time: calls of the host, calls within, growth. It has no main.
__attribute__((import_module("bench"), import_name("add"))) int add(int a, int b);

__attribute__((noinline)) static int within(int a, int b) {
	__asm__ volatile(""); // a call that is not there would cost nothing
	return a + b;
}

__attribute__((export_name("host"))) int host(int n) {
	int sum = 0;
	for (int i = 0; i < n; i++) sum = add(sum, i);
	return sum;
}

__attribute__((export_name("guest"))) int guest(int n) {
	int sum = 0;
	for (int i = 0; i < n; i++) sum = within(sum, i);
	return sum;
}

__attribute__((export_name("plus"))) int plus(int a, int b) { return a + b; }

// grow adds n pages, one by one; how many it got.
__attribute__((export_name("grow"))) int grow(int n) {
	int got = 0;
	while (got < n && __builtin_wasm_memory_grow(0, 1) != (unsigned long)-1) got++;
	return got;
}
