// A small interpreter that calls through a table: indirect calls of fine functions.
#include "bench.h"

struct machine { uint32_t acc, x, y, pc; };
typedef void op(struct machine *m, uint32_t arg);

__attribute__((noinline)) static void add(struct machine *m, uint32_t arg) { m->acc += m->x ^ arg; }
__attribute__((noinline)) static void mix(struct machine *m, uint32_t arg) { m->x = (m->x << 7 | m->x >> 25) + m->acc * arg; }
__attribute__((noinline)) static void swap(struct machine *m, uint32_t arg) {
	uint32_t t = m->x;
	m->x = m->y;
	m->y = t + arg;
}
__attribute__((noinline)) static void scan(struct machine *m, uint32_t arg) {
	for (uint32_t i = 0; i < (arg & 15); i++) m->acc = m->acc * 33 + (m->y >> i);
}

static op *const ops[4] = {add, mix, swap, scan};
static uint32_t code[4096];

__attribute__((noinline)) static void run(struct machine *m, int steps) {
	for (int i = 0; i < steps; i++) {
		uint32_t in = code[m->pc & 4095];
		m->pc++;
		ops[in & 3](m, in >> 2);
	}
}

int main(int argc, char **argv) {
	uint32_t seed = 17;
	for (int i = 0; i < 4096; i++) code[i] = next(&seed);
	struct machine m = {1, 2, 3, 0};
	int n = size(argc, argv, 3000);
	for (int i = 0; i < n; i++) run(&m, 10000);
	return print((uint64_t)m.acc << 32 | m.x);
}
