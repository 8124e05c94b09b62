package reconcile

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/clonecloud/clonecloud/internal/reconcile/disk"
	"github.com/clonecloud/clonecloud/internal/reconcile/plan"
	"github.com/clonecloud/clonecloud/internal/tree"
	"pgregory.net/rapid"
)

// image is a pinned version: a copy of a directory through a folder.
type image struct {
	byPath map[string]tree.Entry
	data   map[uint64][]byte
	list   map[string][]tree.Entry
	chunks map[uint64][]tree.Chunk
}

func (m *image) Lookup(path string) (tree.Entry, bool) { e, ok := m.byPath[path]; return e, ok }

func (m *image) Entries(dir string) ([]tree.Entry, bool) {
	if e, ok := m.byPath[dir]; !ok || e.Kind != tree.KindDir {
		return nil, false
	}
	return m.list[dir], true
}

func (m *image) Content(_ context.Context, ino uint64) ([]tree.Chunk, error) {
	c, ok := m.chunks[ino]
	if !ok {
		return nil, errors.New("not known")
	}
	return c, nil
}

// linkOf reads a link; folders have no need of it themselves.
type linkOf func(d disk.Folder, name string) string

func pin(t tester, top disk.Folder, readlink linkOf) *image {
	m := &image{map[string]tree.Entry{}, map[uint64][]byte{}, map[string][]tree.Entry{}, map[uint64][]tree.Chunk{}}
	st, err := top.Stat()
	if err != nil {
		t.Fatal(err)
	}
	m.byPath[""] = entryOf("", &st)
	m.walk(t, top, "", readlink)
	return m
}

func entryOf(name string, st *disk.Stat) tree.Entry {
	return tree.Entry{
		Name: name, Kind: st.Kind, Flags: tree.Readable | tree.Writable | tree.Searchable, Mode: st.Mode, Ino: st.Ino, Nlink: uint32(st.Nlink),
		Size: st.Size, Mtime: st.Mtime, Ctime: st.Ctime,
	}
}

func (m *image) walk(t tester, d disk.Folder, path string, readlink linkOf) {
	names, err := d.Names()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	for _, name := range names {
		if path == "" && strings.HasPrefix(name, plan.StagingPrefix) {
			continue
		}
		st, err := d.Lstat(name)
		if err != nil {
			t.Fatal(err)
		}
		e := entryOf(name, &st)
		p := disk.Join(path, name)
		switch st.Kind {
		case tree.KindDir:
			sub, err := d.Enter(name)
			if err != nil {
				t.Fatal(err)
			}
			m.walk(t, sub, p, readlink)
			_ = sub.Close()
		case tree.KindSymlink:
			e.Target = readlink(d, name)
		case tree.KindFile:
			f, err := d.Open(name, false)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(io.NewSectionReader(f, 0, int64(st.Size)))
			if err != nil || f.Close() != nil {
				t.Fatal(err)
			}
			m.data[e.Ino] = b
			if len(b) > 0 {
				e.Flags |= tree.Hashed
				e.Chunks = []tree.Chunk{{ID: tree.IDOf(b), Size: uint64(len(b))}}
				m.chunks[e.Ino] = e.Chunks
			}
		}
		m.byPath[p] = e
		m.list[path] = append(m.list[path], e)
	}
}

