package enginetest

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud/internal/engine"
)

const garbage = 0xdeadbeef_00000000

// numbers are values of each type; the first bit patterns of the floats are NaNs, whose bits must survive.
var numbers = map[string][]uint64{
	"i": {0, 1, 0x80000000, 0xffffffff},
	"l": {0, 1, 1 << 63, math.MaxUint64, garbage},
	"f": {0x7fc00001, 0xffa12345, 0, 0x80000000, uint64(math.Float32bits(-1.5))},
	"d": {0x7ff8000000000001, 0xfff4000012345678, 0, 1 << 63, math.Float64bits(2.5)},
}

func testValues(t *testing.T, s *suite) {
	t.Run("identity", func(t *testing.T) { testIdentity(t, s) })
	t.Run("multivalue", func(t *testing.T) { testMultiValue(t, s) })
	t.Run("handle", func(t *testing.T) { testHandles(t, s) })
}

func testIdentity(t *testing.T, s *suite) {
	m := &module{}
	for typ := range numbers {
		m.importFunc("host", typ, typ+":"+typ)
	}
	for typ := range numbers {
		m.fn(typ, typ+":"+typ, "", "local.get 0")
	}
	index := uint32(0)
	fns := funcs{}
	for _, im := range m.Imports {
		typ := im.Name
		m.fn("host."+typ, typ+":"+typ, "", "local.get 0; call "+fmt.Sprint(index))
		index++
		fns[typ] = hostFunc(typ+":"+typ, func(_ context.Context, _ engine.Instance, stack []uint64) error {
			if typ == "i" || typ == "f" {
				if stack[0]>>32 != 0 {
					t.Errorf("host %s: got %#x", typ, stack[0])
				}
				stack[0] |= garbage
			}
			return nil
		})
	}
	// What a host function leaves in the upper half must not reach the guest either.
	m.fn("extend", "i:l", "", "local.get 0; call "+fmt.Sprint(importIndex(m, "i"))+"; i64.extend_i32_u")
	inst := s.instance(t, m, host(fns))
	for typ, values := range numbers {
		for _, v := range values {
			arg := v
			if typ == "i" || typ == "f" {
				arg |= garbage
			}
			want(t, inst, v, typ, arg)
			want(t, inst, v, "host."+typ, arg)
		}
	}
	want(t, inst, 0xfffffffe, "extend", 0xfffffffe)
}

func importIndex(m *module, name string) int {
	for i, im := range m.Imports {
		if im.Name == name {
			return i
		}
	}
	panic("no import " + name)
}

func testMultiValue(t *testing.T, s *suite) {
	m := &module{}
	widen := m.importFunc("host", "widen", "l:ilfd")
	sum := m.importFunc("host", "sum", "ilfd:l")
	m.fn("turn", "ilfd:dfli", "", "local.get 3; local.get 2; local.get 1; local.get 0")
	m.fn("grow", ":iiiiiiii", "", strings.Repeat("i32.const -2;", 8))
	m.fn("both", "l:l", "", "local.get 0; call "+fmt.Sprint(widen)+"; call "+fmt.Sprint(sum))
	m.fn("many", strings.Repeat("l", 40)+":l", "", "local.get 0; local.get 39; i64.sub")
	m.fn("none", "", "", "nop")
	inst := s.instance(t, m, host(funcs{
		"widen": hostFunc("l:ilfd", func(_ context.Context, _ engine.Instance, stack []uint64) error {
			if len(stack) != 4 {
				t.Errorf("widen has %d slots", len(stack))
			}
			v := stack[0]
			for i := range stack {
				stack[i] = v + uint64(i)
			}
			return nil
		}),
		"sum": hostFunc("ilfd:l", func(_ context.Context, _ engine.Instance, stack []uint64) error {
			stack[0] += stack[1] + stack[2] + stack[3]
			return nil
		}),
	}))
	got, err := call(context.Background(), inst, "turn", 1|garbage, 2, 3|garbage, 4)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]uint64{4, 3, 2, 1}, got); diff != "" {
		t.Error(diff)
	}
	if got, err = call(context.Background(), inst, "grow"); err != nil {
		t.Fatal(err)
	}
	for _, v := range got {
		if v != 0xfffffffe {
			t.Errorf("grow: %x", got)
		}
	}
	want(t, inst, 46, "both", 10)
	many := make([]uint64, 40)
	many[0], many[39] = 100, 58
	want(t, inst, 42, "many", many...)
	if err := inst.Func("none").Call(context.Background(), nil); err != nil {
		t.Error(err)
	}
	if err := inst.Func("turn").Call(context.Background(), make([]uint64, 3)); err == nil {
		t.Error("a short stack was taken")
	}
}

