package wazero

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	wz "github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/linmem"
)

// module is a compiled module.
type module struct {
	eng     *wazeroEngine
	code    wz.CompiledModule
	imports []imported
	funcs   map[string]api.FunctionDefinition // imported, by key
	exports map[string]api.FunctionDefinition // functions whose type has only numbers
}

func key(module, name string) string { return module + "\x00" + name }

func newModule(e *wazeroEngine, code wz.CompiledModule, imports []imported) *module {
	m := &module{eng: e, code: code, imports: imports,
		funcs: map[string]api.FunctionDefinition{}, exports: map[string]api.FunctionDefinition{}}
	for _, f := range code.ImportedFunctions() {
		module, name, _ := f.Import()
		m.funcs[key(module, name)] = f
	}
	for name, f := range code.ExportedFunctions() {
		if numbers(f.ParamTypes()) && numbers(f.ResultTypes()) {
			m.exports[name] = f
		}
	}
	return m
}

func numbers(types []byte) bool {
	return !slices.ContainsFunc(types, func(t byte) bool { return !engine.IsNumber(t) })
}

// Close implements engine.Module.
func (m *module) Close(ctx context.Context) error {
	if err := m.code.Close(ctx); err != nil {
		return fmt.Errorf("close module: %w", err)
	}
	return nil
}

// Instantiate implements engine.Module.
func (m *module) Instantiate(ctx context.Context, cfg engine.Config) (engine.Instance, error) {
	in, err := m.instantiate(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("instantiate module: %w", err)
	}
	return in, nil
}

func (m *module) instantiate(ctx context.Context, cfg engine.Config) (*instance, error) {
	if err := ctx.Err(); err != nil {
		return nil, engine.Ended(ctx)
	}
	in := &instance{module: m, fns: map[string]*function{}, globals: map[string]*global{}}
	in.perCall, in.limit = m.eng.reentry()
	links, err := in.resolve(cfg)
	if err != nil {
		return nil, err
	}
	if err := m.eng.join(in, links, cfg.Beside); err != nil {
		return nil, err
	}
	hosts, err := in.hostModules(cfg.Funcs)
	if err != nil {
		return nil, errors.Join(err, in.Close(ctx))
	}
	if err := in.start(ctx, cfg, links, hosts); err != nil {
		// A linked table may hold functions of this instance even so: its memory lives on with the others.
		return nil, errors.Join(err, in.Close(ctx))
	}
	return in, nil
}

// resolve checks every import against cfg, so that the fault has one text, and finds the linked instances by name.
func (in *instance) resolve(cfg engine.Config) (map[string]*instance, error) {
	links := map[string]*instance{}
	for _, im := range in.module.imports {
		fail := func(format string, args ...any) error {
			return &engine.ImportError{Module: im.module, Name: im.name, Reason: fmt.Sprintf(format, args...)}
		}
		if funcs, ok := cfg.Funcs[im.module]; ok {
			if _, both := cfg.Link[im.module]; both {
				return nil, fail("its module is both among the host's functions and linked")
			}
			f, ok := funcs[im.name]
			if im.kind != kindFunc || !ok || f.Call == nil {
				return nil, fail("not offered by the host")
			}
			want := in.module.funcs[key(im.module, im.name)]
			if want == nil || !slices.Equal(want.ParamTypes(), f.Params) || !slices.Equal(want.ResultTypes(), f.Results) {
				return nil, fail("host function is %s, the module wants another type", engine.Signature(f.Params, f.Results))
			}
			if !numbers(f.Params) || !numbers(f.Results) {
				return nil, fail("type %s: %v", engine.Signature(f.Params, f.Results), engine.ErrUnsupported)
			}
			continue
		}
		linked, ok := cfg.Link[im.module].(*instance)
		switch {
		case cfg.Link[im.module] == nil:
			return nil, fail("no such module")
		case !ok || linked.module.eng != in.module.eng:
			return nil, fail("linked instance is of another engine")
		case linked.closed:
			return nil, fail("linked %v", engine.ErrClosed)
		case !linked.has(im):
			return nil, fail("not exported by the linked instance")
		}
		links[im.module] = linked
		if im.kind == kindMemory {
			in.mem = linked.mem
		}
	}
	return links, nil
}

// has tells whether an instance exports what im asks for, as far as wazero lets one see; the rest fails later.
func (in *instance) has(im imported) bool {
	switch im.kind {
	case kindFunc:
		return in.module.code.ExportedFunctions()[im.name] != nil
	case kindMemory:
		return in.mod.ExportedMemory(im.name) != nil
	case kindGlobal:
		return in.mod.ExportedGlobal(im.name) != nil
	}
	return true
}

// linkFailure names the import that wazero refused, if that is what err says.
func (in *instance) linkFailure(err error) error {
	text := err.Error()
	for _, im := range in.module.imports {
		_, reason, ok := strings.Cut(text, "["+im.module+"."+im.name+"]: ")
		if ok && strings.HasPrefix(text, "import ") || strings.HasPrefix(text, strconv.Quote(im.name)+" is not exported in module ") ||
			strings.HasPrefix(text, "export "+strconv.Quote(im.name)+" in module ") {
			if reason == "" {
				reason = "not exported by the linked instance"
			}
			return &engine.ImportError{Module: im.module, Name: im.name, Reason: reason}
		}
	}
	return nil
}

