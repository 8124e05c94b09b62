package analysis

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

const wasi = wasiPreview1

func TestReach(t *testing.T) {
	var m module
	read := m.imp(wasi, "fd_read", nil, nil)
	write := m.imp(wasi, "fd_write", nil, nil)
	sensor := m.imp("phone", "sensor", nil, nil)
	leaf := m.fn("leaf", nil, nil, calls(read))
	mid := m.fn("mid", nil, nil, calls(leaf), calls(write))
	m.fn("top", nil, nil, calls(mid), calls(mid))
	m.fn("device", nil, nil, calls(sensor))
	m.fn("both", nil, nil, calls(mid), calls(uint32(m.NumFuncs()-1)))
	m.fn("none", nil, nil)
	r := m.analyze(t, Options{})

	got := map[string]string{}
	for i := range r.Funcs {
		var names []string
		for f := range r.Funcs[i].Imports.All() {
			names = append(names, r.Funcs[f].Name)
		}
		got[r.Funcs[i].Name] = strings.ReplaceAll(strings.Join(names, " "), wasi+".", "")
	}
	want := map[string]string{
		wasi + ".fd_read": "fd_read", wasi + ".fd_write": "fd_write", "phone.sensor": "phone.sensor",
		"leaf": "fd_read", "mid": "fd_read fd_write", "top": "fd_read fd_write", "device": "phone.sensor",
		"both": "fd_read fd_write phone.sensor", "none": "",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("reachable imports (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"leaf", "mid", "top", "none"}, r.mayNames()); d != "" {
		t.Errorf("functions that may move (-want +got):\n%s", d)
	}
	if why := r.byName(t, "both").Why; !strings.Contains(why, "reaches phone.sensor") {
		t.Errorf("why not: %q", why)
	}
	if d := cmp.Diff([]uint32{mid}, r.byName(t, "top").Calls); d != "" {
		t.Errorf("calls of top (-want +got):\n%s", d)
	}

	r = m.analyze(t, Options{Pinned: func(mod, name string) string {
		if name == "fd_read" {
			return "the keyboard is here"
		}
		return ""
	}, KeepLocal: []string{"device"}})
	if d := cmp.Diff([]string{"none"}, r.mayNames()); d != "" {
		t.Errorf("functions that may move (-want +got):\n%s", d)
	}
	for name, want := range map[string]string{
		"top": "the keyboard is here", "device": "it is kept local on request", "both": "fd_read",
	} {
		if why := r.byName(t, name).Why; !strings.Contains(why, want) {
			t.Errorf("why %s stays: %q lacks %q", name, why, want)
		}
	}
}

func TestKeepLocal(t *testing.T) {
	var m module
	read := m.imp(wasi, "fd_read", nil, nil)
	a := m.fn("a", nil, nil, calls(read))
	b := m.fn("b", nil, nil)
	m.fn("c", nil, nil, calls(b))
	m.export("run", wasm.ExternFunc, a)
	for _, c := range []struct {
		keep string
		want []string
	}{
		{"b", []string{"a"}},
		{"#2", []string{"a"}},
		{"run", []string{"b", "c"}},
		{wasi + ".fd_read", []string{"b", "c"}},
	} {
		r := m.analyze(t, Options{KeepLocal: []string{c.keep}})
		if d := cmp.Diff(c.want, r.mayNames()); d != "" {
			t.Errorf("keep %s: may move (-want +got):\n%s", c.keep, d)
		}
	}
	for _, name := range []string{"d", "#9", "#", "fd_read"} {
		if _, err := m.try(t, Options{KeepLocal: []string{name}}); err == nil {
			t.Errorf("keep %s: no error", name)
		}
	}
}

func TestIndirect(t *testing.T) {
	// One pinned function of each of two types, and callers of one type.
	build := func(change func(m *module, free, bound uint32)) *Report {
		var m module
		sensor := m.imp("phone", "sensor", nil, nil)
		free := m.fn("free", nil, nil)
		bound := m.fn("bound", nil, nil, calls(sensor))
		m.fn("bound1", types(i32), nil, calls(sensor))
		change(&m, free, bound)
		opt := Options{}
		return m.analyze(t, opt)
	}
	none := func(m *module) uint32 { return m.typ(nil, nil) }
	through := func(m *module, table uint32) []byte {
		return append(konst(0), index(wasm.OpCallIndirect, none(m), table)...)
	}
	for _, c := range []struct {
		name string
		why  string // part of the reason why "caller" stays, "": it may move
		make func(m *module, free, bound uint32)
	}{
		{"not in the table", "", func(m *module, free, bound uint32) {
			m.fn("caller", nil, nil, through(m, m.table(free)))
		}},
		{"in another table", "", func(m *module, free, bound uint32) {
			one := m.table(free)
			m.table(bound)
			m.fn("caller", nil, nil, through(m, one))
		}},
		{"of another type", "", func(m *module, free, bound uint32) {
			m.fn("caller", nil, nil, through(m, m.table(free, bound+1)))
		}},
		{"in the table", "phone.sensor", func(m *module, free, bound uint32) {
			m.fn("caller", nil, nil, through(m, m.table(free, bound)))
		}},
		{"tail call", "phone.sensor", func(m *module, free, bound uint32) {
			t := m.table(bound)
			m.fn("caller", nil, nil, konst(0), index(wasm.OpReturnCallIndirect, none(m), t))
		}},
		{"the import itself", "phone.sensor", func(m *module, free, bound uint32) {
			m.fn("caller", nil, nil, through(m, m.table(0)))
		}},
		{"element expressions", "phone.sensor", func(m *module, free, bound uint32) {
			t := m.table(free)
			m.Elems = append(m.Elems, wasm.Elem{Table: t, Offset: expr(konst(0)), Type: funcref, Exprs: []wasm.Expr{expr(index(wasm.OpRefFunc, bound))}})
			m.fn("caller", nil, nil, through(m, t))
		}},
		{"element from a global", "phone.sensor", func(m *module, free, bound uint32) {
			t := m.table(free)
			m.Globals = append(m.Globals, wasm.Global{GlobalType: wasm.GlobalType{Type: funcref}, Init: expr(index(wasm.OpRefFunc, bound))})
			m.Elems = append(m.Elems, wasm.Elem{Table: t, Offset: expr(konst(0)), Type: funcref, Exprs: []wasm.Expr{expr(index(wasm.OpGlobalGet, 0))}})
			m.fn("caller", nil, nil, through(m, t))
		}},
		{"initial value of the table", "phone.sensor", func(m *module, free, bound uint32) {
			t := m.table(free)
			m.Tables[0].Elem = wasm.RefTo(wasm.HeapFunc, false)
			m.Tables[0].Init = expr(index(wasm.OpRefFunc, bound))
			m.fn("caller", nil, nil, through(m, t))
		}},
		{"exported table", "other modules may", func(m *module, free, bound uint32) {
			t := m.table(free)
			m.export("table", wasm.ExternTable, t)
			m.fn("caller", nil, nil, through(m, t))
		}},
		{"size of an exported table", "other modules may", func(m *module, free, bound uint32) {
			t := m.table(free)
			m.export("table", wasm.ExternTable, t)
			m.fn("caller", nil, nil, index(wasm.OpTableSize, t), ops(wasm.OpDrop))
		}},
		{"by reference, none taken", "", func(m *module, free, bound uint32) {
			m.table(free)
			m.fn("caller", nil, nil, ops(wasm.OpUnreachable), index(wasm.OpCallRef, none(m)))
		}},
		{"by reference", "phone.sensor", func(m *module, free, bound uint32) {
			m.fn("taker", nil, nil, index(wasm.OpRefFunc, bound), ops(wasm.OpDrop))
			m.Elems = append(m.Elems, wasm.Elem{Mode: wasm.Declarative, Type: funcref, Funcs: []uint32{bound}})
			m.fn("caller", nil, nil, ops(wasm.OpUnreachable), index(wasm.OpCallRef, none(m)))
		}},
		{"by reference from outside", "come from other modules", func(m *module, free, bound uint32) {
			m.export("give", wasm.ExternFunc, m.fn("give", types(funcref), nil))
			m.fn("caller", nil, nil, ops(wasm.OpUnreachable), index(wasm.OpReturnCallRef, none(m)))
		}},
	} {
		r := build(c.make)
		f := r.byName(t, "caller")
		if f.May != (c.why == "") || !strings.Contains(f.Why, c.why) {
			t.Errorf("%s: may move %v, why %q; want %q", c.name, f.May, f.Why, c.why)
		}
	}
}

// What comes from outside may be an export of this module.
func TestReferencesToExports(t *testing.T) {
	var m module
	sensor := m.imp(wasi, "sensor", nil, nil)
	m.export("bound", wasm.ExternFunc, m.fn("bound", nil, nil, calls(sensor)))
	m.export("give", wasm.ExternFunc, m.fn("give", types(funcref), nil))
	m.fn("caller", nil, nil, ops(wasm.OpUnreachable), index(wasm.OpCallRef, m.typ(nil, nil)))
	if r := m.analyze(t, Options{}); !r.byName(t, "caller").Imports.Has(sensor) {
		t.Error("a reference from outside does not reach an export")
	}
	if r := m.analyze(t, Options{Alone: true}); r.byName(t, "caller").Imports.Len() != 0 || !r.byName(t, "caller").May {
		t.Error("references come from outside though the module is alone")
	}
}

func TestAlone(t *testing.T) {
	var m module
	free := m.fn("free", nil, nil)
	tab := m.table(free)
	m.export("table", wasm.ExternTable, tab)
	m.fn("caller", nil, nil, konst(0), index(wasm.OpCallIndirect, m.typ(nil, nil), tab))
	if r := m.analyze(t, Options{}); r.byName(t, "caller").May {
		t.Error("calls through an exported table may move")
	}
	if r := m.analyze(t, Options{Alone: true}); !r.byName(t, "caller").May {
		t.Error("calls through a table that only this module uses may not move")
	}
}

func TestEscapes(t *testing.T) {
	all := []wasm.Catch{{Kind: wasm.CatchAll}}
	only := func(tag uint32) []wasm.Catch { return []wasm.Catch{{Kind: wasm.CatchTag, Tag: tag}} }
	var m module
	m.Tags = []uint32{m.typ(nil, nil), m.typ(nil, nil)}
	throw := m.fn("throws", nil, nil, index(wasm.OpThrow, 0))
	throw1 := m.fn("throws1", nil, nil, index(wasm.OpThrow, 1))
	m.fn("caught here", nil, nil, tryTable(only(0), index(wasm.OpThrow, 0)))
	m.fn("other caught", nil, nil, tryTable(only(1), index(wasm.OpThrow, 0)))
	m.fn("passes on", nil, nil, calls(throw))
	m.fn("catches", nil, nil, tryTable(only(0), calls(throw)))
	m.fn("catches all", nil, nil, tryTable(all, calls(throw), calls(throw1)))
	m.fn("catches one of two", nil, nil, tryTable(only(0), calls(throw), calls(throw1)))
	m.fn("catches both", nil, nil, tryTable(only(1), tryTable(only(0), calls(throw), calls(throw1))))
	m.fn("catches once", nil, nil, tryTable(all, calls(throw)), calls(throw))
	m.fn("tail call", nil, nil, tryTable(all, index(wasm.OpReturnCall, throw)))
	m.fn("throws again", nil, nil, ops(wasm.OpUnreachable, wasm.OpThrowRef))
	m.fn("throws again, caught by tag", nil, nil, tryTable(only(0), ops(wasm.OpUnreachable, wasm.OpThrowRef)))
	m.fn("throws again, all caught", nil, nil, tryTable(all, ops(wasm.OpUnreachable, wasm.OpThrowRef)))
	next := uint32(m.NumFuncs())
	m.fn("ping", nil, nil, tryTable(only(1), calls(next+1)))
	m.fn("pong", nil, nil, calls(next), calls(throw1))
	m.fn("asks ping", nil, nil, calls(next))
	tab := m.table(throw)
	m.fn("indirectly", nil, nil, konst(0), index(wasm.OpCallIndirect, m.typ(nil, nil), tab))
	m.fn("indirectly caught", nil, nil, tryTable(all, konst(0), index(wasm.OpCallIndirect, m.typ(nil, nil), tab)))
	m.fn("quiet", nil, nil)
	r := m.analyze(t, Options{})
	want := []string{"caught here", "catches", "catches all", "catches both", "throws again, all caught", "ping",
		"asks ping", "indirectly caught", "quiet"}
	if d := cmp.Diff(want, r.mayNames()); d != "" {
		t.Errorf("functions that may move (-want +got):\n%s", d)
	}
	if why := r.byName(t, "throws").Why; !strings.Contains(why, "exception") {
		t.Errorf("why: %q", why)
	}
}

func TestManyTags(t *testing.T) {
	var m module
	for range 70 {
		m.Tags = append(m.Tags, m.typ(nil, nil))
	}
	throw := m.fn("throws", nil, nil, index(wasm.OpThrow, 69))
	m.fn("by tag", nil, nil, tryTable([]wasm.Catch{{Kind: wasm.CatchTag, Tag: 68}}, calls(throw)))
	m.fn("all", nil, nil, tryTable([]wasm.Catch{{Kind: wasm.CatchAll}}, calls(throw)))
	if d := cmp.Diff([]string{"all"}, m.analyze(t, Options{}).mayNames()); d != "" {
		t.Errorf("functions that may move (-want +got):\n%s", d)
	}
}

func TestSignatures(t *testing.T) {
	var m module
	m.fn("numbers", types(i32, v128), types(i32))
	m.fn("takes a reference", types(externr), nil)
	m.fn("gives a reference", nil, types(funcref))
	many := make([]wasm.ValType, 500)
	for i := range many {
		many[i] = v128
	}
	m.fn("many vectors", many, nil)
	if d := cmp.Diff([]string{"numbers"}, m.analyze(t, Options{}).mayNames()); d != "" {
		t.Errorf("functions that may move (-want +got):\n%s", d)
	}
	var n module
	vec := n.imp(wasi, "vector", types(v128), nil)
	ref := n.imp(wasi, "reference", types(externr), nil)
	n.fn("vector", nil, nil, ops(wasm.OpUnreachable), calls(vec))
	n.fn("reference", nil, nil, ops(wasm.OpUnreachable), calls(ref))
	if d := cmp.Diff([]string{}, n.analyze(t, Options{}).mayNames()); d != "" {
		t.Errorf("functions that may move (-want +got):\n%s", d)
	}
}

func TestStay(t *testing.T) {
	lim := wasm.Limits{Min: 1}
	for _, c := range []struct {
		name, why string // why: part of the reason, "" if it may move
		make      func(m *module)
	}{
		{"nothing", "", func(*module) {}},
		{"memory", "", func(m *module) { m.Memories = []wasm.Limits{lim} }},
		{"two memories", "2 memories", func(m *module) { m.Memories = []wasm.Limits{lim, lim} }},
		{"shared memory", "shared", func(m *module) { m.Memories = []wasm.Limits{{Min: 1, Max: 1, HasMax: true, Shared: true}} }},
		{"imported memory", "imports the memory env.m", func(m *module) {
			m.Imports = []wasm.Import{{Module: "env", Name: "m", Kind: wasm.ExternMemory, Memory: lim}}
		}},
		{"imported table", "imports the table env.t", func(m *module) {
			m.Imports = []wasm.Import{{Module: "env", Name: "t", Kind: wasm.ExternTable, Table: wasm.TableType{Elem: funcref, Limits: lim}}}
		}},
		{"imported tag", "exception tag env.e", func(m *module) {
			m.Imports = []wasm.Import{{Module: "env", Name: "e", Kind: wasm.ExternTag, Type: m.typ(nil, nil)}}
		}},
		{"imported constant", "", func(m *module) {
			m.Imports = []wasm.Import{{Module: "env", Name: "g", Kind: wasm.ExternGlobal, Global: wasm.GlobalType{Type: i32}}}
		}},
		{"imported variable", "mutable global env.g", func(m *module) {
			m.Imports = []wasm.Import{{Module: "env", Name: "g", Kind: wasm.ExternGlobal, Global: wasm.GlobalType{Type: i32, Mutable: true}}}
		}},
		{"imported reference", "holds a reference", func(m *module) {
			m.Imports = []wasm.Import{{Module: "env", Name: "g", Kind: wasm.ExternGlobal, Global: wasm.GlobalType{Type: externr}}}
		}},
		{"private import", "kept for rewritten", func(m *module) { m.imp("clonecloud", "x", nil, nil) }},
		{"private export", "kept for rewritten", func(m *module) { m.export("clonecloud:x", wasm.ExternFunc, m.fn("x", nil, nil)) }},
		{"reference that stays the same", "", func(m *module) {
			m.Globals = []wasm.Global{{GlobalType: wasm.GlobalType{Type: funcref, Mutable: true}, Init: expr([]byte{byte(wasm.OpRefNull), 0x70})}}
		}},
		{"exported reference", "others may change", func(m *module) {
			m.Globals = []wasm.Global{{GlobalType: wasm.GlobalType{Type: funcref, Mutable: true}, Init: expr([]byte{byte(wasm.OpRefNull), 0x70})}}
			m.export("g", wasm.ExternGlobal, 0)
		}},
		{"reference that changes", "global 0 holds", func(m *module) {
			m.Globals = []wasm.Global{{GlobalType: wasm.GlobalType{Type: funcref, Mutable: true}, Init: expr([]byte{byte(wasm.OpRefNull), 0x70})}}
			m.fn("set", nil, nil, ops(wasm.OpUnreachable), index(wasm.OpGlobalSet, 0))
		}},
		{"number that changes", "", func(m *module) {
			m.Globals = []wasm.Global{{GlobalType: wasm.GlobalType{Type: i32, Mutable: true}, Init: expr(konst(0))}}
			m.fn("set", nil, nil, konst(1), index(wasm.OpGlobalSet, 0))
		}},
		{"table.set", "changes table 0", func(m *module) {
			m.fn("set", nil, nil, ops(wasm.OpUnreachable), index(wasm.OpTableSet, m.table()))
		}},
		{"table.grow", "changes table 0", func(m *module) {
			m.fn("set", nil, nil, ops(wasm.OpUnreachable), index(wasm.OpTableGrow, m.table()))
		}},
		{"table.fill", "changes table 0", func(m *module) {
			m.fn("set", nil, nil, ops(wasm.OpUnreachable), index(wasm.OpTableFill, m.table()))
		}},
		{"table.copy", "changes table 1", func(m *module) {
			a, b := m.table(), m.table()
			m.fn("set", nil, nil, ops(wasm.OpUnreachable), index(wasm.OpTableCopy, b, a))
		}},
		{"table.init", "changes table 1", func(m *module) {
			m.table()
			b := m.table()
			m.fn("set", nil, nil, ops(wasm.OpUnreachable), index(wasm.OpTableInit, 0, b))
		}},
		{"elem.drop", "", func(m *module) {
			m.table()
			m.fn("drop", nil, nil, index(wasm.OpElemDrop, 0))
		}},
	} {
		var m module
		c.make(&m)
		m.fn("f", nil, nil)
		r := m.analyze(t, Options{All: true})
		if (r.Stay == "") != (c.why == "") || !strings.Contains(r.Stay, c.why) {
			t.Errorf("%s: stays because %q, want %q", c.name, r.Stay, c.why)
		}
		f := r.byName(t, "f")
		if f.May != (c.why == "") || f.Candidate != f.May || !strings.Contains(f.Why, c.why) {
			t.Errorf("%s: may move %v, candidate %v, why %q", c.name, f.May, f.Candidate, f.Why)
		}
	}
}

func TestMalformed(t *testing.T) {
	for name, build := range map[string]func(m *module){
		"call":          func(m *module) { m.fn("f", nil, nil, calls(9)) },
		"label":         func(m *module) { m.fn("f", nil, nil, index(wasm.OpBr, 1)) },
		"table label":   func(m *module) { m.fn("f", nil, nil, konst(0), []byte{byte(wasm.OpBrTable), 1, 0, 7}) },
		"catch label":   func(m *module) { m.fn("f", nil, nil, tryTable([]wasm.Catch{{Kind: wasm.CatchAll, Label: 5}})) },
		"type":          func(m *module) { m.table(); m.fn("f", nil, nil, index(wasm.OpCallIndirect, 5, 0)) },
		"table":         func(m *module) { m.fn("f", nil, nil, index(wasm.OpCallIndirect, 0, 0)) },
		"reference":     func(m *module) { m.fn("f", nil, nil, index(wasm.OpRefFunc, 5)) },
		"called type":   func(m *module) { m.fn("f", nil, nil, index(wasm.OpCallRef, 5)) },
		"global":        func(m *module) { m.fn("f", nil, nil, index(wasm.OpGlobalSet, 0)) },
		"set table":     func(m *module) { m.fn("f", nil, nil, index(wasm.OpTableSet, 0)) },
		"unclosed":      func(m *module) { m.fn("f", nil, nil, []byte{byte(wasm.OpBlock), 0x40}) },
		"truncated":     func(m *module) { m.fn("f", nil, nil, []byte{byte(wasm.OpCall), 0x80}) },
		"element":       func(m *module) { m.table(7) },
		"export":        func(m *module) { m.fn("f", nil, nil); m.export("f", wasm.ExternFunc, 1) },
		"start":         func(m *module) { i := uint32(3); m.Start = &i },
		"function type": func(m *module) { m.Funcs = []wasm.Func{{Type: 3, Body: wasm.Body{Code: ops(wasm.OpEnd)}}} },
	} {
		var m module
		build(&m)
		m.data()
		if r, err := Analyze(&m.Module, Options{}); err == nil {
			t.Errorf("%s: no error, report %v", name, r)
		}
	}
}
