package analysis

import (
	"iter"
	"math/bits"
	"slices"
)

// ImportSet is a set of imported functions by function index. Sets are shared between functions: treat
// one as a value that never changes. The zero value is the empty set.
type ImportSet struct{ words []uint64 }

// Has reports whether the function with this index is in the set.
func (s ImportSet) Has(i uint32) bool {
	return int(i/64) < len(s.words) && s.words[i/64]>>(i%64)&1 != 0
}

// Len is the number of members.
func (s ImportSet) Len() int {
	n := 0
	for _, w := range s.words {
		n += bits.OnesCount64(w)
	}
	return n
}

// All yields the members in ascending order.
func (s ImportSet) All() iter.Seq[uint32] {
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

// maxSetWords bounds what all distinct sets of a module may take (32 MiB). A module made to exceed it
// gets the full set for the rest: too much, but never too little.
const maxSetWords = 4 << 20

// setPool makes sets of one width and keeps one copy of each.
type setPool struct {
	full    []uint64
	scratch []uint64
	known   map[uint64][][]uint64
	words   int
}

func newSetPool(members int) *setPool {
	p := &setPool{known: map[uint64][][]uint64{}}
	width := (members + 63) / 64
	p.scratch = make([]uint64, width)
	p.full = make([]uint64, width)
	for i := range members {
		p.full[i/64] |= 1 << (i % 64)
	}
	return p
}

// intern returns the shared copy of the scratch set and clears the scratch set.
func (p *setPool) intern() ImportSet {
	h := uint64(14695981039346656037)
	any := uint64(0)
	for _, w := range p.scratch {
		h = (h ^ w) * 0x9e3779b97f4a7c15
		h ^= h >> 29
		any |= w
	}
	defer clear(p.scratch)
	if any == 0 {
		return ImportSet{}
	}
	for _, s := range p.known[h] {
		if slices.Equal(s, p.scratch) {
			return ImportSet{s}
		}
	}
	if p.words += len(p.scratch); p.words > maxSetWords {
		return ImportSet{p.full}
	}
	s := slices.Clone(p.scratch)
	p.known[h] = append(p.known[h], s)
	return ImportSet{s}
}

// reachable gives, for each component, the nodes below limit that can be reached from it (itself
// included). The work is bounded too: past maxSetWork word operations the rest gets the full set.
func reachable(g *graph, c *components, limit int) []ImportSet {
	const maxSetWork = 1 << 30
	var (
		sets = make([]ImportSet, c.len())
		pool = newSetPool(limit)
		work int
	)
	for i := range sets {
		var last *uint64 // the set merged last: neighbours share most of theirs
		for _, v := range c.nodes(i) {
			if int(v) < limit {
				pool.scratch[v/64] |= 1 << (v % 64)
			}
			for _, w := range g.succ(v) {
				s := sets[c.of[w]].words
				if int(c.of[w]) == i || len(s) == 0 || &s[0] == last {
					continue
				}
				last = &s[0]
				if work += len(s); work > maxSetWork {
					s = pool.full
				}
				for k, x := range s {
					pool.scratch[k] |= x
				}
				if work > maxSetWork {
					break
				}
			}
		}
		sets[i] = pool.intern()
	}
	return sets
}
