// Package clone is the node's side of an offload, the Augmenter: it keeps a process instantiated, brings it to the
// device's state, runs the function that was sent, and sends back what changed.
//
// A clone is soft state. It holds the last state that the device committed (clone.state) and the set of pages that
// were written since; an attempt that failed leaves the pages as they are, and the next delta covers them. What
// cannot be covered that way, a memory that grew or a segment that was dropped, makes it begin anew from the
// initial image.
package clone

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clonecloud/clonecloud/internal/clone/choose"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Host runs clones. The zero value with Engines is ready. Safe for concurrent use.
type Host struct {
	// Engines run the clones' code, the preferred one first; at most choose.MostEngines. Where there are several, which
	// one runs a module is measured, and a module that one refuses runs on another. Devices that rely on being like their
	// clone get their own engine.
	Engines []engine.Engine
	// Measures keeps what is measured of them. Default: in memory.
	Measures Measures
	// Peer bounds the conversations.
	Peer peer.Config
	// Speed is the machine's, see package gauge; 0: devices are not told.
	Speed float64
	// Limits bound what devices may use.
	Limits Limits
	// Store keeps modules. Default: in memory.
	Store Store
	// Files keeps what follows processes of the devices' files. The zero value keeps it in memory.
	Files Files
	// Watch is told before something runs that may not end, and what it returns after: "offload" or "compile", of a
	// module, which should take no longer than limit. Stuck is told when it goes on a second after it was told to stop;
	// there is then no way to end it but to end the process. Both are optional. Watch may wait: the time counts from its
	// return.
	Watch func(what string, module wire.ID, limit time.Duration) (end func())
	Stuck func(what string, module wire.ID)
	// Deny gives a reason not to run a module, "" if there is none. Optional.
	Deny func(module wire.ID) string
	// Tracker is how dirty pages are noticed. Default: the platform's best.
	Tracker linmem.Tracker
	// Compress tries to compress pages one by one; for links that do not compress.
	Compress bool
	// Log is told, in one line each, what a person may want to know. Default: nothing.
	Log func(format string, args ...any)

	once     sync.Once
	acceptor *peer.Acceptor
	running  atomic.Int64
	gate     gate
	busy     busy
	prepare  sync.Mutex      // held by a preparation that compiles nothing, see turn.go
	work     sync.WaitGroup  // of goroutines that use programs and no conversation; added to under mu while open lasts
	drains   context.Context // ended: no new conversations, and idle ones end
	drain    context.CancelFunc

	mu        sync.Mutex
	clones    int                      // guarded by mu; admitted
	sessions  map[*session]struct{}    // guarded by mu
	programs  map[codeKey]*programme   // guarded by mu
	choices   map[wire.ID]*choice      // guarded by mu; by module, those in use and some others
	forestall bool                     // guarded by mu; code is made ready ahead of need
	stores    map[[32]byte]*filesStore // guarded by mu; of files, by their key
	checks    map[[32]byte]bool        // guarded by mu; those of them that are being checked
	open      context.Context          // guarded by mu; ends with Close, and with it what is being compiled
	shut      context.CancelFunc       // guarded by mu
}

// Limits bound what the devices of one host may use. Zero fields have the defaults named.
type Limits struct {
	Memory   uint64        // bytes of linear memory of one clone; default: what its module declares
	Exec     time.Duration // guest time of one offload, without waiting for the device; default 1 h
	Wall     time.Duration // of one offload, waiting included; default 24 h
	Compile  time.Duration // of one module; default 5 min
	Output   uint64        // bytes that one offload may write to streams; default 16 GiB
	Clones   int           // at once; default 256
	Module   uint64        // bytes of one module; default 256 MiB
	Programs int           // kept compiled while no clone runs them; default 16
}

