package scan

import (
	"slices"
	"strings"
	"sync/atomic"

	"github.com/clonecloud/clonecloud/internal/scan/hostdir"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// dir is a directory as the walk knows it. Its image is replaced when something changes.
type dir struct {
	parent   *dir
	name     string
	listed   uint64 // its number in its parent's listing
	depth    int
	children []*dir // in the order of the image's directories
	img      *image
	watch    int    // the system's number of the watch, 0: none
	counted  *image // whose names are in Tree.links

	// Of one walk, by the worker that has the directory.
	open *openDir
	next *image // what is there now; img if nothing changed
	kids []*dir
	gone bool // it vanished while its parent was read

	// Of the end of one update.
	keep    bool
	queued  bool
	fresh   bool // read in this update
	differs bool // its parent has to be encoded again
}

// openDir is an open directory that several look into.
type openDir struct {
	*hostdir.Dir
	users atomic.Int32
}

func (o *openDir) release() {
	if o.users.Add(-1) == 0 {
		_ = o.Close() // nothing was written
	}
}

// child finds a directory by its name.
func (d *dir) child(name string) *dir {
	i, ok := slices.BinarySearchFunc(d.children, name, func(c *dir, name string) int { return strings.Compare(c.name, name) })
	if !ok {
		return nil
	}
	return d.children[i]
}

// path returns the names from the top to d.
func (d *dir) path() []string {
	names := make([]string, d.depth)
	for x := d; x.parent != nil; x = x.parent {
		names[x.depth-1] = x.name
	}
	return names
}

// before gives directories an order that does not depend on the walk.
func (d *dir) before(x *dir) bool {
	if d.depth != x.depth {
		return d.depth < x.depth
	}
	return slices.Compare(d.path(), x.path()) < 0
}

// link counts the names of a file that has several.
type link struct {
	nlink  uint32
	names  uint32
	dirs   map[*dir]int
	shared bool
}

// countLinks adds the names of m with more than one link to the counts, or takes them away.
func (t *Tree) countLinks(d *dir, m *image, add bool, concerned map[uint64]bool) {
	if m == nil || !m.multi {
		return
	}
	for i := range m.recs {
		r := &m.recs[i]
		if r.nlink < 2 || r.kind == tree.KindDir {
			continue
		}
		concerned[r.ino] = true
		l := t.links[r.ino]
		switch {
		case add:
			if l == nil {
				l = &link{dirs: map[*dir]int{}}
				t.links[r.ino] = l
			}
			l.names++
			l.nlink = r.nlink
			l.dirs[d]++
		case l != nil:
			l.names--
			if l.dirs[d]--; l.dirs[d] == 0 {
				delete(l.dirs, d)
			}
		}
	}
}

// judgeLinks finds which files have names elsewhere too, and calls fn for the directories that have to say so or no longer do.
func (t *Tree) judgeLinks(concerned map[uint64]bool, fn func(*dir)) {
	for ino := range concerned {
		l := t.links[ino]
		if l == nil {
			continue
		}
		if l.names == 0 {
			delete(t.links, ino)
			continue
		}
		shared := l.names < l.nlink
		if shared != l.shared {
			l.shared = shared
			for d := range l.dirs {
				fn(d)
			}
		}
	}
}

// markShared gives the names in m the flag that the counts say.
func (t *Tree) markShared(m *image) (changed bool) {
	if !m.multi {
		return false
	}
	for i := range m.recs {
		r := &m.recs[i]
		if r.nlink < 2 || r.kind == tree.KindDir {
			continue
		}
		flags := r.flags &^ tree.Shared
		if l := t.links[r.ino]; l != nil && l.shared {
			flags |= tree.Shared
		}
		if flags != r.flags {
			if !changed {
				m.recs = slices.Clone(m.recs) // an older image may have them too
				r = &m.recs[i]
			}
			r.flags, changed = flags, true
		}
	}
	return changed
}
