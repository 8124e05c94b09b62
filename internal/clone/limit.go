package clone

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// errLimit marks an attempt that needs more than this host gives; its device can do without.
var errLimit = errors.New("limit of this node")

// How long code has to stop after it was told to, before the process is ended: on account of a limit, or because its
// device has given it up and may want the clone again.
const (
	stopLimit     = time.Second
	stopCancelled = 5 * time.Second
)

// limit ends an attempt that runs longer than the host allows, and says so if an attempt that was told to stop does
// not. What it returns must be called when the attempt has ended.
func (s *session) limit(ctx context.Context, t *trip) (end func()) {
	h := s.host
	h.running.Add(1)
	watched := h.Watch("offload", s.hello.Module, h.Limits.Exec)
	var mu sync.Mutex
	var timer *time.Timer // guarded by mu
	over := false         // guarded by mu
	look := func() {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return
		}
		wall := time.Since(t.start)
		left := min(h.Limits.Exec-(wall-t.waitedFor()), h.Limits.Wall-wall)
		if left > 0 {
			timer.Reset(left)
			return
		}
		t.cancel(fmt.Errorf("%w: an offload may run for %v, and %v with all waiting", errLimit, h.Limits.Exec, h.Limits.Wall))
	}
	mu.Lock()
	timer = time.AfterFunc(min(h.Limits.Exec, h.Limits.Wall), look)
	mu.Unlock()
	unwatch := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return
		}
		timer.Stop()
		patience := stopCancelled
		if errors.Is(context.Cause(ctx), errLimit) {
			patience = stopLimit
		}
		timer = time.AfterFunc(patience, func() { h.Stuck("offload", s.hello.Module) })
	})
	return func() {
		unwatch()
		mu.Lock()
		over = true
		timer.Stop()
		mu.Unlock()
		watched()
		h.running.Add(-1)
	}
}
