// The plainest recursion: nothing but calls.
#include "bench.h"

__attribute__((noinline)) static int fib(int n) {
	if (n < 2) return n;
	return fib(n - 1) + fib(n - 2);
}

int main(int argc, char **argv) { return print(fib(size(argc, argv, 36))); }
