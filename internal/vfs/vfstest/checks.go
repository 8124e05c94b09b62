package vfstest

import (
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/vfs"
)

func root(t *testing.T, fs vfs.FS) vfs.Dir {
	t.Helper()
	d, err := fs.Root()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func create(t *testing.T, d vfs.Dir, path string) vfs.File {
	t.Helper()
	f, err := d.Open(path, vfs.OpenRead|vfs.OpenWrite|vfs.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func testTimes(t *testing.T, fs vfs.FS) {
	d := root(t, fs)
	f := create(t, d, "f")
	if err := d.Symlink("f", "l"); err != nil {
		t.Fatal(err)
	}
	// Microseconds are what every system keeps.
	ns := func(v uint64) *uint64 { v *= 1000; return &v }
	check := func(what, path string, atime, mtime uint64) {
		t.Helper()
		st, err := d.StatPath(path, false)
		if err != nil {
			t.Fatal(err)
		}
		if st.Atime != atime*1000 || st.Mtime != mtime*1000 {
			t.Errorf("%s: got atime %d, mtime %d, want %d, %d", what, st.Atime, st.Mtime, atime*1000, mtime*1000)
		}
	}
	for _, s := range []struct {
		what         string
		do           func() error
		path         string
		atime, mtime uint64
	}{
		{"both, by handle", func() error { return f.SetTimes(vfs.Times{Atime: ns(5e6), Mtime: ns(6e6)}) }, "f", 5e6, 6e6},
		{"one, by handle", func() error { return f.SetTimes(vfs.Times{Mtime: ns(7000001)}) }, "f", 5e6, 7000001},
		{"by path", func() error { return d.SetTimesPath("f", false, vfs.Times{Atime: ns(0)}) }, "f", 0, 7000001},
		{"through a link", func() error { return d.SetTimesPath("l", true, vfs.Times{Mtime: ns(9e6)}) }, "f", 0, 9e6},
		{"of a link", func() error {
			return d.SetTimesPath("l", false, vfs.Times{Atime: ns(1e6), Mtime: ns(2e6)})
		}, "l", 1e6, 2e6},
		{"not of its target", func() error { return nil }, "f", 0, 9e6},
		{"of the directory", func() error { return d.SetTimes(vfs.Times{Atime: ns(3e6), Mtime: ns(4e6)}) }, ".", 3e6, 4e6},
	} {
		if err := s.do(); err != nil {
			t.Errorf("%s: %v", s.what, err)
			continue
		}
		check(s.what, s.path, s.atime, s.mtime)
	}
	if err := d.SetTimesPath("f/", false, vfs.Times{}); vfs.ErrnoOf(err) != vfs.ENOTDIR {
		t.Errorf("times of f/: got %v, want ENOTDIR", err)
	}
	if err := d.SetTimesPath("none", false, vfs.Times{}); vfs.ErrnoOf(err) != vfs.ENOENT {
		t.Errorf("times of a file that is missing: got %v, want ENOENT", err)
	}
	old, _ := f.Stat()
	if _, err := f.WriteAt([]byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if st, _ := f.Stat(); st.Mtime <= old.Mtime {
		t.Errorf("a write left the modification time at %d", st.Mtime)
	}
}

func testIdentity(t *testing.T, fs vfs.FS) {
	d := root(t, fs)
	f := create(t, d, "a")
	if err := d.Link("a", d, "b"); err != nil {
		t.Fatal(err)
	}
	create(t, d, "c")
	get := func(path string) vfs.Stat {
		st, err := d.StatPath(path, true)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := get("a"), get("b"), get("c")
	if st.Ino != a.Ino || a.Ino != b.Ino || a.Dev != c.Dev || a.Ino == c.Ino {
		t.Errorf("handle %d, name %d, link %d, other %d", st.Ino, a.Ino, b.Ino, c.Ino)
	}
	if err := d.Rename("c", d, "e"); err != nil {
		t.Fatal(err)
	}
	if got := get("e").Ino; got != c.Ino {
		t.Errorf("renaming changed the number from %d to %d", c.Ino, got)
	}
}

func testBadPaths(t *testing.T, fs vfs.FS) {
	d := root(t, fs)
	for path, want := range map[string]vfs.Errno{
		"":                         vfs.ENOENT,
		"a\x00":                    vfs.EINVAL,
		"a\xff":                    vfs.EILSEQ,
		"/":                        vfs.EPERM,
		strings.Repeat("a", 256):   vfs.ENAMETOOLONG,
		strings.Repeat("a/", 2049): vfs.ENAMETOOLONG,
	} {
		_, err1 := d.Open(path, vfs.OpenRead|vfs.OpenCreate)
		_, err2 := d.StatPath(path, true)
		_, err3 := d.Readlink(path)
		for i, err := range []error{
			err1, err2, err3, d.Mkdir(path), d.Rmdir(path), d.Unlink(path), d.Symlink("x", path),
			d.Rename(path, d, "x"), d.Link(path, d, "x"), d.SetTimesPath(path, true, vfs.Times{}),
		} {
			if vfs.ErrnoOf(err) != want {
				t.Errorf("operation %d on %.20q: got %v, want %v", i, path, err, want)
			}
		}
	}
}

func testLimits(t *testing.T, fs vfs.FS) {
	d := root(t, fs)
	f := create(t, d, "f")
	if _, err := f.WriteAt([]byte("xy"), 1<<63-2); vfs.ErrnoOf(err) != vfs.EFBIG {
		t.Errorf("write beyond the last offset: got %v, want EFBIG", err)
	}
	if _, err := f.ReadAt(make([]byte, 1), 1<<63); vfs.ErrnoOf(err) != vfs.EINVAL {
		t.Errorf("read at a negative offset: got %v, want EINVAL", err)
	}
	if err := f.SetSize(1 << 63); vfs.ErrnoOf(err) != vfs.EFBIG {
		t.Errorf("negative size: got %v, want EFBIG", err)
	}
	if err := f.Allocate(1, 1<<63-1); vfs.ErrnoOf(err) != vfs.EFBIG {
		t.Errorf("allocate beyond the last offset: got %v, want EFBIG", err)
	}
	if st, err := f.Stat(); err != nil || st.Size != 0 {
		t.Errorf("size %d, %v after refusals", st.Size, err)
	}
}
