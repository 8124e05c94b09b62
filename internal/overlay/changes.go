package overlay

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// Changes returns what differs from the pinned tree, nil if nothing does. open are the numbers of the files that stay
// open: of what has no name any more only these count. Times are those that the guest saw; one that it set to 0 is 1 ns
// instead, since 0 means none to a Delta.
//
// chunks gives the objects that the delta names, each once, and reads them as it does so; it ends with the first error.
// Nothing may be changed until it is through.
func (f *FS) Changes(ctx context.Context, open []uint64) (d *tree.Delta, chunks func(yield func(tree.Object, error) bool), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	none := func(func(tree.Object, error) bool) {}
	if f.changes == 0 {
		return nil, none, nil
	}
	c := &collector{f: f, ctx: ctx, open: map[uint64]bool{}, mentioned: map[uint64]*inode{}, seen: map[tree.ID]bool{}}
	for _, ino := range open {
		c.open[ino] = true
	}
	c.names()
	if err := c.files(); err != nil {
		return nil, nil, fmt.Errorf("collect changes of files: %w", err)
	}
	c.bases()
	if len(c.d.Dirs) == 0 && len(c.d.Files) == 0 {
		return nil, none, nil
	}
	return &c.d, c.chunks, nil
}

// collector makes a delta. Preconditions of its methods but chunks: f.mu is held.
type collector struct {
	f         *FS
	ctx       context.Context
	d         tree.Delta
	open      map[uint64]bool
	mentioned map[uint64]*inode // that were pinned
	seen      map[tree.ID]bool
	parts     []part
}

// part is where the bytes of a chunk are.
type part struct {
	id   tree.ID
	in   *inode
	span span
}

func byIno(a, b *inode) int { return cmp.Compare(a.ino, b.ino) }

func (in *inode) changedNames() map[string]change {
	if in.dir == nil {
		return nil
	}
	return in.dir.names
}

func (c *collector) mention(in *inode) uint64 {
	if in.base != nil {
		c.mentioned[in.ino] = in
	}
	return in.ino
}

func (c *collector) names() {
	for _, dir := range slices.SortedFunc(maps.Keys(c.f.dirs), byIno) {
		ch := tree.DirChange{Ino: c.mention(dir)}
		for _, name := range slices.Sorted(maps.Keys(dir.changedNames())) {
			n := tree.NameChange{Name: name}
			if in := dir.dir.names[name].now; in != nil {
				n.Ino = c.mention(in)
			}
			ch.Names = append(ch.Names, n)
		}
		c.d.Dirs = append(c.d.Dirs, ch)
	}
}

