package overlay

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
)

// nodeCache keeps the nodes that were used last at hand.
type nodeCache [64]struct {
	id   tree.ID
	node *tree.Node
}

// node returns a node of a directory. Preconditions: f.mu is held.
func (f *FS) node(dir *inode, id tree.ID) (*tree.Node, error) {
	c := &f.nodes[id[0]%uint8(len(f.nodes))]
	if c.node != nil && c.id == id {
		return c.node, nil
	}
	n, err := f.cfg.Source.Node(f.ctx, dir.ino, id)
	if err == nil && n == nil {
		err = ErrMalformed
	}
	if err != nil {
		return nil, abort(fmt.Sprintf("read directory %q", dir.place()), err)
	}
	c.id, c.node = id, n
	return n, nil
}

// leaf returns leaf i of an index. Preconditions: f.mu is held.
func (f *FS) leaf(dir *inode, index *tree.Node, i int) (*tree.Node, error) {
	l := &index.Leaves[i]
	n, err := f.node(dir, l.ID)
	if err != nil {
		return nil, err
	}
	next := ""
	if i+1 < len(index.Leaves) {
		next = index.Leaves[i+1].First
	}
	if err := l.Check(n, next); err != nil {
		return nil, abort(fmt.Sprintf("read directory %q", dir.place()), err)
	}
	return n, nil
}

// lookupPinned returns the entry that a directory was pinned with under a name, nil if there is none. Preconditions: f.mu is held.
func (f *FS) lookupPinned(dir *inode, name string) (*tree.Entry, error) {
	if dir.base == nil {
		return nil, nil
	}
	n, err := f.node(dir, dir.base.Dir)
	if err != nil {
		return nil, err
	}
	if len(n.Leaves) > 0 {
		i := sort.Search(len(n.Leaves), func(i int) bool { return n.Leaves[i].First > name })
		if i == 0 {
			return nil, nil
		}
		if n, err = f.leaf(dir, n, i-1); err != nil {
			return nil, err
		}
	}
	i, ok := slices.BinarySearchFunc(n.Entries, name, func(e tree.Entry, name string) int { return strings.Compare(e.Name, name) })
	if !ok {
		return nil, nil
	}
	return &n.Entries[i], nil
}

// found is a name in a directory with what it stands for: an inode, an entry that has none yet, or nothing.
type found struct {
	dir  *inode
	name string
	in   *inode
	e    *tree.Entry
	base uint64 // number that the name was pinned with, 0: none
}

func (x *found) exists() bool { return x.in != nil || x.e != nil }

func (x *found) kind() tree.Kind {
	switch {
	case x.in != nil:
		return x.in.kind
	case x.e != nil:
		return x.e.Kind
	}
	return tree.KindInvalid
}

func (x *found) isDir() bool { return x.kind() == tree.KindDir }

func (x *found) target() string {
	if x.in != nil {
		return x.in.target
	}
	return x.e.Target
}

func (x *found) stat() vfs.Stat {
	if x.in != nil {
		return x.in.stat()
	}
	return statEntry(x.e)
}

// lookup finds a name in a directory. Preconditions: f.mu is held.
func (f *FS) lookup(dir *inode, name string) (found, error) {
	x := found{dir: dir, name: name}
	if c, ok := dir.dir.names[name]; ok {
		x.in, x.base = c.now, c.base
		return x, nil
	}
	e, err := f.lookupPinned(dir, name)
	if err != nil || e == nil {
		return x, err
	}
	x.e, x.base = e, e.Ino
	if in := f.inodes[e.Ino]; in != nil {
		x.in, err = f.materialise(dir, e)
	}
	return x, err
}

// get returns the inode of what was found. Preconditions: f.mu is held, x exists.
func (f *FS) get(x *found) (*inode, error) {
	if x.in != nil {
		return x.in, nil
	}
	in, err := f.materialise(x.dir, x.e)
	x.in = in
	return in, err
}

// setName makes a name stand for in, or for nothing. Preconditions: f.mu is held.
func (f *FS) setName(x *found, in *inode) {
	d := x.dir.dir
	old, had := d.names[x.name]
	if had {
		if old.now != nil {
			old.now.names--
			d.live--
		}
		if old.base != 0 {
			d.hidden--
		}
		delete(d.names, x.name)
	}
	asPinned := in == nil && x.base == 0 || in != nil && in.ino == x.base
	if !asPinned {
		if d.names == nil {
			d.names = map[string]change{}
		}
		d.names[x.name] = change{now: in, base: x.base}
		if in != nil {
			in.names++
			d.live++
		}
		if x.base != 0 {
			d.hidden++
		}
	}
	if len(d.names) > 0 {
		f.dirs[x.dir] = true
	} else {
		delete(f.dirs, x.dir)
	}
	x.in, x.e = in, nil
}

// empty tells whether a directory has no names. Preconditions: f.mu is held.
func (f *FS) empty(dir *inode) (bool, error) {
	count := dir.dir.live - dir.dir.hidden
	if dir.base == nil {
		return count == 0, nil
	}
	n, err := f.node(dir, dir.base.Dir)
	if err != nil {
		return false, err
	}
	count += len(n.Entries)
	for i := range n.Leaves {
		count += int(n.Leaves[i].Count)
	}
	return count == 0, nil
}

// eachPinned calls do for each entry that a directory was pinned with, by name. Preconditions: f.mu is held.
func (f *FS) eachPinned(dir *inode, do func(e *tree.Entry)) error {
	if dir.base == nil {
		return nil
	}
	n, err := f.node(dir, dir.base.Dir)
	if err != nil {
		return err
	}
	for i := range n.Entries {
		do(&n.Entries[i])
	}
	for i := range n.Leaves {
		l, err := f.leaf(dir, n, i)
		if err != nil {
			return err
		}
		for j := range l.Entries {
			do(&l.Entries[j])
		}
	}
	return nil
}

// list lists a directory. Preconditions: f.mu is held.
func (f *FS) list(dir *inode) ([]vfs.DirEntry, error) {
	if dir.gone() {
		return nil, vfs.ENOENT
	}
	names := dir.dir.names
	var list []vfs.DirEntry
	if dir.base != nil {
		n, err := f.node(dir, dir.base.Dir)
		if err != nil {
			return nil, err
		}
		size := len(n.Entries)
		for i := range n.Leaves {
			size += int(n.Leaves[i].Count)
		}
		list = make([]vfs.DirEntry, 0, min(size, 1<<20)+len(names))
		f.ahead.leaves(dir, n)
	}
	err := f.eachPinned(dir, func(e *tree.Entry) {
		if _, changed := names[e.Name]; !changed && utf8.ValidString(e.Name) {
			list = append(list, vfs.DirEntry{Name: e.Name, Ino: e.Ino, Type: typeOf(e)})
		}
	})
	if err != nil {
		return nil, err
	}
	sorted := len(list)
	for name, c := range names {
		if c.now != nil && utf8.ValidString(name) {
			list = append(list, vfs.DirEntry{Name: name, Ino: c.now.ino, Type: c.now.typ})
		}
	}
	if len(list) > sorted {
		slices.SortFunc(list, func(a, b vfs.DirEntry) int { return strings.Compare(a.Name, b.Name) })
	}
	return list, nil
}
