package scan

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// TestRandomChanges makes random changes to a directory and asks, after some of them, whether a Tree that follows the
// changes has the image that one has which looks for the first time, and the contents that the files have.
func TestRandomChanges(t *testing.T) {
	for _, watch := range []bool{false, true} {
		t.Run(fmt.Sprintf("watch_%v", watch), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { randomChanges(t, watch) })
		})
	}
}

func randomChanges(t *rapid.T, watch bool) {
	base, err := os.MkdirTemp("", "scan")
	check(t, err)
	defer os.RemoveAll(base)
	top, cache := filepath.Join(base, "top"), filepath.Join(base, "cache")
	check(t, os.Mkdir(top, 0o755))
	open := func() *Tree {
		x, err := Open(top, Options{Watch: watch, Cache: cache, Log: t.Logf})
		check(t, err)
		if rapid.Bool().Draw(t, "settled") {
			settled(x)
		}
		return x
	}
	x := open()
	defer func() { check(t, x.Close()) }()
	root, err := os.OpenRoot(base)
	check(t, err)
	defer root.Close()
	w := world{root: root}
	check(t, root.Mkdir("outside", 0o755))
	t.Repeat(map[string]func(*rapid.T){
		"write":   w.write,
		"mkdir":   w.mkdir,
		"remove":  w.remove,
		"rename":  w.rename,
		"link":    w.link,
		"symlink": w.symlink,
		"chmod":   w.chmod,
		"out":     w.moveOut,
		"save":    func(t *rapid.T) { check(t, x.Save()) },
		"hash": func(t *rapid.T) {
			// It may find that something changed since the last Pin.
			if err := x.Hash(t.Context(), nil); !errors.Is(err, ErrChanged) {
				check(t, err)
			}
		},
		"reopen": func(t *rapid.T) {
			check(t, x.Close())
			x = open()
		},
		"pin": func(t *rapid.T) { compareWithFresh(t, x, top) },
	})
	compareWithFresh(t, x, top)
}

func check(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func compareWithFresh(t *rapid.T, x *Tree, top string) {
	v, err := x.Pin(t.Context())
	check(t, err)
	fresh, err := Open(top, Options{})
	check(t, err)
	defer fresh.Close()
	want, err := fresh.Pin(t.Context())
	check(t, err)
	if d := cmp.Diff(paths(want), paths(v)); d != "" {
		t.Fatalf("-want +got\n%s", d)
	}
	if a, b := want.top.sum, v.top.sum; a != b {
		t.Fatalf("sums: got %+v, want %+v", b, a)
	}
	for path, e := range paths(v) {
		if e.Kind != tree.KindFile {
			continue
		}
		got, err := readAll(t, v, path)
		check(t, err)
		data, err := os.ReadFile(filepath.Join(top, path))
		check(t, err)
		if !bytes.Equal(got, data) {
			t.Fatalf("%s: got %.50q, want %.50q", path, got, data)
		}
	}
	// Every node that the root leads to is there, and is what it is called.
	objects, all := v.Nodes(func(tree.ID) bool { return false }, 1<<30)
	if !all {
		t.Fatal("not all nodes")
	}
	have := map[tree.ID]bool{}
	for _, o := range objects {
		have[o.ID] = true
		if tree.IDOf(o.Data) != o.ID {
			t.Fatal("a node with another's id")
		}
	}
	for _, o := range objects {
		n, err := tree.DecodeNode(o.Data)
		check(t, err)
		for _, e := range n.Entries {
			if e.Kind == tree.KindDir && !have[e.Dir] {
				t.Fatalf("the node of %q is missing", e.Name)
			}
		}
	}
}

// paths lists a version by its images.
func paths(v *Version) map[string]tree.Entry {
	list := map[string]tree.Entry{"": bare(v.Root())}
	var walk func(m *image, prefix string)
	walk = func(m *image, prefix string) {
		for i := range m.recs {
			list[prefix+m.name(i)] = bare(m.entry(i))
			if m.recs[i].kind == tree.KindDir {
				walk(m.child(i), prefix+m.name(i)+"/")
			}
		}
	}
	walk(v.top, "")
	return list
}

func readAll(t *rapid.T, v *Version, path string) (b []byte, err error) {
	e, _ := v.Lookup(path)
	chunks, err := v.Content(t.Context(), e.Ino)
	for _, c := range chunks {
		data := make([]byte, c.Size)
		if !c.Hole() {
			if data, err = v.ReadChunk(t.Context(), e.Ino, uint64(len(b)), c); err != nil {
				return nil, err
			}
		}
		b = append(b, data...)
	}
	return b, err
}

// world is a directory with few names, so that operations meet. It works through an os.Root: links lead out of the tree,
// and must not lead the test to anything that is not its own.
type world struct {
	root  *os.Root
	count int // of writes: each makes a file of another size, so that it shows however coarse the clock is
}

// path names something in the tree, which is the directory top of the root.
func (w *world) path(t *rapid.T) string {
	n := rapid.IntRange(1, 3).Draw(t, "depth")
	names := []string{"top"}
	for range n {
		names = append(names, rapid.SampledFrom([]string{"a", "b", "c", ".clonecloud-x"}).Draw(t, "name"))
	}
	return strings.Join(names, "/")
}

// Operations may fail: that is as good as if they were not tried.

func (w *world) write(t *rapid.T) {
	_ = w.root.WriteFile(w.path(t), w.data(rapid.SampledFrom([]int{0, 5000}).Draw(t, "size")), 0o644)
}

func (w *world) data(size int) []byte {
	w.count++
	return bytes.Repeat([]byte{byte(w.count)}, size+w.count-1)
}

func (w *world) mkdir(t *rapid.T)  { _ = w.root.MkdirAll(w.path(t), 0o755) }
func (w *world) remove(t *rapid.T) { _ = w.root.RemoveAll(w.path(t)) }
func (w *world) rename(t *rapid.T) { _ = w.root.Rename(w.path(t), w.path(t)) }

func (w *world) link(t *rapid.T) {
	from, to := w.path(t), w.path(t)
	if strings.HasPrefix(to, "top/"+ours) {
		return // a first name outside of the tree, which no watch tells of
	}
	for i, c := range to {
		if c != '/' {
			continue
		}
		if fi, err := w.root.Lstat(to[:i]); err == nil && fi.Mode()&fs.ModeSymlink != 0 {
			return // likewise: it may lead there
		}
	}
	_ = w.root.Link(from, to)
}

func (w *world) symlink(t *rapid.T) {
	_ = w.root.Symlink(rapid.SampledFrom([]string{"a", "../a", "../..", "/nowhere"}).Draw(t, "target"), w.path(t))
}

func (w *world) chmod(t *rapid.T) {
	_ = w.root.Chmod(w.path(t), os.FileMode(rapid.IntRange(0o700, 0o777).Draw(t, "mode")))
}

// moveOut moves something out of the directory, or back in.
func (w *world) moveOut(t *rapid.T) {
	out, in := "outside/"+rapid.SampledFrom([]string{"x", "y"}).Draw(t, "out"), w.path(t)
	if rapid.Bool().Draw(t, "back") {
		out, in = in, out
	}
	_ = w.root.Rename(in, out)
	if rapid.Bool().Draw(t, "changed") { // where nobody watches
		_ = w.root.WriteFile(out+"/b", w.data(0), 0o644)
	}
}
