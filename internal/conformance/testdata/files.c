/* files: a guest that carries out a script of file operations from its standard input and tells what each came to. Its
   output follows from the script and the directories alone: of times it tells only those that the script has set.

   A line is an operation: a letter, then numbers and names, apart by blanks; a name is two hex digits for each byte, "-"
   if it has none. S is one of 16 slots for what is open; those that begin a run are 0 and 1, the mounts. "{" and "}" frame
   operations that are done in a call of their own, so that open files cross the borders of calls.

   clang --target=wasm32-wasi -O1 -o files.wasm files.c -Wl,--strip-debug */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasi/api.h>

#define NOINLINE __attribute__((noinline))
#define SLOTS 16
#define ROOM (8 << 20)
#define SET_BEFORE 1000000000000000000ull /* later times are of the clock */

static char *script, *at, *end;
static int slots[SLOTS];
static uint8_t *room;
static char names[2][5000];
static int eager; /* all is told at once */

/* What the script says. */

static void blanks(void) { while (at < end && *at == ' ') at++; }

static uint64_t number(void) {
  uint64_t n = 0;
  blanks();
  while (at < end && *at >= '0' && *at <= '9') n = n * 10 + (uint64_t)(*at++ - '0');
  return n;
}

static int digit(void) {
  if (at >= end) return -1;
  if (*at >= '0' && *at <= '9') return *at++ - '0';
  if (*at >= 'a' && *at <= 'f') return *at++ - 'a' + 10;
  return -1;
}

static const char *name(int i) {
  size_t n = 0;
  blanks();
  if (at < end && *at == '-') at++;
  for (int d; n < sizeof names[i] - 1 && (d = digit()) >= 0;) names[i][n++] = (char)(d * 16 + digit());
  names[i][n] = 0;
  return names[i];
}

static int *slot(void) { return &slots[number() % SLOTS]; }

/* Contents and their digests. */

static void fill(uint8_t *b, size_t n, uint64_t seed) {
  uint64_t x = seed * 0x9e3779b97f4a7c15ull + 1;
  for (size_t i = 0; i < n; i++) {
    if (i % 8 == 0) { x ^= x << 13; x ^= x >> 7; x ^= x << 17; }
    b[i] = (uint8_t)(x >> (i % 8 * 8));
  }
}

NOINLINE uint64_t digest(const uint8_t *b, size_t n) {
  uint64_t h = 14695981039346656037ull;
  size_t i = 0;
  for (; i + 8 <= n; i += 8) { uint64_t w; memcpy(&w, b + i, 8); h = (h ^ w) * 1099511628211ull; h ^= h >> 29; }
  for (; i < n; i++) h = (h ^ b[i]) * 1099511628211ull;
  return h;
}

static uint64_t seen(uint64_t t) { return t < SET_BEFORE ? t : SET_BEFORE; }

NOINLINE void tell_stat(int e, const __wasi_filestat_t *st) {
  if (e) { printf("%d\n", e); return; }
  printf("0 type %d dev %llu ino %llu links %llu size %llu mtime %llu\n", st->filetype, (unsigned long long)st->dev,
         (unsigned long long)st->ino, (unsigned long long)st->nlink,
         (unsigned long long)(st->filetype == __WASI_FILETYPE_DIRECTORY ? 0 : st->size), (unsigned long long)seen(st->mtim));
}

/* Operations on what is open. */

NOINLINE void op_write(int here) {
  int *s = slot();
  uint64_t off = here ? 0 : number();
  size_t n = number() % (ROOM + 1);
  fill(room, n, number());
  __wasi_ciovec_t v[2] = {{room, n / 3}, {room + n / 3, n - n / 3}};
  __wasi_size_t did = 0;
  int e = here ? __wasi_fd_write(*s, v, 2, &did) : __wasi_fd_pwrite(*s, v, 2, off, &did);
  printf("%d %u\n", e, e ? 0 : (unsigned)did);
}

NOINLINE void op_read(int here) {
  int *s = slot();
  uint64_t off = here ? 0 : number();
  size_t n = number() % (ROOM + 1), all = 0;
  __wasi_size_t did = 0;
  int e = 0;
  do { /* all of it: how much comes at once is nobody's promise */
    __wasi_iovec_t v = {room + all, n - all};
    did = 0;
    e = here ? __wasi_fd_read(*s, &v, 1, &did) : __wasi_fd_pread(*s, &v, 1, off + all, &did);
    all += e ? 0 : did;
  } while (!e && did > 0 && all < n);
  printf("%d %u %016llx\n", e, (unsigned)all, (unsigned long long)digest(room, all));
}

NOINLINE void op_seek(void) {
  int *s = slot();
  int64_t by = (int64_t)number();
  if (number()) by = -by;
  __wasi_filesize_t to = 0;
  int e = __wasi_fd_seek(*s, by, (uint8_t)number(), &to);
  printf("%d %llu\n", e, e ? 0 : (unsigned long long)to);
}

