package wasm

import (
	"encoding/binary"
	"fmt"
)

// Instr is one decoded instruction. Only the immediates that Op has are meaningful: the others keep what the
// previous instruction left. Labels, Types and Catches are valid until the next instruction is read into the same Instr.
type Instr struct {
	Op       Opcode
	Pos, End int // in the expression

	Index  uint32 // the first index, see Opcode.Spaces; of br_on_…, br and br_if the label
	Index2 uint32 // the second index
	Lane   byte
	Mem    MemArg
	Value  uint64 // constants: i32 and i64 sign-extended, f32 and f64 as bits
	Block  BlockType
	Ref    ValType // ref.null: the nullable type of its heap type

	Labels  []uint32 // br_table; the default is the last
	Types   []ValType
	Catches []Catch
	V128    [16]byte // v128.const, and the lanes of i8x16.shuffle
}

// Reader steps through the instructions of an expression. It checks each instruction by itself; that blocks are
// nested and types fit is the business of CheckBodies and Tracker.
type Reader struct {
	c cursor
}

// NewReader returns a reader over code.
func NewReader(code Expr) *Reader {
	return &Reader{cursor{b: code, section: "code"}}
}

// Reader returns a reader over the body's instructions whose errors carry offsets of the module.
func (b *Body) Reader() *Reader {
	return &Reader{cursor{b: b.Code, section: "code", base: int(b.Offset)}}
}

// Err is the *FormatError that ended the reading, or nil.
func (r *Reader) Err() error {
	if r.c.err == nil {
		return nil
	}
	return r.c.err
}

// Next reads one instruction. It returns false at the end and at an error.
func (r *Reader) Next(in *Instr) bool {
	c := &r.c
	if c.pos >= len(c.b) {
		return false
	}
	pos := c.pos
	in.Pos = pos
	b := c.b[pos]
	in.Op = Opcode(b)
	pos++
	imm := coreImms[b]
	if imm == ImmNone {
		c.pos, in.End = pos, pos
		return true
	}
	c.pos = pos
	switch {
	case imm-ImmLabel <= immOneIndex-ImmLabel:
		// The indices below 128 are worth a path of their own.
		if pos < len(c.b) && c.b[pos] < 0x80 {
			in.Index = uint32(c.b[pos])
			c.pos, in.End = pos+1, pos+1
			return true
		}
		in.Index = c.long()
	case imm == immUnknown:
		c.prefixed(in, b)
	default:
		c.immediates(in, imm)
	}
	in.End = c.pos
	return c.err == nil
}

// prefixed reads the rest of an instruction that begins with byte b.
func (c *cursor) prefixed(in *Instr, b byte) {
	if b >= prefixMisc {
		in.Op = Opcode(b)<<16 | Opcode(min(c.u32(), 0xffff))
		if info := in.Op.Info(); info != nil {
			c.immediates(in, info.Imm)
			return
		}
	}
	c.failAt(in.Pos, fmt.Sprintf("illegal opcode 0x%x", uint32(in.Op)))
}

// immediates reads the immediates that Next leaves.
func (c *cursor) immediates(in *Instr, kind Imm) {
	switch kind {
	case ImmLocal, ImmGlobal, ImmLabel, ImmFunc, ImmType, ImmTable, ImmElem, ImmData, ImmTag:
		in.Index = c.u32()
	case ImmI32:
		in.Value = uint64(int64(c.s32()))
	case ImmMem, ImmAtomic:
		in.Mem = c.memArg()
	case ImmBlock:
		in.Block = c.blockType()
	case ImmI64:
		in.Value = uint64(c.s64())
	case ImmF32:
		if p := c.take(4); p != nil {
			in.Value = uint64(binary.LittleEndian.Uint32(p))
		}
	case ImmF64:
		if p := c.take(8); p != nil {
			in.Value = binary.LittleEndian.Uint64(p)
		}
	case ImmLabels:
		n := c.count(1) + 1
		in.Labels = in.Labels[:0]
		for k := 0; k < n && c.err == nil; k++ {
			in.Labels = append(in.Labels, c.u32())
		}
	case ImmCallIndirect, ImmTableInit, ImmTableCopy:
		in.Index = c.u32()
		in.Index2 = c.u32()
	case ImmTryTable:
		in.Block = c.blockType()
		c.catches(in)
	case ImmSelect:
		n := c.count(1)
		in.Types = in.Types[:0]
		for k := 0; k < n && c.err == nil; k++ {
			in.Types = append(in.Types, c.valType())
		}
	case ImmHeap:
		in.Ref = RefTo(c.heapType(), true)
	case ImmMemLane:
		in.Mem = c.memArg()
		in.Lane = c.byte()
	case ImmLane:
		in.Lane = c.byte()
	case ImmMemory:
		c.zero()
	case ImmMemoryCopy:
		c.zero()
		c.zero()
	case ImmMemoryInit:
		in.Index = c.u32()
		c.zero()
	case ImmV128, ImmShuffle:
		copy(in.V128[:], c.take(16))
	}
}

// zero reads a byte that is reserved: the index of the only memory.
func (c *cursor) zero() {
	at := c.pos
	if c.byte() != 0 {
		c.failAt(at, "zero byte expected")
	}
}

func (c *cursor) memArg() MemArg {
	at := c.pos
	m := MemArg{Align: c.u32(), Offset: c.u32()}
	if m.Align >= 32 {
		c.failAt(at, "malformed memop flags")
	}
	return m
}

func (c *cursor) blockType() BlockType {
	if c.pos >= len(c.b) {
		c.fail(errEnd)
		return BlockType{}
	}
	b := c.b[c.pos]
	switch {
	case b == 0x40:
		c.pos++
		return BlockType{}
	case b&0xc0 == 0x40:
		return BlockType{Result: c.valType()}
	}
	at := c.pos
	t := c.s33()
	if t < 0 {
		c.failAt(at, "malformed block type")
	}
	return BlockType{Type: uint32(t), HasType: true}
}

func (c *cursor) catches(in *Instr) {
	n := c.count(2)
	in.Catches = in.Catches[:0]
	for k := 0; k < n && c.err == nil; k++ {
		at := c.pos
		ca := Catch{Kind: CatchKind(c.byte())}
		switch ca.Kind {
		case CatchTag, CatchTagRef:
			ca.Tag = c.u32()
		case CatchAll, CatchAllRef:
		default:
			c.failAt(at, "malformed catch clause")
		}
		ca.Label = c.u32()
		in.Catches = append(in.Catches, ca)
	}
}

// expr reads a constant expression up to the end that closes it.
func (c *cursor) expr() Expr {
	start, depth := c.pos, 0
	if c.left() > 2 && c.b[start] == byte(OpI32Const) { // nearly all of them
		c.pos++
		if c.s32(); c.left() > 0 && c.b[c.pos] == byte(OpEnd) {
			c.pos++
			return Expr(c.b[start:c.pos:c.pos])
		}
		c.pos = start
	}
	if c.err != nil {
		return nil
	}
	r := Reader{cursor{b: c.b, pos: c.pos, base: c.base, section: c.section}}
	var in Instr
	for r.Next(&in) {
		switch in.Op {
		case OpBlock, OpLoop, OpIf, OpTryTable:
			depth++
		case OpEnd:
			if depth--; depth < 0 {
				c.pos = r.c.pos
				return Expr(c.b[start:c.pos:c.pos])
			}
		}
	}
	if c.err = r.c.err; c.err == nil {
		c.fail(errEnd)
	}
	c.pos = len(c.b)
	return nil
}
