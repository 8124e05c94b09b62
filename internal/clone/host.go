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

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Host runs clones. The zero value with an Engine is ready. Safe for concurrent use.
type Host struct {
	// Engine runs the clones' code.
	Engine engine.Engine
	// Peer bounds the conversations.
	Peer peer.Config
	// Tracker is how dirty pages are noticed. Default: the platform's best.
	Tracker linmem.Tracker
	// VirtualClock replaces time by a count in running clones; it must be as on the device.
	VirtualClock bool
	// Compress tries to compress pages; for links that are slower than the compressor.
	Compress bool
	// MaxModule bounds the size of a module in bytes. Default 256 MiB.
	MaxModule uint64
	// Log is told, in one line each, what a person may want to know. Default: nothing.
	Log func(format string, args ...any)

	once     sync.Once
	acceptor *peer.Acceptor

	mu       sync.Mutex
	modules  map[wire.ID][]byte     // guarded by mu; originals
	programs map[wire.ID]*programme // guarded by mu; by code digest
	open     context.Context        // guarded by mu; ends with Close, and with it what is being compiled
	shut     context.CancelFunc     // guarded by mu
}

// programme is compiled code that sessions share.
type programme struct {
	done chan struct{}
	prog *migrate.Program
	err  error
}

func (h *Host) init() {
	h.once.Do(func() {
		h.modules, h.programs = map[wire.ID][]byte{}, map[wire.ID]*programme{}
		h.open, h.shut = context.WithCancel(context.Background())
		if h.MaxModule == 0 {
			h.MaxModule = 256 << 20
		}
		if h.Log == nil {
			h.Log = func(string, ...any) {}
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
	for _, p := range h.programs {
		<-p.done
		if p.prog != nil {
			errs = append(errs, p.prog.Close(context.WithoutCancel(ctx)))
		}
	}
	clear(h.programs)
	return errors.Join(errs...)
}

// Modules counts the modules that the host holds.
func (h *Host) Modules() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.modules)
}

func (h *Host) admit(hello *wire.Hello) (*wire.Welcome, error) {
	if want := migrate.CloneCode(hello.Module, hello.Candidates, hello.Options); want != hello.Code {
		return nil, &peer.RefusedError{Code: wire.CodeVersion, Text: "code is rewritten differently here: another version"}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return &wire.Welcome{
		Version: wire.Version, Session: hello.Session, HaveModule: h.modules[hello.Module] != nil,
		Engine: h.Engine.Name(), Arch: runtime.GOARCH,
	}, nil
}

func (h *Host) serve(ctx context.Context, e *peer.Endpoint, hello *wire.Hello) {
	s := &session{host: h, end: e, hello: hello, main: make(chan wire.Message), initial: migrate.InitialID(hello.Module)}
	err := s.run(ctx)
	if s.proc != nil {
		s.proc.Inst.Close(context.WithoutCancel(ctx))
	}
	if err != nil && !errors.Is(err, peer.ErrLost) && ctx.Err() == nil {
		h.Log("clone of %x ended: %v", hello.Module[:4], err)
		e.Refuse(codeOf(err), err.Error())
	}
}

func codeOf(err error) wire.Code {
	switch {
	case errors.Is(err, wire.ErrProtocol):
		return wire.CodeProtocol
	case errors.Is(err, errModule):
		return wire.CodeUnsupported
	}
	return wire.CodeInternal
}

// errModule marks a module that cannot run here.
var errModule = errors.New("module cannot run on this node")

// program returns the compiled clone variant of the module that hello names.
func (h *Host) program(ctx context.Context, hello *wire.Hello) (*migrate.Program, error) {
	h.mu.Lock()
	bin, open := h.modules[hello.Module], h.open
	p, busy := h.programs[hello.Code]
	if !busy {
		p = &programme{done: make(chan struct{})}
		h.programs[hello.Code] = p
	}
	h.mu.Unlock()
	if !busy {
		p.prog, p.err = h.prepare(open, bin, hello)
		if p.err != nil {
			h.mu.Lock()
			delete(h.programs, hello.Code)
			h.mu.Unlock()
		}
		close(p.done)
	}
	select {
	case <-p.done:
		return p.prog, p.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// variant is how the clone's code of a process is rewritten.
func variant(candidates []uint32, options wire.Options) rewrite.Options {
	opt := rewrite.Options{Candidates: candidates, CanonicalNaN: options&wire.OptionCanonicalNaN != 0, StripDebug: true}
	if options&wire.OptionPoll != 0 {
		opt.Poll = rewrite.PollOuterLoops
	}
	return opt
}

func (h *Host) prepare(ctx context.Context, bin []byte, hello *wire.Hello) (*migrate.Program, error) {
	m, err := wasm.Decode(bin)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errModule, err)
	}
	p, err := migrate.Prepare(ctx, h.Engine, hello.Module, m, variant(hello.Candidates, hello.Options))
	if ctx.Err() != nil && err != nil {
		return nil, fmt.Errorf("host closed: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errModule, err)
	}
	return p, nil
}

// Kill drops all clones at once and tells nobody, as when the node loses its power.
func (h *Host) Kill() {
	h.init()
	h.acceptor.Kill()
}