// hostModules makes a wazero module of each module of host functions, with the functions that are imported.
func (in *instance) hostModules(funcs map[string]map[string]engine.HostFunc) (map[string]api.Module, error) {
	ctx := context.Background()
	builders := map[string]wz.HostModuleBuilder{}
	for _, im := range in.module.imports {
		f, ok := funcs[im.module][im.name]
		if !ok {
			continue
		}
		b := builders[im.module]
		if b == nil {
			// wazero wants a name, which shows in its stack traces alone.
			b = in.module.eng.rt.NewHostModuleBuilder("host." + im.module)
			builders[im.module] = b
		}
		b.NewFunctionBuilder().WithGoModuleFunction(in.host(f), f.Params, f.Results).Export(im.name)
	}
	hosts := map[string]api.Module{}
	for name, b := range builders {
		code, err := b.Compile(ctx)
		if err != nil {
			return nil, fmt.Errorf("compile host module %q: %w", name, err)
		}
		in.owned = append(in.owned, code)
		mod, err := in.module.eng.rt.InstantiateModule(ctx, code, wz.NewModuleConfig().WithName(""))
		if err != nil {
			return nil, fmt.Errorf("instantiate host module %q: %w", name, err)
		}
		in.owned = append(in.owned, mod)
		hosts[name] = mod
	}
	return hosts, nil
}

// start instantiates the wazero module, which runs its start function.
func (in *instance) start(ctx context.Context, cfg engine.Config, links map[string]*instance, hosts map[string]api.Module) (err error) {
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(*memoryFailure)
			if !ok {
				panic(r)
			}
			err = f.err
		}
	}()
	wctx := experimental.WithMemoryAllocator(ctx, allocator{in, cfg.Memory})
	wctx = experimental.WithImportResolver(wctx, func(name string) api.Module {
		if mod, ok := hosts[name]; ok {
			return mod
		}
		return links[name].mod
	})
	if done := ctx.Done(); done != nil {
		defer in.watch(ctx, done)()
	}
	mod, err := in.module.eng.rt.InstantiateModule(wctx, in.module.code, wz.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		if text := err.Error(); strings.HasPrefix(text, "data[") && strings.HasSuffix(text, "out of bounds memory access") {
			return &engine.Trap{Kind: engine.TrapMemoryBounds, Detail: text}
		}
		if err := in.linkFailure(err); err != nil {
			return err
		}
		return in.failure(err)
	}
	in.mod = mod
	in.owned = append(in.owned, mod)
	if cfg.StopGlobal != "" {
		g, ok := in.Global(cfg.StopGlobal).(*global)
		if !ok || !g.mutable || g.typ != engine.I32 {
			return fmt.Errorf("stop global %q: not an exported mutable i32", cfg.StopGlobal)
		}
		in.stopMu.Lock() // ctx may be cancelled just now
		in.stopGlobal = g
		in.stopMu.Unlock()
	}
	return nil
}

// memoryFailure is the panic by which an allocator reaches over wazero, which has no place for its error.
type memoryFailure struct{ err error }

// allocator makes the memory that an instance defines.
type allocator struct {
	in   *instance
	make func(minSize, maxSize, reserve uint64) (*linmem.Memory, error)
}

// Allocate implements experimental.MemoryAllocator.
func (a allocator) Allocate(_, maxSize uint64) experimental.LinearMemory {
	return &memory{in: a.in, make: a.make, max: min(maxSize, linmem.MaxSize)}
}

// memory lets wazero use a linmem.Memory. It is made at the first Reallocate, which tells its size.
type memory struct {
	in   *instance
	make func(minSize, maxSize, reserve uint64) (*linmem.Memory, error)
	max  uint64
}

// Reallocate implements experimental.LinearMemory.
func (m *memory) Reallocate(size uint64) []byte {
	if m.in.mem != nil {
		if !m.in.mem.Grow(size) {
			if m.in.mem.Withheld(size) {
				panic(&hostError{engine.ErrMemory})
			}
			return nil
		}
		return m.in.mem.Bytes()
	}
	make := m.make
	if make == nil {
		make = func(minSize, maxSize, _ uint64) (*linmem.Memory, error) {
			return linmem.New(minSize, maxSize, linmem.Options{})
		}
	}
	mem, err := make(size, m.max, 0)
	if err == nil && mem.Size() < size {
		err = errors.Join(fmt.Errorf("%d bytes instead of %d", mem.Size(), size), mem.Close())
	}
	if err != nil {
		panic(&memoryFailure{fmt.Errorf("make memory: %w", err)})
	}
	m.in.mem, m.in.ownsMem = mem, true
	return mem.Bytes()
}

// Free implements experimental.LinearMemory. The instance frees the memory itself: wazero would do so with the first
// instance that imports it.
func (m *memory) Free() {}
