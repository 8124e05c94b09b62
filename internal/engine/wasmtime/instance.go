//go:build wasmtime && cgo && linux && (amd64 || arm64)

package wasmtime

// #include <stdlib.h>
// #include "glue.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// group is a wasmtime store: instances that are linked with each other, directly or not, and what they own. One
// goroutine at a time.
type group struct {
	id    uint64
	store *C.wasmtime_store_t
	c     *C.wasmtime_context_t
	run   *C.cc_run
	live  int              // guarded by the engine's mu
	insts []*instance      // by index
	hosts []hostFunc       // by index
	mems  []*linmem.Memory // to be closed with the group

	// life is held by those who use globals, on whatever goroutine, and by who releases the store.
	life sync.RWMutex
	gone bool // guarded by life

	ctx   context.Context // of the innermost call
	depth int             // of calls
	lost  bool            // a goroutine ended in one of them
	// failure ends the innermost call, whatever the guest makes of it.
	failure error
	growing bool // by the host, which may be refused

	// stops counts the active calls whose context is cancelled.
	stops     atomic.Int32
	stopMu    sync.Mutex
	stopCause error // guarded by stopMu
}

type hostFunc struct {
	in   *instance
	call func(ctx context.Context, inst engine.Instance, stack []uint64) error
}

// instance implements engine.Instance.
type instance struct {
	module  *module
	group   *group
	index   uint32 // in its group
	c       C.wasmtime_instance_t
	ready   bool // the start function has returned
	closed  bool
	mem     *linmem.Memory
	memory  C.wasmtime_memory_t // valid if grows
	grows   bool                // memory is exported, here or where it comes from
	make    func(minSize, maxSize, reserve uint64) (*linmem.Memory, error)
	fns     map[string]*function
	globals map[string]*global
	stop    *global         // nil: none; guarded by the group's stopMu once the instance runs
	stops   int             // those of the group's that are calls of this instance; guarded by the group's stopMu
	armed   <-chan struct{} // Done of the innermost context that is watched for this instance
}

// Instantiate implements engine.Module.
func (m *module) Instantiate(ctx context.Context, cfg engine.Config) (engine.Instance, error) {
	in, err := m.instantiate(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("instantiate module: %w", err)
	}
	return in, nil
}

func (m *module) instantiate(ctx context.Context, cfg engine.Config) (_ *instance, err error) {
	if ctx.Err() != nil {
		return nil, engine.Ended(ctx)
	}
	if m.c == nil {
		return nil, fmt.Errorf("code: %w", engine.ErrClosed)
	}
	in := &instance{module: m, fns: map[string]*function{}, globals: map[string]*global{}, make: cfg.Memory}
	links, err := in.resolve(cfg)
	if err != nil {
		return nil, err
	}
	if err := m.eng.join(in, links, cfg.Beside); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			// A linked table may hold functions of this instance even so: it lives on with the others.
			err = errors.Join(err, in.leave())
		}
	}()
	imports, err := in.externs(cfg, links)
	if err != nil {
		return nil, err
	}
	if done := ctx.Done(); done != nil {
		defer in.watch(ctx, done)()
	}
	if err := in.start(ctx, imports); err != nil {
		return nil, err
	}
	if cfg.StopGlobal != "" {
		g, ok := in.Global(cfg.StopGlobal).(*global)
		if !ok || !g.mutable || g.kind != engine.I32 {
			return nil, fmt.Errorf("stop global %q: not an exported mutable i32", cfg.StopGlobal)
		}
		in.group.stopMu.Lock()
		in.stop = g
		in.group.stopMu.Unlock()
	}
	return in, nil
}