func (l Limits) withDefaults() Limits {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&l.Exec, time.Hour)
	def(&l.Wall, 24*time.Hour)
	def(&l.Compile, 5*time.Minute)
	if l.Memory == 0 {
		l.Memory = linmem.MaxSize
	}
	if l.Output == 0 {
		l.Output = 16 << 30
	}
	if l.Clones <= 0 {
		l.Clones = 256
	}
	if l.Module == 0 {
		l.Module = 256 << 20
	}
	if l.Programs <= 0 {
		l.Programs = 16
	}
	return l
}

// Stats says what a host is doing.
type Stats struct {
	Clones  int // conversations
	Running int // offloads that run now
}

func (h *Host) init() {
	h.once.Do(func() {
		h.programs, h.sessions, h.stores = map[codeKey]*programme{}, map[*session]struct{}{}, map[[32]byte]*filesStore{}
		h.choices = map[wire.ID]*choice{}
		if len(h.Engines) > choose.MostEngines {
			h.Engines = h.Engines[:choose.MostEngines]
		}
		if h.Measures == nil {
			h.Measures = &memoryMeasures{}
		}
		h.checks = map[[32]byte]bool{}
		h.open, h.shut = context.WithCancel(context.Background())
		h.drains, h.drain = context.WithCancel(context.Background())
		h.Limits = h.Limits.withDefaults()
		if h.Store == nil {
			h.Store = &memoryStore{}
		}
		if h.Log == nil {
			h.Log = func(string, ...any) {}
		}
		if h.Watch == nil {
			h.Watch = func(string, wire.ID, time.Duration) func() { return func() {} }
		}
		if h.Stuck == nil {
			h.Stuck = func(string, wire.ID) {}
		}
		if h.Deny == nil {
			h.Deny = func(wire.ID) string { return "" }
		}
		h.acceptor = &peer.Acceptor{Config: h.Peer, Admit: h.admit, Serve: h.serve}
	})
}

// Accept takes a link from a device and serves it in the background: a new clone, or the going on of one.
func (h *Host) Accept(ctx context.Context, l link.Link) error {
	h.init()
	return h.acceptor.Accept(ctx, l)
}

// ErrRunning marks clones whose code does not end: it calls nothing and polls nothing.
var ErrRunning = errors.New("code of a clone does not end")

// Close ends all clones and releases compiled code. Code that cannot be stopped ends with the process: when ctx is
// done first, ErrRunning is returned, and neither code nor Engine may be released.
func (h *Host) Close(ctx context.Context) error {
	h.init()
	h.mu.Lock()
	h.shut() // nobody will use what is being compiled
	h.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		h.acceptor.Close()
		h.work.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		return ErrRunning
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open, h.shut = context.WithCancel(context.Background())
	var errs []error
	for id, p := range h.programs {
		<-p.done
		errs = append(errs, p.close(context.WithoutCancel(ctx)))
		delete(h.programs, id)
	}
	return errors.Join(errs...)
}

// Drain takes no new conversations, ends those in which nothing runs, and waits until the others have finished what
// they run, or for ctx; Close ends what is left then.
func (h *Host) Drain(ctx context.Context) error {
	h.init()
	h.drain()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for h.Stats().Clones > 0 {
		select {
		case <-t.C:
		case <-ctx.Done():
			return fmt.Errorf("drain: %d clones were still at work: %w", h.Stats().Clones, ctx.Err())
		}
	}
	return nil
}

// Stats returns what the host is doing.
func (h *Host) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Stats{Clones: h.clones, Running: int(h.running.Load())}
}

