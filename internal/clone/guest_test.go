package clone_test

import (
	"context"
	"math"
	"sync"
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/wazero"
	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Candidates of the small guest, by id.
const (
	grow = iota // by as many pages as its argument says; gives what memory.grow gives
	spin        // for ever
	echo        // its argument
)

// small is a guest with a memory from low to high pages that has the functions above and nothing else.
func small(low, high uint64) []byte {
	i32 := wasm.ValType{Kind: wasm.I32}
	m := &wasm.Module{
		Types:    []wasm.FuncType{{Params: []wasm.ValType{i32}, Results: []wasm.ValType{i32}}},
		Memories: []wasm.Limits{{Min: low, Max: high, HasMax: true}},
		Exports:  []wasm.Export{{Name: "memory", Kind: wasm.ExternMemory}},
	}
	for i, code := range []wasm.Expr{
		{0x20, 0, 0x40, 0, 0x0b},                                  // local.get 0; memory.grow; end
		{0x03, 0x40, 0x03, 0x40, 0x0b, 0x0c, 0, 0x0b, 0x00, 0x0b}, // loop; loop; end; br 0; end; unreachable; end
		{0x20, 0, 0x41, 0, 0x6a, 0x41, 0, 0x6a, 0x0b},             // local.get 0; + 0; + 0; end
	} {
		m.Funcs = append(m.Funcs, wasm.Func{Body: wasm.Body{Code: code}})
		m.Exports = append(m.Exports, wasm.Export{Name: []string{"grow", "spin", "echo"}[i], Kind: wasm.ExternFunc, Index: uint32(i)})
	}
	return m.Encode()
}

func newSmallRig(t *testing.T, eng engine.Engine) *rig {
	t.Helper()
	return newRigOf(t, eng, small(8, 100), []uint32{grow, spin, echo}, wire.OptionPoll)
}

// more makes another engine, where the tests are built with one.
var more func() (engine.Engine, error)

// engines are those of this machine, the interpreter first.
var engines = sync.OnceValues(func() (list []engine.Engine, err error) {
	e, err := interpreter()
	if err != nil {
		return nil, err
	}
	list = append(list, e)
	if c, err := wazero.New(wazero.Options{Mode: wazero.Compiler}); err == nil {
		list = append(list, c)
	}
	if more != nil {
		e, err := more()
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
})

func eachEngine(t *testing.T, f func(t *testing.T, e engine.Engine)) {
	list, err := engines()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		t.Run(e.Name(), func(t *testing.T) { f(t, e) })
	}
}

// deaf is an engine whose code ends when the test lets it, whatever its context says.
type deaf struct {
	engine.Engine
	hold chan struct{} // closed: code runs as it does
	made func(n int)   // is told when modules were compiled, and how many
	n    int
}

func (e *deaf) Compile(ctx context.Context, bin []byte) (engine.Module, error) {
	if e.n++; e.made != nil {
		e.made(e.n)
	}
	m, err := e.Engine.Compile(ctx, bin)
	return &deafModule{m, e}, err
}

type deafModule struct {
	engine.Module
	e *deaf
}

func (m *deafModule) Instantiate(ctx context.Context, cfg engine.Config) (engine.Instance, error) {
	i, err := m.Module.Instantiate(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &deafInstance{i, m.e}, nil
}

type deafInstance struct {
	engine.Instance
	e *deaf
}

func (i *deafInstance) Func(name string) engine.Func {
	f := i.Instance.Func(name)
	if f == nil {
		return nil
	}
	return &deafFunc{f, i.e}
}

type deafFunc struct {
	engine.Func
	e *deaf
}

func (f *deafFunc) Call(ctx context.Context, stack []uint64) error {
	<-f.e.hold
	return f.Func.Call(ctx, stack)
}

// handedBack receives the word that the clone cannot carry the offload out, and returns why.
func (d *device) handedBack() string {
	d.t.Helper()
	for {
		switch m := d.recv().(type) {
		case *wire.Output, *wire.HomeCall:
		case *wire.Reintegrate:
			if m.Outcome != wire.OutcomeHandedBack {
				d.t.Fatalf("answer is %+v", m)
			}
			return m.Detail
		default:
			d.t.Fatalf("answer is %+v", m)
		}
	}
}

// answers runs a candidate of the small guest and commits; the result is want.
func (d *device) answers(offload uint64, candidate uint32, arg, want uint64) {
	d.t.Helper()
	base := d.base
	if base == ([32]byte{}) {
		base = d.initial()
	}
	d.send(d.migrate(offload, candidate, base, arg)...)
	r, ok := d.recv().(*wire.Reintegrate)
	if !ok || r.Outcome != wire.OutcomeResults || len(r.Results) != 1 || r.Results[0] != want&math.MaxUint32 {
		d.t.Fatalf("answer is %+v, want %d", r, want)
	}
	if err := d.proc.Grow(&r.Image); err != nil {
		d.t.Fatal(err)
	}
	d.base = d.staged(r)
	d.send(&wire.Commit{Offload: offload, Attempt: 1, State: wire.ID(d.base)})
}
