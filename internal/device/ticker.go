package device

import (
	"context"
	"sync"
	"time"
)

// tick is how often a waiting trip looks whether it is overdue.
const tick = 20 * time.Millisecond

// ticker gives contexts that end with the next tick. One timer serves all trips that follow each other: setting one up
// for each wait would wake a thread of the scheduler each time.
type ticker struct {
	mu     sync.Mutex
	parent context.Context    // guarded by mu
	now    context.Context    // guarded by mu; ends with the next tick; nil: nothing ticks
	end    context.CancelFunc // guarded by mu; of now
	used   bool               // guarded by mu; since the last tick
	timer  *time.Timer        // guarded by mu
}

// until returns a context that ends with ctx, or at the next tick, which is at most one tick away.
func (t *ticker) until(ctx context.Context) context.Context {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.used = true
	if t.now != nil && t.parent == ctx {
		return t.now
	}
	if t.now != nil {
		t.end()
	}
	t.parent = ctx
	t.now, t.end = context.WithCancel(ctx)
	if t.timer == nil {
		t.timer = time.AfterFunc(tick, t.strike)
	} else {
		t.timer.Reset(tick)
	}
	return t.now
}

func (t *ticker) strike() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now == nil {
		return
	}
	t.end()
	if !t.used || t.parent.Err() != nil {
		t.now, t.parent = nil, nil // nobody waits
		return
	}
	t.used = false
	t.now, t.end = context.WithCancel(t.parent)
	t.timer.Reset(tick)
}

// stop ends the ticking.
func (t *ticker) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now != nil {
		t.end()
		t.timer.Stop()
		t.now, t.parent = nil, nil
	}
}
