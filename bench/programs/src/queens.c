// Ways to place n queens, by backtracking.
#include "bench.h"

__attribute__((noinline)) static int place(unsigned all, unsigned cols, unsigned left, unsigned right) {
	if (cols == all) return 1;
	int ways = 0;
	for (unsigned open = all & ~(cols | left | right); open;) {
		unsigned q = open & -open;
		open ^= q;
		ways += place(all, cols | q, (left | q) << 1, (right | q) >> 1);
	}
	return ways;
}

int main(int argc, char **argv) {
	int n = size(argc, argv, 11);
	return print(place((1u << n) - 1, 0, 0, 0));
}
