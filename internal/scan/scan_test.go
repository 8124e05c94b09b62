package scan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud/internal/tree"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, data string, names ...string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(names...), []byte(data), 0o644))
}

func mkdir(t testing.TB, names ...string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(names...), 0o755))
}

func lookup(t testing.TB, v *Version, path string) tree.Entry {
	t.Helper()
	e, ok := v.Lookup(path)
	if !ok {
		t.Fatalf("%q is not in the version", path)
	}
	return e
}

// settled lets a Tree believe that what it hashes has not changed for an hour.
func settled(x *Tree) *Tree {
	x.now = func() time.Time { return time.Now().Add(time.Hour) }
	return x
}

// describe lists a version by its encoded nodes alone, as a clone sees it; hashes of contents are left out.
func describe(t testing.TB, v *Version) map[string]tree.Entry {
	t.Helper()
	root := v.Root()
	list := map[string]tree.Entry{"": bare(root)}
	var walk func(prefix string, id tree.ID)
	walk = func(prefix string, id tree.ID) {
		b, ok := v.Node(id)
		if !ok {
			t.Fatalf("node %v of %q is missing", id, prefix)
		}
		n, err := tree.DecodeNode(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range n.Leaves {
			walk(prefix, l.ID)
		}
		for _, e := range n.Entries {
			list[prefix+e.Name] = bare(e)
			if got, ok := v.Lookup(prefix + e.Name); !ok || cmp.Diff(got, e) != "" {
				t.Fatalf("Lookup(%q) and its node differ:\n%s", prefix+e.Name, cmp.Diff(got, e))
			}
			if path, ok := v.Path(e.Ino); !ok {
				t.Errorf("no path of number %d of %q", e.Ino, prefix+e.Name)
			} else if x, _ := v.Lookup(path); x.Ino != e.Ino {
				t.Errorf("Path(%d) = %q, which has number %d", e.Ino, path, x.Ino)
			}
			if e.Kind == tree.KindDir {
				walk(prefix+e.Name+"/", e.Dir)
			}
		}
	}
	walk("", root.Dir)
	return list
}

func bare(e tree.Entry) tree.Entry {
	e.Flags &^= tree.Hashed
	e.Chunks, e.List, e.Dir = nil, tree.ID{}, tree.ID{}
	return e
}

// contents reads a file through the version.
func contents(t testing.TB, v *Version, path string) ([]byte, error) {
	t.Helper()
	e := lookup(t, v, path)
	chunks, err := v.Content(t.Context(), e.Ino)
	if err != nil {
		return nil, err
	}
	var b []byte
	for _, c := range chunks {
		if c.Hole() {
			b = append(b, make([]byte, c.Size)...)
			continue
		}
		data, err := v.ReadChunk(t.Context(), e.Ino, uint64(len(b)), c)
		if err != nil {
			return nil, err
		}
		b = append(b, data...)
	}
	return b, nil
}

func TestEntries(t *testing.T) {
	dir := t.TempDir()
	mkdir(t, dir, "empty")
	mkdir(t, dir, "sub", "deeper")
	write(t, "hello", dir, "file")
	write(t, "x", dir, "sub", "deeper", "x")
	must(t, os.Chmod(filepath.Join(dir, "file"), 0o640))
	old := time.Unix(1_000_000_000, 123456789)
	must(t, os.Chtimes(filepath.Join(dir, "file"), old, old))
	must(t, os.Symlink("../outside", filepath.Join(dir, "sub", "link")))
	must(t, os.Link(filepath.Join(dir, "file"), filepath.Join(dir, "sub", "same")))
	mkdir(t, dir, ".clonecloud-staging")
	mkdir(t, dir, "sub", ".clonecloud-of-the-user")
	if runtime.GOOS == "linux" {
		write(t, "", dir, "CASE")
		write(t, "", dir, "case")
		write(t, "", dir, "not \xff utf-8")
	}
	v := pin(t, openTree(t, dir, Options{}))
	got := describe(t, v)
	n := 0
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if rel = filepath.ToSlash(rel); rel == "." {
			rel = ""
		}
		if rel == ".clonecloud-staging" {
			return fs.SkipDir
		}
		fi, err := os.Lstat(path)
		if err != nil {
			return err
		}
		n++
		e, ok := got[rel]
		if !ok {
			t.Errorf("%q is missing", rel)
			return nil
		}
		if e.Mode != uint32(fi.Mode().Perm()) || e.Mtime != uint64(fi.ModTime().UnixNano()) || e.Ctime == 0 || e.Nlink == 0 {
			t.Errorf("%q: got %+v, want %v, %v", rel, e, fi.Mode(), fi.ModTime())
		}
		if fi.Mode().IsRegular() && (e.Kind != tree.KindFile || e.Size != uint64(fi.Size()) || e.Flags&(tree.Readable|tree.Writable) == 0) {
			t.Errorf("%q: got %+v, want a file of %d bytes", rel, e, fi.Size())
		}
		return nil
	}))
	if len(got) != n {
		t.Errorf("%d names, want %d", len(got), n)
	}
	if e := got["sub/link"]; e.Kind != tree.KindSymlink || e.Target != "../outside" {
		t.Errorf("link: got %+v", e)
	}
	if a, b := got["file"], got["sub/same"]; a.Ino != b.Ino || a.Nlink != 2 || a.Flags&tree.Shared != 0 {
		t.Errorf("two names of one file: got %+v and %+v", a, b)
	}
	if e := got[""]; e.Kind != tree.KindDir || e.Name != "" || e.Ino == 0 {
		t.Errorf("root: got %+v", e)
	}
	if b, err := contents(t, v, "file"); err != nil || string(b) != "hello" {
		t.Errorf("contents: got %q, %v", b, err)
	}
	files, dirs, bytes := v.Stats()
	if wantFiles := map[bool]int{true: 7, false: 4}[runtime.GOOS == "linux"]; files != wantFiles || dirs != 5 || bytes != 11 {
		t.Errorf("Stats() = %d, %d, %d", files, dirs, bytes)
	}
	if s := v.Skipped(); len(s) > 0 {
		t.Errorf("Skipped() = %q", s)
	}
}

