package wazero

import (
	"context"

	"github.com/clonecloud/clonecloud/internal/engine"
)

// watch notices the end of ctx until the function that it returns is called.
func (in *instance) watch(ctx context.Context, done <-chan struct{}) func() {
	w := &watching{in: in, ctx: ctx}
	cancel := context.AfterFunc(ctx, w.fire)
	outer := in.armed
	in.armed = done
	return func() {
		in.armed = outer
		if !cancel() {
			w.end()
		}
	}
}

// watching stops an instance when the context of one of its calls is cancelled, until that call returns.
type watching struct {
	in           *instance
	ctx          context.Context
	fired, ended bool // guarded by in.stopMu
}

// fire runs on a goroutine of its own, perhaps late.
func (w *watching) fire() {
	in := w.in
	in.stopMu.Lock()
	defer in.stopMu.Unlock()
	if w.ended {
		return
	}
	w.fired = true
	in.stopCause = engine.Ended(w.ctx)
	in.stops.Add(1)
	if in.stopGlobal != nil {
		in.stopGlobal.Set(1)
	}
}

// end undoes fire, or prevents it.
func (w *watching) end() {
	in := w.in
	in.stopMu.Lock()
	defer in.stopMu.Unlock()
	w.ended = true
	if w.fired && in.stops.Add(-1) == 0 && in.stopGlobal != nil {
		in.stopGlobal.Set(0)
	}
}

// stopped is the error that ends a run.
func (in *instance) stopped(ctx context.Context) error {
	if ctx.Err() != nil {
		return engine.Ended(ctx)
	}
	in.stopMu.Lock()
	defer in.stopMu.Unlock()
	return in.stopCause
}
