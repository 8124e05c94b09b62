package rewrite_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

func TestState(t *testing.T) {
	var k maker
	k.memory()
	k.global(wasm.I32, true, wasm.OpI32Const, 3)
	k.global(wasm.F64, false, wasm.OpF64Const, 1.0)
	k.global(wasm.V128, true, wasm.OpV128Const, make([]byte, 15), byte(9))
	shown := k.global(wasm.I64, true, wasm.OpI64Const, 4)
	k.global(wasm.FuncRef, true, wasm.OpRefNull, byte(wasm.FuncRef)) // never changes
	k.Exports = append(k.Exports, wasm.Export{Name: "shown", Kind: wasm.ExternGlobal, Index: uint32(shown)})
	k.Data = []wasm.Data{
		{Mode: wasm.Active, Offset: code(wasm.OpI32Const, 0, wasm.OpEnd), Init: []byte("abc")},
		{Mode: wasm.Passive, Init: []byte("xyz")},
	}
	k.HasDataCount = true
	k.fn("init", "", "", "", wasm.OpI32Const, 0, wasm.OpI32Const, 0, wasm.OpI32Const, 3, wasm.OpMemoryInit, 1, byte(0))
	k.fn("drop", "", "", "", wasm.OpDataDrop, 1, wasm.OpDataDrop, 0)
	start := k.fn("", "", "", "", wasm.OpI32Const, int64(42), wasm.OpGlobalSet, 0)
	k.Start = &start

	p := k.run(t, mode{opt: rewrite.Options{Candidates: []uint32{}}})
	want := &rewrite.Manifest{
		Version: rewrite.Version, Digest: p.man.Digest,
		Globals: []rewrite.Global{
			{Index: 0, Type: wasm.I32, Export: "clonecloud:global.0"}, {Index: 3, Type: wasm.I64, Export: "shown"},
		},
		Vectors:  []rewrite.Vector{{Index: 2, Get: "clonecloud:get.2", Set: "clonecloud:set.2"}},
		Segments: []rewrite.Segment{{Index: 1, Flag: "clonecloud:dropped.1", Drop: "clonecloud:drop.1"}},
		Memory:   "clonecloud:memory", Start: "clonecloud:start",
	}
	if diff := cmp.Diff(want, p.man); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	if got := p.global("clonecloud:global.0").Get(); got != 42 {
		t.Errorf("global 0 = %d after the start function", got)
	}
	p.call("clonecloud:get.2", nil, 0, 9<<56)
	p.call("clonecloud:set.2", u(1, 2))
	p.call("clonecloud:get.2", nil, 1, 2)

	flag := p.global("clonecloud:dropped.1")
	p.call("init", nil)
	if b, _ := p.mod.Memory().Read(0, 3); string(b) != "xyz" || flag.Get() != 0 {
		t.Errorf("memory %q, dropped %d", b, flag.Get())
	}
	p.call("drop", nil)
	_, err := p.mod.ExportedFunction("init").Call(p.ctx)
	if flag.Get() != 1 || err == nil {
		t.Errorf("dropped %d, init: %v", flag.Get(), err)
	}

	// A peer is put in the same state.
	p = k.run(t, mode{opt: rewrite.Options{Candidates: []uint32{}}})
	p.call("clonecloud:drop.1", nil)
	_, err = p.mod.ExportedFunction("init").Call(p.ctx)
	if p.global("clonecloud:dropped.1").Get() != 1 || err == nil {
		t.Errorf("the export does not drop: %v", err)
	}
}

// Memories keep the name that they have.
func TestExportedMemory(t *testing.T) {
	var k maker
	k.memory()
	k.Exports = append(k.Exports, wasm.Export{Name: "mem", Kind: wasm.ExternMemory})
	if _, man := k.rewritten(t, rewrite.Options{}); man.Memory != "mem" {
		t.Errorf("memory is exported as %q", man.Memory)
	}
}

