package analysis

import (
	"io"
	"testing"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

func FuzzAnalyze(f *testing.F) {
	m := sample()
	m.data()
	f.Add(m.Encode())
	tab := m.table(2, 3)
	m.Tags = []uint32{m.typ(nil, nil)}
	m.fn("caller", nil, nil, konst(0), index(wasm.OpCallIndirect, 0, tab),
		tryTable([]wasm.Catch{{Kind: wasm.CatchTag}}, index(wasm.OpThrow, 0)), ops(wasm.OpUnreachable), index(wasm.OpCallRef, 0))
	f.Add(m.Encode())
	m.Customs = append(m.Customs, wasm.Custom{Name: "go:buildid"})
	// A body as the Go compiler makes them: a table of resume points, and a jump back through it.
	jump := func(point int32, label uint32) []byte {
		return append(append(konst(point), index(wasm.OpLocalSet, 0)...), index(wasm.OpBr, label)...)
	}
	table := append(index(wasm.OpLocalGet, 0), byte(wasm.OpBrTable), 1, 0, 1)
	m.fn("go", types(i32), types(i32), block(wasm.OpLoop, block(wasm.OpBlock, block(wasm.OpBlock, table), jump(1, 1)), jump(0, 0)))
	f.Add(m.Encode())
	f.Fuzz(func(t *testing.T, bin []byte) {
		m, err := wasm.Decode(bin)
		if err != nil {
			return
		}
		for _, opt := range []Options{{}, {All: true, Alone: true}, {MaxCandidates: 3, MinWeight: 1}} {
			r, err := Analyze(m, opt)
			if err != nil {
				return
			}
			checkReport(t, "input", m, r)
			if err := r.WriteText(io.Discard, TextOptions{Functions: true}); err != nil {
				t.Fatal(err)
			}
		}
	})
}
