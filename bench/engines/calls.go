package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/bench/programs"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/engines"
)

// calls measures the ways over the edge of a module.
func calls(ctx context.Context, o *options) ([]*measure.Table, error) {
	t := newTable("calls", "a call of two numbers and a result, and growth by a page of 64 KiB; the processor's time",
		"engine", "guest to guest ns", "guest to host ns", "host to guest ns", "the same, can be cancelled ns", "growth us")
	t.Note("Medians of %d rounds, the engines in turn. A turn of the loop that calls is counted in.", o.rounds)
	var es []*edges
	for _, kind := range o.kinds {
		e, err := newEdges(ctx, kind)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		defer e.close(ctx)
		es = append(es, e)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for round := -1; round < o.rounds; round++ {
		for k := range es {
			if round%2 != 0 {
				k = len(es) - 1 - k
			}
			runtime.GC()
			if err := es[k].round(ctx, o.quick); err != nil {
				return nil, fmt.Errorf("%s: %w", es[k].kind, err)
			}
			if round < 0 {
				es[k].took = [ways][]float64{} // that was for warming up
			}
		}
	}
	for _, e := range es {
		row := []any{e.kind}
		for i, v := range e.took {
			m := measure.Median(v)
			if i == growing {
				m /= 1e3
			}
			row = append(row, m)
		}
		t.Add(row...)
	}
	return []*measure.Table{t}, nil
}

// What is measured.
const (
	within = iota
	toHost
	toGuest
	cancellable // toGuest with a context that can be
	growing
	ways
)

// edges is an engine with the module that goes over them.
type edges struct {
	kind string
	eng  engine.Engine
	code engine.Module
	inst engine.Instance
	took [ways][]float64 // nanoseconds for one, a value for each round
}

func newEdges(ctx context.Context, kind string) (*edges, error) {
	e := &edges{kind: kind}
	var err error
	if e.eng, err = engines.New(kind, ""); err != nil {
		return nil, err
	}
	if e.code, err = e.eng.Compile(ctx, programs.Wasm("edges")); err == nil {
		e.inst, err = e.fresh(ctx)
	}
	if err != nil {
		e.close(ctx)
		return nil, err
	}
	return e, nil
}

func (e *edges) fresh(ctx context.Context) (engine.Instance, error) {
	i32 := []byte{engine.I32}
	return e.code.Instantiate(ctx, engine.Config{Funcs: map[string]map[string]engine.HostFunc{"bench": {"add": {
		Params: append(i32, engine.I32), Results: i32,
		Call: func(_ context.Context, _ engine.Instance, stack []uint64) error {
			stack[0] = uint64(uint32(stack[0]) + uint32(stack[1]))
			return nil
		},
	}}}})
}

func (e *edges) close(ctx context.Context) {
	if e.inst != nil {
		_ = e.inst.Close(ctx)
	}
	if e.code != nil {
		_ = e.code.Close(ctx)
	}
	_ = e.eng.Close(ctx) // what was measured stands
}

// round measures each way once.
func (e *edges) round(ctx context.Context, quick bool) error {
	count, pages := 1_000_000, 1000
	if quick {
		count, pages = 10_000, 100
	}
	if e.kind == engines.Interpreter {
		count /= 10
	}
	for way, name := range map[int]string{within: "guest", toHost: "host"} {
		got, took, err := e.call(ctx, e.inst, name, uint64(count))
		if err != nil {
			return err
		}
		if want := uint32(count * (count - 1) / 2); got != want {
			return fmt.Errorf("%s: the sum is %d in place of %d", name, got, want)
		}
		e.note(way, took, count)
	}
	can, cancel := context.WithCancel(ctx)
	defer cancel()
	for way, ctx := range map[int]context.Context{toGuest: context.WithoutCancel(ctx), cancellable: can} {
		f := e.inst.Func("plus")
		stack := make([]uint64, 2)
		begin := measure.ThreadTime()
		for i := range count / 10 {
			stack[1] = uint64(i)
			if err := f.Call(ctx, stack); err != nil {
				return err
			}
		}
		e.note(way, measure.ThreadTime()-begin, count/10)
	}
	inst, err := e.fresh(ctx)
	if err != nil {
		return err
	}
	got, took, err := e.call(ctx, inst, "grow", uint64(pages))
	if err == nil && got != uint32(pages) {
		err = fmt.Errorf("the memory grew by %d pages in place of %d", got, pages)
	}
	e.note(growing, took, pages)
	return errors.Join(err, inst.Close(ctx))
}

func (e *edges) note(way int, took time.Duration, count int) {
	e.took[way] = append(e.took[way], float64(took.Nanoseconds())/float64(count))
}

// call calls an export that takes a number.
func (e *edges) call(ctx context.Context, inst engine.Instance, name string, n uint64) (uint32, time.Duration, error) {
	f := inst.Func(name)
	if f == nil {
		return 0, 0, fmt.Errorf("no function %q", name)
	}
	stack := []uint64{n}
	begin := measure.ThreadTime()
	err := f.Call(ctx, stack)
	return uint32(stack[0]), measure.ThreadTime() - begin, err
}
