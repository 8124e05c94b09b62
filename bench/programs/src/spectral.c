// The spectral norm of an infinite matrix, by the power method: divisions and loops over vectors.
#include <math.h>
#include <string.h>

#include "bench.h"

enum { most = 4096 };

static double u[most], v[most], w[most];

static inline double entry(int i, int j) { return 1.0 / ((i + j) * (i + j + 1) / 2 + i + 1); }

__attribute__((noinline)) static void times(double *to, const double *x, int n) {
	for (int i = 0; i < n; i++) {
		double sum = 0;
		for (int j = 0; j < n; j++) sum += entry(i, j) * x[j];
		to[i] = sum;
	}
}

__attribute__((noinline)) static void transposed(double *to, const double *x, int n) {
	for (int i = 0; i < n; i++) {
		double sum = 0;
		for (int j = 0; j < n; j++) sum += entry(j, i) * x[j];
		to[i] = sum;
	}
}

int main(int argc, char **argv) {
	int n = size(argc, argv, 500);
	if (n < 1 || n > most) return 2;
	for (int i = 0; i < n; i++) u[i] = 1;
	for (int i = 0; i < 10; i++) {
		times(w, u, n), transposed(v, w, n);
		times(w, v, n), transposed(u, w, n);
	}
	double uv = 0, vv = 0;
	for (int i = 0; i < n; i++) uv += u[i] * v[i], vv += v[i] * v[i];
	double norm = sqrt(uv / vv);
	uint64_t bits;
	memcpy(&bits, &norm, sizeof bits);
	return print(bits);
}
