package reconcile

import (
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"

	"github.com/clonecloud/clonecloud/internal/reconcile/disk"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// memory is a file system that forgets at a crash what was not synced, and can be made to fail or to crash at a call that changes something.
type memory struct {
	tops  map[string]*inode
	next  uint64
	clock uint64
	calls int                  // that change something
	fail  func(call int) error // nil: none; a crash is a panic
	log   []string
}

type inode struct {
	st      disk.Stat
	data    []byte
	names   map[string]*inode
	target  string
	durable *durable
	locked  bool
}

// durable is what a crash leaves.
type durable struct {
	st    disk.Stat
	data  []byte
	names map[string]*inode
}

var errCrash = errors.New("crash")

func newMemory(paths ...string) *memory {
	m := &memory{tops: map[string]*inode{}, next: 1, clock: 1000}
	for _, p := range paths {
		n := m.inode(tree.KindDir)
		n.st.Nlink = 2
		n.sync()
		m.tops[p] = n
	}
	return m
}

func (m *memory) system() system { return system{open: m.openTop} }

func (m *memory) openTop(path string) (disk.Folder, error) {
	n, ok := m.tops[path]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return &memoryDir{m, n}, nil
}

func (m *memory) now() uint64 { m.clock++; return m.clock }

func (m *memory) inode(kind tree.Kind) *inode {
	m.next++
	t := m.now()
	n := &inode{st: disk.Stat{Kind: kind, Mode: 0o644, Dev: 1, Ino: m.next, Nlink: 1, Mtime: t, Atime: t, Ctime: t}}
	if kind == tree.KindDir {
		n.names = map[string]*inode{}
	}
	return n
}

// change is before each call that changes something.
func (m *memory) change(what, name string) error {
	m.calls++
	m.log = append(m.log, what+" "+name)
	if m.fail == nil {
		return nil
	}
	err := m.fail(m.calls)
	if errors.Is(err, errCrash) {
		panic(errCrash)
	}
	if err != nil {
		return &fs.PathError{Op: what, Path: name, Err: err}
	}
	return nil
}

func (n *inode) sync() {
	n.durable = &durable{st: n.st, data: slices.Clone(n.data), names: maps.Clone(n.names)}
}

func (m *memory) each(fn func(n *inode)) {
	seen := map[*inode]bool{}
	var visit func(n *inode)
	visit = func(n *inode) {
		if n == nil || seen[n] {
			return
		}
		seen[n] = true
		fn(n)
		for _, c := range n.names {
			visit(c)
		}
		if n.durable != nil {
			for _, c := range n.durable.names {
				visit(c)
			}
		}
	}
	for _, n := range m.tops {
		visit(n)
	}
}

// What a crash leaves of what was not synced.
const (
	crashKills   = iota // all: the process is killed
	crashForgets        // nothing
	crashTears          // names, or not, and of each file's data some
	numCrashes
)

func (m *memory) crash(sort int, rng *rand.Rand) {
	m.fail = nil
	names := sort == crashKills || sort == crashTears && rng.IntN(2) == 0
	var all []*inode
	m.each(func(n *inode) { n.locked = false; all = append(all, n) })
	slices.SortFunc(all, func(a, b *inode) int { return int(a.st.Ino) - int(b.st.Ino) })
	was := map[*inode]map[string]*inode{}
	for _, n := range all {
		was[n] = n.names
		d := n.durable
		if d == nil {
			d = &durable{st: n.st, names: map[string]*inode{}}
			d.st.Size = 0
			if n.st.Kind == tree.KindSymlink {
				d.st = n.st
			}
		}
		switch {
		case n.st.Kind == tree.KindDir && !names:
			n.names, n.st = maps.Clone(d.names), d.st
			n.st.Nlink = 2
		case n.st.Kind == tree.KindFile && sort == crashForgets:
			n.data, n.st = slices.Clone(d.data), d.st
		case n.st.Kind == tree.KindFile && sort == crashTears && d.st != n.st:
			n.tear(d, rng)
		}
	}
	m.unite(was)
	m.count()
	m.each(func(n *inode) { n.sync() })
}

// unite sees that a directory has one name: no system forgets half of moving one. If the new name is durable, the old one goes.
func (m *memory) unite(was map[*inode]map[string]*inode) {
	at := map[*inode]int{}
	m.each(func(n *inode) {
		for _, c := range n.names {
			if c.st.Kind == tree.KindDir {
				at[c]++
			}
		}
	})
	m.each(func(n *inode) {
		for name, c := range n.names {
			if at[c] > 1 && was[n][name] != c {
				delete(n.names, name)
				at[c]--
			}
		}
	})
}

// tear leaves some bytes old and some new.
func (n *inode) tear(d *durable, rng *rand.Rand) {
	now := n.data
	n.data = slices.Clone(d.data)
	if rng.IntN(2) == 0 {
		n.data = resize(n.data, len(now))
		n.st.Size = uint64(len(now))
	} else {
		n.st.Size = d.st.Size
	}
	for i := range n.data {
		if i < len(now) && rng.IntN(2) == 0 {
			n.data[i] = now[i]
		}
	}
}

// count makes the numbers of links right.
func (m *memory) count() {
	links := map[*inode]uint64{}
	seen := map[*inode]bool{}
	var visit func(n *inode)
	visit = func(n *inode) {
		if seen[n] {
			return
		}
		seen[n] = true
		for _, c := range n.names {
			links[c]++
			visit(c)
		}
	}
	for _, n := range m.tops {
		visit(n)
	}
	for n := range seen {
		if n.st.Kind != tree.KindDir {
			n.st.Nlink = links[n]
		}
	}
}

func resize(b []byte, n int) []byte {
	if n <= len(b) {
		return b[:n:n]
	}
	return append(b[:len(b):len(b)], make([]byte, n-len(b))...)
}

type memoryDir struct {
	m *memory
	n *inode
}

func (d *memoryDir) get(name string) (*inode, error) {
	if name == "." {
		return d.n, nil
	}
	n, ok := d.n.names[name]
	if !ok {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: syscall.ENOENT}
	}
	return n, nil
}

