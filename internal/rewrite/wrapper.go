package rewrite

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

func numbered[N int | uint32](prefix string, n N) string {
	return prefix + strconv.FormatUint(uint64(n), 10)
}

const (
	opExtractLane wasm.Opcode = 0xfd001d // i64x2.extract_lane
	opReplaceLane wasm.Opcode = 0xfd001e // i64x2.replace_lane
)

var i64 = wasm.ValType{Kind: wasm.I64}

// flatten is how a host sees a list of types: v128 as two i64. The result is the caller's.
func flatten(types []wasm.ValType) []wasm.ValType {
	flat := make([]wasm.ValType, 0, len(types)+1)
	for _, t := range types {
		if t.Kind == wasm.V128 {
			flat = append(flat, i64, i64)
		} else {
			flat = append(flat, t)
		}
	}
	return flat
}

func hasVector(types []wasm.ValType) bool {
	return slices.ContainsFunc(types, func(t wasm.ValType) bool { return t.Kind == wasm.V128 })
}

func kinds(types []wasm.ValType) []byte {
	k := make([]byte, len(types))
	for i, t := range types {
		k[i] = t.Kind
	}
	return k
}

// candidates checks the options' candidates.
func (b *builder) candidates() error {
	b.ids = slices.Compact(slices.Sorted(slices.Values(b.opt.Candidates)))
	b.id = make([]int32, len(b.sig))
	for i := range b.id {
		b.id[i] = -1
	}
	for id, f := range b.ids {
		why := ""
		switch {
		case !exists(f, b.sig):
			return fmt.Errorf("candidate function %d does not exist", f)
		case f < b.imports:
			why = "it is imported"
		default:
			why = whyType(b.in.Types[b.sig[f]])
		}
		if why != "" {
			return fmt.Errorf("%s cannot be a candidate: %s", b.describe(f), why)
		}
		b.id[f] = int32(id)
	}
	return nil
}

// functions adds what candidates need: wrappers, bodies of their own, adapters for hosts.
func (b *builder) functions(tailCalls bool) {
	if b.opt.Wrap {
		for _, f := range b.ids { // first all bodies, whose indices are planned
			fn := &b.out.Funcs[f-b.imports]
			b.addFunc("body of "+b.label(f), fn.Type, fn.Body)
		}
		for id, f := range b.ids {
			typ := b.sig[f]
			b.out.Funcs[f-b.imports].Body = b.wrapper(id, b.in.Types[typ], typ, tailCalls)
		}
	}
	for id, f := range b.ids {
		t := b.in.Types[b.sig[f]]
		c := Candidate{
			ID: uint32(id), Func: f, Name: b.name(f), Body: numbered(exportBody, id),
			Params: kinds(flatten(t.Params)), Results: kinds(flatten(t.Results)),
		}
		if b.opt.Wrap {
			c.Arm, c.Bit, c.Call = numbered(exportArm, id/armBits), uint8(id%armBits), numbered(ImportCall, id)
		}
		b.man.Candidates = append(b.man.Candidates, c)
		body := b.body(id)
		if hasVector(t.Params) || hasVector(t.Results) {
			body = b.adapter("flat "+b.label(f), t, body)
		}
		b.export(c.Body, wasm.ExternFunc, body)
	}
}

// label names a function for the name section.
func (b *builder) label(f uint32) string {
	if name := b.name(f); name != "" {
		return name
	}
	return numbered("function ", f)
}

// wrapper is the code that stands in the place of a candidate. What an armed candidate does is a function of its own:
// the arguments would otherwise have to survive calls, which costs time on the path that makes none.
func (b *builder) wrapper(id int, t wasm.FuncType, typ uint32, tailCalls bool) wasm.Body {
	call := func(code []byte, f uint32) []byte {
		for i := range t.Params {
			code = wasm.AppendIndex(code, wasm.OpLocalGet, uint32(i))
		}
		if tailCalls {
			return wasm.AppendIndex(code, wasm.OpReturnCall, f)
		}
		return wasm.AppendOp(wasm.AppendIndex(code, wasm.OpCall, f), wasm.OpReturn)
	}
	armed := b.addFunc("armed "+b.label(b.ids[id]), typ, b.armed(id, t, call))
	code := wasm.AppendIndex(nil, wasm.OpGlobalGet, b.arm+uint32(id/armBits))
	code = wasm.AppendOp(wasm.AppendI32Const(code, 1<<(id%armBits)), wasm.OpI32And)
	code = wasm.AppendBlock(code, wasm.OpIf, wasm.BlockType{})
	code = wasm.AppendOp(call(code, armed), wasm.OpEnd)
	return wasm.Body{Code: wasm.AppendOp(call(code, b.body(id)), wasm.OpEnd)}
}

