package wasi_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

func TestFuncs(t *testing.T) {
	for abi, want := range map[wasi.ABI]int{wasi.Preview1: 46, wasi.Unstable: 45} {
		fs := wasi.Funcs(&wasi.Process{}, abi)
		names := map[string]bool{}
		for _, f := range fs {
			names[f.Name] = true
		}
		if len(fs) != want || len(names) != want {
			t.Errorf("%v: %d functions with %d names, want %d", abi, len(fs), len(names), want)
		}
		for op := wasi.OpNone + 1; op < wasi.NumOps; op++ {
			for _, n := range op.Imports() {
				if !names[n] {
					t.Errorf("%v: %v names import %q, which is none", abi, op, n)
				}
			}
			if len(op.Imports()) == 0 {
				t.Errorf("%v: no import causes it", op)
			}
		}
	}
}

func TestStrings(t *testing.T) {
	m := newMachine(t, wasi.Preview1, local.Config{})
	count, size := m.room(4), m.room(4)
	m.want("sizes", m.call("args_sizes_get", count, size), vfs.Success)
	if m.u32(count) != 2 || m.u32(size) != 9 {
		t.Errorf("got %d arguments of %d bytes", m.u32(count), m.u32(size))
	}
	table, text := m.room(8), m.room(9)
	m.want("get", m.call("args_get", table, text), vfs.Success)
	if got := string(m.mem[text : text+9]); got != "prog\x00arg\x00" || m.u32(table+4) != text+5 {
		t.Errorf("got %q, second at %d", got, m.u32(table+4)-text)
	}
	m.want("get outside memory", m.call("args_get", table, len(m.mem)-8), vfs.EFAULT)
	m.want("sizes outside memory", m.call("environ_sizes_get", count, len(m.mem)-3), vfs.EFAULT)
}

func TestFiles(t *testing.T) {
	m := newMachine(t, wasi.Preview1, local.Config{})
	fd := m.mustOpen("f", create, readWrite, 0)
	if fd != 4 {
		t.Errorf("lowest free descriptor: got %d, want 4", fd)
	}
	if n, e := m.write(fd, "hello", "", " world"); n != 11 || e != vfs.Success {
		t.Errorf("write: got %d, %v", n, e)
	}
	if at, e := m.seek(fd, -5, 1); at != 6 || e != vfs.Success {
		t.Errorf("seek: got %d, %v", at, e)
	}
	if got, e := m.read(fd, 3, 0, 20); got != "world" || e != vfs.Success {
		t.Errorf("read: got %q, %v", got, e)
	}
	if got, e := m.read(fd, 20); got != "" || e != vfs.Success {
		t.Errorf("read at the end: got %q, %v", got, e)
	}
	if at, e := m.seek(fd, -20, 2); e != vfs.EINVAL {
		t.Errorf("seek before the start: got %d, %v", at, e)
	}
	if at, e := m.seek(fd, 3, 2); at != 14 || e != vfs.Success {
		t.Errorf("seek behind the end: got %d, %v", at, e)
	}
	_, e := m.seek(fd, 0, 3)
	m.want("seek from nowhere", e, vfs.EINVAL)
	m.want("append flag", m.call("fd_fdstat_set_flags", fd, int(wasi.FDAppend)), vfs.Success)
	if n, e := m.write(fd, "!"); n != 1 || e != vfs.Success {
		t.Errorf("append: got %d, %v", n, e)
	}
	if at, _ := m.seek(fd, 0, 1); at != 12 {
		t.Errorf("offset after appending: got %d, want 12", at)
	}
	vec, _ := m.vec([]byte("XY"))
	out := m.room(4)
	m.want("pwrite", m.call("fd_pwrite", fd, vec, 1, uint64(1), out), vfs.Success)
	vec, where := m.vec(make([]byte, 20))
	m.want("pread", m.call("fd_pread", fd, vec, 1, uint64(0), out), vfs.Success)
	if got := string(m.mem[where[0]:][:m.u32(out)]); got != "hXYlo world!" {
		t.Errorf("content: got %q", got)
	}
	m.want("bad flags", m.call("fd_fdstat_set_flags", fd, 1<<5), vfs.EINVAL)
	ro := m.mustOpen("f", 0, uint64(wasi.RightRead), 0)
	_, e = m.write(ro, "x")
	m.want("write to a reader", e, vfs.EBADF)
	m.want("size of a reader", m.call("fd_filestat_set_size", ro, uint64(0)), vfs.EINVAL)
	m.want("renumber", m.call("fd_renumber", ro, fd), vfs.Success)
	m.want("renumber from nothing", m.call("fd_renumber", ro, fd), vfs.EBADF)
	_, e = m.write(fd, "x")
	m.want("write after renumber", e, vfs.EBADF)
	m.want("close", m.call("fd_close", fd), vfs.Success)
	m.want("close twice", m.call("fd_close", fd), vfs.EBADF)
	if got := len(m.sys.Handles()); got != 4 {
		t.Errorf("%d handles left, want 4", got)
	}
}