func TestLookup(t *testing.T) {
	dir := t.TempDir()
	mkdir(t, dir, "a", "b")
	write(t, "x", dir, "a", "b", "c")
	must(t, os.Symlink("a", filepath.Join(dir, "link")))
	v := pin(t, openTree(t, dir, Options{}))
	for _, path := range []string{"b", "a/c", "a/b/c/d", "link/b", "/a", "a/", "a//b", ".", "..", "a/..", "a/b/c/"} {
		if e, ok := v.Lookup(path); ok {
			t.Errorf("Lookup(%q) = %+v, want nothing", path, e)
		}
	}
	if _, ok := v.Entries("a/b/c"); ok {
		t.Error("Entries of a file")
	}
	list, ok := v.Entries("a/b")
	if !ok || len(list) != 1 || list[0].Name != "c" {
		t.Errorf("Entries(a/b) = %+v, %v", list, ok)
	}
	if list, ok = v.Entries(""); !ok || len(list) != 2 {
		t.Errorf("Entries of the top = %+v, %v", list, ok)
	}
	if path, ok := v.Path(v.Root().Ino); !ok || path != "" {
		t.Errorf("Path of the top = %q, %v", path, ok)
	}
	if path, ok := v.Path(1 << 61); ok {
		t.Errorf("Path of no file = %q", path)
	}
}

func TestShared(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	mkdir(t, dir, "a")
	write(t, "x", dir, "a", "one")
	must(t, os.Link(filepath.Join(dir, "a", "one"), filepath.Join(dir, "two")))
	for _, watch := range []bool{false, true} {
		t.Run(fmt.Sprint(watch), func(t *testing.T) {
			x := openTree(t, dir, Options{Watch: watch})
			shared := func() string {
				v := pin(t, x)
				one, two := lookup(t, v, "a/one").Flags&tree.Shared != 0, lookup(t, v, "two").Flags&tree.Shared != 0
				return fmt.Sprint(one, two)
			}
			if got := shared(); got != "false false" {
				t.Errorf("both names inside: got %s", got)
			}
			out := filepath.Join(outside, "three")
			must(t, os.Link(filepath.Join(dir, "two"), out))
			if got := shared(); got != "true true" {
				t.Errorf("a third name outside: got %s", got)
			}
			// Written under the name that nobody watches.
			must(t, os.WriteFile(out, []byte("another"), 0o644))
			if b, err := contents(t, pin(t, x), "a/one"); err != nil || string(b) != "another" {
				t.Errorf("written from outside: got %q, %v", b, err)
			}
			must(t, os.Remove(out))
			if got := shared(); got != "false false" {
				t.Errorf("the third gone: got %s", got)
			}
		})
	}
}

func TestLargeDirectory(t *testing.T) {
	dir := t.TempDir()
	for i := range 1500 {
		write(t, "", dir, fmt.Sprintf("file-%d", i))
	}
	x := openTree(t, dir, Options{})
	v := pin(t, x)
	if n := len(describe(t, v)); n != 1501 {
		t.Errorf("%d names", n)
	}
	objects, all := v.Nodes(func(tree.ID) bool { return false }, 1<<30)
	if !all || len(objects) < 3 || objects[0].ID != v.Root().Dir {
		t.Errorf("%d objects, all: %v", len(objects), all)
	}
	known := map[tree.ID]bool{}
	for _, o := range objects {
		known[o.ID] = true
	}
	write(t, "now with contents", dir, "file-700")
	more, all := pin(t, x).Nodes(func(id tree.ID) bool { return known[id] }, 1<<30)
	if !all || len(more) != 2 {
		t.Errorf("after one change: %d objects, all: %v, want the index and a leaf", len(more), all)
	}
}