// armed is the code of a candidate that is armed: see the package's comment. call appends a call with the arguments
// that also returns.
func (b *builder) armed(id int, t wasm.FuncType, call func([]byte, uint32) []byte) wasm.Body {
	const local, clone, plain = 2, 1, 0 // labels, from where they are used
	var code []byte
	for range 3 {
		code = wasm.AppendBlock(code, wasm.OpBlock, wasm.BlockType{})
	}
	code = wasm.AppendIndex(wasm.AppendI32Const(code, int32(id)), wasm.OpCall, b.enter)
	code = wasm.AppendInstr(code, &wasm.Instr{Op: wasm.OpBrTable, Labels: []uint32{local, clone, plain}})
	code = wasm.AppendOp(code, wasm.OpEnd)                   // $plain
	code = wasm.AppendOp(call(code, b.body(id)), wasm.OpEnd) // $clone
	code = appendFlat(code, 0, t.Params)
	code = wasm.AppendIndex(code, wasm.OpCall, b.call+uint32(id))
	var locals []wasm.LocalRun
	if hasVector(t.Results) {
		code, locals = appendUnflatResults(code, t)
	} else {
		code = wasm.AppendOp(code, wasm.OpI32Eqz)
		code = wasm.AppendIndex(code, wasm.OpBrIf, 1) // the function's label: return
		for range t.Results {
			code = wasm.AppendOp(code, wasm.OpDrop)
		}
	}
	code = wasm.AppendOp(code, wasm.OpEnd) // $local
	for i := range t.Params {
		code = wasm.AppendIndex(code, wasm.OpLocalGet, uint32(i))
	}
	code = wasm.AppendIndex(code, wasm.OpCall, b.body(id))
	code = wasm.AppendIndex(wasm.AppendI32Const(code, int32(id)), wasm.OpCall, b.leave)
	return wasm.Body{Locals: locals, Code: wasm.AppendOp(code, wasm.OpEnd)}
}

// adapter adds a function that does what function f of type t does and has no v128 in its type.
func (b *builder) adapter(name string, t wasm.FuncType, f uint32) (index uint32) {
	flat := wasm.FuncType{Params: flatten(t.Params), Results: flatten(t.Results)}
	code := appendUnflat(nil, 0, t.Params)
	code = wasm.AppendIndex(code, wasm.OpCall, f)
	body := wasm.Body{}
	if hasVector(t.Results) {
		first := uint32(len(flat.Params))
		for i := len(t.Results) - 1; i >= 0; i-- {
			code = wasm.AppendIndex(code, wasm.OpLocalSet, first+uint32(i))
		}
		code = appendFlat(code, first, t.Results)
		body.Locals = runs(t.Results)
	}
	body.Code = wasm.AppendOp(code, wasm.OpEnd)
	return b.addFunc(name, b.out.TypeIndex(flat), body)
}

// appendFlat pushes locals of some types, from local first on, as a host sees them.
func appendFlat(code []byte, first uint32, types []wasm.ValType) []byte {
	for i, t := range types {
		local := first + uint32(i)
		code = wasm.AppendIndex(code, wasm.OpLocalGet, local)
		if t.Kind == wasm.V128 {
			code = wasm.AppendIndex(code, opExtractLane, 0)
			code = wasm.AppendIndex(code, wasm.OpLocalGet, local)
			code = wasm.AppendIndex(code, opExtractLane, 1)
		}
	}
	return code
}

// appendUnflat pushes values of some types that locals, from local first on, hold as a host sees them.
func appendUnflat(code []byte, first uint32, types []wasm.ValType) []byte {
	for _, t := range types {
		code = wasm.AppendIndex(code, wasm.OpLocalGet, first)
		first++
		if t.Kind == wasm.V128 {
			code = wasm.AppendOp(code, wasm.OpI64x2Splat)
			code = wasm.AppendIndex(code, wasm.OpLocalGet, first)
			code = wasm.AppendIndex(code, opReplaceLane, 1)
			first++
		}
	}
	return code
}

// appendUnflatResults takes a call import's results and status and returns the results if the status is 0.
func appendUnflatResults(code []byte, t wasm.FuncType) ([]byte, []wasm.LocalRun) {
	types := append(flatten(t.Results), wasm.ValType{Kind: wasm.I32})
	first := uint32(len(t.Params))
	status := first + uint32(len(types)) - 1
	for i := range types {
		code = wasm.AppendIndex(code, wasm.OpLocalSet, status-uint32(i))
	}
	code = wasm.AppendIndex(code, wasm.OpLocalGet, status)
	code = wasm.AppendOp(code, wasm.OpI32Eqz)
	code = wasm.AppendBlock(code, wasm.OpIf, wasm.BlockType{})
	code = appendUnflat(code, first, t.Results)
	return wasm.AppendOp(code, wasm.OpReturn, wasm.OpEnd), runs(types)
}

// runs declares a local of each type.
func runs(types []wasm.ValType) []wasm.LocalRun {
	r := make([]wasm.LocalRun, len(types))
	for i, t := range types {
		r[i] = wasm.LocalRun{Count: 1, Type: t}
	}
	return r
}
