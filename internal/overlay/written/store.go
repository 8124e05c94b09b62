// Package written keeps what was written to files: blocks in memory, and in one spool file what does not stay there. It
// tells which bytes of a file were written, and cuts them into the pieces of a tree.Delta. Nothing here locks: one
// goroutine at a time may use a Store and its files.
package written

import (
	"errors"
	"fmt"
	"os"
	"sort"
)

// ErrLimit marks that more was written than is allowed.
var ErrLimit = errors.New("too much was written to replicated files")

// Store keeps blocks, the ones used last in memory, the others in slots of the spool file.
type Store struct {
	folder        string
	memory, limit uint64

	inMemory    uint64 // bytes of buffers
	used        uint64 // bytes of pages written to
	first, last *block // of those in memory, the latest used first
	spool       *os.File
	name        string  // of the spool, if it could not be removed at once
	slots       int64   // of the spool
	free        []int64 // slots that are not used
	closed      bool
}

// New returns a store with a spool in folder. memory bounds the bytes that it keeps in memory, limit those of the pages, of
// 4 KiB, that were written to.
func New(folder string, memory, limit uint64) *Store {
	return &Store{folder: folder, memory: memory, limit: limit}
}

// Used returns the bytes of the pages that are written to.
func (s *Store) Used() uint64 { return s.used }

// File is what was written to one file. Its zero value is nothing.
type File struct {
	blocks map[uint64]*block // by offset in BlockSize
}

// Span is a run of a file's bytes, from included, to excluded.
type Span struct{ From, To uint64 }

// BlockSize is the size of a block.
const BlockSize = 64 << 10

