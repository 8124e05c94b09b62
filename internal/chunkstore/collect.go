package chunkstore

import (
	"context"
	"fmt"
	"sync/atomic"
)

// CollectStats say what a collection found. Bytes are those of items.
type CollectStats struct {
	Roots        int
	Objects      int    // that were there before
	Bytes        uint64 // of them
	Reached      int    // of them from pinned roots
	Removed      uint64
	RemovedBytes uint64
	Absent       int64 // references from what is reached to what is not there
	Malformed    int64 // what is reached and refers to nothing, being damaged or not what it should be
}

// Collect removes what no pinned root reaches and nobody used for the grace time. It removes nothing if it cannot read
// all roots and what they reach.
func (s *Store) Collect(ctx context.Context) (CollectStats, error) {
	s.gc.Lock()
	defer s.gc.Unlock()
	var st CollectStats
	if err := s.collect(ctx, &st); err != nil {
		return st, fmt.Errorf("collect files that are no longer needed: %w", err)
	}
	return st, nil
}

func (s *Store) collect(ctx context.Context, st *CollectStats) error {
	cutoff := s.o.now().Add(-s.o.Grace)
	if err := s.refresh(ctx); err != nil {
		return err
	}
	st.Objects, st.Bytes = s.index.totals()
	m := s.newMarking()
	m.absent = func(reference) { atomic.AddInt64(&st.Absent, 1) }
	m.bad = func(reference, error) { atomic.AddInt64(&st.Malformed, 1) }
	roots, err := s.roots(ctx)
	if err != nil {
		return err
	}
	if err := m.from(ctx, roots); err != nil {
		return err
	}
	list := s.index.unless(m.reached, cutoff.UnixNano())
	for {
		st.Roots, st.Reached = len(roots), len(m.reached)
		if len(list) == 0 {
			return nil
		}
		// What others have pinned meanwhile is spared as well.
		now, err := s.roots(ctx)
		if err != nil {
			return err
		}
		if !sameRoots(roots, now) {
			if err := m.from(ctx, now); err != nil {
				return err
			}
			roots = now
		}
		n := min(len(list), removeAtOnce)
		var part []candidate
		for _, c := range list[:n] {
			if _, spared := m.reached[c.name]; !spared {
				part = append(part, c)
			}
		}
		list = list[n:]
		removed, bytes, err := s.removeUnused(ctx, part, cutoff, true)
		st.Removed += removed
		st.RemovedBytes += bytes
		if err != nil {
			return err
		}
	}
}
