package wasm

import "slices"

// NumImports is the number of imports of a kind: the first index of the module's own in that index space.
func (m *Module) NumImports(kind ExternKind) int {
	n := 0
	for i := range m.Imports {
		if m.Imports[i].Kind == kind {
			n++
		}
	}
	return n
}

// NumImportedFuncs is NumImports(ExternFunc).
func (m *Module) NumImportedFuncs() int { return m.NumImports(ExternFunc) }

// NumFuncs is the size of the function index space.
func (m *Module) NumFuncs() int { return m.NumImportedFuncs() + len(m.Funcs) }

// FuncTypeIndices lists the type index of every function, imports first. Code that asks often uses it in place of
// FuncType, which counts the imports each time.
func (m *Module) FuncTypeIndices() []uint32 {
	return space(m, ExternFunc, func(i *Import) uint32 { return i.Type },
		len(m.Funcs), func(i int) uint32 { return m.Funcs[i].Type })
}

// FuncType is the type of a function of the index space; false if there is no such function or type.
func (m *Module) FuncType(index uint32) (FuncType, bool) {
	var t uint32
	if i := m.FuncImport(index); i != nil {
		t = i.Type
	} else if f := m.Func(index); f != nil {
		t = f.Type
	} else {
		return FuncType{}, false
	}
	if int64(t) >= int64(len(m.Types)) {
		return FuncType{}, false
	}
	return m.Types[t], true
}

// imported is the import at index of the space of a kind, or nil and the number of such imports.
func (m *Module) imported(kind ExternKind, index uint32) (*Import, int) {
	n := 0
	for i := range m.Imports {
		if m.Imports[i].Kind == kind {
			if n == int(index) {
				return &m.Imports[i], n
			}
			n++
		}
	}
	return nil, n
}

// FuncImport is the import behind a function index, or nil.
func (m *Module) FuncImport(index uint32) *Import {
	i, _ := m.imported(ExternFunc, index)
	return i
}

// Func is the module's own function behind an index of the function space, or nil.
func (m *Module) Func(index uint32) *Func {
	i, n := m.imported(ExternFunc, index)
	if k := int64(index) - int64(n); i == nil && k < int64(len(m.Funcs)) {
		return &m.Funcs[k]
	}
	return nil
}

// space lists what belongs to an index space, imports first.
func space[T any](m *Module, kind ExternKind, imported func(*Import) T, n int, own func(int) T) []T {
	var all []T
	for i := range m.Imports {
		if m.Imports[i].Kind == kind {
			all = append(all, imported(&m.Imports[i]))
		}
	}
	for i := range n {
		all = append(all, own(i))
	}
	return all
}

// GlobalTypes lists the type of every global, imports first.
func (m *Module) GlobalTypes() []GlobalType {
	return space(m, ExternGlobal, func(i *Import) GlobalType { return i.Global },
		len(m.Globals), func(i int) GlobalType { return m.Globals[i].GlobalType })
}

// TableTypes lists the type of every table, imports first.
func (m *Module) TableTypes() []TableType {
	return space(m, ExternTable, func(i *Import) TableType { return i.Table },
		len(m.Tables), func(i int) TableType { return m.Tables[i].TableType })
}

// MemoryTypes lists the limits of every memory, imports first.
func (m *Module) MemoryTypes() []Limits {
	return space(m, ExternMemory, func(i *Import) Limits { return i.Memory },
		len(m.Memories), func(i int) Limits { return m.Memories[i] })
}

// TagTypes lists the type index of every tag, imports first.
func (m *Module) TagTypes() []uint32 {
	return space(m, ExternTag, func(i *Import) uint32 { return i.Type },
		len(m.Tags), func(i int) uint32 { return m.Tags[i] })
}

// Export finds an export by name, or nil.
func (m *Module) Export(name string) *Export {
	for i := range m.Exports {
		if m.Exports[i].Name == name {
			return &m.Exports[i]
		}
	}
	return nil
}

// TypeIndex is the index of a function type, which is added if the module has none that is equal. Types of groups
// are passed over: they are types of their own.
func (m *Module) TypeIndex(t FuncType) uint32 {
	groups := m.RecGroups
	for i := 0; i < len(m.Types); i++ {
		if len(groups) > 0 && groups[0].First == uint32(i) {
			i += int(groups[0].Size) - 1
			groups = groups[1:]
		} else if slices.Equal(m.Types[i].Params, t.Params) && slices.Equal(m.Types[i].Results, t.Results) {
			return uint32(i)
		}
	}
	m.Types = append(m.Types, t)
	return uint32(len(m.Types) - 1)
}

// BlockSignature is what a block takes and leaves; false if its type index is unknown.
func (m *Module) BlockSignature(t BlockType) (params, results []ValType, ok bool) {
	switch {
	case !t.HasType && t.Result.Kind == 0:
		return nil, nil, true
	case !t.HasType:
		return nil, []ValType{t.Result}, true
	case int64(t.Type) >= int64(len(m.Types)):
		return nil, nil, false
	}
	return m.Types[t.Type].Params, m.Types[t.Type].Results, true
}

// NumLocals is the number of locals that the body declares.
func (b *Body) NumLocals() uint64 {
	var n uint64
	for _, r := range b.Locals {
		n += uint64(r.Count)
	}
	return n
}

// FuncName is the name that the name section gives to a function, or "". It decodes the section each time: use
// Names for more than one.
func (m *Module) FuncName(index uint32) string {
	n, err := m.Names()
	if err != nil {
		return ""
	}
	return n.Func(index)
}
