package vfs

import (
	"math"
	"slices"
	"strings"
)

type memFile struct {
	m           *Mem
	n           *node
	read, write bool
}

type memDir struct{ memFile }

func (f *memFile) Type() FileType { return f.n.stat.Type }

func (f *memFile) Stat() (Stat, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.n.stat, nil
}

func (f *memFile) SetTimes(t Times) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.m.setTimes(f.n, t)
}

func (m *Mem) setTimes(n *node, t Times) error {
	for _, v := range []*uint64{t.Atime, t.Mtime} {
		if v != nil && *v > math.MaxInt64 {
			return EINVAL
		}
	}
	if t.Atime != nil {
		n.stat.Atime = *t.Atime
	}
	if t.Mtime != nil {
		n.stat.Mtime = *t.Mtime
	}
	n.stat.Ctime = m.opt.Now()
	return nil
}

func (f *memFile) Sync(bool) error { return nil }
func (f *memFile) Close() error    { return nil }

func (f *memFile) ReadAt(p []byte, off uint64) (int, error) {
	if !f.read {
		return 0, EBADF
	}
	if off > math.MaxInt64 {
		return 0, EINVAL
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if off >= uint64(len(f.n.data)) {
		return 0, nil
	}
	return copy(p, f.n.data[off:]), nil
}

func (f *memFile) WriteAt(p []byte, off uint64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.writeAt(p, off)
}

// writeAt needs f.m.mu.
func (f *memFile) writeAt(p []byte, off uint64) (int, error) {
	if !f.write {
		return 0, EBADF
	}
	if off > math.MaxInt64-uint64(len(p)) {
		return 0, EFBIG
	}
	if len(p) == 0 {
		return 0, nil
	}
	if end := off + uint64(len(p)); end > uint64(len(f.n.data)) {
		if err := f.grow(end); err != nil {
			return 0, err
		}
	}
	f.m.touch(f.n)
	return copy(f.n.data[off:], p), nil
}

// grow makes the file longer. A file without a name is bounded by itself alone.
func (f *memFile) grow(size uint64) error {
	if f.n.stat.Nlink > 0 {
		return f.m.resize(f.n, size)
	}
	if size > f.m.opt.Limit {
		return ENOSPC
	}
	used := f.m.used
	f.m.used = 0
	err := f.m.resize(f.n, size)
	f.m.used = used
	return err
}

func (f *memFile) Append(p []byte) (int, uint64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	n, err := f.writeAt(p, uint64(len(f.n.data)))
	return n, uint64(len(f.n.data)), err
}

func (f *memFile) SetSize(size uint64) error {
	if !f.write {
		return EINVAL
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if size > math.MaxInt64 {
		return EFBIG
	}
	if err := f.setSize(size); err != nil {
		return err
	}
	f.m.touch(f.n)
	return nil
}

// setSize needs f.m.mu.
func (f *memFile) setSize(size uint64) error {
	old := uint64(len(f.n.data))
	if size > old {
		return f.grow(size)
	}
	if f.n.stat.Nlink == 0 {
		f.m.used += old - size // resize will subtract what is no longer counted
	}
	return f.m.resize(f.n, size)
}

func (f *memFile) Allocate(off, n uint64) error {
	if !f.write {
		return EBADF
	}
	if n == 0 || off > math.MaxInt64 {
		return EINVAL
	}
	if n > math.MaxInt64-off {
		return EFBIG
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if off+n <= uint64(len(f.n.data)) {
		return nil
	}
	return f.grow(off + n)
}

func (d *memDir) ReadAt([]byte, uint64) (int, error)         { return 0, EISDIR }
func (d *memDir) WriteAt([]byte, uint64) (int, error)        { return 0, EBADF }
func (d *memDir) Append([]byte) (n int, e uint64, err error) { return 0, 0, EBADF }
func (d *memDir) SetSize(uint64) error                       { return EBADF }
func (d *memDir) Allocate(uint64, uint64) error              { return EBADF }

func (d *memDir) ReadDir() ([]DirEntry, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	list := make([]DirEntry, 0, len(d.n.children))
	for name, n := range d.n.children {
		list = append(list, DirEntry{Name: name, Ino: n.stat.Ino, Type: n.stat.Type})
	}
	slices.SortFunc(list, func(a, b DirEntry) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (d *memDir) Open(path string, flags OpenFlags) (File, error) {
	nm, err := parse(path)
	if err != nil {
		return nil, err
	}
	create := flags&OpenCreate != 0
	if nm.slash {
		if create {
			return nil, EISDIR
		}
		flags |= OpenDirectory | OpenFollow
	}
	if flags&OpenDirectory != 0 && create {
		return nil, EINVAL
	}
	excl := create && flags&OpenExclusive != 0
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	f, err := d.m.find(d.n, nm, flags&OpenFollow != 0 && !excl)
	switch {
	case err != nil:
		return nil, err
	case f.n == nil && !create:
		return nil, ENOENT
	case f.n == nil:
		f.n = d.m.newNode(TypeRegular)
		if err := d.m.link(f, f.n); err != nil {
			return nil, err
		}
	case excl:
		return nil, EEXIST
	}
	return d.m.open(f.n, flags)
}

// open needs m.mu.
func (m *Mem) open(n *node, flags OpenFlags) (File, error) {
	file := memFile{m: m, n: n, read: flags&OpenRead != 0, write: flags&OpenWrite != 0}
	switch n.stat.Type {
	case TypeSymlink:
		if flags&OpenDirectory != 0 {
			return nil, ENOTDIR
		}
		return nil, ELOOP
	case TypeDirectory:
		if flags&(OpenWrite|OpenTruncate|OpenCreate) != 0 {
			return nil, EISDIR
		}
		return &memDir{file}, nil
	}
	if flags&OpenDirectory != 0 {
		return nil, ENOTDIR
	}
	if flags&OpenTruncate != 0 {
		if err := m.resize(n, 0); err != nil {
			return nil, err
		}
		m.touch(n)
	}
	return &file, nil
}
