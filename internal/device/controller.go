// Package device is the device's side of an offload, the Controller: it is asked at the entries of armed candidates,
// sends the process to its clone, serves the clone's calls meanwhile, merges what comes back, and goes on alone when
// nothing comes.
//
// The device's process is the primary. Until a merge, which is one step that cannot fail, an offload has changed
// nothing but the outside world, and what it did there is in the journal: a run of the same function here is answered
// from the journal and then goes on for real.
package device

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/replica/origin"
	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Limits bound what one offload may make the device do. Zero fields mean the defaults.
type Limits struct {
	Calls  uint64 // home calls, output and notes of one offload; default 1<<32
	Output uint64 // bytes of output of one offload; default 16 GiB
	// Silence is how long a clone may compute without a word before it is given up, even if the policy waits for
	// ever. Default 6 h.
	Silence   time.Duration
	DownPages uint32 // pages that come back; default: all of the memory
	// Upload bounds the bytes that one run sends, module, state and answers included. Default: none. What is on the way
	// when the limit is reached is given up.
	Upload  uint64
	Journal migrate.JournalConfig
}

func (l Limits) withDefaults() Limits {
	if l.Calls == 0 {
		l.Calls = 1 << 32
	}
	if l.Output == 0 {
		l.Output = 16 << 30
	}
	if l.Silence == 0 {
		l.Silence = 6 * time.Hour
	}
	return l
}

// Config is what a Controller works with.
type Config struct {
	Local *local.System
	Hosts migrate.Hosts
	// Files are the directories that follow the process; nil: none do.
	Files  *origin.Files
	Cloud  *Cloud // nil: none
	Policy Policy
	// Reach names, for each candidate by id, the imports ("module.name") that it can reach.
	Reach  []map[string]bool
	Limits Limits
	// Wait is how long the first entry of a candidate waits for the clone to become ready.
	Wait time.Duration
	// Compress tries to compress pages.
	Compress bool
	// Begin is when the run began, which events count from.
	Begin time.Time
	// Events is told of each decision and what became of it.
	Events trace.Sink
	// Private is what never leaves the device.
	Private Private
	// Audit is told, in one line each, what of the device's files and streams a clone was given. Default: nothing.
	Audit func(format string, args ...any)
	// Away is called when an offload has taken a while, and what it returns when it has ended; so that a program that
	// waits can be interrupted. Optional.
	Away func() (back func())
}

// Controller drives the offloads of one process. All methods run on the goroutine that runs the guest.
type Controller struct {
	cfg    Config
	proc   *migrate.Process
	out    *outside // the real System, without the journal
	replay *migrate.Replayer
	files  files
	start  time.Time
	report Report

	conn      *conn           // the conversation that the fields below speak of
	confirmed delta.ID        // the state that the clone holds
	pending   *linmem.PageSet // pages that differ from it
	ever      *linmem.PageSet // pages that differ from the initial image
	shadow    *delta.Shadow
	resync    bool          // the last attempt failed: ask the clone where it stands
	waited    bool          // as long as the configuration says
	cut       bool          // the run was cancelled while it waited
	looked    time.Time     // for written pages
	looking   time.Duration // the last look for them
	find      func() uint64 // behind
	looks     []int         // at what calls of each candidate wrote
	told      bool          // that a journal was full
	clouds    []string      // that clones ran on, see Report.Cloud
	here      bool          // nothing leaves any more

	offloads uint64
	ticks    ticker
	frames   []frame       // the calls that run here, innermost last
	handed   int           // of them handed back by the clone
	inside   time.Duration // time in trips and in waiting so far, which is not the guest's
	idle     time.Duration // between calls into the guest
}

// frame is a candidate's call that runs here.
type frame struct {
	id       uint32
	start    time.Time
	inside   time.Duration
	fallback bool
	handed   bool            // back by the clone
	calls    int             // home calls before it
	bytes    uint64          // of input and output before it
	wrote    *linmem.PageSet // found since it began; nil: nobody looked
}

