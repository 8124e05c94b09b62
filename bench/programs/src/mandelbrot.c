// The Mandelbrot set, row by row.
#include "bench.h"

__attribute__((noinline)) static int point(double cx, double cy) {
	double x = 0, y = 0;
	int i = 0;
	for (; i < 100 && x * x + y * y < 4; i++) {
		double t = x * x - y * y + cx;
		y = 2 * x * y + cy;
		x = t;
	}
	return i;
}

__attribute__((noinline)) static uint64_t row(int y, int n) {
	uint64_t sum = 0;
	for (int x = 0; x < n; x++) sum = sum * 31 + point(3.0 * x / n - 2, 2.0 * y / n - 1);
	return sum;
}

int main(int argc, char **argv) {
	int n = size(argc, argv, 800);
	uint64_t sum = 0;
	for (int y = 0; y < n; y++) sum ^= row(y, n) + y;
	return print(sum);
}
