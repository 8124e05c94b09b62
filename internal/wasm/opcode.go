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

// Info describes an instruction. In and Out are the operands and results that do not depend on the module, one
// letter each: i, l, f, d are i32 to f64, v is v128. Control instructions, and those on variables, tables and references, may have more.
type Info struct {
	Name    string // in the text format; the typed select is "select.t"
	In, Out string
	Imm     Imm
}

// Imm says which immediates follow an opcode.
type Imm byte

// The kinds of immediates.
const (
	ImmNone Imm = iota + 1
	ImmLabel
	ImmFunc
	ImmType
	ImmLocal
	ImmGlobal
	ImmTable
	ImmElem
	ImmData
	ImmTag
	ImmBlock
	ImmTryTable
	ImmLabels
	ImmCallIndirect // type, table
	ImmTableCopy    // destination, source
	ImmTableInit    // segment, table
	ImmSelect
	ImmHeap
	ImmMem
	ImmAtomic  // as ImmMem, but the alignment is fixed
	ImmMemLane // ImmMem, then a lane
	ImmMemory  // a reserved zero byte
	ImmMemoryCopy
	ImmMemoryInit
	ImmI32
	ImmI64
	ImmF32
	ImmF64
	ImmV128
	ImmShuffle
	ImmLane

	immUnknown  Imm = 0      // no such instruction
	immOneIndex     = ImmTag // those up to here are an index
)

// Info is the description of op, nil if there is no such instruction. It must not be changed.
func (op Opcode) Info() *Info {
	sub := int(op & 0xffff)
	var table []Info
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
	if sub >= len(table) || table[sub].Imm == immUnknown {
		return nil
	}
	return &table[sub]
}

// coreImms are the kinds of immediates of coreOps close together, as reading asks for nothing else.
var coreImms = func() (imms [256]Imm) {
	for i := range coreOps {
		imms[i] = coreOps[i].Imm
	}
	return imms
}()

// String is the instruction's name.
func (op Opcode) String() string {
	if i := op.Info(); i != nil {
		return i.Name
	}
	return fmt.Sprintf("opcode 0x%x", uint32(op))
}

// IsAtomic reports whether op belongs to the threads proposal.
func (op Opcode) IsAtomic() bool { return op>>16 == prefixAtomic }

// Space is an index space that an immediate may point into.
type Space byte

// The index spaces.
const (
	SpaceNone Space = iota
	SpaceType
	SpaceFunc
	SpaceTable
	SpaceMemory
	SpaceGlobal
	SpaceTag
	SpaceLocal
	SpaceLabel
	SpaceElem
	SpaceData
)

var immSpaces = [...][2]Space{
	ImmLabel:        {SpaceLabel},
	ImmFunc:         {SpaceFunc},
	ImmType:         {SpaceType},
	ImmLocal:        {SpaceLocal},
	ImmGlobal:       {SpaceGlobal},
	ImmTable:        {SpaceTable},
	ImmElem:         {SpaceElem},
	ImmData:         {SpaceData},
	ImmTag:          {SpaceTag},
	ImmCallIndirect: {SpaceType, SpaceTable},
	ImmTableCopy:    {SpaceTable, SpaceTable},
	ImmTableInit:    {SpaceElem, SpaceTable},
	ImmMemoryInit:   {SpaceData},
	ImmLane:         {}, // the last
}

// Spaces says what Instr.Index and Instr.Index2 of this instruction point at. Besides them Block, Ref and Types may
// name types, Catches tags and labels, and Labels labels.
func (op Opcode) Spaces() (first, second Space) {
	if i := op.Info(); i != nil {
		return immSpaces[i.Imm][0], immSpaces[i.Imm][1]
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

// NaturalAlign is the log2 of the number of bytes that a memory access touches.
func (op Opcode) NaturalAlign() uint32 {
	var s string
	k := int(op & 0xffff)
	switch {
	case op >= OpI32Load && op <= OpI64Store32:
		s, k = alignCore, int(op-OpI32Load)
	case op >= OpV128Load && op <= OpV128Store:
		s = alignVector
	case op >= OpV128Load8Lane && op <= OpV128Load64Zero:
		s, k = alignLanes, int(op-OpV128Load8Lane)
	case op.IsAtomic() && k < 0x10:
		s, k = "2230", min(k, 3)
	case op.IsAtomic():
		s, k = alignAtomic, (k-0x10)%len(alignAtomic)
	default:
		return 0
	}
	return uint32(s[k] - '0')
}
