package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/replica/origin"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// Instance is a process of a Program, whose exports can be called, with offloading. One goroutine at a time.
type Instance struct {
	program *Program
	owns    bool // the program, which nobody else uses
	local   *local.System
	files   *origin.Files
	proc    *migrate.Process
	cloud   *device.Cloud
	ctrl    *device.Controller

	initialized bool
	depth       int       // of calls: a host function may call the guest
	rests       time.Time // since when no code of the guest runs
}

// Start makes a process; its start function has run.
func (p *Program) Start(ctx context.Context, sc StartConfig) (_ *Instance, err error) {
	cfg := &p.cfg
	begin, wait := time.Now(), sc.Wait
	if sc.Whole {
		begin, wait = p.begin, max(sc.Wait-p.spent, 0)
	}
	i := &Instance{program: p, files: sc.Files}
	defer func() {
		if err != nil {
			i.Close(context.WithoutCancel(ctx))
		}
	}()
	if i.local, err = local.New(sc.Local); err != nil {
		return nil, err
	}
	var policy device.Policy = device.Never{}
	if p.movable {
		if sc.Policy != nil {
			policy = sc.Policy(p.analysis, p.chosen)
		}
		if i.cloud = p.take(); i.cloud == nil {
			delay := sc.Delay
			if sc.Whole && delay > 0 {
				delay = max(delay-time.Since(begin), 1)
			}
			i.cloud = p.cloud(delay)
		}
	}
	i.ctrl = device.New(device.Config{
		Local: i.local, Files: sc.Files, Hosts: cfg.Hosts, Cloud: i.cloud, Policy: policy, Reach: p.reach, Limits: cfg.Limits, Wait: wait,
		Compress: cfg.Compress, Begin: p.begin, Events: cfg.Events, Private: cfg.Private, Audit: cfg.Audit, Away: cfg.Away,
	})
	w := &wasi.Process{State: i.local.NewState(sc.Args, sc.Env, sc.Seed), System: i.ctrl.System()}
	if err := cfg.Private.Check(w.State); err != nil {
		return nil, err
	}
	tracker := cfg.Tracker
	if i.cloud == nil {
		tracker = linmem.None
	}
	i.proc, err = p.prog.Start(ctx, migrate.Linkage{
		WASI: w, Hooks: i.ctrl.Hooks(p.prog.Manifest), Hosts: cfg.Hosts, Tracker: tracker,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModule, err)
	}
	report := p.report
	report.Start = time.Since(begin)
	i.rests = time.Now()
	i.ctrl.Attach(i.proc, report)
	if s := p.prog.Manifest.Start; s != "" {
		if _, err := i.call(ctx, s, nil); err != nil {
			_, err = i.Finish(err)
			return nil, fmt.Errorf("run start function: %w", err)
		}
	}
	return i, nil
}

// The exports of WASI: of a program, and of a library.
const (
	startExport      = "_start"
	initializeExport = "_initialize"
)

// Main runs the program.
func (i *Instance) Main(ctx context.Context) error {
	if err := i.CheckMain(); err != nil {
		return err
	}
	_, err := i.call(ctx, startExport, nil)
	return err
}

// CheckMain tells whether there is a program to run.
func (i *Instance) CheckMain() error {
	if i.Library() {
		return fmt.Errorf("%w: the module exports no function %s; name one to invoke", ErrInvoke, startExport)
	}
	return nil
}

// Library tells whether the module is one, not a program.
func (i *Instance) Library() bool { return i.proc.Inst.Func(startExport) == nil }

// Initialize runs what a library wants to be run before anything else of it, once.
func (i *Instance) Initialize(ctx context.Context) error {
	if i.initialized || i.proc.Inst.Func(initializeExport) == nil {
		return nil
	}
	i.initialized = true
	_, err := i.call(ctx, initializeExport, nil)
	return err
}

// Check tells whether an export can be called with so many arguments.
func (i *Instance) Check(export string, args int) error {
	f := i.proc.Inst.Func(export)
	if f == nil {
		if e := i.program.Module().Export(export); e != nil && e.Kind == wasm.ExternFunc {
			return fmt.Errorf("%w: %s takes or returns a value that is no number", ErrInvoke, export)
		}
		return fmt.Errorf("%w: the module exports no function %q", ErrInvoke, export)
	}
	if params, _ := f.Type(); args != len(params) {
		return fmt.Errorf("%w: %s takes %d arguments, %d given", ErrInvoke, export, len(params), args)
	}
	return nil
}

// Call calls an export with arguments as raw slots.
func (i *Instance) Call(ctx context.Context, export string, args []uint64) ([]uint64, error) {
	if err := i.Check(export, len(args)); err != nil {
		return nil, err
	}
	return i.call(ctx, export, args)
}

func (i *Instance) call(ctx context.Context, export string, args []uint64) ([]uint64, error) {
	f := i.proc.Inst.Func(export)
	params, results := f.Type()
	stack := make([]uint64, max(len(params), len(results)))
	copy(stack, args)
	i.rested()
	i.depth++
	err := f.Call(ctx, stack)
	i.depth--
	i.rests = time.Now()
	if err != nil {
		i.ctrl.Unwind(err)
		return nil, err
	}
	if i.depth == 0 {
		if err := i.ctrl.Returned(); err != nil {
			return nil, err
		}
	}
	return stack[:len(results)], nil
}

// rested takes the time since the last call out of the guest's.
func (i *Instance) rested() {
	if i.depth > 0 {
		return
	}
	now := time.Now()
	i.ctrl.Idle(now.Sub(i.rests))
	i.rests = now
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

// Report says what the process has done so far.
func (i *Instance) Report() device.Report {
	i.rested()
	return i.ctrl.Report()
}

// Finish ends the run that ended with err: the report, and the error as it counts. It is called once.
func (i *Instance) Finish(err error) (device.Report, error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("run stopped: %w", err)
	}
	i.rested()
	return i.ctrl.Finish(err)
}

// Result is what the process has come to, and what is known of the cloud.
func (i *Instance) Result() *Result {
	r := &Result{}
	if i.cloud != nil {
		r.Learned, r.Code = i.cloud.Learned(), i.cloud.Hello.Code
		r.Ready, r.Vain = i.ctrl.Ready()
	}
	return r
}

// Close releases everything.
func (i *Instance) Close(ctx context.Context) {
	if i.cloud != nil {
		i.cloud.Close()
	}
	if i.proc != nil {
		i.proc.Inst.Close(ctx)
	}
	if i.owns {
		i.program.Close(ctx)
	}
	if i.files != nil {
		i.files.Close()
	}
	if i.local != nil {
		i.local.Close()
	}
}
