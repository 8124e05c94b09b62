package local

import "github.com/clonecloud/clonecloud/internal/vfs"

// inodes gives devices and files numbers in the order in which they are first seen, so that a guest sees the same
// on every machine.
type inodes struct {
	devs  map[uint64]uint64
	files map[[2]uint64]uint64
	last  uint64
}

// firstIno leaves room for stdio.
const firstIno = 16

func (t *inodes) init() {
	t.devs, t.files, t.last = map[uint64]uint64{}, map[[2]uint64]uint64{}, firstIno-1
}

// virtual replaces device and inode.
func (t *inodes) virtual(st vfs.Stat) vfs.Stat {
	st.Dev, st.Ino = t.dev(st.Dev), t.ino(st.Dev, st.Ino)
	return st
}

func (t *inodes) dev(dev uint64) uint64 {
	v, ok := t.devs[dev]
	if !ok {
		v = uint64(len(t.devs)) + 1
		t.devs[dev] = v
	}
	return v
}

func (t *inodes) ino(dev, ino uint64) uint64 {
	k := [2]uint64{dev, ino}
	v, ok := t.files[k]
	if !ok {
		t.last++
		v = t.last
		t.files[k] = v
	}
	return v
}

// forget drops a file that has lost its last name: the number may soon mean another. Handles keep theirs.
func (t *inodes) forget(dev, ino uint64) { delete(t.files, [2]uint64{dev, ino}) }
