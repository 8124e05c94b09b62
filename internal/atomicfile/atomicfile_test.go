package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// only fails unless the folder has just these names.
func only(t *testing.T, dir string, want ...string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range list {
		got = append(got, d.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got files %v, want %v", got, want)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	for _, want := range []string{"one", "", "three"} {
		if err := Write(path, []byte(want), 0o640); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	if info, _ := os.Stat(path); runtime.GOOS != "windows" && info.Mode().Perm() != 0o640 {
		t.Errorf("got mode %v", info.Mode())
	}
	only(t, dir, "a")
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	if err := Write(path, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := put(path, 0o600, func(f *os.File) error {
		_, _ = f.WriteString("hal")
		return &fs.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
	}, os.Rename)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v, want ENOSPC", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "before" {
		t.Errorf("got %q", got)
	}
	only(t, dir, "a")
}

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	const n = 16
	var won [n]bool
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			err := Create(path, fmt.Append(nil, i), 0o600)
			won[i] = err == nil
			if err != nil && !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range won {
		if won[i] != (string(got) == fmt.Sprint(i)) {
			t.Errorf("file of %s, and %d won: %v", got, i, won[i])
		}
	}
	only(t, dir, "a")
}

func TestKey(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sub", "key")
	var keys [8][32]byte
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			k, err := Key(path)
			if err != nil {
				t.Error(err)
			}
			keys[i] = k
		})
	}
	wg.Wait()
	for _, k := range keys {
		if k != keys[0] || k == ([32]byte{}) {
			t.Error("keys differ or are empty")
		}
	}
	only(t, filepath.Dir(path), "key")
	for name, text := range map[string]string{
		"empty": "", "short": "AAAA\n", "long": strings.Repeat("A", 300), "other characters": strings.Repeat("*", 43),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Key(path)
			if err == nil || !strings.Contains(err.Error(), path) || len(text) > 10 && strings.Contains(err.Error(), text[:10]) {
				t.Errorf("got %v, want one that names the file and not what is in it", err)
			}
		})
	}
}

func TestPrivateMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	path := filepath.Join(t.TempDir(), "key")
	if _, err := Key(path); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v", info.Mode())
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Key(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %v: got %v", mode, err)
		}
	}
	if b, err := Shared(path, 100, nil); err != nil || len(b) != 44 {
		t.Errorf("got %d bytes, %v", len(b), err)
	}
	if _, err := Shared(filepath.Dir(path), 100, nil); err == nil {
		t.Error("a folder was loaded")
	}
}

func TestFreshFails(t *testing.T) {
	dir := t.TempDir()
	want := errors.New("no")
	if _, err := Private(filepath.Join(dir, "a"), 10, func() ([]byte, error) { return nil, want }); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
	only(t, dir)
	if got, err := Private(filepath.Join(dir, "a"), 10, func() ([]byte, error) { return []byte("x"), nil }); err != nil || !bytes.Equal(got, []byte("x")) {
		t.Errorf("got %q, %v", got, err)
	}
}
