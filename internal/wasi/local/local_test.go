package local_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

func newSystem(t testing.TB, cfg local.Config) *local.System {
	t.Helper()
	s, err := local.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func do(t testing.TB, s wasi.System, req wasi.Request) (wasi.Response, wasi.Errno) {
	t.Helper()
	var resp wasi.Response
	if err := wasi.Serve(t.Context(), s, &req, &resp); err != nil {
		t.Fatal(err)
	}
	return resp, resp.Errno
}

func want(t testing.TB, what string, got, want wasi.Errno) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

const (
	stdin  = 1 // handles, in the order in which they are issued
	stdout = 2
	root   = 4
)

// TestIdentity: the same operations give the same numbers whatever the tree, and no number comes back.
func TestIdentity(t *testing.T) {
	seen := map[string]string{}
	for name, tree := range trees {
		s := newSystem(t, local.Config{Mounts: []local.Mount{{FS: tree(t, ""), Guest: "/"}}})
		var log strings.Builder
		for _, step := range []string{"put b", "put a", "mkdir d", "put d/c", "ls", "rm a", "put a", "ls", "mv b a", "ls", "put e", "ls"} {
			verb, path, _ := strings.Cut(step, " ")
			var resp wasi.Response
			var e wasi.Errno
			switch verb {
			case "put":
				resp, e = do(t, s, wasi.Request{Op: wasi.OpOpen, Handle: root, Path: path, Flags: wasi.FlagCreate, Rights: wasi.RightWrite})
				want(t, "close", second(do(t, s, wasi.Request{Op: wasi.OpClose, Handle: resp.Handle})), vfs.Success)
				fmt.Fprintln(&log, step, resp.Handle, resp.Stat.Dev, resp.Stat.Ino)
			case "mkdir":
				_, e = do(t, s, wasi.Request{Op: wasi.OpMkdir, Handle: root, Path: path})
			case "rm":
				_, e = do(t, s, wasi.Request{Op: wasi.OpUnlink, Handle: root, Path: path})
			case "mv":
				from, to, _ := strings.Cut(path, " ")
				_, e = do(t, s, wasi.Request{Op: wasi.OpRename, Handle: root, Path: from, Handle2: root, Path2: to})
			case "ls":
				resp, e = do(t, s, wasi.Request{Op: wasi.OpReadDir, Handle: root, Size: 1000})
				fmt.Fprintf(&log, "ls %x\n", resp.Data)
			}
			want(t, step, e, vfs.Success)
		}
		seen[name] = log.String()
	}
	if seen["host"] != seen["mem"] {
		t.Errorf("numbers differ:\n%s%s", seen["host"], seen["mem"])
	}
}

func second[A, B any](_ A, b B) B { return b }

func TestReadOnlyMount(t *testing.T) {
	m := vfs.NewMem(vfs.MemOptions{})
	d, err := m.Root()
	if err != nil {
		t.Fatal(err)
	}
	if err := putFile(d, "f", []byte("text")); err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, local.Config{Mounts: []local.Mount{{FS: m, Guest: "/", ReadOnly: true}, {FS: m, Guest: "/rw"}}})
	for _, req := range []wasi.Request{
		{Op: wasi.OpOpen, Path: "f", Rights: wasi.RightWrite},
		{Op: wasi.OpOpen, Path: "f", Flags: wasi.FlagTruncate},
		{Op: wasi.OpOpen, Path: "new", Flags: wasi.FlagCreate},
		{Op: wasi.OpOpen, Path: "new", Flags: wasi.FlagCreate | wasi.FlagExclusive},
		{Op: wasi.OpMkdir, Path: "d"}, {Op: wasi.OpUnlink, Path: "f"}, {Op: wasi.OpRmdir, Path: "d"},
		{Op: wasi.OpRename, Path: "f", Handle2: root, Path2: "g"},
		{Op: wasi.OpRename, Path: "f", Handle2: root + 1, Path2: "g"},
		{Op: wasi.OpLink, Path: "f", Handle2: root, Path2: "g"},
		{Op: wasi.OpLink, Path: "f", Handle2: root + 1, Path2: "g"},
		{Op: wasi.OpSymlink, Path: "f", Handle2: root, Path2: "g"},
		{Op: wasi.OpSetTimesPath, Path: "f", Flags: wasi.FlagMtime}, {Op: wasi.OpSetTimes, Flags: wasi.FlagMtime},
	} {
		req.Handle = root
		want(t, fmt.Sprint(req.Op, " ", req.Path), second(do(t, s, req)), vfs.EROFS)
	}
	resp, e := do(t, s, wasi.Request{Op: wasi.OpOpen, Handle: root, Path: "f", Flags: wasi.FlagCreate, Rights: wasi.RightRead})
	want(t, "open what exists", e, vfs.Success)
	got, e := do(t, s, wasi.Request{Op: wasi.OpReadAt, Handle: resp.Handle, Size: 10})
	if e != vfs.Success || string(got.Data) != "text" {
		t.Errorf("read: got %q, %v", got.Data, e)
	}
	want(t, "open exclusively", second(do(t, s, wasi.Request{
		Op: wasi.OpOpen, Handle: root, Path: "f", Flags: wasi.FlagCreate | wasi.FlagExclusive,
	})), vfs.EEXIST)
}

