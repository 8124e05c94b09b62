// Compression of made-up text by references to what came before, and back: bytes, hashes and copies.
#include <string.h>

#include "bench.h"

enum { most = 1 << 18, hashes = 1 << 13 };

static uint8_t text[most], packed[most + most / 8 + 64], back[most];

static uint32_t load(const uint8_t *p) {
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

// pack writes runs: a count of plain bytes and these, a length and a distance of two bytes. A length of 0 ends it, and a
// distance of 0 copies nothing.
__attribute__((noinline)) static size_t pack(uint8_t *to, const uint8_t *from, size_t n) {
	static uint32_t seen[hashes];
	memset(seen, 0, sizeof seen);
	uint8_t *out = to;
	size_t at = 0, plain = 0;
	while (at + 4 <= n) {
		uint32_t h = load(from + at) * 2654435761u >> 19;
		size_t was = seen[h];
		seen[h] = (uint32_t)at + 1;
		size_t len = 0, distance = 0;
		if (was && at - (was - 1) < 65536 && load(from + was - 1) == load(from + at)) {
			distance = at - (was - 1);
			for (len = 4; len < 255 && at + len < n && from[at + len - distance] == from[at + len];) len++;
		} else if (++at - plain < 250) {
			continue;
		}
		*out++ = (uint8_t)(at - plain);
		while (plain < at) *out++ = from[plain++];
		*out++ = (uint8_t)(len ? len : 1), *out++ = (uint8_t)distance, *out++ = (uint8_t)(distance >> 8);
		at += len, plain = at;
	}
	*out++ = (uint8_t)(n - plain);
	while (plain < n) *out++ = from[plain++];
	*out++ = 0;
	return (size_t)(out - to);
}

__attribute__((noinline)) static size_t unpack(uint8_t *to, const uint8_t *from) {
	uint8_t *out = to;
	for (;;) {
		for (int plain = *from++; plain > 0; plain--) *out++ = *from++;
		int len = *from++;
		if (!len) return (size_t)(out - to);
		size_t distance = from[0] | from[1] << 8;
		from += 2;
		if (!distance) continue;
		for (const uint8_t *old = out - distance; len > 0; len--) *out++ = *old++;
	}
}

int main(int argc, char **argv) {
	static char words[512][8];
	uint32_t seed = 31;
	for (int i = 0; i < 512; i++) {
		int len = 2 + next(&seed) % 6;
		for (int k = 0; k < len; k++) words[i][k] = 'a' + next(&seed) % 26;
	}
	for (size_t at = 0; at < most;) {
		const char *w = words[next(&seed) % 512 & next(&seed)];
		for (; *w && at < most; w++) text[at++] = *w;
		if (at < most) text[at++] = ' ';
	}
	int n = size(argc, argv, 20);
	uint64_t sum = 0;
	for (int i = 0; i < n; i++) {
		text[(unsigned)i * 7919 % most] ^= 1;
		size_t len = pack(packed, text, most);
		if (unpack(back, packed) != most || memcmp(text, back, most) != 0) return 3;
		sum = sum * 31 + len;
	}
	return print(sum);
}
