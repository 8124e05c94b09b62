package wasm_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wasm/validate"
)

// large is a module of at least size bytes: a real program whose functions are there many times.
func large(b *testing.B, size int) []byte {
	bin, err := os.ReadFile(filepath.Join(corpus(b), "imports/wasi_snapshot_preview1/testdata/zig-cc/wasi.wasm"))
	if err != nil {
		b.Skip(err)
	}
	m, err := wasm.Decode(bin)
	if err != nil {
		b.Fatal(err)
	}
	m.Customs = nil
	for once := m.Funcs; len(bin) < size; bin = m.Encode() {
		for range 1 + (size-len(bin))/(64<<10) {
			m.Funcs = append(m.Funcs, once...)
		}
	}
	return bin
}

func Benchmark(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int
	}{{"3MB", 3_400_000}, {"30MB", 30_000_000}} {
		bin := large(b, size.bytes)
		m, err := wasm.Decode(bin)
		if err != nil {
			b.Fatal(err)
		}
		run := func(name string, f func()) {
			b.Run(name+"/"+size.name, func(b *testing.B) {
				b.SetBytes(int64(len(bin)))
				b.ReportAllocs()
				for b.Loop() {
					f()
				}
			})
		}
		run("Decode", func() { _, err = wasm.Decode(bin) })
		run("CheckBodies", func() { err = m.CheckBodies() })
		run("Validate", func() { err = validate.Module(m) })
		run("Encode", func() { m.Encode() })
		if err != nil {
			b.Fatal(err)
		}
	}
}