// TestLargeTransfers moves more than one request can carry.
func TestLargeTransfers(t *testing.T) {
	m := newMachine(t, wasi.Preview1, local.Config{})
	m.mem = make([]byte, 8<<20)
	fd := m.mustOpen("big", create, readWrite, 0)
	data := bytes.Repeat([]byte("0123456789abcdef"), 3<<20/16)
	for _, parts := range [][]int{{len(data)}, {1, 1 << 20, 5, 2<<20 - 6}} {
		m.free = 1024
		rest := data
		var bufs [][]byte
		for _, n := range parts {
			bufs = append(bufs, rest[:n])
			rest = rest[n:]
		}
		vec, where := m.vec(bufs...)
		out := m.room(4)
		m.want("pwrite", m.call("fd_pwrite", fd, vec, len(bufs), uint64(3), out), vfs.Success)
		if got := m.u32(out); got != uint32(len(data)) {
			t.Errorf("wrote %d of %d", got, len(data))
		}
		for i, w := range where {
			clear(m.mem[w:][:parts[i]])
		}
		m.want("pread", m.call("fd_pread", fd, vec, len(bufs), uint64(3), out), vfs.Success)
		var got []byte
		for i, w := range where {
			got = append(got, m.mem[w:][:parts[i]]...)
		}
		if m.u32(out) != uint32(len(data)) || !bytes.Equal(got, data) {
			t.Errorf("read %d of %d, or other bytes", m.u32(out), len(data))
		}
	}
}

func TestReaddir(t *testing.T) {
	m := newMachine(t, wasi.Preview1, local.Config{})
	var want []string
	for i := range 40 {
		name := fmt.Sprintf("%02d%s", i, strings.Repeat("x", i))
		want = append(want, name)
		m.mustOpen(name, create, readWrite, 0)
	}
	want = append([]string{".", ".."}, want...)
	for _, size := range []int{24 + 60, 100, 333, 1 << 16} {
		var got []string
		cookie := uint64(0)
		for range 1000 {
			buf, out := m.room(size), m.room(4)
			m.want("readdir", m.call("fd_readdir", 3, buf, size, cookie, out), vfs.Success)
			b := m.mem[buf:][:m.u32(out)]
			if len(got) == 10 {
				m.want("mkdir", m.call("path_create_directory", 3, fmt.Sprintf("%02dnew%d", len(got), size)), vfs.Success)
			}
			done := len(b) < size
			for len(b) >= 24 {
				n := int(binary.LittleEndian.Uint32(b[16:]))
				if 24+n > len(b) {
					break
				}
				cookie = binary.LittleEndian.Uint64(b)
				got = append(got, string(b[24:24+n]))
				b = b[24+n:]
			}
			if done {
				break
			}
		}
		var old []string
		for _, n := range got {
			if !strings.Contains(n, "new") {
				old = append(old, n)
			}
		}
		if !slices.Equal(old, want) {
			t.Errorf("buffer of %d: got %v", size, old)
		}
	}
	buf, out := m.room(100), m.room(4)
	m.want("cookie behind the end", m.call("fd_readdir", 3, buf, 100, uint64(1)<<40, out), vfs.Success)
	if m.u32(out) != 0 {
		t.Errorf("behind the end: got %d bytes", m.u32(out))
	}
	m.want("of a file", m.call("fd_readdir", 4, buf, 100, uint64(0), out), vfs.ENOTDIR)
}

// TestLongListing fills a buffer that takes several requests.
func TestLongListing(t *testing.T) {
	m := newMachine(t, wasi.Preview1, local.Config{})
	d, err := m.fs.Root()
	if err != nil {
		t.Fatal(err)
	}
	const files = 3000
	for i := range files {
		if err := d.Mkdir(fmt.Sprintf("%04d%s", i, strings.Repeat("n", 200))); err != nil {
			t.Fatal(err)
		}
	}
	buf, out := m.room(900_000), m.room(4)
	m.want("readdir", m.call("fd_readdir", 3, buf, 900_000, uint64(0), out), vfs.Success)
	if got, want := m.u32(out), uint32(24+1+24+2+files*(24+204)); got != want {
		t.Errorf("got %d bytes, want %d", got, want)
	}
}

