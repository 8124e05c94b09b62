package enginetest

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

func testTraps(t *testing.T, s *suite) {
	t.Run("kind", func(t *testing.T) { testTrapKinds(t, s) })
	t.Run("start", func(t *testing.T) { testStart(t, s) })
	t.Run("segment", func(t *testing.T) {
		m := &module{}
		m.memory(1, 1)
		m.data("i32.const 65533", []byte("four"))
		_, err := s.compile(t, m).Instantiate(context.Background(), engine.Config{})
		wantTrap(t, err, engine.TrapMemoryBounds)
	})
	t.Run("null", func(t *testing.T) {
		m := &module{}
		typ := m.sig(":i")
		m.fn("f", ":i", "", "ref.null "+itoa(typ)+"; call_ref "+itoa(typ))
		_, err := call(context.Background(), s.instance(t, m, engine.Config{}), "f")
		wantTrap(t, err, engine.TrapNullReference)
	})
	t.Run("atomic", func(t *testing.T) {
		m := &module{}
		m.memory(1, 1)
		m.Memories[0].Shared = true
		m.fn("f", "i:i", "", "local.get 0; i32.const 1; i32.atomic.rmw.add")
		m.fn("g", ":i", "", "i32.const 4; i32.load")
		inst := s.instance(t, m, engine.Config{})
		want(t, inst, 0, "f", 4)
		_, err := call(context.Background(), inst, "f", 5)
		wantTrap(t, err, engine.TrapUnaligned)
		want(t, inst, 1, "g")
	})
}

func testTrapKinds(t *testing.T, s *suite) {
	const (
		bounds  = engine.TrapMemoryBounds
		table   = engine.TrapTableBounds
		integer = engine.TrapIntegerOverflow
		nan     = engine.TrapInvalidConversion
		zero    = engine.TrapDivideByZero
	)
	tests := []struct {
		name, code string
		kind       engine.TrapKind
	}{
		{"unreachable", "unreachable", engine.TrapUnreachable},
		{"load", "i32.const -4; i32.load; drop", bounds},
		{"load8", "i32.const 65536; i32.load8_u; drop", bounds},
		{"offset", "i32.const 65535; i64.load 4294967295; drop", bounds},
		{"store", "i32.const 65533; i32.const 0; i32.store", bounds},
		{"vector", "i32.const 65521; v128.load; drop", bounds},
		{"fill", "i32.const 65535; i32.const 0; i32.const 2; memory.fill", bounds},
		{"copy", "i32.const 0; i32.const 65535; i32.const 2; memory.copy", bounds},
		{"init", "i32.const 0; i32.const 4; i32.const 1; memory.init 0", bounds},
		{"end", "i32.const 5; call_indirect 0 0", table},
		{"beyond", "i32.const -1; call_indirect 0 0", table},
		{"uninitialized", "i32.const 4; call_indirect 0 0", table},
		{"tableget", "i32.const 5; table.get 0; drop", table},
		{"tablecopy", "i32.const 0; i32.const 5; i32.const 1; table.copy 0 0", table},
		{"indirect", "i32.const 1; call_indirect 0 0", engine.TrapIndirectType},
		{"div32s", "i32.const 1; i32.const 0; i32.div_s; drop", zero},
		{"div32u", "i32.const 1; i32.const 0; i32.div_u; drop", zero},
		{"rem64s", "i64.const 1; i64.const 0; i64.rem_s; drop", zero},
		{"rem64u", "i64.const 1; i64.const 0; i64.rem_u; drop", zero},
		{"overflow32", "i32.const -2147483648; i32.const -1; i32.div_s; drop", integer},
		{"overflow64", "i64.const -9223372036854775808; i64.const -1; i64.div_s; drop", integer},
		{"trunc32", "f64.const 2147483648; i32.trunc_f64_s; drop", integer},
		{"trunc64", "f32.const -1; i64.trunc_f32_u; drop", integer},
		{"nan32", "f32.const nan; i32.trunc_f32_s; drop", nan},
		{"nan64", "f64.const nan; i64.trunc_f64_u; drop", nan},
	}
	m := &module{}
	m.sig("")
	m.memory(1, 1)
	m.Data = append(m.Data, wasm.Data{Mode: wasm.Passive, Init: []byte("four")})
	m.HasDataCount = true
	g := m.global("g", "i", true, "i32.const 0")
	void := m.fn("void", "", "", "")
	other := m.fn("other", ":i", "", "i32.const 3")
	m.table(5, void, other)
	mark := "i32.const 16; global.get " + itoa(g) + "; i32.const 1; i32.add; global.set " + itoa(g) + "; global.get " + itoa(g) + "; i32.store;"
	for _, tt := range tests {
		deep := m.fn("", "", "", mark+tt.code)
		m.fn(tt.name, "", "", "call "+itoa(deep)+"; unreachable")
	}
	inst := s.instance(t, m, engine.Config{})
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := call(context.Background(), inst, tt.name)
			wantTrap(t, err, tt.kind)
			if err.Error() != "wasm trap: "+tt.kind.String() {
				t.Errorf("text is %q", err)
			}
			if n := uint64(i + 1); inst.Global("g").Get() != n || inst.Memory().Bytes()[16] != byte(n) {
				t.Errorf("global is %d, memory %d, want %d", inst.Global("g").Get(), inst.Memory().Bytes()[16], n)
			}
			want(t, inst, 3, "other")
		})
	}
}

