package scan

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/clonecloud/clonecloud/internal/scan/hostdir"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// workers is how many look at directories at a time: more than there are processors, since some wait for a disk.
func workers() int { return min(max(4, 2*runtime.GOMAXPROCS(0)), 16) }

// walk looks at directories, several at a time. The one that was found last is looked at first, so that few are open.
type walk struct {
	t   *Tree
	ctx context.Context
	all bool // look at directories that are known, too

	mu      sync.Mutex
	wake    sync.Cond
	stack   []*dir
	busy    int
	err     error
	visited []*dir
	entries int
	told    int
}

func (t *Tree) newWalk(ctx context.Context, all bool) *walk {
	w := &walk{t: t, ctx: ctx, all: all}
	w.wake.L = &w.mu
	return w
}

// run looks at the directories of list and at those below them that are new.
func (w *walk) run(list []*dir) error {
	if w.stack = list; len(list) == 0 {
		return nil
	}
	var done sync.WaitGroup
	for range workers() {
		done.Go(w.work)
	}
	done.Wait()
	for _, d := range w.stack { // after an error
		w.abandon(d)
	}
	w.stack = nil
	for _, d := range w.visited {
		d.open = nil // closed by now
	}
	return w.err
}

func (w *walk) abandon(d *dir) {
	if d.parent != nil && d.parent.open != nil {
		d.parent.open.release()
	}
}

func (w *walk) work() {
	var l listing
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.err == nil {
		n := len(w.stack)
		if n == 0 {
			if w.busy == 0 {
				break
			}
			w.wake.Wait()
			continue
		}
		d := w.stack[n-1]
		w.stack = w.stack[:n-1]
		w.busy++
		w.mu.Unlock()
		more, err := w.look(d, &l)
		w.mu.Lock()
		w.busy--
		w.took(d, len(l.recs), more, err)
	}
	w.wake.Broadcast()
}

// took notes what look has found. w.mu is held.
func (w *walk) took(d *dir, entries int, more []*dir, err error) {
	w.visited = append(w.visited, d)
	w.stack = append(w.stack, more...)
	w.entries += entries
	switch {
	case w.err != nil:
	case err != nil:
		w.err = err
	case w.ctx.Err() != nil:
		w.err = context.Cause(w.ctx)
	case w.entries > w.t.o.Limit:
		w.err = fmt.Errorf("%w: more than %d", ErrTooLarge, w.t.o.Limit)
	}
	if w.t.o.Progress != nil && w.entries >= w.told+10_000 {
		w.told = w.entries
		w.t.o.Progress(w.entries, 0)
	}
	if len(more) > 0 || w.busy == 0 || w.err != nil {
		w.wake.Broadcast()
	}
}

// opened opens a directory from its parent's, or from the top if that is not open.
func (w *walk) opened(d *dir) (*hostdir.Dir, error) {
	if d.parent == nil {
		return w.t.top.OpenDir(".")
	}
	if p := d.parent.open; p != nil {
		defer p.release()
		return p.OpenDir(d.name)
	}
	return w.t.top.Descend(d.path())
}

// look reads a directory, and returns which of those in it are to be looked at.
func (w *walk) look(d *dir, l *listing) ([]*dir, error) {
	l.reset()
	d.next, d.kids, d.gone, d.fresh, d.open, d.differs = nil, nil, false, true, nil, false
	h, err := w.opened(d)
	if err != nil {
		return nil, w.closedTo(d, err)
	}
	o := &openDir{Dir: h}
	o.users.Store(1)
	defer o.release()
	// Watched first, so that what changes while it is read is read again.
	if err := w.watch(d, h); err != nil {
		return nil, err
	}
	s, err := h.Stat()
	if err != nil {
		return nil, w.closedTo(d, err)
	}
	self := w.t.recOf(&s)
	if s.Dev != w.t.self.Dev {
		self.ino = d.listed // its own could be that of another file here
	}
	if s.Dev != w.t.self.Dev || d.depth >= maxDepth {
		d.next = apartImage(self)
		return nil, nil
	}
	if err := w.list(d, h, l); err != nil {
		return nil, w.closedTo(d, err)
	}
	if err := w.weigh(h, l); err != nil {
		return nil, err
	}
	if l.unfit || self.ino == 0 || self.ino >= tree.FirstNew {
		d.next = apartImage(self)
		return nil, nil
	}
	l.sort()
	w.compare(d, self, l, h)
	return w.enter(d, o), nil
}

// compare makes d.next of the listing.
func (w *walk) compare(d *dir, self rec, l *listing, h *hostdir.Dir) {
	old := d.img
	if old == nil || old.self.ino != self.ino {
		old = w.t.known(self.ino)
	}
	switch {
	case old == nil || !l.unchanged(old):
		d.next = l.image(old, h.Readlink)
		d.next.self = self
	case !old.self.like(&self):
		m := *old
		m.self = self
		d.next, d.differs = &m, true
	default:
		d.next = old
	}
}

// known finds an image of a directory that was elsewhere, or in another process.
func (t *Tree) known(ino uint64) *image {
	if c := t.store.loaded[ino]; c != nil {
		if m, err := c.image(); err == nil && m.self.ino == ino {
			return m
		}
	}
	if d := t.byIno[ino]; d != nil {
		return d.img
	}
	return nil
}

