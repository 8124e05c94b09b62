// Package runner puts runs together: it decodes and analyses a module, chooses candidates, prepares the device's variant
// of its code while a clone is made ready beside (Program), makes processes of it (Instance), runs them, and reports. It
// decides nothing during a run.
package runner

import (
	"context"
	"errors"
	"time"

	"github.com/clonecloud/clonecloud/internal/analysis"
	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/replica/origin"
	"github.com/clonecloud/clonecloud/internal/trace"
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
	// FilesKey is what the node encrypts files with; zero: it keeps none. FilesPeer names the node; "": it does not outlive the
	// run.
	FilesKey  [32]byte
	FilesPeer string
	// Files makes the directories that follow the process; nil: none do.
	Files func() *origin.Files
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
	// Once says that there will be one run. If that is not to have a clone at once, it gets by without any, and with code
	// that has no wrappers.
	Once bool
	// Policy makes the policy for the chosen candidates, whose ids are their positions; nil: device.Never.
	Policy   func(r *analysis.Report, cands []analysis.Func) device.Policy
	Analysis analysis.Options
	// Check judges the module once it is decoded. Optional.
	Check func(m *wasm.Module) error
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
	// Vain says that no clone became ready in this run.
	Vain bool
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
	var results []uint64
	if cfg.Invoke == "" {
		err = i.Main(ctx)
	} else if err = i.Initialize(ctx); err == nil {
		results, err = i.Call(ctx, cfg.Invoke, cfg.Params)
	}
	report, err := i.Finish(err)
	r := i.Result()
	r.Results, r.Report = results, report
	return r, err
}

// Load opens a module for one process, and starts that; its start function has run.
func Load(ctx context.Context, cfg Config) (*Instance, error) {
	p, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	var files *origin.Files
	if cfg.Files != nil && p.Movable() {
		files = cfg.Files()
	}
	i, err := p.Start(ctx, StartConfig{
		Files: files, Local: cfg.Local, Args: cfg.Args, Env: cfg.Env, Seed: cfg.Seed, Policy: cfg.Policy, Wait: cfg.Wait, Delay: p.Delay, Whole: true,
	})
	if err != nil {
		p.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	i.owns = true
	return i, nil
}
