// Products of square matrices of doubles.
#include <string.h>

#include "bench.h"

enum { most = 512 };

static double a[most * most], b[most * most], c[most * most];

__attribute__((noinline)) static double dot(const double *x, const double *y, int n) {
	double sum = 0;
	for (int k = 0; k < n; k++) sum += x[k] * y[(size_t)k * n];
	return sum;
}

__attribute__((noinline)) static void multiply(double *to, const double *x, const double *y, int n) {
	for (int i = 0; i < n; i++)
		for (int j = 0; j < n; j++) to[i * n + j] = dot(x + i * n, y + j, n);
}

int main(int argc, char **argv) {
	int n = size(argc, argv, 256);
	if (n < 1 || n > most) return 2;
	uint32_t seed = 11;
	for (int i = 0; i < n * n; i++) a[i] = next(&seed) % 100, b[i] = next(&seed) % 100;
	multiply(c, a, b, n);
	multiply(a, c, b, n);
	uint64_t sum = 0;
	for (int i = 0; i < n * n; i++) sum = sum * 31 + (uint64_t)a[i];
	return print(sum);
}
