package runner

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/analysis"
	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/replica/origin"
	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Program is a module that was decoded, analysed, rewritten and compiled: processes are started from it, several at once.
// Safe for concurrent use.
type Program struct {
	cfg  Config
	prog *migrate.Program
	// Delay is what Config.Begin said.
	Delay time.Duration

	begin time.Time     // of Open
	spent time.Duration // on account of the clone since
	// movable says that candidates were chosen; what follows is of them, by id.
	movable  bool
	analysis *analysis.Report
	chosen   []analysis.Func
	reach    []map[string]bool
	options  rewrite.Options
	hello    wire.Hello
	report   device.Report

	mu    sync.Mutex
	first *device.Cloud // guarded by mu; for the process that is started first; nil: taken
}

// StartConfig is what belongs to one process of a Program.
type StartConfig struct {
	Local     local.Config
	Args, Env []string
	Seed      [32]byte // of the process's random generator
	// Files are the directories that follow the process, which it closes; nil: none do.
	Files *origin.Files
	// Policy, Wait and Delay are as in Config.
	Policy      func(r *analysis.Report, cands []analysis.Func) device.Policy
	Wait, Delay time.Duration
	// Whole says that the program was opened for this process alone, so that what it took counts as a part of its start.
	Whole bool
}

// Open prepares a module. A clone for its first process is made ready meanwhile. Of cfg, what StartConfig has is not
// looked at.
func Open(ctx context.Context, cfg Config) (_ *Program, err error) {
	p := &Program{begin: time.Now()}
	if cfg.Log == nil {
		cfg.Log = func(string, ...any) {}
	}
	p.cfg = cfg
	identity := make(chan wire.ID, 1)
	go func() {
		id := migrate.Identity(cfg.Module)
		if cfg.Begin != nil && cfg.Dial != nil {
			p.Delay = cfg.Begin(id)
		}
		identity <- id
	}()
	m, err := wasm.Decode(cfg.Module)
	if err == nil && cfg.Check != nil {
		err = cfg.Check(m)
	}
	id := <-identity // what Begin has begun, the caller may want to end
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModule, err)
	}
	planning := time.Now()
	if err := p.plan(m, id); err != nil {
		return nil, err
	}
	p.spent = time.Since(planning)
	defer func() {
		if err != nil {
			p.Close(context.WithoutCancel(ctx))
		}
	}()
	if o := p.options; o.Wrap || o.CanonicalNaN || o.Poll != rewrite.PollNone {
		p.prog, err = migrate.Prepare(ctx, cfg.Engine, id, m, o)
	} else {
		p.prog, err = migrate.Plain(ctx, cfg.Engine, id, m, cfg.Module)
	}
	var stay *rewrite.StayError
	if errors.As(err, &stay) {
		p.stay(stay.Reason)
		p.prog, err = migrate.Plain(ctx, cfg.Engine, id, m, cfg.Module)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModule, err)
	}
	p.spent += p.prog.Rewriting
	return p, nil
}

