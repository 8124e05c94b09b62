// Fast Fourier transforms, forth and back, in double precision.
#include <math.h>
#include <string.h>

#include "bench.h"

enum { bits = 14, count = 1 << bits };

static double re[count], im[count], cosine[count / 2], sine[count / 2];

// turns fills the roots of unity by halving angles: square roots are the same everywhere, sines need not be.
static void turns(void) {
	cosine[0] = 1;
	double c = -1, s = 0; // half a turn
	for (int step = count / 4; step > 0; step /= 2) {
		double half = sqrt((1 + c) / 2);
		s = c < -0.5 ? 1 : s / (2 * half);
		c = half;
		cosine[step] = c, sine[step] = s;
		for (int i = 2 * step; i < count / 2; i += 2 * step) {
			cosine[i + step] = cosine[i] * c - sine[i] * s;
			sine[i + step] = sine[i] * c + cosine[i] * s;
		}
	}
}

__attribute__((noinline)) static void shuffle(void) {
	for (int i = 1, j = 0; i < count; i++) {
		int bit = count >> 1;
		for (; j & bit; bit >>= 1) j ^= bit;
		j ^= bit;
		if (i < j) {
			double t = re[i];
			re[i] = re[j], re[j] = t;
			t = im[i];
			im[i] = im[j], im[j] = t;
		}
	}
}

__attribute__((noinline)) static void transform(double way) {
	shuffle();
	for (int size = 2; size <= count; size *= 2)
		for (int from = 0; from < count; from += size)
			for (int k = 0; k < size / 2; k++) {
				double c = cosine[k * (count / size)], s = way * sine[k * (count / size)];
				int a = from + k, b = a + size / 2;
				double x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
				re[b] = re[a] - x, im[b] = im[a] - y;
				re[a] += x, im[a] += y;
			}
}

int main(int argc, char **argv) {
	uint32_t seed = 29;
	turns();
	for (int i = 0; i < count; i++) re[i] = (int32_t)next(&seed) / 2147483648.0, im[i] = 0;
	int n = size(argc, argv, 100);
	for (int i = 0; i < n; i++) {
		transform(1);
		transform(-1);
		for (int k = 0; k < count; k++) re[k] /= count, im[k] /= count;
		re[i % count] += 1.0 / (i + 1);
	}
	uint64_t sum = 0;
	for (int i = 0; i < count; i++) sum = sum * 31 + (uint64_t)(int64_t)(re[i] * 1e9);
	return print(sum);
}
