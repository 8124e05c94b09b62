package device

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/replica/origin"
	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// trip is one attempt of an offload, from capture to merge.
type trip struct {
	c       *Controller
	cand    rewrite.Candidate
	attempt migrate.Attempt
	start   time.Time
	journal *migrate.Journal

	sent    delta.ID // the state at entry, which the clone has if the delta arrived
	credit  wire.CreditReceiver
	output  uint64
	calls   uint64        // the last call that was carried out
	repeats int           // of the last call
	serving time.Duration // in calls
	results []uint64
	merged  bool
	looked  time.Time // when it was last judged whether the trip is overdue
	heard   time.Time // when the clone last said something of use

	exec                     time.Duration
	engine                   string // of the clone that the call ran on
	capture, transfer, merge time.Duration
	up, down                 uint64
	pagesUp, pagesDown       uint64
	homeCalls                int
	files                    *origin.Trip  // nil: files stay at home
	filesUp, filesDown       uint64        // bytes of them
	pending                  uint64        // bytes of pages that are still to go up
	back                     func()        // of Config.Away
	answered                 time.Time     // the last home call
	turn                     time.Duration // the shortest from an answer to the next call
}

// account adds the trip to the report.
func (t *trip) account(f *FunctionReport) {
	if t.merged {
		f.Clone += t.exec
	}
	f.Capture += t.capture
	f.Transfer += t.transfer
	f.Merge += t.merge
	if f.FirstUp == 0 {
		f.FirstUp = t.up
	}
	f.Up += t.up
	f.Down += t.down
	f.PagesUp += t.pagesUp
	f.PagesDn += t.pagesDown
	f.HomeCalls += t.homeCalls
	f.OutputBytes += t.output
	f.FilesUp += t.filesUp
	f.FilesDown += t.filesDown
}

// run makes the trip. A *fallback means that nothing has happened to the process; with merged set, an error is how
// the guest ended on the clone; any other error ends the run here.
func (t *trip) run(ctx context.Context, args []uint64) error {
	t.journal = migrate.NewJournal(t.c.cfg.Limits.Journal)
	t.credit = wire.CreditReceiver{Window: migrate.OutputWindow}
	t.credit.Initial()
	defer func() {
		if t.back != nil {
			t.back()
		}
	}()
	err := t.depart(ctx, args)
	if err == nil {
		err = t.serve(ctx)
	}
	if err == nil || t.merged {
		return err
	}
	return t.fail(ctx, err)
}

// fail gives the attempt up. From here on the clone's messages of it are not answered any more.
func (t *trip) fail(ctx context.Context, err error) error {
	c := t.c
	c.resync = true
	c.shadow = delta.NewShadow(shadowBytes)
	cancel := func(r wire.CancelReason) {
		// Never waits for long: a conversation that takes nothing any more is given up.
		ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer stop()
		if err := c.conn.end.Send(ctx, &wire.Cancel{Offload: t.attempt.Offload, Attempt: t.attempt.Number, Reason: r}); err != nil {
			c.cfg.Cloud.drop(c.conn, fmt.Errorf("cancel: %w", err))
		}
	}
	var refused *refusal
	var guest *guestError
	var private privateError
	switch {
	case ctx.Err() != nil:
		cancel(wire.CancelStopped)
		return context.Cause(ctx)
	case errors.As(err, &guest):
		cancel(wire.CancelStopped)
		return guest.err // as it would be without a clone
	case errors.Is(err, errDistrust), errors.Is(err, wire.ErrProtocol):
		c.cfg.Cloud.drop(c.conn, err)
		return &fallback{"distrust", err}
	case errors.Is(err, errSilent):
		c.cfg.Cloud.drop(c.conn, err)
		return &fallback{"silent", err}
	case errors.Is(err, peer.ErrLost):
		c.cfg.Cloud.drop(c.conn, err)
		return &fallback{"link lost", err}
	case errors.Is(err, errOverdue):
		cancel(wire.CancelOvertaken)
		return &fallback{"overtaken", err}
	case errors.As(err, &private):
		cancel(wire.CancelOvertaken)
		return &fallback{"kept local", err}
	case errors.Is(err, errUpload):
		cancel(wire.CancelOvertaken)
		return &fallback{"upload limit", err}
	case errors.Is(err, errOutput):
		cancel(wire.CancelOutput)
		return &fallback{"output failed", err}
	case errors.Is(err, migrate.ErrJournalFull):
		cancel(wire.CancelOvertaken)
		if !c.told {
			c.told = true
			c.cfg.Cloud.say("%s goes on here: %v", name(t.cand), err)
		}
		return &fallback{"journal full", err}
	case errors.As(err, &refused):
		if refused.word == filesRefused {
			cancel(wire.CancelOvertaken) // the clone may still be at it
		}
		return &fallback{refused.word, err}
	default:
		cancel(wire.CancelOvertaken)
		return &fallback{"failed", err}
	}
}

// refusal is a clone's word that it will not or cannot.
type refusal struct {
	word, text string
	plain      string // the text without names of files; "": there are none in it
}

