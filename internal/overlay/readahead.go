package overlay

import (
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// The read-ahead learns from what a guest does what it will need: the rest of a file, the files behind it in the order of
// their directories, the directories behind one that was listed. Its windows begin small, double while what it expects
// comes true and collapse when it does not, so that reading here and there moves little more than what is read, and
// reading everything keeps much in flight. It knows the pinned tree only, and does no more than to emit Wants: no
// lock, no waiting, no clock.

const (
	minWindow = 64 << 10
	maxWindow = 16 << 20
	// farWindow is from where on the read-ahead looks into directories that the guest has not been in.
	farWindow = 4 * minWindow
	minDirs   = 8
	maxDirs   = 512
	// fileCost is what a file counts for at least, so that empty ones come to an end too.
	fileCost = 4 << 10
	// maxScan is how many entries are looked at for one event.
	maxScan = 16 << 10
	// maxAsked bounds what is remembered to have been asked for.
	maxAsked = 1 << 17
)

// stream follows the reads of one file.
type stream struct {
	start      uint64 // of the reads that follow each other
	next, near uint64 // the next one follows if it begins between these
	reads      int
	window     uint64 // that the file was opened with, since it was expected
	asked      uint64 // bytes up to which chunks were asked for
}

// read takes in a read of n bytes at off, which ends in a chunk that ends at near, and returns how many bytes behind it are
// probably needed. A read from a chunk that is at hand may not be told.
func (s *stream) read(off, n, near uint64) uint64 {
	if s.reads == 0 || off < s.next || off > s.near {
		if s.reads > 0 {
			s.window = 0
		}
		s.start, s.reads = off, 0
	}
	s.reads++
	s.next, s.near = off+n, near
	if s.reads == 1 {
		return s.window
	}
	return min(max(2*(s.next-s.start), minWindow, s.window), maxWindow)
}

// chunks emits those of a file that are needed up to a place, besides the one at off, which is asked for anyway.
func (s *stream) chunks(ino uint64, l *layout, off, upto uint64) (wants []Want) {
	size := uint64(0)
	if n := len(l.ends); n > 0 {
		size = l.ends[n-1]
	}
	upto = min(upto, size)
	// Few at a time would cost more than they bring.
	from := max(s.asked, off)
	if from >= upto || upto < size && upto-from < minWindow {
		return nil
	}
	i := l.find(off)
	if !l.chunks[i].Hole() {
		i++
	}
	i = max(i, l.find(s.asked))
	for ; i < len(l.chunks) && l.start(i) < upto; i++ {
		if !l.chunks[i].Hole() {
			wants = append(wants, Want{Ino: ino, Off: l.start(i), Chunk: l.chunks[i]})
		}
		s.asked = l.ends[i]
	}
	return wants
}

// place is a directory of the pinned tree.
type place struct {
	ino  uint64
	id   tree.ID
	name string
	up   *place // nil of the root
}

// looker shows directories of the pinned tree.
type looker interface {
	// look returns a node of a directory, nil if it is not at hand. far says that it is worth while to ask for it, so
	// that it will be.
	look(d *place, id tree.ID, far bool) *tree.Node
}

// scan calls do for the entries of a directory behind a name, until it returns false. It tells whether it came to an end:
// the directory's, or that one.
func scan(t looker, d *place, after string, far bool, budget *int, do func(e *tree.Entry) bool) bool {
	n := t.look(d, d.id, far)
	if n == nil {
		return false
	}
	if len(n.Leaves) == 0 {
		more, ok := scanEntries(n.Entries, after, budget, do)
		return ok || !more
	}
	i := sort.Search(len(n.Leaves), func(i int) bool { return n.Leaves[i].First > after })
	for i = max(i-1, 0); i < len(n.Leaves); i++ {
		leaf, next := t.look(d, n.Leaves[i].ID, far), ""
		if i+1 < len(n.Leaves) {
			next = n.Leaves[i+1].First
		}
		if leaf == nil || n.Leaves[i].Check(leaf, next) != nil {
			return false
		}
		if more, ok := scanEntries(leaf.Entries, after, budget, do); !more || !ok {
			return ok || !more
		}
	}
	return true
}

// scanEntries tells whether do wants more, and whether the entries came to an end within the budget.
func scanEntries(list []tree.Entry, after string, budget *int, do func(e *tree.Entry) bool) (more, end bool) {
	i, _ := slices.BinarySearchFunc(list, after, func(e tree.Entry, name string) int { return strings.Compare(e.Name, name) })
	for ; i < len(list); i++ {
		if list[i].Name <= after {
			continue
		}
		if *budget--; *budget < 0 {
			return true, false
		}
		if !do(&list[i]) {
			return false, true
		}
	}
	return true, true
}

// cursor goes through the files of the pinned tree in the order in which a guest is expected to read them: by name, into
// a directory where it stands, or behind the files beside it.
type cursor struct {
	filesFirst bool
	frames     []frame // the last is the innermost
}

type frame struct {
	dir   *place
	after string
	dirs  bool // with filesFirst: the files are through
}

func (c *cursor) seat(d *place, name string) {
	c.frames = append(c.frames[:0], frame{dir: d, after: name})
}

// next returns the next file, nil if there is none or it cannot be told.
func (c *cursor) next(t looker, far bool, budget *int) *tree.Entry {
	for len(c.frames) > 0 && *budget > 0 {
		*budget--
		f := &c.frames[len(c.frames)-1]
		var got *tree.Entry
		ended := scan(t, f.dir, f.after, far, budget, func(e *tree.Entry) bool {
			if c.takes(f, e) {
				got = e
			}
			return got == nil
		})
		switch {
		case got != nil && got.Kind == tree.KindFile:
			f.after = got.Name
			return got
		case got != nil:
			f.after = got.Name
			c.frames = append(c.frames, frame{dir: &place{ino: got.Ino, id: got.Dir, name: got.Name, up: f.dir}})
		case !ended:
			return nil
		case c.filesFirst && !f.dirs:
			f.dirs, f.after = true, ""
		default:
			c.leave(f)
		}
	}
	return nil
}

// takes tells whether an entry is one to stop at.
func (c *cursor) takes(f *frame, e *tree.Entry) bool {
	switch {
	case e.Flags&(tree.Apart|tree.Readable) != tree.Readable:
		return false
	case e.Kind == tree.KindFile:
		return !c.filesFirst || !f.dirs
	case e.Kind == tree.KindDir:
		return !c.filesFirst || f.dirs
	}
	return false
}

// leave goes on behind a directory that is through.
func (c *cursor) leave(f *frame) {
	d := f.dir
	c.frames = c.frames[:len(c.frames)-1]
	if len(c.frames) == 0 && d.up != nil {
		c.frames = append(c.frames, frame{dir: d.up, after: d.name, dirs: c.filesFirst})
	}
}

// order follows which files are opened.
type order struct {
	window uint64
	at     cursor            // behind the last of queue, or the file opened last
	queue  []expected        // files that are expected next
	ahead  uint64            // cost of those that were asked for
	asked  map[uint64]uint64 // how much of a file was asked for
	// The file that was opened last, and how far it was read.
	last       opened
	high       uint64
	lastReach  [4]uint64 // how far the files before it were read
	lastOpened int
}

type expected struct {
	e     tree.Entry
	cost  uint64
	asked bool
}

// opened is a file with its place in the pinned tree.
type opened struct {
	dir       *place
	name      string
	ino, size uint64
}

// open takes in that a file was opened to be read. It returns what is wanted ahead, and the window for the file itself.
func (o *order) open(x opened, t looker) (wants []Want, window uint64) {
	o.judge()
	budget := maxScan
	if o.hit(&x, t, &budget) {
		if o.reach() >= x.size {
			window = o.window
		}
	} else {
		o.window, o.ahead, o.queue = 0, 0, o.queue[:0]
		o.at.seat(x.dir, x.name)
	}
	o.last, o.high = x, 0
	return o.fill(t, &budget), window
}

// read takes in that a file was read up to some byte.
func (o *order) read(ino, to uint64) {
	if ino == o.last.ino {
		o.high = max(o.high, to)
	}
}

// judge notes how far the file before was read.
func (o *order) judge() {
	if o.last.ino == 0 || o.last.size == 0 {
		return
	}
	r := o.high
	if r >= o.last.size {
		r = math.MaxUint64
	}
	o.lastReach[o.lastOpened%len(o.lastReach)] = r
	o.lastOpened++
}

// reach is how far the next files are expected to be read.
func (o *order) reach() uint64 {
	if o.lastOpened == 0 {
		return math.MaxUint64
	}
	return slices.Max(o.lastReach[:min(o.lastOpened, len(o.lastReach))])
}

// hit tells whether a file was expected.
func (o *order) hit(x *opened, t looker, budget *int) bool {
	if o.last.ino == 0 {
		return false
	}
	if len(o.queue) == 0 {
		o.expect(t, budget)
	}
	i := slices.IndexFunc(o.queue, func(p expected) bool { return p.e.Ino == x.ino })
	if i < 0 {
		return o.otherOrder(x, t, budget)
	}
	for _, p := range o.queue[:i+1] {
		if p.asked {
			o.ahead -= p.cost
		}
	}
	o.queue = slices.Delete(o.queue, 0, i+1)
	switch {
	case i == 0:
		o.window = min(max(2*o.window, minWindow), maxWindow)
	case i > 2: // most of what is fetched is not read
		o.window /= 2
	}
	return true
}

// otherOrder looks whether a file comes next if directories come after files, or if they no longer do.
func (o *order) otherOrder(x *opened, t looker, budget *int) bool {
	same := x.dir.ino == o.last.dir.ino
	if same == o.at.filesFirst || !same && !x.dir.below(o.last.dir) {
		return false
	}
	c := cursor{filesFirst: !o.at.filesFirst}
	c.seat(o.last.dir, o.last.name)
	if e := c.next(t, false, budget); e == nil || e.Ino != x.ino {
		return false
	}
	o.at, o.queue, o.ahead = c, o.queue[:0], 0
	return true
}

func (d *place) below(up *place) bool {
	for d = d.up; d != nil; d = d.up {
		if d.ino == up.ino {
			return true
		}
	}
	return false
}

// expect puts one more file into the queue.
func (o *order) expect(t looker, budget *int) bool {
	e := o.at.next(t, o.window >= farWindow, budget)
	if e == nil {
		return false
	}
	o.queue = append(o.queue, expected{e: *e})
	return true
}

// fill asks for what is expected, as far as the window goes.
func (o *order) fill(t looker, budget *int) (wants []Want) {
	if o.window == 0 || o.ahead > 0 && o.ahead > o.window-o.window/8 {
		return nil
	}
	reach := o.reach()
	for i := 0; o.ahead < o.window; i++ {
		if i == len(o.queue) && !o.expect(t, budget) {
			break
		}
		p := &o.queue[i]
		if p.asked {
			continue
		}
		p.asked = true
		amount := min(p.e.Size, reach, maxWindow)
		p.cost = max(amount, fileCost)
		o.ahead += p.cost
		wants = append(wants, o.want(&p.e, amount)...)
	}
	return wants
}

// want asks for the first bytes of a file, unless it was asked for before.
func (o *order) want(e *tree.Entry, amount uint64) (wants []Want) {
	if _, ok := o.asked[e.Ino]; ok || amount == 0 {
		return nil
	}
	if o.asked == nil || len(o.asked) >= maxAsked {
		o.asked = map[uint64]uint64{}
	}
	at := uint64(0)
	switch {
	case e.List != (tree.ID{}):
		o.asked[e.Ino] = 0
		return []Want{{Ino: e.Ino, Node: e.List}}
	case e.Flags&tree.Hashed == 0:
		o.asked[e.Ino] = amount
		return []Want{{Ino: e.Ino, Content: true, Bytes: amount}}
	}
	for _, c := range e.Chunks {
		if at >= amount {
			break
		}
		if !c.Hole() {
			wants = append(wants, Want{Ino: e.Ino, Off: at, Chunk: c})
		}
		at += c.Size
	}
	o.asked[e.Ino] = at
	return wants
}

// walker follows which directories are listed.
type walker struct {
	last   *place
	window int
}

// list takes in that a directory was listed, and calls want for those that are probably listed next, nearest first.
func (w *walker) list(d *place, t looker, want func(d *place)) {
	budget := maxScan
	if w.last == nil || !w.follows(d, t, &budget) {
		w.window = 0
	} else {
		w.window = min(max(2*w.window, minDirs), maxDirs)
	}
	w.last = d
	left := w.window
	in, after := d, ""
	for in != nil && left > 0 {
		scan(t, in, after, false, &budget, func(e *tree.Entry) bool {
			if e.Kind == tree.KindDir && e.Flags&(tree.Apart|tree.Readable) == tree.Readable {
				want(&place{ino: e.Ino, id: e.Dir, name: e.Name, up: in})
				left--
			}
			return left > 0
		})
		in, after = in.up, in.name
	}
}

// follows tells whether a directory is the next one behind the last: the first in it, or the next beside it or beside one
// that it is in.
func (w *walker) follows(d *place, t looker, budget *int) bool {
	if d.up == nil {
		return false
	}
	in, after := w.last, ""
	for in != nil && in.ino != d.up.ino {
		in, after = in.up, in.name
	}
	if in == nil {
		return false
	}
	next := uint64(0)
	scan(t, in, after, false, budget, func(e *tree.Entry) bool {
		if e.Kind == tree.KindDir {
			next = e.Ino
		}
		return next == 0
	})
	return next == d.ino
}
