package wasm

import "fmt"

// The kinds of value types.
const (
	I32       byte = 0x7f
	I64       byte = 0x7e
	F32       byte = 0x7d
	F64       byte = 0x7c
	V128      byte = 0x7b
	FuncRef   byte = 0x70
	ExternRef byte = 0x6f
	ExnRef    byte = 0x69
	Ref       byte = 0x64 // not null, see ValType.Heap
	RefNull   byte = 0x63
)

// The abstract heap types, see ValType.Heap.
const (
	HeapFunc   int64 = -0x10
	HeapExtern int64 = -0x11
	HeapExn    int64 = -0x17
)

// RefTo is a reference type in the one form this package uses: nullable abstract ones are abbreviated.
func RefTo(heap int64, nullable bool) ValType {
	if !nullable {
		return ValType{Kind: Ref, Heap: heap}
	}
	if heap >= 0 {
		return ValType{Kind: RefNull, Heap: heap}
	}
	return ValType{Kind: byte(heap & 0x7f)}
}

// IsRef reports whether t is a reference type.
func (t ValType) IsRef() bool {
	switch t.Kind {
	case FuncRef, ExternRef, ExnRef, Ref, RefNull:
		return true
	}
	return false
}

// IsNumber reports whether t is i32, i64, f32 or f64.
func (t ValType) IsNumber() bool { return t.Kind >= F64 && t.Kind <= I32 }

// Nullable reports whether t is a reference type that has null.
func (t ValType) Nullable() bool { return t.IsRef() && t.Kind != Ref }

// HeapType is the heap type of a reference type, abbreviated or not.
func (t ValType) HeapType() int64 {
	if t.Kind == Ref || t.Kind == RefNull {
		return t.Heap
	}
	return int64(t.Kind) - 0x80
}

// String is the type in the text format; the zero ValType is the unknown type of unreachable code.
func (t ValType) String() string {
	switch t.Kind {
	case I32:
		return "i32"
	case I64:
		return "i64"
	case F32:
		return "f32"
	case F64:
		return "f64"
	case V128:
		return "v128"
	case FuncRef:
		return "funcref"
	case ExternRef:
		return "externref"
	case ExnRef:
		return "exnref"
	case Ref:
		return "(ref " + heapString(t.Heap) + ")"
	case RefNull:
		return "(ref null " + heapString(t.Heap) + ")"
	}
	return "unknown"
}

func heapString(h int64) string {
	switch h {
	case HeapFunc:
		return "func"
	case HeapExtern:
		return "extern"
	case HeapExn:
		return "exn"
	}
	return fmt.Sprint(h)
}

// BlockType is the type of a block: a function type, one result, or nothing (the zero value).
type BlockType struct {
	Result  ValType // Kind 0: none
	Type    uint32  // if HasType
	HasType bool
}

// CatchKind says what a clause of try_table catches and what it pushes.
type CatchKind byte

// The kinds of catch clauses.
const (
	CatchTag CatchKind = iota
	CatchTagRef
	CatchAll
	CatchAllRef
)

// Catch is a clause of try_table. Labels count from outside the block.
type Catch struct {
	Kind  CatchKind
	Tag   uint32 // CatchTag, CatchTagRef
	Label uint32
}

// MemArg is the immediate of a memory access.
type MemArg struct {
	Align  uint32 // log2
	Offset uint32
}
