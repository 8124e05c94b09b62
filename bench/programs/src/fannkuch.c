// Flips of pancakes, over all permutations: small arrays of small numbers.
#include "bench.h"

enum { most = 12 };

__attribute__((noinline)) static int flips(const int *start, int n) {
	int p[most], count = 0;
	for (int i = 0; i < n; i++) p[i] = start[i];
	for (int first; (first = p[0]) != 0; count++)
		for (int lo = 0, hi = first; lo < hi; lo++, hi--) {
			int t = p[lo];
			p[lo] = p[hi];
			p[hi] = t;
		}
	return count;
}

int main(int argc, char **argv) {
	int n = size(argc, argv, 9), p[most], turn[most], best = 0, sum = 0;
	if (n < 1 || n > most) return 2;
	for (int i = 0; i < n; i++) p[i] = i, turn[i] = 0;
	for (int even = 1;; even = !even) {
		int f = flips(p, n);
		if (f > best) best = f;
		sum += even ? f : -f;
		// The next permutation: turn the first two, or three once those are through, and so on.
		int i = 1;
		for (; i < n; i++) {
			int first = p[0];
			for (int k = 0; k < i; k++) p[k] = p[k + 1];
			p[i] = first;
			if (++turn[i] <= i) break;
			turn[i] = 0;
		}
		if (i == n) break;
	}
	return print((uint64_t)best << 32 | (uint32_t)sum);
}
