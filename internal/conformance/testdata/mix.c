/* mix: a guest for the cut tests. It reads stdin, computes, prints, and writes, appends, renames, lists and removes
   files, from functions at several depths. Its output follows from its input alone.

   clang --target=wasm32-wasi -O1 -o mix.wasm mix.c -Wl,--strip-debug */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

static uint32_t state[4096];
static char *notes[256];
static int noted;

NOINLINE uint32_t stir(uint32_t x, int rounds) {
  for (int i = 0; i < rounds; i++) {
    x ^= x << 13; x ^= x >> 17; x ^= x << 5;
    state[x & 4095] += x;
  }
  return x;
}

NOINLINE void note(const char *s) {
  if (noted < 256) { notes[noted] = malloc(strlen(s) + 1); strcpy(notes[noted++], s); }
}

NOINLINE int append(const char *name, const char *text) {
  FILE *f = fopen(name, "a");
  if (!f) { printf("cannot append to %s\n", name); return -1; }
  fprintf(f, "%s\n", text);
  long at = ftell(f);
  fclose(f);
  return (int)at;
}

NOINLINE void digest(const char *name) {
  FILE *f = fopen(name, "r");
  uint32_t h = 2166136261u; int c, n = 0;
  if (!f) { printf("%s is not there\n", name); return; }
  while ((c = fgetc(f)) != EOF) { h = (h ^ (uint32_t)c) * 16777619u; n++; }
  fclose(f);
  printf("%s: %d bytes, %08x\n", name, n, h);
}

NOINLINE void list(const char *dir) {
  DIR *d = opendir(dir); struct dirent *e; int n = 0;
  if (!d) { printf("cannot list %s\n", dir); return; }
  while ((e = readdir(d))) if (e->d_name[0] != '.') { n++; note(e->d_name); }
  closedir(d);
  printf("%d entries\n", n);
}

NOINLINE int line(int n, char *text) {
  char name[64], other[64];
  uint32_t x = stir(2463534242u + n, 2000);
  snprintf(name, sizeof name, "/out/part%d", n % 3);
  int at = append(name, text);
  if (n % 4 == 3) {
    snprintf(other, sizeof other, "/out/moved%d", n);
    if (rename(name, other) == 0) printf("moved %s\n", name);
    if (n % 8 == 7) unlink(other);
  }
  if (n % 5 == 0) { snprintf(other, sizeof other, "/out/dir%d", n); mkdir(other, 0755); }
  printf("line %d at %d: %08x %s\n", n, at, x, text);
  if (n % 2) fflush(stdout);
  return n % 3 == 0;
}

NOINLINE int read_all(void) {
  char text[200]; int n = 0, k = 0;
  while (fgets(text, sizeof text, stdin)) {
    text[strcspn(text, "\n")] = 0;
    k += line(n++, text);
    if (n % 6 == 0) fprintf(stderr, "so far %d\n", n);
  }
  return k;
}

NOINLINE void finish(int k) {
  struct timespec ts; uint32_t r[2], sum = 0;
  list("/out");
  for (int i = 0; i < 3; i++) { char name[64]; snprintf(name, sizeof name, "/out/part%d", i); digest(name); }
  clock_gettime(CLOCK_MONOTONIC, &ts);
  getentropy(r, sizeof r);
  for (int i = 0; i < 4096; i++) sum = sum * 31 + state[i];
  printf("%d of them, %08x, %d notes, random %08x%08x, time %lld.%09ld\n", k, sum, noted, r[0], r[1],
         (long long)ts.tv_sec, ts.tv_nsec);
}

int main(int argc, char **argv) {
  int k = read_all();
  finish(k);
  if (argc > 1 && !strcmp(argv[1], "trap")) __builtin_trap();
  return k % 50;
}
