package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
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
	"time"
)

func module(n int) (id [32]byte, b []byte) {
	b = bytes.Repeat(fmt.Append(nil, n%10), 100)
	b = append(b, fmt.Append(nil, n)...)
	return sha256.Sum256(b), b
}

func open(t *testing.T, quota uint64) *Modules {
	t.Helper()
	m, err := Open(filepath.Join(t.TempDir(), "modules"), quota)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func names(t *testing.T, dir string) int {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestModules(t *testing.T) {
	m := open(t, 0)
	id, want := module(1)
	if _, err := m.Load(id); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v before", err)
	}
	if m.Has(id) {
		t.Error("has what was not saved")
	}
	for range 2 {
		if err := m.Save(id, want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := m.Load(id)
	if err != nil || !bytes.Equal(got, want) || !m.Has(id) {
		t.Errorf("got %q, %v", got, err)
	}
	other, _ := module(2)
	if err := m.Save(other, want); err == nil || m.Has(other) {
		t.Errorf("got %v for a module with another hash", err)
	}
	if n := names(t, m.f.dir); n != 1 {
		t.Errorf("got %d files", n)
	}
}

func TestDamagedModule(t *testing.T) {
	id, want := module(1)
	for name, damage := range map[string]func(path string) error{
		"changed":   func(path string) error { return os.WriteFile(path, append([]byte{1}, want[1:]...), 0o600) },
		"truncated": func(path string) error { return os.Truncate(path, 10) },
		"empty":     func(path string) error { return os.Truncate(path, 0) },
		"too large": func(path string) error { return os.Truncate(path, MaxFile+1) },
		"folder": func(path string) error {
			return errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "more"), 0o700))
		},
		"dangling link": func(path string) error {
			if runtime.GOOS == "windows" {
				return os.Remove(path)
			}
			return errors.Join(os.Remove(path), os.Symlink("/nowhere", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := open(t, 1000)
			if err := m.Save(id, want); err != nil {
				t.Fatal(err)
			}
			if err := damage(m.f.path(id)); err != nil {
				t.Fatal(err)
			}
			if b, err := m.Load(id); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("got %d bytes, %v, want an error that matches ErrNotExist", len(b), err)
			}
			if m.Has(id) || names(t, m.f.dir) != 0 {
				t.Error("it was not removed")
			}
			if err := damageAgain(damage, m, id, want); err != nil {
				t.Errorf("save over it: %v", err)
			}
			if _, err := m.Load(id); err != nil {
				t.Errorf("load after saving anew: %v", err)
			}
		})
	}
}

func damageAgain(damage func(string) error, m *Modules, id [32]byte, want []byte) error {
	return errors.Join(m.Save(id, want), damage(m.f.path(id)), m.Save(id, want))
}

func TestQuota(t *testing.T) {
	m := open(t, 350) // three of them
	at := time.Now().Add(-time.Hour)
	for i := range 3 {
		id, b := module(i)
		if err := m.Save(id, b); err != nil {
			t.Fatal(err)
		}
		used := at.Add(time.Duration(i) * time.Minute)
		if err := os.Chtimes(m.f.path(id), used, used); err != nil {
			t.Fatal(err)
		}
	}
	foreign := filepath.Join(m.f.dir, "notes.txt")
	stale, fresh := filepath.Join(m.f.dir, ".tmp-1"), filepath.Join(m.f.dir, ".tmp-2")
	for _, path := range []string{foreign, stale, fresh} {
		if err := os.WriteFile(path, make([]byte, 1000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chtimes(stale, at, at.Add(-time.Hour)), os.Mkdir(filepath.Join(m.f.dir, "folder"), 0o700)); err != nil {
		t.Fatal(err)
	}
	oldest, _ := module(0)
	if _, err := m.Load(oldest); err != nil { // now the newest
		t.Fatal(err)
	}
	id, b := module(3)
	if err := m.Save(id, b); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false, true, true} {
		id, _ := module(i)
		if got := m.Has(id); got != want {
			t.Errorf("module %d: got %v, want %v", i, got, want)
		}
	}
	for path, want := range map[string]bool{foreign: true, stale: false, fresh: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: got %v, want it there: %v", path, err, want)
		}
	}
	large := make([]byte, 351)
	if err := m.Save(sha256.Sum256(large), large); !errors.Is(err, ErrQuota) {
		t.Errorf("got %v, want ErrQuota", err)
	}
	if err := m.Save(id, b); err != nil || names(t, m.f.dir) != 6 { // replacing makes no room
		t.Errorf("got %v, %d files", err, names(t, m.f.dir))
	}
	less, err := Open(m.f.dir, 150)
	if err != nil || !less.Has(id) || less.Has(oldest) {
		t.Errorf("%v: a smaller quota does not hold at once", err)
	}
}

