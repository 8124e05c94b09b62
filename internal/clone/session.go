package clone

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clonecloud/clonecloud/internal/clone/choose"
	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/replica/mirror"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// shadowBytes bounds the copies of pages that travel often.
const shadowBytes = 16 << 20

// session is one clone: the conversation with its device and the process.
type session struct {
	host    *Host
	end     *peer.Endpoint
	hello   *wire.Hello
	lacking bool            // the device was told to send the module
	awake   context.Context // ends when the host takes no more work
	initial delta.ID

	bound  bool // to its engine, see Host.fixed
	choice *choice
	eng    int  // the engine, by its place in Host.Engines
	broken bool // that engine was left for good
	code   *programme
	proc   *instance

	// state is the last one that the device committed, committed its image; written are the pages written since.
	state     delta.ID
	committed *wire.Image
	written   *linmem.PageSet
	ever      *linmem.PageSet // where the committed state may differ from the initial image
	shadow    *delta.Shadow
	// pending is the attempt whose answer is on its way, until Commit or Cancel.
	pending *answered
	over    bool // the process exited here: its memory is not what the device knows
	files   *mirror.Files
	start   *started                        // for the attempt that comes next; nil: its files stay at home
	nudged  atomic.Pointer[migrate.Process] // the process while its guest runs

	flood  func(error) // ends the conversation
	asking sync.Mutex  // held while something is asked for on account of the running trip

	mu        sync.Mutex
	running   *trip           // guarded by mu
	cancelled migrate.Attempt // guarded by mu; the last one that the device gave up
}

type answered struct {
	migrate.Attempt
	image *wire.Image
	next  delta.ID
}

func (s *session) send(m wire.Message) error { return s.end.Send(context.Background(), m) }

// part sends a message of an answer: all of it goes out together, with the end of its pages.
func (s *session) part(m wire.Message) error {
	if m.Type() == wire.TypePagesEnd {
		return s.send(m)
	}
	return s.end.Queue(context.Background(), m)
}

// run serves the conversation until it ends.
func (s *session) run(ctx context.Context) error {
	life, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s.flood = stop
	s.files = s.host.newFiles(s, life)
	defer s.files.Close()
	s.end.Intercept(s.intercept)
	ctx = life
	awake, sleep := context.WithCancel(ctx)
	defer sleep()
	defer context.AfterFunc(s.host.drains, sleep)()
	s.awake = awake
	if s.hello.FilesOnly {
		return s.keepFiles(ctx)
	}
	bin, err := s.obtain(ctx)
	if err != nil {
		return err
	}
	s.eng, s.bound = s.host.fixed(s.hello)
	if !s.bound {
		s.choice = s.host.choice(s.hello.Module)
	}
	if err := s.settle(ctx, bin); err != nil {
		return err
	}
	if err := s.report(); err != nil {
		return err
	}
	for {
		m, err := s.idle(ctx)
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *wire.Migrate:
			err = s.offload(ctx, m)
		case *wire.Commit:
			if err = s.commit(m); err == nil {
				s.reconsider(ctx)
			}
		case *wire.Cancel:
			s.pending = nil
		case *wire.Files:
			err = s.takeStart(m)
		case *wire.Pages, *wire.PagesEnd:
			// Of an attempt that was refused while its pages were on the way.
		case *wire.Sync:
			err = s.sync(ctx)
		default:
			err = fmt.Errorf("%v out of place: %w", m.Type(), wire.ErrProtocol)
		}
		if err != nil {
			return err
		}
	}
}

// intercept hands results and credit to the running trip, before they wait behind anything else. It runs on the
// goroutine that reads the link.
func (s *session) intercept(m wire.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.running
	switch m := m.(type) {
	case *wire.HomeResult:
		if t.is(m.Offload, m.Attempt) {
			t.take(m)
		}
		return true // one of an attempt that has ended means nothing
	case *wire.Credit:
		if t.is(m.Offload, m.Attempt) {
			t.take(m)
		}
		return true
	case *wire.Files:
		if m.Kind != wire.FilesGive && m.Kind != wire.FilesPacked {
			return false
		}
		if err := s.files.Take(m.Data, m.Kind == wire.FilesPacked); err != nil {
			s.flood(fmt.Errorf("%w: %w", err, wire.ErrProtocol))
		}
		return true
	case *wire.Cancel:
		s.cancelled = migrate.Attempt{Offload: m.Offload, Number: m.Attempt}
		if t.is(m.Offload, m.Attempt) {
			t.cancel(errCancelled)
		}
	}
	return false
}