func (c *collector) files() error {
	var list []*inode
	for _, in := range c.f.inodes {
		// A pinned directory that is gone has its names removed, and nothing else.
		if in.dirty && (in.nlink > 0 || c.open[in.ino] && (in.base == nil || in.kind != tree.KindDir)) {
			list = append(list, in)
		}
	}
	slices.SortFunc(list, byIno)
	for _, in := range list {
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
		if err := c.file(in); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) file(in *inode) error {
	ch := tree.FileChange{Ino: in.ino, Kind: in.kind}
	isNew := in.base == nil
	if isNew {
		ch.Target = in.target
	}
	if in.hasMtime || isNew {
		ch.Mtime = max(in.mtime, 1)
	}
	if in.hasAtime {
		ch.Atime = max(in.atime, 1)
	}
	if in.kind == tree.KindFile {
		if err := c.contents(in, &ch); err != nil {
			return err
		}
	}
	if !isNew && !ch.Written && !in.hasAtime && len(in.changedNames()) == 0 && in.mtime == in.base.Mtime {
		return nil // it has other names, or is as it was
	}
	c.mention(in)
	c.d.Files = append(c.d.Files, ch)
	return nil
}

func (c *collector) bases() {
	for _, in := range slices.SortedFunc(maps.Values(c.mentioned), byIno) {
		c.d.Bases = append(c.d.Bases, tree.Base{Ino: in.ino, Path: in.place()})
	}
}

// contents says what a file consists of, if that changed.
func (c *collector) contents(in *inode, ch *tree.FileChange) error {
	runs := in.file.written()
	keep := in.file.keep
	if in.base != nil && len(runs) == 0 && in.size == in.base.Size && keep == in.size {
		return nil
	}
	w := &pieces{c: c, in: in, seen: map[tree.ID]bool{}}
	var err error
	if whole(runs, keep) {
		// As a scan of the device would cut it.
		err = w.cut(runs, span{0, in.size})
		if err == nil && in.base != nil && in.file.layout != nil && in.size == in.base.Size && w.same(in.file.layout.chunks) {
			return nil
		}
	} else {
		err = w.runs(runs, keep)
	}
	if err != nil {
		return fmt.Errorf("file %d: %w", in.ino, err)
	}
	ch.Written, ch.Size, ch.Pieces = true, in.size, w.list
	for _, p := range w.parts {
		if !c.seen[p.id] {
			c.seen[p.id] = true
			c.parts = append(c.parts, p)
		}
	}
	return nil
}

// whole tells whether nothing of what was pinned is left.
func whole(runs []span, keep uint64) bool {
	return keep == 0 || len(runs) > 0 && runs[0].from == 0 && runs[0].to >= keep
}

// pieces gathers what a changed file consists of.
type pieces struct {
	c     *collector
	in    *inode
	list  []tree.Piece
	parts []part
	seen  map[tree.ID]bool
}

func (w *pieces) add(p tree.Piece) {
	if p.Size == 0 {
		return
	}
	if n := len(w.list); n > 0 && p.Chunk == (tree.ID{}) && w.list[n-1].Chunk == (tree.ID{}) && w.list[n-1].Kept == p.Kept {
		w.list[n-1].Size += p.Size
		return
	}
	w.list = append(w.list, p)
}

// runs adds what was written and what is between.
func (w *pieces) runs(runs []span, keep uint64) error {
	at := uint64(0)
	between := func(to uint64) {
		if at < keep {
			n := min(to, keep) - at
			w.add(tree.Piece{Kept: true, Size: n})
			at += n
		}
		w.add(tree.Piece{Size: to - at})
		at = to
	}
	for i, r := range runs {
		between(r.from)
		if err := w.cut(runs[i:i+1], r); err != nil {
			return err
		}
		at = r.to
	}
	between(w.in.size)
	return nil
}

// small is below what is ever cut.
const small = 16 << 10

// cut cuts a stretch of the file into chunks. Of it, only the runs were written; the rest are zeros.
func (w *pieces) cut(runs []span, s span) error {
	if n := s.to - s.from; n <= small && len(runs) == 1 && runs[0] == s {
		buf := make([]byte, n)
		if _, err := w.c.f.data.read(w.in.file, buf, s.from); err != nil {
			return err
		}
		if n >= pageSize && len(bytes.TrimLeft(buf, "\x00")) == 0 {
			w.add(tree.Piece{Size: n})
			return nil
		}
		w.chunk(tree.Chunk{ID: tree.IDOf(buf), Size: n}, s.from)
		return nil
	}
	at := s.from
	r := &reader{f: w.c.f, in: w.in, runs: runs, span: s, ctx: w.c.ctx}
	return tree.Cut(r, s.to-s.from, func(c tree.Chunk, _ []byte) error {
		w.chunk(c, at)
		at += c.Size
		return nil
	})
}

func (w *pieces) chunk(c tree.Chunk, at uint64) {
	w.add(tree.Piece{Size: c.Size, Chunk: c.ID})
	if !c.Hole() && !w.seen[c.ID] {
		w.seen[c.ID] = true
		w.parts = append(w.parts, part{c.ID, w.in, span{at, at + c.Size}})
	}
}

// same tells whether the pieces are these chunks.
func (w *pieces) same(chunks []tree.Chunk) bool {
	return slices.EqualFunc(w.list, chunks, func(p tree.Piece, c tree.Chunk) bool {
		return !p.Kept && p.Size == c.Size && p.Chunk == c.ID
	})
}

// chunks gives the objects.
func (c *collector) chunks(yield func(tree.Object, error) bool) {
	for _, p := range c.parts {
		data, err := c.read(p)
		if err != nil {
			yield(tree.Object{}, fmt.Errorf("read what was written to file %d: %w", p.in.ino, err))
			return
		}
		if !yield(tree.Object{ID: p.id, Data: data}, nil) {
			return
		}
	}
}

var errChangedMeanwhile = errors.New("it changed meanwhile")

func (c *collector) read(p part) ([]byte, error) {
	if c.ctx.Err() != nil {
		return nil, context.Cause(c.ctx)
	}
	buf := make([]byte, p.span.to-p.span.from)
	c.f.mu.Lock()
	_, err := c.f.data.read(p.in.file, buf, p.span.from)
	c.f.mu.Unlock()
	if err == nil && tree.IDOf(buf) != p.id {
		err = errChangedMeanwhile
	}
	return buf, err
}

// reader reads a stretch of a file of which nothing is as it was pinned. It is a tree.Sparse.
type reader struct {
	f    *FS
	in   *inode
	runs []span
	span span
	ctx  context.Context
	at   uint64
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadAt(p, int64(r.at))
	r.at += uint64(n)
	return n, err
}

// ReadAt implements io.ReaderAt.
func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	size := r.span.to - r.span.from
	if off < 0 || uint64(off) >= size {
		return 0, io.EOF
	}
	short := uint64(len(p)) > size-uint64(off)
	if short {
		p = p[:size-uint64(off)]
	}
	start := r.span.from + uint64(off)
	gaps, err := r.f.data.read(r.in.file, p, start)
	if err != nil {
		return 0, err
	}
	for _, g := range gaps {
		clear(p[g.from-start : g.to-start])
	}
	if short {
		return len(p), io.EOF
	}
	return len(p), nil
}

// NextData implements tree.Sparse.
func (r *reader) NextData(off uint64) (uint64, error) {
	at := r.span.from + off
	i := sort.Search(len(r.runs), func(i int) bool { return r.runs[i].to > at })
	if i == len(r.runs) {
		return r.span.to - r.span.from, nil
	}
	return max(r.runs[i].from, at) - r.span.from, nil
}
