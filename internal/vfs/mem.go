package vfs

import (
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// MemOptions configure an in-memory tree; the zero value is usable.
type MemOptions struct {
	// Limit bounds the bytes of all contents and names; 0 is 1 GiB. Beyond it writes get ENOSPC.
	Limit uint64
	// Now gives the time for new stamps; nil is the machine's clock.
	Now func() uint64
}

// Mem is a tree in memory. Reading does not change access times.
type Mem struct {
	dev  uint64
	opt  MemOptions
	mu   sync.Mutex
	root *node  // guarded by mu, as everything below it
	ino  uint64 // last number given; guarded by mu
	used uint64 // guarded by mu
}

// memDevs numbers the trees, above any number that a system gives to its devices.
var memDevs atomic.Uint64

// node is a file, directory or symbolic link.
type node struct {
	stat     Stat
	data     []byte           // of a regular file
	target   string           // of a symbolic link
	children map[string]*node // of a directory
	parent   *node            // of a directory; the root's is nil
}

// entryCost is what a name costs besides its bytes, about as much memory as it takes.
const entryCost = 128

// NewMem returns an empty tree.
func NewMem(opt MemOptions) *Mem {
	if opt.Limit == 0 {
		opt.Limit = 1 << 30
	}
	if opt.Now == nil {
		opt.Now = func() uint64 { return nanoseconds(time.Now()) }
	}
	m := &Mem{dev: 1<<63 | memDevs.Add(1), opt: opt}
	m.root = m.newNode(TypeDirectory)
	m.root.stat.Nlink = 2
	return m
}

// Root opens the top directory.
func (m *Mem) Root() (Dir, error) { return &memDir{memFile{m: m, n: m.root}}, nil }

func (m *Mem) newNode(t FileType) *node {
	m.ino++
	now := m.opt.Now()
	n := &node{stat: Stat{Dev: m.dev, Ino: m.ino, Type: t, Nlink: 1, Atime: now, Mtime: now, Ctime: now}}
	if t == TypeDirectory {
		n.children = map[string]*node{}
		n.stat.Nlink = 2
	}
	return n
}

func (n *node) isDir() bool { return n.stat.Type == TypeDirectory }

// charge accounts for n more bytes.
func (m *Mem) charge(n uint64) error {
	if n > m.opt.Limit || m.used > m.opt.Limit-n {
		return ENOSPC
	}
	m.used += n
	return nil
}

func (m *Mem) touch(ns ...*node) {
	now := m.opt.Now()
	for _, n := range ns {
		n.stat.Mtime, n.stat.Ctime = now, now
	}
}

// resize sets the length of a regular file.
func (m *Mem) resize(n *node, size uint64) error {
	old := uint64(len(n.data))
	switch {
	case size > math.MaxInt64:
		return EFBIG
	case size > old:
		if err := m.charge(size - old); err != nil {
			return err
		}
		n.data = append(n.data, make([]byte, size-old)...)
	case size < old:
		m.used -= old - size
		clear(n.data[size:])
		n.data = n.data[:size]
		if size < uint64(cap(n.data))/4 {
			n.data = slices.Clone(n.data)
		}
	}
	n.stat.Size = size
	return nil
}

// unref drops one name of n.
func (m *Mem) unref(n *node) {
	n.stat.Nlink--
	n.stat.Ctime = m.opt.Now()
}

// found is where a path leads: to n, or, if n is nil, to no file yet, but one that could be made as base in dir.
type found struct {
	dir  *node
	base string
	n    *node
}

// find walks a parsed path from start, which it cannot leave.
func (m *Mem) find(start *node, nm name, follow bool) (found, error) {
	stack := []*node{start}
	parts := strings.Split(nm.path, "/")
	links, slash := 0, nm.slash
	f := found{dir: start, base: ".", n: start}
	for len(parts) > 0 {
		p, last := parts[0], len(parts) == 1
		parts = parts[1:]
		dir := stack[len(stack)-1]
		switch p {
		case ".":
			f = found{dir, ".", dir}
			continue
		case "..":
			if len(stack) == 1 {
				return f, EPERM
			}
			stack = stack[:len(stack)-1]
			f = found{stack[len(stack)-1], "..", stack[len(stack)-1]}
			continue
		}
		n := dir.children[p]
		f = found{dir, p, n}
		switch {
		case n == nil && last && !slash:
			return f, nil
		case n == nil:
			return f, ENOENT
		case n.stat.Type == TypeSymlink && (!last || follow):
			if links++; links > maxSymlinks {
				return f, ELOOP
			}
			t, err := parse(n.target)
			if err != nil {
				return f, err
			}
			if last {
				slash = slash || t.slash
			}
			parts = append(strings.Split(t.path, "/"), parts...)
			continue
		case n.isDir():
			stack = append(stack, n)
		case !last:
			return f, ENOTDIR
		}
	}
	if slash && !f.n.isDir() {
		return f, ENOTDIR
	}
	return f, nil
}

// must is find for what has to exist.
func (m *Mem) must(start *node, path string, follow bool) (found, error) {
	nm, err := parse(path)
	if err != nil {
		return found{}, err
	}
	f, err := m.find(start, nm, follow || nm.slash)
	if err == nil && f.n == nil {
		err = ENOENT
	}
	return f, err
}

// entry finds a name that is to be made, removed or renamed; ifDot is the error if it is "." or "..".
func (m *Mem) entry(start *node, path string, ifDot Errno) (found, name, error) {
	nm, err := parse(path)
	if err != nil {
		return found{}, nm, err
	}
	if nm.dot {
		f, err := m.find(start, nm, true)
		switch {
		case err != nil:
		case f.n == nil:
			err = ENOENT
		default:
			err = ifDot
		}
		return f, nm, err
	}
	plain := nm
	plain.slash = false // callers have their own errors for it
	f, err := m.find(start, plain, false)
	return f, nm, err
}

// link enters n in a directory.
func (m *Mem) link(f found, n *node) error {
	if f.dir.stat.Nlink == 0 {
		return ENOENT // removed while it was open
	}
	if err := m.charge(uint64(len(f.base)) + entryCost); err != nil {
		return err
	}
	f.dir.children[f.base] = n
	if n.isDir() {
		n.parent = f.dir
		f.dir.stat.Nlink++
	}
	m.touch(f.dir)
	return nil
}

// unlink takes a name out of its directory.
func (m *Mem) unlink(f found) {
	delete(f.dir.children, f.base)
	m.used -= uint64(len(f.base)) + entryCost
	if f.n.isDir() {
		f.n.parent = nil
		f.dir.stat.Nlink--
	}
	m.touch(f.dir)
}

// drop is unlink for good.
func (m *Mem) drop(f found) {
	m.unlink(f)
	if f.n.isDir() {
		f.n.stat.Nlink = 0
		return
	}
	m.unref(f.n)
	if f.n.stat.Nlink == 0 {
		// Open handles can still read it, but it no longer counts: what they hold is bounded by their number.
		m.used -= f.n.stat.Size
	}
}
