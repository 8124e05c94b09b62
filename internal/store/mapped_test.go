package store

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

const meta = "engine 1, amd64"

// machine returns n bytes of what could be code.
func machine(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	return b
}

func put(t *testing.T, c *Code, id [32]byte, code []byte) (path string) {
	t.Helper()
	if err := c.Put(id, meta, code); err != nil {
		t.Fatal(err)
	}
	return c.mapped.path(mappedName(id, meta))
}

// content reads the code of what is open.
func content(t *testing.T, m *Mapped) []byte {
	t.Helper()
	b, err := os.ReadFile(m.Path())
	if err != nil || int64(len(b)) < m.Size {
		t.Fatalf("read %s: %d bytes of %d, %v", m.Path(), len(b), m.Size, err)
	}
	return b[:m.Size]
}

// absent wants that nothing can be opened, and that nothing is left there.
func absent(t *testing.T, c *Code, id [32]byte) {
	t.Helper()
	m, err := c.Open(id, meta)
	if err == nil {
		m.Close()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want an error that matches ErrNotExist", err)
	}
	if _, err := os.Lstat(c.mapped.path(mappedName(id, meta))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestMapped(t *testing.T) {
	c, id := openCode(t, 1), [32]byte{9}
	absent(t, c, id)
	for _, n := range []int{1, macChunk - 1, macChunk, macChunk + 1, 3*macChunk + 5, 100} {
		want := machine(n)
		path := put(t, c, id, want)
		m, err := c.Open(id, meta)
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if got := content(t, m); !bytes.Equal(got, want) || m.Size != int64(n) {
			t.Errorf("%d bytes: got %d others", n, len(got))
		}
		if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o400 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := names(t, c.f.dir); n != 1 {
		t.Errorf("%d files", n)
	}
	if err := c.Put(id, "another engine", machine(5)); err != nil {
		t.Fatal(err)
	}
	for what, size := range map[string]int64{meta: 100, "another engine": 5} {
		m, err := c.Open(id, what)
		if err != nil || m.Size != size {
			t.Fatalf("%s: got %+v, %v", what, m, err)
		}
		m.Close()
	}
	c.Remove(id, meta)
	absent(t, c, id)
	if err := c.Put(id, meta, nil); err == nil {
		t.Error("put no code")
	}
}

// TestMappedEachByte changes each byte of a file, cuts it at each length, and makes it longer.
func TestMappedEachByte(t *testing.T) {
	c, id := openCode(t, 1), [32]byte{9}
	path := put(t, c, id, machine(100))
	good, err := os.ReadFile(path)
	if err != nil || len(good) != 100+trailerSize {
		t.Fatal(len(good), err)
	}
	try := func(what string, b []byte) {
		t.Helper()
		if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, b, 0o400)); err != nil {
			t.Fatal(err)
		}
		if absent(t, c, id); t.Failed() {
			t.Fatal(what)
		}
	}
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 1 << (i % 8)
		try(fmt.Sprintf("byte %d changed", i), b)
		try(fmt.Sprintf("cut at %d", i), good[:i])
	}
	try("longer", append(bytes.Clone(good), 0))
	try("a byte before", append([]byte{0}, good...))
	try("a byte out of the middle", slices.Delete(bytes.Clone(good), 50, 51))
	try("a byte into the middle", slices.Insert(bytes.Clone(good), 50, 7))
}

// TestMappedChunks changes what lies between the ends of chunks, and the order of chunks.
func TestMappedChunks(t *testing.T) {
	c, id := openCode(t, 1), [32]byte{9}
	path := put(t, c, id, machine(3*macChunk))
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(b []byte){
		"last of a chunk":       func(b []byte) { b[macChunk-1]++ },
		"first of a chunk":      func(b []byte) { b[macChunk]++ },
		"chunks in wrong order": func(b []byte) { copy(b, good[macChunk:2*macChunk]); copy(b[macChunk:], good[:macChunk]) },
		"a chunk twice":         func(b []byte) { copy(b[macChunk:], good[:macChunk]) },
	} {
		b := bytes.Clone(good)
		change(b)
		if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, b, 0o400)); err != nil {
			t.Fatal(err)
		}
		if absent(t, c, id); t.Failed() {
			t.Fatal(name)
		}
	}
}