func testHandles(t *testing.T, s *suite) {
	m := &module{}
	m.fn("f", "ld:if", "", "i32.const 0; f32.const 0")
	m.fn("vector", "v", "", "")
	m.fn("reference", ":F", "", "ref.func 0")
	m.global("v", "v", true, "v128.const 00000000000000000000000000000000")
	m.global("F", "F", true, "ref.func 0")
	m.global("g", "i", false, "i32.const 3")
	inst := s.instance(t, m, engine.Config{})
	f := inst.Func("f")
	if f == nil || inst.Func("f") != f {
		t.Fatal("f is not one handle")
	}
	params, results := f.Type()
	if diff := cmp.Diff([][]byte{{engine.I64, engine.F64}, {engine.I32, engine.F32}}, [][]byte{params, results}); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"", "absent", "vector", "reference", "g"} {
		if inst.Func(name) != nil {
			t.Errorf("function %q", name)
		}
	}
	for _, name := range []string{"", "absent", "v", "F", "f"} {
		if inst.Global(name) != nil {
			t.Errorf("global %q", name)
		}
	}
	if inst.Global("g") != inst.Global("g") {
		t.Error("g is not one handle")
	}
}

func testGlobals(t *testing.T, s *suite) {
	m := &module{}
	m.importFunc("host", "tick", "")
	inits := map[string]string{"i": "i32.const -1", "l": "i64.const -1", "f": "f32.const -0", "d": "f64.const -0"}
	initial := map[string]uint64{"i": 0xffffffff, "l": math.MaxUint64, "f": 1 << 31, "d": 1 << 63}
	for typ, init := range inits {
		index := fmt.Sprint(m.global(typ, typ, true, init))
		m.fn("get."+typ, ":"+typ, "", "global.get "+index)
		m.fn("set."+typ, typ, "", "local.get 0; global.set "+index)
	}
	fixed := m.global("fixed", "i", false, "i32.const 7")
	stop := m.global("stop", "i", true, "i32.const 0")
	m.fn("get.fixed", ":i", "", "global.get "+fmt.Sprint(fixed))
	m.fn("wait", ":i", "", m.polling(0, "global.get "+itoa(stop)+"; br_if 1")+"i32.const 0; global.set "+itoa(stop)+"; i32.const 1")
	inst := s.instance(t, m, host(funcs{"tick": tickFunc}))
	for typ, values := range numbers {
		g := inst.Global(typ)
		if got := g.Get(); got != initial[typ] {
			t.Errorf("%s: begins as %#x", typ, got)
		}
		upper := uint64(0)
		if typ == "i" || typ == "f" {
			upper = garbage
		}
		for _, v := range values {
			g.Set(v | upper)
			if got := g.Get(); got != v {
				t.Errorf("%s: got %#x, want %#x", typ, got, v)
			}
			want(t, inst, v, "get."+typ)
			g.Set(^v)
			if _, err := call(context.Background(), inst, "set."+typ, v|upper); err != nil {
				t.Fatal(err)
			}
			if got := g.Get(); got != v {
				t.Errorf("%s after set by the guest: got %#x, want %#x", typ, got, v)
			}
		}
	}

	t.Run("immutable", func(t *testing.T) {
		if got := inst.Global("fixed").Get(); got != 7 {
			t.Errorf("got %d", got)
		}
		defer func() {
			if text, _ := recover().(string); !strings.HasPrefix(text, "BUG: ") {
				t.Errorf("set panicked with %q", text)
			}
			want(t, inst, 7, "get.fixed")
		}()
		inst.Global("fixed").Set(1)
	})
	t.Run("goroutine", func(t *testing.T) {
		g := inst.Global("stop")
		done := make(chan struct{})
		go func() {
			defer close(done)
			for g.Get() == 0 {
				g.Set(1)
			}
		}()
		// The guest spins until it sees the value, and clears it, so that the other side may have to set it again.
		want(t, inst, 1, "wait")
		g.Set(1)
		<-done
		g.Set(0)
	})
}