NOINLINE void op_sizes(char op) {
  int *s = slot();
  uint64_t off = number(), n = op == 'a' ? number() : 0;
  printf("%d\n", op == 'a' ? __wasi_fd_allocate(*s, off, n) : __wasi_fd_filestat_set_size(*s, off));
}

NOINLINE void op_times(char op) {
  int *s = slot();
  const char *p = op == 'T' ? name(0) : "";
  uint32_t follow = op == 'T' ? (uint32_t)number() : 0;
  uint64_t atim = number(), mtim = number();
  uint16_t how = (uint16_t)number();
  int e = op == 'T' ? __wasi_path_filestat_set_times(*s, follow, p, atim, mtim, how) : __wasi_fd_filestat_set_times(*s, atim, mtim, how);
  printf("%d\n", e);
}

NOINLINE void op_stat(char op) {
  int *s = slot();
  __wasi_filestat_t st;
  int e;
  if (op == 's') {
    e = __wasi_fd_filestat_get(*s, &st);
  } else {
    const char *p = name(0);
    e = __wasi_path_filestat_get(*s, (uint32_t)number(), p, &st);
  }
  tell_stat(e, &st);
}

NOINLINE void op_list(void) {
  int *s = slot();
  uint64_t cookie = number();
  uint32_t size = (uint32_t)(number() % 60000 + 64);
  for (int more = 1; more;) {
    __wasi_size_t used = 0;
    int e = __wasi_fd_readdir(*s, room, size, cookie, &used);
    if (e) { printf("%d\n", e); return; }
    more = used == size;
    uint32_t i = 0, n = 0;
    for (; i + sizeof(__wasi_dirent_t) <= used; n++) {
      __wasi_dirent_t d;
      memcpy(&d, room + i, sizeof d);
      if (i + sizeof d + d.d_namlen > used) break;
      printf(" %llu:%d:%.*s:%llu", (unsigned long long)d.d_ino, d.d_type, (int)d.d_namlen, (char *)room + i + sizeof d, (unsigned long long)d.d_next);
      cookie = d.d_next;
      i += sizeof d + d.d_namlen;
    }
    if (n == 0) {
      if (!more || size >= 60000) break;
      size = 60000; /* a name longer than the room */
    }
  }
  printf(" end\n");
}

/* Operations on names. */

NOINLINE void op_open(void) {
  int *s = slot(), *d = slot();
  const char *p = name(0);
  uint32_t follow = (uint32_t)number();
  uint16_t how = (uint16_t)number();
  uint64_t rights = number();
  uint16_t flags = (uint16_t)number();
  __wasi_fd_t fd = 0;
  if (*s > 4) { int e = __wasi_fd_close(*s); *s = -1; if (e) printf("close %d ", e); }
  uint64_t base = how & __WASI_OFLAGS_DIRECTORY ? (1 << 28) - 1 : 0;
  if (rights & 1) base |= __WASI_RIGHTS_FD_READ;
  if (rights & 2) base |= __WASI_RIGHTS_FD_WRITE | __WASI_RIGHTS_FD_ALLOCATE | __WASI_RIGHTS_FD_FILESTAT_SET_SIZE;
  base |= __WASI_RIGHTS_FD_SEEK | __WASI_RIGHTS_FD_TELL | __WASI_RIGHTS_FD_FILESTAT_GET | __WASI_RIGHTS_FD_FILESTAT_SET_TIMES | __WASI_RIGHTS_FD_SYNC;
  int e = __wasi_path_open(*d, follow, p, how, base, base, flags, &fd);
  if (!e) *s = (int)fd;
  printf("%d\n", e);
}

NOINLINE void op_close(void) {
  int *s = slot();
  int e = *s > 4 ? __wasi_fd_close(*s) : 0;
  if (*s > 4) *s = -1;
  printf("%d\n", e);
}

NOINLINE void op_one(char op) {
  int *d = slot();
  const char *p = name(0);
  int e = op == 'm' ? __wasi_path_create_directory(*d, p) : op == 'x' ? __wasi_path_remove_directory(*d, p) : __wasi_path_unlink_file(*d, p);
  printf("%d\n", e);
}

NOINLINE void op_two(char op) {
  int *d = slot();
  const char *p = name(0);
  uint32_t follow = op == 'l' ? (uint32_t)number() : 0;
  int *d2 = slot();
  const char *q = name(1);
  int e = op == 'n' ? __wasi_path_rename(*d, p, *d2, q) : __wasi_path_link(*d, follow, p, *d2, q);
  printf("%d\n", e);
}

NOINLINE void op_symlink(void) {
  const char *to = name(0);
  int *d = slot();
  printf("%d\n", __wasi_path_symlink(to, *d, name(1)));
}

NOINLINE void op_readlink(void) {
  int *d = slot();
  const char *p = name(0);
  __wasi_size_t n = 0;
  int e = __wasi_path_readlink(*d, p, room, 4000, &n);
  printf("%d %.*s\n", e, e ? 0 : (int)n, (char *)room);
}

NOINLINE void op_sync(void) { printf("%d\n", __wasi_fd_sync(*slot())); }

