package enginetest

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// module builds a test module. Functions are written in the text format's instructions, one per line or
// semicolon, without their final end. A mistake panics.
type module struct{ wasm.Module }

var valTypes = map[rune]wasm.ValType{
	'i': {Kind: wasm.I32}, 'l': {Kind: wasm.I64}, 'f': {Kind: wasm.F32}, 'd': {Kind: wasm.F64},
	'v': {Kind: wasm.V128}, 'F': {Kind: wasm.FuncRef}, 'E': {Kind: wasm.ExternRef},
}

func types(letters string) []wasm.ValType {
	var list []wasm.ValType
	for _, r := range letters {
		t, ok := valTypes[r]
		if !ok {
			panic("unknown value type " + string(r))
		}
		list = append(list, t)
	}
	return list
}

// sig is the type with a letter for each parameter and, behind a colon, each result.
func (m *module) sig(s string) uint32 {
	params, results, _ := strings.Cut(s, ":")
	return m.TypeIndex(wasm.FuncType{Params: types(params), Results: types(results)})
}

// importFunc must come before any fn.
func (m *module) importFunc(module, name, sig string) uint32 {
	m.Imports = append(m.Imports, wasm.Import{Module: module, Name: name, Kind: wasm.ExternFunc, Type: m.sig(sig)})
	return uint32(m.NumImportedFuncs() - 1)
}

// fn adds a function, and exports it unless export is empty.
func (m *module) fn(export, sig, locals, code string) uint32 {
	body := wasm.Body{Code: append(assemble(code), byte(wasm.OpEnd))}
	for _, t := range types(locals) {
		body.Locals = append(body.Locals, wasm.LocalRun{Count: 1, Type: t})
	}
	m.Funcs = append(m.Funcs, wasm.Func{Type: m.sig(sig), Body: body})
	index := uint32(m.NumFuncs() - 1)
	if export != "" {
		m.export(export, wasm.ExternFunc, index)
	}
	return index
}

func (m *module) export(name string, kind wasm.ExternKind, index uint32) {
	m.Exports = append(m.Exports, wasm.Export{Name: name, Kind: kind, Index: index})
}

// memory adds a memory of low pages, without a maximum if high is 0, exported as "memory".
func (m *module) memory(low, high uint64) {
	m.Memories = append(m.Memories, wasm.Limits{Min: low, Max: high, HasMax: high != 0})
	m.export("memory", wasm.ExternMemory, 0)
}

// global adds a global with a constant instruction, exported by name.
func (m *module) global(name, typ string, mutable bool, init string) uint32 {
	m.Globals = append(m.Globals, wasm.Global{
		GlobalType: wasm.GlobalType{Type: types(typ)[0], Mutable: mutable}, Init: constant(init)})
	index := uint32(m.NumImports(wasm.ExternGlobal) + len(m.Globals) - 1)
	m.export(name, wasm.ExternGlobal, index)
	return index
}

// table adds a table of funcrefs with as many elements, the first of them the given functions; exported as "table".
func (m *module) table(size uint64, funcs ...uint32) {
	m.Tables = append(m.Tables, wasm.Table{TableType: wasm.TableType{Elem: types("F")[0], Limits: wasm.Limits{Min: size}}})
	m.export("table", wasm.ExternTable, 0)
	m.elems("i32.const 0", funcs...)
}

func (m *module) elems(offset string, funcs ...uint32) {
	m.Elems = append(m.Elems, wasm.Elem{Offset: constant(offset), Type: types("F")[0], Funcs: funcs})
}

func (m *module) data(offset string, b []byte) {
	m.Data = append(m.Data, wasm.Data{Offset: constant(offset), Init: b})
}

func (m *module) start(f uint32) { m.Start = &f }

func constant(code string) wasm.Expr { return append(assemble(code), byte(wasm.OpEnd)) }

