// Package clonecloud runs unmodified WebAssembly programs (WASI preview 1) on a weak device and lets their expensive
// functions execute on a clone of the running process elsewhere. Output, exit code and files are those of a run
// on the device alone, whatever moves and whatever fails.
//
// [Run] runs a program once:
//
//	report, err := clonecloud.Run(ctx, clonecloud.Config{
//		Module: wasm,
//		Args:   []string{"prog", "-n", "10"},
//		Stdout: os.Stdout,
//		Cloud:  clonecloud.NewLocalCloud(clonecloud.LocalCloudConfig{}),
//	})
//
// A guest that exits with a code other than 0 makes Run return an [*ExitError], one that traps a [*Trap].
//
// [Load] and [Program.Start] make a [Process], whose exports an application calls as it calls a plug-in, and which may call
// functions of the application in turn, see [HostFunc].
package clonecloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/clonecloud/clonecloud/internal/analysis"
	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/engines"
	"github.com/clonecloud/clonecloud/internal/learned"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/runner"
	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Report says what a run did: which functions went where, and what that took.
type Report = device.Report

// Event is one thing that happened in a run, see Config.Events.
type Event = trace.Event

// FunctionReport is what became of one function.
type FunctionReport = device.FunctionReport

// ExitError is how a guest ends that exits with a code other than 0.
type ExitError = wasi.ExitError

// Exception is how a guest ends that threw what nothing caught.
type Exception = engine.Exception

// Trap is how a guest ends that did what the specification forbids.
type Trap = engine.Trap

// Errors of Run, Load and a Process, for errors.Is, besides *ExitError and *Trap.
var (
	// ErrModule: the module is malformed or asks for what is not there.
	ErrModule = runner.ErrModule
	// ErrInvoke: the export to call is not there, or takes other arguments.
	ErrInvoke = runner.ErrInvoke
	// ErrDiverged: a function that was started again after its clone was lost did not repeat what it had done.
	ErrDiverged = migrate.ErrDiverged
	// ErrConfig: the configuration cannot be used.
	ErrConfig = errors.New("cannot use configuration")
)

// How long the first candidate waits for its clone. With OffloadAuto that is a part of what a start may cost.
const (
	startWait  = 45 * time.Millisecond
	forcedWait = time.Minute
)

// noGain is why OffloadAuto asks for no clone where nothing says that one is faster: no function would be sent, and
// the preparations would cost the run its start.
const noGain = "a clone would be no faster"

// Run runs a program until it ends or ctx does. The report is nil if the guest never began.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	r, _, err := RunResults(ctx, cfg)
	return r, err
}

// RunResults is Run, and gives the results of Config.Invoke as raw 64-bit slots.
func RunResults(ctx context.Context, cfg Config) (*Report, []uint64, error) {
	if err := cfg.validate(); err != nil {
		return nil, nil, err
	}
	p, err := load(ctx, cfg, true)
	if err != nil {
		return nil, nil, err
	}
	defer p.Close()
	proc, err := p.run(ctx)
	if err != nil {
		return nil, nil, err
	}
	var results []uint64
	if cfg.Invoke == "" {
		err = proc.Main(ctx)
	} else {
		results, err = proc.Call(ctx, cfg.Invoke, cfg.Params...)
	}
	proc.end(err)
	report, reportErr := proc.Report()
	return report, results, errors.Join(err, reportErr)
}

// faster is from which ratio of speeds on a clone is worth its preparation.
const faster = 1.2

// choosePolicy says when functions move and when a clone is made ready, and for OffloadAuto what is known from earlier
// runs.
func choosePolicy(ctx context.Context, rc *runner.Config, cfg Config, speed float64) *lessons {
	prepare := func() { cfg.Cloud.prepare(ctx) }
	rc.Begin = func(wire.ID) time.Duration { prepare(); return 0 }
	forced := func(sample float64) func(*analysis.Report, []analysis.Func) device.Policy {
		return func(*analysis.Report, []analysis.Func) device.Policy { return device.NewForced(cfg.Seed, 0, sample) }
	}
	rc.Wait = cmp.Or(cfg.CloneWait, forcedWait)
	switch cfg.Offload {
	case OffloadAlways:
		rc.Policy = forced(0.01)
		return nil
	case OffloadListed:
		rc.Analysis.Only = cfg.Functions
		rc.Policy = forced(1)
		return nil
	}
	switch rc.Wait = cfg.CloneWait; {
	case cfg.CloneWait != 0:
	case speed > faster:
		rc.Wait = startWait
	case len(cfg.KeepLocal) == 0: // else the names are checked
		rc.Dial, rc.Stay = nil, noGain
	}
	l := &lessons{speed: speed, begin: time.Now()}
	l.store, l.facts = cfg.Cloud.lessons()
	l.key = learned.Key{Engine: rc.Engine.Name(), Args: append([]string{cfg.Invoke}, rc.Args...)}
	for _, p := range cfg.Params {
		l.key.Args = append(l.key.Args, fmt.Sprint(p))
	}
	rc.Begin = func(id wire.ID) time.Duration { return l.recall(id, prepare) }
	rc.Policy = l.policy
	return l
}

const (
	interpreterName = "wazero-interpreter"
	compilerName    = "wazero-compiler"
	wasmtimeName    = "wasmtime"
)

// engineSpeed is how fast an engine is beside others on the same machine: of the ratios seen, the low end. Measured
// times replace it.
func engineSpeed(name string) float64 {
	switch name {
	case interpreterName:
		return 1
	case wasmtimeName:
		return 45
	}
	return 30
}

// newEngine makes an engine of a kind that this binary has.
func newEngine(kind EngineKind, cacheDir string) (engine.Engine, error) {
	if err := kind.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return engines.New(string(kind), cacheDir)
}

// nodeKinds are the kinds of engines that a node has for a kind, the preferred one first: for EngineAuto all but those that
// are slower than another wherever both run.
func nodeKinds(kind string) []string {
	if kind != string(EngineAuto) {
		return []string{kind}
	}
	list := engines.Kinds()
	if len(list) > 1 {
		list = slices.DeleteFunc(list, func(k string) bool { return k == engines.Interpreter })
	}
	return list
}

// newNodeEngines makes the engines of a node within this process.
func newNodeEngines(kind EngineKind, cacheDir string) (list []engine.Engine, err error) {
	for _, k := range nodeKinds(string(kind)) {
		e, err := newEngine(EngineKind(k), cacheDir)
		if err != nil {
			for _, made := range list {
				made.Close(context.Background())
			}
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// PlatformInfo says what this build can do on this machine.
type PlatformInfo struct {
	// Engines are the names of the engines: first the one that a device takes by default, last wasmtime where the binary was
	// built with it, which a node prefers.
	Engines string
	Tracker string // how writes to memory are noticed
}

// Platform looks at this machine.
func Platform() PlatformInfo {
	p := PlatformInfo{Tracker: "none"}
	kinds := engines.Kinds()
	var names []string
	for _, e := range []struct{ kind, name string }{
		{engines.Compiler, compilerName}, {engines.Interpreter, interpreterName}, {engines.Wasmtime, wasmtimeName},
	} {
		if slices.Contains(kinds, e.kind) {
			names = append(names, e.name)
		}
	}
	p.Engines = strings.Join(names, " ")
	if m, err := linmem.New(linmem.Unit, linmem.Unit, linmem.Options{}); err == nil {
		if m.Track() == nil {
			p.Tracker = m.TrackerName()
		}
		m.Close()
	}
	return p
}
