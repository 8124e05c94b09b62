/* hosts: a guest that calls functions of its embedder in all forms, from several depths, between output and files. What
   it prints follows from its argument and from what the functions answer.

   clang --target=wasm32-wasi -O1 -c -o hosts.o hosts.c
   clang --target=wasm32-wasi -Wl,--strip-debug -o hosts.wasm hosts.o */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))
#define IMPORT(name) __attribute__((import_module("lab"), import_name(#name)))

IMPORT(next) int next(int from);                                  /* by value: counts its calls */
IMPORT(mix) int mix(const void *from, int n, void *to, int room); /* in and out: writes less than there is room */
IMPORT(swap) void swap(uint32_t *at);                             /* four elements, in and out */
IMPORT(sum) int64_t sum(const uint16_t *at, int n, double *mean); /* elements of 2 bytes in, one of 8 out */
IMPORT(look) int look(const void *at, int n);                     /* pinned */
IMPORT(fail) void fail(int how);                                  /* ends the guest */

static uint8_t bytes[1 << 15];
static uint32_t four[4] = {1, 2, 3, 4};

NOINLINE uint32_t hash(const void *p, int n) {
  uint32_t h = 2166136261u;
  for (int i = 0; i < n; i++) h = (h ^ ((const uint8_t *)p)[i]) * 16777619u;
  return h;
}

NOINLINE void stir(int seed, int n) {
  uint32_t x = 2463534242u + (uint32_t)seed;
  for (int i = 0; i < n; i++) {
    x ^= x << 13; x ^= x >> 17; x ^= x << 5;
    bytes[i] = (uint8_t)x;
  }
}

NOINLINE int values(int n) {
  int got = 0;
  for (int i = 0; i < n; i++) got = got * 31 + next(i);
  return got;
}

NOINLINE void ranges(int seed) {
  int n = 64 + seed * 997 % 9000;
  stir(seed, n);
  int got = mix(bytes, n, bytes + n, 5000);
  printf("mix %d: %d bytes, %08x\n", seed, got, hash(bytes, n + 5000));
  got = mix(bytes, 600, bytes + 300, 600); /* overlaps */
  printf("overlap %d: %d bytes, %08x\n", seed, got, hash(bytes, 1000));
}

NOINLINE void elements(int seed) {
  double mean = -1;
  swap(four);
  int64_t s = sum((const uint16_t *)bytes, 100 + seed, &mean);
  printf("swap %u %u %u %u, sum %lld, mean %.3f\n", four[0], four[1], four[2], four[3], (long long)s, mean);
}

NOINLINE int pinned(int n) { return look(bytes, n); }

NOINLINE int grown(int n) {
  uint8_t *p = malloc((size_t)n); /* of which the memory must grow */
  memset(p, n & 255, (size_t)n);
  int got = mix(p + n - 3000, 1500, p + n - 1500, 1500);
  printf("grown: %d bytes, %08x\n", got, hash(p, n));
  return got;
}

NOINLINE void round_of(int i) {
  printf("values %d\n", values(i % 7));
  ranges(i);
  elements(i);
  if (i % 3 == 0) printf("pinned %d\n", pinned(10 * i + 1));
  if (i == 5) grown(300000);
}

int main(int argc, char **argv) {
  const char *end = argc > 1 ? argv[1] : "";
  setvbuf(stdout, NULL, _IOLBF, 256);
  for (int i = 0; i < 8; i++) {
    round_of(i);
    if (i == 6 && !strcmp(end, "outside")) mix((const void *)0x7ffffff0, 100, bytes, 100);
    if (i == 6 && !strcmp(end, "fail")) { fail(i); }
  }
  return values(3) & 63;
}
