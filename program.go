package clonecloud

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/analysis"
	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/runner"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// Program is a module that was loaded: processes are started from it, as many at once as there is memory for, each with
// a memory, files and a clone of its own. Safe for concurrent use.
type Program struct {
	cfg    Config
	engine engine.Engine
	base   runner.Config // joined with the cloud
	prog   *runner.Program
	// What was chosen when it was loaded, for a run that it was loaded for.
	chosen  runner.Config
	lessons *lessons // nil: none
	begin   time.Time

	starting sync.WaitGroup

	mu        sync.Mutex
	processes map[*Process]struct{} // guarded by mu
	started   bool                  // guarded by mu; some process was
	closed    bool                  // guarded by mu
}

// StartConfig is what belongs to one process. For each field that is zero, that of the Config holds that the program was
// loaded with; an empty list that is not nil is none. Processes that share a reader or a writer use it at once.
type StartConfig struct {
	Args, Env      []string
	Mounts         []Mount
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Seed           uint64
}

// Load prepares a module once: it is decoded, analysed, rewritten and compiled, and a clone for its first process begins
// to be made ready. Config.Invoke and Config.Params are not for it: a Process has Call and Main. Functions in cfg are called by
// all processes, at once. ctx bounds the loading only. Close the program after use.
func Load(ctx context.Context, cfg Config) (*Program, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Invoke != "" {
		return nil, fmt.Errorf("%w: Invoke %q is for Run: call the export of a process", ErrConfig, cfg.Invoke)
	}
	p, err := load(ctx, cfg, false)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// load prepares a module, for one run if once is set. Preconditions: cfg is valid.
func load(ctx context.Context, cfg Config, once bool) (_ *Program, err error) {
	p := &Program{cfg: cfg, processes: map[*Process]struct{}{}}
	if p.engine, err = newEngine(cfg.Engine, cfg.CacheDir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.engine.Close(context.WithoutCancel(ctx))
		}
	}()
	p.base = runner.Config{
		Module: cfg.Module, Engine: p.engine, Local: local.Config{VirtualClock: cfg.VirtualClock}, Hosts: cfg.hosts(), Check: cfg.suits,
		Log: cfg.Log, Events: cfg.Events, Interruptible: cfg.Interruptible,
		Analysis: analysis.Options{KeepLocal: cfg.KeepLocal},
		Private:  device.Private{Stdin: cfg.KeepStdin, Dirs: cfg.KeepDirs, Env: cfg.KeepEnv},
		Limits:   device.Limits{Upload: cfg.MaxUpload}, Audit: cfg.Audit, Away: cfg.Away,
	}
	_, release, err := cfg.mounts()
	if err != nil {
		return nil, err // sooner than a compilation takes
	}
	release()
	if cfg.Cloud != nil {
		if err := cfg.Cloud.join(&p.base); err != nil {
			return nil, err
		}
		if cfg.Offload == OffloadNever {
			p.base.Dial = nil // what join said of NaNs stays, so that runs with and without offloads are equal
		}
	}
	p.chosen = p.base
	p.chosen.Args, p.chosen.Once = cfg.args(), once
	p.lessons = p.choose(ctx, &p.chosen, cfg)
	p.begin = time.Now()
	if p.prog, err = runner.Open(ctx, p.chosen); err != nil {
		return nil, inConfig(err)
	}
	return p, nil
}

// choose completes the configuration of a process: when its functions move, and when a clone is made ready.
func (p *Program) choose(ctx context.Context, rc *runner.Config, cfg Config) *lessons {
	if cfg.Cloud == nil || cfg.Offload == OffloadNever {
		return nil
	}
	return choosePolicy(context.WithoutCancel(ctx), rc, cfg, cfg.Cloud.speed(p.engine))
}

// inConfig marks errors whose fault is in the configuration.
func inConfig(err error) error {
	if errors.Is(err, analysis.ErrNoFunction) || errors.Is(err, device.ErrPrivate) {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return err
}

// Exports are the functions that a Process can call: the module's exports that take and return nothing but numbers.
func (p *Program) Exports() []Signature {
	return signatures(p.prog.Module())
}

// Start makes a process. The module's start function and, of a library (a module without _start), its _initialize have
// run when it returns. ctx bounds the start only. Close the process after use.
func (p *Program) Start(ctx context.Context, sc StartConfig) (*Process, error) {
	cfg := p.cfg
	cfg.override(sc)
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if !p.enter() {
		return nil, fmt.Errorf("%w: its program is closed", ErrEnded)
	}
	defer p.starting.Done()
	p.mu.Lock()
	first := !p.started
	p.started = true
	p.mu.Unlock()
	if first && cfg.Cloud != nil {
		cfg.Cloud = unprepared{cfg.Cloud} // loading has prepared it
	}
	if p.prog.Module().Export("_start") == nil {
		cfg.Invoke = libraryCalls
	}
	rc := p.base
	rc.Args = cfg.args()
	l := p.choose(ctx, &rc, cfg)
	s := runner.StartConfig{Policy: rc.Policy, Wait: rc.Wait}
	if rc.Begin != nil && p.prog.Movable() {
		s.Delay = rc.Begin(p.prog.Identity())
	}
	proc, err := p.start(ctx, cfg, s, l)
	if err != nil || !proc.inst.Library() {
		return proc, err
	}
	if err := proc.inst.Initialize(ctx); err != nil {
		proc.end(err)
		return nil, errors.Join(err, proc.Close())
	}
	return proc, nil
}

// unprepared is a cloud that the next process need not connect with.
type unprepared struct{ Cloud }

func (unprepared) prepare(context.Context) {}

// libraryCalls is what stands for an export to invoke in what is learned of a library.
const libraryCalls = "(calls)"

// enter counts a start; false: the program is closed.
func (p *Program) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.starting.Add(1)
	return true
}

