package scan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/clonecloud/clonecloud/internal/tree"
)

var emptyNode = func() tree.ID {
	id, _, err := tree.EncodeDir(nil)
	if err != nil {
		panic("BUG: empty directory: " + err.Error())
	}
	return id
}()

func apartImage(self rec) *image {
	return &image{self: self, apart: true, id: emptyNode, sum: sums{dirs: 1}}
}

// update brings the images up to date: with what is in the directory, if it is to be looked at, and with what was
// hashed. t.mu is held.
//
// It reads the directories concerned, several at a time; then compares them with what was known, one after another;
// then encodes what is new, from the deepest up, several at a time.
func (t *Tree) update(ctx context.Context, look bool) error {
	u := &update{t: t, pending: t.takePending(), links: map[uint64]bool{}}
	var err error
	if look {
		if err = u.look(ctx); err != nil {
			t.stale = true
		}
	}
	if err == nil && t.root != nil && (t.root.img != nil || look) {
		u.settle()
		err = u.build()
	}
	for _, d := range u.visited {
		d.next, d.kids, d.open, d.fresh, d.gone = nil, nil, nil, false, false
	}
	for _, d := range u.queue {
		d.queued, d.differs = false, false
	}
	if err != nil {
		return err
	}
	t.dropPending(u.pending)
	if look {
		t.stale = false
		t.taken()
		clear(t.dirty)
		for _, d := range u.again {
			t.dirty[d] = true
		}
	}
	if t.root == nil || t.root.img == nil {
		return nil
	}
	if n := t.root.img.sum; n.files+n.dirs > uint64(t.o.Limit)+1 { // the top is no entry
		return fmt.Errorf("%w: %d, more than %d", ErrTooLarge, n.files+n.dirs-1, t.o.Limit)
	}
	return nil
}

// update is one run of Tree.update.
type update struct {
	t       *Tree
	pending map[uint64]*hashed
	visited []*dir          // read, or changed by what became of others
	queue   []*dir          // to be encoded, or to take over an image
	again   []*dir          // to be looked at in the next update
	links   map[uint64]bool // files whose number of names may have changed
}

// look reads the directories in which something may have changed.
func (u *update) look(ctx context.Context) error {
	t := u.t
	t.listen()
	if t.root == nil {
		t.root = &dir{}
	}
	if t.stale {
		w := t.newWalk(ctx, true)
		err := w.run([]*dir{t.root})
		u.visited = w.visited
		return errors.Join(err, t.unlisten())
	}
	// A directory may turn out to be another one when its parent is read: parents first.
	levels := map[int][]*dir{}
	var depths []int
	for d := range t.dirtyDirs() {
		if levels[d.depth] == nil {
			depths = append(depths, d.depth)
		}
		levels[d.depth] = append(levels[d.depth], d)
	}
	slices.Sort(depths)
	w := t.newWalk(ctx, false)
	for _, depth := range depths {
		seeds := slices.DeleteFunc(levels[depth], func(d *dir) bool { return !t.attached(d) })
		err := w.run(seeds)
		u.visited = w.visited
		if err != nil {
			return err
		}
	}
	for from := 0; from < len(w.visited); {
		seeds := u.otherNames(w.visited[from:])
		from = len(w.visited)
		err := w.run(seeds)
		u.visited = w.visited
		if err != nil {
			return err
		}
	}
	return t.unlisten()
}

// otherNames returns the directories with the first names of files that were given more: a second name is no event where
// the first is.
func (u *update) otherNames(read []*dir) []*dir {
	t := u.t
	var list []*dir
	for _, d := range read {
		if d.next == nil || !d.next.multi || d.next == d.img || t.last == nil {
			continue
		}
		for i := range d.next.recs {
			r := &d.next.recs[i]
			if r.nlink < 2 || r.kind == tree.KindDir || t.links[r.ino] != nil {
				continue
			}
			path, ok := t.last.indexed().path(r.ino)
			if !ok {
				continue
			}
			for _, o := range t.dirsOf(r.ino, path) {
				if !o.fresh && t.attached(o) && !slices.Contains(list, o) {
					list = append(list, o)
				}
			}
		}
	}
	return list
}

// listen finds what changed since the last update.
func (t *Tree) listen() {
	if t.watcher == nil && t.o.Watch && t.local && !t.unwatched {
		t.stale = true
		w, err := newWatcher()
		if err != nil {
			t.unwatched = true
			t.o.Log("%s: changes are looked for, not watched: %v", t.name, err)
			return
		}
		t.watcher = w
	}
	if t.watcher == nil {
		t.stale = true
		return
	}
	t.drain()
}

