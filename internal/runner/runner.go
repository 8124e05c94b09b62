// Package runner puts a run together: it decodes and analyses a module, chooses candidates, prepares the device's
// variant of its code while a clone is made ready beside, runs it, and reports. It decides nothing during the run.
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
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Config says what to run, on what, and with which cloud. Only Module and Engine are needed.
type Config struct {
	Module []byte
	Engine engine.Engine // the device's
	Local  local.Config
	Hosts  migrate.Hosts
	// Args are the program's arguments, its name first.
	Args, Env []string
	Seed      [32]byte // of the process's random generator
	// Invoke names an export to call in place of _start; Params are its arguments as raw slots.
	Invoke string
	Params []uint64

	// Dial reaches a node; nil: everything runs here, and the module is not rewritten but for CanonicalNaN.
	Dial link.Dialer
	Peer peer.Config
	// Recall gives what earlier runs have learned of the cloud, for code with this identity; nil: nothing. Alike refuses
	// clones on another engine or architecture than the device's.
	Recall func(code wire.ID) *device.Known
	Alike  bool
	// Begin is told the module's identity as soon as it is known, before anything is decided, and says how long the run may
	// go on before a clone is made ready; nil: a clone is made ready at once. Any goroutine may call it.
	Begin func(module wire.ID) (delay time.Duration)
	// Policy makes the policy for the chosen candidates, whose ids are their positions; nil: device.Never.
	Policy   func(r *analysis.Report, cands []analysis.Func) device.Policy
	Analysis analysis.Options
	// CanonicalNaN gives NaNs one bit pattern on both sides; needed where their engines or architectures differ.
	CanonicalNaN bool
	// Interruptible lets a cancelled context end code that calls nothing, at the cost of polls.
	Interruptible bool
	Tracker       linmem.Tracker
	// Wait is how long the start may take on account of the clone: for analysing and rewriting, and what is left of
	// it for the first candidate to wait until the clone is ready.
	Wait time.Duration
	// Stay is why there is no Dial, for the report.
	Stay     string
	Limits   device.Limits
	Private  device.Private // what never leaves the device
	Compress bool
	// Log is told what a person should know, in one line each; Events every decision and what came of it.
	Log    func(format string, args ...any)
	Events trace.Sink
	// Audit is told what of the device's files and streams a clone was given; Away is as in device.Config.
	Audit func(format string, args ...any)
	Away  func() (back func())
}

// Result is what a run came to.
type Result struct {
	Results []uint64 // of Invoke
	Report  device.Report
	// Learned is what a later run of code with the identity Code may know of the cloud, nil if nothing was learned.
	Learned *device.Known
	Code    wire.ID
	// Ready is how long a later run should expect a clone to take until it is ready; 0: not known.
	Ready time.Duration
}

// ErrModule marks a module that cannot be run: malformed, or asking for what is not there.
var ErrModule = errors.New("cannot run module")

// ErrInvoke marks an export to call that is not there or takes other arguments.
var ErrInvoke = errors.New("cannot invoke")

// Run runs the module once. The error is how the guest ended (*engine.Trap, *wasi.ExitError …) or what went wrong;
// the report is complete in each case in which the guest began.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	i, err := Load(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer i.Close(context.WithoutCancel(ctx))
	results, err := i.main(ctx)
	report, err := i.Finish(err)
	r := &Result{Results: results, Report: report}
	if i.cloud != nil {
		r.Learned, r.Code, r.Ready = i.cloud.Learned(), i.cloud.Hello.Code, i.cloud.Ready()
	}
	return r, err
}

// Instance is a loaded module whose exports can be called, with offloading. One goroutine at a time.
type Instance struct {
	cfg   Config
	local *local.System
	prog  *migrate.Program
	proc  *migrate.Process
	cloud *device.Cloud
	ctrl  *device.Controller
}

