// A plug-in that calls functions of the application. Built by
//
//	clang --target=wasm32 -O1 -nostdlib -c -o hosts.o hosts.c
//	wasm-ld --no-entry --strip-debug -o hosts.wasm hosts.o
//
// In two steps, since clang drops the names of functions when it optimises and links at once.
#define EXPORT(name) __attribute__((export_name(#name), noinline))
#define IMPORT(name) __attribute__((import_module("app"), import_name(#name)))

// Functions of the application.
IMPORT(price) int price(int item);                               // by value
IMPORT(lookup) int lookup(const char *key, int n, char *to, int room); // with memory ranges
IMPORT(scale) void scale(double *numbers, int count);            // with memory ranges, read and written
IMPORT(save) void save(const char *what, int n);                 // pinned

static char buffer[1 << 16];
static double numbers[8] = {1, 2, 3, 4, 5, 6, 7, 8};

// room is where the application can put what it gives to the plug-in.
EXPORT(room) char *room(void) { return buffer; }

// total adds up the prices of items.
EXPORT(total) int total(int items) {
	int sum = 0;
	for (int i = 1; i <= items; i++)
		sum += price(i);
	return sum;
}

// find looks up the key in the first n bytes of the room; the answer is left behind it.
EXPORT(find) int find(int n, int space) { return lookup(buffer, n, buffer + n, space); }

// mean has the numbers scaled and returns their mean.
EXPORT(mean) double mean(int count) {
	double sum = 0;
	scale(numbers, count);
	for (int i = 0; i < count; i++)
		sum += numbers[i];
	return sum / count;
}

// far looks up a key that is not in the memory.
EXPORT(far) int far(void) {
	buffer[0] = 1;
	return lookup((const char *)0x7fffff00, 16, buffer, 16);
}

// big looks up a key of n bytes, which may be all of the memory.
EXPORT(big) int big(int n) { return lookup((const char *)0, n, buffer, 16); }

// grow makes the memory larger by so many pages of 64 KiB.
EXPORT(grow) int grow(int pages) { return (int)__builtin_wasm_memory_grow(0, (unsigned long)pages); }

// overlap has a range that is read and one that is written at almost the same place.
EXPORT(overlap) unsigned overlap(int n) {
	unsigned h = 2166136261u;
	for (int i = 0; i <= n; i++)
		buffer[i] = (char)('a' + i);
	lookup(buffer, n, buffer + 1, n);
	for (int i = 0; i <= n; i++)
		h = (h ^ (unsigned char)buffer[i]) * 16777619u;
	return h;
}

// keep hands n bytes of the room to the application, after some work.
EXPORT(keep) void keep(int n) {
	for (int i = 0; i < n; i++)
		buffer[i] ^= 1;
	save(buffer, n);
}