func TestNodesLimit(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, 20, 3)
	v := pin(t, openTree(t, dir, Options{}))
	whole, all := v.Nodes(func(tree.ID) bool { return false }, 1<<30)
	if !all {
		t.Fatal("not all")
	}
	known := map[tree.ID]bool{}
	var got []tree.Object
	for rounds := 0; ; rounds++ {
		part, done := v.Nodes(func(id tree.ID) bool { return known[id] && id != v.Root().Dir }, 2000)
		size := 0
		for _, o := range part {
			size += len(o.Data)
			if !known[o.ID] {
				got = append(got, o)
			}
		}
		if size > 2000 {
			t.Fatalf("%d bytes", size)
		}
		if done || rounds > 50 || len(part) == 0 {
			break
		}
		// What is below a known node is known: a peer learns of a directory when it has those in it.
		for _, o := range part {
			if n, err := tree.DecodeNode(o.Data); err != nil {
				t.Fatal(err)
			} else if !slices.ContainsFunc(n.Entries, func(e tree.Entry) bool { return e.Kind == tree.KindDir && !known[e.Dir] }) {
				known[o.ID] = true
			}
		}
	}
	if part, done := v.Nodes(func(tree.ID) bool { return false }, 10); done || len(part) > 0 {
		t.Errorf("limit of 10 bytes: %d objects, %v", len(part), done)
	}
	if len(whole) < 20 || len(got) == 0 {
		t.Errorf("%d objects, %d in parts", len(whole), len(got))
	}
	if part, done := v.Nodes(func(tree.ID) bool { return true }, 10); !done || len(part) > 0 {
		t.Errorf("all known: %d objects, %v", len(part), done)
	}
}

func TestTooLarge(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, 2, 5) // group-00, 2 directories, 10 files
	if _, err := openTree(t, dir, Options{Limit: 12}).Pin(t.Context()); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	x := openTree(t, dir, Options{Limit: 13, Watch: true})
	pin(t, x)
	write(t, "", dir, "one more")
	if _, err := x.Pin(t.Context()); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	must(t, os.Remove(filepath.Join(dir, "one more")))
	pin(t, x)
}

func TestPinCancelled(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, 3, 3)
	x := openTree(t, dir, Options{Watch: true})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := x.Pin(ctx); err == nil {
		t.Error("no error")
	}
	if n := len(describe(t, pin(t, x))); n != 14 {
		t.Errorf("%d names, want 14", n)
	}
}

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	write(t, "", dir, "file")
	for _, name := range []string{"missing", "file"} {
		if x, err := Open(filepath.Join(dir, name), Options{}); err == nil {
			t.Errorf("opened %s: %v", name, x.Close())
		}
	}
}

func TestSameVersion(t *testing.T) {
	for _, watch := range []bool{false, true} {
		dir := t.TempDir()
		makeTree(t, dir, 3, 3)
		x := openTree(t, dir, Options{Watch: watch})
		a := pin(t, x)
		if b := pin(t, x); a != b {
			t.Errorf("watch %v: another version of what did not change", watch)
		}
		write(t, "new", dir, "group-00", "new")
		b := pin(t, x)
		if _, ok := a.Lookup("group-00/new"); ok || a == b {
			t.Error("the old version has changed")
		}
		lookup(t, b, "group-00/new")
		if a.top.child(0).child(1) != b.top.child(0).child(1) {
			t.Error("versions do not share what did not change")
		}
	}
}

func TestUnchanged(t *testing.T) {
	dir := t.TempDir()
	mkdir(t, dir, "sub", "inner")
	write(t, "x", dir, "sub", "file")
	must(t, os.Symlink("file", filepath.Join(dir, "sub", "link")))
	v := pin(t, openTree(t, dir, Options{}))
	check := func(path string, want bool) {
		t.Helper()
		if got, err := v.Unchanged(path); err != nil || got != want {
			t.Errorf("Unchanged(%q) = %v, %v, want %v", path, got, err, want)
		}
	}
	for _, path := range []string{"", "sub", "sub/file", "sub/link", "sub/inner", "missing", "missing/too", "sub/file/below"} {
		check(path, true)
	}
	write(t, "another", dir, "sub", "file")
	mkdir(t, dir, ".clonecloud-staging")
	check("sub/file", false)
	check("sub", true) // its names are the same
	check("", true)
	write(t, "", dir, "sub", "inner", "new")
	check("sub/inner", false)
	check("sub/inner/new", false)
	must(t, os.RemoveAll(filepath.Join(dir, "sub")))
	check("sub", false)
	check("sub/file", false)
	check("", false)
	if _, err := v.Unchanged("../x"); err == nil {
		t.Error("a path that climbs out")
	}
	// A link in place of a directory is not followed.
	other := t.TempDir()
	mkdir(t, other, "inner")
	must(t, os.Symlink(other, filepath.Join(dir, "sub")))
	check("sub/inner", false)
	check("sub", false)
}
