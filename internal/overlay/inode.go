package overlay

import (
	"fmt"

	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
)

// inode is a file, directory or link that is open, that changed, or that a path led through. Of all others the pinned
// tree says enough.
type inode struct {
	ino          uint64
	kind         tree.Kind
	typ          vfs.FileType
	flags        tree.Flags
	sticky       bool
	hasAtime     bool // atime was set
	hasMtime     bool // mtime was set, or changed with contents or names
	dirty        bool // anything is not as it was pinned
	idle         bool // it stands in FS.idle
	nlink, size  uint64
	mtime, ctime uint64
	atime        uint64 // if hasAtime
	target       string

	base *tree.Entry // as it was pinned; nil: made since
	from *inode      // the directory in which it was pinned, under base.Name

	handles int // open
	names   int // changed names that stand for it
	dir     *directory
	file    *content
}

// directory is what only a directory has.
type directory struct {
	parent *inode            // nil of the root and of one that was removed
	names  map[string]change // that are not as pinned
	hidden int               // names among them that were pinned
	live   int               // names among them that stand for something
}

// change is what a name stands for now.
type change struct {
	now  *inode // nil: nothing
	base uint64 // number that it was pinned with, 0: none
}

// Modes of what is made here are not known; a new directory takes up one block.
const newDirSize = 4096

// maxLinks is how many names a file can have on ext4.
const maxLinks = 65000

// maxIdle bounds how many files are remembered after they were closed.
const maxIdle = 4096

// allAccess is what the process that made a file may do with it.
const allAccess = tree.Readable | tree.Writable | tree.Searchable

func typeOf(e *tree.Entry) vfs.FileType {
	switch e.Kind {
	case tree.KindFile:
		return vfs.TypeRegular
	case tree.KindDir:
		return vfs.TypeDirectory
	case tree.KindSymlink:
		return vfs.TypeSymlink
	}
	switch t := vfs.FileType(e.Type); t {
	case vfs.TypeBlockDevice, vfs.TypeCharDevice, vfs.TypeSocketDgram, vfs.TypeSocketStream:
		return t
	}
	return vfs.TypeUnknown
}

const stickyBit = 0o1000

// pinned makes the inode of an entry of the directory from. Preconditions: f.mu is held, or f is new.
func (f *FS) pinned(from *inode, name string, e *tree.Entry) *inode {
	own := *e // an entry keeps its whole node in memory
	own.Name = name
	in := &inode{
		ino: e.Ino, kind: e.Kind, typ: typeOf(e), flags: e.Flags, sticky: e.Mode&stickyBit != 0,
		nlink: uint64(e.Nlink), size: e.Size, mtime: e.Mtime, ctime: e.Ctime, target: e.Target,
		base: &own, from: from,
	}
	switch e.Kind {
	case tree.KindDir:
		in.dir = &directory{parent: from}
	case tree.KindFile:
		in.file = &content{keep: e.Size}
		if e.Size == 0 || e.Flags&tree.Hashed != 0 && e.List == (tree.ID{}) {
			in.file.layout = layoutOf(own.Chunks)
		}
	}
	f.inodes[in.ino] = in
	return in
}

// materialise returns the inode of an entry of the pinned directory from. Preconditions: f.mu is held.
func (f *FS) materialise(from *inode, e *tree.Entry) (*inode, error) {
	in := f.inodes[e.Ino]
	if in == nil {
		return f.pinned(from, e.Name, e), nil
	}
	// A tree in which one number means two things would make loops of directories.
	switch {
	case in.base == nil || in.kind != e.Kind || in.base.Size != e.Size,
		in.kind == tree.KindDir && (in.from != from || in.base.Name != e.Name):
		return nil, abort(fmt.Sprintf("use %q", e.Name), fmt.Errorf("%w: number %d is of two files", ErrMalformed, e.Ino))
	}
	return in, nil
}

// make makes the inode of a new file, which has no name yet. Preconditions: f.mu is held.
func (f *FS) make(kind tree.Kind, now uint64) *inode {
	f.last++
	in := &inode{ino: f.last, kind: kind, flags: allAccess, mtime: now, ctime: now, dirty: true}
	in.typ = typeOf(&tree.Entry{Kind: kind})
	switch kind {
	case tree.KindDir:
		in.dir = &directory{}
		in.nlink, in.size = 2, newDirSize
	case tree.KindFile:
		in.file = &content{layout: &layout{}}
	}
	f.inodes[in.ino] = in
	return in
}

func (in *inode) stat() vfs.Stat {
	st := vfs.Stat{
		Dev: 1, Ino: in.ino, Type: in.typ, Nlink: in.nlink, Size: in.size, Atime: in.mtime, Mtime: in.mtime, Ctime: in.ctime,
	}
	if in.hasAtime {
		st.Atime = in.atime
	}
	return st
}

func statEntry(e *tree.Entry) vfs.Stat {
	return vfs.Stat{
		Dev: 1, Ino: e.Ino, Type: typeOf(e), Nlink: uint64(e.Nlink), Size: e.Size, Atime: e.Mtime, Mtime: e.Mtime, Ctime: e.Ctime,
	}
}

// touch notes that contents or names changed.
func (in *inode) touch(now uint64) {
	in.mtime, in.ctime = now, now
	in.hasMtime, in.dirty = true, true
}

// gone tells whether a directory was removed.
func (in *inode) gone() bool { return in.nlink == 0 }

// settle forgets an inode that nobody uses and that is as it was pinned, or that is gone. Preconditions: f.mu is held.
func (f *FS) settle(in *inode) {
	if in.handles > 0 || in.names > 0 || in == f.root {
		return
	}
	switch {
	case in.nlink == 0 && in.dirty:
		if in.kind == tree.KindDir && in.base != nil {
			return // the names that it had are told in the delta
		}
		if in.file != nil {
			f.data.Drop(&in.file.written)
		}
		delete(f.inodes, in.ino)
	case in.dirty || in.kind == tree.KindDir:
		// Directories stay: the place of what is below them depends on them.
	case in.kind != tree.KindFile:
		delete(f.inodes, in.ino)
	case !in.idle:
		in.idle = true
		if f.idle = append(f.idle, in); len(f.idle) > maxIdle {
			f.forgetIdle()
		}
	}
}

// forgetIdle forgets the older half of the files that were closed.
func (f *FS) forgetIdle() {
	n := len(f.idle) / 2
	for _, in := range f.idle[:n] {
		in.idle = false
		if in.handles == 0 && in.names == 0 && !in.dirty {
			delete(f.inodes, in.ino)
		}
	}
	f.idle = append(f.idle[:0], f.idle[n:]...)
	clear(f.idle[len(f.idle):cap(f.idle)])
}

// place is the path of an inode in the pinned tree.
func (in *inode) place() string {
	if in.from == nil {
		return ""
	}
	if up := in.from.place(); up != "" {
		return up + "/" + in.base.Name
	}
	return in.base.Name
}

// below tells whether a directory is up or lies below it.
func below(in, up *inode) bool {
	for ; in != nil; in = in.dir.parent {
		if in == up {
			return true
		}
	}
	return false
}
