package rewrite_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

var wrapped = rewrite.Options{Wrap: true}

func armed(enter uint64) mode { return mode{opt: wrapped, arm: true, enter: enter} }

// A candidate goes where the host says, and gives the same results there.
func TestWrapper(t *testing.T) {
	for _, c := range []struct {
		name string
		mode mode
		want []string
	}{
		{"unarmed", mode{opt: wrapped}, nil},
		{"local", armed(rewrite.EnterLocal), []string{"enter 0", "leave 0"}},
		{"clone", armed(rewrite.EnterClone), []string{"enter 0", "call 0 [5 4008000000000000]"}},
		{
			"fallback", mode{opt: wrapped, arm: true, enter: rewrite.EnterClone, fallBack: true},
			[]string{"enter 0", "call 0 [5 4008000000000000]", "leave 0"},
		},
		{"plain", armed(rewrite.EnterPlain), []string{"enter 0"}},
		{"other", armed(7), []string{"enter 0"}},
	} {
		for _, tails := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", c.name, tails), func(t *testing.T) {
				var k maker
				f := k.fn("", "id", "dl", "", wasm.OpLocalGet, 1, wasm.OpLocalGet, 0, wasm.OpI64ExtendI32S)
				k.fn("main", "id", "dl", "", wasm.OpLocalGet, 0, wasm.OpLocalGet, 1, wasm.OpCall, int(f))
				if tails {
					k.fn("tail", "id", "dl", "", wasm.OpLocalGet, 0, wasm.OpLocalGet, 1, wasm.OpReturnCall, int(f))
				}
				c.mode.opt.Candidates = []uint32{f}
				p := k.run(t, c.mode)
				three := math.Float64bits(3)
				p.call("main", u(5, three), three, 5)
				p.expect(c.want...)
				if tails {
					p.call("tail", u(5, three), three, 5)
				}
				if p.man.TailCalls != tails {
					t.Errorf("TailCalls = %v", p.man.TailCalls)
				}
			})
		}
	}
}

// Recursion does not pass through the wrapper, whether the function calls itself or another that calls it.
func TestRecursion(t *testing.T) {
	var k maker
	countdown := func(next int) []any {
		return []any{
			wasm.OpLocalGet, 0, wasm.OpI32Eqz, wasm.OpIf, void, wasm.OpI32Const, 7, wasm.OpReturn, wasm.OpEnd,
			wasm.OpLocalGet, 0, wasm.OpI32Const, 1, wasm.OpI32Sub, wasm.OpCall, next,
		}
	}
	k.fn("self", "i", "i", "", countdown(0)...)
	k.fn("ping", "i", "i", "", countdown(2)...)
	k.fn("pong", "i", "i", "", countdown(1)...)

	p := k.run(t, armed(rewrite.EnterLocal))
	p.call("self", u(9), 7)
	p.expect("enter 0", "leave 0")
	p.call("ping", u(9), 7)
	p.expect("enter 1", "leave 1")

	// Without a component that says so, ping and pong are strangers; a function is none to itself.
	opt := wrapped
	opt.Candidates = []uint32{0, 1, 2}
	p = k.run(t, mode{opt: opt, arm: true})
	p.call("self", u(9), 7)
	p.expect("enter 0", "leave 0")
	p.call("ping", u(1), 7)
	p.expect("enter 1", "enter 2", "leave 2", "leave 1")
}

// A chain of tail calls through a candidate takes no stack as long as nobody counts the returns.
func TestTailCalls(t *testing.T) {
	var k maker
	f := k.fn("f", "i", "i", "",
		wasm.OpLocalGet, 0, wasm.OpI32Eqz, wasm.OpIf, void, wasm.OpI32Const, 7, wasm.OpReturn, wasm.OpEnd,
		wasm.OpLocalGet, 0, wasm.OpI32Const, 1, wasm.OpI32Sub, wasm.OpI32Const, 0, wasm.OpReturnCallIndirect, 0, 0)
	k.table(f)
	for _, m := range []mode{{opt: wrapped}, armed(rewrite.EnterPlain), armed(rewrite.EnterLocal), armed(rewrite.EnterClone)} {
		p := k.run(t, m)
		p.call("f", u(15_000), 7)
		if m.arm && p.enters < 15_000 {
			t.Errorf("%d enters", p.enters)
		}
	}
}

