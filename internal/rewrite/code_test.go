package rewrite_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/tetratelabs/wazero/api"

	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

const (
	nan32, nan64 = 0x7fc00000, 0x7ff8 << 48
	odd32, odd64 = 0xffc00123, 0xfff8<<48 | 0x123 // NaNs as programs box things in
	odd32x2      = odd32<<32 | odd32
	nan32x2      = nan32<<32 | nan32
	one32x2      = 0x3f8000003f800000
	opExtract    = wasm.Opcode(0xfd001d)
	opReplace    = wasm.Opcode(0xfd001e)
)

var canonicalNaN = rewrite.Options{CanonicalNaN: true, Candidates: []uint32{}}

// NaNs that arithmetic makes are canonical, those that are carried, and signs that are set, stay.
func TestScalarNaN(t *testing.T) {
	unary := func(first, last wasm.Opcode) (ops []wasm.Opcode) {
		for op := first; op <= last; op++ {
			ops = append(ops, op)
		}
		return ops
	}
	canonical := append(unary(wasm.OpF32Ceil, wasm.OpF32Max), unary(wasm.OpF64Ceil, wasm.OpF64Max)...)
	canonical = append(canonical, wasm.OpF32DemoteF64, wasm.OpF64PromoteF32)
	carried := map[wasm.Opcode]uint64{
		wasm.OpF32Abs: odd32 &^ (1 << 31), wasm.OpF32Neg: odd32 &^ (1 << 31), wasm.OpF32Copysign: odd32,
		wasm.OpF64Abs: odd64 &^ (1 << 63), wasm.OpF64Neg: odd64 &^ (1 << 63), wasm.OpF64Copysign: odd64,
		wasm.OpI32ReinterpretF32: odd32, wasm.OpI64ReinterpretF64: odd64,
		wasm.OpF32ReinterpretI32: odd32, wasm.OpF64ReinterpretI64: odd64,
	}
	var k maker
	k.memory()
	want := map[string]uint64{}
	nan := map[byte]uint64{'f': odd32, 'i': odd32, 'd': odd64, 'l': odd64}
	add := func(op wasm.Opcode, result uint64) {
		i := op.Info()
		parts := []any{wasm.OpLocalGet, 0}
		if len(i.In) == 2 {
			parts = append(parts, wasm.OpLocalGet, 0)
		}
		k.fn(i.Name, i.In[:1], i.Out, "", append(parts, op)...)
		want[i.Name] = result
	}
	for _, op := range canonical {
		if op.Info().Out == "f" {
			add(op, nan32)
		} else {
			add(op, nan64)
		}
	}
	for op, result := range carried {
		add(op, result)
	}
	k.fn("memory", "d", "d", "",
		wasm.OpI32Const, 0, wasm.OpLocalGet, 0, wasm.OpF64Store, 3, 0, wasm.OpI32Const, 0, wasm.OpF64Load, 3, 0)
	want["memory"] = odd64
	p := k.run(t, mode{opt: canonicalNaN})
	for name, result := range want {
		in := p.mod.ExportedFunction(name).Definition().ParamTypes()[0]
		letter := map[api.ValueType]byte{wasm.F32: 'f', wasm.I32: 'i', wasm.F64: 'd', wasm.I64: 'l'}[in]
		p.call(name, u(nan[letter]), result)
	}
}