// Load prepares a module and instantiates it; its start function has run.
func Load(ctx context.Context, cfg Config) (_ *Instance, err error) {
	begin := time.Now()
	if cfg.Log == nil {
		cfg.Log = func(string, ...any) {}
	}
	identity, delay := make(chan wire.ID, 1), time.Duration(0)
	go func() {
		id := migrate.Identity(cfg.Module)
		if cfg.Begin != nil && cfg.Dial != nil {
			delay = cfg.Begin(id)
		}
		identity <- id
	}()
	m, err := wasm.Decode(cfg.Module)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModule, err)
	}
	i := &Instance{cfg: cfg}
	if i.local, err = local.New(cfg.Local); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			i.Close(context.WithoutCancel(ctx))
		}
	}()
	id := <-identity
	planning := time.Now()
	plan, err := i.plan(m, id, delay, begin)
	if err != nil {
		return nil, err
	}
	wait := cfg.Wait - time.Since(planning)
	if o := plan.options; o.Wrap || o.CanonicalNaN || o.Poll != rewrite.PollNone {
		i.prog, err = migrate.Prepare(ctx, cfg.Engine, id, m, o)
	} else {
		i.prog, err = migrate.Plain(ctx, cfg.Engine, id, m, cfg.Module)
	}
	var stay *rewrite.StayError
	if errors.As(err, &stay) {
		plan.report.Stay = stay.Reason
		i.dropCloud()
		plan.options.Candidates = nil
		i.prog, err = migrate.Plain(ctx, cfg.Engine, id, m, cfg.Module)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModule, err)
	}
	i.ctrl = device.New(device.Config{
		Local: i.local, Hosts: cfg.Hosts, Cloud: i.cloud, Policy: plan.policy, Reach: plan.reach,
		Limits: cfg.Limits, Wait: max(wait-i.prog.Rewriting, 0), Compress: cfg.Compress, Begin: begin, Events: cfg.Events,
		Private: cfg.Private, Audit: cfg.Audit, Away: cfg.Away,
	})
	w := &wasi.Process{State: i.local.NewState(cfg.Args, cfg.Env, cfg.Seed), System: i.ctrl.System()}
	if err := cfg.Private.Check(w.State); err != nil {
		return nil, err
	}
	tracker := cfg.Tracker
	if i.cloud == nil {
		tracker = linmem.None
	}
	i.proc, err = i.prog.Start(ctx, migrate.Linkage{
		WASI: w, Hooks: i.ctrl.Hooks(i.prog.Manifest), Hosts: cfg.Hosts, Tracker: tracker,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModule, err)
	}
	plan.report.Start = time.Since(begin)
	i.ctrl.Attach(i.proc, plan.report)
	if s := i.prog.Manifest.Start; s != "" {
		if _, err := i.call(ctx, s, nil); err != nil {
			_, err = i.ctrl.Finish(err)
			return nil, fmt.Errorf("run start function: %w", err)
		}
	}
	return i, nil
}

// plan is what was decided before the run.
type plan struct {
	options rewrite.Options
	policy  device.Policy
	reach   []map[string]bool
	report  device.Report
}

// plan analyses the module and begins to make a clone ready.
func (i *Instance) plan(m *wasm.Module, id wire.ID, delay time.Duration, begin time.Time) (*plan, error) {
	cfg := i.cfg
	p := &plan{policy: device.Never{}}
	p.options.CanonicalNaN = cfg.CanonicalNaN
	if cfg.Interruptible {
		p.options.Poll = rewrite.PollOuterLoops
	}
	p.report = device.Report{
		Version: device.ReportVersion, Module: fmt.Sprintf("%x", id), Engine: cfg.Engine.Name(), CanonicalNaN: cfg.CanonicalNaN,
	}
	if cfg.Dial == nil {
		p.report.Stay = cfg.Stay
		return p, nil
	}
	opt := cfg.Analysis
	opt.Alone = true
	pinned := opt.Pinned
	opt.Pinned = func(module, name string) string {
		if pinned != nil {
			if why := pinned(module, name); why != "" {
				return why
			}
		}
		if len(cfg.Private.Env) > 0 && (name == "environ_get" || name == "environ_sizes_get") && wasiNames()[module+"."+name] {
			return "may read a variable that stays on the device"
		}
		if wasiNames()[module+"."+name] || cfg.Hosts.Has(module, name) {
			return ""
		}
		return "calls a host function that is not declared by value"
	}
	r, err := analysis.Analyze(m, opt)
	switch {
	case errors.Is(err, analysis.ErrNoFunction):
		return nil, err // the fault is in the configuration
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrModule, err)
	}
	if p.report.Stay = r.Stay; r.Stay != "" || len(r.Candidates) == 0 {
		if r.Stay == "" {
			p.report.Stay = "no function of it may move or is worth moving"
		}
		return p, nil
	}
	ids := slices.Sorted(slices.Values(r.Candidates))
	p.options.Candidates, p.options.Wrap = ids, true
	for _, f := range r.Funcs {
		p.options.SCC = append(p.options.SCC, f.SCC)
	}
	var chosen []analysis.Func
	for _, f := range ids {
		chosen = append(chosen, r.Funcs[f])
		names := map[string]bool{}
		for im := range r.Funcs[f].Imports.All() {
			names[r.Funcs[im].Name] = true
		}
		p.reach = append(p.reach, names)
	}
	if cfg.Policy != nil {
		p.policy = cfg.Policy(r, chosen)
	}
	options := wire.OptionPoll
	if cfg.CanonicalNaN {
		options |= wire.OptionCanonicalNaN
	}
	i.cloud = &device.Cloud{Dial: cfg.Dial, Peer: cfg.Peer, Module: cfg.Module, Log: cfg.Log, Delay: delay, Begin: begin, Events: cfg.Events, Alike: cfg.Alike, MaxModule: cfg.Limits.Upload, Hello: wire.Hello{
		Version: wire.Version, Module: id, Code: migrate.CloneCode(id, ids, options), Options: options, Candidates: ids,
		Engine: cfg.Engine.Name(), Arch: runtime.GOARCH, MemoryMax: linmem.MaxSize, VirtualClock: cfg.Local.VirtualClock,
	}}
	if cfg.Recall != nil {
		i.cloud.Known = cfg.Recall(i.cloud.Hello.Code)
	}
	i.cloud.Start() // compiling here and there takes about as long
	return p, nil
}

