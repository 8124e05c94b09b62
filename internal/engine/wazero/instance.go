package wazero

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tetratelabs/wazero/api"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/linmem"
)

// instance implements engine.Instance.
type instance struct {
	module  *module
	mod     api.Module // nil until the start function has returned
	mem     *linmem.Memory
	ownsMem bool
	fns     map[string]*function
	globals map[string]*global

	// top is the innermost active call; used is the budget that the others hold.
	top            wasmStack
	used           uint64
	perCall, limit uint64

	// stops counts the active calls whose context is cancelled.
	stops      atomic.Int32
	stopGlobal *global // nil: none
	stopMu     sync.Mutex
	stopCause  error           // guarded by stopMu
	armed      <-chan struct{} // Done of the innermost context that is watched

	closed bool
	group  *group   // its contents guarded by the engine's mu
	owned  []closer // in the order in which they were made
}

type closer interface{ Close(context.Context) error }

// group is a set of instances that are linked with each other, directly or not. What they own lives as long as one of
// them: tables may hold functions of each, and wazero unmaps the memory of all with the first.
type group struct {
	live  int
	owned []closer
	mems  []*linmem.Memory
}

// join puts an instance in the group of those that it is linked with.
func (e *wazeroEngine) join(in *instance, links map[string]*instance, beside engine.Instance) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if beside != nil {
		other, ok := beside.(*instance)
		if !ok || other.module.eng != e || other.closed {
			return errors.New("the instance beside is closed or of another engine")
		}
		in.group = other.group
	}
	for name, other := range links {
		if in.group != nil && in.group != other.group {
			return fmt.Errorf("linked instance %q is of another group", name)
		}
		in.group = other.group
	}
	if in.group == nil {
		in.group = &group{}
	}
	in.group.live++
	return nil
}

// Close implements engine.Instance.
func (in *instance) Close(ctx context.Context) error {
	if in.closed {
		return nil
	}
	if in.top.call != nil {
		return errors.New("close instance: it is running")
	}
	in.closed = true
	e := in.module.eng
	e.mu.Lock()
	g := in.group
	g.live--
	g.owned = append(g.owned, in.owned...)
	if in.ownsMem {
		g.mems = append(g.mems, in.mem)
	}
	var release group
	if g.live == 0 {
		release, *g = *g, group{}
	}
	e.mu.Unlock()
	in.owned = nil

	var errs []error
	for _, c := range slices.Backward(release.owned) {
		errs = append(errs, c.Close(ctx))
	}
	for _, m := range release.mems {
		errs = append(errs, m.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close instance: %w", err)
	}
	return nil
}

// Memory implements engine.Instance.
func (in *instance) Memory() *linmem.Memory { return in.mem }

// Grow implements engine.Instance.
func (in *instance) Grow(delta uint32) (old uint32, ok bool) {
	defer func() {
		if r := recover(); r != nil {
			if e, withheld := r.(*hostError); !withheld || e.err != engine.ErrMemory {
				panic(r)
			}
			old, ok = 0, false
		}
	}()
	if in.closed || in.mem == nil || in.mod == nil {
		return 0, false
	}
	return in.mod.Memory().Grow(delta)
}

// Func implements engine.Instance.
func (in *instance) Func(name string) engine.Func {
	if f := in.fns[name]; f != nil {
		return f
	}
	def := in.module.exports[name]
	if def == nil || in.closed || in.mod == nil {
		return nil
	}
	f := newFunction(in, name, def)
	in.fns[name] = f
	return f
}

// Global implements engine.Instance.
func (in *instance) Global(name string) engine.Global {
	if g := in.globals[name]; g != nil {
		return g
	}
	if in.closed || in.mod == nil {
		return nil
	}
	g := in.mod.ExportedGlobal(name)
	if g == nil || !engine.IsNumber(g.Type()) {
		return nil
	}
	h := newGlobal(g)
	in.globals[name] = h
	return h
}

// host makes the function that wazero calls for f. It has no state but the instance's.
func (in *instance) host(f engine.HostFunc) api.GoModuleFunction {
	slots := engine.SlotsOf(f.Params, f.Results)
	return api.GoModuleFunc(func(ctx context.Context, _ api.Module, stack []uint64) {
		if in.stops.Load() != 0 {
			panic(&hostError{in.stopped(ctx)})
		}
		stack = stack[:slots.Len():slots.Len()]
		slots.ClearParams(stack)
		if err := f.Call(ctx, in, stack); err != nil {
			panic(&hostError{err})
		}
		slots.ClearResults(stack)
	})
}
