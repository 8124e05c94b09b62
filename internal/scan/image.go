package scan

import (
	"bytes"
	"slices"

	"github.com/clonecloud/clonecloud/internal/scan/hostdir"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// rec is what is known of one name. Of a directory only its place is: the rest stands in its image. Two recs
// without their names are equal if nothing changed.
type rec struct {
	name  uint32 // where it begins in names
	size  uint64
	mtime uint64
	ctime uint64
	ino   uint64 // of a directory: as its parent lists it, which is another one where a file system is mounted
	mode  uint32
	nlink uint32
	ext   uint32 // of a directory: place in children; of a link: in targets
	len   uint8
	kind  tree.Kind
	typ   uint8
	flags tree.Flags
}

// like tells whether nothing changed from r to x, as far as attributes tell.
func (r *rec) like(x *rec) bool {
	return r.size == x.size && r.mtime == x.mtime && r.ctime == x.ctime && r.ino == x.ino && r.mode == x.mode && r.nlink == x.nlink &&
		r.kind == x.kind && r.typ == x.typ && (r.flags^x.flags)&^tree.Shared == 0
}

// sameContents tells whether a file's contents cannot have changed from r to x, as far as attributes tell.
func (r *rec) sameContents(x *rec) bool {
	return r.kind == tree.KindFile && x.kind == tree.KindFile && r.ino == x.ino && r.size == x.size && r.mtime == x.mtime && r.ctime == x.ctime
}

// content is what a file consists of.
type content struct {
	chunks []tree.Chunk
	list   tree.ID // of more than MaxInline chunks
	// racy: the file had changed so shortly before it was hashed that another change may look the same.
	racy bool
}

// image is a directory as it was. It does not change once it is part of a Version.
type image struct {
	self     rec    // of the directory itself
	apart    bool   // nothing of it is known
	names    string // one after another, sorted
	recs     []rec
	children []*image   // of the directories, in order
	targets  []string   // of the links, in order
	contents []*content // by rec; shorter, or nil inside: not hashed

	id    tree.ID   // its node; zero: not encoded yet
	nodes []tree.ID // all its nodes, if there are several
	sum   sums      // of all below
	multi bool      // it has files with several names
	racy  bool      // it has racy contents
	// linked: children and sums are set. What was read from the cache has neither at first.
	linked bool
}

// sums count what is below a directory.
type sums struct {
	files, dirs, skipped uint64
	bytes                uint64
}

func (s *sums) add(x sums) {
	s.files += x.files
	s.dirs += x.dirs
	s.skipped += x.skipped
	s.bytes += x.bytes
}

func (m *image) name(i int) string {
	r := &m.recs[i]
	return m.names[r.name : r.name+uint32(r.len)]
}

// find returns the place of a name.
func (m *image) find(name string) (int, bool) {
	lo, hi := 0, len(m.recs)
	for lo < hi {
		mid := (lo + hi) / 2
		if m.name(mid) < name {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < len(m.recs) && m.name(lo) == name
}

func (m *image) content(i int) *content {
	if i >= len(m.contents) {
		return nil
	}
	return m.contents[i]
}

// child returns the image of a directory in m.
func (m *image) child(i int) *image { return m.children[m.recs[i].ext] }

// entry describes a name as others see it.
func (m *image) entry(i int) tree.Entry {
	r := &m.recs[i]
	if r.kind == tree.KindDir {
		e := m.child(i).entryOf()
		e.Name = m.name(i)
		return e
	}
	e := r.entry()
	e.Name = m.name(i)
	if r.kind == tree.KindSymlink {
		e.Target = m.targets[r.ext]
	}
	if c := m.content(i); c != nil {
		e.Flags |= tree.Hashed
		if e.List = c.list; e.List == (tree.ID{}) {
			e.Chunks = c.chunks
		}
	}
	return e
}

func (r *rec) entry() tree.Entry {
	return tree.Entry{
		Kind: r.kind, Type: r.typ, Flags: r.flags, Mode: r.mode, Ino: r.ino, Nlink: r.nlink, Size: r.size, Mtime: r.mtime, Ctime: r.ctime,
	}
}

// entryOf describes the directory itself, without a name.
func (m *image) entryOf() tree.Entry {
	e := m.self.entry()
	e.Dir = m.id
	if m.apart {
		e.Flags |= tree.Apart
	}
	return e
}

func (m *image) entries() []tree.Entry {
	list := make([]tree.Entry, len(m.recs))
	for i := range list {
		list[i] = m.entry(i)
	}
	return list
}

// encode gives the image its id, and returns the objects.
func (m *image) encode() ([]tree.Object, error) {
	id, objects, err := tree.EncodeDir(m.entries())
	if err != nil {
		return nil, err
	}
	m.id, m.nodes = id, nil
	if len(objects) > 1 {
		for i := range objects {
			m.nodes = append(m.nodes, objects[i].ID)
		}
	}
	return objects, nil
}

// count makes the sums anew, after the children have theirs.
func (m *image) count() {
	m.sum, m.multi, m.racy = sums{dirs: 1}, false, false
	for i := range m.recs {
		r := &m.recs[i]
		switch r.kind {
		case tree.KindDir:
			m.sum.add(m.child(i).sum)
			if m.child(i).apart {
				m.sum.skipped++
			}
		case tree.KindFile:
			m.sum.files++
			m.sum.bytes += r.size
			m.multi = m.multi || r.nlink > 1
			if r.flags&tree.Apart != 0 {
				m.sum.skipped++
			}
		case tree.KindOther:
			m.sum.files++
			m.sum.skipped++
		default:
			m.sum.files++
			m.multi = m.multi || r.nlink > 1
		}
	}
	for _, c := range m.contents {
		m.racy = m.racy || c != nil && c.racy
	}
}

// listing gathers the names of a directory while it is read. One worker uses it again and again.
type listing struct {
	buf   hostdir.Buffer
	names []byte
	recs  []rec
	large []uint32 // places of files that may be too large to be described
	unfit bool     // it cannot be described
}

func (l *listing) reset() {
	l.names, l.recs, l.large, l.unfit = l.names[:0], l.recs[:0], l.large[:0], false
}

// add adds a name; the caller has checked its length.
func (l *listing) add(name []byte, r rec) {
	r.name, r.len = uint32(len(l.names)), uint8(len(name))
	l.names = append(l.names, name...)
	if r.ino == 0 || r.ino >= tree.FirstNew {
		l.unfit = true
	}
	l.recs = append(l.recs, r)
}

func (l *listing) name(r *rec) string { return string(l.names[r.name : r.name+uint32(r.len)]) }

// sort puts the names in order. A name that the system gave twice, because the directory changed meanwhile, stays once.
func (l *listing) sort() {
	names := l.names
	key := func(r *rec) []byte { return names[r.name : r.name+uint32(r.len)] }
	slices.SortFunc(l.recs, func(a, b rec) int { return bytes.Compare(key(&a), key(&b)) })
	l.recs = slices.CompactFunc(l.recs, func(a, b rec) bool { return bytes.Equal(key(&a), key(&b)) })
}

// unchanged tells whether the listing says what m says.
func (l *listing) unchanged(m *image) bool {
	if m.racy || m.apart || len(m.recs) != len(l.recs) {
		return false
	}
	for i := range l.recs {
		a, b := &l.recs[i], &m.recs[i]
		if a.len != b.len || !a.like(b) || string(l.names[a.name:a.name+uint32(a.len)]) != m.names[b.name:b.name+uint32(b.len)] {
			return false
		}
	}
	return true
}

// image makes an image of the listing, with what still holds of an older one. target reads a link.
func (l *listing) image(old *image, target func(name string) (string, error)) *image {
	m := &image{names: string(sorted(l)), recs: slices.Clone(l.recs)}
	at, dirs := uint32(0), uint32(0)
	before := 0
	for i := range m.recs {
		r := &m.recs[i]
		m.multi = m.multi || r.nlink > 1 && r.kind != tree.KindDir
		r.name = at
		at += uint32(r.len)
		var was *rec
		if old != nil {
			name := m.name(i)
			for before < len(old.recs) && old.name(before) < name {
				before++
			}
			if before < len(old.recs) && old.name(before) == name {
				was = &old.recs[before]
			}
		}
		switch r.kind {
		case tree.KindDir:
			r.ext = dirs
			dirs++
		case tree.KindSymlink:
			m.link(r, i, old, was, target)
		case tree.KindFile:
			if was == nil || !was.sameContents(r) {
				continue
			}
			if c := old.content(before); c != nil && !c.racy {
				m.setContent(i, c)
			}
		}
	}
	return m
}

// without returns m without one of its directories. The children are not set.
func (m *image) without(i int) *image {
	c := &image{self: m.self, names: m.names, recs: slices.Delete(slices.Clone(m.recs), i, i+1), targets: m.targets, multi: m.multi}
	if i < len(m.contents) {
		c.contents = slices.Delete(slices.Clone(m.contents), i, i+1)
	} else {
		c.contents = m.contents
	}
	dirs := uint32(0)
	for j := range c.recs {
		if r := &c.recs[j]; r.kind == tree.KindDir {
			r.ext = dirs
			dirs++
		}
	}
	return c
}

func (m *image) setContent(i int, c *content) {
	if m.contents == nil {
		m.contents = make([]*content, len(m.recs))
	}
	m.contents[i] = c
}

// link gives a symbolic link its target. What cannot be read, or is none, stays on the device.
func (m *image) link(r *rec, i int, old *image, was *rec, read func(name string) (string, error)) {
	if was != nil && was.kind == tree.KindSymlink && was.like(r) {
		r.ext = uint32(len(m.targets))
		m.targets = append(m.targets, old.targets[was.ext])
		return
	}
	s, err := read(m.name(i))
	if err != nil || s == "" || len(s) > tree.MaxTarget {
		r.kind, r.typ = tree.KindOther, hostdir.TypeUnknown
		return
	}
	r.ext = uint32(len(m.targets))
	m.targets = append(m.targets, s)
}

// sorted returns the names in the order of the recs.
func sorted(l *listing) []byte {
	b := make([]byte, 0, len(l.names))
	for i := range l.recs {
		r := &l.recs[i]
		b = append(b, l.names[r.name:r.name+uint32(r.len)]...)
	}
	return b
}