func (t *trip) is(offload uint64, attempt uint32) bool {
	return t != nil && t.Attempt == migrate.Attempt{Offload: offload, Number: attempt}
}

// enter makes t the running trip, nil: none. It fails if the device has given t up already.
func (s *session) enter(t *trip) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = t
	if t != nil && s.cancelled == t.Attempt {
		return errCancelled
	}
	return nil
}

// next returns the next message that is not for a running trip.
func (s *session) next(ctx context.Context) (wire.Message, error) {
	m, err := s.end.Recv(ctx)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return m, err
}

// idle is next between attempts, when a host that takes no more work may end the conversation.
func (s *session) idle(ctx context.Context) (wire.Message, error) {
	if s.pending != nil {
		return s.next(ctx) // its Commit is on the way
	}
	m, err := s.next(s.awake)
	if err != nil && s.host.drains.Err() != nil && ctx.Err() == nil {
		return nil, errDraining
	}
	return m, err
}

// obtain has the module's bytes from the device; nil: the host has them, or its code.
func (s *session) obtain(ctx context.Context) ([]byte, error) {
	h := s.host
	if !s.lacking {
		return nil, nil
	}
	var bin []byte
	for {
		m, err := s.idle(ctx)
		if err != nil {
			return nil, err
		}
		piece, ok := m.(*wire.Module)
		switch {
		case !ok:
			return nil, fmt.Errorf("%v before the module is here: %w", m.Type(), wire.ErrProtocol)
		case piece.Total > h.Limits.Module:
			return nil, fmt.Errorf("%w: it has %d bytes, the limit is %d", errModule, piece.Total, h.Limits.Module)
		case piece.Offset != uint64(len(bin)) || piece.Offset+uint64(len(piece.Data)) > piece.Total:
			return nil, fmt.Errorf("module piece at %d after %d bytes: %w", piece.Offset, len(bin), wire.ErrProtocol)
		}
		bin = append(bin, piece.Data...)
		if uint64(len(bin)) < piece.Total {
			continue
		}
		if id := migrate.Identity(bin); id != s.hello.Module {
			return nil, fmt.Errorf("module arrived as %x in place of %x: %w", id[:4], s.hello.Module[:4], wire.ErrProtocol)
		}
		if err := h.Store.Save(s.hello.Module, bin); err != nil {
			h.Log("module %x is not kept: %v", s.hello.Module[:4], err)
		}
		return bin, nil
	}
}

// begin instantiates the process anew, with the initial image.
func (s *session) begin(ctx context.Context) error {
	if s.proc != nil {
		s.proc.Inst.Close(ctx)
		s.proc = nil
	}
	proc, err := s.host.fresh(ctx, s.code)
	if err != nil {
		return err
	}
	s.over = false
	s.proc, s.state, s.written, s.shadow = proc, s.initial, &linmem.PageSet{}, delta.NewShadow(shadowBytes)
	s.ever = &linmem.PageSet{}
	s.committed, err = proc.Capture(ctx, s.initial)
	return err
}

// report says where the clone stands.
func (s *session) report() error {
	return s.send(&wire.SyncState{State: s.state, MemoryBytes: s.proc.MemBytes(), Written: wire.Ranges(s.written.All())})
}

// sync answers where the clone stands after a failed attempt: at its committed state but for some pages, or, where
// pages do not suffice, at the initial image.
func (s *session) sync(ctx context.Context) error {
	s.pending = nil
	s.shadow = delta.NewShadow(shadowBytes)
	if anew, err := s.leaveBroken(ctx); err != nil {
		return err
	} else if anew {
		return s.report()
	}
	if err := s.collect(); err != nil {
		return err
	}
	if s.over || s.proc.MemBytes() != s.committed.MemoryBytes || s.proc.Check(s.committed) != nil {
		if err := s.begin(ctx); err != nil {
			return err
		}
	}
	return s.report()
}

func (s *session) collect() error {
	if s.proc.Mem == nil {
		return nil
	}
	return s.proc.Mem.Collect(s.written)
}