// New returns a controller. Hooks must be linked into the process before Attach names it.
func New(cfg Config) *Controller {
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Audit == nil {
		cfg.Audit = func(string, ...any) {}
	}
	c := &Controller{cfg: cfg, pending: &linmem.PageSet{}, ever: &linmem.PageSet{}, shadow: delta.NewShadow(shadowBytes)}
	c.find = c.behind
	c.out = newOutside(cfg.Hosts.System(cfg.Local), cfg.Local, cfg.Private)
	c.replay = &migrate.Replayer{Real: c.out}
	c.files = files{c: c, top: firstReplicaHandle}
	if cfg.Files != nil {
		c.out.follows = c.follows
	}
	return c
}

const shadowBytes = 16 << 20

// System is what the process's host calls go through.
func (c *Controller) System() wasi.System {
	if c.cfg.Files != nil {
		return &c.files
	}
	return c.replay
}

// Attach gives the controller its process, which has run no code yet, and arms the candidates.
func (c *Controller) Attach(p *migrate.Process, r Report) {
	c.proc, c.report, c.start = p, r, time.Now()
	c.looks = make([]int, len(p.Manifest.Candidates))
	c.report.Functions = make([]FunctionReport, len(p.Manifest.Candidates))
	for i, m := range p.Manifest.Candidates {
		c.report.Functions[i] = FunctionReport{Name: m.Name, Index: m.Func, Kept: map[string]int{}, Fallbacks: map[string]int{}}
		if m.Arm != "" && c.cfg.Cloud != nil {
			p.Arm(m.ID, true)
		}
	}
	if p.Mem != nil {
		c.report.Tracker = p.Mem.TrackerName()
	}
	c.begun()
}

// Hooks are the functions that rewritten code imports.
func (c *Controller) Hooks(m *rewrite.Manifest) map[string]engine.HostFunc {
	i32 := []byte{0x7f}
	h := map[string]engine.HostFunc{
		rewrite.ImportEnter: {Params: i32, Results: i32, Call: func(ctx context.Context, _ engine.Instance, stack []uint64) error {
			if stack[0] = c.enter(ctx, uint32(stack[0])); c.cut {
				return context.Cause(ctx)
			}
			return nil
		}},
		rewrite.ImportLeave: {Params: i32, Call: func(_ context.Context, _ engine.Instance, stack []uint64) error {
			return c.leave(uint32(stack[0]))
		}},
	}
	for _, k := range m.Candidates {
		if k.Call == "" {
			continue
		}
		h[k.Call] = engine.HostFunc{Params: k.Params, Results: append(append([]byte{}, k.Results...), 0x7f),
			Call: func(ctx context.Context, _ engine.Instance, stack []uint64) error {
				return c.call(ctx, k, stack)
			}}
	}
	return h
}

func (c *Controller) now() time.Duration { return time.Since(c.start) }

// Ready is how long after its first instruction a later run of the program should expect a clone to be ready; 0: not known.
// vain says that there was none in this run, though it was time to make one ready.
func (c *Controller) Ready() (d time.Duration, vain bool) {
	if c.cfg.Cloud == nil {
		return 0, false
	}
	if d, vain = c.cfg.Cloud.Ready(); d > 0 {
		d = max(d-c.start.Sub(c.cfg.Cloud.begun), time.Microsecond)
	}
	return d, vain
}

// enter answers a wrapper: one of the rewrite.Enter constants.
func (c *Controller) enter(ctx context.Context, id uint32) uint64 {
	f := &c.report.Functions[id]
	f.Calls++
	if c.replay.Replaying() {
		f.Kept["replaying"]++
		c.decided(id, RunLocal, "replaying", Decision{}, 0)
		return c.local(id)
	}
	if c.handed > 0 {
		// What the clone could not do it cannot do from further in: an endless recursion would go there at each level.
		f.Kept[handedBack]++
		c.decided(id, RunLocal, handedBack, Decision{}, 0)
		return rewrite.EnterPlain
	}
	if why, what := c.stays(); why != "" {
		f.Kept["kept local"]++
		c.decided(id, RunLocal, "kept local", Decision{}, 0)
		c.settleHere(why, what)
		return rewrite.EnterPlain
	}
	c.adopt(c.await(ctx, id))
	for _, d := range c.cfg.Policy.Rearm(c.now()) {
		c.proc.Arm(d, true)
	}
	if c.conn != nil && !c.mayUpload(uint64(c.pending.Len())*delta.PageSize) {
		f.Kept["upload limit"]++
		c.decided(id, RunLocal, "upload limit", Decision{}, 0)
		return c.local(id)
	}
	s := c.situation()
	d := c.cfg.Policy.Enter(id, s)
	switch {
	case d.Choice == Disarm:
		f.Kept["disarmed"]++
		c.decided(id, Disarm, byPolicy, d, s.Up)
		c.proc.Arm(id, false)
		return rewrite.EnterPlain
	case c.conn == nil:
		f.Kept[noClone]++
		c.decided(id, RunLocal, noClone, d, s.Up)
	case d.Choice == RunClone:
		c.decided(id, RunClone, byPolicy, d, s.Up)
		return rewrite.EnterClone
	default:
		f.Kept[byPolicy]++
		c.decided(id, RunLocal, byPolicy, d, s.Up)
	}
	return c.local(id)
}

