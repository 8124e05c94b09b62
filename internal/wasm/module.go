// Package wasm decodes, models and encodes the WebAssembly binary format: version 1 and 2, tail calls, extended
// constant expressions, exception handling, typed function references and threads.
//
// A decoded module keeps slices of its input: code bodies, data and custom sections are copied by nobody until
// somebody replaces them, so the input must not change while the module lives. [Decode] checks the sections;
// [Module.CheckBodies] the instructions one by one. A [Reader] steps through instructions; package validate adds types and the operand stack.
package wasm

// ValType is a value type in its binary form: one byte for numbers, vectors and the
// abbreviated references; a typed reference keeps its heap type beside it.
type ValType struct {
	Kind byte  // I32 … FuncRef, ExternRef, ExnRef, or RefNull / Ref for typed references
	Heap int64 // heap type of Ref and RefNull: a type index, or a negative abstract heap type
}

// FuncType is a function type.
type FuncType struct {
	Params, Results []ValType
}

// RecGroup says that some consecutive types were declared together: they may name each other, and are equal to
// types of other groups only as a whole. A type in no group stands alone.
type RecGroup struct {
	First, Size uint32
}

// Limits bound a table or a memory, in elements or pages.
type Limits struct {
	Min, Max uint64
	HasMax   bool
	Shared   bool
	Is64     bool // a 64-bit memory or table: Decode refuses it
}

// ExternKind says what an import or export is.
type ExternKind byte

// The kinds of imports and exports, in binary order.
const (
	ExternFunc ExternKind = iota
	ExternTable
	ExternMemory
	ExternGlobal
	ExternTag
)

// Import is one entry of the import section; the field that Kind names is set.
type Import struct {
	Module, Name string
	Kind         ExternKind
	Type         uint32 // ExternFunc, ExternTag: type index
	Table        TableType
	Memory       Limits
	Global       GlobalType
}

// TableType is the type of a table.
type TableType struct {
	Elem ValType
	Limits
}

// GlobalType is the type of a global.
type GlobalType struct {
	Type    ValType
	Mutable bool
}

// Table is a table that the module defines. Init is nil or a constant expression (typed function references).
type Table struct {
	TableType
	Init Expr
}

// Global is a global that the module defines.
type Global struct {
	GlobalType
	Init Expr
}

// Export is one entry of the export section.
type Export struct {
	Name  string
	Kind  ExternKind
	Index uint32
}

// Expr is a constant expression or a code body's instructions as they stand in the binary, the final end included.
type Expr []byte

// Func is a function that the module defines. Body aliases the decoded input until somebody replaces it.
type Func struct {
	Type uint32
	Body Body
}

// Body is one entry of the code section.
type Body struct {
	Locals []LocalRun // declared locals, run-length, without the parameters
	Code   Expr       // the instructions, the final end included
	Offset uint32     // of Code in the input; 0 for a body that was made here
}

// LocalRun is a run of declared locals of one type.
type LocalRun struct {
	Count uint32
	Type  ValType
}

// SegmentMode says when and where a segment is applied.
type SegmentMode byte

// The modes of element and data segments.
const (
	Active SegmentMode = iota
	Passive
	Declarative // elements only
)

// Elem is an element segment: function indices (Exprs nil) or constant expressions.
type Elem struct {
	Mode   SegmentMode
	Table  uint32
	Offset Expr
	Type   ValType
	Funcs  []uint32
	Exprs  []Expr
}

// Data is a data segment.
type Data struct {
	Mode   SegmentMode
	Memory uint32
	Offset Expr
	Init   []byte // aliases the input
}

// Custom is a custom section. After is the id of the last known section before it (0: none), to keep its place.
type Custom struct {
	Name  string
	Data  []byte // aliases the input
	After byte
}

// Module is a decoded module. Index spaces put imports first, as the format does.
type Module struct {
	Types     []FuncType
	RecGroups []RecGroup // sorted
	Imports   []Import
	Funcs     []Func
	Tables    []Table
	Memories  []Limits
	Tags      []uint32 // type indices
	Globals   []Global
	Exports   []Export
	Start     *uint32
	Elems     []Elem
	Data      []Data
	// HasDataCount: the data count section was present (needed before code that names segments).
	HasDataCount bool
	Customs      []Custom
}
