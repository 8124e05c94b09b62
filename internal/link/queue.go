package link

import (
	"context"
	"sync"
	"time"
)

// queue is one direction of a link in memory: frames that are due at some time. One goroutine pushes, one pops.
type queue struct {
	capacity int
	latency  time.Duration
	rate     int // bytes in a second; 0: no limit

	space chan struct{} // signals the pusher
	ready chan struct{} // signals the popper

	mu      sync.Mutex
	frames  []queued  // guarded by mu
	bytes   int       // guarded by mu
	busy    time.Time // guarded by mu; when the last frame has left the sender
	stalled time.Time // guarded by mu; nothing arrives before
	frozen  bool      // guarded by mu; nothing arrives any more
	dead    bool      // guarded by mu; what is pushed vanishes
	ended   bool      // guarded by mu; nothing is pushed any more
	err     error     // guarded by mu; both sides fail at once
}

type queued struct {
	frame []byte
	due   time.Time
	then  func() // called once the frame has been popped
}

func newQueue(capacity int, latency time.Duration, rate int) *queue {
	if capacity <= 0 {
		capacity = PipeBytes
	}
	return &queue{
		capacity: capacity, latency: latency, rate: rate,
		space: make(chan struct{}, 1), ready: make(chan struct{}, 1),
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (q *queue) push(ctx context.Context, f queued) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if done, err := q.tryPush(f); done {
			return err
		}
		select {
		case <-q.space:
		case <-ctx.Done():
		}
	}
}

func (q *queue) tryPush(f queued) (done bool, err error) {
	if f.frame == nil {
		f.frame = []byte{} // nil means none in tryPop
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.err != nil:
		return true, q.err
	case q.ended:
		return true, ErrClosed
	case q.dead:
		return true, nil
	case len(q.frames) > 0 && q.bytes+len(f.frame) > q.capacity:
		return false, nil
	}
	if q.latency > 0 || q.rate > 0 {
		now := time.Now()
		if q.busy.Before(now) {
			q.busy = now
		}
		if q.rate > 0 {
			q.busy = q.busy.Add(time.Duration(float64(len(f.frame)) / float64(q.rate) * float64(time.Second)))
		}
		f.due = q.busy.Add(q.latency)
	}
	q.frames = append(q.frames, f)
	q.bytes += len(f.frame)
	wake(q.ready)
	return true, nil
}

// free tells whether n more bytes can be pushed without waiting.
func (q *queue) free(n int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err != nil || q.ended || q.dead || q.bytes+n <= q.capacity
}

func (q *queue) pop(ctx context.Context) ([]byte, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, wait, err := q.tryPop()
		if f.then != nil {
			f.then()
		}
		if f.frame != nil || err != nil {
			return f.frame, err
		}
		var timer <-chan time.Time
		if wait > 0 {
			timer = time.After(wait)
		}
		select {
		case <-timer:
		case <-q.ready:
		case <-ctx.Done():
		}
	}
}

// tryPop returns a frame or an error, or neither: then it pays to look again after wait, if that is not 0, or when
// something changes.
func (q *queue) tryPop() (f queued, wait time.Duration, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.err != nil:
		return f, 0, q.err
	case q.frozen || q.dead && len(q.frames) == 0:
		return f, 0, nil
	case len(q.frames) == 0 && !q.ended:
		return f, 0, nil
	}
	due := q.stalled
	if len(q.frames) > 0 && q.frames[0].due.After(due) {
		due = q.frames[0].due
	}
	if !due.IsZero() {
		if wait = time.Until(due); wait > 0 {
			return f, wait, nil
		}
	}
	if len(q.frames) == 0 {
		return f, 0, ErrClosed
	}
	f = q.frames[0]
	q.frames[0] = queued{}
	q.frames = q.frames[1:]
	q.bytes -= len(f.frame)
	wake(q.space)
	return f, 0, nil
}

// closeSend is the sender's end: what is on the way still arrives.
func (q *queue) closeSend() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	wake(q.ready)
	wake(q.space)
}

// abort ends both sides at once, and loses what is on the way.
func (q *queue) abort(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
		q.frames, q.bytes = nil, 0
	}
	wake(q.ready)
	wake(q.space)
}

// stall lets nothing arrive for a while; 0: for ever.
func (q *queue) stall(d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d <= 0 {
		q.frozen = true
	} else {
		q.stalled = time.Now().Add(d)
	}
}

// kill lets everything vanish that is pushed from now on.
func (q *queue) kill() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dead = true
	wake(q.space)
}
