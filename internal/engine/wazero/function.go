package wazero

import (
	"context"
	"fmt"

	"github.com/tetratelabs/wazero/api"

	"github.com/clonecloud/clonecloud/internal/engine"
)

// function implements engine.Func.
type function struct {
	in    *instance
	name  string
	slots engine.Slots
	idle  wasmStack // of the last call
}

// wasmStack is a wazero function with the stack that it runs on, which is why it is made only when it is called.
type wasmStack struct {
	call api.Function
	size *int
}

func newFunction(in *instance, name string, def api.FunctionDefinition) *function {
	return &function{in: in, name: name, slots: engine.SlotsOf(def.ParamTypes(), def.ResultTypes())}
}

// Type implements engine.Func.
func (f *function) Type() (params, results []byte) { return f.slots.Params, f.slots.Results }

// Call implements engine.Func.
func (f *function) Call(ctx context.Context, stack []uint64) error {
	in := f.in
	if in.closed {
		return fmt.Errorf("call %s: %w", f.name, engine.ErrClosed)
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

// run calls wazero. A wazero function has one stack and cannot be entered twice, so a call that re-enters gets its own.
func (f *function) run(ctx context.Context, stack []uint64) error {
	in := f.in
	outer, used := in.top, in.used
	if outer.call != nil {
		if in.used += in.perCall + uint64(*outer.size); in.used > in.limit {
			in.used = used
			return &engine.Trap{Kind: engine.TrapStackOverflow, Detail: "host functions re-enter too deep"}
		}
	}
	top := f.idle
	f.idle = wasmStack{}
	if top.call == nil {
		top.call = in.mod.ExportedFunction(f.name)
		top.size = stackSize(top.call)
	}
	in.top = top
	defer func() { in.top, in.used = outer, used }()
	if err := top.call.CallWithStack(ctx, stack[:f.slots.Len()]); err != nil {
		// The stack is dropped: after an overflow it is as large as can be.
		return in.failure(err)
	}
	if *top.size <= keepStack {
		f.idle = top
	}
	return nil
}