func (i *Instance) dropCloud() {
	if i.cloud != nil {
		i.cloud.Close()
		i.cloud = nil
	}
}

// main runs the program: a command's _start, or what Invoke names.
func (i *Instance) main(ctx context.Context) ([]uint64, error) {
	if i.cfg.Invoke == "" {
		if i.proc.Inst.Func("_start") == nil {
			return nil, fmt.Errorf("%w: the module exports no function _start; name one to invoke", ErrInvoke)
		}
		return i.call(ctx, "_start", nil)
	}
	if i.proc.Inst.Func("_initialize") != nil {
		if _, err := i.call(ctx, "_initialize", nil); err != nil {
			return nil, err
		}
	}
	return i.Call(ctx, i.cfg.Invoke, i.cfg.Params)
}

// Call calls an export with arguments as raw slots.
func (i *Instance) Call(ctx context.Context, export string, args []uint64) ([]uint64, error) {
	f := i.proc.Inst.Func(export)
	if f == nil {
		return nil, fmt.Errorf("%w: the module exports no function %q", ErrInvoke, export)
	}
	if params, _ := f.Type(); len(args) != len(params) {
		return nil, fmt.Errorf("%w: %s takes %d arguments, %d given", ErrInvoke, export, len(params), len(args))
	}
	return i.call(ctx, export, args)
}

func (i *Instance) call(ctx context.Context, export string, args []uint64) ([]uint64, error) {
	f := i.proc.Inst.Func(export)
	params, results := f.Type()
	stack := make([]uint64, max(len(params), len(results)))
	copy(stack, args)
	if err := f.Call(ctx, stack); err != nil {
		i.ctrl.Unwind()
		return nil, err
	}
	return stack[:len(results)], nil
}

// Process is the instance's process, to be looked at between calls.
func (i *Instance) Process() *migrate.Process { return i.proc }

// AwaitClone waits until a clone is ready, for at most d; false: there is none.
func (i *Instance) AwaitClone(ctx context.Context, d time.Duration) bool {
	return i.cloud != nil && i.cloud.Await(ctx, d)
}

// Traffic returns the bytes that went to the cloud and came back so far, and have been accounted for.
func (i *Instance) Traffic() (up, down uint64) {
	if i.cloud == nil {
		return 0, 0
	}
	return i.cloud.Traffic()
}

// Finish ends the run that ended with err: the report, and the error as it counts.
func (i *Instance) Finish(err error) (device.Report, error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("run stopped: %w", err)
	}
	return i.ctrl.Finish(err)
}

// Close releases everything.
func (i *Instance) Close(ctx context.Context) {
	i.dropCloud()
	if i.proc != nil {
		i.proc.Inst.Close(ctx)
	}
	if i.prog != nil {
		i.prog.Close(ctx)
	}
	if i.local != nil {
		i.local.Close()
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
