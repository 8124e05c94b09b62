package analysis

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

func TestLoops(t *testing.T) {
	nop := ops(wasm.OpNop)
	for _, c := range []struct {
		name string
		code []byte
		want Loops
	}{
		{"none", block(wasm.OpBlock, nop), Loops{}},
		{"one", loop(nop), Loops{Count: 1, Depth: 1}},
		{"two in a row", append(loop(nop), loop(nop)...), Loops{Count: 2, Depth: 1}},
		{"nested", loop(nop, loop(nop)), Loops{Count: 2, Depth: 2, Outer: 1}},
		{"two in one", loop(loop(nop), loop(nop)), Loops{Count: 3, Depth: 2, Outer: 1}},
		{"through a block", loop(block(wasm.OpBlock, block(wasm.OpBlock, loop(nop)))), Loops{Count: 2, Depth: 2, Outer: 1}},
		{"three deep", loop(loop(loop(nop)), loop(nop)), Loops{Count: 4, Depth: 3, Outer: 2}},
	} {
		var m module
		m.fn("f", nil, nil, c.code)
		if d := cmp.Diff(c.want, m.analyze(t, Options{}).Funcs[0].Loops); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

// Weights are guesses; what must hold is how they compare.
func TestWeights(t *testing.T) {
	work := func(n int) []byte {
		var b []byte
		for range n {
			b = append(b, byte(wasm.OpNop))
		}
		return b
	}
	weight := func(code ...[]byte) uint64 {
		var m module
		m.fn("f", nil, nil, code...)
		return m.analyze(t, Options{}).Funcs[0].Weight
	}
	near := func(what string, got, want uint64) {
		t.Helper()
		if got < want/2 || got > 2*want {
			t.Errorf("%s: weight %d, want about %d", what, got, want)
		}
	}
	near("straight code", weight(work(1000)), 1000)
	near("loop", weight(loop(work(1000))), 10_000)
	near("nest", weight(loop(loop(loop(work(1000))))), 1_000_000)
	deep := work(1000)
	for range 40 {
		deep = loop(deep)
	}
	near("deep nest", weight(deep), 1_000_000_000)
	near("half", weight(konst(0), block(wasm.OpIf, work(1000))), 500)
	near("after return", weight(ops(wasm.OpReturn), work(1000)), 1)
	near("before a trap", weight(konst(0), block(wasm.OpIf, work(1000), ops(wasm.OpUnreachable))), 3)
	near("after a loop", weight(loop(work(10)), work(1000)), 1100)

	// Checks that branch to a common trap leave the code between them as likely as it was.
	var checked [][]byte
	for range 20 {
		checked = append(checked, work(100), konst(0), index(wasm.OpBrIf, 0))
	}
	checked = append(checked, ops(wasm.OpReturn))
	near("checks", weight(block(wasm.OpBlock, checked...), work(5), ops(wasm.OpUnreachable)), 2000)

	// A table of cases shares out what enters it.
	cases := append(konst(0), byte(wasm.OpBrTable), 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	for i := range uint32(10) {
		cases = slices.Concat(block(wasm.OpBlock, cases), work(1000), index(wasm.OpBr, 9-i))
	}
	near("cases", weight(block(wasm.OpBlock, cases)), 1000)
}

func TestTransitiveWeights(t *testing.T) {
	var m module
	nops := make([]byte, 100)
	for i := range nops {
		nops[i] = byte(wasm.OpNop)
	}
	leaf := m.fn("leaf", nil, nil, nops)
	once := m.fn("once", nil, nil, calls(leaf))
	m.fn("ten", nil, nil, loop(calls(once)))
	self := uint32(m.NumFuncs())
	m.fn("recursive", nil, nil, nops, calls(self))
	a := uint32(m.NumFuncs())
	m.fn("even", nil, nil, nops, calls(a+1))
	m.fn("odd", nil, nil, nops, calls(a))
	tab := m.table(leaf)
	m.fn("indirect", nil, nil, konst(0), index(wasm.OpCallIndirect, m.typ(nil, nil), tab))
	r := m.analyze(t, Options{})
	for name, want := range map[string]uint64{
		"leaf": 100, "once": 102, "ten": 1050, "recursive": 1100, "even": 1100, "odd": 1100, "indirect": 103,
	} {
		if got := r.byName(t, name).TransWeight; got < want*8/10 || got > want*12/10 {
			t.Errorf("%s: transitive weight %d, want about %d", name, got, want)
		}
	}
	for name, want := range map[string]bool{"leaf": false, "ten": false, "recursive": true, "even": true, "indirect": false} {
		if got := r.byName(t, name).Recursive; got != want {
			t.Errorf("%s: recursive %v", name, got)
		}
	}
	if r.byName(t, "even").SCC != r.byName(t, "odd").SCC || r.byName(t, "leaf").SCC == r.byName(t, "once").SCC {
		t.Error("wrong components")
	}
}
