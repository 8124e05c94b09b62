// Searches for words in a long text, by Horspool's rule and plainly, and a count of its words.
#include <string.h>

#include "bench.h"

enum { most = 1 << 18 };

static char text[most];

__attribute__((noinline)) static int horspool(const char *t, int n, const char *w, int m) {
	int skip[256], found = 0;
	for (int i = 0; i < 256; i++) skip[i] = m;
	for (int i = 0; i < m - 1; i++) skip[(uint8_t)w[i]] = m - 1 - i;
	for (int at = 0; at + m <= n; at += skip[(uint8_t)t[at + m - 1]]) {
		int k = m - 1;
		while (k >= 0 && t[at + k] == w[k]) k--;
		found += k < 0;
	}
	return found;
}

__attribute__((noinline)) static int plainly(const char *t, int n, const char *w, int m) {
	int found = 0;
	for (int at = 0; at + m <= n; at++) {
		if (t[at] != w[0]) continue;
		int k = 1;
		while (k < m && t[at + k] == w[k]) k++;
		found += k == m;
	}
	return found;
}

__attribute__((noinline)) static int words(const char *t, int n) {
	int count = 0, inside = 0;
	for (int i = 0; i < n; i++) {
		int space = t[i] == ' ' || t[i] == '\n' || t[i] == '\t';
		count += !space & !inside;
		inside = !space;
	}
	return count;
}

int main(int argc, char **argv) {
	uint32_t seed = 41;
	for (int i = 0; i < most; i++) text[i] = next(&seed) % 7 ? 'a' + next(&seed) % 8 : ' ';
	int n = size(argc, argv, 40);
	uint64_t sum = 0;
	for (int i = 0; i < n; i++) {
		const char *w = text + next(&seed) % (most - 16);
		int m = 3 + i % 9;
		sum = sum * 31 + horspool(text, most, w, m);
		sum = sum * 31 + plainly(text, most, w, m);
		sum = sum * 31 + words(text + (i & 63), most - 64);
	}
	return print(sum);
}
