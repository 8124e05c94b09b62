// Functions for trips that cost as little as they can: nothing, a call home, bytes written.
#include <time.h>

#include "bench.h"

static uint8_t block[32 << 20];

__attribute__((export_name("nothing"))) int nothing(int x) { return x + 1; }

// home asks the device n times.
__attribute__((export_name("home"))) int home(int n) {
	int sum = 0;
	for (int i = 0; i < n; i++) {
		uint8_t b;
		sum += (int)read(0, &b, 1);
	}
	return sum;
}

// soil writes to n pages; first is where.
__attribute__((export_name("soil"))) int soil(int first, int n) {
	for (int i = 0; i < n; i++)
		for (int k = 0; k < 4096; k += 8) *(uint64_t *)(block + (size_t)(first + i) % 8192 * 4096 + k) += (uint64_t)(i + k) * 0x9e3779b97f4a7c15u + 1;
	return n;
}

// dirty is soil, not to be offloaded: it makes work for what comes next.
__attribute__((export_name("dirty"))) int dirty(int first, int n) { return soil(first, n); }

int main(void) { return 0; }