// plan analyses the module and begins to make a clone ready.
func (p *Program) plan(m *wasm.Module, id wire.ID) error {
	cfg := &p.cfg
	p.options.CanonicalNaN = cfg.CanonicalNaN
	if cfg.Interruptible {
		p.options.Poll = rewrite.PollOuterLoops
	}
	p.report = device.Report{
		Version: device.ReportVersion, Module: fmt.Sprintf("%x", id), Engine: cfg.Engine.Name(), CanonicalNaN: cfg.CanonicalNaN,
	}
	if cfg.Dial == nil {
		p.report.Stay = cfg.Stay
		return nil
	}
	if cfg.Once && p.Delay > 0 && len(cfg.Analysis.KeepLocal) == 0 { // else the names are checked
		p.stay("earlier runs like this one gained nothing by a clone")
		return nil
	}
	opt := cfg.Analysis
	opt.Alone, opt.Pinned = true, cfg.pins
	r, err := analysis.Analyze(m, opt)
	switch {
	case errors.Is(err, analysis.ErrNoFunction):
		return err // the fault is in the configuration
	case err != nil:
		return fmt.Errorf("%w: %w", ErrModule, err)
	}
	ranges := cfg.Hosts.RangesOf(m)
	switch {
	case r.Stay != "":
		p.report.Stay = r.Stay
		return nil
	case len(r.Candidates) == 0:
		p.report.Stay = "no function of it may move or is worth moving"
		return nil
	case len(ranges) > wire.MaxHostRanges:
		p.report.Stay = fmt.Sprintf("its host functions have %d memory ranges, of which %d can be declared", len(ranges), wire.MaxHostRanges)
		return nil
	}
	p.movable, p.analysis = true, r
	ids := slices.Sorted(slices.Values(r.Candidates))
	p.options.Candidates, p.options.Wrap = ids, true
	for _, f := range r.Funcs {
		p.options.SCC = append(p.options.SCC, f.SCC)
	}
	for _, f := range ids {
		p.chosen = append(p.chosen, r.Funcs[f])
		names := map[string]bool{}
		for im := range r.Funcs[f].Imports.All() {
			names[r.Funcs[im].Name] = true
		}
		p.reach = append(p.reach, names)
	}
	options := wire.OptionPoll
	if cfg.CanonicalNaN {
		options |= wire.OptionCanonicalNaN
	}
	p.hello = wire.Hello{
		Version: wire.Version, Module: id, Code: migrate.CloneCode(id, ids, options, ranges), Options: options, Candidates: ids, Hosts: ranges,
		Engine: cfg.Engine.Name(), Arch: runtime.GOARCH, MemoryMax: linmem.MaxSize, VirtualClock: cfg.Local.VirtualClock,
		FilesKey: cfg.FilesKey,
	}
	if p.Delay == 0 {
		p.first = p.cloud(0) // compiling here and there takes about as long
	}
	return nil
}

// pins says why what can reach an imported function stays on the device, "" if it need not.
func (c *Config) pins(module, name string) string {
	if pinned := c.Analysis.Pinned; pinned != nil {
		if why := pinned(module, name); why != "" {
			return why
		}
	}
	wasi := wasiNames()[module+"."+name]
	host, declared := c.Hosts[module][name]
	switch {
	case len(c.Private.Env) > 0 && (name == "environ_get" || name == "environ_sizes_get") && wasi:
		return "may read a variable that stays on the device"
	case wasi:
		return ""
	case !declared:
		return "calls a host function that is not declared"
	case host.Pinned:
		return "calls a host function that is pinned to the device"
	case max(len(module), len(name)) > maxHostName:
		return "calls a host function with a very long name"
	}
	return ""
}

// ReservedModule is the module that rewritten code imports from.
const ReservedModule = rewrite.Module

// maxHostName is how long the name of a host function that a clone calls for may be.
const maxHostName = wasi.MaxPath

// stay keeps everything here after all.
func (p *Program) stay(reason string) {
	p.report.Stay, p.movable, p.options.Candidates = reason, false, nil
	p.drop()
}

// cloud begins to make a clone ready for one process.
func (p *Program) cloud(delay time.Duration) *device.Cloud {
	cfg := &p.cfg
	c := &device.Cloud{
		Dial: cfg.Dial, Peer: cfg.Peer, Module: cfg.Module, Log: cfg.Log, Delay: delay, Begin: p.begin, Events: cfg.Events,
		Alike: cfg.Alike, MaxModule: cfg.Limits.Upload, Hello: p.hello,
	}
	if cfg.Recall != nil {
		c.Known = cfg.Recall(c.Hello.Code)
	}
	c.Start()
	return c
}

// take gives the clone that is being made ready to the caller; nil: another has it.
func (p *Program) take() *device.Cloud {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.first
	p.first = nil
	return c
}

func (p *Program) drop() {
	if c := p.take(); c != nil {
		c.Close()
	}
}

// Movable tells whether functions of it can move, so that its processes have clones.
func (p *Program) Movable() bool { return p.movable }

// Identity is that of the module.
func (p *Program) Identity() wire.ID { return p.prog.ID }

// Module is the module as it was decoded, not to be changed.
func (p *Program) Module() *wasm.Module { return p.prog.Original }

// Close releases everything. Its processes must be closed before.
func (p *Program) Close(ctx context.Context) {
	p.drop()
	if p.prog != nil {
		p.prog.Close(ctx)
	}
}

// wasiNames are the functions of WASI as "module.name".
var wasiNames = sync.OnceValue(func() map[string]bool {
	names := map[string]bool{}
	for _, abi := range []wasi.ABI{wasi.Preview1, wasi.Unstable} {
		for _, f := range wasi.Funcs(&wasi.Process{}, abi) {
			names[f.Module+"."+f.Name] = true
		}
	}
	return names
})
