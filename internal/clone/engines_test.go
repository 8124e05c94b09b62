package clone_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/clone/choose"
	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// named is an engine with another name.
type named struct {
	engine.Engine
	name string
}

func (e named) Name() string { return e.name }

// lines is a log that can be read meanwhile.
type lines struct {
	mu   sync.Mutex
	text []string // guarded by mu
}

func (l *lines) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, fmt.Sprintf(format, args...))
}

// count counts the lines that have all of the parts.
func (l *lines) count(parts ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, line := range l.text {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			n++
		}
	}
	return n
}

// Candidates of the guest with state, by id.
const (
	tally   = iota // adds its argument to a global, and gives that
	touch          // counts in memory, at its argument
	once           // copies a segment to its argument and drops it: a second time it traps
	enlarge        // as grow
)

// stateful is a guest whose functions leave state of each kind behind.
func stateful() []byte {
	i32 := wasm.ValType{Kind: wasm.I32}
	m := &wasm.Module{
		Types:    []wasm.FuncType{{Params: []wasm.ValType{i32}, Results: []wasm.ValType{i32}}},
		Memories: []wasm.Limits{{Min: 8, Max: 100, HasMax: true}},
		Globals:  []wasm.Global{{GlobalType: wasm.GlobalType{Type: i32, Mutable: true}, Init: wasm.Expr{0x41, 5, 0x0b}}},
		Exports:  []wasm.Export{{Name: "memory", Kind: wasm.ExternMemory}},
		Data: []wasm.Data{
			{Mode: wasm.Passive, Init: []byte{1, 0, 0, 0}},
			{Mode: wasm.Active, Offset: wasm.Expr{0x41, 0xc0, 0, 0x0b}, Init: []byte{100, 0, 0, 0}},
		},
		HasDataCount: true,
	}
	for i, code := range []wasm.Expr{
		{0x23, 0, 0x20, 0, 0x6a, 0x24, 0, 0x23, 0, 0x0b},
		{0x20, 0, 0x20, 0, 0x28, 2, 0, 0x41, 1, 0x6a, 0x36, 2, 0, 0x20, 0, 0x28, 2, 0, 0x0b},
		{0x20, 0, 0x41, 0, 0x41, 4, 0xfc, 8, 0, 0, 0xfc, 9, 0, 0x41, 1, 0x0b},
		{0x20, 0, 0x40, 0, 0x0b},
	} {
		m.Funcs = append(m.Funcs, wasm.Func{Body: wasm.Body{Code: code}})
		m.Exports = append(m.Exports, wasm.Export{Name: []string{"tally", "touch", "once", "enlarge"}[i], Kind: wasm.ExternFunc, Index: uint32(i)})
	}
	return m.Encode()
}

const anyEngine = wire.OptionPoll | wire.OptionCanonicalNaN

// newEnginesRig has a node with the given engines, and a device with the guest with state for which any will do.
func newEnginesRig(t *testing.T, list ...engine.Engine) (*rig, *lines) {
	t.Helper()
	eng, err := interpreter()
	if err != nil {
		t.Fatal(err)
	}
	r := newRigOf(t, eng, stateful(), []uint32{tally, touch, once, enlarge}, anyEngine)
	l := &lines{}
	r.host.Engines, r.host.Log = list, l.add
	return r, l
}

// two are two engines of this machine, the same one twice where it has no other.
func two(t *testing.T) (a, b engine.Engine) {
	t.Helper()
	list, err := engines()
	if err != nil {
		t.Fatal(err)
	}
	return named{list[0], "first"}, named{list[len(list)-1], "second"}
}

// mover is a device that goes from offload to offload.
type mover struct {
	*device
	offload uint64
}

// run offloads a candidate and merges what it came to.
func (m *mover) run(candidate uint32, arg uint64) *wire.Reintegrate {
	m.t.Helper()
	if m.offload++; m.offload == 1 {
		m.base = m.initial()
	}
	m.send(m.migrate(m.offload, candidate, m.base, arg)...)
	r, ok := m.recv().(*wire.Reintegrate)
	if !ok || r.Outcome != wire.OutcomeResults && r.Outcome != wire.OutcomeTrap {
		m.t.Fatalf("answer is %+v", r)
	}
	w := &wasi.State{}
	if err := errors.Join(w.UnmarshalBinary(r.Image.WASI), m.proc.Check(&r.Image), m.proc.Grow(&r.Image)); err != nil {
		m.t.Fatal(err)
	}
	m.base = m.staged(r)
	if err := m.proc.Apply(m.ctx, &r.Image, w); err != nil {
		m.t.Fatal(err)
	}
	m.send(&wire.Commit{Offload: m.offload, Attempt: 1, State: wire.ID(m.base)})
	return r
}

