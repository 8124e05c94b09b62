// A hash table of open addresses that grows: counts, lookups and removals of numbers.
#include "bench.h"

struct slot { uint64_t key, value; }; // key 0: free
struct map { struct slot *slots; size_t size, used; };

static size_t place(const struct map *m, uint64_t key) {
	return (size_t)(key * 0x9e3779b97f4a7c15u >> 32) & (m->size - 1);
}

__attribute__((noinline)) static struct slot *find(const struct map *m, uint64_t key) {
	size_t at = place(m, key);
	while (m->slots[at].key && m->slots[at].key != key) at = (at + 1) & (m->size - 1);
	return &m->slots[at];
}

__attribute__((noinline)) static void grow(struct map *m) {
	struct map more = {calloc(m->size ? 2 * m->size : 16, sizeof *m->slots), m->size ? 2 * m->size : 16, m->used};
	if (!more.slots) exit(2);
	for (size_t i = 0; i < m->size; i++)
		if (m->slots[i].key) *find(&more, m->slots[i].key) = m->slots[i];
	free(m->slots);
	*m = more;
}

static void add(struct map *m, uint64_t key) {
	if (2 * (m->used + 1) > m->size) grow(m);
	struct slot *s = find(m, key);
	if (!s->key) s->key = key, m->used++;
	s->value++;
}

// drop removes a key and moves those behind it that would not be found any more.
__attribute__((noinline)) static void drop(struct map *m, uint64_t key) {
	struct slot *s = find(m, key);
	if (!s->key) return;
	size_t hole = (size_t)(s - m->slots), mask = m->size - 1;
	for (size_t at = (hole + 1) & mask; m->slots[at].key; at = (at + 1) & mask)
		if (((at - place(m, m->slots[at].key)) & mask) >= ((at - hole) & mask)) m->slots[hole] = m->slots[at], hole = at;
	m->slots[hole] = (struct slot){0, 0};
	m->used--;
}

int main(int argc, char **argv) {
	struct map m = {0};
	uint32_t seed = 37;
	int n = size(argc, argv, 100);
	uint64_t sum = 0;
	for (int i = 0; i < n; i++)
		for (int k = 0; k < 10000; k++) {
			uint64_t key = 1 + next(&seed) % 200000;
			switch (k & 3) {
			case 0: case 1: add(&m, key); break;
			case 2: sum = sum * 31 + find(&m, key)->value; break;
			case 3: drop(&m, key / 2 + 1); break;
			}
		}
	return print(sum ^ m.used);
}
