package migrate

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Program is one variant of a module's code, compiled: what instances of a process are made from.
type Program struct {
	ID       wire.ID // SHA-256 of the original module
	Manifest *rewrite.Manifest
	Original *wasm.Module
	// Rewriting is how long making the variant took, without compiling it.
	Rewriting time.Duration
	code      engine.Module
}

// Identity is the SHA-256 of an original module: the identity of its process states.
func Identity(bin []byte) wire.ID { return sha256.Sum256(bin) }

// Prepare rewrites m, which was decoded from the original module with the given identity, and compiles it.
func Prepare(ctx context.Context, eng engine.Engine, id wire.ID, m *wasm.Module, opt rewrite.Options) (*Program, error) {
	opt.Source = id
	begin := time.Now()
	r, err := rewrite.Rewrite(m, opt)
	if err != nil {
		return nil, err
	}
	took := time.Since(begin)
	code, err := eng.Compile(ctx, r.Binary)
	if err != nil {
		return nil, fmt.Errorf("compile rewritten module: %w", err)
	}
	return &Program{ID: id, Manifest: &r.Manifest, Original: m, Rewriting: took, code: code}, nil
}

// Plain compiles a module that stays on the device as it is.
func Plain(ctx context.Context, eng engine.Engine, id wire.ID, m *wasm.Module, bin []byte) (*Program, error) {
	code, err := eng.Compile(ctx, bin)
	if err != nil {
		return nil, err
	}
	man := &rewrite.Manifest{}
	return &Program{ID: id, Manifest: man, Original: m, code: code}, nil
}

// Close releases the compiled code. Instances must be gone.
func (p *Program) Close(ctx context.Context) error { return p.code.Close(ctx) }

// Linkage is what an instance of a program is linked with.
type Linkage struct {
	WASI *wasi.Process
	// Hooks are the functions of the rewriter's import module, by name.
	Hooks map[string]engine.HostFunc
	// Hosts are functions that the embedder declared by value; what is imported, is no WASI and not in here, makes
	// Start fail.
	Hosts Hosts
	// Tracker is how dirty pages are noticed; None on a process that is never captured.
	Tracker linmem.Tracker
	// MemoryLimit is how many bytes the memory may have, below what the module declares; 0: as many as it declares. A
	// growth beyond, or one that the system refuses, then ends the run with engine.ErrMemory: the guest may not see it,
	// since it would succeed elsewhere.
	MemoryLimit uint64
	// Poll is called by each poll of the guest, before it is seen whether its run shall end. Optional.
	Poll func()
}

// Start instantiates the program with the initial image and begins to notice writes. No code of the guest has run.
func (p *Program) Start(ctx context.Context, l Linkage) (*Process, error) {
	funcs := map[string]map[string]engine.HostFunc{}
	add := func(module, name string, f engine.HostFunc) {
		if funcs[module] == nil {
			funcs[module] = map[string]engine.HostFunc{}
		}
		funcs[module][name] = f
	}
	for _, abi := range []wasi.ABI{wasi.Preview1, wasi.Unstable} {
		for _, f := range wasi.Funcs(l.WASI, abi) {
			add(f.Module, f.Name, wasiHost(f))
		}
	}
	for name, f := range l.Hooks {
		add(rewrite.Module, name, f)
	}
	hosts := map[[2]string]wasm.FuncType{}
	for _, im := range p.Original.Imports {
		if im.Kind != wasm.ExternFunc || !l.Hosts.Has(im.Module, im.Name) || funcs[im.Module][im.Name].Call != nil {
			continue
		}
		if f, ok := valueHost(p.Original, im, l.WASI); ok {
			add(im.Module, im.Name, f)
			hosts[[2]string{im.Module, im.Name}] = p.Original.Types[im.Type]
		}
	}
	if m := p.Manifest; m.Stop != "" && funcs[rewrite.Module][rewrite.ImportPoll].Call == nil {
		add(rewrite.Module, rewrite.ImportPoll, engine.HostFunc{Call: func(ctx context.Context, _ engine.Instance, _ []uint64) error {
			if l.Poll != nil {
				l.Poll()
			}
			return context.Cause(ctx)
		}})
	}
	inst, err := p.code.Instantiate(ctx, engine.Config{
		Funcs: funcs,
		Memory: func(lo, hi uint64) (*linmem.Memory, error) {
			return linmem.New(lo, hi, linmem.Options{Tracker: l.Tracker, Limit: l.MemoryLimit})
		},
		StopGlobal: p.Manifest.Stop,
	})
	if err != nil {
		return nil, err
	}
	proc, err := Bind(inst, p.Manifest, l.WASI)
	if err == nil {
		proc.hosts = hosts
	}
	if err == nil && proc.Mem != nil && l.Tracker != linmem.None {
		err = proc.Mem.Track()
	}
	if err != nil {
		inst.Close(ctx)
		return nil, err
	}
	return proc, nil
}

