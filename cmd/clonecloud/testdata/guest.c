// The guest of this package's tests: what it does is its first argument. Built by
//
//	clang --target=wasm32-wasi -O1 -c -o guest.o guest.c
//	clang --target=wasm32-wasi -Wl,--strip-debug -o guest.wasm guest.o
//
// In two steps, since clang drops the names of functions when it optimises and links at once.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile unsigned sink;

__attribute__((noinline)) int work(int n) {
	unsigned h = 2166136261u;
	for (int i = 0; i < n; i++)
		for (int k = 0; k < 1000; k++)
			h = (h ^ (unsigned)(i + k)) * 16777619u;
	return (int)(h >> 1);
}

__attribute__((noinline)) int forever(int n) {
	for (;;)
		sink += (unsigned)work(n);
}

__attribute__((noinline)) unsigned deep(unsigned n) {
	unsigned r = deep(n + 1);
	sink += r; // so that the call is no loop
	return r ^ n;
}

static void *volatile last;

__attribute__((noinline)) int hoard(void) {
	for (;;) {
		last = malloc(1 << 20);
		if (!last) {
			fputs("out of memory\n", stderr);
			return 3;
		}
	}
}

static int cat(void) {
	char buf[4096];
	ssize_t n;
	while ((n = read(0, buf, sizeof buf)) > 0)
		for (ssize_t at = 0; at < n;) {
			ssize_t w = write(1, buf + at, (size_t)(n - at));
			if (w < 0) {
				perror("write");
				return 4;
			}
			at += w;
		}
	return n < 0 ? 5 : 0;
}

__attribute__((export_name("add"))) int add(int a, int b) { return a + b; }
__attribute__((export_name("half"))) double half(double x) { return x / 2; }
__attribute__((export_name("big"))) int64_t big(int64_t x) { return x * 2; }
__attribute__((export_name("quiet"))) void quiet(void) {}

int main(int argc, char **argv) {
	const char *what = argc > 1 ? argv[1] : "";
	if (!strcmp(what, "exit"))
		exit(atoi(argv[2]));
	if (!strcmp(what, "args"))
		for (int i = 0; i < argc; i++)
			puts(argv[i]);
	else if (!strcmp(what, "env"))
		puts(getenv(argv[2]) ? getenv(argv[2]) : "(unset)");
	else if (!strcmp(what, "cat"))
		return cat();
	else if (!strcmp(what, "tty"))
		printf("%d\n", isatty(0));
	else if (!strcmp(what, "work"))
		printf("%d\n", work(atoi(argv[2])));
	else if (!strcmp(what, "trap"))
		__builtin_trap();
	else if (!strcmp(what, "deep"))
		return (int)deep((unsigned)argc) & 1;
	else if (!strcmp(what, "forever")) {
		write(2, "begun\n", 6);
		return forever(100) & 1;
	} else if (!strcmp(what, "hoard"))
		return hoard();
	else if (!strcmp(what, "print")) {
		for (int i = atoi(argv[2]); i > 0; i--)
			if (printf("line %d of what is printed to fill a pipe\n", i) < 0)
				return 4;
		if (fflush(stdout) < 0) {
			perror("print");
			return 4;
		}
	} else if (!strcmp(what, "open")) {
		FILE *f = fopen(argv[2], "r");
		if (!f) {
			perror(argv[2]);
			return 6;
		}
		int c;
		while ((c = getc(f)) != EOF)
			putchar(c);
	}
	return 0;
}