// resolve checks every import against cfg, and finds the linked instances by name.
func (in *instance) resolve(cfg engine.Config) (map[string]*instance, error) {
	links := map[string]*instance{}
	for i := range in.module.imports {
		im := &in.module.imports[i]
		fail := func(format string, args ...any) error {
			return &engine.ImportError{Module: im.Module, Name: im.Name, Reason: fmt.Sprintf(format, args...)}
		}
		if funcs, ok := cfg.Funcs[im.Module]; ok {
			if _, both := cfg.Link[im.Module]; both {
				return nil, fail("its module is both among the host's functions and linked")
			}
			f, ok := funcs[im.Name]
			if im.Kind != wasm.ExternFunc || !ok || f.Call == nil {
				return nil, fail("not offered by the host")
			}
			params, results, numbers := signature(in.module.types[im.Type])
			if !slices.Equal(params, f.Params) || !slices.Equal(results, f.Results) {
				return nil, fail("host function is %s, the module wants another type", engine.Signature(f.Params, f.Results))
			}
			if !numbers {
				return nil, fail("type %s: %v", engine.Signature(f.Params, f.Results), engine.ErrUnsupported)
			}
			continue
		}
		linked, ok := cfg.Link[im.Module].(*instance)
		switch {
		case cfg.Link[im.Module] == nil:
			return nil, fail("no such module")
		case !ok || linked.module.eng != in.module.eng:
			return nil, fail("linked instance is of another engine")
		case linked.usable() != nil:
			return nil, fail("linked %v", linked.usable())
		}
		if x, ok := linked.module.exports[im.Name]; !ok || x.Kind != im.Kind {
			return nil, fail("not exported by the linked instance")
		}
		if im.Kind == wasm.ExternTag {
			return nil, fmt.Errorf("import %s.%s: tag of another instance: %w", im.Module, im.Name, engine.ErrUnsupported)
		}
		links[im.Module] = linked
	}
	return links, nil
}

// join puts an instance in the group of those that it is linked with.
func (e *wasmtimeEngine) join(in *instance, links map[string]*instance, beside engine.Instance) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var g *group
	if beside != nil {
		other, ok := beside.(*instance)
		if !ok || other.module.eng != e || other.usable() != nil {
			return errors.New("the instance beside is closed or of another engine")
		}
		g = other.group
	}
	for name, other := range links {
		if g != nil && g != other.group {
			return fmt.Errorf("linked instance %q is of another group", name)
		}
		g = other.group
	}
	if g == nil {
		g = &group{ctx: context.Background()}
		g.store = C.wasmtime_store_new(e.c, nil, nil)
		C.wasmtime_store_limiter(g.store, -1, maxTable, -1, -1, -1)
		g.c = C.wasmtime_store_context(g.store)
		g.run = (*C.cc_run)(C.calloc(1, C.sizeof_cc_run))
		g.id = groups.add(g)
	}
	g.live++
	in.group, in.index = g, uint32(len(g.insts))
	g.insts = append(g.insts, in)
	return nil
}

// externs are the imports in the engine's form.
func (in *instance) externs(cfg engine.Config, links map[string]*instance) ([]C.wasmtime_extern_t, error) {
	g := in.group
	list := make([]C.wasmtime_extern_t, len(in.module.imports))
	for i := range in.module.imports {
		im := &in.module.imports[i]
		if f, ok := cfg.Funcs[im.Module][im.Name]; ok {
			index := len(g.hosts)
			g.hosts = append(g.hosts, hostFunc{in, f.Call})
			C.cc_import_new(g.c, C.uint64_t(g.id), C.uint32_t(index), bytePointer(f.Params), C.size_t(len(f.Params)),
				bytePointer(f.Results), C.size_t(len(f.Results)), &list[i])
			continue
		}
		linked := links[im.Module]
		if !linked.extern(im.Name, &list[i]) {
			return nil, &engine.ImportError{Module: im.Module, Name: im.Name, Reason: "not exported by the linked instance"}
		}
		if im.Kind == wasm.ExternMemory {
			in.mem, in.memory, in.grows = linked.mem, *(*C.wasmtime_memory_t)(unsafe.Pointer(&list[i].of)), true
		}
	}
	return list, nil
}

func bytePointer(b []byte) *C.uint8_t { return (*C.uint8_t)(unsafe.SliceData(b)) }

// extern finds an export, of any kind but a tag, of which the C interface does not know.
func (in *instance) extern(name string, out *C.wasmtime_extern_t) bool {
	b := []byte(name)
	return bool(C.wasmtime_instance_export_get(in.group.c, &in.c, (*C.char)(unsafe.Pointer(unsafe.SliceData(b))), C.size_t(len(b)), out))
}

// start makes the instance, which runs its start function.
func (in *instance) start(ctx context.Context, imports []C.wasmtime_extern_t) error {
	g, m := in.group, in.module
	outer := g.ctx
	g.ctx = ctx
	g.depth++
	begin := func() C.int {
		return C.cc_instantiate(g.c, m.c, unsafe.SliceData(imports), C.size_t(len(imports)), C.uint64_t(g.id), C.uint32_t(in.index),
			C.bool(m.heap), C.uint64_t(m.pages), C.uint64_t(m.max), &in.c, g.run)
	}
	how := begin()
	if how == C.CC_THREAD {
		elsewhere(func() { how = begin() })
	}
	g.depth--
	g.ctx = outer
	if err := g.outcome(how); err != nil {
		return in.linkFailure(err)
	}
	in.ready = true
	for name, x := range m.exports {
		if x.Kind != wasm.ExternMemory || in.grows {
			continue
		}
		var e C.wasmtime_extern_t
		if in.extern(name, &e) {
			in.memory, in.grows = *(*C.wasmtime_memory_t)(unsafe.Pointer(&e.of)), true
		}
	}
	return nil
}

