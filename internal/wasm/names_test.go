package wasm_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

func TestNames(t *testing.T) {
	m := rich()
	if n, err := m.Names(); err != nil || m.FuncName(0) != "" || n.Func(0) != "" {
		t.Fatalf("without names: %+v, %v", n, err)
	}
	names := func() *wasm.Names {
		return &wasm.Names{Module: "", HasModule: true,
			Funcs:   []wasm.Naming{{Index: 0, Name: "f"}, {Index: 2, Name: "main"}, {Index: 3, Name: "ü"}},
			Locals:  []wasm.LocalNaming{{Index: 2, Names: []wasm.Naming{{Index: 0, Name: "x"}, {Index: 3, Name: "r"}}}, {Index: 3}},
			Labels:  []wasm.LocalNaming{{Index: 2, Names: []wasm.Naming{{Index: 0, Name: "outer"}}}},
			Types:   []wasm.Naming{{Index: 1, Name: "t"}},
			Globals: []wasm.Naming{{Index: 0, Name: "g0"}, {Index: 1, Name: "g1"}},
			Tags:    []wasm.Naming{{Index: 0, Name: "e"}},
		}
	}
	m.SetNames(names())
	m, err := wasm.Decode(m.Encode())
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.Names()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(names(), got); d != "" {
		t.Error(d)
	}
	if m.FuncName(2) != "main" || m.FuncName(1) != "" || got.Func(3) != "ü" {
		t.Error("wrong function names")
	}

	// A function is put in front, global 0 goes.
	got.Remap(func(s wasm.Space, old uint32) (uint32, bool) {
		switch s {
		case wasm.SpaceFunc:
			return (old + 1) % 4, true
		case wasm.SpaceGlobal:
			return old - 1, old > 0
		}
		return old, true
	})
	want := names()
	want.Funcs = []wasm.Naming{{Index: 0, Name: "ü"}, {Index: 1, Name: "f"}, {Index: 3, Name: "main"}}
	want.Locals = []wasm.LocalNaming{{Index: 0}, {Index: 3, Names: want.Locals[0].Names}}
	want.Labels[0].Index = 3
	want.Globals = []wasm.Naming{{Index: 0, Name: "g1"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	m.SetNames(got)
	if len(m.Customs) != 4 || m.FuncName(3) != "main" {
		t.Error("the name section was not replaced")
	}
}

func TestMalformedNames(t *testing.T) {
	for _, data := range []string{"\x01", "\x01\x05\x01", "\x01\x06\xff\xff\xff\xff\x0f\x00", "\x01\x03\x01\x00\x05", "\x00\x02\x01\xff", "\x02\x03\x01\x00\x09"} {
		m := &wasm.Module{Customs: []wasm.Custom{{Name: wasm.NameSection, Data: []byte(data)}}}
		n, err := m.Names()
		if f := (*wasm.FormatError)(nil); !errors.As(err, &f) || n == nil || m.FuncName(0) != "" {
			t.Errorf("% x: %v, %v", data, n, err)
		}
	}
}

func TestLookups(t *testing.T) {
	m := rich()
	if m.NumFuncs() != 4 || m.NumImportedFuncs() != 2 || m.NumImports(wasm.ExternTag) != 1 {
		t.Error("wrong counts")
	}
	if f, ok := m.FuncType(1); !ok || len(f.Params) != 1 {
		t.Error("wrong type of an import")
	}
	if f, ok := m.FuncType(2); !ok || len(f.Params) != 0 {
		t.Error("wrong type of a function")
	}
	if _, ok := m.FuncType(4); ok || m.Func(4) != nil || m.Func(1) != nil || m.Func(3) != &m.Funcs[1] || m.FuncImport(2) != nil || m.FuncImport(1).Name != "g" {
		t.Error("wrong function")
	}
	if d := cmp.Diff([]uint32{1, 4, 0, 4}, m.FuncTypeIndices()); d != "" {
		t.Error(d)
	}
	if len(m.GlobalTypes()) != 3 || len(m.TableTypes()) != 3 || len(m.MemoryTypes()) != 1 || len(m.TagTypes()) != 2 {
		t.Error("wrong index spaces")
	}
	if m.Export("g").Index != 1 || m.Export("nothing") != nil {
		t.Error("wrong export")
	}
	if m.TypeIndex(m.Types[4]) != 4 || m.TypeIndex(m.Types[2]) != 5 || len(m.Types) != 6 {
		t.Error("wrong type index") // types 2 and 3 belong to a group
	}
	if p, r, ok := m.BlockSignature(wasm.BlockType{HasType: true, Type: 1}); !ok || len(p) != 2 || len(r) != 2 {
		t.Error("wrong block signature")
	}
	if _, _, ok := m.BlockSignature(wasm.BlockType{HasType: true, Type: 6}); ok {
		t.Error("a block signature of an unknown type")
	}
	if m.Funcs[0].Body.NumLocals() != 4 {
		t.Error("wrong number of locals")
	}
}