var opcodes = func() map[string]wasm.Opcode {
	names := map[string]wasm.Opcode{}
	for _, prefix := range []wasm.Opcode{0, 0xfc, 0xfd, 0xfe} {
		for sub := range wasm.Opcode(0x200) {
			if op := prefix<<16 | sub; (prefix != 0 || sub < 0x100) && op.Info() != nil {
				names[op.String()] = op
			}
		}
	}
	return names
}()

func assemble(code string) wasm.Expr {
	var out []byte
	for _, line := range strings.FieldsFunc(code, func(r rune) bool { return r == ';' || r == '\n' }) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		op, ok := opcodes[words[0]]
		if !ok {
			panic("unknown instruction " + words[0])
		}
		in := wasm.Instr{Op: op}
		args := &operands{words[1:]}
		args.read(&in)
		if len(args.words) > 0 {
			panic(fmt.Sprintf("left over in %q: %q", line, args.words))
		}
		out = wasm.AppendInstr(out, &in)
	}
	return out
}

type operands struct{ words []string }

func (a *operands) next() string {
	if len(a.words) == 0 {
		return ""
	}
	w := a.words[0]
	a.words = a.words[1:]
	return w
}

func (a *operands) index() uint32 {
	n, err := strconv.ParseUint(a.next(), 0, 32)
	if err != nil {
		panic(err)
	}
	return uint32(n)
}

func (a *operands) int() uint64 {
	w := a.next()
	if n, err := strconv.ParseInt(w, 0, 64); err == nil {
		return uint64(n)
	}
	n, err := strconv.ParseUint(w, 0, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func (a *operands) float(bits int) float64 {
	f, err := strconv.ParseFloat(a.next(), bits)
	if err != nil {
		panic(err)
	}
	return f
}

// read takes the immediates of in; optional are the type of a block and the offset of an access.
func (a *operands) read(in *wasm.Instr) {
	switch in.Op.Info().Imm {
	case wasm.ImmLocal, wasm.ImmGlobal, wasm.ImmLabel, wasm.ImmFunc, wasm.ImmType, wasm.ImmTable, wasm.ImmElem,
		wasm.ImmData, wasm.ImmTag, wasm.ImmMemoryInit:
		in.Index = a.index()
	case wasm.ImmCallIndirect, wasm.ImmTableInit, wasm.ImmTableCopy:
		in.Index, in.Index2 = a.index(), a.index()
	case wasm.ImmI32, wasm.ImmI64:
		in.Value = a.int()
	case wasm.ImmF32:
		in.Value = uint64(math.Float32bits(float32(a.float(32))))
	case wasm.ImmF64:
		in.Value = math.Float64bits(a.float(64))
	case wasm.ImmMem, wasm.ImmAtomic:
		in.Mem.Align = in.Op.NaturalAlign()
		if len(a.words) > 0 {
			in.Mem.Offset = a.index()
		}
	case wasm.ImmLane:
		in.Lane = byte(a.index())
	case wasm.ImmBlock:
		if len(a.words) > 0 {
			in.Block.Result = types(a.next())[0]
		}
	case wasm.ImmTryTable:
		for len(a.words) > 0 {
			c := wasm.Catch{Kind: wasm.CatchAll}
			if w := a.next(); w == "catch" {
				c.Kind, c.Tag = wasm.CatchTag, a.index()
			} else if w != "catch_all" {
				panic("unknown clause " + w)
			}
			c.Label = a.index()
			in.Catches = append(in.Catches, c)
		}
	case wasm.ImmHeap:
		in.Ref = wasm.RefTo(int64(a.index()), true)
	case wasm.ImmV128:
		if _, err := hex.Decode(in.V128[:], []byte(a.next())); err != nil {
			panic(err)
		}
	case wasm.ImmNone, wasm.ImmMemory, wasm.ImmMemoryCopy:
	default:
		panic("no assembler for " + in.Op.String())
	}
}

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
