// Products of matrices of floats in an order that suits vectors: the compiler makes them, where it has any.
#include <string.h>

#include "bench.h"

enum { side = 128 };

static float a[side][side], b[side][side], c[side][side];

__attribute__((noinline)) static void multiply(void) {
	memset(c, 0, sizeof c);
	for (int i = 0; i < side; i++)
		for (int k = 0; k < side; k++) {
			float f = a[i][k];
			for (int j = 0; j < side; j++) c[i][j] += f * b[k][j];
		}
}

int main(int argc, char **argv) {
	uint32_t seed = 43;
	for (int i = 0; i < side; i++)
		for (int j = 0; j < side; j++) a[i][j] = next(&seed) % 16, b[i][j] = next(&seed) % 16;
	int n = size(argc, argv, 100);
	uint64_t sum = 0;
	for (int i = 0; i < n; i++) {
		multiply();
		for (int j = 0; j < side; j++) sum = sum * 31 + (uint64_t)c[i % side][j], a[j][i % side] = (float)(sum >> 60);
	}
	return print(sum);
}
