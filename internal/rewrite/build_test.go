package rewrite_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// code assembles instructions: opcodes, indices as int, signed constants as int64, floats and bytes as they are.
func code(parts ...any) (c wasm.Expr) {
	for _, p := range parts {
		switch p := p.(type) {
		case wasm.Opcode:
			c = wasm.AppendOp(c, p)
		case int:
			c = wasm.AppendUint32(c, uint32(p))
		case int64:
			c = wasm.AppendInt64(c, p)
		case float32:
			c = binary.LittleEndian.AppendUint32(c, math.Float32bits(p))
		case float64:
			c = binary.LittleEndian.AppendUint64(c, math.Float64bits(p))
		case byte:
			c = append(c, p)
		case []byte:
			c = append(c, p...)
		default:
			panic(fmt.Sprintf("BUG: %T", p))
		}
	}
	return c
}

// void is the type of a block that takes and leaves nothing.
const void byte = 0x40

func types(s string) (t []wasm.ValType) {
	for _, c := range s {
		t = append(t, wasm.ValType{Kind: map[rune]byte{
			'i': wasm.I32, 'l': wasm.I64, 'f': wasm.F32, 'd': wasm.F64, 'v': wasm.V128,
			'r': wasm.FuncRef, 'x': wasm.ExternRef,
		}[c]})
	}
	return t
}

func funcType(params, results string) wasm.FuncType {
	return wasm.FuncType{Params: types(params), Results: types(results)}
}

// maker makes modules by hand.
type maker struct{ wasm.Module }

// fn adds a function; it is exported under its name unless that is "".
func (k *maker) fn(name, params, results, locals string, parts ...any) uint32 {
	f := wasm.Func{Type: k.TypeIndex(funcType(params, results)), Body: wasm.Body{Code: code(append(parts, wasm.OpEnd)...)}}
	for _, t := range types(locals) {
		f.Body.Locals = append(f.Body.Locals, wasm.LocalRun{Count: 1, Type: t})
	}
	k.Funcs = append(k.Funcs, f)
	index := uint32(k.NumFuncs() - 1)
	if name != "" {
		k.Exports = append(k.Exports, wasm.Export{Name: name, Index: index})
	}
	return index
}

func (k *maker) global(kind byte, mutable bool, init ...any) int {
	k.Globals = append(k.Globals, wasm.Global{
		GlobalType: wasm.GlobalType{Type: wasm.ValType{Kind: kind}, Mutable: mutable},
		Init:       code(append(init, wasm.OpEnd)...),
	})
	return len(k.GlobalTypes()) - 1
}

// table adds a table that holds functions.
func (k *maker) table(funcs ...uint32) {
	k.Tables = append(k.Tables, wasm.Table{TableType: wasm.TableType{
		Elem: wasm.ValType{Kind: wasm.FuncRef}, Limits: wasm.Limits{Min: uint64(len(funcs))},
	}})
	k.Elems = append(k.Elems, wasm.Elem{
		Type: wasm.ValType{Kind: wasm.FuncRef}, Offset: code(wasm.OpI32Const, 0, wasm.OpEnd), Funcs: funcs,
	})
}

func (k *maker) memory() { k.Memories = append(k.Memories, wasm.Limits{Min: 1}) }

// process is a rewritten module that runs, and what it asked of its host.
type process struct {
	*machine
	t      *testing.T
	mod    api.Module
	events []string
}

func (k *maker) run(t *testing.T, mode mode) *process {
	t.Helper()
	p := &process{t: t, machine: &machine{mode: mode, ctx: t.Context(), tally: &tally{excluded: map[string]int{}}}}
	p.log = func(format string, args ...any) { p.events = append(p.events, fmt.Sprintf(format, args...)) }
	p.runtime = wazero.NewRuntimeWithConfig(p.ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features))
	t.Cleanup(func() { p.runtime.Close(p.ctx) })
	mod, err := p.instantiate(t, k.Encode(), "")
	if err != nil {
		t.Fatal(err)
	}
	if p.man == nil && !mode.original {
		t.Fatal("the module stays local")
	}
	p.mod = mod
	return p
}

// call calls an export and expects results.
func (p *process) call(name string, args []uint64, want ...uint64) {
	p.t.Helper()
	p.local = 0
	got, err := p.mod.ExportedFunction(name).Call(p.ctx, args...)
	if err != nil || !slices.Equal(got, want) {
		p.t.Errorf("%s(%x) = %x, %v, want %x", name, args, got, err, want)
	}
}

// expect compares what the host was asked since the last time.
func (p *process) expect(want ...string) {
	p.t.Helper()
	if !slices.Equal(p.events, want) {
		p.t.Errorf("events %q, want %q", p.events, want)
	}
	p.events = nil
}

func (p *process) global(name string) api.MutableGlobal {
	return p.mod.ExportedGlobal(name).(api.MutableGlobal)
}

func u(v ...uint64) []uint64 { return v }

// rewritten rewrites and decodes the result.
func (k *maker) rewritten(t *testing.T, opt rewrite.Options) (*wasm.Module, *rewrite.Manifest) {
	t.Helper()
	res, err := rewrite.Rewrite(&k.Module, opt)
	if err != nil {
		t.Fatal(err)
	}
	m, err := wasm.Decode(res.Binary)
	if err != nil {
		t.Fatal(err)
	}
	return m, &res.Manifest
}
