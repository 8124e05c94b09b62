package rewrite_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"regexp"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"
	"pgregory.net/rapid"

	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// makesNaN says how the results of an operation hold floats whose NaNs the specification leaves open, "" if none.
func makesNaN(op wasm.Opcode) string {
	in := func(first, last wasm.Opcode) bool { return op >= first && op <= last }
	switch {
	case in(wasm.OpF32Ceil, wasm.OpF32Max), op == wasm.OpF32DemoteF64:
		return "f"
	case in(wasm.OpF64Ceil, wasm.OpF64Max), op == wasm.OpF64PromoteF32:
		return "d"
	case in(wasm.OpF32x4Ceil, wasm.OpF32x4Nearest), in(wasm.OpF32x4Sqrt, wasm.OpF32x4Max), op == wasm.OpF32x4DemoteF64x2Zero:
		return "ffff"
	case in(wasm.OpF64x2Ceil, wasm.OpF64x2Floor), op == wasm.OpF64x2Trunc, op == wasm.OpF64x2Nearest,
		in(wasm.OpF64x2Sqrt, wasm.OpF64x2Max), op == wasm.OpF64x2PromoteLowF32x4:
		return "dd"
	}
	return ""
}

// perturb makes every operation of a module give other NaNs than this engine's, as another engine may.
func perturb(t testing.TB, bin []byte) []byte {
	m, err := wasm.Decode(bin)
	if err != nil {
		t.Fatal(err)
	}
	odd := map[string][]byte{}
	odd["f"] = binary.LittleEndian.AppendUint32(nil, odd32)
	odd["d"] = binary.LittleEndian.AppendUint64(nil, odd64)
	odd["ffff"], odd["dd"] = bytes.Repeat(odd["f"], 4), bytes.Repeat(odd["d"], 2)
	ops := map[string][3]wasm.Opcode{
		"f":    {wasm.OpF32Const, wasm.OpF32Eq, wasm.OpSelect},
		"d":    {wasm.OpF64Const, wasm.OpF64Eq, wasm.OpSelect},
		"ffff": {wasm.OpV128Const, wasm.OpF32x4Eq, wasm.OpV128Bitselect},
		"dd":   {wasm.OpV128Const, wasm.OpF64x2Eq, wasm.OpV128Bitselect},
	}
	for i := range m.Funcs {
		body := &m.Funcs[i].Body
		f, _ := m.FuncType(uint32(m.NumImportedFuncs() + i))
		first := len(f.Params) + int(body.NumLocals())
		scratch := map[string]int{"f": first, "d": first + 1, "ffff": first + 2, "dd": first + 2}
		var out wasm.Expr
		var in wasm.Instr
		for r := body.Reader(); r.Next(&in); {
			out = append(out, body.Code[in.Pos:in.End]...)
			if s := makesNaN(in.Op); s != "" {
				o, l := ops[s], scratch[s]
				out = append(out, code(wasm.OpLocalTee, l, o[0], odd[s], wasm.OpLocalGet, l, wasm.OpLocalGet, l, o[1], o[2])...)
			}
		}
		body.Code = out
		body.Locals = slices.Clip(body.Locals)
		for _, v := range types("fdv") {
			body.Locals = append(body.Locals, wasm.LocalRun{Count: 1, Type: v})
		}
	}
	return m.Encode()
}

// On engines with different NaNs, the specification's scripts give the same bits once rewritten.
func TestScriptsPerturbed(t *testing.T) {
	config := wazero.NewRuntimeConfigInterpreter()
	opt := rewrite.Options{CanonicalNaN: true}
	floats := regexp.MustCompile(`f32|f64|float|conversions`)
	for _, s := range scripts(t) {
		if !floats.MatchString(s.String()) {
			continue
		}
		k := machine{mode: mode{opt: opt}, tally: &tally{excluded: map[string]int{}}}
		want := k.run(t, s, config)
		k = machine{mode: mode{opt: opt, perturb: true}, tally: &tally{excluded: map[string]int{}}}
		for i, got := range k.run(t, s, config) {
			if !slices.Equal(got.slots, want[i].slots) || got.err != want[i].err {
				t.Errorf("%v:%d: got %x, want %x", s, s.Commands[i].Line, got, want[i])
			}
		}
	}
}

// generator writes random code over floats.
type generator struct {
	*rapid.T
	parts  []any
	locals string
	depth  int
}

var floatOps = func() (ops []wasm.Opcode) {
	for _, page := range []wasm.Opcode{0, 0xfd0000} {
		for op := range wasm.Opcode(256) {
			i := (page | op).Info()
			if i == nil || i.Imm != wasm.ImmNone && i.Imm != wasm.ImmLane || len(i.In) == 0 || len(i.Out) != 1 {
				continue
			}
			if makesNaN(page|op) != "" || bytes.ContainsAny([]byte(i.In), "fdv") && !bytes.Contains([]byte(i.Name), []byte(".trunc_")) {
				ops = append(ops, page|op)
			}
		}
	}
	return append(ops, wasm.OpF64ReinterpretI64, wasm.OpF32ReinterpretI32)
}()