func (t *Tree) drain() {
	all, err := t.watcher.drain(func(d *dir) { t.dirty[d] = true })
	if err != nil {
		t.o.Log("%s: everything is looked at: %v", t.name, err)
	}
	t.stale = t.stale || all
}

// atRest tells whether nothing is known to have changed during the last update.
func (t *Tree) atRest() bool {
	if t.watcher != nil {
		t.drain()
	}
	return len(t.dirty) == 0 && !t.stale
}

// unlisten gives up watching after a walk that could not watch everything.
func (t *Tree) unlisten() error {
	if !t.unwatched || t.watcher == nil {
		return nil
	}
	err := t.watcher.close()
	t.watcher = nil
	clear(t.blind)
	return err
}

// dirtyDirs are those to be read again. A file with several names may have changed by one that nobody watches.
func (t *Tree) dirtyDirs() map[*dir]bool {
	set := map[*dir]bool{}
	for _, from := range []map[*dir]bool{t.dirty, t.blind} {
		for d := range from {
			set[d] = true
		}
	}
	for _, l := range t.links {
		for d := range l.dirs {
			set[d] = true
		}
	}
	return set
}

// attached tells whether d is in the tree, as far as it has been read.
func (t *Tree) attached(d *dir) bool {
	for ; d.parent != nil; d = d.parent {
		kids := d.parent.children
		if d.parent.fresh {
			kids = d.parent.kids
		}
		i, ok := slices.BinarySearchFunc(kids, d.name, func(k *dir, name string) int { return strings.Compare(k.name, name) })
		if !ok || kids[i] != d || d.gone {
			return false
		}
	}
	return d == t.root
}

// settle takes over the directories that were read: which are gone, which are there, and which files have several names.
func (u *update) settle() {
	t := u.t
	for _, d := range slices.Clone(u.visited) {
		if d.gone && d.parent != nil {
			u.lose(d)
		}
	}
	u.visited = slices.DeleteFunc(u.visited, func(d *dir) bool { return !t.attached(d) })
	for _, d := range u.visited {
		u.replaceChildren(d, d.kids)
		if d.img != nil && t.byIno[d.img.self.ino] == d {
			delete(t.byIno, d.img.self.ino) // it may be another directory now
		}
	}
	for i := 0; i < len(u.visited); i++ { // it may grow
		if d := u.visited[i]; t.attached(d) {
			u.register(d)
		}
	}
	u.visited = slices.DeleteFunc(u.visited, func(d *dir) bool { return !t.attached(d) })
	for _, d := range u.visited {
		if d.next != d.img {
			u.enqueue(d)
		}
	}
	t.judgeLinks(u.links, u.enqueue)
	for ino, h := range u.pending {
		for _, d := range t.dirsOf(ino, h.path) {
			u.enqueue(d)
		}
	}
}

// touch makes d one of those visited, as it is.
func (u *update) touch(d *dir) {
	if !d.fresh {
		d.next, d.kids, d.fresh = d.img, slices.Clone(d.children), true
		u.visited = append(u.visited, d)
	}
}

// lose takes a directory that vanished while it was about to be read out of its parent.
func (u *update) lose(d *dir) {
	p := d.parent
	u.touch(p)
	if p.next == nil || p.next.apart {
		return
	}
	if i, ok := p.next.find(d.name); ok && slices.Contains(p.kids, d) {
		p.next = p.next.without(i)
		p.kids = slices.DeleteFunc(slices.Clone(p.kids), func(k *dir) bool { return k == d })
	}
}

func (u *update) replaceChildren(d *dir, kids []*dir) {
	for _, k := range kids {
		k.keep = true
	}
	for _, old := range d.children {
		if !old.keep {
			u.detach(old)
		}
	}
	for _, k := range kids {
		k.keep = false
	}
	d.children = kids
}

// detach forgets a directory and all below it.
func (u *update) detach(d *dir) {
	t := u.t
	t.countLinks(d, d.counted, false, u.links)
	d.counted = nil
	delete(t.dirty, d)
	delete(t.blind, d)
	if t.watcher != nil {
		t.watcher.remove(d)
	}
	for _, m := range []*image{d.img, d.next} {
		if m != nil && t.byIno[m.self.ino] == d {
			delete(t.byIno, m.self.ino)
		}
	}
	for _, k := range d.children {
		u.detach(k)
	}
}

