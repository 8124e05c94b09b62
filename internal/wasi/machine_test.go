package wasi_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// machine calls the functions as a guest would.
type machine struct {
	t    testing.TB
	sys  *local.System
	p    *wasi.Process
	mem  []byte
	fs   *vfs.Mem
	fun  map[string]wasi.Func
	free uint32 // of mem
}

func newMachine(t testing.TB, abi wasi.ABI, cfg local.Config) *machine {
	t.Helper()
	m := &machine{t: t, mem: make([]byte, 1<<20), fs: vfs.NewMem(vfs.MemOptions{}), fun: map[string]wasi.Func{}, free: 1024}
	cfg.Mounts = append(cfg.Mounts, local.Mount{FS: m.fs, Guest: "/"})
	var err error
	if m.sys, err = local.New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.sys.Close() })
	m.p = &wasi.Process{State: m.sys.NewState([]string{"prog", "arg"}, []string{"K=v"}, [32]byte{7}), System: m.sys}
	for _, f := range wasi.Funcs(m.p, abi) {
		m.fun[f.Name] = f
	}
	return m
}

// call runs a function; numbers of any integer type and strings (as pointer and length) are arguments.
func (m *machine) call(name string, args ...any) wasi.Errno {
	m.t.Helper()
	e, err := m.try(name, args...)
	if err != nil {
		m.t.Fatalf("%s: %v", name, err)
	}
	return e
}

func (m *machine) try(name string, args ...any) (wasi.Errno, error) {
	m.t.Helper()
	stack := make([]uint64, 0, 16)
	for _, a := range args {
		switch v := a.(type) {
		case string:
			stack = append(stack, uint64(m.put([]byte(v))), uint64(len(v)))
		case int:
			stack = append(stack, uint64(v))
		case uint32:
			stack = append(stack, uint64(v)|0xdead<<32) // the upper half is anything
		case uint64:
			stack = append(stack, v)
		default:
			m.t.Fatalf("argument of type %T", a)
		}
	}
	f := m.fun[name]
	if len(f.Params) != len(stack) {
		m.t.Fatalf("%s: %d arguments, takes %d", name, len(stack), len(f.Params))
	}
	stack = append(stack, 0)
	err := f.Call(m.t.Context(), m.mem, stack)
	return wasi.Errno(stack[0]), err
}

// put stores bytes in fresh memory.
func (m *machine) put(b []byte) uint32 {
	at := m.free
	m.free += (uint32(len(b)) + 15) &^ 7
	copy(m.mem[at:], b)
	return at
}

// room is fresh zeroed memory.
func (m *machine) room(n int) uint32 { return m.put(make([]byte, n)) }

func (m *machine) u32(at uint32) uint32 { return binary.LittleEndian.Uint32(m.mem[at:]) }
func (m *machine) u64(at uint32) uint64 { return binary.LittleEndian.Uint64(m.mem[at:]) }

// vec makes a vector of buffers.
func (m *machine) vec(bufs ...[]byte) (at uint32, where []uint32) {
	var table []byte
	for _, b := range bufs {
		p := m.put(b)
		where = append(where, p)
		table = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(table, p), uint32(len(b)))
	}
	return m.put(table), where
}

const (
	readWrite = uint64(wasi.RightRead | wasi.RightWrite)
	create    = 1
)

// open opens a path below the mount.
func (m *machine) open(path string, oflags int, rights uint64, fdflags int) (uint32, wasi.Errno) {
	m.t.Helper()
	out := m.room(4)
	e := m.call("path_open", 3, 1, path, oflags, rights, ^uint64(0), fdflags, out)
	return m.u32(out), e
}

func (m *machine) mustOpen(path string, oflags int, rights uint64, fdflags int) uint32 {
	m.t.Helper()
	fd, e := m.open(path, oflags, rights, fdflags)
	m.want("open "+path, e, vfs.Success)
	return fd
}

func (m *machine) want(what string, got, want wasi.Errno) {
	m.t.Helper()
	if got != want {
		m.t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func (m *machine) write(fd uint32, text ...string) (uint32, wasi.Errno) {
	m.t.Helper()
	var bufs [][]byte
	for _, s := range text {
		bufs = append(bufs, []byte(s))
	}
	vec, _ := m.vec(bufs...)
	out := m.room(4)
	e := m.call("fd_write", fd, vec, len(bufs), out)
	return m.u32(out), e
}

func (m *machine) read(fd uint32, sizes ...int) (string, wasi.Errno) {
	m.t.Helper()
	var bufs [][]byte
	for _, n := range sizes {
		bufs = append(bufs, make([]byte, n))
	}
	vec, where := m.vec(bufs...)
	out := m.room(4)
	e := m.call("fd_read", fd, vec, len(bufs), out)
	n, got := m.u32(out), ""
	for i, w := range where {
		k := min(n, uint32(sizes[i]))
		got += string(m.mem[w : w+k])
		n -= k
	}
	return got, e
}

func (m *machine) seek(fd uint32, delta int64, whence int) (uint64, wasi.Errno) {
	m.t.Helper()
	out := m.room(8)
	e := m.call("fd_seek", fd, uint64(delta), whence, out)
	return m.u64(out), e
}

// broken is a writer that takes n bytes and then fails.
type broken struct {
	n   int
	err error
	got []byte
}

func (w *broken) Write(p []byte) (int, error) {
	k := min(w.n, len(p))
	w.n -= k
	w.got = append(w.got, p[:k]...)
	if k < len(p) {
		return k, w.err
	}
	return k, nil
}

var errBroken = errors.New("broken")
