package enginetest

import (
	"context"
	"errors"
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

func testFeatures(t *testing.T, s *suite) {
	t.Run("exception", func(t *testing.T) { testExceptions(t, s) })
	t.Run("tailcall", func(t *testing.T) {
		m := &module{}
		m.fn("loop", "il:l", "", "local.get 0; i32.eqz; if; local.get 1; return; end; local.get 0; i32.const 1; i32.sub; local.get 1; i64.const 3; i64.add; return_call 0")
		typ := m.sig("il:l")
		m.fn("indirect", "il:l", "", "local.get 0; i32.eqz; if; local.get 1; return; end; local.get 0; i32.const 1; i32.sub; local.get 1; i64.const 2; i64.add; i32.const 0; return_call_indirect "+itoa(typ)+" 0")
		m.table(1, 1)
		inst := s.instance(t, m, engine.Config{})
		want(t, inst, 900_000, "loop", 300_000, 0)
		want(t, inst, 600_000, "indirect", 300_000, 0)
	})
	t.Run("simd", func(t *testing.T) {
		m := &module{}
		m.memory(1, 1)
		m.global("v", "v", true, "v128.const 01000000020000000300000004000000")
		m.fn("dot", "i:i", "v", `local.get 0; i32x4.splat; global.get 0; i32x4.mul; local.tee 1; i32x4.extract_lane 0
			local.get 1; i32x4.extract_lane 3; i32.add; i32.const 16; local.get 1; v128.store`)
		m.fn("get", ":ll", "", "global.get 0; i64x2.extract_lane 0; global.get 0; i64x2.extract_lane 1")
		m.fn("set", "ll", "", "local.get 0; i64x2.splat; local.get 1; i64x2.replace_lane 1; global.set 0")
		inst := s.instance(t, m, engine.Config{})
		want(t, inst, 50, "dot", 10)
		if got := inst.Memory().Bytes()[16:32]; got[0] != 10 || got[4] != 20 || got[12] != 40 {
			t.Errorf("vector in memory: %x", got)
		}
		if _, err := call(context.Background(), inst, "set", 1<<63, 7); err != nil {
			t.Fatal(err)
		}
		if got, err := call(context.Background(), inst, "get"); err != nil || got[0] != 1<<63 || got[1] != 7 {
			t.Errorf("got %x, %v", got, err)
		}
	})
	t.Run("extended", func(t *testing.T) {
		m := &module{}
		m.global("g", "i", false, "i32.const 6; i32.const 7; i32.mul")
		if got := s.instance(t, m, engine.Config{}).Global("g").Get(); got != 42 {
			t.Errorf("got %d", got)
		}
	})
	t.Run("reference", func(t *testing.T) {
		m := &module{}
		typ := m.sig("i:i")
		inc := m.fn("inc", "i:i", "", "local.get 0; i32.const 1; i32.add")
		m.Elems = append(m.Elems, wasm.Elem{Mode: wasm.Declarative, Type: types("F")[0], Funcs: []uint32{inc}})
		m.fn("call", "i:i", "", "local.get 0; ref.func "+itoa(inc)+"; call_ref "+itoa(typ))
		want(t, s.instance(t, m, engine.Config{}), 8, "call", 7)
	})
	t.Run("bulk", func(t *testing.T) {
		m := &module{}
		m.memory(1, 1)
		m.Data = append(m.Data, wasm.Data{Mode: wasm.Passive, Init: []byte("passive")})
		m.HasDataCount = true
		m.fn("init", "", "", "i32.const 3; i32.const 1; i32.const 4; memory.init 0; data.drop 0; i32.const 8; i32.const 3; i32.const 4; memory.copy; i32.const 0; i32.const 46; i32.const 3; memory.fill")
		inst := s.instance(t, m, engine.Config{})
		if _, err := call(context.Background(), inst, "init"); err != nil {
			t.Fatal(err)
		}
		if got := string(inst.Memory().Bytes()[:12]); got != "...assi\x00assi" {
			t.Errorf("got %q", got)
		}
		_, err := call(context.Background(), inst, "init")
		wantTrap(t, err, engine.TrapMemoryBounds)
	})
	t.Run("conversion", func(t *testing.T) {
		m := &module{}
		m.fn("sat", "d:i", "", "local.get 0; i32.trunc_sat_f64_s")
		m.fn("sign", "l:l", "", "local.get 0; i64.extend8_s")
		inst := s.instance(t, m, engine.Config{})
		want(t, inst, 0x7fffffff, "sat", 0x7ff0000000000000)
		want(t, inst, 0, "sat", 0x7ff8000000000000)
		want(t, inst, 0xffffffffffffff80, "sign", 0x1280)
	})
	t.Run("thread", func(t *testing.T) {
		m := &module{}
		m.memory(1, 3)
		m.Memories[0].Shared = true
		m.fn("add", "i:i", "", "i32.const 8; local.get 0; i32.atomic.rmw.add")
		m.fn("grow", "i:i", "", "local.get 0; memory.grow")
		inst := s.instance(t, m, engine.Config{})
		base := &inst.Memory().Bytes()[0]
		want(t, inst, 0, "add", 5)
		want(t, inst, 1, "grow", 2)
		want(t, inst, 5, "add", 1)
		if &inst.Memory().Bytes()[0] != base || inst.Memory().Bytes()[8] != 6 {
			t.Error("shared memory is not the instance's")
		}
	})
}

func testExceptions(t *testing.T, s *suite) {
	m := &module{}
	fail := m.importFunc("host", "fail", "")
	inner := m.importFunc("host", "inner", "i")
	m.Tags = []uint32{m.sig("i")}
	m.global("g", "i", true, "i32.const 0")
	throw := m.fn("throw", "i", "", "local.get 0; global.set 0; local.get 0; throw 0")
	m.fn("catch", "i:i", "", "block i; try_table catch 0 0; local.get 0; call "+itoa(throw)+"; end; i32.const -1; end")
	m.fn("all", "i:i", "", "block; try_table catch_all 0; local.get 0; call "+itoa(throw)+"; end; i32.const -1; return; end; i32.const 1")
	m.fn("host", ":i", "", "block; try_table catch_all 0; call "+itoa(fail)+"; end; i32.const -1; return; end; i32.const 1")
	m.fn("trap", ":i", "", "block; try_table catch_all 0; unreachable; end; i32.const -1; return; end; i32.const 1")
	m.fn("through", "i:i", "", "block; try_table catch_all 0; local.get 0; call "+itoa(inner)+"; end; i32.const -1; return; end; i32.const 1")
	failure := errors.New("host failed")
	inst := s.instance(t, m, host(funcs{
		"fail": hostFunc("", func(context.Context, engine.Instance, []uint64) error { return failure }),
		"inner": hostFunc("i", func(ctx context.Context, inst engine.Instance, stack []uint64) error {
			return inst.Func("throw").Call(ctx, stack)
		}),
	}))
	for i := range uint64(100) {
		want(t, inst, i, "catch", i)
		want(t, inst, 1, "all", i)
	}
	for _, name := range []string{"throw", "through"} {
		_, err := call(context.Background(), inst, name, 77)
		if !errors.As(err, new(*engine.Exception)) {
			t.Errorf("%s: got %v", name, err)
		}
		if inst.Global("g").Get() != 77 {
			t.Errorf("%s: global is %d", name, inst.Global("g").Get())
		}
		inst.Global("g").Set(0)
	}
	if _, err := call(context.Background(), inst, "host"); err != failure {
		t.Errorf("got %v, want the host's error", err)
	}
	_, err := call(context.Background(), inst, "trap")
	wantTrap(t, err, engine.TrapUnreachable)
	want(t, inst, 5, "catch", 5)
}