func wasiHost(f wasi.Func) engine.HostFunc {
	return engine.HostFunc{Params: f.Params, Results: f.Results,
		Call: func(ctx context.Context, inst engine.Instance, stack []uint64) error {
			var mem []byte
			if m := inst.Memory(); m != nil {
				mem = m.Bytes()
			}
			return f.Call(ctx, mem, stack)
		}}
}

// OpHost is the operation of a host function that an embedder declared by value: Path its module, Path2 its name,
// Data the arguments as 8 bytes each, Size the number of results, which come back in Data likewise.
const OpHost = wasi.OpOther

// Hosts are host functions that get and give only numbers, by module and name.
type Hosts map[string]map[string]func(ctx context.Context, stack []uint64) error

// Has tells whether the function is declared.
func (h Hosts) Has(module, name string) bool { return h[module][name] != nil }

// System answers OpHost from h and passes everything else to s.
func (h Hosts) System(s wasi.System) wasi.System {
	if len(h) == 0 {
		return s
	}
	return &hostSystem{h, s}
}

type hostSystem struct {
	hosts Hosts
	next  wasi.System
}

func (s *hostSystem) Do(ctx context.Context, req *wasi.Request, resp *wasi.Response) error {
	if req.Op != OpHost {
		return s.next.Do(ctx, req, resp)
	}
	f := s.hosts[req.Path][req.Path2]
	if f == nil || len(req.Data)%8 != 0 || req.Size > maxHostSlots {
		return fmt.Errorf("call of host function %q %q: not declared, or malformed", req.Path, req.Path2)
	}
	stack := make([]uint64, max(len(req.Data)/8, int(req.Size)))
	for i := range len(req.Data) / 8 {
		stack[i] = binary.LittleEndian.Uint64(req.Data[8*i:])
	}
	if err := f(ctx, stack); err != nil {
		return err
	}
	resp.Data = resp.Data[:0]
	for _, v := range stack[:req.Size] {
		resp.Data = binary.LittleEndian.AppendUint64(resp.Data, v)
	}
	return nil
}

const maxHostSlots = 1000

// CheckHost tells whether an OpHost that came from the other side is a call that the guest could make: of a host
// function that the module imports, with arguments of its type. Embedders rely on that.
func (p *Process) CheckHost(req *wasi.Request) error {
	ft, ok := p.hosts[[2]string{req.Path, req.Path2}]
	switch {
	case !ok:
		return fmt.Errorf("no host function %q %q is imported", req.Path, req.Path2)
	case len(req.Data) != 8*len(ft.Params) || req.Size != uint64(len(ft.Results)):
		return fmt.Errorf("host function %q %q with %d bytes of arguments and %d results", req.Path, req.Path2, len(req.Data), req.Size)
	}
	for i, t := range ft.Params {
		if v := binary.LittleEndian.Uint64(req.Data[8*i:]); (t.Kind == typeI32 || t.Kind == typeF32) && v>>32 != 0 {
			return fmt.Errorf("argument %d of host function %q %q is out of its type's range", i, req.Path, req.Path2)
		}
	}
	return nil
}

// valueHost makes the import that carries a host function's arguments to the System; false for a signature that is
// not all numbers.
func valueHost(m *wasm.Module, im wasm.Import, w *wasi.Process) (engine.HostFunc, bool) {
	ft := m.Types[im.Type]
	var f engine.HostFunc
	for _, t := range ft.Params {
		f.Params = append(f.Params, t.Kind)
	}
	for _, t := range ft.Results {
		f.Results = append(f.Results, t.Kind)
	}
	for _, k := range append(append([]byte{}, f.Params...), f.Results...) {
		if k > 0x7f || k < 0x7c {
			return f, false
		}
	}
	f.Call = func(ctx context.Context, _ engine.Instance, stack []uint64) error {
		req := wasi.Request{Op: OpHost, Path: im.Module, Path2: im.Name, Size: uint64(len(f.Results))}
		for i := range f.Params {
			req.Data = binary.LittleEndian.AppendUint64(req.Data, stack[i])
		}
		var resp wasi.Response
		if err := w.System.Do(ctx, &req, &resp); err != nil {
			return err
		}
		if len(resp.Data) != 8*len(f.Results) {
			return fmt.Errorf("host function %q %q: answer of %d bytes for %d results", im.Module, im.Name, len(resp.Data), len(f.Results))
		}
		for i := range f.Results {
			stack[i] = binary.LittleEndian.Uint64(resp.Data[8*i:])
		}
		return nil
	}
	return f, true
}

// OutputWindow is the credit for output that every attempt begins with, in bytes, on both sides.
const OutputWindow = 256 << 10

// CloneCode is the identity of a clone's code: of the module, the version of the rewriter and how it was told to
// rewrite. Both sides compute it, and must agree.
func CloneCode(module wire.ID, candidates []uint32, options wire.Options) wire.ID {
	b := append([]byte("clonecloud clone code\x00"), module[:]...)
	b = binary.LittleEndian.AppendUint32(b, rewrite.Version)
	b = binary.LittleEndian.AppendUint32(b, uint32(options))
	for _, c := range candidates {
		b = binary.LittleEndian.AppendUint32(b, c)
	}
	return sha256.Sum256(b)
}
