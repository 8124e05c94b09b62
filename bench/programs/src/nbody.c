// Five bodies under gravity, in double precision.
#include <math.h>
#include <string.h>

#include "bench.h"

enum { bodies = 5 };

static struct body {
	double x[3], v[3], mass;
} sky[bodies];

static void place(void) {
	uint32_t seed = 7;
	for (int i = 0; i < bodies; i++) {
		for (int k = 0; k < 3; k++) {
			sky[i].x[k] = (int32_t)next(&seed) / 2147483648.0 * (4 + 8 * i);
			sky[i].v[k] = (int32_t)next(&seed) / 2147483648.0 * 2;
		}
		sky[i].mass = i ? 0.01 * i : 40;
	}
}

static void step(double dt) {
	for (int i = 0; i < bodies; i++) {
		struct body *a = &sky[i];
		for (int j = i + 1; j < bodies; j++) {
			struct body *b = &sky[j];
			double d[3], square = 0.01;
			for (int k = 0; k < 3; k++) {
				d[k] = a->x[k] - b->x[k];
				square += d[k] * d[k];
			}
			double pull = dt / (square * sqrt(square));
			for (int k = 0; k < 3; k++) {
				a->v[k] -= d[k] * b->mass * pull;
				b->v[k] += d[k] * a->mass * pull;
			}
		}
	}
	for (int i = 0; i < bodies; i++)
		for (int k = 0; k < 3; k++) sky[i].x[k] += dt * sky[i].v[k];
}

__attribute__((noinline)) static void simulate(int steps) {
	for (int i = 0; i < steps; i++) step(0.001);
}

int main(int argc, char **argv) {
	place();
	int n = size(argc, argv, 1000000);
	for (int done = 0; done < n; done += 1000) simulate(1000);
	double sum = 0;
	for (int i = 0; i < bodies; i++) sum += sky[i].x[0] + sky[i].v[1];
	uint64_t bits;
	memcpy(&bits, &sum, sizeof bits);
	return print(bits);
}
