package written

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"sort"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// Pieces is what a changed file consists of.
type Pieces struct {
	List []tree.Piece
	// Chunks say where in the file the chunks of the list are, each of them once.
	Chunks []Chunk
	// Whole says that nothing of what was pinned is left: List is what a scan of the file would give.
	Whole bool

	s    *Store
	f    *File
	ctx  context.Context
	seen map[tree.ID]bool
}

// Chunk is a chunk that was written.
type Chunk struct {
	ID   tree.ID
	Span Span
}

// ErrChanged marks what is no longer as it was when it was cut.
var ErrChanged = errors.New("it changed meanwhile")

// Runs returns the runs of bytes that were written, in order.
func (f *File) Runs() []Span {
	keys := make([]uint64, 0, len(f.blocks))
	for at := range f.blocks {
		keys = append(keys, at)
	}
	slices.SortFunc(keys, cmp.Compare[uint64])
	var list []Span
	for _, at := range keys {
		for _, r := range f.blocks[at].ranges {
			from, to := at*BlockSize+uint64(r.from), at*BlockSize+uint64(r.to)
			if n := len(list); n > 0 && list[n-1].To == from {
				list[n-1].To = to
				continue
			}
			list = append(list, Span{from, to})
		}
	}
	return list
}

// Cut cuts a file of size bytes into pieces. Where nothing was written it is as it was pinned, up to keep, and else zeros.
func (s *Store) Cut(ctx context.Context, f *File, keep, size uint64) (*Pieces, error) {
	w := &Pieces{s: s, f: f, ctx: ctx, seen: map[tree.ID]bool{}}
	runs := f.Runs()
	w.Whole = keep == 0 || len(runs) > 0 && runs[0].From == 0 && runs[0].To >= keep
	if w.Whole {
		return w, w.cut(runs, Span{0, size})
	}
	return w, w.runs(runs, keep, size)
}

// Chunk reads a chunk that Cut named.
func (s *Store) Chunk(f *File, c Chunk) ([]byte, error) {
	buf := make([]byte, c.Span.To-c.Span.From)
	gaps, err := s.Read(f, buf, c.Span.From)
	if err != nil {
		return nil, err
	}
	for _, g := range gaps {
		clear(buf[g.From-c.Span.From : g.To-c.Span.From])
	}
	if tree.IDOf(buf) != c.ID {
		return nil, ErrChanged
	}
	return buf, nil
}

func (w *Pieces) add(p tree.Piece) {
	if p.Size == 0 {
		return
	}
	if n := len(w.List); n > 0 && p.Chunk == (tree.ID{}) && w.List[n-1].Chunk == (tree.ID{}) && w.List[n-1].Kept == p.Kept {
		w.List[n-1].Size += p.Size
		return
	}
	w.List = append(w.List, p)
}

// runs adds what was written and what is between.
func (w *Pieces) runs(runs []Span, keep, size uint64) error {
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
		between(r.From)
		if err := w.cut(runs[i:i+1], r); err != nil {
			return err
		}
		at = r.To
	}
	between(size)
	return nil
}

// small is below what is ever cut.
const small = 16 << 10

// cut cuts a stretch of the file into chunks. Of it, only the runs were written; the rest are zeros.
func (w *Pieces) cut(runs []Span, x Span) error {
	if n := x.To - x.From; n <= small && len(runs) == 1 && runs[0] == x {
		buf := make([]byte, n)
		if _, err := w.s.Read(w.f, buf, x.From); err != nil {
			return err
		}
		if n >= pageSize && len(bytes.TrimLeft(buf, "\x00")) == 0 {
			w.add(tree.Piece{Size: n})
			return nil
		}
		w.chunk(tree.Chunk{ID: tree.IDOf(buf), Size: n}, x.From)
		return nil
	}
	at := x.From
	r := &reader{s: w.s, f: w.f, runs: runs, span: x, ctx: w.ctx}
	return tree.Cut(r, x.To-x.From, func(c tree.Chunk, _ []byte) error {
		w.chunk(c, at)
		at += c.Size
		return nil
	})
}

func (w *Pieces) chunk(c tree.Chunk, at uint64) {
	w.add(tree.Piece{Size: c.Size, Chunk: c.ID})
	if !c.Hole() && !w.seen[c.ID] {
		w.seen[c.ID] = true
		w.Chunks = append(w.Chunks, Chunk{c.ID, Span{at, at + c.Size}})
	}
}

// reader reads a stretch of a file of which nothing is as it was pinned. It is a tree.Sparse.
type reader struct {
	s    *Store
	f    *File
	runs []Span
	span Span
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
	size := r.span.To - r.span.From
	if off < 0 || uint64(off) >= size {
		return 0, io.EOF
	}
	short := uint64(len(p)) > size-uint64(off)
	if short {
		p = p[:size-uint64(off)]
	}
	start := r.span.From + uint64(off)
	gaps, err := r.s.Read(r.f, p, start)
	if err != nil {
		return 0, err
	}
	for _, g := range gaps {
		clear(p[g.From-start : g.To-start])
	}
	if short {
		return len(p), io.EOF
	}
	return len(p), nil
}

// NextData implements tree.Sparse.
func (r *reader) NextData(off uint64) (uint64, error) {
	at := r.span.From + off
	i := sort.Search(len(r.runs), func(i int) bool { return r.runs[i].To > at })
	if i == len(r.runs) {
		return r.span.To - r.span.From, nil
	}
	return max(r.runs[i].From, at) - r.span.From, nil
}