func TestFullDisk(t *testing.T) {
	m := open(t, 0)
	m.f.write = func(path string, _ []byte, _ fs.FileMode) error {
		return &fs.PathError{Op: "write", Path: path, Err: syscall.ENOSPC}
	}
	id, b := module(1)
	err := m.Save(id, b)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "disk of "+m.f.dir+" is full") {
		t.Errorf("got %v", err)
	}
}

func TestAtOnce(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for g := range 4 {
		m, err := Open(dir, 500) // as another process would
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for i := range 25 {
				id, want := module((g + i) % 8)
				if err := m.Save(id, want); err != nil {
					t.Error(err)
				}
				if got, err := m.Load(id); err == nil && !bytes.Equal(got, want) || err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Errorf("got %d bytes, %v", len(got), err)
				}
			}
		})
	}
	wg.Wait()
}

func openCode(t *testing.T, key byte) *Code {
	t.Helper()
	c, err := OpenCode(filepath.Join(t.TempDir(), "code"), [32]byte{key}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var compiled = map[string]string{"wazero-v1/aa": "machine code", "wazero-v1/bb": "", "c": strings.Repeat("x", 5000)}

// keep writes compiled into a folder and keeps it.
func keep(t *testing.T, c *Code, id [32]byte) {
	t.Helper()
	from := t.TempDir()
	var list []string
	for name, text := range compiled {
		path := filepath.Join(from, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		list = append(list, name)
	}
	if err := c.Keep(id, from, list); err != nil {
		t.Fatal(err)
	}
}

func TestCode(t *testing.T) {
	c, id := openCode(t, 1), [32]byte{9}
	if found, err := c.Fetch(id, t.TempDir()); found || err != nil {
		t.Errorf("got %v, %v before", found, err)
	}
	keep(t, c, id)
	keep(t, c, id)
	into := t.TempDir()
	for range 2 {
		if found, err := c.Fetch(id, into); !found || err != nil {
			t.Fatalf("got %v, %v", found, err)
		}
	}
	for name, want := range compiled {
		if got, err := os.ReadFile(filepath.Join(into, filepath.FromSlash(name))); err != nil || string(got) != want {
			t.Errorf("%s: got %d bytes, %v", name, len(got), err)
		}
	}
	if n := names(t, into); n != 2 {
		t.Errorf("got %d names in the folder", n)
	}
	if _, err := c.Fetch(id, filepath.Join(into, "absent")); err == nil {
		t.Error("fetched into a folder that is not there")
	}
	if runtime.GOOS != "windows" { // what is in the private folder leads nowhere else
		into, outside := t.TempDir(), t.TempDir()
		if err := os.Symlink(outside, filepath.Join(into, "wazero-v1")); err != nil {
			t.Fatal(err)
		}
		if found, err := c.Fetch(id, into); found || err == nil || names(t, outside) != 0 {
			t.Errorf("got %v, %v, %d files outside", found, err, names(t, outside))
		}
	}
}

func TestUntrustedCode(t *testing.T) {
	id := [32]byte{9}
	resealed := func(change func(b []byte) []byte) func(b []byte) []byte {
		return func(b []byte) []byte {
			b = change(b)
			copy(b[macAt:], mac([32]byte{1}, b))
			return b
		}
	}
	for name, damage := range map[string]func(b []byte) []byte{
		"empty":          func([]byte) []byte { return nil },
		"header only":    func(b []byte) []byte { return b[:filesAt-1] },
		"truncated":      func(b []byte) []byte { return b[:len(b)-1] },
		"longer":         func(b []byte) []byte { return append(b, 0) },
		"changed":        func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"changed MAC":    func(b []byte) []byte { b[macAt] ^= 1; return b },
		"other count":    func(b []byte) []byte { b[12]++; return b },
		"other magic":    resealed(func(b []byte) []byte { b[0]++; return b }),
		"other version":  resealed(func(b []byte) []byte { b[8]++; return b }),
		"other module":   resealed(func(b []byte) []byte { b[16]++; return b }),
		"sealed longer":  resealed(func(b []byte) []byte { return append(b, 0) }),
		"sealed shorter": resealed(func(b []byte) []byte { return b[:len(b)-1] }),
		"no files":       resealed(func(b []byte) []byte { b[12] = 0; return b[:filesAt] }),
		"many files":     resealed(func(b []byte) []byte { binary.LittleEndian.PutUint32(b[12:], 1<<31); return b }),
		"bad name":       resealed(func(b []byte) []byte { b[filesAt+2] = '/'; return b }),
		"huge file": resealed(func(b []byte) []byte {
			n := int(binary.LittleEndian.Uint16(b[filesAt:]))
			binary.LittleEndian.PutUint64(b[filesAt+2+n:], 1<<63)
			return b
		}),
	} {
		t.Run(name, func(t *testing.T) {
			c := openCode(t, 1)
			keep(t, c, id)
			b, err := os.ReadFile(c.f.path(id))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(c.f.path(id), damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			into := t.TempDir()
			if found, err := c.Fetch(id, into); found || err != nil {
				t.Errorf("got %v, %v, want false", found, err)
			}
			if names(t, into) != 0 || names(t, c.f.dir) != 0 {
				t.Error("something was written, or the file was not removed")
			}
		})
	}
	t.Run("other key", func(t *testing.T) {
		c := openCode(t, 1)
		keep(t, c, id)
		c.key[0]++
		if found, err := c.Fetch(id, t.TempDir()); found || err != nil {
			t.Errorf("got %v, %v, want false", found, err)
		}
	})
}

func TestKeepRefuses(t *testing.T) {
	c, from := openCode(t, 1), t.TempDir()
	if err := os.WriteFile(filepath.Join(from, "a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, list := range [][]string{
		{}, {"../a"}, {"/a"}, {"a/../a"}, {"."}, {""}, {`a\b`}, {"c:a"}, {"a\x00"}, {strings.Repeat("a", 256)}, {"absent"}, {"a", "a"},
		make([]string, maxFiles+1),
	} {
		if err := c.Keep([32]byte{}, from, list); err == nil || names(t, c.f.dir) != 0 {
			t.Errorf("%.40q: got %v", list, err)
		}
	}
	if err := os.Mkdir(filepath.Join(from, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := c.Keep([32]byte{}, from, []string{"d"}); err == nil {
		t.Error("kept a folder")
	}
}

func TestLoadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "code.key")
	one, err := LoadKey(path)
	two, err2 := LoadKey(path)
	if one != two || err != nil || err2 != nil {
		t.Errorf("got %v, %v, the same: %v", err, err2, one == two)
	}
}

func FuzzUnseal(f *testing.F) {
	key, id := [32]byte{1}, [32]byte{2}
	good, err := seal(key, id, []file{{"a/b", []byte("text")}, {"c", nil}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, true)
	f.Add(good[:len(good)-1], true)
	f.Add(good[:filesAt], true)
	f.Add([]byte(magic), false)
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		b = bytes.Clone(b)
		if sealed && len(b) >= filesAt { // else nothing comes past the MAC
			copy(b[16:], id[:])
			copy(b[macAt:], mac(key, b))
		}
		files, err := unseal(b, key, id)
		if err != nil {
			return
		}
		for _, f := range files {
			if err := checkName(f.name); err != nil {
				t.Error(err)
			}
		}
		again, err := seal(key, id, files)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("sealed again it is another: %v", err)
		}
	})
}
