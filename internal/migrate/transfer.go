package migrate

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Attempt names one try of one offload.
type Attempt struct {
	Offload uint64
	Number  uint32
}

func (a Attempt) String() string { return fmt.Sprintf("%d.%d", a.Offload, a.Number) }

// SendPages streams pages of p's memory as the delta that belongs to img, and returns the id of the state they lead
// to. The pages must lie within the memory and must not change meanwhile.
func SendPages(p *Process, a Attempt, img *wire.Image, pages *linmem.PageSet, opt delta.Options, send func(wire.Message) error) (delta.ID, delta.Stats, error) {
	w := wire.NewPagesWriter(a.Offload, a.Number, send)
	var mem []byte
	if p.Mem != nil {
		mem = p.Mem.Bytes()
	}
	h := delta.Header{Base: img.Base, MemoryBytes: img.MemoryBytes, Pages: uint32(pages.Len())}
	stats, sum, err := delta.Encode(w, h, mem, pages.All(), opt)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return delta.ID{}, stats, fmt.Errorf("send pages of %v: %w", a, err)
	}
	return NextID(img, sum), stats, nil
}

// Staged is a delta that has arrived whole and was verified, and not applied yet.
type Staged struct {
	Next  delta.ID
	Stats delta.Stats
	Bytes uint64 // of the stream

	numbers []uint32
	pages   [][]byte // nil: zeros
	arena   []byte
}

const arenaBlock = 256 * delta.PageSize

// Stage receives the delta that belongs to img and holds it until Apply. lim bounds it; lim.Base may read p's memory.
func Stage(a Attempt, img *wire.Image, lim delta.Limits, next func() (wire.Message, error)) (*Staged, error) {
	s := &Staged{}
	err := s.each(a, img, lim, next, func(page uint32, data []byte) {
		s.numbers = append(s.numbers, page)
		if delta.IsZero(data) {
			s.pages = append(s.pages, nil)
			return
		}
		if len(s.arena) < delta.PageSize {
			s.arena = make([]byte, min(arenaBlock, max(len(s.numbers), 4)*delta.PageSize)) // twice as much each time
		}
		copy(s.arena, data)
		s.pages = append(s.pages, s.arena[:delta.PageSize:delta.PageSize])
		s.arena = s.arena[delta.PageSize:]
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Apply writes the pages over memory, which is as large as the delta's. It cannot fail.
func (s *Staged) Apply(mem []byte) {
	for i, n := range s.numbers {
		dst := mem[uint64(n)*delta.PageSize:][:delta.PageSize]
		if s.pages[i] == nil {
			clear(dst)
		} else {
			copy(dst, s.pages[i])
		}
	}
}

// Pages yields the numbers of the pages, ascending.
func (s *Staged) Pages() iter.Seq[uint32] { return slices.Values(s.numbers) }

// Len is the number of pages.
func (s *Staged) Len() int { return len(s.numbers) }

// ReceiveInto reads the delta that belongs to img straight into mem, for a receiver that may be thrown away: after an
// error some pages were written. What it returns names the state reached and the pages.
func ReceiveInto(mem []byte, a Attempt, img *wire.Image, lim delta.Limits, next func() (wire.Message, error)) (*Staged, error) {
	s := &Staged{}
	err := s.each(a, img, lim, next, func(page uint32, data []byte) {
		copy(mem[uint64(page)*delta.PageSize:][:delta.PageSize], data)
		s.numbers = append(s.numbers, page)
	})
	return s, err
}

func (s *Staged) each(a Attempt, img *wire.Image, lim delta.Limits, next func() (wire.Message, error), page func(uint32, []byte)) error {
	lim.MaxMemory = img.MemoryBytes
	if lim.MaxMemory == 0 {
		lim.MaxMemory = 1 // none, where 0 would mean the default
	}
	r := &countingReader{r: wire.NewPagesReader(a.Offload, a.Number, next)}
	d, err := delta.NewDecoder(r, lim)
	if err != nil {
		return fmt.Errorf("receive pages of %v: %w", a, err)
	}
	if h := d.Header(); h.Base != delta.ID(img.Base) || h.MemoryBytes != img.MemoryBytes {
		return fmt.Errorf("receive pages of %v: %w: delta of another state", a, ErrBadState)
	}
	for {
		n, data, err := d.Next()
		if errors.Is(err, io.EOF) {
			s.Next, s.Stats, s.Bytes = NextID(img, d.Digest()), d.Stats(), r.n
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive pages of %v: %w", a, err)
		}
		page(n, data)
	}
}

type countingReader struct {
	r io.Reader
	n uint64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += uint64(n)
	return n, err
}