// enter makes the directories in d, and returns those to be looked at.
func (w *walk) enter(d *dir, o *openDir) (more []*dir) {
	before := 0
	m := d.next
	for i := range m.recs {
		r := &m.recs[i]
		if r.kind != tree.KindDir {
			continue
		}
		name := m.name(i)
		for before < len(d.children) && d.children[before].name < name {
			before++
		}
		var k *dir
		if before < len(d.children) && d.children[before].name == name && d.children[before].listed == r.ino {
			k = d.children[before]
		}
		if k == nil {
			k = &dir{parent: d, name: name, listed: r.ino, depth: d.depth + 1}
			more = append(more, k)
		} else if w.all {
			more = append(more, k)
		}
		d.kids = append(d.kids, k)
	}
	if len(more) > 0 {
		d.open = o
		o.users.Add(int32(len(more)))
	}
	return more
}

// closedTo deals with a directory that cannot be read: it is gone, may not be read, or is left alone.
func (w *walk) closedTo(d *dir, err error) error {
	switch {
	case hostdir.IsLack(err):
		return fmt.Errorf("read directory %q: %w", d.name, err)
	case d.parent == nil:
		return fmt.Errorf("read directory: %w", err)
	case hostdir.IsGone(err):
		d.gone = true
		return nil
	}
	s, ok := w.lstat(d)
	if !ok {
		d.gone = true
		return nil
	}
	self := w.t.recOf(&s)
	if s.Dev != w.t.self.Dev {
		self.ino = d.listed
	}
	d.next = &image{self: self}
	// What may not be read is known to be so; a file system that fails is the device's to deal with.
	if s.Dev != w.t.self.Dev || self.flags&tree.Readable != 0 || self.ino == 0 || self.ino >= tree.FirstNew {
		d.next = apartImage(self)
	}
	return nil
}

// lstat tells what its parent says of a directory that cannot be opened; false: it is not there.
func (w *walk) lstat(d *dir) (hostdir.Stat, bool) {
	parent, err := w.t.top.Descend(d.parent.path())
	if err != nil {
		return hostdir.Stat{}, false
	}
	s, err := parent.Lstat(d.name)
	return s, errors.Join(err, parent.Close()) == nil && s.Kind == tree.KindDir
}

func (w *walk) watch(d *dir, h *hostdir.Dir) error {
	t := w.t
	if t.watcher == nil {
		return nil
	}
	if err := t.watcher.add(h, d); err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !t.unwatched {
			t.unwatched = true
			t.o.Log("%s: changes are looked for, not watched: %v", t.name, err)
		}
	}
	return nil
}

// list reads the names and what the system says of each.
func (w *walk) list(d *dir, h *hostdir.Dir, l *listing) error {
	top := d.parent == nil
	return h.Read(&l.buf, func(name []byte, ino uint64, kind tree.Kind) error {
		if top && isOurs(name) {
			return nil
		}
		if len(name) > tree.MaxName {
			l.unfit = true
			return nil
		}
		if kind == tree.KindDir {
			l.add(name, rec{kind: kind, ino: ino})
			return nil
		}
		s, err := h.LstatRead(name)
		switch {
		case err == nil && s.Kind == tree.KindDir:
			l.add(name, rec{kind: s.Kind, ino: s.Ino})
		case err == nil:
			w.file(l, name, ino, &s)
		case hostdir.IsGone(err):
		case hostdir.IsLack(err):
			return err
		default:
			l.add(name, unknown(kind, ino))
		}
		return nil
	})
}

// file adds what is no directory.
func (w *walk) file(l *listing, name []byte, ino uint64, s *hostdir.Stat) {
	r := w.t.recOf(s)
	switch {
	case s.Kind == tree.KindFile && s.Dev != w.t.self.Dev: // mounted there; its number could be that of another file here
		r.ino = ino
		r.flags |= tree.Apart
	case s.Kind == tree.KindFile && !tree.Fits(s.Size, 1, s.Size):
		l.large = append(l.large, uint32(len(l.recs)))
	}
	l.add(name, r)
}

func isOurs(name []byte) bool { return len(name) >= len(ours) && string(name[:len(ours)]) == ours }

// unknown describes a name of which the system tells no more than that it is there.
func unknown(kind tree.Kind, ino uint64) rec {
	if kind == tree.KindFile {
		return rec{kind: kind, ino: ino, nlink: 1, flags: tree.Apart}
	}
	return rec{kind: tree.KindOther, typ: hostdir.TypeUnknown, ino: ino, nlink: 1}
}

func (t *Tree) recOf(s *hostdir.Stat) rec {
	return rec{
		kind: s.Kind, typ: s.Type, flags: t.access.Flags(s), mode: s.Mode, ino: s.Ino, nlink: s.Nlink, size: s.Size, mtime: s.Mtime, ctime: s.Ctime,
	}
}

// maxExtents bounds how long the data in a sparse file is looked for.
const maxExtents = 10_000

// weigh marks the files that are too large to be described, unless they are holes for the greatest part.
func (w *walk) weigh(h *hostdir.Dir, l *listing) error {
	for _, i := range l.large {
		r := &l.recs[i]
		f, s, err := h.OpenFile(l.name(r))
		if err != nil {
			if hostdir.IsLack(err) {
				return fmt.Errorf("look at file %q: %w", l.name(r), err)
			}
			r.flags |= tree.Apart
			continue
		}
		extents, data, ok := hostdir.Extents(f, s.Size, maxExtents)
		if err := f.Close(); err != nil || !ok || !tree.Fits(s.Size, extents, data) {
			r.flags |= tree.Apart
		}
	}
	return nil
}