// linkFailure names the import that wasmtime refused, if that is what err says.
func (in *instance) linkFailure(err error) error {
	var refused *engineError
	if !errors.As(err, &refused) {
		return err
	}
	for _, im := range in.module.imports {
		if refused.names(im.Module, im.Name) {
			return &engine.ImportError{Module: im.Module, Name: im.Name, Reason: refused.text}
		}
	}
	return err
}

// Close implements engine.Instance.
func (in *instance) Close(context.Context) error {
	if in.closed {
		return nil
	}
	if g := in.group; g.lost {
		return errors.New("close instance: a goroutine has ended in it")
	} else if g.depth > 0 {
		return errors.New("close instance: it is running")
	}
	return in.leave()
}

// usable tells whether code may run here.
func (in *instance) usable() error {
	if in.group.lost {
		return fmt.Errorf("a goroutine has ended in it: %w", engine.ErrClosed)
	}
	if in.closed {
		return engine.ErrClosed
	}
	return nil
}

// leave takes the instance, which does not run, out of its group. The last one releases what the group owns.
func (in *instance) leave() error {
	g, e := in.group, in.module.eng
	in.closed = true
	e.mu.Lock()
	g.live--
	last := g.live == 0
	e.mu.Unlock()
	if !last || g.lost {
		return nil
	}
	g.life.Lock()
	g.gone = true
	C.wasmtime_store_delete(g.store)
	g.life.Unlock()
	C.free(unsafe.Pointer(g.run))
	groups.remove(g.id)
	var errs []error
	for _, m := range g.mems {
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
func (in *instance) Grow(delta uint32) (uint32, bool) {
	if in.usable() != nil || !in.ready || !in.grows {
		return 0, false
	}
	in.group.growing = true
	defer func() { in.group.growing = false }()
	var old C.uint64_t
	if !C.cc_memory_grow(in.group.c, &in.memory, C.uint64_t(delta), &old) {
		return 0, false
	}
	return uint32(old), true
}

// Func implements engine.Instance.
func (in *instance) Func(name string) engine.Func {
	if f := in.fns[name]; f != nil {
		return f
	}
	x, ok := in.module.exports[name]
	if !ok || x.Kind != wasm.ExternFunc || int(x.Index) >= len(in.module.funcs) || in.closed || !in.ready {
		return nil
	}
	params, results, numbers := signature(in.module.types[in.module.funcs[x.Index]])
	var e C.wasmtime_extern_t
	if !numbers || !in.extern(name, &e) {
		return nil
	}
	f := newFunction(in, name, params, results, (*C.wasmtime_func_t)(unsafe.Pointer(&e.of)))
	in.fns[name] = f
	return f
}

// Global implements engine.Instance.
func (in *instance) Global(name string) engine.Global {
	if g := in.globals[name]; g != nil {
		return g
	}
	x, ok := in.module.exports[name]
	if !ok || x.Kind != wasm.ExternGlobal || in.closed || !in.ready {
		return nil
	}
	t := in.module.globals[x.Index]
	var e C.wasmtime_extern_t
	if !engine.IsNumber(t.Type.Kind) || !in.extern(name, &e) {
		return nil
	}
	g := &global{group: in.group, c: *(*C.wasmtime_global_t)(unsafe.Pointer(&e.of)), kind: t.Type.Kind, mutable: t.Mutable}
	in.globals[name] = g
	return g
}

// global implements engine.Global.
type global struct {
	group   *group
	c       C.wasmtime_global_t
	kind    byte
	mutable bool
}

// Get implements engine.Global. A closed instance's is 0.
func (g *global) Get() uint64 {
	g.group.life.RLock()
	defer g.group.life.RUnlock()
	if g.group.gone {
		return 0
	}
	return uint64(C.cc_global_get(g.group.c, &g.c))
}

// Set implements engine.Global. It does nothing once the instance is closed: who nudges a guest may come late.
func (g *global) Set(v uint64) {
	if !g.mutable {
		panic("BUG: set of an immutable global")
	}
	g.group.life.RLock()
	defer g.group.life.RUnlock()
	if g.group.gone {
		return
	}
	C.cc_global_set(g.group.c, &g.c, C.uint8_t(g.kind), C.uint64_t(v))
}