const (
	pageSize = BlockSize / 16
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

// Write writes into a file. It returns the blocks that have come to consist of too many runs, to be given to Fill.
func (s *Store) Write(f *File, p []byte, off uint64) (crowded []uint64, err error) {
	if s.closed {
		return nil, fmt.Errorf("write: %w", os.ErrClosed)
	}
	if f.blocks == nil {
		f.blocks = map[uint64]*block{}
	}
	for len(p) > 0 {
		at, in := off/BlockSize, uint32(off%BlockSize)
		n := min(len(p), BlockSize-int(in))
		b := f.blocks[at]
		if b == nil {
			b = &block{}
			s.push(b)
			f.blocks[at] = b
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
func (s *Store) put(b *block, p []byte, at uint32) error {
	end := at + uint32(len(p))
	pages := b.pages | uint16(1<<((end-1)/pageSize+1)-1)&^uint16(1<<(at/pageSize)-1)
	more := uint64(bits(pages)-bits(b.pages)) * pageSize
	if more > 0 && (s.used > s.limit || more > s.limit-s.used) {
		return fmt.Errorf("%w: more than %d bytes", ErrLimit, s.limit)
	}
	if b.spilled {
		if _, err := s.spool.WriteAt(p, b.slot*BlockSize+int64(at)); err != nil {
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
func (s *Store) putMemory(b *block, p []byte, at int) {
	s.unlink(b)
	s.push(b)
	if b.buf == nil {
		b.lo = at
	}
	lo, hi := min(b.lo, at), max(b.lo+len(b.buf), at+len(p))
	if lo < b.lo || hi-lo > cap(b.buf) {
		size := min(max(hi-lo, 2*len(b.buf)), BlockSize-lo)
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
func (s *Store) spill() error {
	for s.inMemory > s.memory && s.last != nil && s.last != s.first {
		if err := s.spillBlock(s.last); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) spillBlock(b *block) error {
	if err := s.open(); err != nil {
		return err
	}
	slot := s.slots
	if n := len(s.free); n > 0 {
		slot = s.free[n-1]
	}
	if _, err := s.spool.WriteAt(b.buf, slot*BlockSize+int64(b.lo)); err != nil {
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

func (s *Store) open() error {
	if s.spool != nil {
		return nil
	}
	file, err := os.CreateTemp(s.folder, "overlay-*")
	if err != nil {
		return fmt.Errorf("make spool: %w", err)
	}
	s.spool = file
	if os.Remove(file.Name()) != nil {
		s.name = file.Name() // not while it is open, on this system
	}
	return nil
}

// get reads valid bytes of a block.
func (s *Store) get(b *block, p []byte, at uint32) error {
	if !b.spilled {
		copy(p, b.buf[int(at)-b.lo:])
		return nil
	}
	if _, err := s.spool.ReadAt(p, b.slot*BlockSize+int64(at)); err != nil {
		return fmt.Errorf("read spool: %w", err)
	}
	return nil
}

// Read copies what was written from off on to p, and returns the gaps between.
func (s *Store) Read(f *File, p []byte, off uint64) (gaps []Span, err error) {
	end := off + uint64(len(p))
	if len(f.blocks) == 0 {
		return []Span{{off, end}}, nil
	}
	if s.closed {
		return nil, fmt.Errorf("read what was written: %w", os.ErrClosed)
	}
	at := off
	gap := func(to uint64) {
		if n := len(gaps); n > 0 && gaps[n-1].To == at {
			gaps[n-1].To = to
		} else if to > at {
			gaps = append(gaps, Span{at, to})
		}
		at = to
	}
	for at < end {
		start := at / BlockSize * BlockSize
		stop := min(start+BlockSize, end)
		if b := f.blocks[at/BlockSize]; b != nil {
			i := sort.Search(len(b.ranges), func(i int) bool { return uint64(b.ranges[i].to) > at-start })
			for ; i < len(b.ranges) && start+uint64(b.ranges[i].from) < stop; i++ {
				from := max(start+uint64(b.ranges[i].from), at)
				to := min(start+uint64(b.ranges[i].to), stop)
				gap(from)
				if err := s.get(b, p[from-off:to-off], uint32(from-start)); err != nil {
					return nil, err
				}
				at = to
			}
		}
		gap(stop)
	}
	return gaps, nil
}

// Truncate drops what was written from size on, of a file of old bytes.
func (s *Store) Truncate(f *File, size, old uint64) {
	first, last := (size+BlockSize-1)/BlockSize, (old+BlockSize-1)/BlockSize
	if last-first < uint64(len(f.blocks)) {
		for at := first; at < last; at++ {
			s.remove(f, at)
		}
	} else {
		for at := range f.blocks {
			if at >= first {
				s.remove(f, at)
			}
		}
	}
	b := f.blocks[size/BlockSize]
	if b == nil || size%BlockSize == 0 {
		return
	}
	end := uint32(size % BlockSize)
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
		s.remove(f, size/BlockSize)
	}
}

func (s *Store) remove(f *File, at uint64) {
	if b := f.blocks[at]; b != nil {
		s.release(b)
		delete(f.blocks, at)
	}
}

// Fill makes a block valid up to the size of its file, so that keeping account of it takes no more memory than it does.
// pinned are its bytes as they were, of which those before keep count; it is changed.
func (s *Store) Fill(f *File, at uint64, pinned []byte, keep, size uint64) error {
	b := f.blocks[at]
	from := at * BlockSize
	if b == nil || s.closed || size <= from {
		return nil
	}
	if keep < from+BlockSize {
		clear(pinned[max(keep, from)-from:])
	}
	next := uint32(0)
	end := uint32(min(size-from, BlockSize))
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

// Drop drops all that was written to a file.
func (s *Store) Drop(f *File) {
	for _, b := range f.blocks {
		s.release(b)
	}
	f.blocks = nil
}

func (s *Store) release(b *block) {
	s.used -= uint64(bits(b.pages)) * pageSize
	if b.spilled {
		s.free = append(s.free, b.slot)
		return
	}
	s.unlink(b)
	s.inMemory -= uint64(cap(b.buf))
}

// push makes a block in memory the one used last.
func (s *Store) push(b *block) {
	b.prev, b.next = nil, s.first
	if s.first != nil {
		s.first.prev = b
	}
	s.first = b
	if s.last == nil {
		s.last = b
	}
}

func (s *Store) unlink(b *block) {
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

// Close drops everything.
func (s *Store) Close() error {
	s.closed = true
	s.first, s.last = nil, nil
	if s.spool == nil {
		return nil
	}
	err := s.spool.Close()
	s.spool = nil
	if s.name != "" {
		err = errors.Join(err, os.Remove(s.name))
	}
	return err
}
