package local

import (
	"cmp"
	"slices"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
)

// inodes gives the files of one mount numbers in the order in which they are first seen, so that a guest sees the
// same on every machine. A file of a mount is told from one of another by the device number.
type inodes struct {
	dev   uint64 // virtual
	top   uint64 // device of the mount's root
	files map[fileID]uint64
	last  uint64
	// kept are the numbers of a System that this one goes on for; they do not change.
	kept *Numbers
	// log has what was given and taken since numbers were first asked for.
	log    []Number
	logged bool
}

type fileID struct{ dev, ino uint64 }

// firstIno leaves room for stdio.
const firstIno = 16

// Number says which number the guest knows a file of a mount by: Ino is the file system's, Virtual the guest's; 0: the
// file has lost its last name, and its number with it.
type Number struct{ Ino, Virtual uint64 }

// Numbers are those of the files of one mount, all on its first device, as another machine needs them.
type Numbers struct {
	Last  uint64 // the last one given
	Files map[uint64]uint64
}

// Apply takes in what was given and taken since.
func (n *Numbers) Apply(list []Number) {
	if n.Files == nil {
		n.Files = map[uint64]uint64{}
	}
	for _, e := range list {
		if e.Virtual == 0 {
			delete(n.Files, e.Ino)
			continue
		}
		n.Files[e.Ino] = e.Virtual
		n.Last = max(n.Last, e.Virtual)
	}
}

func newInodes(mount int) *inodes {
	return &inodes{dev: uint64(mount) + 1, files: map[fileID]uint64{}, last: firstIno - 1}
}

// virtual replaces device and inode.
func (t *inodes) virtual(st vfs.Stat) vfs.Stat {
	st.Ino = t.ino(st.Dev, st.Ino)
	st.Dev = t.dev
	return st
}

func (t *inodes) ino(dev, ino uint64) uint64 {
	k := fileID{dev, ino}
	if v, ok := t.files[k]; ok && v != 0 {
		return v
	} else if !ok && t.kept != nil && dev == t.top {
		if v := t.kept.Files[ino]; v != 0 {
			return v
		}
	}
	t.last++
	t.set(k, t.last)
	return t.last
}

// set notes a number, 0 for none.
func (t *inodes) set(k fileID, v uint64) {
	if v == 0 && t.kept == nil {
		delete(t.files, k)
	} else {
		t.files[k] = v
	}
	if t.logged && k.dev == t.top {
		t.log = append(t.log, Number{k.ino, v})
	}
}

// forget drops a file that has lost its last name: the number may soon mean another. Handles keep theirs.
func (t *inodes) forget(dev, ino uint64) {
	k := fileID{dev, ino}
	_, mine := t.files[k]
	if mine || t.kept != nil && dev == t.top && t.kept.Files[ino] != 0 {
		t.set(k, 0)
	}
}

// Numbers tells what was given to files of a mount since from, which an earlier call returned as to; from -1: all that
// there are. last is the last number given.
func (l *System) Numbers(mount, from int) (list []Number, last uint64, to int) {
	t := l.mounts[mount].inodes
	t.logged = true
	if from >= 0 && from <= len(t.log) {
		return slices.Clone(t.log[from:]), t.last, len(t.log)
	}
	for k, v := range t.files {
		if k.dev == t.top && v != 0 {
			list = append(list, Number{k.ino, v})
		}
	}
	slices.SortFunc(list, func(a, b Number) int { return cmp.Compare(a.Virtual, b.Virtual) })
	return list, t.last, len(t.log)
}

// GoOn makes the numbers of a mount go on from those of another System, which must not change any more.
func (l *System) GoOn(mount int, n *Numbers) {
	t := l.mounts[mount].inodes
	t.kept, t.last = n, max(n.Last, firstIno-1)
	t.logged, t.log = true, nil
	clear(t.files) // the root, which n has
}

// Take takes in numbers that another System gave to files of a mount meanwhile. last is the last one that it gave: some may have
// been of files that have come and gone, which get none again.
func (l *System) Take(mount int, list []Number, last uint64) {
	t := l.mounts[mount].inodes
	t.last = max(t.last, last)
	for _, e := range list {
		t.last = max(t.last, e.Virtual)
		t.set(fileID{t.top, e.Ino}, e.Virtual)
	}
}

// dirent is an entry of a listing, with the number that the guest knows the file by.
func (t *inodes) dirent(dev uint64, e vfs.DirEntry) wasi.Dirent {
	return wasi.Dirent{Name: e.Name, Ino: t.ino(dev, e.Ino), Type: e.Type}
}