// TestEncodingIsKept pins the encodings, which journals and other versions hold.
func TestEncodingIsKept(t *testing.T) {
	const req = "0b0480808080808080808001ffffffffffffffffff014d0102ff83804701020304086469722f6e616d6501780464617461"
	if got := fmt.Sprintf("%x", sampleRequest().AppendTo(nil)); got != req {
		t.Errorf("request: got %s, want %s", got, req)
	}
	const resp = "2c0904808080808020010201020403040506070472656164"
	if got := fmt.Sprintf("%x", sampleResponse().AppendTo(nil)); got != resp {
		t.Errorf("response: got %s, want %s", got, resp)
	}
	s := wasi.NewState([]string{"a"}, []string{"K=v"}, [32]byte{1})
	_ = s.Set(3, &wasi.FD{Handle: 4, Kind: wasi.KindDir, Type: vfs.TypeDirectory, Base: 1, Inheriting: 2, Preopen: "/"})
	b, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%x", sha256.Sum256(b)), "17df6f1ddb6a28f03c9615c3b87af9e3731fd93463df2b752f3c253e9efa4923"; got != want {
		t.Errorf("state: got %s, want %s", got, want)
	}
}

func TestStdio(t *testing.T) {
	w := &broken{n: 7, err: errBroken}
	m := newMachine(t, wasi.Preview1, local.Config{Stdin: strings.NewReader("some input"), Stdout: w})
	if got, e := m.read(0, 4, 2); got != "some i" || e != vfs.Success {
		t.Errorf("stdin: got %q, %v", got, e)
	}
	if n, e := m.write(1, "first ", "second"); n != 7 || e != vfs.Success {
		t.Errorf("short write: got %d, %v", n, e)
	}
	if n, e := m.write(1, "third"); e != vfs.EIO {
		t.Errorf("failing write: got %d, %v", n, e)
	}
	if n, e := m.write(2, "nobody listens"); n != 14 || e != vfs.Success {
		t.Errorf("stderr: got %d, %v", n, e)
	}
	_, e := m.write(0, "x")
	m.want("write to stdin", e, vfs.EBADF)
	_, e = m.read(1, 1)
	m.want("read from stdout", e, vfs.EBADF)
	_, e = m.seek(0, 0, 1)
	m.want("seek in stdin", e, vfs.ESPIPE)
	if string(w.got) != "first s" {
		t.Errorf("stdout got %q", w.got)
	}
	if _, err := m.try("proc_exit", 41); !errors.As(err, new(*wasi.ExitError)) {
		t.Errorf("exit: got %v", err)
	}
}

func TestRights(t *testing.T) {
	m := newMachine(t, wasi.Preview1, local.Config{})
	dir := m.room(24)
	m.want("fdstat", m.call("fd_fdstat_get", 3, dir), vfs.Success)
	base, inheriting := m.u64(dir+8), m.u64(dir+16)
	m.want("drop", m.call("fd_fdstat_set_rights", 3, base&^uint64(wasi.RightUnlink), inheriting&^uint64(wasi.RightWrite)), vfs.Success)
	m.want("regain", m.call("fd_fdstat_set_rights", 3, base, inheriting), vfs.ENOTCAPABLE)
	m.want("unlink", m.call("path_unlink_file", 3, "x"), vfs.ENOTCAPABLE)
	_, e := m.open("f", create, readWrite, 0)
	m.want("open for writing", e, vfs.ENOTCAPABLE)
	fd := m.mustOpen("f", create, uint64(wasi.RightRead), 0)
	m.want("fdstat", m.call("fd_fdstat_get", fd, dir), vfs.Success)
	if got := wasi.Rights(m.u64(dir + 8)); got&wasi.RightRead == 0 || got&wasi.WriteRights != 0 {
		t.Errorf("rights of a reader: %#x", got)
	}
	m.want("path in a file", m.call("path_unlink_file", fd, "x"), vfs.ENOTDIR)
	m.want("bad UTF-8", m.call("path_create_directory", 3, "a\xff"), vfs.EILSEQ)
	m.want("long path", m.call("path_create_directory", 3, strings.Repeat("a/", 3000)), vfs.ENAMETOOLONG)
	m.want("no such socket", m.call("sock_shutdown", 99, 0), vfs.EBADF)
	m.want("no socket", m.call("sock_shutdown", fd, 0), vfs.ENOTSOCK)
}

