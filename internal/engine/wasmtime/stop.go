//go:build wasmtime && cgo && linux && (amd64 || arm64)

package wasmtime

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

// watching stops a group when the context of one of its calls is cancelled, until that call returns.
type watching struct {
	in           *instance
	ctx          context.Context
	fired, ended bool // guarded by the group's stopMu
}

// fire runs on a goroutine of its own, perhaps late.
func (w *watching) fire() {
	g := w.in.group
	g.stopMu.Lock()
	defer g.stopMu.Unlock()
	if w.ended {
		return
	}
	w.fired = true
	g.stopCause = engine.Ended(w.ctx)
	g.stops.Add(1)
	w.in.stops++
	if w.in.stop != nil {
		w.in.stop.Set(1)
	}
}

// end undoes fire, or prevents it.
func (w *watching) end() {
	g := w.in.group
	g.stopMu.Lock()
	defer g.stopMu.Unlock()
	w.ended = true
	if !w.fired {
		return
	}
	g.stops.Add(-1)
	if w.in.stops--; w.in.stops == 0 && w.in.stop != nil {
		w.in.stop.Set(0)
	}
}

// stopped is the error that ends a run.
func (g *group) stopped(ctx context.Context) error {
	if ctx.Err() != nil {
		return engine.Ended(ctx)
	}
	g.stopMu.Lock()
	defer g.stopMu.Unlock()
	return g.stopCause
}