func TestManifestJSON(t *testing.T) {
	var k maker
	f := k.fn("f", "vi", "d", "", wasm.OpF64Const, 1.0)
	_, man := k.rewritten(t, rewrite.Options{Wrap: true, Candidates: []uint32{f}, Poll: rewrite.PollOuterLoops})
	b, err := json.Marshal(man)
	if err != nil {
		t.Fatal(err)
	}
	var back rewrite.Manifest
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*man, back); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The digest is the same exactly for the same code.
func TestDigest(t *testing.T) {
	var k maker
	for _, name := range []string{"a", "b", "c"} {
		k.fn(name, "", "", "", wasm.OpNop)
	}
	base := rewrite.Options{Candidates: []uint32{0, 1}, Wrap: true, SCC: []int{4, 5, 5}}
	digest := func(change func(*rewrite.Options)) [32]byte {
		opt := base
		change(&opt)
		_, man := k.rewritten(t, opt)
		return man.Digest
	}
	want := digest(func(*rewrite.Options) {})
	for name, change := range map[string]func(*rewrite.Options){
		"order":      func(o *rewrite.Options) { o.Candidates = []uint32{1, 0, 1} },
		"components": func(o *rewrite.Options) { o.SCC = []int{8, 2, 2} },
		"alone":      func(o *rewrite.Options) { o.SCC = []int{-1, 2, 2} },
	} {
		if digest(change) != want && name != "alone" {
			t.Errorf("%s: the digest differs", name)
		}
	}
	seen := map[[32]byte]string{want: "base"}
	for name, change := range map[string]func(*rewrite.Options){
		"source":     func(o *rewrite.Options) { o.Source[3] = 1 },
		"candidates": func(o *rewrite.Options) { o.Candidates = []uint32{0} },
		"components": func(o *rewrite.Options) { o.SCC = []int{4, 4, 5} },
		"wrap":       func(o *rewrite.Options) { o.Wrap = false },
		"poll":       func(o *rewrite.Options) { o.Poll = rewrite.PollAllLoops },
		"nan":        func(o *rewrite.Options) { o.CanonicalNaN = true },
		"strip":      func(o *rewrite.Options) { o.StripDebug = true },
		"detach":     func(o *rewrite.Options) { o.Detach = true },
	} {
		d := digest(change)
		if other, ok := seen[d]; ok {
			t.Errorf("%s and %s have the same digest", name, other)
		}
		seen[d] = name
	}
}

func TestCustomSections(t *testing.T) {
	var k maker
	f := k.fn("", "i", "", "i", wasm.OpNop)
	k.fn("", "", "", "", wasm.OpNop)
	names := wasm.Names{
		Module: "m", HasModule: true, Funcs: []wasm.Naming{{Index: 0, Name: "f"}, {Index: 1, Name: "g"}},
		Locals:  []wasm.LocalNaming{{Index: 0, Names: []wasm.Naming{{Index: 0, Name: "p"}, {Index: 1, Name: "l"}}}},
		Globals: []wasm.Naming{{Index: 5, Name: "nothing"}},
	}
	for _, name := range []string{"first", ".debug_info", "producers", "reloc.CODE", "sourceMappingURL", "metadata.code.branch_hint"} {
		k.Customs = append(k.Customs, wasm.Custom{Name: name, Data: []byte{1}, After: 10})
	}
	k.SetNames(&names)

	opt := rewrite.Options{Wrap: true, Candidates: []uint32{f}}
	m, _ := k.rewritten(t, opt)
	var kept []string
	for _, c := range m.Customs {
		kept = append(kept, c.Name)
	}
	if want := []string{"first", "producers", "name"}; !slices.Equal(kept, want) {
		t.Errorf("custom sections %q, want %q", kept, want)
	}
	got, err := m.Names()
	if err != nil {
		t.Fatal(err)
	}
	want := names
	want.Funcs = []wasm.Naming{
		{Index: 0, Name: "clonecloud:enter"}, {Index: 1, Name: "clonecloud:leave"}, {Index: 2, Name: "clonecloud:call.0"},
		{Index: 3, Name: "f"}, {Index: 4, Name: "g"}, {Index: 5, Name: "body of f"}, {Index: 6, Name: "armed f"},
	}
	want.Locals = []wasm.LocalNaming{{Index: 5, Names: names.Locals[0].Names}}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	opt.StripDebug = true
	if m, _ := k.rewritten(t, opt); len(m.Customs) != 2 {
		t.Errorf("stripped, there are %d custom sections", len(m.Customs))
	}
}

