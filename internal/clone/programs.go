package clone

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// codeKey names compiled code: its identity before it is compiled, and the engine, by its place in Host.Engines.
type codeKey struct {
	code   wire.ID
	engine int
}

// programme is compiled code that sessions share.
type programme struct {
	done  chan struct{}
	prog  *migrate.Program
	hosts migrate.Hosts
	err   error
	users int       // guarded by Host.mu
	used  time.Time // guarded by Host.mu; when the last user left
	spare *instance // guarded by Host.mu; with the initial image, for the next session
}

func (p *programme) ready() bool {
	select {
	case <-p.done:
		return p.err == nil
	default:
		return false
	}
}

// close releases the code. Preconditions: h.mu is held, nobody uses it.
func (p *programme) close(ctx context.Context) error {
	var err error
	if p.spare != nil {
		err = p.spare.Inst.Close(ctx)
		p.spare = nil
	}
	if p.prog != nil {
		err = errors.Join(err, p.prog.Close(ctx))
	}
	return err
}

// instance is a process on a node, whose polls are counted.
type instance struct {
	*migrate.Process
	polled uint64 // polls, but for those since the last one that called
}

// polls counts the polls of the guest so far. Preconditions: it does not run.
func (i *instance) polls() uint64 {
	if i.Manifest.Stop == "" {
		return 0
	}
	g := i.Inst.Global(i.Manifest.Stop)
	if g == nil {
		return i.polled
	}
	since := int64(int32(uint32(g.Get()))) + rewrite.PollEvery
	return i.polled + uint64(min(max(since, 0), rewrite.PollEvery))
}

// engineError is what an engine has against a module that another engine may take.
type engineError struct{ err error }

func (e *engineError) Error() string { return e.err.Error() }
func (e *engineError) Unwrap() error { return e.err }

// marking is an engine whose faults can be told from those of the module.
type marking struct{ engine.Engine }

// Compile implements engine.Engine.
func (m marking) Compile(ctx context.Context, bin []byte) (engine.Module, error) {
	mod, err := m.Engine.Compile(ctx, bin)
	if err != nil && ctx.Err() == nil {
		err = &engineError{err}
	}
	return mod, err
}

// program returns the compiled clone variant of the module that hello names, and counts the caller as its user until
// leave. bin is the module, nil where it is in the store.
func (h *Host) program(ctx context.Context, hello *wire.Hello, bin []byte, eng int) (*programme, error) {
	key := codeKey{hello.Code, eng}
	h.mu.Lock()
	open := h.open
	p, busy := h.programs[key]
	if !busy {
		p = &programme{done: make(chan struct{})}
		h.programs[key] = p
	}
	p.users++
	h.mu.Unlock()
	if !busy {
		p.prog, p.hosts, p.err = h.makeReady(open, bin, hello, h.Engines[eng])
		if p.err != nil {
			h.mu.Lock()
			delete(h.programs, key)
			h.mu.Unlock()
		}
		close(p.done)
	}
	select {
	case <-p.done:
		if p.err != nil {
			return nil, p.err
		}
		return p, nil
	case <-ctx.Done():
		h.leave(p)
		return nil, ctx.Err()
	}
}

// leave ends a session's use of a program. The last one leaves a fresh instance for the next session; what nobody has
// used for longest is released.
func (h *Host) leave(p *programme) {
	h.mu.Lock()
	p.users--
	p.used = time.Now()
	fresh := p.users == 0 && p.spare == nil && p.ready() && h.open.Err() == nil
	if fresh {
		p.users++ // this goroutine's use
	}
	h.mu.Unlock()
	if fresh {
		// Its device may come back within moments.
		spare, err := h.instance(context.Background(), p)
		h.mu.Lock()
		if p.users--; err == nil {
			if p.spare == nil {
				p.spare = spare
			} else {
				defer spare.Inst.Close(context.Background())
			}
		}
		h.mu.Unlock()
	}
	h.evict()
}

// evict releases the programs that nobody has used for longest, beyond the limit.
func (h *Host) evict() {
	h.mu.Lock()
	defer h.mu.Unlock()
	type idle struct {
		key codeKey
		p   *programme
	}
	var unused []idle
	for key, p := range h.programs {
		if p.users == 0 && p.ready() {
			unused = append(unused, idle{key, p})
		}
	}
	slices.SortFunc(unused, func(a, b idle) int { return a.p.used.Compare(b.p.used) })
	for _, u := range unused[:max(0, len(unused)-h.Limits.Programs)] {
		delete(h.programs, u.key)
		if err := u.p.close(context.Background()); err != nil {
			h.Log("release code of %x: %v", u.key.code[:4], err)
		}
	}
}

// inPlace tells of which engines the code is there, compiled.
func (h *Host) inPlace(code wire.ID) func(engine int) bool {
	var there []bool
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.Engines {
		p := h.programs[codeKey{code, i}]
		there = append(there, p != nil && p.ready())
	}
	return func(engine int) bool { return there[engine] }
}

// fresh returns an instance with the initial image: the one that an earlier session left, or a new one.
func (h *Host) fresh(ctx context.Context, p *programme) (*instance, error) {
	h.mu.Lock()
	spare := p.spare
	p.spare = nil
	h.mu.Unlock()
	if spare != nil {
		return spare, nil
	}
	return h.instance(ctx, p)
}

func (h *Host) instance(ctx context.Context, p *programme) (*instance, error) {
	i := &instance{}
	poll := func() {
		if h.gate.pass() {
			i.polled += rewrite.PollEvery / 2 // it was asked for, somewhere between two that come by themselves
		} else {
			i.polled += rewrite.PollEvery
		}
	}
	w := &wasi.Process{State: wasi.NewState(nil, nil, [32]byte{})}
	proc, err := p.prog.Start(ctx, migrate.Linkage{
		WASI: w, Hosts: p.hosts, MaxHost: wasi.MaxIO, Tracker: h.Tracker, MemoryLimit: h.Limits.Memory, Poll: poll,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errModule, &engineError{err})
	}
	i.Process = proc
	return i, nil
}

// makeReady rewrites and compiles a module.
func (h *Host) makeReady(ctx context.Context, bin []byte, hello *wire.Hello, eng engine.Engine) (*migrate.Program, migrate.Hosts, error) {
	if bin == nil {
		var err error
		if bin, err = h.Store.Load(hello.Module); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errGone, err)
		}
	}
	turn := h.preparing(hello.Module)
	defer turn.over()
	defer h.busy.begin()()
	m, err := wasm.Decode(bin)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errModule, err)
	}
	hosts, err := migrate.HostsOf(m, hello.Hosts)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errModule, err)
	}
	p, err := migrate.Prepare(turn.context(ctx), marking{eng}, hello.Module, m, Variant(hello.Candidates, hello.Options))
	if ctx.Err() != nil && err != nil {
		return nil, nil, fmt.Errorf("host closed: %w", err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errModule, err)
	}
	return p, hosts, nil
}