// TestDishonestRequests: what no guest's functions would ask for is refused by the device itself.
func TestDishonestRequests(t *testing.T) {
	s := newSystem(t, local.Config{Stdin: strings.NewReader("secret"), Mounts: []local.Mount{{FS: memTree(t, ""), Guest: "/"}}})
	resp, e := do(t, s, wasi.Request{Op: wasi.OpOpen, Handle: root, Path: "f", Flags: wasi.FlagCreate, Rights: wasi.RightRead})
	want(t, "open", e, vfs.Success)
	reader := resp.Handle
	for _, c := range []struct {
		req  wasi.Request
		want wasi.Errno
	}{
		{wasi.Request{Op: wasi.OpWriteAt, Handle: reader, Data: []byte("x")}, vfs.ENOTCAPABLE},
		{wasi.Request{Op: wasi.OpAppend, Handle: reader, Data: []byte("x")}, vfs.ENOTCAPABLE},
		{wasi.Request{Op: wasi.OpSetSize, Handle: reader, Size: 5}, vfs.ENOTCAPABLE},
		{wasi.Request{Op: wasi.OpAllocate, Handle: reader, Size: 5}, vfs.ENOTCAPABLE},
		{wasi.Request{Op: wasi.OpReadDir, Handle: reader, Size: 5}, vfs.ENOTDIR},
		{wasi.Request{Op: wasi.OpOutput, Handle: reader, Data: []byte("x")}, vfs.ESPIPE},
		{wasi.Request{Op: wasi.OpMkdir, Handle: reader, Path: "x"}, vfs.ENOTDIR},
		{wasi.Request{Op: wasi.OpRead, Handle: stdout, Size: 5}, vfs.ENOTCAPABLE},
		{wasi.Request{Op: wasi.OpOutput, Handle: stdin, Data: []byte("x")}, vfs.ENOTCAPABLE},
		{wasi.Request{Op: wasi.OpReadAt, Handle: stdin, Size: 5}, vfs.EINVAL},
		{wasi.Request{Op: wasi.OpReadAt, Handle: root, Size: 5}, vfs.ENOTCAPABLE},
		{wasi.Request{Op: wasi.OpRead, Handle: reader, Size: 1 << 40}, vfs.EINVAL},
		{wasi.Request{Op: wasi.OpOpen, Handle: root, Path: "../f"}, vfs.EPERM},
		{wasi.Request{Op: wasi.OpStatPath, Handle: root, Path: "/etc/passwd"}, vfs.EPERM},
		{wasi.Request{Op: wasi.OpStat, Handle: 999}, vfs.EBADF},
		{wasi.Request{Op: wasi.OpRename, Handle: root, Path: "f", Handle2: 999, Path2: "g"}, vfs.EBADF},
		{wasi.Request{Op: wasi.OpPoll, Data: []byte("short")}, vfs.EINVAL},
		{wasi.Request{Op: wasi.OpSleep}, vfs.EINVAL},
		{wasi.Request{Op: wasi.OpNone, Handle: reader}, vfs.EINVAL},
		{wasi.Request{Op: wasi.OpOther, Handle: reader}, vfs.EINVAL},
	} {
		want(t, fmt.Sprint(c.req.Op, " of ", c.req.Handle), second(do(t, s, c.req)), c.want)
	}
	if _, e := do(t, s, wasi.Request{Op: wasi.OpClose, Handle: reader}); e != vfs.Success {
		t.Errorf("close: got %v", e)
	}
	if _, ok := s.Issued(reader); ok {
		t.Error("a closed handle counts as issued")
	}
	want(t, "close again", second(do(t, s, wasi.Request{Op: wasi.OpClose, Handle: reader})), vfs.EBADF)
	for i := 0; ; i++ {
		resp, e := do(t, s, wasi.Request{Op: wasi.OpOpen, Handle: root, Path: "f", Rights: wasi.RightRead})
		if e == vfs.EMFILE {
			break
		}
		if e != vfs.Success || resp.Handle <= reader || i > local.MaxHandles {
			t.Fatalf("open %d: got %v, handle %d", i, e, resp.Handle)
		}
	}
}