// run makes the process that the program was loaded for.
func (p *Program) run(ctx context.Context) (*Process, error) {
	p.enter()
	defer p.starting.Done()
	s := runner.StartConfig{Policy: p.chosen.Policy, Wait: p.chosen.Wait, Delay: p.prog.Delay, Whole: true}
	return p.start(ctx, p.cfg, s, p.lessons)
}

// start makes a process with its own configuration.
func (p *Program) start(ctx context.Context, cfg Config, s runner.StartConfig, l *lessons) (*Process, error) {
	s.Args, s.Env = cfg.args(), cfg.Env
	s.Local = local.Config{Stdin: cfg.Stdin, Stdout: cfg.Stdout, Stderr: cfg.Stderr, VirtualClock: cfg.VirtualClock}
	if err := seed(&s.Seed, cfg.Seed); err != nil {
		return nil, err
	}
	if err := cfg.recoverFiles(ctx); err != nil {
		return nil, err
	}
	mounts, release, err := cfg.mounts()
	if err != nil {
		return nil, err
	}
	defer release() // what is open below stays open
	s.Local.Mounts = mounts
	if p.prog.Movable() {
		s.Files = cfg.replicas(p.base.FilesPeer)
	}
	inst, err := p.prog.Start(ctx, s)
	if err != nil {
		return nil, inConfig(err)
	}
	proc := &Process{program: p, inst: inst, lessons: l, whole: s.Whole, gone: make(chan struct{})}
	p.mu.Lock()
	p.processes[proc] = struct{}{}
	p.mu.Unlock()
	return proc, nil
}

// Close ends all processes and releases the program. It waits for calls that run, see [Process.Close].
func (p *Program) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.mu.Unlock()
	p.starting.Wait()
	p.mu.Lock()
	var all []*Process
	for proc := range p.processes {
		all = append(all, proc)
	}
	p.mu.Unlock()
	var errs []error
	for _, proc := range all {
		errs = append(errs, proc.Close())
	}
	ctx := context.Background()
	p.prog.Close(ctx)
	return errors.Join(append(errs, p.engine.Close(ctx))...)
}

// override takes in what a process has of its own.
func (c *Config) override(s StartConfig) {
	if s.Args != nil {
		c.Args = s.Args
	}
	if s.Env != nil {
		c.Env = s.Env
	}
	if s.Mounts != nil {
		c.Mounts = s.Mounts
	}
	if s.Stdin != nil {
		c.Stdin = s.Stdin
	}
	if s.Stdout != nil {
		c.Stdout = s.Stdout
	}
	if s.Stderr != nil {
		c.Stderr = s.Stderr
	}
	c.Seed = cmp.Or(s.Seed, c.Seed)
}

// args are the program's arguments.
func (c *Config) args() []string {
	if len(c.Args) == 0 {
		return []string{"main.wasm"}
	}
	return c.Args
}

// mounts opens the directories that the guest may use.
func (c *Config) mounts() (list []local.Mount, release func(), err error) {
	var open []*vfs.Host
	release = func() {
		for _, dir := range open {
			dir.Close()
		}
	}
	for _, m := range c.Mounts {
		dir, err := vfs.OpenHost(m.Host)
		if err != nil {
			release()
			return nil, nil, fmt.Errorf("%w: directory %q: %w", ErrConfig, m.Host, err)
		}
		open = append(open, dir)
		list = append(list, local.Mount{FS: dir, Guest: cmp.Or(m.Guest, m.Host), ReadOnly: m.ReadOnly})
	}
	if err := keptApart(*c); err != nil {
		release()
		return nil, nil, err
	}
	return list, release, nil
}

// keptApart refuses a directory that is to stay and can be reached under the name of another that is not.
func keptApart(cfg Config) error {
	for _, k := range cfg.Mounts {
		kept := cmp.Or(k.Guest, k.Host)
		if !slices.Contains(cfg.KeepDirs, kept) {
			continue
		}
		for _, o := range cfg.Mounts {
			name := cmp.Or(o.Guest, o.Host)
			if !slices.Contains(cfg.KeepDirs, name) && (within(realDir(k), realDir(o)) || within(realDir(o), realDir(k))) {
				return fmt.Errorf("%w: directory %q is to stay on the device, and %q overlaps with it: keep both", ErrConfig, kept, name)
			}
		}
	}
	return nil
}

func seed(dst *[32]byte, n uint64) error {
	if n == 0 {
		_, err := rand.Read(dst[:])
		return err
	}
	for i := range 8 {
		dst[i] = byte(n >> (8 * i))
	}
	return nil
}
