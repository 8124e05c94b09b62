// A picture blurred again and again: sums of neighbouring bytes, which compilers turn into vectors.
#include "bench.h"

enum { side = 512 };

static uint8_t picture[side][side], other[side][side];

__attribute__((noinline)) static void across(uint8_t (*restrict to)[side], const uint8_t (*restrict from)[side]) {
	for (int y = 0; y < side; y++) {
		to[y][0] = from[y][0], to[y][side - 1] = from[y][side - 1];
		for (int x = 1; x < side - 1; x++)
			to[y][x] = (uint8_t)((from[y][x - 1] + 2 * from[y][x] + from[y][x + 1] + 2) >> 2);
	}
}

__attribute__((noinline)) static void down(uint8_t (*restrict to)[side], const uint8_t (*restrict from)[side]) {
	for (int x = 0; x < side; x++) to[0][x] = from[0][x], to[side - 1][x] = from[side - 1][x];
	for (int y = 1; y < side - 1; y++)
		for (int x = 0; x < side; x++)
			to[y][x] = (uint8_t)((from[y - 1][x] + 2 * from[y][x] + from[y + 1][x] + 2) >> 2);
}

int main(int argc, char **argv) {
	uint32_t seed = 47;
	for (int y = 0; y < side; y++)
		for (int x = 0; x < side; x++) picture[y][x] = (uint8_t)next(&seed);
	int n = size(argc, argv, 50);
	uint64_t sum = 0;
	for (int i = 0; i < n; i++) {
		across(other, picture);
		down(picture, other);
		picture[i % side][next(&seed) % side] = 255;
	}
	for (int y = 0; y < side; y++)
		for (int x = 0; x < side; x++) sum = sum * 31 + picture[y][x];
	return print(sum);
}
