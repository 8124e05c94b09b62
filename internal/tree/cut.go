package tree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	_ "github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc" // registers the algorithm
)

// tier is how files up to a size are cut. The same bytes in files of one tier give the same chunks.
type tier struct {
	below         uint64
	min, avg, max int
	pool          sync.Pool
	zeros         func() int // length of a chunk of zeros
}

// A file of MaxList times the smallest chunk of the last tier, 128 GiB, can be described whatever is in it.
var tiers = [...]*tier{
	newTier(64<<20, 16<<10, 64<<10, 256<<10),
	newTier(16<<30, 64<<10, 256<<10, MaxChunk),
	newTier(MaxFile, 256<<10, 512<<10, MaxChunk),
}

// minHole is the smallest chunk of zeros that becomes a hole by itself.
const minHole = 4 << 10

func newTier(below uint64, smallest, avg, largest int) *tier {
	t := &tier{below: below, min: smallest, avg: avg, max: largest}
	t.pool.New = func() any {
		o := &chunkers.ChunkerOpts{MinSize: t.min, NormalSize: t.avg, MaxSize: t.max}
		c, err := chunkers.NewChunker("fastcdc-v1.0.0", bytes.NewReader(nil), o)
		if err != nil {
			panic("BUG: chunker: " + err.Error())
		}
		return c
	}
	t.zeros = sync.OnceValue(func() int {
		c := t.pool.Get().(*chunkers.Chunker)
		defer t.pool.Put(c)
		c.Reset(bytes.NewReader(make([]byte, t.max)))
		data, err := c.Next()
		if err != nil {
			panic("BUG: chunker: " + err.Error())
		}
		return len(data)
	})
	return t
}

func tierOf(size uint64) *tier {
	for _, t := range tiers[:len(tiers)-1] {
		if size < t.below {
			return t
		}
	}
	return tiers[len(tiers)-1]
}

// Fits tells whether a file of size bytes can be described whatever is in it, given that its data lies in so many extents
// and makes up so many bytes; the rest are holes.
func Fits(size, extents, data uint64) bool {
	least := uint64(tierOf(size).min)
	// An extent may share a chunk with the zeros on each side of it, and is followed by a hole.
	most := min(size/least, data/least+3*min(extents, MaxList)) + 1
	return size <= MaxFile && most <= MaxList
}

// Sparse is what Cut can read without reading its holes.
type Sparse interface {
	io.ReaderAt
	// NextData returns the place of the first byte, at off or behind it, that may not be zero; the size or more if
	// there is none.
	NextData(off uint64) (uint64, error)
}

// Cut reads size bytes from r and calls emit for each of their chunks, in order. Where to cut depends on size and the
// bytes alone. The data is nil for a hole and else valid until emit returns. If r is a Sparse, it is read from
// its beginning, with the same result. A shorter r is io.ErrUnexpectedEOF; more than MaxList chunks ErrTooLarge.
func Cut(r io.Reader, size uint64, emit func(c Chunk, data []byte) error) error {
	if size > MaxFile {
		return fmt.Errorf("cut %d bytes: %w", size, ErrTooLarge)
	}
	t := tierOf(size)
	chunker := t.pool.Get().(*chunkers.Chunker)
	defer func() {
		chunker.Reset(nil) // the pool keeps no reader alive
		t.pool.Put(chunker)
	}()
	c := cutter{tier: t, chunker: chunker, size: size, emit: emit}
	c.sparse, _ = r.(Sparse)
	c.start(r)
	if err := c.run(); err != nil {
		return err
	}
	return c.flush()
}

type cutter struct {
	*tier
	chunker *chunkers.Chunker
	sparse  Sparse
	size    uint64
	emit    func(c Chunk, data []byte) error
	at      uint64
	hole    uint64 // bytes before at that were zeros and are not emitted yet
	count   int
}

// start reads on from where the cutter is.
func (c *cutter) start(r io.Reader) {
	if c.sparse != nil {
		r = io.NewSectionReader(c.sparse, int64(c.at), int64(c.size-c.at))
	}
	c.chunker.Reset(io.LimitReader(r, int64(c.size-c.at)))
}

func (c *cutter) run() error {
	for c.at < c.size {
		data, err := c.chunker.Next()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(data) == 0 {
			return io.ErrUnexpectedEOF
		}
		if err := c.chunk(data); err != nil {
			return err
		}
	}
	return nil
}

func (c *cutter) chunk(data []byte) error {
	n := uint64(len(data))
	c.at += n
	if (n >= minHole || c.hole > 0) && allZero(data) {
		c.hole += n
		return c.skip()
	}
	if err := c.flush(); err != nil {
		return err
	}
	return c.give(Chunk{ID: IDOf(data), Size: n}, data)
}

// flush emits the hole that ends here.
func (c *cutter) flush() error {
	if c.hole == 0 {
		return nil
	}
	h := Chunk{Size: c.hole}
	c.hole = 0
	return c.give(h, nil)
}

func (c *cutter) give(x Chunk, data []byte) error {
	if c.count++; c.count > MaxList {
		return fmt.Errorf("cut into more than %d chunks: %w", MaxList, ErrTooLarge)
	}
	return c.emit(x, data)
}

// skip passes over zeros that need not be read: as many chunks of zeros as there would be. A cut depends on at most
// max bytes behind its beginning, and near the end on how many are left.
func (c *cutter) skip() error {
	most := uint64(c.max)
	if c.sparse == nil || c.size-c.at < 4*most {
		return nil
	}
	next, err := c.sparse.NextData(c.at)
	if err != nil {
		return err
	}
	next = min(next, c.size)
	if next < c.at+2*most {
		return nil
	}
	step := uint64(c.zeros())
	n := (next - c.at - most) / step * step
	c.at += n
	c.hole += n
	c.start(nil)
	return nil
}

var zeroBlock [32 << 10]byte

func allZero(b []byte) bool {
	for len(b) > len(zeroBlock) {
		if !bytes.Equal(b[:len(zeroBlock)], zeroBlock[:]) {
			return false
		}
		b = b[len(zeroBlock):]
	}
	return bytes.Equal(b, zeroBlock[:len(b)])
}
