// A program whose parts reach different things, for clones that lie about them. Build:
//   clang --target=wasm32 -Os -nostdlib -Wl,--no-entry -Wl,--export=_start -Wl,-z,stack-size=8192 \
//     -Wl,--max-memory=524288 -o guest.wasm guest.c
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name)))
WASI(fd_write) int fd_write(int fd, const void *iov, u32 n, u32 *done);
WASI(fd_read) int fd_read(int fd, const void *iov, u32 n, u32 *done);
WASI(fd_close) int fd_close(int fd);
WASI(path_open) int path_open(int dir, u32 follow, const char *path, u32 len, u32 oflags, u64 base, u64 inherit, u32 flags, int *fd);
WASI(clock_time_get) int clock_time_get(u32 id, u64 precision, u64 *time);
WASI(random_get) int random_get(void *buf, u32 len);
WASI(proc_exit) void proc_exit(int code);
__attribute__((import_module("host"), import_name("mul"))) u32 host_mul(u32 a, u32 b);

#define FUNC(name) __attribute__((noinline, export_name(#name)))

struct iov { const void *p; u32 n; };

static u32 length(const char *s) { u32 n = 0; while (s[n]) n++; return n; }

static void write_to(int fd, const void *p, u32 n) {
	struct iov v = {p, n};
	u32 done;
	fd_write(fd, &v, 1, &done);
}

static void print(const char *s) { write_to(1, s, length(s)); }

static void print_number(u64 n) {
	char b[24], *p = b + sizeof b;
	*--p = '\n';
	do *--p = '0' + n % 10; while (n /= 10);
	write_to(1, p, b + sizeof b - p);
}

static volatile u32 table[30000];

// pure calls nothing. 100 gives 5050.
FUNC(pure) u32 pure(u32 n) {
	u32 sum = 0;
	for (u32 i = 1; i <= n; i++) {
		sum += i;
		table[i % 30000] = sum;
	}
	return sum;
}

// wide has results and arguments of all types.
FUNC(wide) double wide(u64 a, float b, double c) { return (double)a + b + c; }

// say prints twice.
FUNC(say) void say(u32 n) {
	print("say ");
	print_number(n);
}

static u8 buf[512];

// work reads stdin and a file, tells the time and writes a file.
FUNC(work) u32 work(u32 n) {
	struct iov v = {buf, 8};
	u32 got = 0;
	fd_read(0, &v, 1, &got);
	u32 sum = n;
	for (u32 i = 0; i < got; i++) sum += buf[i];
	int fd;
	if (path_open(3, 0, "in", 2, 0, 2, 0, 0, &fd) == 0) {
		v.n = sizeof buf;
		fd_read(fd, &v, 1, &got);
		fd_close(fd);
		for (u32 i = 0; i < got; i++) sum += buf[i];
	}
	u64 now = 0;
	clock_time_get(1, 1, &now);
	sum += now / 1000000;
	if (path_open(3, 0, "out", 3, 1 | 8, 1 << 6, 0, 0, &fd) == 0) {
		write_to(fd, &sum, 4);
		fd_close(fd);
	}
	print("work done\n");
	return sum;
}

// mixed uses the embedder's function and random numbers.
FUNC(mixed) u32 mixed(u32 n) {
	u32 r;
	random_get(&r, 4);
	return host_mul(n, 3) + r % 2 * 0;
}

void _start(void) {
	print("begin\n");
	print_number(pure(100));
	print_number((u64)wide(5, 0.5f, 1.5));
	say(7);
	print_number(work(1));
	print_number(mixed(14));
	print_number(pure(10));
	say(8);
	print_number(work(2));
	print("end\n");
	proc_exit(3);
}