func TestStay(t *testing.T) {
	ref := func(mutable bool) wasm.GlobalType {
		return wasm.GlobalType{Type: wasm.ValType{Kind: wasm.ExternRef}, Mutable: mutable}
	}
	number := wasm.GlobalType{Type: wasm.ValType{Kind: wasm.I32}}
	table := func(k *maker) { k.table() }
	body := func(parts ...any) func(*maker) { return func(k *maker) { k.table(); k.fn("f", "", "", "", parts...) } }
	imports := func(i wasm.Import) func(*maker) {
		return func(k *maker) { i.Module, i.Name = "env", "x"; k.Imports = append(k.Imports, i) }
	}
	null, zero := []any{wasm.OpRefNull, byte(wasm.FuncRef)}, []any{wasm.OpI32Const, 0}
	join := func(lists ...[]any) []any { return slices.Concat(lists...) }
	for _, c := range []struct {
		name, want string
		make       func(*maker)
	}{
		{"nothing", "", func(*maker) {}},
		{"table", "", table},
		{"number", "", imports(wasm.Import{Kind: wasm.ExternGlobal, Global: number})},
		{"memory", "imports its memory", imports(wasm.Import{Kind: wasm.ExternMemory})},
		{"imported-table", "imports a table", imports(wasm.Import{Kind: wasm.ExternTable,
			Table: wasm.TableType{Elem: wasm.ValType{Kind: wasm.FuncRef}}})},
		{"tag", "imports an exception tag", func(k *maker) {
			k.TypeIndex(funcType("", ""))
			imports(wasm.Import{Kind: wasm.ExternTag})(k)
		}},
		{"mutable", "imports a mutable global", imports(wasm.Import{Kind: wasm.ExternGlobal,
			Global: wasm.GlobalType{Type: number.Type, Mutable: true}})},
		{"reference", "imports a reference", imports(wasm.Import{Kind: wasm.ExternGlobal, Global: ref(false)})},
		{"shared", "shared between threads", func(k *maker) {
			k.Memories = []wasm.Limits{{Min: 1, Max: 1, HasMax: true, Shared: true}}
		}},
		{"memory64", "64-bit addresses", func(k *maker) { k.Memories = []wasm.Limits{{Min: 1, Is64: true}} }},
		{"memories", "more than one memory", func(k *maker) { k.memory(); k.memory() }},
		{"exported-reference", "exports global 0", func(k *maker) {
			k.global(wasm.ExternRef, true, wasm.OpRefNull, byte(wasm.ExternRef))
			k.Exports = []wasm.Export{{Name: "g", Kind: wasm.ExternGlobal}}
		}},
		{"global-set", "global 0, a reference, changes", func(k *maker) {
			k.global(wasm.ExternRef, true, wasm.OpRefNull, byte(wasm.ExternRef))
			k.fn("f", "", "", "", wasm.OpRefNull, byte(wasm.ExternRef), wasm.OpGlobalSet, 0)
		}},
		{"table-set", `table 0 changes at run time (table.set) in function 0 "f"`,
			body(join(zero, null, []any{wasm.OpTableSet, 0})...)},
		{"table-grow", "table.grow", body(join(null, zero, []any{wasm.OpTableGrow, 0, wasm.OpDrop})...)},
		{"table-fill", "table.fill", body(join(zero, null, zero, []any{wasm.OpTableFill, 0})...)},
		{"table-copy", "table.copy", body(join(zero, zero, zero, []any{wasm.OpTableCopy, 0, 0})...)},
		{"table-init", "table 0 changes at run time (table.init)",
			body(join(zero, zero, zero, []any{wasm.OpTableInit, 0, 0})...)},
		{"elem-drop", "", body(wasm.OpElemDrop, 0)},
		{"reserved-export", "reserved", func(k *maker) { k.fn("clonecloud:body.0", "", "", "") }},
		{"reserved-import", "reserved", func(k *maker) {
			k.Imports = []wasm.Import{{Module: "clonecloud", Name: "poll", Type: k.TypeIndex(funcType("", ""))}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var k maker
			c.make(&k)
			got := rewrite.WhyLocal(&k.Module)
			if got == "" != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("WhyLocal = %q, want %q", got, c.want)
			}
			_, err := rewrite.Rewrite(&k.Module, rewrite.Options{})
			var stay *rewrite.StayError
			if errors.As(err, &stay) != (c.want != "") || stay != nil && stay.Reason != got {
				t.Errorf("Rewrite: %v, want %q", err, got)
			}
		})
	}
}

