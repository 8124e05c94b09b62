// A library that reads files below /data, all of them or some at random, and digests what they hold.
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOP "/data"
#define PRIME 1099511628211u

#define export(name) __attribute__((export_name(#name), noinline))

static uint64_t read_bytes, read_files; // of the last call
static char **names;                    // paths of files, from list
static uint32_t count, room;

static _Noreturn void fail(const char *what) {
	perror(what);
	abort();
}

static void keep(const char *path) {
	if (count == room) {
		room = room ? 2 * room : 1024;
		if (!(names = realloc(names, room * sizeof *names))) fail("realloc");
	}
	if (!(names[count++] = strdup(path))) fail("strdup");
}

// list gathers the regular files below a directory.
static void list(const char *dir) {
	DIR *d = opendir(dir);
	if (!d) fail(dir);
	for (struct dirent *e; (e = readdir(d));) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
		char *path;
		if (asprintf(&path, "%s/%s", dir, e->d_name) < 0) fail("asprintf");
		if (e->d_type == DT_DIR) list(path);
		else if (e->d_type == DT_REG) keep(path);
		free(path);
	}
	closedir(d);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void forget(void) {
	while (count) free(names[--count]);
	read_bytes = read_files = 0;
}

static uint8_t block[64 << 10];

// digest is FNV-1a over words of eight bytes, little-endian, the last one filled up with zeros; then over the length.
static uint64_t digest(const char *path) {
	int fd = open(path, O_RDONLY);
	if (fd < 0) fail(path);
	uint64_t h = 14695981039346656037u, size = 0;
	for (int end = 0; !end;) {
		size_t n = 0;
		while (n < sizeof block) {
			ssize_t got = read(fd, block + n, sizeof block - n);
			if (got < 0) fail(path);
			if (got == 0) {
				end = 1;
				break;
			}
			n += got;
		}
		size += n;
		for (; n % 8; n++) block[n] = 0;
		for (size_t i = 0; i < n; i += 8) {
			uint64_t w;
			memcpy(&w, block + i, 8);
			h = (h ^ w) * PRIME;
		}
	}
	close(fd);
	read_bytes += size, read_files++;
	return (h ^ size) * PRIME;
}

// scan says a word on standard output, so that its beginning is seen from outside, and reads all files, by name.
export(scan) uint64_t scan(void) {
	forget();
	if (write(1, "scanning\n", 9) != 9) fail("write");
	list(TOP);
	qsort(names, count, sizeof *names, by_name);
	uint64_t sum = 0;
	for (uint32_t i = 0; i < count; i++) sum += digest(names[i]);
	return sum;
}

static uint64_t state;

static uint64_t next(void) { // splitmix64
	uint64_t z = state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

// sample reads so many files of a thousand, at random, at least one.
export(sample) uint64_t sample(uint64_t seed, uint32_t permille) {
	forget();
	list(TOP);
	qsort(names, count, sizeof *names, by_name);
	if (!count) return 0;
	uint32_t some = (uint64_t)count * permille / 1000;
	if (!some) some = 1;
	if (some > count) some = count;
	state = seed;
	uint64_t sum = 0;
	for (uint32_t i = 0; i < some; i++) {
		uint32_t at = i + next() % (count - i);
		char *name = names[at];
		names[at] = names[i], names[i] = name;
		sum += digest(name);
	}
	return sum;
}

// bytes and files are those that the last call has read.
export(bytes) uint64_t bytes(void) { return read_bytes; }
export(files) uint64_t files(void) { return read_files; }
