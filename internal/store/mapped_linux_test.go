package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMappedInPlace: the file itself is mapped if nobody else can write to it, and a copy if somebody can.
func TestMappedInPlace(t *testing.T) {
	for name, prepare := range map[string]func(path string) error{
		"own":       nil,
		"others":    func(path string) error { return os.Chmod(path, 0o602) },
		"group":     func(path string) error { return os.Chmod(path, 0o420) },
		"not owned": func(path string) error { return os.Chown(path, 65534, 65534) },
	} {
		t.Run(name, func(t *testing.T) {
			c, id, want := openCode(t, 1), [32]byte{9}, machine(3*macChunk+1)
			path := put(t, c, id, want)
			if prepare != nil {
				if err := prepare(path); errors.Is(err, os.ErrPermission) {
					t.Skip("needs to be root")
				} else if err != nil {
					t.Fatal(err)
				}
			}
			m, err := c.Open(id, meta)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			var sf unix.Statfs_t
			if err := unix.Statfs(path, &sf); err != nil {
				t.Fatal(err)
			}
			mayShare := local[uint32(sf.Type)] && sf.Flags&unix.ST_NOEXEC == 0
			if got, want := m.Copied, prepare != nil || !mayShare; got != want {
				t.Errorf("copied: got %v, want %v", got, want)
			}
			if !bytes.Equal(content(t, m), want) {
				t.Error("it is another")
			}
			if !m.Copied {
				return
			}
			if err := os.WriteFile(path, make([]byte, len(want)), 0o600); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(content(t, m), want) {
				t.Error("the copy has changed with the file")
			}
			f, err := os.OpenFile(m.Path(), os.O_RDWR, 0)
			if err == nil {
				if _, err = f.WriteAt([]byte{1}, 0); err == nil || f.Truncate(0) == nil {
					t.Error("the copy was changed")
				}
				if _, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
					t.Error("the copy was mapped for writing")
				}
				f.Close()
			}
		})
	}
}

func TestMappedFifo(t *testing.T) {
	c, id := openCode(t, 1), [32]byte{9}
	path := put(t, c, id, machine(10))
	if err := errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	if f, err := os.OpenFile(path, os.O_RDONLY|openFlags, 0); err != nil { // does not wait for a writer
		t.Error(err)
	} else {
		f.Close()
	}
	absent(t, c, id)
}

// tmpfs mounts a small file system.
func tmpfs(t *testing.T, options string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestMappedDiskFull(t *testing.T) {
	c, err := OpenCode(tmpfs(t, "size=1m,mode=700"), [32]byte{1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	id := [32]byte{9}
	put(t, c, id, machine(1000))
	err = c.Put(id, meta, machine(2<<20))
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "is full") {
		t.Errorf("got %v", err)
	}
	if n := names(t, c.f.dir); n != 1 {
		t.Errorf("%d files, want what was there before", n)
	}
	m, err := c.Open(id, meta)
	if err != nil || !bytes.Equal(content(t, m), machine(1000)) {
		t.Fatalf("what was there before: %v", err)
	}
	m.Close()
}

func TestMappedNoExec(t *testing.T) {
	dir := tmpfs(t, "size=1m,mode=700")
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_NOEXEC, ""); err != nil {
		t.Skipf("remount: %v", err)
	}
	c, err := OpenCode(dir, [32]byte{1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	put(t, c, [32]byte{9}, machine(5000))
	m, err := c.Open([32]byte{9}, meta)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	f, err := os.Open(m.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	if err != nil || !m.Copied {
		t.Fatalf("map code from a file system without it: %v, copied: %v", err, m.Copied)
	}
	if err := unix.Munmap(b); err != nil {
		t.Error(err)
	}
}

func BenchmarkOpen(b *testing.B) {
	for name, mode := range map[string]os.FileMode{"in_place": 0o400, "copied": 0o420} {
		for _, mb := range []int{12, 100} {
			b.Run(fmt.Sprintf("%s/%dMB", name, mb), func(b *testing.B) {
				c, err := OpenCode(b.TempDir(), [32]byte{1}, 0)
				if err != nil {
					b.Fatal(err)
				}
				id := [32]byte{9}
				if err := c.Put(id, meta, machine(mb<<20)); err != nil {
					b.Fatal(err)
				}
				if err := os.Chmod(c.mapped.path(mappedName(id, meta)), mode); err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(mb << 20))
				for b.Loop() {
					m, err := c.Open(id, meta)
					if err != nil {
						b.Fatal(err)
					}
					m.Close()
				}
			})
		}
	}
}
