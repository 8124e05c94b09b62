package overlay

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// model is a tree of files in memory, by number.
type model struct {
	root  uint64
	files map[uint64]*modelFile
}

type modelFile struct {
	kind   tree.Kind
	data   []byte
	target string
	names  map[string]uint64
	mtime  uint64
}

func modelOf(t testing.TB, dir string) *model {
	t.Helper()
	m := &model{files: map[uint64]*modelFile{}}
	m.root = m.read(t, dir)
	return m
}

func (m *model) read(t testing.TB, path string) uint64 {
	t.Helper()
	fi, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	ino, _ := numbers(fi)
	if m.files[ino] != nil {
		return ino
	}
	f := &modelFile{mtime: uint64(fi.ModTime().UnixNano())}
	m.files[ino] = f
	switch {
	case fi.IsDir():
		f.kind, f.names = tree.KindDir, map[string]uint64{}
		list, err := os.ReadDir(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			f.names[e.Name()] = m.read(t, filepath.Join(path, e.Name()))
		}
	case fi.Mode()&fs.ModeSymlink != 0:
		f.kind = tree.KindSymlink
		f.target, err = os.Readlink(path)
	case fi.Mode().IsRegular():
		f.kind = tree.KindFile
		f.data, err = os.ReadFile(path)
	default:
		f.kind = tree.KindOther
	}
	if err != nil {
		t.Fatal(err)
	}
	return ino
}

// at finds a path, without following links.
func (m *model) at(path string) uint64 {
	ino := m.root
	for path != "" {
		var name string
		name, path = cutPath(path)
		ino = m.files[ino].names[name]
		if ino == 0 {
			return 0
		}
	}
	return ino
}

// apply changes the model as a delta says, without any care.
func (m *model) apply(d *tree.Delta, chunks map[tree.ID][]byte) error {
	for _, b := range d.Bases {
		if got := m.at(b.Path); got != b.Ino {
			return fmt.Errorf("base %q is number %d, not %d", b.Path, got, b.Ino)
		}
	}
	for i := range d.Files {
		c := &d.Files[i]
		f := m.files[c.Ino]
		if f == nil {
			f = &modelFile{kind: c.Kind, target: c.Target}
			if c.Kind == tree.KindDir {
				f.names = map[string]uint64{}
			}
			m.files[c.Ino] = f
		}
		if c.Mtime != 0 {
			f.mtime = c.Mtime
		}
		if !c.Written {
			continue
		}
		var data []byte
		for _, p := range c.Pieces {
			at := uint64(len(data))
			switch {
			case p.Kept:
				if at+p.Size > uint64(len(f.data)) {
					return fmt.Errorf("file %d keeps %d bytes at %d of %d", c.Ino, p.Size, at, len(f.data))
				}
				data = append(data, f.data[at:at+p.Size]...)
			case p.Chunk == tree.ID{}:
				data = append(data, make([]byte, p.Size)...)
			default:
				b, ok := chunks[p.Chunk]
				if !ok || uint64(len(b)) != p.Size {
					return fmt.Errorf("file %d: chunk %v has %d bytes, not %d", c.Ino, p.Chunk, len(b), p.Size)
				}
				data = append(data, b...)
			}
		}
		f.data = data
	}
	for _, c := range d.Dirs {
		names := m.files[c.Ino].names
		for _, n := range c.Names {
			if n.Ino == 0 {
				if names[n.Name] == 0 {
					return fmt.Errorf("name %q goes but was not there", n.Name)
				}
				delete(names, n.Name)
				continue
			}
			if names[n.Name] == n.Ino {
				return fmt.Errorf("name %q comes but is as it was", n.Name)
			}
			names[n.Name] = n.Ino
		}
	}
	return nil
}

// compare tells where two models differ: in names, contents, and which names are of one file.
func compare(a, b *model) error {
	same, back := map[uint64]uint64{}, map[uint64]uint64{}
	var visit func(path string, x, y uint64) error
	visit = func(path string, x, y uint64) error {
		if v, ok := same[x]; ok && v != y {
			return fmt.Errorf("%s: other links", path)
		} else if ok {
			return nil
		}
		if _, ok := back[y]; ok {
			return fmt.Errorf("%s: other links", path)
		}
		same[x], back[y] = y, x
		f, g := a.files[x], b.files[y]
		if f == nil || g == nil {
			return fmt.Errorf("%s: numbers %d and %d, one is not there", path, x, y)
		}
		switch {
		case f.kind != g.kind:
			return fmt.Errorf("%s: kind %d and %d", path, f.kind, g.kind)
		case f.target != g.target:
			return fmt.Errorf("%s: target %q and %q", path, f.target, g.target)
		case !bytes.Equal(f.data, g.data):
			return fmt.Errorf("%s: contents of %d and %d bytes", path, len(f.data), len(g.data))
		}
		var names []string
		for n := range f.names {
			names = append(names, n)
		}
		for n := range g.names {
			if f.names[n] == 0 {
				return fmt.Errorf("%s/%s: only in the second", path, n)
			}
		}
		slices.Sort(names)
		for _, n := range names {
			if g.names[n] == 0 {
				return fmt.Errorf("%s/%s: only in the first", path, n)
			}
			if err := visit(path+"/"+n, f.names[n], g.names[n]); err != nil {
				return err
			}
		}
		return nil
	}
	return visit("", a.root, b.root)
}

// collect gets the changes of a view as their consumer does.
func collect(t testing.TB, f *FS, open ...uint64) (*tree.Delta, map[tree.ID][]byte) {
	t.Helper()
	d, seq, err := f.Changes(t.Context(), open)
	if err != nil {
		t.Fatal(err)
	}
	chunks := map[tree.ID][]byte{}
	for o, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		if tree.IDOf(o.Data) != o.ID || chunks[o.ID] != nil || len(o.Data) > tree.MaxChunk {
			t.Fatalf("chunk %v of %d bytes is not what it says, or there twice", o.ID, len(o.Data))
		}
		chunks[o.ID] = o.Data
	}
	if d == nil {
		if len(chunks) > 0 {
			t.Fatal("chunks of no changes")
		}
		return nil, nil
	}
	b := d.AppendTo(nil)
	again, err := tree.DecodeDelta(b)
	if err != nil {
		t.Fatalf("changes are no valid delta: %v", err)
	}
	if !bytes.Equal(again.AppendTo(nil), b) {
		t.Fatal("the delta is not read back as it was")
	}
	return d, chunks
}