func TestMappedForeign(t *testing.T) {
	id, other := [32]byte{9}, [32]byte{8}
	for name, replace := range map[string]func(t *testing.T, c *Code, path string) error{
		"other key": func(t *testing.T, c *Code, _ string) error { c.key[31]++; return nil },
		"other module renamed": func(t *testing.T, c *Code, path string) error {
			return os.Rename(put(t, c, other, machine(10)), path)
		},
		"other engine renamed": func(t *testing.T, c *Code, path string) error {
			if err := c.Put(id, "another", machine(10)); err != nil {
				return err
			}
			return os.Rename(c.mapped.path(mappedName(id, "another")), path)
		},
		"sealed file of the other kind": func(t *testing.T, c *Code, path string) error {
			keep(t, c, id)
			return os.Rename(c.f.path(id), path)
		},
		"folder": func(t *testing.T, _ *Code, path string) error {
			return errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "more"), 0o700))
		},
		"link to the same": func(t *testing.T, _ *Code, path string) error {
			if runtime.GOOS == "windows" {
				return os.Remove(path)
			}
			aside := filepath.Join(t.TempDir(), "aside")
			return errors.Join(os.Rename(path, aside), os.Symlink(aside, path))
		},
		"too large": func(t *testing.T, _ *Code, path string) error {
			return errors.Join(os.Chmod(path, 0o600), os.Truncate(path, MaxFile+1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := openCode(t, 1)
			path := put(t, c, id, machine(10))
			if err := replace(t, c, path); err != nil {
				t.Fatal(err)
			}
			absent(t, c, id)
			put(t, c, id, machine(20))
			m, err := c.Open(id, meta)
			if err != nil || !bytes.Equal(content(t, m), machine(20)) {
				t.Fatalf("put anew: %v", err)
			}
			m.Close()
		})
	}
	t.Run("put over a folder", func(t *testing.T) {
		c := openCode(t, 1)
		if err := os.MkdirAll(filepath.Join(c.mapped.path(mappedName(id, meta)), "more"), 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, c, id, machine(20))
		m, err := c.Open(id, meta)
		if err != nil {
			t.Fatal(err)
		}
		m.Close()
	})
}

// TestMappedMAC has a second opinion of what the package comment says of the MAC.
func TestMappedMAC(t *testing.T) {
	c, id, code := openCode(t, 7), [32]byte{9}, machine(macChunk+17)
	b, err := os.ReadFile(put(t, c, id, code))
	if err != nil {
		t.Fatal(err)
	}
	tail := b[len(code):]
	keys, err := hkdf.Key(sha256.New, c.key[:], tail[84:116], "clonecloud: compiled code that is mapped", 64)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(keys[:32])
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	h := hmac.New(sha256.New, keys[32:])
	h.Write(tail[:116])
	h.Write(gcm.Seal(nil, make([]byte, 12), nil, code[:macChunk]))
	h.Write(gcm.Seal(nil, binary.BigEndian.AppendUint64(make([]byte, 4), macChunk), nil, code[macChunk:]))
	engine := sha256.Sum256([]byte(meta))
	want := slices.Concat([]byte("CCLDMAPD\x01\x00\x00\x00"), binary.LittleEndian.AppendUint64(nil, uint64(len(code))), id[:], engine[:], tail[84:116], h.Sum(nil))
	if !bytes.Equal(tail, want) {
		t.Errorf("got %x, want %x", tail, want)
	}
	again, err := os.ReadFile(put(t, c, id, code))
	if err != nil || bytes.Equal(again[len(code)+84:len(code)+116], tail[84:116]) {
		t.Errorf("the salt was used twice, or %v", err)
	}
}