// Reasons of decisions, and in the report for calls that stayed.
const (
	byPolicy = "policy"
	noClone  = "no clone"
)

// local lets a call run here and report its return. Where the module makes tail calls, a call around which another
// one runs here does not report: waiting for its return would make a chain of tail calls grow the stack.
func (c *Controller) local(id uint32) uint64 {
	if c.proc.Manifest.TailCalls && len(c.frames) > 0 {
		return rewrite.EnterPlain
	}
	c.push(id, false)
	return rewrite.EnterLocal
}

// adopt makes n the conversation in use. With another clone, all that differs from the initial image is pending.
func (c *Controller) adopt(n *conn) {
	if n == c.conn {
		return
	}
	c.conn = n
	if n == nil {
		return
	}
	c.confirmed, c.pending, c.resync = n.state, c.ever.Clone(), false
	c.shadow = delta.NewShadow(shadowBytes)
	c.files.peer = c.cfg.Files.NewPeer()
	c.report.Cloud = n.engine + " " + n.arch
}

func (c *Controller) push(id uint32, fallback bool) {
	c.frames = append(c.frames, frame{
		id: id, start: time.Now(), inside: c.inside, fallback: fallback, calls: c.out.calls, bytes: c.out.bytes,
	})
}

// Unwind forgets the calls that ran here when one of the host's has ended with an error, which no leave reports. A program
// that exits has ended them all as it wanted to.
func (c *Controller) Unwind(err error) {
	var exit *wasi.ExitError
	for errors.As(err, &exit) && len(c.frames) > 0 {
		c.returned(&c.frames[len(c.frames)-1])
		c.frames = c.frames[:len(c.frames)-1]
	}
	c.frames, c.handed, c.cut = c.frames[:0], 0, false
}

// Returned ends what is left of calls when one of the host's has returned: those that an exception has left report no
// leave. What a lost clone had done, and its fallback has not repeated then, makes the run diverge.
func (c *Controller) Returned() error {
	c.frames, c.handed = c.frames[:0], 0
	return c.settle()
}

// returned takes in the innermost call, which ran here.
func (c *Controller) returned(f *frame) {
	r := LocalRun{
		Took: time.Since(f.start), Pure: f.inside == c.inside, HomeCalls: c.out.calls - f.calls, Bytes: c.out.bytes - f.bytes,
	}
	c.report.Functions[f.id].Device += r.Took
	if f.fallback {
		c.ran(trace.Replayed, f.id, r.Took)
		return
	}
	if r.Pure {
		r.Wrote, r.Looked = c.wrote(r.Took)
	}
	c.cfg.Policy.Left(f.id, r)
	c.ran(trace.Local, f.id, r.Took)
}

// leave ends a call that ran here.
func (c *Controller) leave(id uint32) error {
	// A frame whose call was left by an exception stays above: it is dropped with this one.
	for len(c.frames) > 0 {
		top := &c.frames[len(c.frames)-1]
		if top.handed {
			c.handed--
		}
		mine, fallback := top.id == id, top.fallback
		if mine {
			c.returned(top)
		}
		c.frames = c.frames[:len(c.frames)-1]
		switch {
		case mine && fallback:
			return c.settle()
		case mine:
			return nil
		}
	}
	return fmt.Errorf("BUG: candidate %d left, which was not entered", id)
}

