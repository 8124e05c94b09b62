// ChaCha20 in vectors of four numbers, as the source says.
#include "bench.h"

typedef uint32_t four __attribute__((vector_size(16)));

static four turn(four x, int n) { return x << n | x >> (32 - n); }

static void quarters(four *a, four *b, four *c, four *d) {
	*a += *b, *d = turn(*d ^ *a, 16);
	*c += *d, *b = turn(*b ^ *c, 12);
	*a += *b, *d = turn(*d ^ *a, 8);
	*c += *d, *b = turn(*b ^ *c, 7);
}

__attribute__((noinline)) static void block(four *to, const four *key) {
	four a = key[0], b = key[1], c = key[2], d = key[3];
	for (int i = 0; i < 10; i++) {
		quarters(&a, &b, &c, &d);
		b = __builtin_shufflevector(b, b, 1, 2, 3, 0);
		c = __builtin_shufflevector(c, c, 2, 3, 0, 1);
		d = __builtin_shufflevector(d, d, 3, 0, 1, 2);
		quarters(&a, &b, &c, &d);
		b = __builtin_shufflevector(b, b, 3, 0, 1, 2);
		c = __builtin_shufflevector(c, c, 2, 3, 0, 1);
		d = __builtin_shufflevector(d, d, 1, 2, 3, 0);
	}
	to[0] ^= a + key[0], to[1] ^= b + key[1], to[2] ^= c + key[2], to[3] ^= d + key[3];
}

int main(int argc, char **argv) {
	static four data[1 << 12]; // 64 KiB
	four key[4];
	uint32_t seed = 53;
	for (int i = 0; i < 16; i++) key[i / 4][i % 4] = next(&seed);
	int n = size(argc, argv, 100);
	for (int i = 0; i < n; i++)
		for (int k = 0; k < 1 << 10; k++) {
			block(data + 4 * k, key);
			key[3][0]++;
		}
	uint64_t sum = 0;
	for (int i = 0; i < 1 << 12; i++) sum = sum * 31 + (data[i][0] ^ data[i][1] ^ data[i][2] ^ data[i][3]);
	return print(sum);
}
