package chunkstore

import (
	"slices"
	"sync"
)

// index is what is known of the objects of a namespace without asking the backend. Other processes change the same
// namespace: it may know too much or too little, and is brought up to date by replacing it.
type index struct {
	mu    sync.Mutex
	known map[name]meta // guarded by mu
	bytes uint64        // guarded by mu: of all items
	// Guarded by mu: what went while something was listing, which may find it still, and how many do.
	gone     map[name]bool
	listings int
}

// meta is of one object. Times are nanoseconds since 1970.
type meta struct {
	size    uint32 // of its item
	used    int64
	stamped int64 // the time of use that the backend knows
}

func (x *index) get(n name) (meta, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	m, ok := x.known[n]
	return m, ok
}

// use notes that objects were used, and returns those among them whose use the backend does not know well enough: it
// knows none since before. They count as stamped from then on.
func (x *index) use(now, before int64, names ...name) (stale []name) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, n := range names {
		m, ok := x.known[n]
		if !ok {
			continue
		}
		m.used = max(m.used, now)
		if m.stamped < before {
			m.stamped = now
			stale = append(stale, n)
		}
		x.known[n] = m
	}
	return stale
}

// put notes an object that is there.
func (x *index) put(n name, size int, used, stamped int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	old, ok := x.known[n]
	if ok {
		x.bytes -= uint64(old.size)
	}
	x.known[n] = meta{uint32(size), max(used, old.used), max(stamped, old.stamped)}
	x.bytes += uint64(size)
	delete(x.gone, n)
}

// drop forgets an object.
func (x *index) drop(n name) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.dropLocked(n)
}

func (x *index) dropLocked(n name) {
	if m, ok := x.known[n]; ok {
		x.bytes -= uint64(m.size)
		delete(x.known, n)
	}
	if x.listings > 0 {
		x.gone[n] = true
	}
}

// dropUnused forgets an object unless it was used after cutoff.
func (x *index) dropUnused(n name, cutoff int64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	m, ok := x.known[n]
	if !ok || m.used > cutoff {
		return false
	}
	x.dropLocked(n)
	return true
}

// begin says that a listing begins, which replace or end will follow.
func (x *index) begin() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.listings == 0 {
		x.gone = map[name]bool{}
	}
	x.listings++
}

// end says that a listing has come to nothing.
func (x *index) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.endLocked()
}

func (x *index) endLocked() {
	if x.listings--; x.listings == 0 {
		x.gone = nil
	}
}

// replace takes the place of what was known with what a listing found that began at start. What came, was used or went
// since then stays as it is.
func (x *index) replace(fresh map[name]meta, start int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for n := range x.gone {
		delete(fresh, n)
	}
	for n, old := range x.known {
		m, ok := fresh[n]
		switch {
		case ok:
			m.used, m.stamped = max(m.used, old.used), max(m.stamped, old.stamped)
			fresh[n] = m
		case old.used >= start:
			fresh[n] = old
		}
	}
	x.known, x.bytes = fresh, 0
	for _, m := range fresh {
		x.bytes += uint64(m.size)
	}
	x.endLocked()
}

func (x *index) totals() (objects int, bytes uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.known), x.bytes
}

// candidate is an object that may have to go.
type candidate struct {
	name name
	meta
}

// unless returns the objects that keep does not hold and that were not used after cutoff, the least recently used first.
func (x *index) unless(keep map[name]sorts, cutoff int64) []candidate {
	x.mu.Lock()
	var list []candidate
	for n, m := range x.known {
		if _, kept := keep[n]; !kept && m.used <= cutoff {
			list = append(list, candidate{n, m})
		}
	}
	x.mu.Unlock()
	slices.SortFunc(list, func(a, b candidate) int {
		if a.used != b.used {
			if a.used < b.used {
				return -1
			}
			return 1
		}
		return slices.Compare(a.name[:], b.name[:])
	})
	return list
}
