package enginetest

import (
	"context"
	"errors"
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// exporter has one of each kind to link with.
func exporter() *module {
	m := &module{}
	m.importFunc("host", "log", "i")
	m.memory(1, 4)
	m.global("counter", "i", true, "i32.const 10")
	m.global("limit", "l", false, "i64.const 99")
	add := m.fn("add", "ii:i", "", "local.get 0; local.get 1; i32.add; local.tee 0; call 0; local.get 0")
	m.table(4, add)
	m.fn("load", "i:i", "", "local.get 0; i32.load")
	m.fn("indirect", "iii:i", "", "local.get 0; local.get 1; local.get 2; call_indirect "+itoa(m.sig("ii:i"))+" 0")
	m.fn("count", ":i", "", "global.get 0; i32.const 1; i32.add; global.set 0; global.get 0")
	return m
}

// importer uses all that exporter has; code is that of its export "own", which the exporter's table gets too.
func importer(own string) *module {
	m := &module{}
	add := m.importFunc("env", "add", "ii:i")
	m.Imports = append(m.Imports,
		wasm.Import{Module: "env", Name: "counter", Kind: wasm.ExternGlobal, Global: wasm.GlobalType{Type: types("i")[0], Mutable: true}},
		wasm.Import{Module: "env", Name: "limit", Kind: wasm.ExternGlobal, Global: wasm.GlobalType{Type: types("l")[0]}},
		wasm.Import{Module: "env", Name: "memory", Kind: wasm.ExternMemory, Memory: wasm.Limits{Min: 1, Max: 4, HasMax: true}},
		wasm.Import{Module: "env", Name: "table", Kind: wasm.ExternTable, Table: wasm.TableType{Elem: types("F")[0], Limits: wasm.Limits{Min: 4}}})
	m.export("counter", wasm.ExternGlobal, 0)
	m.export("limit", wasm.ExternGlobal, 1)
	m.export("add", wasm.ExternFunc, add)
	m.fn("sum", "ii:i", "", "local.get 0; local.get 1; call "+itoa(add))
	m.fn("bump", ":i", "", "global.get 0; i32.const 1; i32.add; global.set 0; global.get 0")
	m.fn("store", "ii", "", "local.get 0; local.get 1; i32.store")
	m.fn("grow", "i:i", "", "local.get 0; memory.grow")
	m.elems("i32.const 2", m.fn("own", "ii:i", "", own))
	m.data("i32.const 64", []byte{7})
	return m
}

func testLink(t *testing.T, s *suite) {
	var logged []uint64
	var owner engine.Instance
	cfg := host(funcs{"log": hostFunc("i", func(_ context.Context, inst engine.Instance, stack []uint64) error {
		if inst != owner {
			t.Error("the host function got another instance than the one that imports it")
		}
		logged = append(logged, stack[0])
		return nil
	})})
	exports := s.compile(t, exporter())
	imports := s.compile(t, importer("local.get 0; local.get 1; i32.mul; i32.const 64; i32.load8_u; i32.mul"))
	link := func(a engine.Instance) engine.Config {
		return engine.Config{Link: map[string]engine.Instance{"env": a}}
	}

	t.Run("all", func(t *testing.T) {
		a := instantiate(t, exports, cfg)
		owner = a
		b := instantiate(t, imports, link(a))
		if a.Memory() != b.Memory() || a.Memory() == nil {
			t.Fatal("the memory is not shared")
		}
		logged = nil
		want(t, b, 7, "sum", 3, 4)
		want(t, b, 8, "add", 4, 4)
		if len(logged) != 2 || logged[0] != 7 || logged[1] != 8 {
			t.Errorf("host saw %d", logged)
		}
		want(t, b, 11, "bump")
		want(t, a, 12, "count")
		b.Global("counter").Set(20)
		if got := a.Global("counter").Get(); got != 20 {
			t.Errorf("counter is %d", got)
		}
		want(t, a, 21, "count")
		want(t, b, 22, "bump")
		if got := b.Global("limit").Get(); got != 99 {
			t.Errorf("limit is %d", got)
		}
		if _, err := call(context.Background(), b, "store", 100, 5); err != nil {
			t.Fatal(err)
		}
		want(t, a, 5, "load", 100)
		want(t, b, 1, "grow", 1)
		want(t, a, 0, "load", engine.PageSize)
		if old, ok := a.Grow(1); !ok || old != 2 || b.Memory().Size() != 3*engine.PageSize {
			t.Errorf("grow: %d, %t", old, ok)
		}
		if old, ok := b.Grow(1); !ok || old != 3 {
			t.Errorf("grow: %d, %t", old, ok)
		}
		want(t, a, 9, "indirect", 4, 5, 0)
		want(t, a, 140, "indirect", 4, 5, 2)
	})
	t.Run("fate", func(t *testing.T) {
		a := instantiate(t, exports, cfg)
		owner = a
		b := instantiate(t, imports, link(a))
		c := instantiate(t, imports, link(a))
		base := &a.Memory().Bytes()[0]
		// The importer goes first: the memory stays with the others, and can still grow.
		if err := c.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if _, ok := a.Grow(1); !ok || &a.Memory().Bytes()[0] != base {
			t.Error("the memory does not grow in place any more")
		}
		want(t, a, 0, "load", engine.PageSize)
		want(t, a, 140, "indirect", 4, 5, 2)
		// Then the owner.
		mem := a.Memory()
		if err := a.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		want(t, b, 7, "sum", 3, 4)
		if _, err := call(context.Background(), b, "store", 100, 5); err != nil || mem.Bytes()[100] != 5 {
			t.Errorf("store: %v", err)
		}
		if _, err := imports.Instantiate(context.Background(), link(a)); !errors.As(err, new(*engine.ImportError)) {
			t.Errorf("linked a closed instance: %v", err)
		}
		if err := b.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if mem.Bytes() != nil {
			t.Error("the memory was not closed with the last instance")
		}
	})
	t.Run("failed", func(t *testing.T) {
		a := instantiate(t, exports, cfg)
		owner = a
		m := importer("local.get 0; local.get 1; i32.sub")
		m.start(m.fn("", "", "", "unreachable"))
		_, err := s.compile(t, m).Instantiate(context.Background(), link(a))
		wantTrap(t, err, engine.TrapUnreachable)
		// The segments were applied before, and their function works.
		want(t, a, 3, "indirect", 8, 5, 2)
	})
	t.Run("group", func(t *testing.T) {
		a := instantiate(t, exports, cfg)
		owner = a
		d := instantiate(t, exports, cfg)
		m := &module{}
		m.importFunc("a", "load", "i:i")
		m.importFunc("d", "count", ":i")
		m.fn("both", "i:i", "", "local.get 0; call 0; call 1; i32.add")
		code := s.compile(t, m)
		if _, err := code.Instantiate(context.Background(), engine.Config{Link: map[string]engine.Instance{"a": a, "d": d}}); err == nil {
			t.Error("linked instances of two groups")
		}
		if err := d.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		with := cfg
		with.Beside = d
		if _, err := exports.Instantiate(context.Background(), with); err == nil {
			t.Error("joined the group of a closed instance")
		}
		with.Beside = a
		d = instantiate(t, exports, with)
		want(t, instantiate(t, code, engine.Config{Link: map[string]engine.Instance{"a": a, "d": d}}), 11, "both", 100)
		mem := d.Memory()
		if err := d.Close(context.Background()); err != nil || mem.Bytes() == nil {
			t.Errorf("the memory did not outlive its instance: %v", err)
		}
	})
	t.Run("type", func(t *testing.T) {
		a := instantiate(t, exports, cfg)
		owner = a
		m := &module{}
		m.importFunc("env", "add", "i:i")
		if _, err := s.compile(t, m).Instantiate(context.Background(), link(a)); err == nil {
			t.Error("linked a function of another type")
		}
	})
	t.Run("exception", func(t *testing.T) { testLinkedTags(t, s) })
}

func testLinkedTags(t *testing.T, s *suite) {
	m := &module{}
	m.Tags = []uint32{m.sig("i")}
	m.export("tag", wasm.ExternTag, 0)
	m.fn("throw", "i", "", "local.get 0; throw 0")
	a := s.instance(t, m, engine.Config{})
	m = &module{}
	throw := m.importFunc("env", "throw", "i")
	m.Imports = append(m.Imports, wasm.Import{Module: "env", Name: "tag", Kind: wasm.ExternTag, Type: m.sig("i")})
	m.Tags = []uint32{m.sig("i")}
	m.fn("catch", "i:i", "", "block i; try_table catch 0 0; local.get 0; call "+itoa(throw)+"; end; i32.const -1; end")
	m.fn("miss", "i:i", "", "block i; try_table catch 1 0; local.get 0; call "+itoa(throw)+"; end; i32.const -1; end")
	b, err := s.compile(t, m).Instantiate(context.Background(), engine.Config{Link: map[string]engine.Instance{"env": a}})
	if errors.Is(err, engine.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, b)
	want(t, b, 42, "catch", 42)
	if _, err := call(context.Background(), b, "miss", 42); !errors.As(err, new(*engine.Exception)) {
		t.Errorf("got %v", err)
	}
}
