// What all programs share: a size from the command line, a number to print, and a generator of numbers.
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

// size reads the first argument.
static inline int size(int argc, char **argv, int usual) {
	return argc > 1 ? atoi(argv[1]) : usual;
}

// print writes a number in hexadecimal, without stdio, which would be most of the module.
static inline int print(uint64_t v) {
	char line[17];
	for (int i = 15; i >= 0; i--, v >>= 4) line[i] = "0123456789abcdef"[v & 15];
	line[16] = '\n';
	return write(1, line, sizeof line) == sizeof line ? 0 : 1;
}

static inline uint32_t next(uint32_t *state) {
	uint32_t x = *state;
	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return *state = x;
}

#endif
