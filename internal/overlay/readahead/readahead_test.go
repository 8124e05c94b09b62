package readahead

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/tree"
)

func TestStream(t *testing.T) {
	const k = 1 << 10
	for _, c := range []struct {
		name  string
		s     Stream
		reads [][3]uint64 // off, n, end of the chunk
		want  uint64
	}{
		{"first", Stream{}, [][3]uint64{{0, 4 * k, 64 * k}}, 0},
		{"expected", Stream{window: 1 << 20}, [][3]uint64{{0, 4 * k, 64 * k}}, 1 << 20},
		{"second", Stream{}, [][3]uint64{{0, 4 * k, 64 * k}, {4 * k, 4 * k, 64 * k}}, 64 * k},
		{"next chunk", Stream{}, [][3]uint64{{0, 4 * k, 64 * k}, {64 * k, 4 * k, 128 * k}}, 136 * k},
		{"jump", Stream{window: 1 << 20}, [][3]uint64{{0, 4 * k, 64 * k}, {200 * k, 4 * k, 256 * k}}, 0},
		{"back", Stream{}, [][3]uint64{{100 * k, 4 * k, 128 * k}, {0, 4 * k, 64 * k}}, 0},
		{"far", Stream{}, [][3]uint64{{0, 1 << 30, 1 << 30}, {1 << 30, 1 << 30, 1 << 31}}, MaxWindow},
	} {
		got := uint64(0)
		for _, r := range c.reads {
			got = c.s.read(r[0], r[1], r[2])
		}
		if got != c.want {
			t.Errorf("%s: window %d, want %d", c.name, got, c.want)
		}
	}
}

// woods are directories by number, which are at hand unless they are hidden.
type woods struct {
	nodes  map[tree.ID]*tree.Node
	places map[string]*Place
	hidden map[uint64]bool
	far    []uint64 // that were asked for
}

func (w *woods) Look(d *Place, id tree.ID, far bool) *tree.Node {
	if w.hidden[d.Ino] {
		if far {
			w.far = append(w.far, d.Ino)
		}
		return nil
	}
	return w.nodes[id]
}

// plant makes a tree of paths; those that end in a slash are directories. Files are hashed and of one chunk of size bytes.
// Directories of more than some files are cut into leaves.
func plant(t *testing.T, size uint64, paths ...string) *woods {
	t.Helper()
	w := &woods{nodes: map[tree.ID]*tree.Node{}, places: map[string]*Place{}, hidden: map[uint64]bool{}}
	ino := uint64(100)
	var make func(prefix, name string, up *Place) *Place
	make = func(prefix, name string, up *Place) *Place {
		ino++
		d := &Place{Ino: ino, Name: name, Up: up}
		w.places[prefix] = d
		var list []tree.Entry
		for _, p := range paths {
			rest, ok := strings.CutPrefix(p, prefix)
			if !ok || rest == "" {
				continue
			}
			first, _, dir := strings.Cut(rest, "/")
			if slices.ContainsFunc(list, func(e tree.Entry) bool { return e.Name == first }) {
				continue
			}
			e := tree.Entry{Name: first, Nlink: 1, Flags: tree.Readable}
			if dir {
				sub := make(prefix+first+"/", first, d)
				e.Kind, e.Ino, e.Dir = tree.KindDir, sub.Ino, sub.ID
			} else {
				ino++
				e.Kind, e.Ino, e.Size = tree.KindFile, ino, size
				e.Flags |= tree.Hashed
				e.Chunks = []tree.Chunk{{ID: tree.IDOf([]byte(p)), Size: size}}
			}
			list = append(list, e)
		}
		slices.SortFunc(list, func(a, b tree.Entry) int { return strings.Compare(a.Name, b.Name) })
		id, objects, err := tree.EncodeDir(list)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			n, err := tree.DecodeNode(o.Data)
			if err != nil {
				t.Fatal(err)
			}
			w.nodes[o.ID] = n
		}
		d.ID = id
		return d
	}
	make("", "", nil)
	return w
}

// file is the file at a path.
func (w *woods) file(t *testing.T, path string) File {
	t.Helper()
	i := strings.LastIndexByte(path, '/') + 1
	d := w.places[path[:i]]
	var x File
	budget := 1 << 20
	hidden := w.hidden
	w.hidden = nil
	scan(w, d, "", false, &budget, func(e *tree.Entry) bool {
		if e.Name == path[i:] {
			x = File{d, e.Name, e.Ino, e.Size}
		}
		return x.Ino == 0
	})
	w.hidden = hidden
	if x.Ino == 0 {
		t.Fatalf("no file %s", path)
	}
	return x
}

// read opens and reads files in turn, and returns what is wanted after the last.
func read(t *testing.T, o *Order, w *woods, paths ...string) (wants []Want, window uint64) {
	t.Helper()
	for _, p := range paths {
		x := w.file(t, p)
		wants, window, _ = o.Open(x, w)
		o.Read(x.Ino, x.Size)
	}
	return wants, window
}

func numbered(prefix string, n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("%s%05d", prefix, i))
	}
	return list
}

func TestWindowDoubles(t *testing.T) {
	w := plant(t, 64<<10, numbered("f", 2000)...) // more than a leaf
	var o Order
	windows := []uint64{}
	for _, p := range numbered("f", 12) {
		_, window := read(t, &o, w, p)
		windows = append(windows, window>>10)
	}
	want := []uint64{0, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 16384, 16384}
	if !slices.Equal(windows, want) {
		t.Errorf("windows in KiB %v, want %v", windows, want)
	}
	if wants, window := read(t, &o, w, "f01000"); window != 0 || len(wants) > 0 {
		t.Errorf("after a jump: window %d, wants %d", window, len(wants))
	}
	if _, window := read(t, &o, w, "f01001"); window != minWindow {
		t.Errorf("after the jump: window %d", window)
	}
}

