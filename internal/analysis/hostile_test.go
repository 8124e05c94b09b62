package analysis

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// TestTimeIsLinear feeds modules of a few MB that were made to be slow. The limit is generous, for loaded
// machines; what it finds takes minutes.
func TestTimeIsLinear(t *testing.T) {
	repeat := func(n int, code ...byte) []byte { return []byte(strings.Repeat(string(code), n)) }
	openBlock := wasm.AppendBlock(nil, wasm.OpBlock, wasm.BlockType{})
	openLoop := wasm.AppendBlock(nil, wasm.OpLoop, wasm.BlockType{})
	end := ops(wasm.OpEnd)
	for _, c := range []struct {
		name string
		make func(m *module)
	}{
		{"loops below many blocks", func(m *module) {
			m.fn("f", nil, nil, openLoop, repeat(100_000, openBlock...), repeat(300_000, append(openLoop, end...)...), repeat(100_001, end...))
		}},
		{"resume points", func(m *module) {
			const n = 50_000
			m.Customs = []wasm.Custom{{Name: "go:buildid"}}
			table := append(index(wasm.OpLocalGet, 0), byte(wasm.OpBrTable))
			table = wasm.AppendUint32(table, n-1)
			for i := range uint32(n) {
				table = wasm.AppendUint32(table, i)
			}
			code := [][]byte{openLoop, repeat(n, openBlock...), table}
			for i := range int32(n) {
				// To the piece before the last, and far ahead.
				for _, to := range []int32{i - 1, min(i+n/2, n-1)} {
					code = append(code, konst(max(to, 0)), index(wasm.OpLocalSet, 0), konst(1),
						block(wasm.OpIf, konst(max(to, 0)), index(wasm.OpLocalSet, 0), index(wasm.OpBr, uint32(n-i)+1)))
				}
				code = append(code, end)
			}
			m.fn("f", types(i32), types(i32), append(code, end)...)
		}},
		{"exports", func(m *module) {
			for i := range 30_000 {
				m.export(fmt.Sprint(i), wasm.ExternFunc, m.fn("", nil, nil))
			}
		}},
		{"tables of one function", func(m *module) {
			f := m.fn("f", nil, nil)
			typ := m.typ(nil, nil)
			var code [][]byte
			for i := range uint32(20_000) {
				code = append(code, konst(0), index(wasm.OpCallIndirect, typ, m.table(f)))
				if i%2 == 0 {
					m.export(fmt.Sprint(i), wasm.ExternTable, i)
				}
			}
			m.fn("caller", nil, nil, code...)
			for range 20_000 {
				m.fn("other", nil, nil)
			}
		}},
		{"rings of throws", func(m *module) {
			m.Tags = []uint32{m.typ(nil, nil)}
			const n = 30_000
			for i := range uint32(n) {
				m.fn("", nil, nil, tryTable([]wasm.Catch{{Kind: wasm.CatchTag, Tag: 0}}, calls((i+n-1)%n)), calls((i*7919+1)%n), index(wasm.OpThrow, 0))
			}
		}},
	} {
		start := time.Now()
		m := &module{}
		c.make(m)
		built := time.Now()
		for _, opt := range []Options{{}, {All: true}} {
			if _, err := Analyze(&m.Module, opt); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		took := time.Since(built)
		t.Logf("%s: built in %v, analysed twice in %v", c.name, built.Sub(start), took)
		if took > 20*time.Second {
			t.Errorf("%s: analysed twice in %v", c.name, took)
		}
	}
}