func (h *Host) admit(hello *wire.Hello) (*wire.Welcome, error) {
	if want := migrate.CloneCode(hello.Module, hello.Candidates, hello.Options, hello.Hosts); want != hello.Code && !hello.FilesOnly {
		return nil, &peer.RefusedError{Code: wire.CodeVersion, Text: "code is rewritten differently here: another version"}
	}
	if why := h.Deny(hello.Module); why != "" && !hello.FilesOnly {
		return nil, &peer.RefusedError{Code: wire.CodeUnsupported, Text: why}
	}
	if h.drains.Err() != nil {
		return nil, &peer.RefusedError{Code: wire.CodeLimit, Text: "the node is shutting down"}
	}
	if len(h.Engines) == 0 {
		return nil, &peer.RefusedError{Code: wire.CodeInternal, Text: "there is no engine"}
	}
	eng := h.begins(hello)
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.programs[codeKey{hello.Code, eng}]
	have := p != nil
	if h.clones >= h.Limits.Clones {
		return nil, &peer.RefusedError{Code: wire.CodeLimit, Text: fmt.Sprintf("%d clones of this device run here, which is the limit", h.clones)}
	}
	if hello.FilesOnly {
		have = true
	} else if hello.Early && (!have || !p.ready()) {
		return nil, &peer.RefusedError{Code: wire.CodeUnknown, Text: "nothing is left here of an earlier run"}
	}
	have = have || h.Store.Has(hello.Module)
	h.clones++ // until serve ends, which follows in any case
	return &wire.Welcome{
		Version: wire.Version, Session: hello.Session, HaveModule: have, Engine: h.Engines[eng].Name(), Arch: runtime.GOARCH,
		Speed: h.Speed, Preferred: h.Engines[0].Name(), HaveCode: p != nil && p.ready(),
	}, nil
}

// begins is the engine on which a conversation will probably begin.
func (h *Host) begins(hello *wire.Hello) int {
	eng, bound := h.fixed(hello)
	if bound || hello.FilesOnly {
		return eng
	}
	c := h.choice(hello.Module)
	defer c.release()
	return max(c.peek(hello.Code), 0)
}

func (h *Host) serve(ctx context.Context, e *peer.Endpoint, hello *wire.Hello, welcome *wire.Welcome) {
	s := &session{host: h, end: e, hello: hello, lacking: !welcome.HaveModule, initial: migrate.InitialID(hello.Module)}
	h.mu.Lock()
	h.sessions[s] = struct{}{}
	h.mu.Unlock()
	err := s.run(ctx)
	s.nudged.Store(nil)
	if err != nil && !errors.Is(err, peer.ErrLost) && ctx.Err() == nil {
		if !errors.Is(err, errDraining) {
			h.Log("clone of %x ended: %v", hello.Module[:4], err)
		}
		e.Refuse(codeOf(err), err.Error()) // before Drain takes it for ended
	}
	code := s.code
	s.code = nil
	s.drop(ctx)
	if s.choice != nil {
		s.choice.release()
	}
	h.mu.Lock()
	delete(h.sessions, s)
	h.clones--
	h.mu.Unlock()
	if code != nil {
		h.leave(code)
	}
}

func codeOf(err error) wire.Code {
	switch {
	case errors.Is(err, wire.ErrProtocol):
		return wire.CodeProtocol
	case errors.Is(err, errModule):
		return wire.CodeUnsupported
	case errors.Is(err, errGone):
		return wire.CodeUnknown
	case errors.Is(err, errDraining):
		return wire.CodeDone
	}
	return wire.CodeInternal
}

var (
	// errModule marks a module that cannot run here.
	errModule = errors.New("module cannot run on this node")
	// errGone marks a module that was here when its device asked.
	errGone = errors.New("module is gone")
	// errDraining ends conversations when the host takes no more work.
	errDraining = errors.New("the node is shutting down")
)

// Variant is how the clone's code of a process is rewritten.
func Variant(candidates []uint32, options wire.Options) rewrite.Options {
	opt := rewrite.Options{Candidates: candidates, CanonicalNaN: options&wire.OptionCanonicalNaN != 0, StripDebug: true, Detach: true}
	if options&wire.OptionPoll != 0 {
		opt.Poll = rewrite.PollOuterLoops
	}
	return opt
}

// Kill drops all clones at once and tells nobody, as when the node loses its power.
func (h *Host) Kill() {
	h.init()
	h.acceptor.Kill()
}
