// A state of many MiB, of which each round changes a little: what repeated offloads must not send again.
#include "bench.h"

static uint32_t *cells;
static uint32_t count;

__attribute__((noinline)) static void fill(uint32_t seed) {
	for (uint32_t i = 0; i < count; i++) cells[i] = next(&seed);
}

__attribute__((noinline)) uint64_t change(uint32_t round) {
	uint64_t sum = 0;
	for (uint32_t i = 0; i < count; i += 1) sum = sum * 31 + cells[i];
	for (uint32_t k = 0, at = round * 7919; k < 2000; k++, at += 101 * 1024) cells[at % count] += k ^ (uint32_t)sum;
	return sum;
}

int main(int argc, char **argv) {
	count = (uint32_t)size(argc, argv, 64) << 18; // MiB
	int rounds = argc > 2 ? atoi(argv[2]) : 6;
	cells = malloc(count * sizeof *cells);
	if (!cells) return 2;
	fill(9);
	uint64_t sum = 0;
	for (int i = 0; i < rounds; i++) sum ^= change(i);
	return print(sum);
}
