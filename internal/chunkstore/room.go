package chunkstore

import (
	"context"
	"fmt"
	"time"
)

const (
	// marksLast is how long it is believed what roots reach, and refusalLasts how long that no room can be made.
	marksLast    = 10 * time.Second
	refusalLasts = time.Second
	removeAtOnce = 256
)

// marks are the objects that pinned roots reached at a time.
type marks struct {
	reached map[name]sorts
	at      time.Time
	roots   []pinnedRoot
	pinned  uint64 // Store.pinned before
}

// beyondQuota tells whether size more bytes are too many. Preconditions: s.mu is held.
func (s *Store) beyondQuota(size uint64) bool {
	if s.o.Quota == 0 {
		return false
	}
	_, bytes := s.index.totals()
	return bytes+uint64(s.bytes)+size > s.o.Quota
}

// full is beyondQuota for who does not hold s.mu.
func (s *Store) full(size uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.beyondQuota(size)
}

// makeRoom removes the least recently used objects that no pinned root reaches, and some more than needed, so that it
// is not called for each object. What else there is counts as of now: a listing includes what others stored.
func (s *Store) makeRoom(ctx context.Context, size uint64) error {
	s.gc.Lock()
	defer s.gc.Unlock()
	if !s.full(size) {
		return nil
	}
	if size > s.o.Quota {
		return fmt.Errorf("%w: %d bytes at once, of %d", ErrQuota, size, s.o.Quota)
	}
	now := s.o.now()
	s.mu.Lock()
	pinned := s.pinned
	s.mu.Unlock()
	if s.marked.reached != nil && s.marked.pinned == pinned {
		if now.Sub(s.refused) < refusalLasts {
			return s.refusal()
		}
		if now.Sub(s.marked.at) < marksLast {
			if err := s.evictAgain(ctx, size); err != nil || !s.full(size) {
				return err
			}
		}
	}
	return s.makeRoomAfresh(ctx, size)
}

// evictAgain evicts by what is known to be reached already, unless others have pinned since. Preconditions: s.gc is held.
func (s *Store) evictAgain(ctx context.Context, size uint64) error {
	roots, err := s.roots(ctx)
	if err != nil || !sameRoots(roots, s.marked.roots) {
		return err
	}
	return s.evict(ctx, size)
}

// makeRoomAfresh finds out what can go. Preconditions: s.gc is held.
func (s *Store) makeRoomAfresh(ctx context.Context, size uint64) error {
	if err := s.Flush(ctx); err != nil { // what waits cannot be removed
		return err
	}
	if err := s.refresh(ctx); err != nil {
		return fmt.Errorf("list kept files: %w", err)
	}
	for dropped := false; ; dropped = true {
		if err := s.mark(ctx); err != nil {
			return fmt.Errorf("find what pinned roots reach: %w", err)
		}
		if err := s.evict(ctx, size); err != nil {
			return err
		}
		if !s.full(size) {
			s.refused = time.Time{}
			return nil
		}
		if dropped {
			s.refused = s.o.now()
			return s.refusal()
		}
		if err := s.dropStaleRoots(ctx); err != nil {
			return err
		}
	}
}

func (s *Store) refusal() error {
	return fmt.Errorf("%w: %d bytes, all of them in use", ErrQuota, s.o.Quota)
}

// mark finds what pinned roots reach. Preconditions: s.gc is held.
func (s *Store) mark(ctx context.Context) error {
	s.mu.Lock()
	pinned := s.pinned
	s.mu.Unlock()
	at := s.o.now()
	roots, err := s.roots(ctx)
	if err != nil {
		return err
	}
	m := s.newMarking()
	if err := m.from(ctx, roots); err != nil {
		return err
	}
	s.marked = marks{m.reached, at, roots, pinned}
	return nil
}

// evict removes what was not reached and not used since, the least recently used first, until there is room for size and
// a reserve. Preconditions: s.gc is held.
func (s *Store) evict(ctx context.Context, size uint64) error {
	list := s.index.unless(s.marked.reached, s.marked.at.UnixNano())
	removable := uint64(0)
	for _, c := range list {
		removable += uint64(c.size)
	}
	reserve := min(s.o.Quota/10, s.o.Quota-size, removable/4)
	for len(list) > 0 && s.full(size+reserve) {
		s.mu.Lock()
		_, have := s.index.totals()
		over := have + uint64(s.bytes) + size + reserve - min(s.o.Quota, have+uint64(s.bytes)+size+reserve)
		s.mu.Unlock()
		n, bytes := 0, uint64(0)
		for n < len(list) && n < removeAtOnce && bytes < over {
			bytes += uint64(list[n].size)
			n++
		}
		if n == 0 {
			return nil
		}
		removed, freed, err := s.removeUnused(ctx, list[:n], s.marked.at, false)
		s.mu.Lock()
		s.counts.evicted += removed
		s.counts.evictedBytes += freed
		s.mu.Unlock()
		if err != nil {
			return fmt.Errorf("make room for files: %w", err)
		}
		list = list[n:]
	}
	return nil
}

// removeUnused removes those objects that nobody used since cutoff: as far as it is known here and, with look, as far as
// others have told the backend.
func (s *Store) removeUnused(ctx context.Context, list []candidate, cutoff time.Time, look bool) (removed, bytes uint64, err error) {
	var items []string
	var gone []candidate
	for _, c := range list {
		if look && s.stat != nil {
			info, err := s.stat.Stat(ctx, c.name.item())
			if err == nil && info.Used.After(cutoff) {
				at := info.Used.UnixNano()
				s.index.put(c.name, int(info.Size), at, at)
				continue
			}
		}
		if s.index.dropUnused(c.name, cutoff.UnixNano()) {
			items = append(items, c.name.item())
			gone = append(gone, c)
			bytes += uint64(c.size)
		}
	}
	if err := s.b.Delete(ctx, items...); err != nil {
		for _, c := range gone {
			s.index.put(c.name, int(c.size), c.used, c.stamped)
		}
		return 0, 0, err
	}
	return uint64(len(gone)), bytes, nil
}

// dropStaleRoots removes roots that nobody has pinned for a long time. Preconditions: s.gc is held.
func (s *Store) dropStaleRoots(ctx context.Context) error {
	roots, err := s.roots(ctx)
	if err != nil {
		return err
	}
	for _, r := range roots {
		if s.o.now().Sub(r.used) < s.o.Stale {
			continue
		}
		s.o.Log("root %v, pinned last on %s, gives way to others", r.id, r.used.Format(time.DateOnly))
		if err := s.b.Delete(ctx, r.item); err != nil {
			return fmt.Errorf("remove an old root: %w", err)
		}
		s.mu.Lock()
		delete(s.pins, r.name)
		s.mu.Unlock()
	}
	return nil
}