func FuzzRequests(f *testing.F) {
	for op := wasi.OpNone; op < wasi.NumOps; op++ {
		f.Add((&wasi.Request{Op: op, Handle: root, Handle2: root, Path: "a", Path2: "b", Data: []byte("0123456789abcdef")}).AppendTo(nil))
		f.Add((&wasi.Request{Op: op, Handle: 5, Size: 9, Offset: 1, Flags: math.MaxUint64, Data: make([]byte, 32)}).AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		outside := t.TempDir()
		inside := outside + "/inside"
		if err := os.Mkdir(inside, 0o777); err != nil {
			t.Fatal(err)
		}
		h, err := vfs.OpenHost(inside)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		s := newSystem(t, local.Config{VirtualClock: true, Mounts: []local.Mount{{FS: h, Guest: "/"}}})
		var req wasi.Request
		if req.Decode(b) != nil {
			return
		}
		_, _ = do(t, s, wasi.Request{Op: wasi.OpOpen, Handle: root, Path: "a", Flags: wasi.FlagCreate, Rights: wasi.RightRead | wasi.RightWrite})
		if req.Op == wasi.OpAllocate || req.Op == wasi.OpSetSize {
			req.Size, req.Offset = req.Size%5000, req.Offset%5000 // the disk is not what is tested
		}
		for range 2 {
			req := req
			var resp wasi.Response
			if err := wasi.Serve(t.Context(), s, &req, &resp); err != nil {
				t.Fatal(err)
			}
			if err := new(wasi.Response).Decode(resp.AppendTo(nil)); err != nil {
				t.Fatalf("answer cannot be sent: %v", err)
			}
		}
		if list, err := os.ReadDir(outside); err != nil || len(list) != 1 {
			t.Fatalf("outside the tree: %v, %v", list, err)
		}
	})
}

func TestFileTypes(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	file, err := os.Create(t.TempDir() + "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s := newSystem(t, local.Config{Stdin: null, Stdout: file, Stderr: io.Discard})
	st := s.NewState(nil, nil, [32]byte{})
	for fd, want := range []vfs.FileType{vfs.TypeCharDevice, vfs.TypeRegular, vfs.TypeUnknown} {
		if got := st.FD(uint32(fd)).Type; got != want {
			t.Errorf("descriptor %d: type %d, want %d", fd, got, want)
		}
	}
	_, e := do(t, s, wasi.Request{Op: wasi.OpOutput, Handle: stdout, Data: []byte("12345")})
	want(t, "write", e, vfs.Success)
	resp, e := do(t, s, wasi.Request{Op: wasi.OpSeek, Handle: stdout, Flags: 1})
	if e != vfs.Success || resp.Value != 5 {
		t.Errorf("seek: got %d, %v", resp.Value, e)
	}
	resp, _ = do(t, s, wasi.Request{Op: wasi.OpStat, Handle: stdout})
	if resp.Stat.Size != 5 {
		t.Errorf("size %d, want 5", resp.Stat.Size)
	}
}

// readers are ways in which input comes.
func readers(t *testing.T) map[string]func() (io.Reader, io.WriteCloser) {
	return map[string]func() (io.Reader, io.WriteCloser){
		"system-pipe": func() (io.Reader, io.WriteCloser) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
			return r, w
		},
		"reader": func() (io.Reader, io.WriteCloser) { return io.Pipe() },
	}
}