// v128 travels as two halves, low half first.
func TestVectorCandidate(t *testing.T) {
	var k maker
	f := k.fn("", "viv", "fvi", "",
		wasm.OpF32Const, float32(1.5), wasm.OpLocalGet, 0, wasm.OpLocalGet, 2, wasm.Opcode(0xfd00ce), // i64x2.add
		wasm.OpLocalGet, 1)
	k.fn("main", "llll", "fll", "v",
		wasm.OpLocalGet, 0, wasm.OpI64x2Splat, wasm.OpLocalGet, 1, wasm.Opcode(0xfd001e), byte(1),
		wasm.OpI32Const, 3,
		wasm.OpLocalGet, 2, wasm.OpI64x2Splat, wasm.OpLocalGet, 3, wasm.Opcode(0xfd001e), byte(1),
		wasm.OpCall, int(f), wasm.OpDrop, wasm.OpLocalSet, 4,
		wasm.OpLocalGet, 4, wasm.Opcode(0xfd001d), byte(0), wasm.OpLocalGet, 4, wasm.Opcode(0xfd001d), byte(1))
	half := uint64(math.Float32bits(1.5))
	for _, m := range []mode{
		{opt: wrapped}, armed(rewrite.EnterLocal), armed(rewrite.EnterPlain), armed(rewrite.EnterClone),
		{opt: wrapped, arm: true, enter: rewrite.EnterClone, fallBack: true},
	} {
		m.opt.Candidates = []uint32{f}
		p := k.run(t, m)
		p.call("main", u(1, 2, 30, 40), half, 31, 42)
		if m.enter == rewrite.EnterClone {
			if want := "call 0 [1 2 3 1e 28]"; p.events[1] != want {
				t.Errorf("got %q, want %q", p.events[1], want)
			}
		}
		c := p.man.Candidates[0]
		p.call(c.Body, u(1, 2, 5, 30, 40), half, 31, 42, 5)
		if got, want := string(c.Params)+"|"+string(c.Results), "\x7e\x7e\x7f\x7e\x7e|\x7d\x7e\x7e\x7f"; got != want {
			t.Errorf("the host sees %x, want %x", got, want)
		}
	}
	// A clone's variant has no wrapper and still an export that hosts can call.
	p := k.run(t, mode{opt: rewrite.Options{Candidates: []uint32{f}}})
	p.call(p.man.Candidates[0].Body, u(1, 2, 5, 30, 40), half, 31, 42, 5)
}

// The new imports shift functions wherever they are named.
func TestShift(t *testing.T) {
	var k maker
	k.Imports = []wasm.Import{{Module: "spectest", Name: "print", Type: k.TypeIndex(funcType("", ""))}}
	f := k.fn("f", "", "i", "", wasm.OpI32Const, 7)
	g := k.fn("g", "", "i", "", wasm.OpI32Const, 8)
	k.table(f, g)
	k.global(wasm.FuncRef, false, wasm.OpRefFunc, int(g))
	k.Elems = append(k.Elems, wasm.Elem{
		Mode: wasm.Passive, Type: wasm.ValType{Kind: wasm.FuncRef},
		Exprs: []wasm.Expr{code(wasm.OpRefFunc, int(f), wasm.OpEnd), code(wasm.OpRefNull, byte(wasm.FuncRef), wasm.OpEnd)},
	})
	k.fn("all", "", "iii", "",
		wasm.OpCall, 0, wasm.OpCall, int(g), wasm.OpI32Const, 0, wasm.OpCallIndirect, 1, 0,
		wasm.OpRefFunc, int(f), wasm.OpRefIsNull)
	start := k.fn("", "", "", "", wasm.OpCall, 0)
	k.Start = &start

	m, man := k.rewritten(t, rewrite.Options{Wrap: true, Candidates: []uint32{f, g}, Poll: rewrite.PollAllLoops})
	const shift = 5 // enter, leave, two calls, poll
	if n := m.NumImportedFuncs(); n != 1+shift {
		t.Fatalf("%d imports", n)
	}
	for name, want := range map[string]uint32{
		"f": f + shift, "g": g + shift, man.Start: start + shift,
		man.Candidates[0].Body: uint32(k.NumFuncs()) + shift, man.Candidates[1].Body: uint32(k.NumFuncs()) + shift + 1,
	} {
		if e := m.Export(name); e == nil || e.Index != want {
			t.Errorf("export %s: %+v, want %d", name, e, want)
		}
	}
	if got := m.Elems[0].Funcs; got[0] != f+shift || got[1] != g+shift {
		t.Errorf("elements %v", got)
	}
	if got, want := string(m.Elems[1].Exprs[0]), string(code(wasm.OpRefFunc, int(f)+shift, wasm.OpEnd)); got != want {
		t.Errorf("element expression %x", got)
	}
	if got, want := string(m.Globals[0].Init), string(code(wasm.OpRefFunc, int(g)+shift, wasm.OpEnd)); got != want {
		t.Errorf("global %x", got)
	}
	if m.Start != nil || man.Start == "" {
		t.Error("the start function still starts")
	}
}