// gives is run with the result and the engine that are wanted.
func (m *mover) gives(on string, candidate uint32, arg, want uint64) {
	m.t.Helper()
	r := m.run(candidate, arg)
	if r.Outcome != wire.OutcomeResults || len(r.Results) != 1 || r.Results[0] != want || r.Engine != on {
		m.t.Fatalf("%v %d on %q, want %d on %q", r.Outcome, r.Results, r.Engine, want, on)
	}
}

// settles makes offloads that change nothing until one ran on an engine.
func (m *mover) settles(on string) {
	m.t.Helper()
	until(m.t, func() bool { return m.run(tally, 0).Engine == on })
}

// TestMovesWithState: a process that changes engines between offloads takes its memory, globals and dropped segments along.
func TestMovesWithState(t *testing.T) {
	a, b := two(t)
	r, l := newEnginesRig(t, a, b)
	m := &mover{device: r.ready()}
	m.gives("first", tally, 1, 6)
	sum, size, touched, initial := uint64(6), uint64(8), uint64(0), uint64(100)
	names := []string{"first", "second"}
	for i := range 8 {
		on := names[(i+1)%2]
		r.host.Prefer(r.hello.Module, (i+1)%2)
		m.settles(on)
		sum += 3
		m.gives(on, tally, 3, sum)
		touched++
		m.gives(on, touch, 20, touched)
		initial++
		m.gives(on, touch, 64, initial)
		m.gives(on, enlarge, 2, size)
		size += 2
		m.gives(on, touch, size*unit-4, 1)
		if i == 2 {
			m.gives(on, once, 8, 1)
		}
		if i > 2 {
			if r := m.run(once, 8); r.Outcome != wire.OutcomeTrap || engine.TrapKind(r.Trap) != engine.TrapMemoryBounds || r.Engine != on {
				t.Fatalf("answer is %+v", r)
			}
		}
		if s := m.resync(); delta.ID(s.State) != m.base || len(s.Written) > 0 || s.MemoryBytes != size*unit {
			t.Fatalf("clone stands at %+v", s)
		}
	}
	if n := l.count(""); n > 0 {
		t.Errorf("log %q", l.text)
	}
}

// TestTakesFaster: after some work the other engine is tried, for one offload, and taken if it is faster.
func TestTakesFaster(t *testing.T) {
	a, b := two(t)
	for _, c := range []struct {
		name  string
		polls uint64
		stays string
	}{{"faster", 4e6, "second"}, {"slower", 1e6, "first"}} {
		t.Run(c.name, func(t *testing.T) {
			r, l := newEnginesRig(t, a, b)
			m := &mover{device: r.ready()}
			m.gives("first", tally, 0, 5)
			for range 50 {
				r.host.Measured(r.hello.Module, 0, choose.Run{Func: touch, Polls: 2e5, Time: 100 * time.Millisecond})
			}
			m.settles("second")
			r.host.Measured(r.hello.Module, 1, choose.Run{Func: touch, Polls: c.polls / 10, Time: 100 * time.Millisecond})
			m.settles(c.stays)
			for range 5 {
				m.gives(c.stays, tally, 0, 5)
			}
			if n := l.count("runs 2.00 times as fast on second as on first"); n != map[string]int{"second": 1}[c.stays] {
				t.Errorf("log %q", l.text)
			}
			// The next conversation goes on so.
			m.gone(2)
			clear(r.proc.Mem.Bytes()[31*delta.PageSize:])
			_, w, err := r.dial(nil)
			if err != nil || w.Engine != c.stays || w.Preferred != "first" || !w.HaveCode {
				t.Errorf("welcome %+v, %v", w, err)
			}
		})
	}
}

// barred is an engine that takes no module.
type barred struct {
	engine.Engine
	name, why string
	mu        sync.Mutex
	asked     int // guarded by mu
}

func (e *barred) Name() string { return e.name }

func (e *barred) Compile(context.Context, []byte) (engine.Module, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked++
	return nil, fmt.Errorf("%s: %w", e.why, engine.ErrUnsupported)
}

// TestRefusedByOne: a module that an engine does not take runs on another, which is said once.
func TestRefusedByOne(t *testing.T) {
	_, b := two(t)
	bar := &barred{name: "first", why: "it has dragons"}
	r, l := newEnginesRig(t, bar, b)
	m := &mover{device: r.ready()}
	m.gives("second", tally, 1, 6)
	m.gone(1)
	for range 2 {
		clear(r.proc.Mem.Bytes()[31*delta.PageSize:])
		r.proc.Inst.Global(r.proc.Manifest.Globals[0].Export).Set(5)
		m := &mover{device: r.ready()}
		m.gives("second", tally, 2, 7)
		m.gone(1)
	}
	if l.count("runs on second", "first: it has dragons") == 0 || bar.asked > 3 {
		t.Errorf("log %q, asked %d times", l.text, bar.asked)
	}
}

