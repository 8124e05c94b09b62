package overlay

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
)

// sample is a small tree: files f (1000 bytes) and g (300 KiB), hard links h1 and h2, link l, directory d with file i, and
// what needs the device: other, apart, away (a directory), shared, closed (not writable), locked (not writable, with x).
func sample(t testing.TB) *image {
	t.Helper()
	m := newImage()
	file := func(name string, ino uint64, size int, flags tree.Flags) tree.Entry {
		e := tree.Entry{Name: name, Kind: tree.KindFile, Ino: ino, Nlink: 1, Flags: flags, Mtime: 1e18, Ctime: 1e18, Mode: 0o644}
		m.file(t, &e, data(size, byte(ino)), ino%2 == 0)
		return e
	}
	dir := func(name string, ino uint64, flags tree.Flags, list ...tree.Entry) tree.Entry {
		return tree.Entry{
			Name: name, Kind: tree.KindDir, Ino: ino, Nlink: 2, Flags: flags, Mtime: 1e18, Ctime: 1e18, Size: 4096, Dir: m.put(t, list), Mode: 0o755,
		}
	}
	h1, h2 := file("h1", 14, 50, rwx), file("h2", 14, 50, rwx)
	h1.Nlink, h2.Nlink = 2, 2
	m.root = dir("", 7, rwx,
		file("f", 10, 1000, rwx), file("g", 11, 300<<10, rwx), h1, h2,
		tree.Entry{Name: "l", Kind: tree.KindSymlink, Ino: 15, Nlink: 1, Flags: rwx, Size: 1, Target: "f", Mtime: 1e18, Ctime: 1e18},
		dir("d", 16, rwx, file("i", 17, 10, rwx)),
		tree.Entry{Name: "other", Kind: tree.KindOther, Type: uint8(vfs.TypeCharDevice), Ino: 18, Nlink: 1, Flags: rwx},
		file("apart", 19, 100, rwx|tree.Apart), dir("away", 20, rwx|tree.Apart),
		file("shared", 21, 100, rwx|tree.Shared), file("closed", 22, 100, tree.Readable),
		dir("locked", 23, tree.Readable|tree.Searchable, file("x", 24, 10, rwx)),
	)
	return m
}

