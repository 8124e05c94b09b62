package overlay

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// image is a pinned tree with all that belongs to it: a Source that counts what it is asked.
type image struct {
	root     tree.Entry
	objects  map[tree.ID][]byte // nodes and lists
	chunks   map[tree.ID][]byte
	contents map[uint64][]tree.Chunk

	mu    sync.Mutex
	nodes map[tree.ID]int
	bytes uint64 // of chunks asked for
	got   map[tree.ID]int
	wants []Want
	fail  error
}

func newImage() *image {
	return &image{
		objects: map[tree.ID][]byte{}, chunks: map[tree.ID][]byte{}, contents: map[uint64][]tree.Chunk{},
		nodes: map[tree.ID]int{}, got: map[tree.ID]int{},
	}
}

var errNotThere = errors.New("the source does not have it")

func (m *image) Node(_ context.Context, _ uint64, id tree.ID) (*tree.Node, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes[id]++
	if m.fail != nil {
		return nil, m.fail
	}
	b, ok := m.objects[id]
	if !ok {
		return nil, errNotThere
	}
	return tree.DecodeNode(b)
}

func (m *image) Content(_ context.Context, ino uint64, list tree.ID) ([]tree.Chunk, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, m.fail
	}
	if list != (tree.ID{}) {
		b, ok := m.objects[list]
		if !ok {
			return nil, errNotThere
		}
		return tree.DecodeList(b)
	}
	c, ok := m.contents[ino]
	if !ok {
		return nil, errNotThere
	}
	return c, nil
}

func (m *image) Chunk(_ context.Context, _, _ uint64, c tree.Chunk) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, m.fail
	}
	if c.Hole() {
		return nil, errors.New("asked for a hole")
	}
	b, ok := m.chunks[c.ID]
	if !ok {
		return nil, errNotThere
	}
	m.got[c.ID]++
	m.bytes += c.Size
	return b, nil
}

func (m *image) Ahead(_ context.Context, wants []Want) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wants = append(m.wants, wants...)
}

// put adds a directory with its entries, and returns its node.
func (m *image) put(t testing.TB, entries []tree.Entry) tree.ID {
	t.Helper()
	slices.SortFunc(entries, func(a, b tree.Entry) int { return strings.Compare(a.Name, b.Name) })
	id, objects, err := tree.EncodeDir(entries)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		m.objects[o.ID] = o.Data
	}
	return id
}

// file fills in what a file consists of; hashed: so that its entry says it.
func (m *image) file(t testing.TB, e *tree.Entry, data []byte, hashed bool) {
	t.Helper()
	var list []tree.Chunk
	err := tree.Cut(bytes.NewReader(data), uint64(len(data)), func(c tree.Chunk, b []byte) error {
		list = append(list, c)
		if !c.Hole() {
			m.chunks[c.ID] = bytes.Clone(b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	e.Size = uint64(len(data))
	m.contents[e.Ino] = list
	if !hashed {
		return
	}
	e.Flags |= tree.Hashed
	if len(list) <= tree.MaxInline {
		e.Chunks = list
		return
	}
	b := tree.EncodeList(list)
	e.List = tree.IDOf(b)
	m.objects[e.List] = b
}

const rwx = tree.Readable | tree.Writable | tree.Searchable

// scanner makes an image of a real directory.
type scanner struct {
	*image
	flags func(fs.FileInfo) tree.Flags
	rng   *rand.Rand
}

func imageOf(t testing.TB, dir string, flags func(fs.FileInfo) tree.Flags) *image {
	t.Helper()
	if flags == nil {
		flags = func(fs.FileInfo) tree.Flags { return rwx }
	}
	s := &scanner{newImage(), flags, rand.New(rand.NewPCG(1, 2))}
	s.root = s.entry(t, dir)
	s.root.Name = ""
	return s.image
}

func (s *scanner) entry(t testing.TB, path string) tree.Entry {
	t.Helper()
	fi, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	ino, nlink := numbers(fi)
	e := tree.Entry{
		Name: filepath.Base(path), Flags: s.flags(fi), Mode: uint32(fi.Mode().Perm()), Ino: ino, Nlink: uint32(nlink),
		Size: uint64(fi.Size()), Mtime: uint64(fi.ModTime().UnixNano()), Ctime: uint64(fi.ModTime().UnixNano()),
	}
	switch {
	case fi.IsDir():
		e.Kind = tree.KindDir
		names, err := os.ReadDir(path)
		if err != nil {
			t.Fatal(err)
		}
		var list []tree.Entry
		for _, n := range names {
			list = append(list, s.entry(t, filepath.Join(path, n.Name())))
		}
		e.Dir = s.put(t, list)
	case fi.Mode()&fs.ModeSymlink != 0:
		e.Kind = tree.KindSymlink
		if e.Target, err = os.Readlink(path); err != nil {
			t.Fatal(err)
		}
	case fi.Mode().IsRegular():
		e.Kind = tree.KindFile
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s.file(t, &e, data, s.rng.IntN(3) > 0)
	default:
		e.Kind, e.Type = tree.KindOther, 0
	}
	return e
}

// view opens an image.
func view(t testing.TB, m *image, change func(*Config)) *FS {
	t.Helper()
	now := uint64(2e18)
	cfg := Config{Root: m.root, Source: m, Now: func() uint64 { now++; return now }, Spool: t.TempDir()}
	if change != nil {
		change(&cfg)
	}
	f := New(t.Context(), cfg)
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// empty is an image without files.
func empty(t testing.TB) *image {
	m := newImage()
	m.root = tree.Entry{Kind: tree.KindDir, Ino: 7, Nlink: 2, Size: 4096, Flags: rwx, Mtime: 1e18, Ctime: 1e18, Dir: m.put(t, nil)}
	return m
}