// TestRefusedByAll: the device is told what each engine has against its module.
func TestRefusedByAll(t *testing.T) {
	r, _ := newEnginesRig(t, &barred{name: "first", why: "it has dragons"}, &barred{name: "second", why: "it is too long"})
	for range 2 {
		d, w, err := r.dial(nil)
		if err != nil {
			t.Fatal(err)
		}
		if !w.HaveModule {
			d.send(&wire.Module{Total: uint64(len(r.bin)), Data: r.bin})
		}
		b, ok := d.recv().(*wire.Bye)
		if !ok || b.Code != wire.CodeUnsupported || !strings.Contains(b.Text, "first: it has dragons") || !strings.Contains(b.Text, "second: it is too long") {
			t.Errorf("answer %+v", b)
		}
	}
}

// TestAlike: a device whose code has no canonical NaNs gets its own engine, and stays on it.
func TestAlike(t *testing.T) {
	for _, c := range []struct {
		name, engine, arch string
		options            wire.Options
		on                 string
	}{
		{"same", "second", runtime.GOARCH, wire.OptionPoll, "second"},
		{"preferred", "first", runtime.GOARCH, wire.OptionPoll, "first"},
		{"other_arch", "second", "z80", wire.OptionPoll, "first"},
		{"unknown", "steam", runtime.GOARCH, wire.OptionPoll, "first"},
		{"nameless", "", "", wire.OptionPoll, "first"},
		{"canonical", "second", runtime.GOARCH, anyEngine, "first"},
		{"canonical_unknown", strings.Repeat("x", 128), strings.Repeat("y", 128), anyEngine, "first"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := two(t)
			r, _ := newEnginesRig(t, a, b)
			r.hello.Engine, r.hello.Arch, r.hello.Options = c.engine, c.arch, c.options
			r.hello.Code = migrate.CloneCode(r.hello.Module, r.hello.Candidates, c.options, nil)
			d, w, err := r.dial(nil)
			if err != nil || w.Engine != c.on || w.Preferred != "first" || w.HaveCode {
				t.Fatalf("welcome %+v, %v", w, err)
			}
			d.send(&wire.Module{Total: uint64(len(r.bin)), Data: r.bin})
			if s, ok := d.recv().(*wire.SyncState); !ok {
				t.Fatalf("clone is ready with %+v", s)
			}
			m := &mover{device: d}
			m.gives(c.on, tally, 0, 5)
			if c.options == anyEngine {
				return
			}
			for i := range 2 {
				r.host.Prefer(r.hello.Module, i)
				for range 4 {
					m.gives(c.on, tally, 0, 5)
				}
			}
		})
	}
}

// brittle is an engine on which a function of modules fails in a way that no guest can cause.
type brittle struct {
	engine.Engine
	err error
}

func (e brittle) Name() string { return "brittle" }

func (e brittle) Compile(ctx context.Context, bin []byte) (engine.Module, error) {
	m, err := e.Engine.Compile(ctx, bin)
	return brittleModule{m, e.err}, err
}

type brittleModule struct {
	engine.Module
	err error
}

func (m brittleModule) Instantiate(ctx context.Context, cfg engine.Config) (engine.Instance, error) {
	i, err := m.Module.Instantiate(ctx, cfg)
	return brittleInstance{i, m.err}, err
}

type brittleInstance struct {
	engine.Instance
	err error
}

func (i brittleInstance) Func(name string) engine.Func {
	f := i.Instance.Func(name)
	if f == nil {
		return nil
	}
	return brittleFunc{f, i.err}
}

type brittleFunc struct {
	engine.Func
	err error
}

func (f brittleFunc) Call(ctx context.Context, stack []uint64) error {
	if len(stack) == 1 && stack[0] == 666 {
		return f.err
	}
	return f.Func.Call(ctx, stack)
}

// TestBreaks: an engine that fails on a module is left for it, though the clone has to begin anew for that.
func TestBreaks(t *testing.T) {
	for _, err := range []error{errors.New("run failed: this cannot be"), &engine.Trap{Kind: engine.TrapStackOverflow}} {
		t.Run(fmt.Sprintf("%T", err), func(t *testing.T) {
			a, b := two(t)
			r, l := newEnginesRig(t, brittle{a, err}, b)
			m := &mover{device: r.ready()}
			m.gives("brittle", tally, 1, 6)
			r.host.Prefer(r.hello.Module, 1) // so that its code is there
			m.settles("second")
			r.host.Prefer(r.hello.Module, 0)
			m.settles("brittle")
			r.host.Allow(r.hello.Module, 1)
			m.offload++
			m.send(m.migrate(m.offload, tally, m.base, 666)...)
			if why := m.handedBack(); !strings.Contains(why, err.Error()) {
				t.Errorf("handed back with %q", why)
			}
			if s := m.resync(); delta.ID(s.State) != m.initial() || len(s.Written) > 0 {
				t.Fatalf("clone stands at %+v", s)
			}
			if l.count("brittle is left for module", err.Error()) != 1 {
				t.Errorf("log %q", l.text)
			}
			r.proc.Inst.Global(r.proc.Manifest.Globals[0].Export).Set(5)
			m.offload = 0
			m.gives("second", tally, 2, 7)
			m.gives("second", tally, 2, 9)
		})
	}
}

