package wasm

import "fmt"

// Opcode names an instruction: its byte, or its prefix byte in bits 16 to 23 and the number behind the prefix below.
type Opcode uint32

// The prefix bytes.
const (
	prefixMisc   = 0xfc
	prefixVector = 0xfd
	prefixAtomic = 0xfe
)

// OpAtomicFence is the one atomic instruction without an address.
const OpAtomicFence Opcode = prefixAtomic<<16 | 3

// opInfo describes an instruction. Operands and results are those that do not depend on the module, one letter
// each: i, l, f, d are the numbers i32 to f64, v is v128.
type opInfo struct {
	name    string
	in, out string
	imm     immKind
}

// immKind says which immediates follow an opcode.
type immKind byte

const (
	immNone immKind = iota
	immBlock
	immTryTable
	immLabel
	immLabels
	immFunc
	immCallIndirect // type, table
	immType
	immLocal
	immGlobal
	immTable
	immTableCopy // destination, source
	immTableInit // segment, table
	immElem
	immData
	immTag
	immSelect
	immHeap
	immMem
	immAtomic  // as immMem, but the alignment is fixed
	immMemLane // immMem, then a lane
	immMemory  // a reserved zero byte
	immMemoryCopy
	immMemoryInit
	immI32
	immI64
	immF32
	immF64
	immV128
	immShuffle
	immLane
)

// info finds the description of op, or nil.
func (op Opcode) info() *opInfo {
	sub := int(op & 0xffff)
	var table []opInfo
	switch op >> 16 {
	case 0:
		table = coreOps[:]
	case prefixMisc:
		table = miscOps[:]
	case prefixVector:
		table = vectorOps[:]
	case prefixAtomic:
		table = atomicOps[:]
	}
	if sub >= len(table) || table[sub].name == "" {
		return nil
	}
	return &table[sub]
}

// Known reports whether op is an instruction of this package.
func (op Opcode) Known() bool { return op.info() != nil }

// String is the instruction's name in the text format; the typed select is "select.t".
func (op Opcode) String() string {
	if i := op.info(); i != nil {
		return i.name
	}
	return fmt.Sprintf("opcode 0x%x", uint32(op))
}

// IsAtomic reports whether op belongs to the threads proposal.
func (op Opcode) IsAtomic() bool { return op>>16 == prefixAtomic }

// Signature returns the operand and result types of an instruction that has the same in every module; ok is
// false for the others (control, variables, references, parametric).
func (op Opcode) Signature() (params, results []ValType, ok bool) {
	i := op.info()
	if i == nil || !i.fixed() {
		return nil, nil, false
	}
	return letters(i.in), letters(i.out), true
}

// fixed reports whether in and out say all.
func (i *opInfo) fixed() bool {
	switch i.imm {
	case immNone:
		return i.in != "" || i.out != "" || i.name == "nop"
	case immMem, immAtomic, immMemLane, immMemory, immMemoryCopy, immMemoryInit, immData, immElem, immTableInit,
		immTableCopy, immI32, immI64, immF32, immF64, immV128, immShuffle, immLane:
		return true
	}
	return i.name == "table.size"
}

func letters(s string) []ValType {
	if s == "" {
		return nil
	}
	t := make([]ValType, len(s))
	for k := range s {
		t[k] = letter(s[k])
	}
	return t
}

func letter(c byte) ValType {
	switch c {
	case 'i':
		return ValType{Kind: I32}
	case 'l':
		return ValType{Kind: I64}
	case 'f':
		return ValType{Kind: F32}
	case 'd':
		return ValType{Kind: F64}
	}
	return ValType{Kind: V128}
}

// Space is an index space that an immediate may point into.
type Space byte

// The index spaces.
const (
	SpaceNone Space = iota
	SpaceType
	SpaceFunc
	SpaceTable
	SpaceGlobal
	SpaceTag
	SpaceLocal
	SpaceLabel
	SpaceElem
	SpaceData
)

// Spaces says what Instr.Index and Instr.Index2 of this instruction point at.
func (op Opcode) Spaces() (first, second Space) {
	i := op.info()
	if i == nil {
		return SpaceNone, SpaceNone
	}
	switch i.imm {
	case immLabel:
		return SpaceLabel, SpaceNone
	case immFunc:
		return SpaceFunc, SpaceNone
	case immCallIndirect:
		return SpaceType, SpaceTable
	case immType:
		return SpaceType, SpaceNone
	case immLocal:
		return SpaceLocal, SpaceNone
	case immGlobal:
		return SpaceGlobal, SpaceNone
	case immTable:
		return SpaceTable, SpaceNone
	case immTableCopy:
		return SpaceTable, SpaceTable
	case immTableInit:
		return SpaceElem, SpaceTable
	case immElem:
		return SpaceElem, SpaceNone
	case immData, immMemoryInit:
		return SpaceData, SpaceNone
	case immTag:
		return SpaceTag, SpaceNone
	}
	return SpaceNone, SpaceNone
}

// Natural alignments (log2) in the order of the opcodes, one digit each.
const (
	alignCore   = "23230011001122" + "232301012"
	alignVector = "43333330123" + "4"
	alignLanes  = "01230123" + "23"
	alignAtomic = "2301012"
)

// naturalAlign is the log2 of the number of bytes that a memory instruction touches.
func (op Opcode) naturalAlign() uint32 {
	var s string
	k := int(op & 0xffff)
	switch {
	case op >= OpI32Load && op <= OpI64Store32:
		s, k = alignCore, int(op-OpI32Load)
	case op >= OpV128Load && op <= OpV128Store:
		s = alignVector
	case op >= OpV128Load8Lane && op <= OpV128Load64Zero:
		s, k = alignLanes, int(op-OpV128Load8Lane)
	case op.IsAtomic() && k < 3:
		s = "223"
	case op.IsAtomic():
		s, k = alignAtomic, (k-0x10)%len(alignAtomic)
	default:
		return 0
	}
	return uint32(s[k] - '0')
}
