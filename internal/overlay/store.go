package overlay

import (
	"errors"
	"fmt"
	"os"
	"sort"
)

// store keeps what was written: blocks, the ones used last in memory, the others in slots of one file.
type store struct {
	folder        string
	memory, limit uint64

	inMemory    uint64 // bytes of buffers
	used        uint64 // bytes of pages written to
	first, last *block // of those in memory, the latest used first
	file        *os.File
	name        string  // of the file, if it could not be removed at once
	slots       int64   // of the file
	free        []int64 // slots that are not used
	closed      bool
}

const (
	blockSize = 64 << 10
	pageSize  = blockSize / 16
	// maxRanges is how many runs a block may consist of before it is filled up.
	maxRanges = 128
)

// block is a stretch of a file that was written to, in part or all. Its bytes are valid in its ranges only.
type block struct {
	ranges []piece
	pages  uint16 // written to, of 16
	// In memory: the bytes from lo on.
	buf []byte
	lo  int
	// Else the slot of the file.
	slot       int64
	spilled    bool
	prev, next *block
}

// piece is a run of bytes in a block, from included, to excluded.
type piece struct{ from, to uint32 }

// add marks a run as valid.
func (b *block) add(from, to uint32) {
	r := b.ranges
	if n := len(r); n > 0 && from >= r[n-1].from && from <= r[n-1].to { // appending
		r[n-1].to = max(r[n-1].to, to)
		return
	}
	i := sort.Search(len(r), func(i int) bool { return r[i].to >= from })
	j := i
	for j < len(r) && r[j].from <= to {
		from, to = min(from, r[j].from), max(to, r[j].to)
		j++
	}
	if i == j {
		r = append(r, piece{})
		copy(r[i+1:], r[i:])
	} else {
		r = append(r[:i+1], r[j:]...)
	}
	r[i] = piece{from, to}
	b.ranges = r
}

// write writes into the blocks of a file. It returns those that consist of too many runs.
func (s *store) write(c *content, p []byte, off uint64) (crowded []uint64, err error) {
	if s.closed {
		return nil, os.ErrClosed
	}
	if c.blocks == nil {
		c.blocks = map[uint64]*block{}
	}
	for len(p) > 0 {
		at, in := off/blockSize, uint32(off%blockSize)
		n := min(len(p), blockSize-int(in))
		b := c.blocks[at]
		if b == nil {
			b = &block{}
			s.push(b)
			c.blocks[at] = b
		}
		if err := s.put(b, p[:n], in); err != nil {
			return nil, err
		}
		if len(b.ranges) > maxRanges {
			crowded = append(crowded, at)
		}
		p, off = p[n:], off+uint64(n)
	}
	return crowded, nil
}

// put writes into a block.
func (s *store) put(b *block, p []byte, at uint32) error {
	end := at + uint32(len(p))
	pages := b.pages | uint16(1<<((end-1)/pageSize+1)-1)&^uint16(1<<(at/pageSize)-1)
	more := uint64(bits(pages)-bits(b.pages)) * pageSize
	if more > 0 && (s.used > s.limit || more > s.limit-s.used) {
		return fmt.Errorf("%w: more than %d bytes", ErrLimit, s.limit)
	}
	if b.spilled {
		if _, err := s.file.WriteAt(p, b.slot*blockSize+int64(at)); err != nil {
			return fmt.Errorf("write to spool: %w", err)
		}
	} else {
		s.putMemory(b, p, int(at))
	}
	s.used += more
	b.pages = pages
	b.add(at, end)
	return s.spill()
}

func bits(v uint16) int {
	n := 0
	for ; v != 0; v &= v - 1 {
		n++
	}
	return n
}

// putMemory writes into the buffer of a block, which grows to hold it.
func (s *store) putMemory(b *block, p []byte, at int) {
	s.unlink(b)
	s.push(b)
	if b.buf == nil {
		b.lo = at
	}
	lo, hi := min(b.lo, at), max(b.lo+len(b.buf), at+len(p))
	if lo < b.lo || hi-lo > cap(b.buf) {
		size := min(max(hi-lo, 2*len(b.buf)), blockSize-lo)
		buf := make([]byte, hi-lo, size)
		copy(buf[b.lo-lo:], b.buf)
		s.inMemory += uint64(cap(buf))
		s.inMemory -= uint64(cap(b.buf))
		b.buf, b.lo = buf, lo
	}
	b.buf = b.buf[:hi-lo]
	copy(b.buf[at-lo:], p)
}