func (d *memoryDir) put(name string, n *inode) {
	d.n.names[name] = n
	d.stamp()
}

func (d *memoryDir) stamp() {
	t := d.m.now()
	d.n.st.Mtime, d.n.st.Ctime = t, t
}

func (d *memoryDir) free(name string) error {
	if _, ok := d.n.names[name]; ok {
		return &fs.PathError{Op: "make", Path: name, Err: syscall.EEXIST}
	}
	return nil
}

func (d *memoryDir) Stat() (disk.Stat, error) { return d.n.st, nil }

func (d *memoryDir) Lstat(name string) (disk.Stat, error) {
	n, err := d.get(name)
	if err != nil {
		return disk.Stat{}, err
	}
	return n.st, nil
}

func (d *memoryDir) Names() ([]string, error) { return slices.Sorted(maps.Keys(d.n.names)), nil }

func (d *memoryDir) Enter(name string) (disk.Folder, error) {
	n, err := d.get(name)
	if err != nil {
		return nil, err
	}
	if n.st.Kind != tree.KindDir {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOTDIR}
	}
	return &memoryDir{d.m, n}, nil
}

func (d *memoryDir) Open(name string, _ bool) (disk.File, error) {
	n, err := d.get(name)
	if err != nil {
		return nil, err
	}
	if n.st.Kind != tree.KindFile {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ELOOP}
	}
	return &memoryFile{m: d.m, n: n, name: name}, nil
}

func (d *memoryDir) Create(name string) (disk.File, error) {
	if err := errors.Join(d.m.change("create", name), d.free(name)); err != nil {
		return nil, err
	}
	n := d.m.inode(tree.KindFile)
	d.put(name, n)
	return &memoryFile{m: d.m, n: n, name: name}, nil
}

func (d *memoryDir) Mkdir(name string, _ uint32) error {
	if err := errors.Join(d.m.change("mkdir", name), d.free(name)); err != nil {
		return err
	}
	d.put(name, d.m.inode(tree.KindDir))
	return nil
}

func (d *memoryDir) Symlink(target, name string) error {
	if err := errors.Join(d.m.change("symlink", name), d.free(name)); err != nil {
		return err
	}
	n := d.m.inode(tree.KindSymlink)
	n.target, n.st.Size = target, uint64(len(target))
	d.put(name, n)
	return nil
}

func (d *memoryDir) Link(name string, to disk.Folder, as string) error {
	t := to.(*memoryDir)
	n, err := d.get(name)
	if err := errors.Join(err, d.m.change("link", as), t.free(as)); err != nil {
		return err
	}
	n.st.Nlink++
	n.st.Ctime = d.m.now()
	t.put(as, n)
	return nil
}

func (d *memoryDir) Move(name string, to disk.Folder, as string) error {
	t := to.(*memoryDir)
	n, err := d.get(name)
	if err := errors.Join(err, d.m.change("move", name+" "+as), t.free(as)); err != nil {
		return err
	}
	delete(d.n.names, name)
	d.stamp()
	n.st.Ctime = d.m.now()
	t.put(as, n)
	return nil
}

func (d *memoryDir) Remove(name string, isDir bool) error {
	n, err := d.get(name)
	if err != nil {
		return err
	}
	switch {
	case isDir && n.st.Kind != tree.KindDir:
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTDIR}
	case !isDir && n.st.Kind == tree.KindDir:
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.EISDIR}
	case len(n.names) > 0:
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
	}
	if err := d.m.change("remove", name); err != nil {
		return err
	}
	delete(d.n.names, name)
	d.stamp()
	n.st.Nlink--
	n.st.Ctime = d.m.now()
	return nil
}

func (d *memoryDir) SetTimes(name string, mtime, atime uint64) error {
	n, err := d.get(name)
	if err == nil {
		err = d.m.change("set times", name)
	}
	if err != nil {
		return err
	}
	if mtime != 0 {
		n.st.Mtime = mtime
	}
	if atime != 0 {
		n.st.Atime = atime
	}
	n.st.Ctime = d.m.now()
	return nil
}

func (d *memoryDir) Sync() error {
	if err := d.m.change("sync", "."); err != nil {
		return err
	}
	d.n.sync()
	return nil
}

func (d *memoryDir) SyncAll() error {
	if err := d.m.change("sync all", "."); err != nil {
		return err
	}
	d.m.each(func(n *inode) { n.sync() })
	return nil
}

func (d *memoryDir) Handle() (*os.File, error) { return os.Open(os.DevNull) }

func (d *memoryDir) Close() error { return nil }
