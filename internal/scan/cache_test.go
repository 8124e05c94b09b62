package scan

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// saveTree makes a tree, hashes it and leaves what is known in a cache. It returns the root.
func saveTree(t testing.TB, dir, cache string) tree.Entry {
	t.Helper()
	makeTree(t, dir, 5, 20)
	must(t, os.Symlink("somewhere", filepath.Join(dir, "group-00", "link")))
	must(t, os.Link(filepath.Join(dir, "group-00/dir-0001/file-0001.txt"), filepath.Join(dir, "again")))
	write(t, strings.Repeat("0123456789abcdef", 200_000), dir, "large")
	x := settled(openTree(t, dir, Options{Cache: cache}))
	must(t, x.Hash(t.Context(), nil))
	root := pin(t, x).Root()
	must(t, x.Close())
	return root
}

func TestCache(t *testing.T) {
	dir, cache := t.TempDir(), filepath.Join(t.TempDir(), "sub", "cache")
	root := saveTree(t, dir, cache)
	x := openTree(t, dir, Options{Cache: cache})
	v := pin(t, x)
	if d := cmp.Diff(root, v.Root()); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	for path, e := range describe(t, v) {
		if e.Kind == tree.KindFile && lookup(t, v, path).Flags&tree.Hashed == 0 {
			t.Errorf("%s is not hashed", path)
		}
	}
	if len(x.store.saved) != 7 {
		t.Errorf("%d records, want 7", len(x.store.saved))
	}
	before, err := os.Stat(cache)
	must(t, err)
	must(t, x.Close())
	if after, err := os.Stat(cache); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the cache was written although nothing changed: %v", err)
	}
	if b, err := contents(t, pin(t, openTree(t, dir, Options{Cache: cache})), "again"); err != nil || string(b) != "contents of 1 in 1\n" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestCacheOfWhatChanged(t *testing.T) {
	dir, cache := t.TempDir(), filepath.Join(t.TempDir(), "cache")
	saveTree(t, dir, cache)
	write(t, "other", dir, "group-00/dir-0002/file-0003.txt")
	must(t, os.RemoveAll(filepath.Join(dir, "group-00/dir-0003")))
	must(t, os.Rename(filepath.Join(dir, "group-00/dir-0004"), filepath.Join(dir, "moved")))
	mkdir(t, dir, "new")
	must(t, os.Remove(filepath.Join(dir, "again")))
	x := openTree(t, dir, Options{Cache: cache})
	v := pin(t, x)
	if d := cmp.Diff(describe(t, pin(t, openTree(t, dir, Options{}))), describe(t, v)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	for path, want := range map[string]bool{
		"group-00/dir-0002/file-0003.txt": false, "group-00/dir-0002/file-0004.txt": true, "moved/file-0000.txt": true,
	} {
		if got := lookup(t, v, path).Flags&tree.Hashed != 0; got != want {
			t.Errorf("%s: hashed %v, want %v", path, got, want)
		}
	}
	must(t, x.Close())
	y := openTree(t, dir, Options{Cache: cache})
	if d := cmp.Diff(v.Root(), pin(t, y).Root()); d != "" {
		t.Errorf("saved again: -want +got\n%s", d)
	}
	if len(y.store.saved) != 7 {
		t.Errorf("%d records, want 7", len(y.store.saved))
	}
}

// TestCacheKeepsWhatContentHashed: what was hashed for an offload is known to the next process, without a Pin in between.
func TestCacheKeepsWhatContentHashed(t *testing.T) {
	dir, cache := t.TempDir(), filepath.Join(t.TempDir(), "cache")
	write(t, "x", dir, "old")
	write(t, "x", dir, "young")
	x := settled(openTree(t, dir, Options{Cache: cache}))
	v := pin(t, x)
	if _, err := v.Content(t.Context(), lookup(t, v, "old").Ino); err != nil {
		t.Fatal(err)
	}
	x.now = func() time.Time { return time.Unix(1, 0) } // long before the file was written
	if _, err := v.Content(t.Context(), lookup(t, v, "young").Ino); err != nil {
		t.Fatal(err)
	}
	must(t, x.Close())
	v = pin(t, openTree(t, dir, Options{Cache: cache}))
	if lookup(t, v, "old").Flags&tree.Hashed == 0 {
		t.Error("old is not hashed")
	}
	if lookup(t, v, "young").Flags&tree.Hashed != 0 {
		t.Error("young was hashed too shortly after it was written, and is trusted")
	}
}

// TestRacyIsTrustedIfWatched: what was hashed right after a change is not trusted by the next Pin, unless the directory was watched.
func TestRacyIsTrustedIfWatched(t *testing.T) {
	for _, watch := range []bool{false, true} {
		dir := t.TempDir()
		write(t, "x", dir, "file")
		x := openTree(t, dir, Options{Watch: watch})
		x.now = func() time.Time { return time.Unix(1, 0) }
		v := pin(t, x)
		if _, err := v.Content(t.Context(), lookup(t, v, "file").Ino); err != nil {
			t.Fatal(err)
		}
		if got := lookup(t, pin(t, x), "file").Flags&tree.Hashed != 0; got != (watch && x.watcher != nil) {
			t.Errorf("watch %v: hashed %v", watch, got)
		}
	}
}

func TestTwoTreesInOneCache(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "cache")
	a, b := t.TempDir(), t.TempDir()
	rootA, rootB := saveTree(t, a, cache), saveTree(t, b, cache)
	for dir, want := range map[string]tree.Entry{a: rootA, b: rootB} {
		if got := pin(t, openTree(t, dir, Options{Cache: cache})).Root(); got.Dir != want.Dir {
			t.Errorf("%s: another root", dir)
		}
	}
	// The same path, but another directory.
	must(t, os.RemoveAll(a))
	mkdir(t, a)
	x := openTree(t, a, Options{Cache: cache})
	if got, err := os.Stat(a); err == nil && x.self.Ino != rootA.Ino && len(x.store.loaded) > 0 {
		t.Errorf("a cache of another directory is used: %v", got)
	}
	if n := len(describe(t, pin(t, x))); n != 1 {
		t.Errorf("%d names", n)
	}
}