func (g *generator) emit(parts ...any) { g.parts = append(g.parts, parts...) }

// need pushes an operand of a type: one from a local, or what another operation gives.
func (g *generator) need(t byte) {
	g.depth++
	defer func() { g.depth-- }()
	if g.depth < 4 && rapid.Bool().Draw(g.T, "compute") {
		if g.depth < 3 && rapid.IntRange(0, 7).Draw(g.T, "select") == 0 && t != 'v' {
			g.need(t)
			g.need(t)
			g.need('i')
			g.emit(wasm.OpSelect)
			return
		}
		var fit []wasm.Opcode
		for _, op := range floatOps {
			if op.Info().Out == string(t) {
				fit = append(fit, op)
			}
		}
		op := rapid.SampledFrom(fit).Draw(g.T, "op")
		for _, in := range []byte(op.Info().In) {
			g.need(in)
		}
		g.emit(op)
		if op.Info().Imm == wasm.ImmLane {
			g.emit(byte(0))
		}
		return
	}
	g.emit(wasm.OpLocalGet, g.local(t))
	if rapid.IntRange(0, 5).Draw(g.T, "tee") == 0 {
		g.emit(wasm.OpLocalTee, g.local(t))
	}
}

func (g *generator) local(t byte) int {
	var fit []int
	for i := range g.locals {
		if g.locals[i] == t {
			fit = append(fit, i)
		}
	}
	return rapid.SampledFrom(fit).Draw(g.T, "local")
}

func (g *generator) statement(nested int) {
	switch rapid.IntRange(0, 6).Draw(g.T, "statement") {
	case 0:
		g.emit(wasm.OpI32Const, 0)
		g.need('d')
		g.emit(wasm.OpF64Store, 0, 8*rapid.IntRange(0, 7).Draw(g.T, "address"))
	case 1:
		if nested > 1 {
			return
		}
		op := rapid.SampledFrom([]wasm.Opcode{wasm.OpIf, wasm.OpBlock}).Draw(g.T, "block")
		if op == wasm.OpIf {
			g.need('i')
		}
		g.emit(op, void)
		for range rapid.IntRange(1, 3).Draw(g.T, "statements") {
			g.statement(nested + 1)
		}
		g.emit(wasm.OpEnd)
	default:
		t := rapid.SampledFrom([]byte("dddffvvil")).Draw(g.T, "type")
		g.need(t)
		g.emit(wasm.OpLocalSet, g.local(t))
	}
}

// Random code gives the same bits on engines with different NaNs.
func TestRandomNaN(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		const params, locals = "ddffilvv", "dfv"
		g := &generator{T: r, locals: params + locals}
		// Two turns, so that what locals hold at the end is seen at the beginning.
		g.emit(wasm.OpLoop, void)
		for range rapid.IntRange(1, 8).Draw(r, "statements") {
			g.statement(0)
		}
		turns := len(g.locals)
		g.emit(wasm.OpLocalGet, turns, wasm.OpI32Const, 1, wasm.OpI32Add, wasm.OpLocalTee, turns,
			wasm.OpI32Const, 2, wasm.OpI32LtU, wasm.OpBrIf, 0, wasm.OpEnd)
		results := rapid.SampledFrom([]string{"d", "dfl", "fi", "v", "vv", "v", ""}).Draw(r, "results")
		for i := range results {
			g.need(results[i])
		}
		var k maker
		k.memory()
		k.fn("f", params, results, locals+"i", g.parts...)

		special := []uint64{0, 1 << 63, math.Float64bits(1.5), 0x7ff0 << 48, 0xfff0 << 48, odd64, nan64, 0x7ff0<<48 | 1}
		special32 := []uint64{0, 1 << 31, 0x3fc00000, 0x7f800000, 0xff800000, odd32, nan32, 0x7f800001}
		var args []uint64
		for i := range params {
			from := special
			if params[i] == 'f' || params[i] == 'i' {
				from = special32
			}
			if args = append(args, rapid.SampledFrom(from).Draw(r, "argument")); params[i] == 'v' {
				args = append(args, rapid.SampledFrom(special).Draw(r, "argument"))
			}
		}
		var want string
		for _, other := range []bool{false, true} {
			p := k.run(t, mode{opt: canonicalNaN, perturb: other})
			slots, err := p.mod.ExportedFunction("f").Call(p.ctx, args...)
			if err != nil {
				r.Fatal(err)
			}
			memory, _ := p.mod.Memory().Read(0, 64)
			p.runtime.Close(p.ctx)
			if got := fmt.Sprintf("%x %x", slots, memory); want == "" {
				want = got
			} else if got != want {
				m, _ := k.rewritten(t, canonicalNaN)
				r.Fatalf("%x gives\n%s\n%s\nbefore %x\nafter  %x", args, want, got, k.Funcs[0].Body.Code, m.Funcs[0].Body.Code)
			}
		}
	})
}