// spill moves blocks from memory to the file while there are too many.
func (s *store) spill() error {
	for s.inMemory > s.memory && s.last != nil && s.last != s.first {
		if err := s.spillBlock(s.last); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) spillBlock(b *block) error {
	if err := s.open(); err != nil {
		return err
	}
	slot := s.slots
	if n := len(s.free); n > 0 {
		slot = s.free[n-1]
	}
	if _, err := s.file.WriteAt(b.buf, slot*blockSize+int64(b.lo)); err != nil {
		return fmt.Errorf("write to spool: %w", err)
	}
	if n := len(s.free); n > 0 {
		s.free = s.free[:n-1]
	} else {
		s.slots++
	}
	s.unlink(b)
	s.inMemory -= uint64(cap(b.buf))
	b.buf, b.slot, b.spilled = nil, slot, true
	return nil
}

func (s *store) open() error {
	if s.file != nil {
		return nil
	}
	file, err := os.CreateTemp(s.folder, "overlay-*")
	if err != nil {
		return fmt.Errorf("make spool: %w", err)
	}
	s.file = file
	if os.Remove(file.Name()) != nil {
		s.name = file.Name() // not while it is open, on this system
	}
	return nil
}

// get reads valid bytes of a block.
func (s *store) get(b *block, p []byte, at uint32) error {
	if !b.spilled {
		copy(p, b.buf[int(at)-b.lo:])
		return nil
	}
	if _, err := s.file.ReadAt(p, b.slot*blockSize+int64(at)); err != nil {
		return fmt.Errorf("read spool: %w", err)
	}
	return nil
}

// read copies what was written to p, and returns the gaps.
func (s *store) read(c *content, p []byte, off uint64) (gaps []span, err error) {
	end := off + uint64(len(p))
	if len(c.blocks) == 0 {
		return []span{{off, end}}, nil
	}
	if s.closed {
		return nil, abort("read what was written", os.ErrClosed)
	}
	at := off
	gap := func(to uint64) {
		if n := len(gaps); n > 0 && gaps[n-1].to == at {
			gaps[n-1].to = to
		} else if to > at {
			gaps = append(gaps, span{at, to})
		}
		at = to
	}
	for at < end {
		start := at / blockSize * blockSize
		stop := min(start+blockSize, end)
		if b := c.blocks[at/blockSize]; b != nil {
			i := sort.Search(len(b.ranges), func(i int) bool { return uint64(b.ranges[i].to) > at-start })
			for ; i < len(b.ranges) && start+uint64(b.ranges[i].from) < stop; i++ {
				from := max(start+uint64(b.ranges[i].from), at)
				to := min(start+uint64(b.ranges[i].to), stop)
				gap(from)
				if err := s.get(b, p[from-off:to-off], uint32(from-start)); err != nil {
					return nil, abort("read what was written", err)
				}
				at = to
			}
		}
		gap(stop)
	}
	return gaps, nil
}

// truncate drops what was written from size on, of a file of old bytes.
func (s *store) truncate(c *content, size, old uint64) {
	first, last := (size+blockSize-1)/blockSize, (old+blockSize-1)/blockSize
	if last-first < uint64(len(c.blocks)) {
		for at := first; at < last; at++ {
			s.remove(c, at)
		}
	} else {
		for at := range c.blocks {
			if at >= first {
				s.remove(c, at)
			}
		}
	}
	b := c.blocks[size/blockSize]
	if b == nil || size%blockSize == 0 {
		return
	}
	end := uint32(size % blockSize)
	for n := len(b.ranges); n > 0 && b.ranges[n-1].to > end; n-- {
		if b.ranges[n-1].from < end {
			b.ranges[n-1].to = end
			break
		}
		b.ranges = b.ranges[:n-1]
	}
	pages := b.pages & uint16(1<<((end-1)/pageSize+1)-1)
	s.used -= uint64(bits(b.pages)-bits(pages)) * pageSize
	b.pages = pages
	if len(b.ranges) == 0 {
		s.remove(c, size/blockSize)
	}
}

func (s *store) remove(c *content, at uint64) {
	if b := c.blocks[at]; b != nil {
		s.release(b)
		delete(c.blocks, at)
	}
}

// fill makes a block valid up to the size of its file. pinned are its bytes as they were, of which those before keep count.
func (s *store) fill(c *content, at uint64, pinned []byte, keep, size uint64) error {
	b := c.blocks[at]
	from := at * blockSize
	if b == nil || s.closed || size <= from {
		return nil
	}
	if keep < from+blockSize {
		clear(pinned[max(keep, from)-from:])
	}
	next := uint32(0)
	end := uint32(min(size-from, blockSize))
	for _, r := range append([]piece(nil), b.ranges...) {
		if r.from > next {
			if err := s.put(b, pinned[next:r.from], next); err != nil {
				return err
			}
		}
		next = r.to
	}
	if next < end {
		return s.put(b, pinned[next:end], next)
	}
	return nil
}

// drop drops all that was written to a file.
func (s *store) drop(c *content) {
	for _, b := range c.blocks {
		s.release(b)
	}
	c.blocks = nil
}

func (s *store) release(b *block) {
	s.used -= uint64(bits(b.pages)) * pageSize
	if b.spilled {
		s.free = append(s.free, b.slot)
		return
	}
	s.unlink(b)
	s.inMemory -= uint64(cap(b.buf))
}

// push makes a block in memory the one used last.
func (s *store) push(b *block) {
	b.prev, b.next = nil, s.first
	if s.first != nil {
		s.first.prev = b
	}
	s.first = b
	if s.last == nil {
		s.last = b
	}
}

func (s *store) unlink(b *block) {
	if b.prev != nil {
		b.prev.next = b.next
	} else {
		s.first = b.next
	}
	if b.next != nil {
		b.next.prev = b.prev
	} else {
		s.last = b.prev
	}
	b.prev, b.next = nil, nil
}

func (s *store) close() error {
	s.closed = true
	s.first, s.last = nil, nil
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	if s.name != "" {
		err = errors.Join(err, os.Remove(s.name))
	}
	return err
}