// settle ends a fallback: what its clone had done outside has been repeated, and what it had opened besides is closed.
func (c *Controller) settle() error {
	if err := c.replay.End(); err != nil {
		c.files.abandon()
		return err
	}
	if err := c.files.land(context.Background()); err != nil {
		return err
	}
	if n := c.replay.Forgot(); n > c.report.Forgot {
		c.emit(trace.Event{Kind: trace.Forgot, HomeCalls: n - c.report.Forgot})
		c.report.Forgot = n
		c.closeUnused(context.Background())
	}
	return nil
}

// call is what a wrapper calls when enter said clone: results and status come back in stack.
func (c *Controller) call(ctx context.Context, k rewrite.Candidate, stack []uint64) error {
	now := time.Now()
	before := c.out.bytes
	t := &trip{c: c, cand: k, start: now, looked: now, heard: now, turn: math.MaxInt64, attempt: migrate.Attempt{Offload: c.offloads + 1, Number: 1}}
	c.offloads++
	err := t.run(ctx, stack[:len(k.Params)])
	took := time.Since(t.start)
	c.inside += took
	f := &c.report.Functions[k.ID]
	t.account(f)
	var fb *fallback
	failed := errors.As(err, &fb)
	if (err == nil || failed) && ctx.Err() != nil {
		err, failed = context.Cause(ctx), false // in the last moment: a guest that computes would not notice
	}
	if failed {
		f.Fallbacks[fb.reason]++
		text, name := plainly(fb)
		t.emit(trace.Event{
			Kind: trace.Fallback, Took: took, Exec: t.exec, Reason: fb.reason, Text: text, Name: name, HomeCalls: t.journal.Len(),
			Up: t.up, Down: t.down,
		})
		c.cfg.Policy.Offloaded(k.ID, c.now(), Outcome{Total: took})
		if err := c.files.fallBack(ctx, t); err != nil {
			return err
		}
		c.replay.Begin(t.journal)
		c.push(k.ID, true)
		if fb.reason == handedBack {
			c.frames[len(c.frames)-1].handed = true
			c.handed++
		}
		stack[len(k.Results)] = rewrite.CallFallBack
		return nil
	}
	t.journal.Close()
	t.closeFiles()
	if err != nil && !t.merged {
		return err
	}
	f.Offloads++
	f.ran(t.engine)
	c.ranOn(t.engine, c.conn.arch)
	t.emit(trace.Event{Kind: trace.Offloaded, Text: t.engine, Took: took, Exec: t.exec, Up: t.up, Down: t.down, HomeCalls: t.homeCalls})
	c.cfg.Policy.Offloaded(k.ID, c.now(), Outcome{OK: true, Total: took, Exec: t.exec, Up: t.up, Down: t.down, HomeCalls: t.homeCalls, Bytes: c.out.bytes - before + t.filesUp + t.filesDown})
	if err != nil {
		return err
	}
	copy(stack, t.results)
	stack[len(k.Results)] = rewrite.CallDone
	return nil
}

func name(k rewrite.Candidate) string {
	if k.Name != "" {
		return k.Name
	}
	return fmt.Sprintf("function %d", k.Func)
}

// Finish ends the run that ended with err, and completes the report. A run that ended before it had repeated all
// that a lost clone had done has diverged.
func (c *Controller) Finish(err error) (Report, error) {
	if !errors.Is(err, migrate.ErrDiverged) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		if end := c.settle(); end != nil {
			err = errors.Join(end, err)
		}
	}
	c.files.abandon()
	c.ticks.stop()
	r := c.Report()
	c.ended(&r, err)
	return r, err
}

// fallback is an offload that did not happen; its reason is a word for the report.
type fallback struct {
	reason string
	err    error
}

func (f *fallback) Error() string { return f.reason + ": " + f.err.Error() }
func (f *fallback) Unwrap() error { return f.err }

var errOverdue = errors.New("took longer than running it here would")

// image of the outcome kinds that end the guest on the device as they did on the clone.
func ending(r *wire.Reintegrate) error {
	switch r.Outcome {
	case wire.OutcomeTrap:
		return &engine.Trap{Kind: engine.TrapKind(r.Trap), Detail: "on the clone"}
	case wire.OutcomeException:
		return &engine.Exception{Detail: "on the clone"}
	case wire.OutcomeExit:
		return &wasi.ExitError{Code: r.Exit}
	}
	return nil
}