// register enters a directory that was read under its number. One that is there already, since it is mounted in a second
// place, is left alone in the place that comes later.
func (u *update) register(d *dir) {
	t := u.t
	if t.watcher != nil {
		delete(t.blind, d)
		if d.watch == 0 {
			t.blind[d] = true
		}
	}
	if !d.next.apart {
		ino := d.next.self.ino
		if o := t.byIno[ino]; o != nil && o != d {
			if o.before(d) {
				u.twice(d)
				return
			}
			u.twice(o)
		}
		t.byIno[ino] = d
	}
	u.count(d)
}

// twice deals with a directory that is elsewhere too. If its parent lists another number, it is mounted there; else it
// was moved while the tree was read, and the next update will find where to.
func (u *update) twice(d *dir) {
	u.touch(d)
	if d.listed == d.next.self.ino && d.parent != nil {
		u.lose(d)
		u.replaceChildren(d.parent, d.parent.kids)
		u.count(d.parent)
		u.again = append(u.again, d.parent)
		return
	}
	self := d.next.self
	self.ino = d.listed
	d.next = apartImage(self)
	d.kids = nil
	u.replaceChildren(d, nil)
	u.count(d)
}

// count counts the names in d, in place of those that were there before.
func (u *update) count(d *dir) {
	if d.counted != d.next {
		u.t.countLinks(d, d.counted, false, u.links)
		u.t.countLinks(d, d.next, true, u.links)
		d.counted = d.next
	}
}

// enqueue lets d and all above it be built.
func (u *update) enqueue(d *dir) {
	for ; d != nil && !d.queued; d = d.parent {
		d.queued = true
		u.queue = append(u.queue, d)
	}
}

// build makes the images of what is queued, from the deepest up.
func (u *update) build() error {
	var levels [][]*dir
	for _, d := range u.queue {
		for len(levels) <= d.depth {
			levels = append(levels, nil)
		}
		levels[d.depth] = append(levels[d.depth], d)
	}
	for _, level := range slices.Backward(levels) {
		if err := each(level, u.buildDir); err != nil {
			return err
		}
	}
	return nil
}

// each calls fn for all of list, several at a time.
func each(list []*dir, fn func(*dir) error) error {
	var next atomic.Int64
	var done sync.WaitGroup
	var mu sync.Mutex
	var first error
	work := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(list) {
				return
			}
			if err := fn(list[i]); err != nil {
				mu.Lock()
				first = errors.Join(first, err)
				mu.Unlock()
				return
			}
		}
	}
	for range min(workers(), len(list)) - 1 {
		done.Go(work)
	}
	work()
	done.Wait()
	return first
}

// buildDir makes the image of d, after those of its children.
func (u *update) buildDir(d *dir) error {
	was := d.img
	if d.fresh {
		was = d.next
	}
	if was.apart {
		d.differs = d.img != was
		d.img = was
		return nil
	}
	c := *was
	m := &c
	stale := m.id == tree.ID{}
	m.children = make([]*image, len(d.children))
	for i, k := range d.children {
		m.children[i] = k.img
		stale = stale || k.differs
	}
	if u.t.markShared(m) {
		stale = true
	}
	if u.applyPending(d, m) {
		stale = true
	}
	m.count()
	if stale {
		if _, err := m.encode(); err != nil {
			return fmt.Errorf("encode directory %q: %w", strings.Join(d.path(), "/"), err)
		}
	}
	// d.differs may be set: its own attributes are other ones.
	d.differs = d.differs || stale
	m.linked = true
	if !stale && !was.linked {
		*was = c // from the cache, and still the same: nobody else has it yet
		m = was
	}
	d.img = m
	return nil
}

// applyPending gives the files in m the contents that were hashed since.
func (u *update) applyPending(d *dir, m *image) (changed bool) {
	if len(u.pending) == 0 {
		return false
	}
	contents := slices.Clone(m.contents)
	for i := range m.recs {
		r := &m.recs[i]
		h := u.pending[r.ino]
		if h == nil || !h.rec.sameContents(r) || (h.content == nil) == (m.content(i) == nil) {
			continue
		}
		// If the directory was read after the file was hashed, another change may hide between the two; a watch
		// would have told.
		if h.content != nil && h.content.racy && d.fresh {
			continue
		}
		if contents == nil {
			contents = make([]*content, len(m.recs))
		}
		contents[i], changed = h.content, true
	}
	if changed {
		m.contents = contents
	}
	return changed
}
