package scan

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/clonecloud/clonecloud/internal/scan/hostdir"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// Version is the directory as it was at one time. Paths are slash-separated, "" is the top; links are not followed.
type Version struct {
	t   *Tree
	top *image

	mu    sync.Mutex
	index *index              // guarded by mu: made at the first use
	nodes map[tree.ID]*image  // guarded by mu: made at the first use
	large map[tree.ID][]byte  // guarded by mu: nodes of the last directory that has several
	found map[uint64]*content // guarded by mu: what was hashed since
}

// Root returns the entry of the directory.
func (v *Version) Root() tree.Entry { return v.top.entryOf() }

// Stats counts the files (whatever is no directory), the directories, and the bytes of the files.
func (v *Version) Stats() (files, dirs int, bytes uint64) {
	s := v.top.sum
	return int(s.files), int(s.dirs), s.bytes
}

const maxSkipped = 100

// Skipped lists, by their paths, devices, pipes and sockets, and what is left alone: directories of other file systems
// and what an image cannot describe. The last item says how many there are beyond the first hundred.
func (v *Version) Skipped() []string {
	var list []string
	v.top.skipped("", &list)
	if more := int(v.top.sum.skipped) - len(list); more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	return list
}

func (m *image) skipped(prefix string, list *[]string) {
	for i := range m.recs {
		r := &m.recs[i]
		path := prefix + m.name(i)
		switch {
		case len(*list) == maxSkipped:
			return
		case r.kind == tree.KindDir && !m.child(i).apart:
			if c := m.child(i); c.sum.skipped > 0 {
				c.skipped(path+"/", list)
			}
		case r.kind == tree.KindDir, r.kind == tree.KindOther, r.flags&tree.Apart != 0:
			*list = append(*list, path)
		}
	}
}

// place finds a path: the directory that holds it, and where. Of the top there is no directory.
func (v *Version) place(path string) (m *image, i int, ok bool) {
	if path == "" {
		return nil, 0, true
	}
	m = v.top
	for {
		name, rest, more := strings.Cut(path, "/")
		if i, ok = m.find(name); !ok {
			return nil, 0, false
		}
		if !more {
			return m, i, true
		}
		if m.recs[i].kind != tree.KindDir {
			return nil, 0, false
		}
		m, path = m.child(i), rest
	}
}

// Lookup returns the entry of a path.
func (v *Version) Lookup(path string) (tree.Entry, bool) {
	m, i, ok := v.place(path)
	switch {
	case !ok:
		return tree.Entry{}, false
	case m == nil:
		return v.Root(), true
	}
	return m.entry(i), true
}

// dirAt returns the image of a directory.
func (v *Version) dirAt(path string) (*image, bool) {
	m, i, ok := v.place(path)
	switch {
	case !ok:
		return nil, false
	case m == nil:
		return v.top, true
	case m.recs[i].kind != tree.KindDir:
		return nil, false
	}
	return m.child(i), true
}

// Entries lists a directory, by name.
func (v *Version) Entries(dir string) ([]tree.Entry, bool) {
	m, ok := v.dirAt(dir)
	if !ok {
		return nil, false
	}
	return m.entries(), true
}

// index finds files by their numbers.
type index struct {
	dirs   []indexDir
	places map[uint64]indexPlace
}

type indexDir struct {
	m      *image
	parent int32
	at     int32 // in its parent
}

type indexPlace struct{ dir, at int32 }

func newIndex(top *image) *index {
	x := &index{dirs: []indexDir{{m: top}}, places: make(map[uint64]indexPlace, top.sum.files+top.sum.dirs)}
	for d := 0; d < len(x.dirs); d++ {
		m := x.dirs[d].m
		for i := range m.recs {
			ino := m.recs[i].ino
			if m.recs[i].kind == tree.KindDir {
				c := m.child(i)
				x.dirs = append(x.dirs, indexDir{m: c, parent: int32(d), at: int32(i)})
				ino = c.self.ino
			}
			if _, ok := x.places[ino]; !ok {
				x.places[ino] = indexPlace{int32(d), int32(i)}
			}
		}
	}
	return x
}

func (x *index) path(ino uint64) (string, bool) {
	p, ok := x.places[ino]
	if !ok {
		return "", false
	}
	d := &x.dirs[p.dir]
	names := []string{d.m.name(int(p.at))}
	for n := p.dir; n != 0; n = x.dirs[n].parent {
		d := &x.dirs[n]
		names = append(names, x.dirs[d.parent].m.name(int(d.at)))
	}
	slices.Reverse(names)
	return strings.Join(names, "/"), true
}

// Path returns a path of the file with this number.
func (v *Version) Path(ino uint64) (string, bool) {
	if ino == v.top.self.ino {
		return "", true
	}
	v.mu.Lock()
	x := v.index
	v.mu.Unlock()
	if x != nil {
		return x.path(ino)
	}
	// Most files are where they were in the version before: its index will do, with a second look.
	if hint := v.t.hint.Load(); hint != nil {
		if path, ok := hint.path(ino); ok {
			if e, ok := v.Lookup(path); ok && e.Ino == ino {
				return path, true
			}
		}
	}
	return v.indexed().path(ino)
}

