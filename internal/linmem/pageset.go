package linmem

import (
	"fmt"
	"iter"
	"math/bits"
	"slices"
)

// MaxPages is the number of pages that a 32-bit address space has: page numbers are below it.
const MaxPages = 1 << 20

// PageSet is a set of page numbers. The zero value is empty and ready. It costs at most MaxPages/8 bytes. It is not
// safe for concurrent use.
type PageSet struct {
	// words holds one bit per page; what is beyond its length is not in the set.
	words []uint64
}

// reach makes the word of page exist.
func (s *PageSet) reach(page uint32) {
	if page >= MaxPages {
		panic(fmt.Sprintf("BUG: page %d is beyond the 32-bit address space", page))
	}
	if n := int(page/64) + 1; n > len(s.words) {
		s.words = append(s.words, make([]uint64, n-len(s.words))...)
	}
}

// Add adds a page, which must be below MaxPages: a number from outside is checked before.
func (s *PageSet) Add(page uint32) {
	s.reach(page)
	s.words[page/64] |= 1 << (page % 64)
}

// AddRange adds the pages from first up to, not including, end. An empty range adds nothing.
func (s *PageSet) AddRange(first, end uint32) {
	if first >= end {
		return
	}
	s.reach(end - 1)
	lo, hi := first/64, (end-1)/64
	loMask := ^uint64(0) << (first % 64)
	hiMask := ^uint64(0) >> (63 - (end-1)%64)
	if lo == hi {
		s.words[lo] |= loMask & hiMask
		return
	}
	s.words[lo] |= loMask
	for i := lo + 1; i < hi; i++ {
		s.words[i] = ^uint64(0)
	}
	s.words[hi] |= hiMask
}

// Has tells whether page is in the set.
func (s *PageSet) Has(page uint32) bool {
	i := int(page / 64)
	return i < len(s.words) && s.words[i]&(1<<(page%64)) != 0
}

// Len counts the pages.
func (s *PageSet) Len() int {
	n := 0
	for _, w := range s.words {
		n += bits.OnesCount64(w)
	}
	return n
}

// Empty tells whether there is no page in the set.
func (s *PageSet) Empty() bool {
	for _, w := range s.words {
		if w != 0 {
			return false
		}
	}
	return true
}

// Or adds the pages of t.
func (s *PageSet) Or(t *PageSet) {
	if n := len(t.words) - len(s.words); n > 0 {
		s.words = append(s.words, make([]uint64, n)...)
	}
	for i, w := range t.words {
		s.words[i] |= w
	}
}

// AndNot removes the pages of t.
func (s *PageSet) AndNot(t *PageSet) {
	for i := range min(len(s.words), len(t.words)) {
		s.words[i] &^= t.words[i]
	}
}

// Clear removes all pages and keeps the room.
func (s *PageSet) Clear() { clear(s.words) }

// Clone returns a set of its own with the same pages.
func (s *PageSet) Clone() *PageSet { return &PageSet{words: slices.Clone(s.words)} }

// Max returns the highest page; false if the set is empty.
func (s *PageSet) Max() (uint32, bool) {
	for i := len(s.words) - 1; i >= 0; i-- {
		if w := s.words[i]; w != 0 {
			return uint32(i*64 + bits.Len64(w) - 1), true
		}
	}
	return 0, false
}

// All yields the pages in ascending order. The set must not change meanwhile.
func (s *PageSet) All() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for i, w := range s.words {
			for ; w != 0; w &= w - 1 {
				if !yield(uint32(i*64 + bits.TrailingZeros64(w))) {
					return
				}
			}
		}
	}
}

// Ranges yields the runs of adjacent pages in ascending order: the first page and the one after the last. The set
// must not change meanwhile.
func (s *PageSet) Ranges() iter.Seq2[uint32, uint32] {
	return func(yield func(first, end uint32) bool) {
		for page := uint32(0); ; {
			first, ok := s.next(page, 0)
			if !ok {
				return
			}
			end, ok := s.next(first, ^uint64(0))
			if !ok {
				end = uint32(len(s.words) * 64)
			}
			if !yield(first, end) {
				return
			}
			page = end
		}
	}
}

// next finds the first page at or after page that is in the set, or, with flip all ones, that is not.
func (s *PageSet) next(page uint32, flip uint64) (uint32, bool) {
	for i := int(page / 64); i < len(s.words); i++ {
		w := s.words[i] ^ flip
		if i == int(page/64) {
			w &= ^uint64(0) << (page % 64)
		}
		if w != 0 {
			return uint32(i*64 + bits.TrailingZeros64(w)), true
		}
	}
	return 0, false
}