// filesRefused is the word of a refusal of the device's own, on account of files.
const filesRefused = "files"

// refuseFiles is that refusal.
func refuseFiles(err error) error { return &refusal{filesRefused, err.Error(), cause(err)} }

func (r *refusal) Error() string { return peer.Printable(r.text) }

// guestError is an error of a host function's, which ends the guest.
type guestError struct{ err error }

func (g *guestError) Error() string { return g.err.Error() }
func (g *guestError) Unwrap() error { return g.err }

var (
	errOutput = errors.New("writing the program's output failed")
	errSilent = errors.New("the clone is silent")
)

// send returns what sends a message, and waits for room no longer than until the trip is overdue. Of state, only the end
// is written at once.
func (t *trip) send(ctx context.Context) func(wire.Message) error {
	return func(m wire.Message) error {
		send := t.c.conn.end.Send
		switch m.(type) {
		case *wire.Migrate, *wire.Pages:
			send = t.c.conn.end.Queue
		}
		for {
			err := send(t.c.ticks.until(ctx), m)
			if err == nil || ctx.Err() != nil || !errors.Is(err, context.Canceled) {
				return err
			}
			if err := t.late(); err != nil {
				return err
			}
		}
	}
}

// depart captures the process and sends it.
func (t *trip) depart(ctx context.Context, args []uint64) error {
	c := t.c
	begin := time.Now()
	if err := c.collect(); err != nil {
		return err
	}
	if c.resync {
		if err := t.sync(ctx); err != nil {
			return err
		}
	}
	c.cfg.Local.Stamp(c.proc.WASI.State)
	env := c.proc.WASI.State.Env
	c.proc.WASI.State.Env = c.cfg.Private.public(env)
	img, err := c.proc.Capture(ctx, c.confirmed)
	c.proc.WASI.State.Env = env
	if err != nil {
		return err
	}
	t.capture = time.Since(begin)
	t.emit(trace.Event{Kind: trace.Depart, Took: t.capture, Pages: uint64(c.pending.Len()), Up: uint64(c.pending.Len()) * delta.PageSize})
	t.pending = uint64(c.pending.Len())*delta.PageSize + uint64(len(img.WASI))
	if !c.mayUpload(t.pending) {
		return errUpload // before any of it has left
	}
	begin = time.Now()
	if err := t.departFiles(ctx); err != nil {
		return err
	}
	t.pending = 0
	m := &wire.Migrate{
		Offload: t.attempt.Offload, Attempt: t.attempt.Number, Candidate: t.cand.ID,
		Continuation: wire.ContinuationCall, Args: args, Image: *img,
	}
	if err := t.send(ctx)(m); err != nil {
		return err
	}
	var stats delta.Stats
	t.sent, stats, err = migrate.SendPages(c.proc, t.attempt, img, c.pending,
		delta.Options{Base: c.shadow.Base, Compress: c.cfg.Compress}, t.send(ctx))
	t.up, t.pagesUp = stats.Bytes, uint64(c.pending.Len())
	t.transfer = time.Since(begin)
	if err == nil && c.proc.Mem != nil {
		c.shadow.Update(c.proc.Mem.Bytes(), c.pending.All())
	}
	if err == nil {
		t.emit(trace.Event{Kind: trace.Sent, Took: t.transfer, Pages: t.pagesUp, Up: t.up})
	}
	return err
}

// syncPatience is how long a clone may take to stop a cancelled run before another is made.
const syncPatience = 2 * time.Second

// sync asks the clone where it stands after a failed attempt.
func (t *trip) sync(ctx context.Context) error {
	c := t.c
	begin := time.Now()
	if err := t.send(ctx)(&wire.Sync{}); err != nil {
		return err
	}
	wait, stop := context.WithTimeout(ctx, syncPatience)
	defer stop()
	for {
		m, err := c.conn.recv(wait, c.initial())
		if err != nil {
			if ctx.Err() == nil && wait.Err() != nil {
				err = fmt.Errorf("%w: it does not stop a cancelled run", errSilent)
			}
			return err
		}
		s, ok := m.(*wire.SyncState)
		if !ok {
			continue // of the attempt that failed
		}
		switch delta.ID(s.State) {
		case c.confirmed:
		case c.initial():
			c.confirmed, c.pending = c.initial(), c.ever.Clone()
		default:
			return distrust("it stands at state %x, which it never confirmed", s.State[:4])
		}
		limit := uint32(c.proc.MemBytes() / delta.PageSize)
		var written uint64
		for _, r := range s.Written {
			if r.First+r.Count < r.First || r.First+r.Count > limit {
				return distrust("it wrote pages beyond the memory")
			}
			c.pending.AddRange(r.First, r.First+r.Count)
			written += uint64(r.Count)
		}
		t.emit(trace.Event{Kind: trace.Synced, Took: time.Since(begin), Pages: written})
		c.resync = false
		return nil
	}
}

func (c *Controller) initial() delta.ID { return migrate.InitialID(c.cfg.Cloud.Hello.Module) }