func (v *Version) indexed() *index {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.index == nil {
		v.index = newIndex(v.top)
		v.t.hint.Store(v.index)
	}
	return v.index
}

// Node returns an encoded node of a directory.
func (v *Version) Node(id tree.ID) ([]byte, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if b, ok := v.large[id]; ok {
		return b, true
	}
	if v.nodes == nil {
		v.nodes = map[tree.ID]*image{}
		v.top.collect(v.nodes)
	}
	m := v.nodes[id]
	if m == nil {
		return nil, false
	}
	objects := m.objects()
	if len(objects) > 1 {
		v.large = make(map[tree.ID][]byte, len(objects))
		for _, o := range objects {
			v.large[o.ID] = o.Data
		}
	}
	for _, o := range objects {
		if o.ID == id {
			return o.Data, true
		}
	}
	return nil, false
}

// objects encodes the image again.
func (m *image) objects() []tree.Object {
	c := *m
	objects, err := c.encode()
	if err != nil || c.id != m.id {
		panic(fmt.Sprintf("BUG: a directory is encoded in another way than before: %v", err))
	}
	return objects
}

func (m *image) collect(nodes map[tree.ID]*image) {
	nodes[m.id] = m
	for _, id := range m.nodes {
		nodes[id] = m
	}
	for _, c := range m.children {
		c.collect(nodes)
	}
}

// Nodes returns the nodes of directories that are not known, from the top down, of at most limit bytes; false: there
// are more. What is below a known node is known.
func (v *Version) Nodes(known func(tree.ID) bool, limit int) ([]tree.Object, bool) {
	var list []tree.Object
	given := map[tree.ID]bool{}
	for level := []*image{v.top}; len(level) > 0; {
		var next []*image
		for _, m := range level {
			if given[m.id] || known(m.id) {
				continue
			}
			given[m.id] = true
			for _, o := range slices.Backward(m.objects()) { // the root of a large directory is the last
				if o.ID != m.id && (given[o.ID] || known(o.ID)) {
					continue
				}
				if limit -= len(o.Data); limit < 0 {
					return list, false
				}
				given[o.ID] = true
				list = append(list, o)
			}
			next = append(next, m.children...)
		}
		level = next
	}
	return list, true
}

// Unchanged tells whether what is at path now is what was pinned, also if that is nothing; of a directory, whether its
// names are.
func (v *Version) Unchanged(path string) (bool, error) {
	same, err := v.unchanged(path)
	if err != nil {
		return false, fmt.Errorf("look at %q: %w", path, err)
	}
	return same, nil
}

func (v *Version) unchanged(path string) (bool, error) {
	if path == "" {
		h, err := v.t.descend(nil)
		if err != nil {
			return false, err
		}
		return v.sameNames(v.top, h)
	}
	if !tree.ValidPath(path) {
		return false, fs.ErrInvalid
	}
	m, at, ok := v.place(path)
	names := strings.Split(path, "/")
	name := names[len(names)-1]
	parent, err := v.t.descend(names[:len(names)-1])
	if err != nil {
		return !ok && hostdir.IsGone(err), dropGone(err)
	}
	same, err := v.compare(m, at, ok, parent, name)
	return same, errors.Join(err, parent.Close())
}

// compare compares a name in an open directory with that at a place.
func (v *Version) compare(m *image, at int, was bool, parent *hostdir.Dir, name string) (bool, error) {
	s, err := parent.Lstat(name)
	if err != nil {
		return !was && hostdir.IsGone(err), dropGone(err)
	}
	if !was {
		return false, nil
	}
	now := v.t.recOf(&s)
	if m.recs[at].kind != tree.KindDir {
		return m.recs[at].like(&now), nil
	}
	c := m.child(at)
	if now.kind != tree.KindDir || c.apart || now.ino != c.self.ino {
		return now.kind == tree.KindDir && c.apart, nil // what is in it was not pinned
	}
	h, err := parent.OpenDir(name)
	if err != nil {
		return false, dropGone(err)
	}
	return v.sameNames(c, h)
}

func dropGone(err error) error {
	if hostdir.IsGone(err) {
		return nil
	}
	return err
}

// sameNames compares the names in an open directory, which it closes, with those that were pinned.
func (v *Version) sameNames(m *image, h *hostdir.Dir) (bool, error) {
	var l listing
	err := h.Read(&l.buf, func(name []byte, ino uint64, kind tree.Kind) error {
		if m == v.top && isOurs(name) || len(name) > tree.MaxName {
			return nil
		}
		l.add(name, rec{ino: ino, kind: kind})
		return nil
	})
	if err = errors.Join(err, h.Close()); err != nil {
		return false, err
	}
	l.sort()
	if len(l.recs) != len(m.recs) {
		return false, nil
	}
	for i := range l.recs {
		if l.name(&l.recs[i]) != m.name(i) || l.recs[i].ino != m.recs[i].ino {
			return false, nil
		}
	}
	return true, nil
}
