package clone_test

import (
	"context"
	"errors"
	"io/fs"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/clone"
	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// counted is an engine that counts what it does.
type counted struct {
	engine.Engine
	mu             sync.Mutex
	compiled, made int
}

func (e *counted) Compile(ctx context.Context, bin []byte) (engine.Module, error) {
	e.mu.Lock()
	e.compiled++
	e.mu.Unlock()
	m, err := e.Engine.Compile(ctx, bin)
	return &countedModule{m, e}, err
}

type countedModule struct {
	engine.Module
	e *counted
}

func (m *countedModule) Instantiate(ctx context.Context, cfg engine.Config) (engine.Instance, error) {
	m.e.mu.Lock()
	m.e.made++
	m.e.mu.Unlock()
	return m.Module.Instantiate(ctx, cfg)
}

func (e *counted) counts() (compiled, made int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.compiled, e.made
}

func newCountedRig(t *testing.T) (*rig, *counted) {
	t.Helper()
	eng, err := interpreter()
	if err != nil {
		t.Fatal(err)
	}
	r := newRigWith(t, eng)
	e := &counted{Engine: eng}
	r.host.Engines[0] = e
	return r, e
}

// gone ends the only conversation and waits until the host has noticed and tidied up; then it has as many programs.
func (d *device) gone(programs int) {
	d.t.Helper()
	d.end.Close()
	until(d.t, func() bool {
		instances, unused, used := d.host.Spares()
		return d.host.Stats() == clone.Stats{} && instances == programs && unused == programs && used == 0
	})
}

// TestWarm: a second conversation finds the module, its code and an instance.
func TestWarm(t *testing.T) {
	r, e := newCountedRig(t)
	d := r.ready()
	d.honest(1, d.initial())
	d.gone(1)
	for i := range 3 {
		clear(r.proc.Mem.Bytes()[31*delta.PageSize:])
		d, w, err := r.dial(nil)
		if err != nil || !w.HaveModule || w.Engine != e.Name() || w.Arch != runtime.GOARCH {
			t.Fatalf("welcome %+v, %v", w, err)
		}
		if s, ok := d.recv().(*wire.SyncState); !ok || delta.ID(s.State) != d.initial() || len(s.Written) > 0 {
			t.Fatalf("clone is ready with %+v", s)
		}
		if compiled, made := e.counts(); compiled != 1 || made != 2+i {
			t.Errorf("compiled %d times, %d instances", compiled, made)
		}
		d.honest(1, d.initial()) // an instance that is as good as new
		d.gone(1)
	}
	// Two at once share the code, and have an instance each.
	clear(r.proc.Mem.Bytes()[31*delta.PageSize:])
	a, b := r.ready(), r.ready()
	a.honest(1, a.initial())
	clear(r.proc.Mem.Bytes()[31*delta.PageSize:])
	b.honest(1, b.initial())
	if compiled, made := e.counts(); compiled != 1 || made != 6 {
		t.Errorf("compiled %d times, %d instances", compiled, made)
	}
}

// TestEviction keeps as many unused programs as allowed, those that were used last.
func TestEviction(t *testing.T) {
	r, e := newCountedRig(t)
	r.host.Limits.Programs = 2
	var hellos []wire.Hello
	for _, c := range [][]uint32{{8}, {10}, {13}} { // other candidates are another program of the same module
		h := r.hello
		h.Candidates, h.Code = c, migrate.CloneCode(h.Module, c, h.Options, h.Hosts)
		hellos = append(hellos, h)
	}
	converse := func(i int, fresh bool, programs int) {
		t.Helper()
		before, _ := e.counts()
		r.hello = hellos[i]
		d := r.ready()
		if after, _ := e.counts(); (after > before) != fresh {
			t.Errorf("program %d: compiled %d times, was %d", i, after, before)
		}
		d.gone(programs)
	}
	converse(0, true, 1)
	converse(1, true, 2)
	converse(0, false, 2)
	converse(2, true, 2) // 1 goes
	converse(0, false, 2)
	converse(2, false, 2)
	converse(1, true, 2) // 0 goes
	converse(2, false, 2)
	converse(0, true, 2)
}

// TestVanished: the host said that it has a module, and finds that it has not: the device is to come again, and uploads.
func TestVanished(t *testing.T) {
	r := newRig(t)
	r.host.Store = &leaky{modules: r.store}
	r.store[r.hello.Module] = r.bin
	d, w, err := r.dial(nil)
	if err != nil || !w.HaveModule {
		t.Fatalf("welcome %+v, %v", w, err)
	}
	if b, ok := d.recv().(*wire.Bye); !ok || b.Code != wire.CodeUnknown || !strings.Contains(b.Text, "module is gone") {
		t.Errorf("answer %+v", b)
	}
	d, w, err = r.dial(nil)
	if err != nil || w.HaveModule {
		t.Fatalf("welcome %+v, %v", w, err)
	}
	d.send(&wire.Module{Total: uint64(len(r.bin)), Data: r.bin})
	if s, ok := d.recv().(*wire.SyncState); !ok {
		t.Errorf("answer %+v", s)
	}
	d.honest(1, d.initial())
}

// leaky is a Store whose modules are gone when they are first loaded, as those of a folder may be that others tidy.
type leaky struct{ modules }

func (s *leaky) Load(id wire.ID) ([]byte, error) {
	delete(s.modules, id)
	return nil, fs.ErrNotExist
}

// TestUploadTwice has two devices told to upload before either has: both may.
func TestUploadTwice(t *testing.T) {
	r := newRig(t)
	a, w1, err1 := r.dial(nil)
	b, w2, err2 := r.dial(nil)
	if err := errors.Join(err1, err2); err != nil || w1.HaveModule || w2.HaveModule {
		t.Fatalf("welcome %+v, %+v, %v", w1, w2, err)
	}
	for _, d := range []*device{a, b} {
		half := uint64(len(r.bin) / 2)
		d.send(&wire.Module{Total: uint64(len(r.bin)), Data: r.bin[:half]}, &wire.Module{Total: uint64(len(r.bin)), Offset: half, Data: r.bin[half:]})
		if s, ok := d.recv().(*wire.SyncState); !ok {
			t.Errorf("answer %+v", s)
		}
		clear(r.proc.Mem.Bytes()[31*delta.PageSize:])
		d.honest(1, d.initial())
	}
}

// early begins a conversation without waiting for the answer.
func (r *rig) early() *device {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	r.t.Cleanup(cancel)
	hello := r.hello
	hello.Session = wire.Token{byte(time.Now().UnixNano()), 0xea}
	end, err := peer.DialEarly(ctx, func(context.Context) (link.Link, error) {
		here, there := link.Pipe(0)
		go func() { _ = r.host.Accept(context.Background(), there) }()
		return here, nil
	}, hello, peer.Config{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { end.Close() })
	return &device{rig: r, end: end, ctx: ctx}
}

// TestEarly sends the first offload right behind the greeting.
func TestEarly(t *testing.T) {
	r, e := newCountedRig(t)
	cold := r.early()
	cold.send(cold.migrate(1, pure, cold.initial(), 100)...)
	if b, ok := cold.recv().(*wire.Bye); !ok || b.Code != wire.CodeUnknown {
		t.Errorf("answer when nothing is here: %+v", b)
	}
	if w, err := cold.end.Welcome(cold.ctx); w != nil || !errors.Is(err, peer.ErrLost) {
		t.Errorf("welcome %+v, %v", w, err)
	}
	clear(r.proc.Mem.Bytes()[31*delta.PageSize:])
	d := r.ready()
	d.gone(1)
	delete(r.store, r.hello.Module) // the code is what counts

	d = r.early()
	d.send(d.migrate(1, pure, d.initial(), 100)...)
	if s, ok := d.recv().(*wire.SyncState); !ok || delta.ID(s.State) != d.initial() || len(s.Written) > 0 {
		t.Fatalf("clone is ready with %+v", s)
	}
	a, ok := d.recv().(*wire.Reintegrate)
	if !ok || a.Outcome != wire.OutcomeResults || a.Results[0] != 5050 {
		t.Fatalf("answer %+v", a)
	}
	if w, err := d.end.Welcome(d.ctx); err != nil || !w.HaveModule || w.Engine != e.Name() {
		t.Errorf("welcome %+v, %v", w, err)
	}
	base := d.staged(a)
	d.send(&wire.Commit{Offload: 1, Attempt: 1, State: wire.ID(base)})
	d.honest(2, base)
	if compiled, made := e.counts(); compiled != 1 || made != 2 {
		t.Errorf("compiled %d times, %d instances", compiled, made)
	}
}

// TestDrain ends what is idle, lets finish what runs, and takes nothing new.
func TestDrain(t *testing.T) {
	r := newRig(t)
	idle, busy := r.ready(), r.ready()
	waiting, _, err := r.dial(func(h *wire.Hello) { // for its module
		h.Module[0]++
		h.Code = migrate.CloneCode(h.Module, h.Candidates, h.Options, h.Hosts)
	})
	if err != nil {
		t.Fatal(err)
	}
	state := busy.initial()
	call := busy.readFirst(1, state)
	done := make(chan error, 1)
	go func() { done <- r.host.Drain(t.Context()) }()
	for _, d := range []*device{idle, waiting} {
		if b, ok := d.recv().(*wire.Bye); !ok || b.Code != wire.CodeDone || !strings.Contains(b.Text, "shutting down") {
			t.Errorf("the idle one is told %+v", b)
		}
	}
	_, _, err = r.dial(nil)
	var refused *peer.RefusedError
	if !errors.As(err, &refused) || refused.Code != wire.CodeLimit || !strings.Contains(refused.Text, "shutting down") {
		t.Errorf("a new one: %v", err)
	}
	until(t, func() bool { return r.host.Stats() == clone.Stats{Clones: 1, Running: 1} })
	if len(done) > 0 {
		t.Errorf("drained while an offload runs: %v", <-done)
	}
	busy.send(&wire.HomeResult{Offload: 1, Attempt: 1, Call: call.Call, Response: emptyRead()})
	for m := busy.recv(); ; m = busy.recv() {
		if a, ok := m.(*wire.Reintegrate); ok {
			state = busy.staged(a)
			break
		}
	}
	if len(done) > 0 {
		t.Errorf("drained before the commit: %v", <-done)
	}
	busy.send(&wire.Commit{Offload: 1, Attempt: 1, State: wire.ID(state)})
	if b, ok := busy.recv().(*wire.Bye); !ok || b.Code != wire.CodeDone || !strings.Contains(b.Text, "shutting down") {
		t.Errorf("when it has finished it is told %+v", b)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := r.host.Drain(t.Context()); err != nil {
		t.Errorf("again: %v", err)
	}
}

// TestDrainGivesUp does not wait longer than it may.
func TestDrainGivesUp(t *testing.T) {
	r := newRig(t)
	d := r.ready()
	d.readFirst(1, d.initial())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.host.Drain(ctx) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "1 clones were still at work") {
		t.Errorf("drained with %v", err)
	}
}