func TestUnstableLayouts(t *testing.T) {
	m := newMachine(t, wasi.Unstable, local.Config{VirtualClock: true})
	fd := m.mustOpen("f", create, readWrite, 0)
	m.write(fd, "12345")
	st := m.room(64)
	m.want("stat", m.call("fd_filestat_get", fd, st), vfs.Success)
	if m.mem[st+16] != byte(vfs.TypeRegular) || m.u32(st+20) != 1 || m.u64(st+24) != 5 || m.u64(st+56) != 0 {
		t.Errorf("stat: % x", m.mem[st:st+64])
	}
	for whence, want := range []uint64{0: 7, 1: 7, 2: 2} { // current, end, set
		if at, e := m.seek(fd, 2, whence); at != want || e != vfs.Success {
			t.Errorf("whence %d: got %d, %v, want %d", whence, at, e, want)
		}
		m.seek(fd, 5, 2)
	}
	sub := make([]byte, 56)
	binary.LittleEndian.PutUint64(sub, 77)
	binary.LittleEndian.PutUint32(sub[24:], wasi.Monotonic)
	binary.LittleEndian.PutUint64(sub[32:], 5e9)
	in, out, n := m.put(sub), m.room(32), m.room(4)
	m.want("poll", m.call("poll_oneoff", in, out, 1, n), vfs.Success)
	if m.u32(n) != 1 || m.u64(out) != 77 || m.mem[out+10] != 0 {
		t.Errorf("poll: %d events, % x", m.u32(n), m.mem[out:out+32])
	}
}

func TestVirtualClock(t *testing.T) {
	m := newMachine(t, wasi.Preview1, local.Config{VirtualClock: true})
	now := func(id int) uint64 {
		out := m.room(8)
		m.want("clock", m.call("clock_time_get", id, uint64(0), out), vfs.Success)
		return m.u64(out)
	}
	if a, b := now(1), now(1); a != 1e6 || b != 2e6 {
		t.Errorf("monotonic: got %d, %d", a, b)
	}
	wall := now(0)
	sub := make([]byte, 48)
	binary.LittleEndian.PutUint32(sub[16:], wasi.Monotonic)
	binary.LittleEndian.PutUint64(sub[24:], 1e9)
	in, out, n := m.put(sub), m.room(32), m.room(4)
	m.want("sleep", m.call("poll_oneoff", in, out, 1, n), vfs.Success)
	if got := now(1); got != 1003e6 {
		t.Errorf("monotonic after a second of sleep: got %d", got)
	}
	if got := now(0); got != wall+1001e6 {
		t.Errorf("wall clock after a second of sleep: got %d, before %d", got, wall)
	}
	binary.LittleEndian.PutUint16(sub[40:], 1) // a time that is past
	m.want("absolute", m.call("poll_oneoff", m.put(sub), out, 1, n), vfs.Success)
	if got := now(1); got != 1004e6 {
		t.Errorf("a time that is past took until %d", got)
	}
	m.want("no subscription", m.call("poll_oneoff", in, out, 0, n), vfs.EINVAL)
	m.want("clock 2", m.call("clock_time_get", 2, uint64(0), out), vfs.EINVAL)
}

func TestPollDescriptors(t *testing.T) {
	m := newMachine(t, wasi.Preview1, local.Config{Stdin: strings.NewReader("x")})
	fd := m.mustOpen("f", create, readWrite, 0)
	m.write(fd, "1234")
	var subs []byte
	for i, s := range [][2]uint32{{1, 0}, {2, 1}, {1, fd}, {1, 99}, {0, 1}} {
		b := make([]byte, 48)
		binary.LittleEndian.PutUint64(b, uint64(i)+100)
		b[8] = byte(s[0])
		binary.LittleEndian.PutUint32(b[16:], s[1])
		binary.LittleEndian.PutUint64(b[24:], 1<<60)
		subs = append(subs, b...)
	}
	in, out, n := m.put(subs), m.room(5*32), m.room(4)
	m.want("poll", m.call("poll_oneoff", in, out, 5, n), vfs.Success)
	var got []string
	for i := range m.u32(n) {
		e := m.mem[out+32*i:]
		got = append(got, fmt.Sprintf("%d %v %d %d", binary.LittleEndian.Uint64(e),
			vfs.Errno(binary.LittleEndian.Uint16(e[8:])), e[10], binary.LittleEndian.Uint64(e[16:])))
	}
	want := []string{"100 success 1 1", "101 success 2 1", "102 success 1 4", "103 EBADF 1 0"}
	if !slices.Equal(got, want) {
		t.Errorf("events: got %v, want %v", got, want)
	}
}