// TestLimitsAreNoFailures: what every engine would refuse is held against none.
func TestLimitsAreNoFailures(t *testing.T) {
	a, b := two(t)
	r, l := newEnginesRig(t, a, b)
	r.host.Limits.Memory = 10 * unit
	m := &mover{device: r.ready()}
	m.gives("first", tally, 0, 5)
	m.offload++
	m.send(m.migrate(m.offload, enlarge, m.base, 5)...)
	m.handedBack()
	m.resync()
	m.gives("first", tally, 0, 5)
	if l.count("left for module") > 0 {
		t.Errorf("log %q", l.text)
	}
}

// TestNobodyWaitsForCode: while the code of a second engine is compiled, offloads go on on the first.
func TestNobodyWaitsForCode(t *testing.T) {
	a, b := two(t)
	held := &holding{Engine: b, hold: make(chan struct{})}
	r, _ := newEnginesRig(t, a, held)
	m := &mover{device: r.ready()}
	m.gives("first", tally, 0, 5)
	r.host.Measured(r.hello.Module, 0, choose.Run{Func: touch, Polls: 1e6, Time: 3 * time.Second})
	for range 20 {
		m.gives("first", tally, 0, 5)
	}
	if got := r.host.InPlace(r.hello.Code); !got[0] || got[1] {
		t.Fatalf("in place: %v", got)
	}
	close(held.hold)
	m.settles("second")
}

// holding is an engine that compiles when it is let.
type holding struct {
	engine.Engine
	hold chan struct{}
}

func (e *holding) Compile(ctx context.Context, bin []byte) (engine.Module, error) {
	select {
	case <-e.hold:
		return e.Engine.Compile(ctx, bin)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestEndsWhileCodeIsMade: a host that is closed does not wait for code that nobody will use.
func TestEndsWhileCodeIsMade(t *testing.T) {
	a, b := two(t)
	held := &holding{Engine: b, hold: make(chan struct{})}
	r, _ := newEnginesRig(t, a, held)
	m := &mover{device: r.ready()}
	m.gives("first", tally, 0, 5)
	r.host.Measured(r.hello.Module, 0, choose.Run{Func: touch, Polls: 1e6, Time: 3 * time.Second})
	m.gives("first", tally, 0, 5)
	m.gives("first", tally, 0, 5)
	if err := r.host.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// noted are Measures that a test looks into.
type noted struct {
	mu    sync.Mutex
	data  []byte // guarded by mu
	fault error
}

func (n *noted) Load(wire.ID) []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.data
}

func (n *noted) Save(_ wire.ID, data []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.data = data
	return n.fault
}

// TestMeasuresKept: what was measured outlives the host; what cannot be read, or written, does no harm.
func TestMeasuresKept(t *testing.T) {
	a, b := two(t)
	n := &noted{data: []byte("garbage"), fault: errors.New("the disk is full")}
	for i, first := range []string{"first", "second"} {
		r, l := newEnginesRig(t, a, b)
		r.host.Measures = n
		m := &mover{device: r.ready()}
		m.gives(first, tally, 0, 5)
		if i == 0 {
			r.host.Measured(r.hello.Module, 0, choose.Run{Func: touch, Polls: 1e6, Time: time.Second})
			r.host.Measured(r.hello.Module, 1, choose.Run{Func: touch, Polls: 2e6, Time: time.Second})
			m.settles("second")
		}
		if err := r.host.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if l.count("is not used") != 1-i || l.count("is not kept: the disk is full") == 0 {
			t.Errorf("log %q", l.text)
		}
	}
}

// TestOneEngine: where there is nothing to choose, nothing is kept.
func TestOneEngine(t *testing.T) {
	a, _ := two(t)
	r, _ := newEnginesRig(t, a)
	n := &noted{}
	r.host.Measures = n
	m := &mover{device: r.ready()}
	m.gives("first", tally, 0, 5)
	m.gone(1)
	if n.Load(wire.ID{}) != nil {
		t.Errorf("kept %s", n.data)
	}
}