// Options that make no sense are refused, and so are indices that additions would give a meaning.
func TestRefusals(t *testing.T) {
	opt := rewrite.Options{Wrap: true, Poll: rewrite.PollAllLoops, CanonicalNaN: true}
	for _, c := range []struct {
		name, want string
		candidate  uint32
		make       func(*maker)
	}{
		{"imported", "it is imported", 0, func(k *maker) {
			k.Imports = []wasm.Import{{Module: "m", Name: "f", Type: k.TypeIndex(funcType("", ""))}}
		}},
		{"missing", "candidate function 5 does not exist", 5, func(*maker) {}},
		{"reference", "its type has references", 0, func(k *maker) { k.fn("f", "x", "", "") }},
		{"many", "too many values", 0, func(k *maker) { k.fn("f", strings.Repeat("i", 1000), "", "") }},
		{"call", "function 1 at offset 0 does not exist", 0, func(k *maker) { k.fn("f", "", "", "", wasm.OpCall, 1) }},
		{"ref", "not declared", 0, func(k *maker) { k.fn("", "", "", "", wasm.OpRefFunc, 0, wasm.OpDrop) }},
		{"local", "local 1 at offset 0 does not exist", 0, func(k *maker) {
			k.fn("f", "i", "", "", wasm.OpLocalGet, 1, wasm.OpDrop)
		}},
		{"global", "global 0 at offset 0 does not exist", 0, func(k *maker) {
			k.fn("f", "", "", "", wasm.OpGlobalGet, 0, wasm.OpDrop)
		}},
		{"type", "type 1 at offset 2 does not exist", 0, func(k *maker) {
			k.fn("f", "", "", "", wasm.OpI32Const, 0, wasm.OpCallIndirect, 1, 0)
		}},
		{"block", "type 1 does not exist", 0, func(k *maker) { k.fn("f", "", "", "", wasm.OpBlock, 1, wasm.OpEnd) }},
		{"export", "names index 7", 0, func(k *maker) {
			k.fn("f", "", "", "")
			k.Exports = append(k.Exports, wasm.Export{Name: "g", Kind: wasm.ExternGlobal, Index: 7})
		}},
		{"start", "start function 0", 0, func(k *maker) { k.fn("f", "i", "", ""); k.Start = new(uint32) }},
		{"elements", "function 4 does not exist", 0, func(k *maker) { k.fn("f", "", "", ""); k.table(4) }},
		{"initial", "global 0: function 9", 0, func(k *maker) {
			k.fn("f", "", "", "")
			k.global(wasm.FuncRef, false, wasm.OpRefFunc, 9)
		}},
		{"opcode", "illegal opcode", 0, func(k *maker) { k.fn("f", "", "", "", byte(0xff)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var k maker
			c.make(&k)
			opt.Candidates = []uint32{c.candidate}
			res, err := rewrite.Rewrite(&k.Module, opt)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v, want %q", res, err, c.want)
			}
		})
	}
}