/* Whole files that carry a mark, for the tests with other writers: "+mark\n" and what fill makes of it. What is lost by
   an operation is told before what it came to. */

static unsigned mark_of(int d, const char *p) {
  __wasi_fd_t fd;
  uint8_t b[32] = {0};
  if (__wasi_path_open(d, 0, p, 0, __WASI_RIGHTS_FD_READ, 0, 0, &fd)) return 0;
  __wasi_iovec_t v = {b, sizeof b - 1};
  __wasi_size_t n = 0;
  int e = __wasi_fd_pread(fd, &v, 1, 0, &n);
  if (__wasi_fd_close(fd) || e || n < 2 || b[0] != '+') return 0;
  return (unsigned)strtoul((char *)b + 1, 0, 10);
}

NOINLINE void op_put(void) {
  int *d = slot();
  const char *p = name(0);
  unsigned mark = (unsigned)number();
  size_t n = number() % ROOM;
  unsigned was = mark_of(*d, p);
  __wasi_fd_t fd;
  int e = __wasi_path_open(*d, 0, p, __WASI_OFLAGS_CREAT | __WASI_OFLAGS_TRUNC, __WASI_RIGHTS_FD_WRITE, 0, 0, &fd);
  if (e) { printf("put %d\n", e); return; }
  int head = snprintf((char *)room, 32, "+%u\n", mark);
  fill(room + head, n, mark);
  __wasi_size_t did = 0, all = 0;
  do {
    __wasi_ciovec_t v = {room + all, head + n - all};
    e = __wasi_fd_write(fd, &v, 1, &did);
    all += e ? 0 : did;
  } while (!e && all < head + n);
  int c = __wasi_fd_close(fd);
  printf("put %d %d lost %u wrote %u\n", e, c, was, e ? 0 : mark);
}

NOINLINE void op_drop(void) {
  int *d = slot();
  const char *p = name(0);
  unsigned was = mark_of(*d, p);
  int e = __wasi_path_unlink_file(*d, p);
  printf("drop %d lost %u\n", e, e ? 0 : was);
}

NOINLINE void op_move(void) {
  int *d = slot();
  const char *p = name(0);
  int *d2 = slot();
  const char *q = name(1);
  unsigned over = mark_of(*d2, q);
  int e = __wasi_path_rename(*d, p, *d2, q);
  printf("move %d lost %u\n", e, e ? 0 : over);
}

NOINLINE void op_look(void) {
  int *d = slot();
  printf("look %u\n", mark_of(*d, name(0)));
}

/* The course of the script. */

NOINLINE void step(char op) {
  printf("%c ", op);
  switch (op) {
  case 'w': case 'W': op_write(op == 'W'); break;
  case 'r': case 'R': op_read(op == 'R'); break;
  case 'k': op_seek(); break;
  case 'z': case 'a': op_sizes(op); break;
  case 't': case 'T': op_times(op); break;
  case 's': case 'S': op_stat(op); break;
  case 'd': op_list(); break;
  case 'o': op_open(); break;
  case 'c': op_close(); break;
  case 'm': case 'x': case 'u': op_one(op); break;
  case 'n': case 'l': op_two(op); break;
  case 'y': op_symlink(); break;
  case 'L': op_readlink(); break;
  case 'f': op_sync(); break;
  case 'P': op_put(); break;
  case 'D': op_drop(); break;
  case 'M': op_move(); break;
  case 'K': op_look(); break;
  case 'F': printf("\n"); eager = 1; break;
  case '!': printf("\n"); fflush(stdout); break;
  case 'q': printf("\n"); exit((int)number());
  case 'X': printf("\n"); fflush(stdout); __builtin_trap();
  default: printf("no such operation\n"); exit(99);
  }
  if (eager) fflush(stdout);
}

static void next_line(void) { while (at < end && *at != '\n') at++; }

NOINLINE void turn(int depth) {
  while (at < end) {
    char op = *at++;
    if (op == '\n') continue;
    if (op == '}') return;
    if (op == '{') turn(depth + 1);
    else step(op);
    next_line();
  }
}

/* An outermost "{": what is in it counts as a whole or not at all where nothing but this function moves. */
NOINLINE void group(void) {
  turn(1);
  printf("}\n");
}

NOINLINE void outermost(void) {
  while (at < end) {
    char op = *at++;
    if (op == '{') group();
    else if (op != '\n' && op != '}') step(op);
    if (op != '\n') next_line();
  }
}

static int load(void) {
  size_t have = 0, size = 1 << 20;
  script = malloc(size);
  for (;;) {
    if (have == size) script = realloc(script, size *= 2);
    size_t n = fread(script + have, 1, size - have, stdin);
    if (n == 0) break;
    have += n;
  }
  at = script;
  end = script + have;
  return have > 0;
}

int main(void) {
  room = malloc(ROOM + 64);
  for (int i = 0; i < SLOTS; i++) slots[i] = i < 2 ? 3 + i : -1;
  if (!load()) return 98;
  outermost();
  return 0;
}