func (s *session) commit(m *wire.Commit) error {
	p := s.pending
	if p == nil || p.Offload != m.Offload || p.Number != m.Attempt {
		return fmt.Errorf("commit of %d.%d, which awaits none: %w", m.Offload, m.Attempt, wire.ErrProtocol)
	}
	if delta.ID(m.State) != p.next {
		return fmt.Errorf("commit of state %x in place of %v: %w", m.State[:4], p.next, wire.ErrProtocol)
	}
	s.state, s.committed, s.pending = p.next, p.image, nil
	s.ever.Or(s.written)
	s.written.Clear()
	return nil
}

// refuse answers an attempt that cannot be carried out; the session goes on.
func (s *session) refuse(a migrate.Attempt, code wire.Code, err error) error {
	text := err.Error()
	return s.send(&wire.Refuse{Offload: a.Offload, Attempt: a.Number, Code: code, Text: text[:min(len(text), wire.MaxText)]})
}

// offload carries out one attempt, from Migrate to Reintegrate.
func (s *session) offload(ctx context.Context, m *wire.Migrate) error {
	a := migrate.Attempt{Offload: m.Offload, Number: m.Attempt}
	s.pending = nil
	if code, err := s.takeIn(ctx, a, m); err != nil {
		switch {
		case errors.Is(err, errCancelled):
			return nil
		case ctx.Err() != nil, errors.Is(err, wire.ErrProtocol):
			return err
		}
		return s.refuse(a, code, err)
	}
	parent := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := &trip{Attempt: a, send: s.send, clocks: wasi.NewClocks(s.hello.VirtualClock), news: make(chan struct{}, 1),
		cancel: cancel, room: s.host.Limits.Output, gate: &s.host.gate}
	t.credit.Grant(migrate.OutputWindow)
	t.limit, t.granted = migrate.OutputWindow, migrate.OutputWindow
	if err := s.enter(t); err != nil {
		return nil
	}
	files, err := s.openFiles(ctx, t)
	if err != nil {
		s.leaveTrip()
		return s.refuse(a, wire.CodeInternal, err)
	}
	if files != nil {
		defer files.Close()
	}
	t.start = time.Now()
	unlimited := s.limit(ctx, t)
	disturbed, polls := s.host.busy.since(), s.proc.polls()
	results, err := s.execute(ctx, t, m)
	took := time.Since(t.start) - t.waitedFor()
	unlimited()
	run := choose.Run{Func: s.proc.Manifest.Candidates[m.Candidate].Func, Polls: s.proc.polls() - polls, Time: took, Disturbed: disturbed()}
	var unsent error
	if files != nil && context.Cause(ctx) == nil && merges(err) {
		unsent = s.sendFiles(ctx, t, files)
	}
	s.leaveTrip()
	switch cause := context.Cause(ctx); {
	case cause == nil:
		s.account(t, run, err)
	case errors.Is(cause, errCancelled):
		return nil // the pages stay written; the next Sync tells the device
	case errors.Is(cause, errLimit):
		err = cause
	default:
		return cause
	}
	if unsent != nil {
		err = unsent
	}
	return s.answer(parent, t, m, results, err, took)
}

