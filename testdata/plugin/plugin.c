// The plug-in of the examples and tests of this package: a library, without a main function. Built by
//
//	clang --target=wasm32 -O1 -nostdlib -c -o plugin.o plugin.c
//	wasm-ld --no-entry --strip-debug -o plugin.wasm plugin.o
//
// In two steps, since clang drops the names of functions when it optimises and links at once.
#define EXPORT(name) __attribute__((export_name(#name), noinline))

static char buffer[1 << 16];
static int calls;

// initialize runs before anything else.
EXPORT(_initialize) void initialize(void) { calls = 100; }

// count says how often it was called, from 101 on.
EXPORT(count) int count(void) { return ++calls; }

// room is where the application can put what it gives to the plug-in.
EXPORT(room) char *room(void) { return buffer; }

static unsigned step(unsigned h, int n) {
	for (int i = 0; i < n; i++)
		h = (h ^ (unsigned char)buffer[i]) * 16777619u;
	return h;
}

// hash is worth a journey: it goes over the first n bytes of the room, so many rounds.
EXPORT(hash) unsigned hash(int n, int rounds) {
	unsigned h = 2166136261u;
	for (int r = 0; r < rounds; r++)
		h = step(h, n);
	return h;
}

// upper makes the first n bytes of the room upper case, where they are letters.
EXPORT(upper) void upper(int n) {
	for (int i = 0; i < n; i++)
		if (buffer[i] >= 'a' && buffer[i] <= 'z')
			buffer[i] -= 'a' - 'A';
}

static volatile unsigned sink;

// forever does not end.
EXPORT(forever) int forever(void) {
	for (;;)
		sink += step(sink, 1 << 10);
}

// fail traps, after it has written.
EXPORT(fail) int fail(void) {
	calls = 7;
	__builtin_trap();
}

// half gives a number that is no integer.
EXPORT(half) double half(long long n) { return (double)n / 2; }
