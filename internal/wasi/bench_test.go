package wasi_test

import (
	"os"
	"testing"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// BenchmarkCall measures functions on the device, without an engine around them.
func BenchmarkCall(b *testing.B) {
	h, err := vfs.OpenHost(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	m := newMachine(b, wasi.Preview1, local.Config{Stdout: null, Mounts: []local.Mount{{FS: h, Guest: "/host"}}})
	out := m.room(64)
	open := func(dir int) uint32 {
		m.want("open", m.call("path_open", dir, 1, "f", create, readWrite, ^uint64(0), 0, out), vfs.Success)
		return m.u32(out)
	}
	host, mem := open(3), open(4)
	m.write(host, string(make([]byte, 8192)))
	m.write(mem, string(make([]byte, 8192)))
	path := m.put([]byte("f"))
	vec, _ := m.vec(make([]byte, 4096))
	vec2, _ := m.vec(make([]byte, 4096), make([]byte, 4096))
	for _, c := range []struct {
		name, fun string
		args      []uint64
	}{
		{"clock", "clock_time_get", []uint64{1, 0, uint64(out)}},
		{"random-64", "random_get", []uint64{uint64(out), 64}},
		{"stdout-4k", "fd_write", []uint64{1, uint64(vec), 1, uint64(out)}},
		{"mem-pread-4k", "fd_pread", []uint64{uint64(mem), uint64(vec), 1, 0, uint64(out)}},
		{"mem-pread-2x4k", "fd_pread", []uint64{uint64(mem), uint64(vec2), 2, 0, uint64(out)}},
		{"host-pread-4k", "fd_pread", []uint64{uint64(host), uint64(vec), 1, 0, uint64(out)}},
		{"host-pwrite-4k", "fd_pwrite", []uint64{uint64(host), uint64(vec), 1, 0, uint64(out)}},
		{"host-stat", "path_filestat_get", []uint64{3, 1, uint64(path), 1, uint64(out)}},
	} {
		b.Run(c.name, func(b *testing.B) {
			f, stack := m.fun[c.fun], make([]uint64, 8)
			b.ReportAllocs()
			for b.Loop() {
				copy(stack, c.args)
				if err := f.Call(b.Context(), m.mem, stack); err != nil || stack[0] != 0 {
					b.Fatal(err, stack[0])
				}
			}
		})
	}
}

func BenchmarkState(b *testing.B) {
	m := newMachine(b, wasi.Preview1, local.Config{})
	for range 20 {
		m.mustOpen("f", create, readWrite, 0)
	}
	for b.Loop() {
		data, err := m.p.State.MarshalBinary()
		if err != nil {
			b.Fatal(err)
		}
		if err := new(wasi.State).UnmarshalBinary(data); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(data)), "bytes")
	}
}
