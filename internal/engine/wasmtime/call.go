//go:build wasmtime && cgo && linux && (amd64 || arm64)

package wasmtime

// #include "glue.h"
import "C"

import (
	"context"
	"fmt"
	"unsafe"

	"github.com/clonecloud/clonecloud/internal/engine"
)

// function implements engine.Func.
type function struct {
	in    *instance
	name  string
	slots engine.Slots
	c     unsafe.Pointer
	store C.uint64_t
}

func newFunction(in *instance, name string, params, results []byte, c *C.wasmtime_func_t) *function {
	return &function{in: in, name: name, slots: engine.SlotsOf(params, results), c: c.__private, store: c.store_id}
}

// Type implements engine.Func.
func (f *function) Type() (params, results []byte) { return f.slots.Params, f.slots.Results }

// Call implements engine.Func.
func (f *function) Call(ctx context.Context, stack []uint64) error {
	in := f.in
	if err := in.usable(); err != nil {
		return fmt.Errorf("call %s: %w", f.name, err)
	}
	err := f.slots.Take(f.name, stack)
	if err != nil {
		return err
	}
	if done := ctx.Done(); done == nil || done == in.armed {
		err = f.run(ctx, stack)
	} else {
		err = f.runWatched(ctx, done, stack)
	}
	if err != nil {
		return err
	}
	f.slots.ClearResults(stack)
	return nil
}

// runWatched is run with an eye on the context.
func (f *function) runWatched(ctx context.Context, done <-chan struct{}, stack []uint64) error {
	if ctx.Err() != nil {
		return engine.Ended(ctx)
	}
	defer f.in.watch(ctx, done)()
	return f.run(ctx, stack)
}

func (f *function) run(ctx context.Context, stack []uint64) error {
	g := f.in.group
	outer := g.ctx
	g.ctx = ctx
	g.depth++
	how := C.cc_call(g.c, f.c, f.store, (*C.uint64_t)(unsafe.SliceData(stack)), C.size_t(f.slots.Len()), g.run)
	if how == C.CC_THREAD {
		how = f.runElsewhere(stack)
	}
	g.depth--
	g.ctx = outer
	if how == C.CC_OK && g.failure == nil {
		return nil
	}
	return g.outcome(how)
}

func (f *function) runElsewhere(stack []uint64) (how C.int) {
	elsewhere(func() {
		how = C.cc_call(f.in.group.c, f.c, f.store, (*C.uint64_t)(unsafe.SliceData(stack)), C.size_t(f.slots.Len()), f.in.group.run)
	})
	return how
}

// outcome is the error of a call that ended.
func (g *group) outcome(how C.int) error {
	var err error
	switch how {
	case C.CC_OK:
	case C.CC_TRAP:
		err = trapOf(int(g.run.text.code), take(&g.run.text))
	case C.CC_ERROR:
		err = errorOf(take(&g.run.text))
	case C.CC_ELSEWHERE:
		err = fmt.Errorf("the group runs on another thread: %w", engine.ErrUnsupported)
	default:
		err = fmt.Errorf("run failed: no thread with room for a guest's stack: %w", engine.ErrUnsupported)
	}
	if g.failure != nil {
		err, g.failure = g.failure, nil
	}
	return err
}