// picture is all of a tree that a user sees, to be compared: a line for each name, and which names are one file.
func (m *image) picture(times bool) string {
	var lines []string
	group := map[uint64]string{}
	for _, p := range slices.Sorted(maps.Keys(m.byPath)) {
		e := m.byPath[p]
		line := fmt.Sprintf("%q %d %q %x", p, e.Kind, e.Target, m.data[e.Ino])
		if times {
			line += fmt.Sprint(" ", e.Mtime)
		}
		if e.Kind != tree.KindDir {
			if first, ok := group[e.Ino]; ok {
				line += " = " + first
			} else {
				group[e.Ino] = p
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// model is a tree in memory that a clone edits.
type model struct {
	base  *image
	nodes map[uint64]*node
	root  uint64
	next  uint64
	open  map[uint64]bool // new ones that stay open
}

type node struct {
	kind   tree.Kind
	data   []byte
	target string
	names  map[string]uint64
	mtime  uint64 // 0: not set
}

func newModel(base *image) *model {
	m := &model{base: base, nodes: map[uint64]*node{}, next: tree.FirstNew, root: base.byPath[""].Ino, open: map[uint64]bool{}}
	for p, e := range base.byPath {
		n := m.nodes[e.Ino]
		if n == nil {
			n = &node{kind: e.Kind, target: e.Target, data: slices.Clone(base.data[e.Ino])}
			if e.Kind == tree.KindDir {
				n.names = map[string]uint64{}
				for _, c := range base.list[p] {
					n.names[c.Name] = c.Ino
				}
			}
			m.nodes[e.Ino] = n
		}
	}
	return m
}

// reach lists what has a name: paths by number.
func (m *model) reach() map[uint64][]string {
	at := map[uint64][]string{m.root: {""}}
	var visit func(ino uint64, path string)
	visit = func(ino uint64, path string) {
		for _, name := range slices.Sorted(maps.Keys(m.nodes[ino].names)) {
			c := m.nodes[ino].names[name]
			at[c] = append(at[c], disk.Join(path, name))
			if m.nodes[c].kind == tree.KindDir {
				visit(c, disk.Join(path, name))
			}
		}
	}
	visit(m.root, "")
	return at
}

func (m *model) add(n *node) uint64 {
	ino := m.next
	m.next++
	m.nodes[ino] = n
	return ino
}

// step does one random edit, if it is one that a file system allows.
func (m *model) step(t *rapid.T) {
	at := m.reach()
	var dirs, files, any []uint64
	for _, ino := range slices.Sorted(maps.Keys(at)) {
		switch m.nodes[ino].kind {
		case tree.KindDir:
			dirs = append(dirs, ino)
		case tree.KindFile:
			files = append(files, ino)
		}
		if ino != m.root {
			any = append(any, ino)
		}
	}
	dir := func() uint64 { return rapid.SampledFrom(dirs).Draw(t, "dir") }
	name := func() string { return rapid.SampledFrom([]string{"a", "b", "c", "d", "e.txt"}).Draw(t, "name") }
	// pick is a name that is there.
	pick := func() (uint64, string, uint64) {
		ino := rapid.SampledFrom(any).Draw(t, "what")
		path := rapid.SampledFrom(at[ino]).Draw(t, "path")
		d, n := disk.Split(path)
		for _, x := range dirs {
			if at[x][0] == d {
				return x, n, ino
			}
		}
		panic("no parent")
	}
	switch op := rapid.IntRange(0, 9).Draw(t, "op"); {
	case op <= 1:
		d, n := dir(), name()
		if _, ok := m.nodes[d].names[n]; !ok {
			m.nodes[d].names[n] = m.add(&node{kind: tree.KindFile, data: someBytes(t)})
		}
	case op == 2:
		d, n := dir(), name()
		if _, ok := m.nodes[d].names[n]; !ok {
			m.nodes[d].names[n] = m.add(&node{kind: tree.KindDir, names: map[string]uint64{}})
		}
	case op == 3:
		d, n := dir(), name()
		if _, ok := m.nodes[d].names[n]; !ok {
			m.nodes[d].names[n] = m.add(&node{kind: tree.KindSymlink, target: "../" + n})
		}
	case op == 4 && len(files) > 0:
		m.write(t, m.nodes[rapid.SampledFrom(files).Draw(t, "file")])
	case op == 5 && len(files) > 0:
		d, n := dir(), name()
		if _, ok := m.nodes[d].names[n]; !ok {
			m.nodes[d].names[n] = rapid.SampledFrom(files).Draw(t, "file")
		}
	case op == 6 && len(any) > 0:
		m.nodes[rapid.SampledFrom(append(any, m.root)).Draw(t, "what")].mtime = rapid.Uint64Range(1_600_000_000e9, 1_700_000_000e9).Draw(t, "mtime")
	case op == 7 && len(any) > 0:
		d, n, ino := pick()
		if len(m.nodes[ino].names) == 0 {
			m.unlink(t, d, n)
		}
	case op >= 8 && len(any) > 0:
		d, n, ino := pick()
		m.rename(t, d, n, ino, dir(), name())
	}
}

func (m *model) unlink(t *rapid.T, d uint64, n string) {
	ino := m.nodes[d].names[n]
	delete(m.nodes[d].names, n)
	if ino >= tree.FirstNew && m.nodes[ino].kind == tree.KindFile && rapid.Bool().Draw(t, "stays open") {
		m.open[ino] = true
	}
}

func (m *model) rename(t *rapid.T, d uint64, n string, ino, to uint64, as string) {
	x := m.nodes[ino]
	if x.kind == tree.KindDir && m.within(to, ino) {
		return
	}
	if old, ok := m.nodes[to].names[as]; ok {
		o := m.nodes[old]
		if old == ino || (o.kind == tree.KindDir) != (x.kind == tree.KindDir) || len(o.names) > 0 {
			return
		}
		m.unlink(t, to, as)
	}
	delete(m.nodes[d].names, n)
	m.nodes[to].names[as] = ino
}

// within tells whether a directory is another, or below it.
func (m *model) within(dir, of uint64) bool {
	if dir == of {
		return true
	}
	for _, c := range m.nodes[of].names {
		if m.nodes[c].kind == tree.KindDir && m.within(dir, c) {
			return true
		}
	}
	return false
}

func someBytes(t *rapid.T) []byte {
	n := rapid.IntRange(0, 40).Draw(t, "size")
	b := make([]byte, n)
	fill := rapid.SampledFrom([]byte{0, 1, 2, 3, 'x', 'y'}).Draw(t, "byte")
	for i := range b {
		b[i] = fill
	}
	return b
}

func (m *model) write(t *rapid.T, n *node) {
	switch rapid.IntRange(0, 2).Draw(t, "how") {
	case 0:
		n.data = append(n.data, someBytes(t)...)
	case 1:
		n.data = resize(n.data, rapid.IntRange(0, 60).Draw(t, "new size"))
	default:
		b := someBytes(t)
		off := rapid.IntRange(0, 60).Draw(t, "off")
		if len(b) > 0 {
			n.data = resize(n.data, max(len(n.data), off+len(b)))
			n.data = slices.Clone(n.data)
			copy(n.data[off:], b)
		}
	}
}

// delta is the difference from the base, and the chunks that it names.
func (m *model) delta() (*tree.Delta, map[tree.ID][]byte) {
	d, chunks := &tree.Delta{}, map[tree.ID][]byte{}
	at := m.reach()
	before := newModel(m.base)
	used := map[uint64]bool{}
	for _, ino := range slices.Sorted(maps.Keys(m.nodes)) {
		n, old := m.nodes[ino], before.nodes[ino]
		_, named := at[ino]
		if ino >= tree.FirstNew && !named && !m.open[ino] {
			continue
		}
		if n.kind == tree.KindDir {
			if c := dirChange(ino, n, old); len(c.Names) > 0 {
				d.Dirs = append(d.Dirs, c)
				used[ino] = true
				for _, x := range c.Names {
					used[x.Ino] = true
				}
			}
		}
		f := tree.FileChange{Ino: ino, Kind: n.kind, Mtime: n.mtime}
		if old == nil {
			f.Target = n.target
		}
		if n.kind == tree.KindFile && (old == nil || !bytes.Equal(n.data, old.data)) {
			f.Written, f.Size = true, uint64(len(n.data))
			var was []byte
			if old != nil {
				was = old.data
			}
			f.Pieces = pieces(n.data, was, old != nil, chunks)
		}
		if old == nil || f.Written || f.Mtime != 0 {
			d.Files = append(d.Files, f)
			used[ino] = true
		}
	}
	for _, p := range slices.Sorted(maps.Keys(m.base.byPath)) {
		if e := m.base.byPath[p]; used[e.Ino] {
			d.Bases = append(d.Bases, tree.Base{Ino: e.Ino, Path: p})
			delete(used, e.Ino)
		}
	}
	slices.SortFunc(d.Bases, func(a, b tree.Base) int { return cmp.Compare(a.Ino, b.Ino) })
	return d, chunks
}

func dirChange(ino uint64, now, old *node) tree.DirChange {
	var was map[string]uint64
	if old != nil {
		was = old.names
	}
	all := maps.Clone(now.names)
	maps.Copy(all, was)
	c := tree.DirChange{Ino: ino}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if now.names[name] != was[name] {
			c.Names = append(c.Names, tree.NameChange{Name: name, Ino: now.names[name]})
		}
	}
	return c
}

// pieceSize is how many bytes the pieces of a delta have.
var pieceSize = 8

// pieces describes data in blocks.
func pieces(data, was []byte, isOld bool, chunks map[tree.ID][]byte) []tree.Piece {
	var list []tree.Piece
	for off := 0; off < len(data); off += pieceSize {
		b := data[off:min(off+pieceSize, len(data))]
		p := tree.Piece{Size: uint64(len(b))}
		switch {
		case isOld && off+len(b) <= len(was) && bytes.Equal(b, was[off:off+len(b)]):
			p.Kept = true
		case !bytes.Equal(b, make([]byte, len(b))):
			p.Chunk = tree.IDOf(b)
			chunks[p.Chunk] = bytes.Clone(b)
		}
		list = append(list, p)
	}
	return list
}

// picture is that of the image that the model is to give. Times are those that were set, of the rest of the image now.
func (m *model) picture() string {
	img := &image{byPath: map[string]tree.Entry{}, data: map[uint64][]byte{}}
	for ino, paths := range m.reach() {
		n := m.nodes[ino]
		for _, p := range paths {
			img.byPath[p] = tree.Entry{Kind: n.kind, Target: n.target, Ino: ino}
		}
		if n.kind == tree.KindFile {
			img.data[ino] = n.data
		}
	}
	return img.picture(false)
}

// checkTimes compares those that were set.
func (m *model) checkTimes(t tester, now *image) {
	t.Helper()
	for ino, paths := range m.reach() {
		if want := m.nodes[ino].mtime; want != 0 && now.byPath[paths[0]].Mtime != want {
			t.Errorf("%q: got mtime %d, want %d", paths[0], now.byPath[paths[0]].Mtime, want)
		}
	}
}

func source(chunks map[tree.ID][]byte) func(id tree.ID) ([]byte, error) {
	return func(id tree.ID) ([]byte, error) {
		b, ok := chunks[id]
		if !ok {
			return nil, errors.New("no such chunk")
		}
		return b, nil
	}
}

// tester is what a testing.T and a rapid.T have.
type tester interface {
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}
