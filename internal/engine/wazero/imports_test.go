package wazero

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

func FuzzImports(f *testing.F) {
	f.Add([]byte{})
	f.Add(sample())
	m := wasm.Module{Types: []wasm.FuncType{{}}}
	limits := wasm.Limits{Min: 200, Max: 1 << 15, HasMax: true}
	for kind := range wasm.ExternTag + 1 {
		m.Imports = append(m.Imports, wasm.Import{Module: "env", Name: string('a' + rune(kind)), Kind: kind, Memory: limits,
			Table: wasm.TableType{Elem: wasm.RefTo(0, false), Limits: limits}, Global: wasm.GlobalType{Type: wasm.RefTo(wasm.HeapFunc, false)}})
	}
	m.Customs = []wasm.Custom{{Name: "first", Data: make([]byte, 300)}}
	f.Add(m.Encode())
	f.Fuzz(func(t *testing.T, bin []byte) {
		got, err := readImports(bin)
		m, invalid := wasm.Decode(bin)
		if invalid != nil {
			return
		}
		if err != nil {
			t.Fatalf("refused a module: %v", err)
		}
		var want []imported
		for _, im := range m.Imports {
			want = append(want, imported{im.Module, im.Name, kind(im.Kind)})
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(imported{})); diff != "" {
			t.Error(diff)
		}
	})
}
