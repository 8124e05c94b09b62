// Edit distances of short strings: a middling function called very often.
#include <string.h>

#include "bench.h"

__attribute__((noinline)) static int distance(const char *a, int n, const char *b, int m) {
	int row[33];
	for (int j = 0; j <= m; j++) row[j] = j;
	for (int i = 1; i <= n; i++) {
		int corner = row[0];
		row[0] = i;
		for (int j = 1; j <= m; j++) {
			int best = corner + (a[i - 1] != b[j - 1]);
			corner = row[j];
			if (row[j] + 1 < best) best = row[j] + 1;
			if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[m];
}

__attribute__((noinline)) static int nearest(const char (*words)[8], int count, const char *w) {
	int best = 99, at = 0;
	for (int i = 0; i < count; i++) {
		int d = distance(words[i], 7, w, 7);
		if (d < best) best = d, at = i;
	}
	return at;
}

int main(int argc, char **argv) {
	static char words[512][8];
	uint32_t seed = 23;
	for (int i = 0; i < 512; i++)
		for (int k = 0; k < 7; k++) words[i][k] = 'a' + next(&seed) % 8;
	int n = size(argc, argv, 2000);
	uint64_t sum = 0;
	for (int i = 0; i < n; i++) {
		char w[8];
		for (int k = 0; k < 7; k++) w[k] = 'a' + next(&seed) % 8;
		sum = sum * 31 + nearest((const char (*)[8])words, 512, w);
	}
	return print(sum);
}