// Each lane is judged by itself.
func TestVectorNaN(t *testing.T) {
	var k maker
	fn := func(name string, op wasm.Opcode) {
		parts := []any{wasm.OpLocalGet, 0, wasm.OpI64x2Splat, wasm.OpLocalGet, 1, opReplace, byte(1), wasm.OpLocalTee, 2}
		if op.Info().In == "vv" {
			parts = append(parts, wasm.OpLocalGet, 2)
		}
		parts = append(parts, op, wasm.OpLocalTee, 2, opExtract, byte(0), wasm.OpLocalGet, 2, opExtract, byte(1))
		k.fn(name, "ll", "ll", "v", parts...)
	}
	four := []wasm.Opcode{wasm.OpF32x4Ceil, wasm.OpF32x4Floor, wasm.OpF32x4Trunc, wasm.OpF32x4Nearest, wasm.OpF32x4Sqrt,
		wasm.OpF32x4Mul, wasm.OpF32x4Div, wasm.OpF32x4Min, wasm.OpF32x4Max}
	two := []wasm.Opcode{wasm.OpF64x2Ceil, wasm.OpF64x2Floor, wasm.OpF64x2Trunc, wasm.OpF64x2Nearest, wasm.OpF64x2Sqrt,
		wasm.OpF64x2Mul, wasm.OpF64x2Div, wasm.OpF64x2Min, wasm.OpF64x2Max}
	rest := []wasm.Opcode{wasm.OpF32x4DemoteF64x2Zero, wasm.OpF64x2PromoteLowF32x4, wasm.OpF32x4Pmin, wasm.OpF64x2Pmax,
		wasm.OpF64x2Neg, wasm.OpF32x4Abs}
	for _, op := range append(append(four, two...), rest...) {
		fn(op.String(), op)
	}
	p := k.run(t, mode{opt: canonicalNaN})
	one := math.Float64bits(1)
	for _, op := range four {
		p.call(op.String(), u(odd32<<32|0x3f800000, one32x2), nan32<<32|0x3f800000, one32x2)
		p.call(op.String(), u(one32x2, odd32x2), one32x2, nan32x2)
	}
	for _, op := range two {
		p.call(op.String(), u(odd64, one), nan64, one)
		p.call(op.String(), u(one, odd64), one, nan64)
	}
	p.call("f32x4.demote_f64x2_zero", u(odd64, one), 0x3f800000<<32|nan32, 0)
	p.call("f64x2.promote_low_f32x4", u(0x3f800000<<32|odd32, 0), nan64, one)
	p.call("f32x4.pmin", u(odd32x2, odd32x2), odd32x2, odd32x2)
	p.call("f64x2.pmax", u(odd64, one), odd64, one)
	p.call("f64x2.neg", u(odd64, one), odd64&^(1<<63), one|1<<63)
	p.call("f32x4.abs", u(odd32x2, one32x2), odd32x2&^(1<<63|1<<31), one32x2)
}

// A NaN that only arithmetic and comparisons see need not be canonical.
func TestNaNSkipped(t *testing.T) {
	a, b := []any{wasm.OpLocalGet, 0}, []any{wasm.OpLocalGet, 1}
	mul := append(append([]any{}, append(a, b...)...), wasm.OpF64Mul)
	cat := func(lists ...[]any) (all []any) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	for i, c := range []struct {
		results, locals string
		parts           []any
		want            int
	}{
		{"d", "", mul, 1},
		{"d", "", cat(mul, mul, []any{wasm.OpF64Add}), 1},
		{"d", "", cat(mul, a, []any{wasm.OpF64Sub, wasm.OpF64Sqrt}), 1},
		{"i", "", cat(mul, a, []any{wasm.OpF64Lt}), 0},
		{"i", "", cat(mul, []any{wasm.OpI32TruncSatF64S}), 0},
		{"i", "", cat(mul, []any{wasm.OpDrop, wasm.OpI32Const, 1}), 0},
		{"l", "", cat(mul, []any{wasm.OpI64ReinterpretF64}), 1},
		{"d", "", cat(mul, []any{wasm.OpF64Neg}, b, []any{wasm.OpF64Add}), 1},
		{"d", "", cat(mul, []any{wasm.OpF64Neg}), 1},
		{"d", "", cat(b, mul, []any{wasm.OpF64Copysign}), 1},
		{"i", "", cat(mul, b, []any{wasm.OpF64Copysign}, b, []any{wasm.OpF64Eq}), 0},
		{"f", "", cat(mul, []any{wasm.OpF32DemoteF64}), 1},
		// Locals are as canonical as those who read them need.
		{"d", "d", cat(mul, []any{wasm.OpLocalTee, 2}, b, []any{wasm.OpF64Add}), 1},
		{"d", "d", cat(mul, []any{wasm.OpLocalTee, 2}, b, []any{wasm.OpF64Add, wasm.OpDrop, wasm.OpLocalGet, 2}), 1},
		{"i", "dd", cat(mul, []any{wasm.OpLocalSet, 2, wasm.OpLocalGet, 2, wasm.OpLocalSet, 3, wasm.OpLocalGet, 3}, a,
			[]any{wasm.OpF64Ge}), 0},
		{"l", "dd", cat(mul, []any{wasm.OpLocalSet, 2, wasm.OpLocalGet, 2, wasm.OpLocalSet, 3, wasm.OpLocalGet, 3,
			wasm.OpI64ReinterpretF64}), 1},
		{"i", "d", cat([]any{wasm.OpLoop, void, wasm.OpLocalGet, 2}, mul, []any{wasm.OpF64Add, wasm.OpLocalTee, 2}, b,
			[]any{wasm.OpF64Lt, wasm.OpBrIf, 0, wasm.OpEnd, wasm.OpLocalGet, 2}, b, []any{wasm.OpF64Lt}), 0},
		// So is what is selected.
		{"i", "", cat(mul, mul, a, b, []any{wasm.OpF64Lt, wasm.OpSelect}, a, []any{wasm.OpF64Lt}), 0},
		{"d", "", cat(mul, mul, a, b, []any{wasm.OpF64Lt, wasm.OpSelect}), 2},
		{"d", "", cat(mul, a, a, b, []any{wasm.OpF64Lt, wasm.OpSelect}), 1},
		// Both halves of a double are looked at as floats of their own.
		{"v", "", []any{wasm.OpLocalGet, 0, wasm.OpF64x2Splat, wasm.OpF64x2Sqrt, wasm.OpF32x4Sqrt}, 2},
		{"v", "v", []any{wasm.OpLocalGet, 0, wasm.OpF64x2Splat, wasm.OpF64x2Sqrt, wasm.OpLocalTee, 2, wasm.OpF32x4Sqrt,
			wasm.OpLocalTee, 2, wasm.OpF32x4Abs, wasm.OpF32x4Sqrt}, 2},
		{"v", "v", []any{wasm.OpLocalGet, 0, wasm.OpF64x2Splat, wasm.OpF64x2Sqrt, wasm.OpLocalSet, 2, wasm.OpLocalGet, 2,
			wasm.OpF32x4Sqrt}, 2},
		// Behind a branch there is no operand left.
		{"d", "", cat([]any{wasm.OpBlock, byte(wasm.F64)}, mul, []any{wasm.OpBr, 0, wasm.OpEnd}, a, []any{wasm.OpF64Add}), 2},
		{"d", "", cat([]any{wasm.OpUnreachable, wasm.OpF64Add}), 1},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			var k maker
			k.fn("f", "dd", c.results, c.locals, c.parts...)
			m, _ := k.rewritten(t, canonicalNaN)
			n := 0
			var in wasm.Instr
			for r := m.Funcs[0].Body.Reader(); r.Next(&in); {
				if in.Op == wasm.OpF64Const && in.Value == nan64 || in.Op == wasm.OpF32Const && in.Value == nan32 ||
					in.Op == wasm.OpV128Const {
					n++
				}
			}
			if n != c.want {
				t.Errorf("%d results are made canonical, want %d", n, c.want)
			}
		})
	}
}

