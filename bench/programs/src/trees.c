// Binary trees, built, walked and freed: pointers and the allocator.
#include "bench.h"

struct node { struct node *left, *right; };

__attribute__((noinline)) static struct node *build(int depth) {
	struct node *n = malloc(sizeof *n);
	if (!n) exit(2);
	n->left = n->right = 0;
	if (depth > 0) n->left = build(depth - 1), n->right = build(depth - 1);
	return n;
}

__attribute__((noinline)) static int count(const struct node *n) {
	return n ? 1 + count(n->left) + count(n->right) : 0;
}

__attribute__((noinline)) static void drop(struct node *n) {
	if (!n) return;
	drop(n->left);
	drop(n->right);
	free(n);
}

int main(int argc, char **argv) {
	int n = size(argc, argv, 30);
	uint64_t sum = 0;
	for (int i = 0; i < n; i++) {
		struct node *tree = build(10 + i % 6);
		sum = sum * 31 + count(tree);
		drop(tree);
	}
	return print(sum);
}