func TestStdinCanBeCancelled(t *testing.T) {
	for name, open := range readers(t) {
		t.Run(name, func(t *testing.T) {
			r, w := open()
			s := newSystem(t, local.Config{Stdin: r})
			why := errors.New("the reason")
			ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, why)
			defer cancel()
			req, resp := wasi.Request{Op: wasi.OpRead, Handle: stdin, Size: 100}, wasi.Response{}
			if err := wasi.Serve(ctx, s, &req, &resp); !errors.Is(err, why) {
				t.Errorf("cancelled read: got %v", err)
			}
			// Nothing is lost by it, and what follows comes in order.
			go func() {
				_, _ = w.Write([]byte("first"))
				_, _ = w.Write([]byte("second"))
				_ = w.Close()
			}()
			var got string
			for {
				resp, e := do(t, s, wasi.Request{Op: wasi.OpRead, Handle: stdin, Size: 4})
				if e != vfs.Success {
					t.Fatalf("read: %v", e)
				}
				if resp.N == 0 {
					break
				}
				got += string(resp.Data)
			}
			if got != "firstsecond" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func poll(t *testing.T, s wasi.System, timeout time.Duration, handles ...uint64) []byte {
	t.Helper()
	data := wasi.AppendSub(nil, wasi.Sub{Kind: wasi.SubClock, Clock: wasi.Monotonic, Arg: uint64(timeout)})
	for _, h := range handles {
		data = wasi.AppendSub(data, wasi.Sub{Kind: wasi.SubRead, Arg: h})
	}
	resp, e := do(t, s, wasi.Request{Op: wasi.OpPoll, Data: data})
	want(t, "poll", e, vfs.Success)
	var which []byte
	for b := range slices.Chunk(resp.Data, 16) {
		which = append(which, b[0])
	}
	return which
}

func TestPollStdin(t *testing.T) {
	for name, open := range readers(t) {
		t.Run(name, func(t *testing.T) {
			r, w := open()
			s := newSystem(t, local.Config{Stdin: r})
			if got := poll(t, s, 10*time.Millisecond, stdin); !slices.Equal(got, []byte{0}) {
				t.Errorf("nothing there: got events %v", got)
			}
			_, e := do(t, s, wasi.Request{Op: wasi.OpRead, Handle: stdin, Size: 10, Flags: wasi.FlagNonblock})
			want(t, "read without waiting", e, vfs.EAGAIN)
			go func() {
				_, _ = w.Write([]byte("line"))
				_ = w.Close()
			}()
			if got := poll(t, s, time.Hour, stdin); !slices.Equal(got, []byte{1}) {
				t.Errorf("input: got events %v", got)
			}
			resp, e := do(t, s, wasi.Request{Op: wasi.OpRead, Handle: stdin, Size: 10, Flags: wasi.FlagNonblock})
			if e != vfs.Success || string(resp.Data) != "line" {
				t.Errorf("read: got %q, %v", resp.Data, e)
			}
			if got := poll(t, s, time.Hour, stdin); !slices.Equal(got, []byte{1}) {
				t.Errorf("end: got events %v", got)
			}
		})
	}
}

func TestReaderIsNotReadAhead(t *testing.T) {
	src := strings.NewReader("0123456789")
	s := newSystem(t, local.Config{Stdin: struct{ io.Reader }{src}})
	resp, e := do(t, s, wasi.Request{Op: wasi.OpRead, Handle: stdin, Size: 3})
	if e != vfs.Success || string(resp.Data) != "012" || src.Len() != 7 {
		t.Errorf("got %q, %v, %d left", resp.Data, e, src.Len())
	}
}

func TestFailingReader(t *testing.T) {
	s := newSystem(t, local.Config{Stdin: iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("abc")))})
	var got []string
	for range 5 {
		resp, e := do(t, s, wasi.Request{Op: wasi.OpRead, Handle: stdin, Size: 3})
		got = append(got, fmt.Sprintf("%s %v", resp.Data, e))
	}
	if w := []string{"a success", " EIO", "b success", "c success", " success"}; !slices.Equal(got, w) {
		t.Errorf("got %q, want %q", got, w)
	}
}

func TestSleepCanBeCancelled(t *testing.T) {
	s := newSystem(t, local.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		req := wasi.Request{Op: wasi.OpSleep, Data: wasi.AppendSub(nil, wasi.Sub{Arg: math.MaxUint64})}
		done <- s.Do(ctx, &req, new(wasi.Response))
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestClocksGoOn: a clock goes on from where the process saw it last, whatever this machine's says.
func TestClocksGoOn(t *testing.T) {
	s := newSystem(t, local.Config{})
	const far = uint64(1) << 62
	for id := range uint64(wasi.NumClocks) {
		resp, _ := do(t, s, wasi.Request{Op: wasi.OpClockTime, Flags: id, Realtime: far, Monotonic: far})
		if resp.Value < far {
			t.Errorf("clock %d went back to %d", id, resp.Value)
		}
	}
	a, _ := do(t, s, wasi.Request{Op: wasi.OpClockTime, Flags: wasi.Monotonic, Monotonic: far})
	b, _ := do(t, s, wasi.Request{Op: wasi.OpClockTime, Flags: wasi.Monotonic, Monotonic: far})
	if b.Value < a.Value || b.Value < far {
		t.Errorf("monotonic clock: %d, then %d", a.Value, b.Value)
	}
}

func TestMountFaults(t *testing.T) {
	for _, m := range []local.Mount{{FS: vfs.NewMem(vfs.MemOptions{})}, {FS: vfs.NewMem(vfs.MemOptions{}), Guest: strings.Repeat("x", 5000)}} {
		if _, err := local.New(local.Config{Mounts: []local.Mount{m}}); !errors.Is(err, vfs.EINVAL) {
			t.Errorf("mount of %.10q: got %v", m.Guest, err)
		}
	}
}
