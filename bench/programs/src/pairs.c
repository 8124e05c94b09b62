// The Mandelbrot set, two points at a time, as the source says.
#include "bench.h"

typedef double two __attribute__((vector_size(16)));
typedef int64_t mask __attribute__((vector_size(16)));

__attribute__((noinline)) static uint64_t points(two cx, double cy) {
	two x = {0, 0}, y = {0, 0};
	mask count = {0, 0};
	for (int i = 0; i < 100; i++) {
		two xx = x * x, yy = y * y;
		mask inside = (mask)(xx + yy < 4);
		if (!(inside[0] | inside[1])) break;
		count -= inside;
		y = 2 * x * y + cy;
		x = xx - yy + cx;
	}
	return (uint64_t)count[0] * 31 + (uint64_t)count[1];
}

int main(int argc, char **argv) {
	int n = size(argc, argv, 800);
	uint64_t sum = 0;
	for (int y = 0; y < n; y++)
		for (int x = 0; x + 1 < n; x += 2) {
			two cx = {3.0 * x / n - 2, 3.0 * (x + 1) / n - 2};
			sum = sum * 961 + points(cx, 2.0 * y / n - 1);
		}
	return print(sum);
}
