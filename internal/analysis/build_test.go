package analysis

import (
	"testing"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

var (
	i32     = wasm.ValType{Kind: wasm.I32}
	v128    = wasm.ValType{Kind: wasm.V128}
	funcref = wasm.ValType{Kind: wasm.FuncRef}
	externr = wasm.ValType{Kind: wasm.ExternRef}
)

func types(ts ...wasm.ValType) []wasm.ValType { return ts }

// module makes modules for tests, with every function named.
type module struct {
	wasm.Module
	names []wasm.Naming
}

// typ is the index of a type.
func (m *module) typ(params, results []wasm.ValType) uint32 {
	return m.TypeIndex(wasm.FuncType{Params: params, Results: results})
}

// imp imports a function; imports come before functions.
func (m *module) imp(mod, name string, params, results []wasm.ValType) uint32 {
	m.Imports = append(m.Imports, wasm.Import{Module: mod, Name: name, Type: m.typ(params, results)})
	return uint32(m.NumFuncs() - 1)
}

// fn defines a function of instructions without the final end; results are left to unreachable.
func (m *module) fn(name string, params, results []wasm.ValType, code ...[]byte) uint32 {
	var body []byte
	for _, c := range code {
		body = append(body, c...)
	}
	if len(results) > 0 {
		body = append(body, byte(wasm.OpUnreachable))
	}
	m.Funcs = append(m.Funcs, wasm.Func{Type: m.typ(params, results), Body: wasm.Body{Code: append(body, byte(wasm.OpEnd))}})
	i := uint32(m.NumFuncs() - 1)
	m.names = append(m.names, wasm.Naming{Index: i, Name: name})
	return i
}

func (m *module) export(name string, kind wasm.ExternKind, i uint32) {
	m.Exports = append(m.Exports, wasm.Export{Name: name, Kind: kind, Index: i})
}

// table defines a table that holds functions.
func (m *module) table(funcs ...uint32) uint32 {
	lim := wasm.Limits{Min: uint64(len(funcs)) + 1}
	m.Tables = append(m.Tables, wasm.Table{TableType: wasm.TableType{Elem: funcref, Limits: lim}})
	t := uint32(m.NumImports(wasm.ExternTable) + len(m.Tables) - 1)
	m.Elems = append(m.Elems, wasm.Elem{Table: t, Offset: expr(wasm.AppendI32Const(nil, 0)), Type: funcref, Funcs: funcs})
	return t
}

func (m *module) data() {
	if len(m.names) > 0 {
		b := wasm.AppendUint32(nil, uint32(len(m.names)))
		for _, n := range m.names {
			b = wasm.AppendName(wasm.AppendUint32(b, n.Index), n.Name)
		}
		m.Customs = append(m.Customs, wasm.Custom{
			Name: wasm.NameSection, After: 10, Data: append(wasm.AppendUint32([]byte{1}, uint32(len(b))), b...),
		})
	}
}

// analyze encodes, decodes and analyses.
func (m *module) analyze(t *testing.T, opt Options) *Report {
	t.Helper()
	r, err := m.try(t, opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (m *module) try(t *testing.T, opt Options) (*Report, error) {
	t.Helper()
	m.data()
	defer func() { m.Customs = nil }()
	d, err := wasm.Decode(m.Encode())
	if err != nil {
		t.Fatal(err)
	}
	return Analyze(d, opt)
}

func expr(code []byte) wasm.Expr { return append(code, byte(wasm.OpEnd)) }

func ops(o ...wasm.Opcode) []byte { return wasm.AppendOp(nil, o...) }

func index(op wasm.Opcode, i ...uint32) []byte { return wasm.AppendIndex(nil, op, i...) }

func calls(f uint32) []byte { return index(wasm.OpCall, f) }

func konst(v int32) []byte { return wasm.AppendI32Const(nil, v) }

// block wraps code into a block, loop or if without type.
func block(op wasm.Opcode, code ...[]byte) []byte {
	b := wasm.AppendBlock(nil, op, wasm.BlockType{})
	for _, c := range code {
		b = append(b, c...)
	}
	return append(b, byte(wasm.OpEnd))
}

// loop runs code again and again.
func loop(code ...[]byte) []byte {
	return block(wasm.OpLoop, append(code, konst(1), index(wasm.OpBrIf, 0))...)
}

// try wraps code into a try_table inside a block to which its clauses branch.
func tryTable(catches []wasm.Catch, code ...[]byte) []byte {
	b := wasm.AppendInstr(nil, &wasm.Instr{Op: wasm.OpTryTable, Catches: catches})
	for _, c := range code {
		b = append(b, c...)
	}
	return block(wasm.OpBlock, append(b, byte(wasm.OpEnd)))
}

// byName finds the only function of a name.
func (r *Report) byName(t *testing.T, name string) *Func {
	t.Helper()
	for i := range r.Funcs {
		if r.Funcs[i].Name == name {
			return &r.Funcs[i]
		}
	}
	t.Fatalf("no function %q", name)
	return nil
}

// mayNames lists the functions that may move.
func (r *Report) mayNames() []string {
	names := []string{}
	for i := range r.Funcs {
		if r.Funcs[i].May {
			names = append(names, r.Funcs[i].Label())
		}
	}
	return names
}

// candidateNames lists the candidates, best first.
func (r *Report) candidateNames() []string {
	names := []string{}
	for _, i := range r.Candidates {
		names = append(names, r.Funcs[i].Label())
	}
	return names
}