// takeIn brings the process to the state at the candidate's entry.
func (s *session) takeIn(ctx context.Context, a migrate.Attempt, m *wire.Migrate) (wire.Code, error) {
	p := s.proc
	switch {
	case m.Continuation != wire.ContinuationCall:
		return wire.CodeUnsupported, errors.New("only calls can be continued here")
	case uint64(m.Candidate) >= uint64(len(p.Manifest.Candidates)):
		return wire.CodeProtocol, fmt.Errorf("no candidate %d", m.Candidate)
	case s.over:
		return wire.CodeBase, errors.New("the process has exited here")
	case len(m.Args) != len(p.Manifest.Candidates[m.Candidate].Params):
		return wire.CodeProtocol, fmt.Errorf("%d arguments for candidate %d", len(m.Args), m.Candidate)
	case delta.ID(m.Image.Base) != s.state:
		return wire.CodeBase, fmt.Errorf("delta leads from %x, this clone is at %v", m.Image.Base[:4], s.state)
	}
	if err := p.Check(&m.Image); err != nil {
		return wire.CodeProtocol, err
	}
	w := &wasi.State{}
	if err := w.UnmarshalBinary(m.Image.WASI); err != nil {
		return wire.CodeProtocol, fmt.Errorf("decode wasi state: %w", err)
	}
	if err := p.Grow(&m.Image); err != nil {
		return wire.CodeLimit, err
	}
	var mem []byte
	if p.Mem != nil {
		mem = p.Mem.Bytes()
	}
	lim := delta.Limits{Base: func(page uint32) []byte { return mem[uint64(page)*delta.PageSize:][:delta.PageSize] }}
	next := func() (wire.Message, error) {
		m, err := s.next(ctx)
		if c, ok := m.(*wire.Cancel); ok && c.Offload == a.Offload && c.Attempt == a.Number {
			return nil, errCancelled
		}
		return m, err
	}
	staged, err := migrate.ReceiveInto(mem, a, &m.Image, lim, next)
	if err != nil {
		return wire.CodeDigest, err
	}
	if err := p.Apply(ctx, &m.Image, w); err != nil {
		return wire.CodeInternal, err
	}
	s.shadow.Update(mem, staged.Pages())
	m.Image.Next = staged.Next
	if p.Mem == nil {
		return 0, nil
	}
	// What an earlier attempt wrote was collected when the device asked where this clone stands: only what came was
	// written since.
	came := &linmem.PageSet{}
	for page := range staged.Pages() {
		came.Add(page)
	}
	s.written.Or(came)
	return 0, p.Mem.ForgetPages(came)
}

// execute runs the candidate's body.
func (s *session) execute(ctx context.Context, t *trip, m *wire.Migrate) ([]uint64, error) {
	c := s.proc.Manifest.Candidates[m.Candidate]
	stack := make([]uint64, max(len(c.Params), len(c.Results)))
	copy(stack, m.Args)
	s.host.gate.enter()
	defer s.host.gate.leave()
	t.inside.Store(true)
	defer t.inside.Store(false)
	s.nudged.Store(s.proc.Process)
	defer s.nudged.Store(nil)
	err := s.proc.Body(m.Candidate).Call(ctx, stack)
	return stack[:len(c.Results)], err
}

// answer sends what the attempt came to.
func (s *session) answer(ctx context.Context, t *trip, m *wire.Migrate, results []uint64, end error, took time.Duration) error {
	r := &wire.Reintegrate{Offload: t.Offload, Attempt: t.Number, Calls: t.calls, ExecNanos: uint64(max(took, 0)), Engine: s.engine()}
	var trap *engine.Trap
	var exit *wasi.ExitError
	var exc *engine.Exception
	switch {
	case end == nil:
		r.Outcome, r.Results = wire.OutcomeResults, results
	case errors.As(end, &exit):
		r.Outcome, r.Exit = wire.OutcomeExit, exit.Code
	case errors.As(end, &trap) && trap.Kind != engine.TrapStackOverflow && !errors.Is(end, errLimit):
		r.Outcome, r.Trap = wire.OutcomeTrap, uint8(trap.Kind)
	case errors.As(end, &exc):
		r.Outcome = wire.OutcomeException
	default:
		// A limit of this side, or something that went wrong here: the device can do without.
		return s.handBack(r, end)
	}
	img, err := s.proc.Capture(ctx, m.Image.Next)
	if err != nil {
		return err
	}
	pages := &linmem.PageSet{}
	if s.proc.Mem != nil {
		if err := s.proc.Mem.Collect(pages); err != nil {
			return err
		}
	}
	s.written.Or(pages)
	if r.Outcome == wire.OutcomeExit {
		pages = &linmem.PageSet{} // nobody will look at the memory of a process that has exited
		s.over = true
	}
	r.Image = *img
	if err := s.part(r); err != nil {
		return err
	}
	next, _, err := migrate.SendPages(s.proc.Process, t.Attempt, img, pages, delta.Options{Base: s.shadow.Base, Compress: s.host.Compress}, s.part)
	if err != nil {
		return err
	}
	if s.proc.Mem != nil {
		s.shadow.Update(s.proc.Mem.Bytes(), pages.All())
	}
	s.pending = &answered{Attempt: t.Attempt, image: img, next: next}
	return nil
}
