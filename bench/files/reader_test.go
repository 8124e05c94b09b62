package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/clonecloud/clonecloud"
	"github.com/clonecloud/clonecloud/examples"
)

// The reader, in C, and what is held against it, in Go, come to the same.
func TestReaderReadsWhatItShould(t *testing.T) {
	dir := t.TempDir()
	spec := treeSpec{files: 300, bytes: 3e6, seed: 1}
	if _, err := spec.generate(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"empty": 0, "seven": 7, "eight": 8, "part-00/block": 64 << 10, "part-00/more": 64<<10 + 1} {
		if err := os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte("x"), size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	p, err := clonecloud.Load(t.Context(), clonecloud.Config{
		Module: readerWasm, Mounts: []clonecloud.Mount{{Host: dir, Guest: examples.Mount, ReadOnly: true}}, Stdout: &out,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	proc, err := p.Start(t.Context(), clonecloud.StartConfig{})
	if err != nil {
		t.Fatal(err)
	}
	call := func(name string, args ...uint64) uint64 {
		r, err := proc.Call(t.Context(), name, args...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return r[0]
	}
	check := func(what string, sum uint64, want digested, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if got := (digested{sum, call("bytes"), call("files")}); got != want {
			t.Errorf("%s: got %+v, want %+v", what, got, want)
		}
	}
	want, err := scanned(dir)
	check("scan", call("scan"), want, err)
	if want.files != 305 || out.String() != "scanning\n" {
		t.Errorf("scan: %d files, output %q", want.files, out.String())
	}
	for _, tt := range []struct {
		seed     uint64
		permille int
		files    uint64
	}{{1, 10, 3}, {2, 10, 3}, {3, 0, 1}, {4, 1000, 305}, {5, 5000, 305}} {
		want, err := sampled(dir, tt.seed, tt.permille)
		check("sample", call("sample", tt.seed, uint64(tt.permille)), want, err)
		if want.files != tt.files {
			t.Errorf("sample of %d in 1000: %d files, want %d", tt.permille, want.files, tt.files)
		}
	}
}

// The committed module is what its source builds to, with the compiler that it was built with.
func TestReaderMatchesItsSource(t *testing.T) {
	version, err := exec.Command("clang", "--version").Output()
	if err != nil || !bytes.Contains(version, []byte("Debian clang version 14.0.6")) {
		t.Skip("needs Debian 12's clang")
	}
	if _, err := os.Stat("/usr/lib/wasm32-wasi/libc.a"); err != nil {
		t.Skip("needs wasi-libc")
	}
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("needs make")
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "src"), os.DirFS("src")); err != nil {
		t.Fatal(err)
	}
	if text, err := exec.Command("make", "-s", "-C", filepath.Join(dir, "src")).CombinedOutput(); err != nil {
		t.Fatalf("make: %v\n%s", err, text)
	}
	built, err := os.ReadFile(filepath.Join(dir, "reader.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(built, readerWasm) {
		t.Error("reader.wasm is not what its source builds to: run make in bench/files/src")
	}
}
