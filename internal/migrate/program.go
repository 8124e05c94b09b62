package migrate

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
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
	image     image
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
	return &Program{ID: id, Manifest: &r.Manifest, Original: m, Rewriting: took, code: code, image: image{pieces: r.Manifest.Image}}, nil
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

// Close releases the compiled code and the initial memory. Instances must be gone.
func (p *Program) Close(ctx context.Context) error {
	return errors.Join(p.code.Close(ctx), p.image.close())
}

// Linkage is what an instance of a program is linked with.
type Linkage struct {
	WASI *wasi.Process
	// Hooks are the functions of the rewriter's import module, by name.
	Hooks map[string]engine.HostFunc
	// Hosts are the embedder's functions; what is imported, is no WASI and not in here, makes Start fail.
	Hosts Hosts
	// MaxHost bounds the bytes that one call of a host function gets or gives, in numbers and ranges; a call of more
	// ends the run with ErrHostLimit. Default: 1 GiB.
	MaxHost uint64
	// Tracker is how dirty pages are noticed; None on a process that is never captured.
	Tracker linmem.Tracker
	// MemoryLimit is how many bytes the memory may have, below what the module declares; 0: as many as it declares. A
	// growth beyond, or one that the system refuses, then ends the run with engine.ErrMemory: the guest may not see it,
	// since it would succeed elsewhere.
	MemoryLimit uint64
	// Poll is called by each poll of the guest, before it is seen whether its run shall end. Optional.
	Poll func()
}

// Start instantiates the program with the initial image and begins to notice writes. No code of the guest has run. Several
// goroutines may start instances at the same time.
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
	hosts, err := p.link(l, func(f *hostImport) {
		if funcs[f.module][f.name].Call == nil { // WASI's stay
			add(f.module, f.name, f.hostFunc(l.WASI))
		}
	})
	if err != nil {
		return nil, err
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
		Memory: func(lo, hi, reserve uint64) (*linmem.Memory, error) {
			return p.image.memory(lo, hi, linmem.Options{Tracker: l.Tracker, Limit: l.MemoryLimit, Reserve: reserve})
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

// OutputWindow is the credit for output that every attempt begins with, in bytes, on both sides.
const OutputWindow = 256 << 10

// CloneCode is the identity of a clone's code: of the module, the version of the rewriter, how it was told to rewrite, and
// what the embedder's functions do to memory. Both sides compute it, and must agree.
func CloneCode(module wire.ID, candidates []uint32, options wire.Options, hosts []wire.HostRange) wire.ID {
	b := append([]byte("clonecloud clone code\x00"), module[:]...)
	b = binary.LittleEndian.AppendUint32(b, rewrite.Version)
	b = binary.LittleEndian.AppendUint32(b, uint32(options))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(candidates)))
	for _, c := range candidates {
		b = binary.LittleEndian.AppendUint32(b, c)
	}
	for _, r := range hosts {
		for _, v := range [...]uint32{r.Func, r.Pointer, r.Length, r.Count, r.Size, uint32(r.Direction)} {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
	}
	return sha256.Sum256(b)
}
