// Package readahead learns from what a guest does with files what it will need: the rest of a file, the files behind it in
// the order of their directories, the directories behind one that was listed. Its windows begin small, double while what
// it expects comes true and collapse when it does not, so that reading here and there moves little more than what is
// read, and reading everything keeps much in flight. It knows a pinned tree only, and does no more than to say what is
// wanted: no lock, no waiting, no clock.
package readahead

import (
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// Want is what is probably needed soon: one of three things.
type Want struct {
	// Ino is the file, or the directory.
	Ino uint64
	// Node, if not zero, is a node of the directory, or the list of the chunks of the file.
	Node tree.ID
	// Content asks for the list of chunks of a file that was not hashed yet, and about the first Bytes of its contents.
	Content bool
	Bytes   uint64
	// Chunk, in all other cases, is a chunk of the file, at Off.
	Off   uint64
	Chunk tree.Chunk
}

// MaxAsked bounds what is remembered to have been asked for.
const MaxAsked = 1 << 17

// MaxWindow bounds the bytes that are asked for ahead of need.
const MaxWindow = 16 << 20

const (
	minWindow = 64 << 10
	// farWindow is from where on the read-ahead looks into directories that the guest has not been in.
	farWindow = 4 * minWindow
	minDirs   = 8
	maxDirs   = 512
	// fileCost is what a file counts for at least, so that empty ones come to an end too.
	fileCost = 4 << 10
	// maxScan is how many entries are looked at for one event.
	maxScan = 16 << 10
)

// Stream follows the reads of one file. Its zero value is a file that was not expected.
type Stream struct {
	start      uint64 // of the reads that follow each other
	next, near uint64 // the next one follows if it begins between these
	reads      int
	window     uint64 // that the file was opened with, since it was expected
	asked      uint64 // bytes up to which chunks were asked for
}

// Open takes in that the file was opened: with this window if it was expected, else 0, and when so much of its beginning
// was asked for.
func (s *Stream) Open(window, asked uint64) {
	if s.reads == 0 {
		s.window = window
	}
	s.asked = max(s.asked, asked)
}

// Read takes in a read of n bytes at off, and returns what is wanted: chunks up to the end of the read and as far behind it
// as is probably needed, but not the first of the read, which is asked for anyway. ends are where the chunks end. A
// read from a chunk that is at hand need not be told.
func (s *Stream) Read(ino uint64, chunks []tree.Chunk, ends []uint64, off, n uint64) []Want {
	first := at(ends, off)
	ahead := s.read(off, n, ends[at(ends, off+n-1)])
	upto := min(off+n+ahead, ends[len(ends)-1])
	// Few at a time would cost more than they bring.
	from := max(s.asked, off)
	if from >= upto || upto < ends[len(ends)-1] && upto-from < minWindow {
		return nil
	}
	if !chunks[first].Hole() {
		first++
	}
	var wants []Want
	for i := max(first, at(ends, s.asked)); i < len(chunks) && ends[i]-chunks[i].Size < upto; i++ {
		if !chunks[i].Hole() {
			wants = append(wants, Want{Ino: ino, Off: ends[i] - chunks[i].Size, Chunk: chunks[i]})
		}
		s.asked = ends[i]
	}
	return wants
}

// at is the chunk that holds a byte.
func at(ends []uint64, off uint64) int {
	return sort.Search(len(ends), func(i int) bool { return ends[i] > off })
}

// read returns how many bytes behind a read, which ends in a chunk that ends at near, are probably needed.
func (s *Stream) read(off, n, near uint64) uint64 {
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
	return min(max(2*(s.next-s.start), minWindow, s.window), MaxWindow)
}

// Place is a directory of the pinned tree.
type Place struct {
	Ino  uint64
	ID   tree.ID // of its node
	Name string
	Up   *Place // nil of the root
}

// Looker shows directories of the pinned tree.
type Looker interface {
	// Look returns a node of a directory, nil if it is not at hand. far says that it is worth while to ask for it, so
	// that it will be.
	Look(d *Place, id tree.ID, far bool) *tree.Node
}

// scan calls do for the entries of a directory behind a name, until it returns false. It tells whether it came to an end:
// the directory's, or that one.
func scan(t Looker, d *Place, after string, far bool, budget *int, do func(e *tree.Entry) bool) bool {
	n := t.Look(d, d.ID, far)
	if n == nil {
		return false
	}
	if len(n.Leaves) == 0 {
		more, ok := scanEntries(n.Entries, after, budget, do)
		return ok || !more
	}
	i := sort.Search(len(n.Leaves), func(i int) bool { return n.Leaves[i].First > after })
	for i = max(i-1, 0); i < len(n.Leaves); i++ {
		leaf, next := t.Look(d, n.Leaves[i].ID, far), ""
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
	dir   *Place
	after string
	dirs  bool // with filesFirst: the files are through
}

func (c *cursor) seat(d *Place, name string) {
	c.frames = append(c.frames[:0], frame{dir: d, after: name})
}

// next returns the next file, nil if there is none or it cannot be told.
func (c *cursor) next(t Looker, far bool, budget *int) *tree.Entry {
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
			c.frames = append(c.frames, frame{dir: &Place{got.Ino, got.Dir, got.Name, f.dir}})
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
	if len(c.frames) == 0 && d.Up != nil {
		c.frames = append(c.frames, frame{dir: d.Up, after: d.Name, dirs: c.filesFirst})
	}
}

// Order follows which files are opened.
type Order struct {
	window uint64
	at     cursor            // behind the last of queue, or the file opened last
	queue  []expected        // files that are expected next
	ahead  uint64            // cost of those that were asked for
	asked  map[uint64]uint64 // how much of a file was asked for
	// The file that was opened last, and how far it was read.
	last       File
	high       uint64
	lastReach  [4]uint64 // how far the files before it were read
	lastOpened int
}

type expected struct {
	e     tree.Entry
	cost  uint64
	asked bool
}

// File is a file with its place in the pinned tree.
type File struct {
	Dir       *Place
	Name      string
	Ino, Size uint64
}

// Open takes in that a file was opened to be read. It returns what is wanted ahead, and for the file itself what its Stream
// is to be opened with.
func (o *Order) Open(x File, t Looker) (wants []Want, window, asked uint64) {
	o.judge()
	budget := maxScan
	if o.hit(&x, t, &budget) {
		if o.reach() >= x.Size {
			window = o.window
		}
	} else {
		o.window, o.ahead, o.queue = 0, 0, o.queue[:0]
		o.at.seat(x.Dir, x.Name)
	}
	o.last, o.high = x, 0
	return o.fill(t, &budget), window, o.asked[x.Ino]
}

// Read takes in that a file was read up to some byte.
func (o *Order) Read(ino, to uint64) {
	if ino == o.last.Ino {
		o.high = max(o.high, to)
	}
}

// judge notes how far the file before was read.
func (o *Order) judge() {
	if o.last.Ino == 0 || o.last.Size == 0 {
		return
	}
	r := o.high
	if r >= o.last.Size {
		r = math.MaxUint64
	}
	o.lastReach[o.lastOpened%len(o.lastReach)] = r
	o.lastOpened++
}

// reach is how far the next files are expected to be read.
func (o *Order) reach() uint64 {
	if o.lastOpened == 0 {
		return math.MaxUint64
	}
	return slices.Max(o.lastReach[:min(o.lastOpened, len(o.lastReach))])
}

// hit tells whether a file was expected.
func (o *Order) hit(x *File, t Looker, budget *int) bool {
	if o.last.Ino == 0 {
		return false
	}
	if len(o.queue) == 0 {
		o.expect(t, budget)
	}
	i := slices.IndexFunc(o.queue, func(p expected) bool { return p.e.Ino == x.Ino })
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
		o.window = min(max(2*o.window, minWindow), MaxWindow)
	case i > 2: // most of what is fetched is not read
		o.window /= 2
	}
	return true
}

// otherOrder looks whether a file comes next if directories come after files, or if they no longer do.
func (o *Order) otherOrder(x *File, t Looker, budget *int) bool {
	if x.Dir.Ino != o.last.Dir.Ino && !x.Dir.below(o.last.Dir) && !o.last.Dir.below(x.Dir) {
		return false
	}
	c := cursor{filesFirst: !o.at.filesFirst}
	c.seat(o.last.Dir, o.last.Name)
	if e := c.next(t, false, budget); e == nil || e.Ino != x.Ino {
		return false
	}
	o.at, o.queue, o.ahead = c, o.queue[:0], 0
	return true
}

func (d *Place) below(up *Place) bool {
	for d = d.Up; d != nil; d = d.Up {
		if d.Ino == up.Ino {
			return true
		}
	}
	return false
}

// expect puts one more file into the queue.
func (o *Order) expect(t Looker, budget *int) bool {
	e := o.at.next(t, o.window >= farWindow, budget)
	if e == nil {
		return false
	}
	o.queue = append(o.queue, expected{e: *e})
	return true
}

// fill asks for what is expected, as far as the window goes.
func (o *Order) fill(t Looker, budget *int) (wants []Want) {
	if o.window == 0 || o.ahead > 0 && o.ahead > o.window-o.window/8 {
		return nil
	}
	reach := o.reach()
	if reach == 0 {
		return nil
	}
	for i := 0; o.ahead < o.window; i++ {
		if i == len(o.queue) && !o.expect(t, budget) {
			break
		}
		p := &o.queue[i]
		if p.asked {
			continue
		}
		p.asked = true
		amount := min(p.e.Size, reach, MaxWindow)
		p.cost = max(amount, fileCost)
		o.ahead += p.cost
		wants = append(wants, o.want(&p.e, amount)...)
	}
	return wants
}

// want asks for the first bytes of a file, unless it was asked for before.
func (o *Order) want(e *tree.Entry, amount uint64) (wants []Want) {
	if _, ok := o.asked[e.Ino]; ok || amount == 0 {
		return nil
	}
	if o.asked == nil || len(o.asked) >= MaxAsked {
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

// Walker follows which directories are listed.
type Walker struct {
	last   *Place
	window int
}

// List takes in that a directory was listed, and calls want for those that are probably listed next, nearest first.
func (w *Walker) List(d *Place, t Looker, want func(d *Place)) {
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
				want(&Place{e.Ino, e.Dir, e.Name, in})
				left--
			}
			return left > 0
		})
		in, after = in.Up, in.Name
	}
}

// follows tells whether a directory is the next one behind the last: the first in it, or the next beside it or beside one
// that it is in.
func (w *Walker) follows(d *Place, t Looker, budget *int) bool {
	if d.Up == nil {
		return false
	}
	in, after := w.last, ""
	for in != nil && in.Ino != d.Up.Ino {
		in, after = in.Up, in.Name
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
	return next == d.Ino
}