func data(n int, seed byte) []byte {
	b := make([]byte, n)
	x := uint32(seed) + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func root(t testing.TB, f *FS) vfs.Dir {
	t.Helper()
	d, err := f.Root()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func open(t testing.TB, d vfs.Dir, path string, flags vfs.OpenFlags) vfs.File {
	t.Helper()
	f, err := d.Open(path, flags)
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	return f
}

const (
	rw    = vfs.OpenRead | vfs.OpenWrite
	fresh = rw | vfs.OpenCreate
)

func write(t testing.TB, f vfs.File, b []byte, off uint64) {
	t.Helper()
	if n, err := f.WriteAt(b, off); err != nil || n != len(b) {
		t.Fatalf("write: %d, %v", n, err)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatNeedsTheDevice(t *testing.T) {
	five := uint64(5)
	with := func(path string, flags vfs.OpenFlags, do func(f vfs.File) error) func(vfs.Dir) error {
		return func(d vfs.Dir) error {
			f, err := d.Open(path, flags)
			if err != nil {
				return fmt.Errorf("must be opened: %s", err)
			}
			return errors.Join(do(f), f.Close())
		}
	}
	opens := func(path string, flags vfs.OpenFlags) func(vfs.Dir) error {
		return func(d vfs.Dir) error { _, err := d.Open(path, flags); return err }
	}
	for name, do := range map[string]func(d vfs.Dir) error{
		"open other":      opens("other", vfs.OpenRead),
		"unlink other":    func(d vfs.Dir) error { return d.Unlink("other") },
		"rename other":    func(d vfs.Dir) error { return d.Rename("other", d, "n") },
		"onto other":      func(d vfs.Dir) error { return d.Rename("f", d, "other") },
		"link other":      func(d vfs.Dir) error { return d.Link("other", d, "n") },
		"times of other":  func(d vfs.Dir) error { return d.SetTimesPath("other", true, vfs.Times{Mtime: &five}) },
		"open apart":      opens("apart", vfs.OpenRead),
		"unlink apart":    func(d vfs.Dir) error { return d.Unlink("apart") },
		"open away":       opens("away", vfs.OpenRead|vfs.OpenDirectory),
		"in away":         func(d vfs.Dir) error { _, err := d.StatPath("away/x", true); return err },
		"make in away":    func(d vfs.Dir) error { return d.Mkdir("away/x") },
		"remove away":     func(d vfs.Dir) error { return d.Rmdir("away") },
		"rename away":     func(d vfs.Dir) error { return d.Rename("away", d, "n") },
		"link shared":     func(d vfs.Dir) error { return d.Link("shared", d, "n") },
		"truncate shared": opens("shared", rw|vfs.OpenTruncate),
		"write shared":    with("shared", rw, func(f vfs.File) error { _, err := f.WriteAt([]byte("x"), 0); return err }),
		"append shared":   with("shared", rw, func(f vfs.File) error { _, _, err := f.Append([]byte("x")); return err }),
		"size of shared":  with("shared", rw, func(f vfs.File) error { return f.SetSize(1) }),
		"allocate shared": with("shared", rw, func(f vfs.File) error { return f.Allocate(0, 1000) }),
		"times of shared": func(d vfs.Dir) error { return d.SetTimesPath("shared", true, vfs.Times{Mtime: &five}) },
		"times of closed": func(d vfs.Dir) error { return d.SetTimesPath("closed", true, vfs.Times{Mtime: &five}) },
		"link closed":     func(d vfs.Dir) error { return d.Link("closed", d, "n") },
		"link a link":     func(d vfs.Dir) error { return d.Link("l", d, "n") },
	} {
		f := view(t, sample(t), nil)
		err := do(root(t, f))
		var a *vfs.AbortError
		if !errors.As(err, &a) || !errors.Is(err, ErrNeedsDevice) {
			t.Errorf("%s: got %v, want an abort", name, err)
		}
		if f.Written() {
			t.Errorf("%s: something changed", name)
		}
	}
}

func TestWhatNeedsNoDevice(t *testing.T) {
	f := view(t, sample(t), nil)
	d := root(t, f)
	list, err := d.ReadDir()
	check(t, err)
	var names []string
	for _, e := range list {
		st, err := d.StatPath(e.Name, false)
		if err != nil || st.Ino != e.Ino || st.Type != e.Type || st.Dev != 1 {
			t.Errorf("%s: %+v, %+v, %v", e.Name, e, st, err)
		}
		names = append(names, e.Name)
	}
	if got := strings.Join(names, " "); got != "apart away closed d f g h1 h2 l locked other shared" {
		t.Errorf("got %s", got)
	}
	for path, want := range map[string]vfs.Errno{"locked/n": vfs.EACCES, "locked/x": vfs.EEXIST} {
		if err := d.Mkdir(path); vfs.ErrnoOf(err) != want {
			t.Errorf("make %s: got %v, want %v", path, err, want)
		}
	}
	// Moving a directory changes its "..".
	if err := d.Rename("locked", d, "d/locked"); !errors.Is(err, vfs.EACCES) {
		t.Errorf("move locked: got %v", err)
	}
	check(t, d.Rename("locked", d, "l2"))
	if _, err := d.Open("closed", rw); !errors.Is(err, vfs.EACCES) {
		t.Errorf("open closed to write: got %v", err)
	}
}

func TestSharedMayMove(t *testing.T) {
	f := view(t, sample(t), nil)
	d := root(t, f)
	check(t, d.Rename("shared", d, "moved"))
	check(t, d.Unlink("moved"))
	delta, _ := collect(t, f)
	if len(delta.Dirs) != 1 || !slices.Equal(delta.Dirs[0].Names, []tree.NameChange{{Name: "shared"}}) {
		t.Errorf("got %+v", delta)
	}
}

func TestReadOnly(t *testing.T) {
	f := view(t, sample(t), func(c *Config) { c.ReadOnly = true })
	d := root(t, f)
	five := uint64(5)
	for name, do := range map[string]func() error{
		"make":     func() error { return d.Mkdir("n") },
		"remove":   func() error { return d.Rmdir("d") },
		"unlink":   func() error { return d.Unlink("f") },
		"rename":   func() error { return d.Rename("f", d, "n") },
		"link":     func() error { return d.Link("f", d, "n") },
		"symlink":  func() error { return d.Symlink("f", "n") },
		"times":    func() error { return d.SetTimesPath("f", true, vfs.Times{Mtime: &five}) },
		"create":   func() error { _, err := d.Open("n", fresh); return err },
		"write":    func() error { _, err := d.Open("f", rw); return err },
		"truncate": func() error { _, err := d.Open("f", vfs.OpenRead|vfs.OpenTruncate); return err },
	} {
		if err := do(); !errors.Is(err, vfs.EROFS) {
			t.Errorf("%s: got %v, want EROFS", name, err)
		}
	}
	if delta, _ := collect(t, f); delta != nil || f.Written() {
		t.Errorf("something changed: %+v", delta)
	}
	if n := readPath(t, d, "f", make([]byte, 2000)); n != 1000 {
		t.Errorf("read %d bytes", n)
	}
}

// TestSourceFails gets an error, or something else than was asked for, from the source: that ends the call.
func TestSourceFails(t *testing.T) {
	lost := errors.New("link is lost")
	all := func(d vfs.Dir) error {
		if _, err := d.ReadDir(); err != nil {
			return err
		}
		for _, p := range []string{"d/i", "g", "f"} {
			file, err := d.Open(p, vfs.OpenRead)
			if err != nil {
				return err
			}
			if _, err := file.ReadAt(make([]byte, 400<<10), 0); err != nil {
				return err
			}
		}
		return nil
	}
	for name, c := range map[string]struct {
		spoil func(m *image)
		want  error
	}{
		"nothing":         {func(m *image) {}, nil},
		"all":             {func(m *image) { m.fail = lost }, lost},
		"node":            {func(m *image) { delete(m.objects, m.root.Dir) }, errNotThere},
		"contents":        {func(m *image) { delete(m.contents, 11) }, errNotThere},
		"too few chunks":  {func(m *image) { m.contents[11] = m.contents[11][1:] }, ErrMalformed},
		"too many chunks": {func(m *image) { m.contents[11] = append(slices.Clip(m.contents[11]), tree.Chunk{Size: 1}) }, ErrMalformed},
		"empty chunk":     {func(m *image) { m.contents[11] = append(slices.Clip(m.contents[11]), tree.Chunk{}) }, ErrMalformed},
		"large chunk": {func(m *image) {
			m.contents[11] = []tree.Chunk{{ID: tree.ID{1}, Size: 300 << 10}, {Size: 1 << 63}, {Size: 1 << 63}}
		}, ErrMalformed},
		"short chunk": {func(m *image) {
			id := m.contents[11][0].ID
			m.chunks[id] = m.chunks[id][1:]
		}, ErrMalformed},
	} {
		m := sample(t)
		c.spoil(m)
		err := all(root(t, view(t, m, nil)))
		if !errors.Is(err, c.want) || isAbort(err) != (c.want != nil) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// TestTreeThatCannotBe has numbers that mean two things.
func TestTreeThatCannotBe(t *testing.T) {
	for name, change := range map[string]func(m *image, d, f *tree.Entry){
		"directory in itself":      func(m *image, d, _ *tree.Entry) { d.Ino = 7 },
		"file and directory":       func(m *image, d, f *tree.Entry) { d.Ino = f.Ino },
		"one file of two contents": func(m *image, d, f *tree.Entry) { d.Kind, d.Ino, d.Dir, d.Size = tree.KindFile, f.Ino, tree.ID{}, 1 },
		"one directory twice":      func(m *image, d, f *tree.Entry) { *f = *d; f.Name = "f" },
	} {
		m := newImage()
		d := tree.Entry{Name: "d", Kind: tree.KindDir, Ino: 8, Nlink: 2, Flags: rwx, Dir: m.put(t, nil)}
		f := tree.Entry{Name: "f", Kind: tree.KindFile, Ino: 9, Nlink: 1, Flags: rwx}
		change(m, &d, &f)
		m.root = tree.Entry{Kind: tree.KindDir, Ino: 7, Nlink: 2, Flags: rwx, Dir: m.put(t, []tree.Entry{d, f})}
		top := root(t, view(t, m, nil))
		var err error
		for _, path := range []string{"f", "d", "d/d"} {
			if file, oerr := top.Open(path, vfs.OpenRead); oerr == nil {
				_ = file
			} else if isAbort(oerr) {
				err = oerr
			}
		}
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestWrongLeaves(t *testing.T) {
	m, n := newImage(), newImage()
	var a, b []tree.Entry
	for i := range 2000 {
		e := tree.Entry{Name: fmt.Sprintf("n%04d", i), Kind: tree.KindFile, Ino: uint64(100 + i), Nlink: 1, Flags: rwx}
		a = append(a, e)
		e.Name = "m" + e.Name
		b = append(b, e)
	}
	m.root = tree.Entry{Kind: tree.KindDir, Ino: 7, Nlink: 2, Flags: rwx, Dir: m.put(t, a)}
	n.put(t, b)
	index, err := tree.DecodeNode(m.objects[m.root.Dir])
	check(t, err)
	var other []byte
	for _, o := range n.objects {
		if x, err := tree.DecodeNode(o); err == nil && len(x.Entries) > 0 {
			other = o
		}
	}
	m.objects[index.Leaves[1].ID] = other // the source does not check ids, this one
	d := root(t, view(t, m, nil))
	if _, err := d.ReadDir(); !isAbort(err) {
		t.Errorf("list: got %v", err)
	}
	if _, err := d.StatPath(index.Leaves[1].First, true); !isAbort(err) {
		t.Errorf("look up: got %v", err)
	}
	if _, err := d.StatPath("n0000", true); err != nil {
		t.Errorf("look up in another leaf: %v", err)
	}
}

// TestLargeDirectory looks up, removes and renames in a directory of many entries, of which it needs few.
func TestLargeDirectory(t *testing.T) {
	m := newImage()
	var list []tree.Entry
	const n = 50000
	for i := range n {
		list = append(list, tree.Entry{Name: fmt.Sprintf("n%06d", i), Kind: tree.KindFile, Ino: uint64(100 + i), Nlink: 1, Flags: rwx})
	}
	big := tree.Entry{Name: "big", Kind: tree.KindDir, Ino: 8, Nlink: 2, Flags: rwx, Dir: m.put(t, list)}
	m.root = tree.Entry{Kind: tree.KindDir, Ino: 7, Nlink: 3, Flags: rwx, Dir: m.put(t, []tree.Entry{big})}
	f := view(t, m, nil)
	d := root(t, f)
	check(t, d.Rename("big", d, "huge"))
	if len(m.nodes) != 1 {
		t.Errorf("renaming a directory took %d nodes", len(m.nodes))
	}
	if _, err := d.StatPath("huge/n012345", true); err != nil {
		t.Error(err)
	}
	check(t, d.Unlink("huge/n012346"))
	check(t, d.Rename("huge/n012344", d, "huge/zzz"))
	if len(m.nodes) > 5 {
		t.Errorf("using three neighbours and a new name took %d nodes", len(m.nodes))
	}
	h := open(t, d, "huge", vfs.OpenDirectory|vfs.OpenRead).(vfs.Dir)
	all, err := h.ReadDir()
	if err != nil || len(all) != n-1 || all[n-2].Name != "zzz" {
		t.Errorf("listed %d entries, %v", len(all), err)
	}
	if !slices.IsSortedFunc(all, func(a, b vfs.DirEntry) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the list is not sorted")
	}
	index, err := tree.DecodeNode(m.objects[big.Dir])
	check(t, err)
	if len(m.wants) < len(index.Leaves)-1 {
		t.Errorf("listing asked for %d of %d leaves at once", len(m.wants), len(index.Leaves))
	}
	if err := d.Rmdir("huge"); !errors.Is(err, vfs.ENOTEMPTY) {
		t.Errorf("remove: got %v", err)
	}
	delta, _ := collect(t, f)
	want := []tree.DirChange{
		{Ino: 7, Names: []tree.NameChange{{Name: "big"}, {Name: "huge", Ino: 8}}},
		{Ino: 8, Names: []tree.NameChange{{Name: "n012344"}, {Name: "n012346"}, {Name: "zzz", Ino: 100 + 12344}}},
	}
	if fmt.Sprint(delta.Dirs) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", delta.Dirs, want)
	}
	if fmt.Sprint(delta.Bases) != fmt.Sprint([]tree.Base{{Ino: 7}, {Ino: 8, Path: "big"}, {Ino: 12444, Path: "big/n012344"}}) {
		t.Errorf("got bases %+v", delta.Bases)
	}
}

func TestOpenByNumber(t *testing.T) {
	f := view(t, sample(t), nil)
	d := root(t, f)
	check(t, d.Unlink("d/i")) // what is pinned does not change
	file, err := f.Open(17, "d/i", rw)
	check(t, err)
	if ino, ok := f.Ino(file); !ok || ino != 17 {
		t.Errorf("number %d, %v", ino, ok)
	}
	if _, ok := f.Ino(open(t, root(t, view(t, sample(t), nil)), "f", rw)); ok {
		t.Error("a file of another view has a number")
	}
	got := make([]byte, 20)
	if n, err := file.ReadAt(got, 0); err != nil || !bytes.Equal(got[:n], data(10, 17)) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	for path, ino := range map[string]uint64{"": 7, "d": 16} {
		dir, err := f.Open(ino, path, vfs.OpenDirectory)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := dir.(vfs.Dir); !ok {
			t.Errorf("%q is no directory", path)
		}
	}
	for path, ino := range map[string]uint64{"d/i": 16, "d/none": 17, "f/i": 17, "l": 15, "other": 18, "away/x": 3, "../x": 3, "/": 7} {
		if _, err := f.Open(ino, path, rw); !isAbort(err) {
			t.Errorf("open %q as %d: got %v", path, ino, err)
		}
	}
}