// TestMappedStays: what is open is not changed by what becomes of its name.
func TestMappedStays(t *testing.T) {
	for name, then := range map[string]func(c *Code, id [32]byte, path string) error{
		"removed":  func(c *Code, id [32]byte, _ string) error { c.Remove(id, meta); return nil },
		"replaced": func(c *Code, id [32]byte, _ string) error { return c.Put(id, meta, machine(50)) },
		"foreign file": func(_ *Code, _ [32]byte, path string) error {
			evil := path + "-evil"
			return errors.Join(os.WriteFile(evil, make([]byte, 1000), 0o600), os.Rename(evil, path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, id, want := openCode(t, 1), [32]byte{9}, machine(1000)
			path := put(t, c, id, want)
			m, err := c.Open(id, meta)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if err := then(c, id, path); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(content(t, m), want) {
				t.Error("it changed")
			}
		})
	}
}

func TestMappedQuota(t *testing.T) {
	c, err := OpenCode(filepath.Join(t.TempDir(), "code"), [32]byte{1}, 8000)
	if err != nil {
		t.Fatal(err)
	}
	files, old, fresh := [32]byte{1}, [32]byte{2}, [32]byte{3}
	keep(t, c, files) // some 5,100 bytes
	at := time.Now().Add(-time.Hour)
	path := put(t, c, old, machine(1000))
	if err := errors.Join(os.Chtimes(path, at, at), os.Chtimes(c.f.path(files), at.Add(-time.Hour), at.Add(-time.Hour))); err != nil {
		t.Fatal(err)
	}
	m, err := c.Open(old, meta) // of use: no longer the oldest but one
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	put(t, c, fresh, machine(3000))
	if c.f.has(files) {
		t.Error("the oldest is still there: both kinds share one quota")
	}
	if !c.mapped.has(mappedName(old, meta)) || !c.mapped.has(mappedName(fresh, meta)) {
		t.Error("too much was removed")
	}
	put(t, c, [32]byte{4}, machine(6000))
	if c.mapped.has(mappedName(old, meta)) {
		t.Error("nothing was removed for the last one")
	}
	if !bytes.Equal(content(t, m), machine(1000)) {
		t.Error("what was open has changed")
	}
	if err := c.Put(fresh, meta, machine(8000)); !errors.Is(err, ErrQuota) {
		t.Errorf("got %v, want ErrQuota", err)
	}
	keep(t, c, files) // and the other way
	if c.mapped.has(mappedName([32]byte{4}, meta)) {
		t.Error("nothing was removed for files")
	}
}

func TestMappedAtOnce(t *testing.T) {
	dir, id := t.TempDir(), [32]byte{9}
	var wg sync.WaitGroup
	for g := range 4 {
		c, err := OpenCode(dir, [32]byte{1}, 0) // as another process would
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for i := range 25 {
				if err := c.Put(id, meta, machine(macChunk-100+50*((g+i)%5))); err != nil && runtime.GOOS != "windows" {
					t.Error(err)
				}
				m, err := c.Open(id, meta)
				if err != nil {
					if !errors.Is(err, fs.ErrNotExist) && runtime.GOOS != "windows" {
						t.Error(err)
					}
					continue
				}
				if b, err := os.ReadFile(m.Path()); err != nil || !bytes.Equal(b[:m.Size], machine(int(m.Size))) {
					t.Errorf("got %d bytes, %v", len(b), err)
				}
				m.Close()
			}
		})
	}
	wg.Wait()
	if n := names(t, dir); n > 1 {
		t.Errorf("%d files", n)
	}
}

func FuzzTrailer(f *testing.F) {
	f.Add((&trailer{length: 1}).encode())
	f.Add((&trailer{length: 1, id: [32]byte{1}}).encode()[:trailerSize-1])
	f.Add([]byte(trailerMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		tr, err := parseTrailer(b)
		if err != nil {
			if !errors.Is(err, errUntrusted) {
				t.Error(err)
			}
			return
		}
		if tr.length <= 0 || tr.length > MaxFile || !bytes.Equal(tr.encode(), b) {
			t.Errorf("%+v is encoded as another", tr)
		}
		if err := tr.verify([32]byte{}, bytes.NewReader(b), nil); err == nil {
			t.Error("verified")
		}
	})
}
