package chunkstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/clonecloud/clonecloud/internal/tree"
)

const (
	batchBytes = 16 << 20 // of objects that are written at once
	batchItems = 1024
	touchItems = 256
	// retryAfter is how long a backend that failed is left alone, unless somebody asks.
	retryAfter = time.Second
)

// Put keeps an object: data is what id says, and must not be changed afterwards. It returns when Get can see it, and
// writes in the background; with too much that waits to be written it waits itself. The error matches ErrID, ErrQuota,
// or ErrFull where there is no room.
func (s *Store) Put(ctx context.Context, id tree.ID, data []byte) error {
	if len(data) > tree.MaxObject {
		return fmt.Errorf("keep object %v: %w: %d bytes", id, tree.ErrTooLarge, len(data))
	}
	if _, waits := s.waits(id); waits {
		return nil
	}
	if tree.IDOf(data) != id {
		return fmt.Errorf("keep object %v: %w", id, ErrID)
	}
	if s.confirm(s.secrets.name(id)) {
		return nil
	}
	if err := s.enqueue(ctx, &waiting{id, data}); err != nil {
		return fmt.Errorf("keep object %v: %w", id, err)
	}
	return nil
}

// confirm tells whether an object that the index knows is there, as far as a look costs little, and counts it as used.
func (s *Store) confirm(n name) bool {
	m, ok := s.index.get(n)
	if !ok {
		return false
	}
	if s.stat == nil {
		s.used(n, int(m.size))
		return true
	}
	info, err := s.stat.Stat(s.ctx, n.item())
	if err != nil {
		s.index.drop(n)
		return false
	}
	s.used(n, int(info.Size))
	return true
}

// enqueue puts an object among those that wait, once there is room for it.
func (s *Store) enqueue(ctx context.Context, w *waiting) error {
	size := int64(len(w.data))
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closed:
			return ErrClosed
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case s.pending[w.id] != nil:
			return nil
		}
		if s.beyondQuota(uint64(size)) {
			s.mu.Unlock()
			err := s.makeRoom(ctx, uint64(size))
			s.mu.Lock()
			if err != nil {
				return err
			}
			continue
		}
		if len(s.queue) == 0 || s.bytes+size <= s.o.Pending {
			break
		}
		s.start(false)
		if !s.writing {
			return fmt.Errorf("too much waits to be written: %w", s.failed)
		}
		if err := s.await(ctx); err != nil {
			return err
		}
	}
	s.pending[w.id] = w
	s.queue = append(s.queue, w)
	s.bytes += size
	s.put++
	s.start(false)
	return nil
}

// await waits until something changes. Preconditions: s.mu is held; it is given up meanwhile.
func (s *Store) await(ctx context.Context) error {
	changed := s.changed
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// wake ends all waits. Preconditions: s.mu is held.
func (s *Store) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// start has somebody write, unless somebody does; after a failure only when some time has passed, or when told to.
// Preconditions: s.mu is held.
func (s *Store) start(again bool) {
	if s.writing || s.closed || s.failed != nil && !again && s.o.now().Before(s.retry) {
		return
	}
	s.writing = true
	s.wg.Go(s.write)
}

// pass queues uses of objects for the backend to know.
func (s *Store) pass(stale []name) {
	if len(stale) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touch = append(s.touch, stale...)
	s.start(false)
}

// write writes all that waits, in batches: what comes while one is written makes up the next.
func (s *Store) write() {
	var space []byte
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) > 0 || len(s.touch) > 0 {
		s.passTouches()
		batch := s.batch()
		if len(batch) == 0 {
			continue
		}
		s.mu.Unlock()
		var err error
		space, err = s.writeBatch(batch, space)
		s.mu.Lock()
		if err != nil {
			s.failed, s.retry = err, s.o.now().Add(retryAfter)
			s.failures++
			s.o.Log("write objects of files: %v", err)
			break
		}
		s.failed = nil
		s.finish(batch)
		s.wake()
	}
	s.writing = false
	s.wake()
}

// passTouches tells the backend of uses. Preconditions: s.mu is held; it is given up meanwhile.
func (s *Store) passTouches() {
	if len(s.touch) == 0 {
		return
	}
	names := s.touch[:min(len(s.touch), touchItems)]
	s.touch = s.touch[len(names):]
	s.touching = true
	s.mu.Unlock()
	items := make([]string, len(names))
	for i, n := range names {
		items[i] = n.item()
	}
	if err := s.b.Touch(s.ctx, items...); err != nil && s.ctx.Err() == nil {
		s.o.Log("note that objects are in use: %v", err) // at worst they go too early
	}
	s.mu.Lock()
	s.touching = false
}

// batch returns the first objects that wait. Preconditions: s.mu is held.
func (s *Store) batch() []*waiting {
	bytes := 0
	for i, w := range s.queue {
		if bytes += len(w.data); i > 0 && (bytes > batchBytes || i == batchItems) {
			return s.queue[:i:i]
		}
	}
	return s.queue[:len(s.queue):len(s.queue)]
}

// writeBatch seals and writes objects. space is memory for that, of an earlier batch.
func (s *Store) writeBatch(batch []*waiting, space []byte) ([]byte, error) {
	bytes := 0
	for _, w := range batch {
		bytes += s.secrets.sealedSize(len(w.data))
	}
	space = slices.Grow(space[:0], bytes)
	items := make([]Item, len(batch))
	names := make([]name, len(batch))
	for i, w := range batch {
		names[i] = s.secrets.name(w.id)
		at := len(space)
		space = s.secrets.seal(space, names[i], w.data)
		items[i] = Item{Name: names[i].item(), Data: space[at:len(space):len(space)]}
	}
	if err := s.b.PutAll(s.ctx, items); err != nil {
		return space, err
	}
	now := s.o.now().UnixNano()
	for i, n := range names {
		s.index.put(n, len(items[i].Data), now, now)
	}
	return space, nil
}

// finish takes a batch from those that wait. Preconditions: s.mu is held.
func (s *Store) finish(batch []*waiting) {
	for i, w := range batch {
		delete(s.pending, w.id)
		s.bytes -= int64(len(w.data))
		s.queue[i] = nil
	}
	s.queue = s.queue[len(batch):]
	s.done += uint64(len(batch))
}

// Flush returns when all that was Put before is durable, or cannot be made so now: it then still waits to be written.
func (s *Store) Flush(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	upTo, failures := s.put, s.failures
	for s.done < upTo {
		if s.failures != failures {
			return fmt.Errorf("write objects of files: %w", s.failed)
		}
		s.start(true)
		if err := s.await(ctx); err != nil {
			return err
		}
	}
	return nil
}
