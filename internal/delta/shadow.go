package delta

import (
	"container/list"
	"iter"
)

// Shadow keeps copies of pages that travel often, as they are in the state that both sides have, for differences.
// It holds a bounded number of bytes, and what it holds follows from the calls alone. One goroutine at a time.
type Shadow struct {
	limit int // pages
	tick  uint64
	seen  []uint64               // bit set of pages that travelled at least once
	held  map[uint32]*shadowPage // pages held
	order *list.List             // of *shadowPage, those that travelled longest ago first
	free  [][]byte
}

type shadowPage struct {
	page uint32
	tick uint64
	data []byte
	at   *list.Element
}

// NewShadow returns an empty shadow that copies at most limitBytes of pages.
func NewShadow(limitBytes int) *Shadow {
	return &Shadow{limit: limitBytes / PageSize, held: map[uint32]*shadowPage{}, order: list.New()}
}

// Update says that the state of both sides is now that of mem, and differs from the one before in no more than the
// changed pages, which ascend. Pages that travelled before are copied, in place of those that travelled longest ago.
func (s *Shadow) Update(mem []byte, changed iter.Seq[uint32]) {
	s.tick++
	for p := range changed {
		if (uint64(p)+1)*PageSize > uint64(len(mem)) {
			s.drop(p)
			continue
		}
		if h := s.held[p]; h != nil {
			h.tick = s.tick
			s.order.MoveToBack(h.at)
		} else if !s.again(p) || !s.hold(p) {
			continue
		}
		copy(s.held[p].data, mem[uint64(p)*PageSize:])
	}
}

// again notes that p travelled and reports whether it had before.
func (s *Shadow) again(p uint32) bool {
	if w := int(p/64) + 1; w > len(s.seen) {
		s.seen = append(s.seen, make([]uint64, w-len(s.seen))...)
	}
	was := s.seen[p/64]&(1<<(p%64)) != 0
	s.seen[p/64] |= 1 << (p % 64)
	return was
}

// hold makes room for p. It does not push out a page of the same update, which is as worthy.
func (s *Shadow) hold(p uint32) bool {
	if len(s.held) >= s.limit {
		oldest := s.order.Front()
		if oldest == nil || oldest.Value.(*shadowPage).tick == s.tick {
			return false
		}
		s.drop(oldest.Value.(*shadowPage).page)
	}
	h := &shadowPage{page: p, tick: s.tick}
	if n := len(s.free); n > 0 {
		h.data, s.free = s.free[n-1], s.free[:n-1]
	} else {
		h.data = make([]byte, PageSize)
	}
	h.at = s.order.PushBack(h)
	s.held[p] = h
	return true
}

func (s *Shadow) drop(p uint32) {
	if h := s.held[p]; h != nil {
		s.order.Remove(h.at)
		delete(s.held, p)
		s.free = append(s.free, h.data)
	}
}

// Base returns the copy of a page or nil, as Options.Base wants it. It is valid until the next other call.
func (s *Shadow) Base(page uint32) []byte {
	if h := s.held[page]; h != nil {
		return h.data
	}
	return nil
}

// Drop forgets the copies of pages of which it is not known what the peer has.
func (s *Shadow) Drop(pages iter.Seq[uint32]) {
	for p := range pages {
		s.drop(p)
	}
}

// Reset forgets all copies, but not which pages travelled.
func (s *Shadow) Reset() {
	for p := range s.held {
		s.drop(p)
	}
}

// Bytes returns the memory that the shadow takes, near enough.
func (s *Shadow) Bytes() uint64 {
	const entry = 160 // of the map, the list and the struct
	return uint64(len(s.held)+len(s.free))*PageSize + uint64(len(s.held))*entry + uint64(len(s.seen))*8
}
