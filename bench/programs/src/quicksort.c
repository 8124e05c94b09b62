// Quicksort of integers, then a check by binary searches.
#include "bench.h"

__attribute__((noinline)) static void sort(uint32_t *v, int lo, int hi) {
	while (lo < hi) {
		uint32_t pivot = v[(lo + hi) / 2];
		int i = lo, j = hi;
		while (i <= j) {
			while (v[i] < pivot) i++;
			while (v[j] > pivot) j--;
			if (i <= j) {
				uint32_t t = v[i];
				v[i++] = v[j];
				v[j--] = t;
			}
		}
		sort(v, lo, j);
		lo = i;
	}
}

__attribute__((noinline)) static int find(const uint32_t *v, int n, uint32_t want) {
	int lo = 0, hi = n;
	while (lo < hi) {
		int mid = (lo + hi) / 2;
		if (v[mid] < want) lo = mid + 1; else hi = mid;
	}
	return lo;
}

int main(int argc, char **argv) {
	int n = size(argc, argv, 1000000);
	uint32_t *v = malloc(n * sizeof *v), seed = 5;
	if (!v) return 2;
	for (int i = 0; i < n; i++) v[i] = next(&seed);
	sort(v, 0, n - 1);
	uint64_t sum = 0;
	for (int i = 0; i < n; i++) sum = sum * 31 + find(v, n, next(&seed));
	return print(sum ^ v[n / 2]);
}