// nested is a function with a loop of three turns around one of five.
func nested(k *maker) {
	turns := func(local, n int, body ...any) []any {
		parts := append([]any{wasm.OpI32Const, n, wasm.OpLocalSet, local, wasm.OpLoop, void}, body...)
		return append(parts, wasm.OpLocalGet, local, wasm.OpI32Const, 1, wasm.OpI32Sub, wasm.OpLocalTee, local,
			wasm.OpBrIf, 0, wasm.OpEnd)
	}
	k.fn("f", "", "", "ii", turns(0, 3, append(turns(1, 5), wasm.OpBlock, void, wasm.OpEnd)...)...)
}

func TestPolls(t *testing.T) {
	var k maker
	nested(&k)
	for m, want := range map[rewrite.PollMode]int{rewrite.PollOuterLoops: 1 + 3, rewrite.PollAllLoops: 1 + 3 + 15} {
		opt := rewrite.Options{Poll: m, Candidates: []uint32{}}
		p := k.run(t, mode{opt: opt})
		if p.call("f", nil); p.polls != 0 {
			t.Errorf("mode %d: %d polls without a stop", m, p.polls)
		}
		p = k.run(t, mode{opt: opt, stop: true})
		if p.call("f", nil); p.polls != want {
			t.Errorf("mode %d: %d polls, want %d", m, p.polls, want)
		}
	}
	if _, man := k.rewritten(t, rewrite.Options{}); man.Stop != "" {
		t.Error("a stop global without polls")
	}
}

// Code that needs no change is not copied, and stays as it was.
func TestUntouched(t *testing.T) {
	var k maker
	nested(&k)
	k.fn("g", "dd", "d", "", wasm.OpLocalGet, 0, wasm.OpCall, 0)
	m, _ := k.rewritten(t, rewrite.Options{Candidates: []uint32{0}, CanonicalNaN: true})
	for i := range k.Funcs {
		if !bytes.Equal(m.Funcs[i].Body.Code, k.Funcs[i].Body.Code) {
			t.Errorf("function %d changed", i)
		}
	}
	bad := k
	bad.Funcs = append(bad.Funcs[:1:1], wasm.Func{Type: 0, Body: wasm.Body{Code: wasm.Expr{0xfe, 0x7f}}})
	var format *wasm.FormatError
	if _, err := rewrite.Rewrite(&bad.Module, rewrite.Options{}); !errors.As(err, &format) {
		t.Errorf("malformed code: %v", err)
	}
}
