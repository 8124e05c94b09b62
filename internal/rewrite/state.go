package rewrite

import "github.com/clonecloud/clonecloud/internal/wasm"

// state exports what a host must see and set of a process, beside the memory: mutable globals and dropped segments.
func (b *builder) state() {
	if len(b.in.MemoryTypes()) > 0 {
		b.man.Memory = b.exported(wasm.ExternMemory, 0, exportMemory)
	}
	for i, g := range b.globals {
		index := uint32(i)
		switch {
		case !g.Mutable || g.Type.IsRef(): // a reference that changes makes the module stay local
		case g.Type.Kind == wasm.V128:
			b.vector(index)
		default:
			b.man.Globals = append(b.man.Globals, Global{
				Index: index, Type: g.Type.Kind,
				Export: b.exported(wasm.ExternGlobal, index, numbered(exportGlobal, index)),
			})
		}
	}
	for i, flag := range b.dropped {
		if flag == 0 {
			continue
		}
		s := Segment{Index: uint32(i), Flag: numbered(exportDropped, i), Drop: numbered(exportDrop, i)}
		code := wasm.AppendIndex(nil, wasm.OpDataDrop, s.Index)
		code = wasm.AppendIndex(wasm.AppendI32Const(code, 1), wasm.OpGlobalSet, flag-1)
		b.exportFunc(s.Drop, wasm.FuncType{}, code)
		b.man.Segments = append(b.man.Segments, s)
	}
}

// exported is the name that something already has as an export, else the given one, under which it is exported.
func (b *builder) exported(kind wasm.ExternKind, index uint32, name string) string {
	for i := range b.in.Exports {
		if e := &b.in.Exports[i]; e.Kind == kind && e.Index == index {
			return e.Name
		}
	}
	b.export(name, kind, index)
	return name
}

// vector exports functions that read and write a v128 global.
func (b *builder) vector(g uint32) {
	v := Vector{Index: g, Get: numbered(exportGet, g), Set: numbered(exportSet, g)}
	pair := []wasm.ValType{i64, i64}
	code := wasm.AppendIndex(nil, wasm.OpGlobalGet, g)
	code = wasm.AppendIndex(code, opExtractLane, 0)
	code = wasm.AppendIndex(code, wasm.OpGlobalGet, g)
	code = wasm.AppendIndex(code, opExtractLane, 1)
	b.exportFunc(v.Get, wasm.FuncType{Results: pair}, code)
	code = appendUnflat(nil, 0, []wasm.ValType{{Kind: wasm.V128}})
	b.exportFunc(v.Set, wasm.FuncType{Params: pair}, wasm.AppendIndex(code, wasm.OpGlobalSet, g))
	b.man.Vectors = append(b.man.Vectors, v)
}

func (b *builder) exportFunc(name string, t wasm.FuncType, code []byte) {
	body := wasm.Body{Code: wasm.AppendOp(code, wasm.OpEnd)}
	b.export(name, wasm.ExternFunc, b.addFunc(name, b.out.TypeIndex(t), body))
}