func TestTwoProcessesSave(t *testing.T) {
	dir, cache := t.TempDir(), filepath.Join(t.TempDir(), "cache")
	saveTree(t, dir, cache)
	a, b := settled(openTree(t, dir, Options{Cache: cache})), settled(openTree(t, dir, Options{Cache: cache}))
	pin(t, a)
	write(t, "for a", dir, "group-00/dir-0000/a")
	pin(t, a)
	must(t, a.Save())
	write(t, "for b", dir, "group-00/dir-0001/b")
	must(t, b.Hash(t.Context(), nil))
	pin(t, b)
	must(t, b.Save())
	// a does not know what b has written.
	write(t, "more", dir, "group-00/dir-0002/c")
	must(t, a.Hash(t.Context(), nil))
	pin(t, a)
	must(t, a.Save())
	must(t, os.Remove(filepath.Join(dir, "group-00/dir-0002/c")))
	v := pin(t, openTree(t, dir, Options{Cache: cache}))
	if d := cmp.Diff(describe(t, pin(t, openTree(t, dir, Options{}))), describe(t, v)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestCacheIsBusy(t *testing.T) {
	dir, cache := t.TempDir(), filepath.Join(t.TempDir(), "cache")
	want := saveTree(t, dir, cache)
	db, err := bbolt.Open(cache, 0o600, nil)
	must(t, err)
	x := settled(openTree(t, dir, Options{Cache: cache}))
	must(t, x.Hash(t.Context(), nil))
	v := pin(t, x)
	if v.Root().Dir != want.Dir {
		t.Error("another root")
	}
	must(t, x.Save())
	must(t, db.Close())
	must(t, x.Save())
}

func TestDamagedCache(t *testing.T) {
	dir, cache := t.TempDir(), filepath.Join(t.TempDir(), "cache")
	saveTree(t, dir, cache)
	good, err := os.ReadFile(cache)
	must(t, err)
	want := describe(t, pin(t, openTree(t, dir, Options{})))
	damage := map[string][]byte{
		"empty": {}, "short": good[:100], "cut": good[:len(good)/2], "page": good[:4096], "none_of_ours": bytes.Repeat([]byte("x"), 10_000),
		"pages_of_zeros": append(bytes.Clone(good[:8192]), make([]byte, len(good)-8192)...),
	}
	for i := range 40 {
		b := bytes.Clone(good)
		at := i * len(b) / 40
		for j := at; j < min(at+50, len(b)); j++ {
			b[j] ^= 0xa5
		}
		damage[fmt.Sprintf("bytes_at_%d", at)] = b
	}
	for name, b := range damage {
		t.Run(name, func(t *testing.T) {
			must(t, os.WriteFile(cache, b, 0o600))
			x := settled(openTree(t, dir, Options{Cache: cache}))
			must(t, x.Hash(t.Context(), nil))
			v := pin(t, x)
			if d := cmp.Diff(want, describe(t, v)); d != "" {
				t.Fatalf("-want +got\n%s", d)
			}
			if b, err := contents(t, v, "group-00/dir-0003/file-0004.txt"); err != nil || string(b) != "contents of 4 in 3\n" {
				t.Errorf("got %q, %v", b, err)
			}
			must(t, x.Close())
			// Made anew or as it was, it serves again.
			y := settled(openTree(t, dir, Options{Cache: cache}))
			v = pin(t, y)
			if d := cmp.Diff(want, describe(t, v)); d != "" {
				t.Fatalf("-want +got\n%s", d)
			}
			if lookup(t, v, "group-00/dir-0003/file-0004.txt").Flags&tree.Hashed == 0 {
				t.Error("nothing was saved")
			}
		})
	}
}

func FuzzRecord(f *testing.F) {
	dir := f.TempDir()
	write(f, "x", dir, "file")
	write(f, strings.Repeat("0123456789abcdef", 100_000), dir, "large")
	mkdir(f, dir, "sub")
	must(f, os.Symlink("x", filepath.Join(dir, "link")))
	x := settled(openTree(f, dir, Options{}))
	must(f, x.Hash(f.Context(), nil))
	m := pin(f, x).top
	f.Add(m.appendTo(nil)[4:])
	f.Add(m.children[0].appendTo(nil)[4:])
	f.Fuzz(func(t *testing.T, b []byte) {
		b = append(binary.LittleEndian.AppendUint32(nil, crc32.Checksum(b, castagnoli)), b...)
		m, err := decodeImage(b)
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Fatalf("got %v, want errDamaged", err)
			}
			return
		}
		// What was accepted can be used.
		for i := range m.recs {
			if m.recs[i].kind == tree.KindDir {
				m.children = append(m.children, apartImage(rec{kind: tree.KindDir, ino: 1}))
			}
		}
		m.count()
		for i := range m.recs {
			if j, ok := m.find(m.name(i)); !ok || i != j {
				t.Fatalf("name %d is found at %d", i, j)
			}
		}
		if len(m.entries()) != len(m.recs) {
			t.Fatal("entries")
		}
	})
}