func testStart(t *testing.T, s *suite) {
	build := func(code string) engine.Module {
		m := &module{}
		m.importFunc("host", "see", "i")
		m.memory(1, 2)
		m.data("i32.const 0", []byte{42})
		m.global("g", "i", true, "i32.const 1")
		m.fn("double", "", "", "global.get 0; i32.const 2; i32.mul; global.set 0")
		m.start(m.fn("", "", "", code))
		return s.compile(t, m)
	}
	seen := 0
	cfg := host(funcs{"see": hostFunc("i", func(_ context.Context, inst engine.Instance, stack []uint64) error {
		seen++
		if got := inst.Memory().Bytes()[stack[0]]; got != 42 {
			t.Errorf("memory has %d", got)
		}
		if inst.Func("double") != nil || inst.Global("g") != nil {
			t.Error("there are exports before the start function has returned")
		}
		return nil
	})})
	inst := instantiate(t, build("i32.const 0; call 0; call 1; i32.const 0; call 0; call 1"), cfg)
	if got := inst.Global("g").Get(); got != 4 || seen != 2 {
		t.Errorf("global is %d, seen %d times", got, seen)
	}
	_, err := build("i32.const 0; call 0; unreachable").Instantiate(context.Background(), cfg)
	wantTrap(t, err, engine.TrapUnreachable)
	if !strings.HasPrefix(err.Error(), "instantiate module: ") {
		t.Errorf("text is %q", err)
	}
}

func testRecursion(t *testing.T, s *suite) {
	m := &module{}
	see := m.importFunc("host", "see", "")
	m.memory(1, 1)
	g := m.global("g", "i", true, "i32.const 0")
	// down calls itself as often as it is told, then the host.
	down := uint32(1)
	m.fn("down", "i:i", "", `local.get 0; i32.eqz; if i; call `+itoa(see)+`; i32.const 0
		else; local.get 0; i32.const 1; i32.sub; call `+itoa(down)+`; i32.const 1; i32.add; end`)
	m.fn("endless", "i:i", "", `global.get `+itoa(g)+`; i32.const 1; i32.add; global.set `+itoa(g)+`
		local.get 0; i32.const 1; i32.add; call 2; i32.const 1; i32.add`)
	odd := m.fn("wide", "ldldldld:l", "lllllllldddddddd", `local.get 0; i64.const 1; i64.add; local.tee 8; local.get 1; local.get 2; local.get 3
		local.get 4; local.get 5; local.get 6; local.get 7; i32.const 0; call_indirect `+itoa(m.sig("ldldldld:l"))+` 0; local.get 8; i64.add`)
	m.table(1, odd)
	calls := 0
	inst := s.instance(t, m, host(funcs{"see": hostFunc("", func(context.Context, engine.Instance, []uint64) error {
		calls++
		return nil
	})}))
	want(t, inst, MinFrames, "down", MinFrames)
	for range 3 {
		inst.Global("g").Set(0)
		_, err := call(context.Background(), inst, "endless", 0)
		wantTrap(t, err, engine.TrapStackOverflow)
		if got := inst.Global("g").Get(); got < MinFrames {
			t.Errorf("overflow after %d frames", got)
		}
		want(t, inst, 100, "down", 100)
	}
	_, err := call(context.Background(), inst, "wide", make([]uint64, 8)...)
	wantTrap(t, err, engine.TrapStackOverflow)
	_, err = call(context.Background(), inst, "down", math.MaxUint32)
	wantTrap(t, err, engine.TrapStackOverflow)
	want(t, inst, 100, "down", 100)
	if calls != 5 {
		t.Errorf("%d host calls", calls)
	}
}