func TestLeftOut(t *testing.T) {
	w := plant(t, 64<<10, numbered("f", 100)...)
	var o Order
	read(t, &o, w, numbered("f", 6)...)
	_, before := read(t, &o, w, "f00006")
	if _, window := read(t, &o, w, "f00008"); window != before {
		t.Errorf("one left out: window %d, was %d", window, before)
	}
	if _, window := read(t, &o, w, "f00014"); window != before/2 {
		t.Errorf("five left out: window %d, was %d", window, before)
	}
}

// TestOrders reads trees in three orders, and goes on to where nobody has been.
func TestOrders(t *testing.T) {
	var all []string
	for _, d := range []string{"a/", "a/b/", "a/c/", "d/", "d/e/f/"} {
		all = append(all, numbered(d+"x", 5)...)
	}
	w := plant(t, 64<<10, append([]string{"z"}, all...)...)
	last := func(paths ...string) uint64 {
		var o Order
		_, window := read(t, &o, w, paths...)
		return window
	}
	if got := last("a/b/x00003", "a/b/x00004", "a/c/x00000", "a/c/x00001"); got != 256<<10 {
		t.Errorf("by name, over the end of a directory: window %d", got)
	}
	if got := last("a/x00003", "a/x00004", "d/e/f/x00000", "d/e/f/x00001"); got != 256<<10 {
		t.Errorf("by name, up and down: window %d", got)
	}
	if got := last("a/x00003", "a/x00004", "a/b/x00000", "a/b/x00001", "a/b/x00002"); got != 256<<10 {
		t.Errorf("files first: window %d", got)
	}
	var o Order
	read(t, &o, w, "a/b/x00000", "a/b/x00001", "a/b/x00002")
	w.hidden[w.places["a/c/"].Ino] = true
	wants, _ := read(t, &o, w, "a/b/x00003")
	if len(w.far) == 0 || w.far[0] != w.places["a/c/"].Ino || len(wants) > 0 {
		t.Errorf("before a directory that is not known: asked for %v, wants %v", w.far, wants)
	}
	w.hidden = map[uint64]bool{}
	if wants, _ := read(t, &o, w, "a/b/x00004"); len(wants) < 5 {
		t.Errorf("wants %v once it is known", wants)
	}
}

func TestReach(t *testing.T) {
	w := plant(t, 256<<10, numbered("f", 100)...)
	var o Order
	for _, p := range numbered("f", 8) {
		x := w.file(t, p)
		o.Open(x, w) // and nothing is read
	}
	if wants, window := read(t, &o, w, "f00008"); len(wants) > 0 || window > 0 {
		t.Errorf("files are opened and not read: window %d, wants %v", window, wants)
	}
	if wants, window := read(t, &o, w, "f00009"); len(wants) == 0 || window == 0 {
		t.Errorf("files are read again: window %d, wants %v", window, wants)
	}
}

// TestWants checks what is asked for of files of each form.
func TestWants(t *testing.T) {
	chunk := tree.Chunk{ID: tree.ID{1}, Size: 100}
	hole := tree.Chunk{Size: 50}
	for name, c := range map[string]struct {
		e    tree.Entry
		most uint64
		want []Want
	}{
		"not hashed": {tree.Entry{Ino: 5, Size: 1000}, 300, []Want{{Ino: 5, Content: true, Bytes: 300}}},
		"list":       {tree.Entry{Ino: 5, Size: 1000, Flags: tree.Hashed, List: tree.ID{2}}, 300, []Want{{Ino: 5, Node: tree.ID{2}}}},
		"chunks": {tree.Entry{Ino: 5, Size: 350, Flags: tree.Hashed, Chunks: []tree.Chunk{chunk, hole, chunk, chunk}}, 200,
			[]Want{{Ino: 5, Chunk: chunk}, {Ino: 5, Off: 150, Chunk: chunk}}},
		"empty": {tree.Entry{Ino: 5, Flags: tree.Hashed}, 0, nil},
	} {
		var o Order
		if got := o.want(&c.e, c.most); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
		if got := o.want(&c.e, c.most); len(got) > 0 {
			t.Errorf("%s: asked for twice: %+v", name, got)
		}
	}
}

func TestWalk(t *testing.T) {
	var paths []string
	for i := range 30 {
		for j := range 3 {
			paths = append(paths, fmt.Sprintf("t%02d/d%d/x", i, j))
		}
	}
	w := plant(t, 10, paths...)
	var walk Walker
	var got []string
	list := func(path string) {
		got = nil
		walk.List(w.places[path], w, func(d *Place) { got = append(got, d.Name) })
	}
	list("")
	if len(got) > 0 {
		t.Errorf("after one: %v", got)
	}
	list("t00/")
	if want := []string{"d0", "d1", "d2", "t01", "t02", "t03", "t04", "t05"}; !slices.Equal(got, want) {
		t.Errorf("after two: %v, want %v", got, want)
	}
	list("t00/d0/")
	if want := []string{"d1", "d2", "t01", "t02"}; len(got) != 16 || !slices.Equal(got[:4], want) {
		t.Errorf("after three: %v, want 16 from %v on", got, want)
	}
	list("t00/d1/")
	list("t00/d2/")
	list("t01/")
	if len(got) != 3+28 { // all there are
		t.Errorf("after six: %v", got)
	}
	list("t20/")
	if len(got) > 0 {
		t.Errorf("after a jump: %v", got)
	}
}
