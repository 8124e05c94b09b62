package wasm

import "encoding/binary"

// AppendUint32 appends v as unsigned LEB128.
func AppendUint32(dst []byte, v uint32) []byte { return binary.AppendUvarint(dst, uint64(v)) }

// AppendInt64 appends v as signed LEB128; it serves i32 as well, and heap types.
func AppendInt64(dst []byte, v int64) []byte {
	for {
		b := byte(v) & 0x7f
		v >>= 7
		if v == 0 && b&0x40 == 0 || v == -1 && b&0x40 != 0 {
			return append(dst, b)
		}
		dst = append(dst, b|0x80)
	}
}

// AppendName appends a length and the bytes of s.
func AppendName(dst []byte, s string) []byte {
	return append(AppendUint32(dst, uint32(len(s))), s...)
}

// AppendOp appends an opcode without its immediates.
func AppendOp(dst []byte, ops ...Opcode) []byte {
	for _, op := range ops {
		if op>>16 == 0 {
			dst = append(dst, byte(op))
		} else {
			dst = AppendUint32(append(dst, byte(op>>16)), uint32(op&0xffff))
		}
	}
	return dst
}

// AppendIndex appends an instruction whose immediates are indices: local.get, global.set, call, br, …; those with
// two take them in binary order.
func AppendIndex(dst []byte, op Opcode, indices ...uint32) []byte {
	dst = AppendOp(dst, op)
	for _, i := range indices {
		dst = AppendUint32(dst, i)
	}
	return dst
}

// AppendI32Const appends i32.const v.
func AppendI32Const(dst []byte, v int32) []byte {
	return AppendInt64(append(dst, byte(OpI32Const)), int64(v))
}

// AppendI64Const appends i64.const v.
func AppendI64Const(dst []byte, v int64) []byte {
	return AppendInt64(append(dst, byte(OpI64Const)), v)
}

// AppendBlock appends block, loop or if with its type.
func AppendBlock(dst []byte, op Opcode, t BlockType) []byte {
	return t.appendTo(AppendOp(dst, op))
}

// AppendMem appends a memory access.
func AppendMem(dst []byte, op Opcode, a MemArg) []byte {
	return AppendUint32(AppendUint32(AppendOp(dst, op), a.Align), a.Offset)
}

// AppendInstr appends an instruction with the immediates that its opcode has. Integers take their shortest form.
func AppendInstr(dst []byte, in *Instr) []byte {
	dst = AppendOp(dst, in.Op)
	info := in.Op.Info()
	if info == nil {
		return dst
	}
	switch info.Imm {
	case ImmLocal, ImmGlobal, ImmLabel, ImmFunc, ImmType, ImmTable, ImmElem, ImmData, ImmTag:
		dst = AppendUint32(dst, in.Index)
	case ImmCallIndirect, ImmTableInit, ImmTableCopy:
		dst = AppendUint32(AppendUint32(dst, in.Index), in.Index2)
	case ImmI32:
		dst = AppendInt64(dst, int64(int32(in.Value)))
	case ImmI64:
		dst = AppendInt64(dst, int64(in.Value))
	case ImmF32:
		dst = binary.LittleEndian.AppendUint32(dst, uint32(in.Value))
	case ImmF64:
		dst = binary.LittleEndian.AppendUint64(dst, in.Value)
	case ImmMem, ImmAtomic:
		dst = AppendUint32(AppendUint32(dst, in.Mem.Align), in.Mem.Offset)
	case ImmMemLane:
		dst = append(AppendUint32(AppendUint32(dst, in.Mem.Align), in.Mem.Offset), in.Lane)
	case ImmLane:
		dst = append(dst, in.Lane)
	case ImmBlock:
		dst = in.Block.appendTo(dst)
	case ImmTryTable:
		dst = AppendUint32(in.Block.appendTo(dst), uint32(len(in.Catches)))
		for _, c := range in.Catches {
			dst = append(dst, byte(c.Kind))
			if c.Kind == CatchTag || c.Kind == CatchTagRef {
				dst = AppendUint32(dst, c.Tag)
			}
			dst = AppendUint32(dst, c.Label)
		}
	case ImmLabels:
		dst = AppendUint32(dst, uint32(max(len(in.Labels)-1, 0)))
		for _, l := range in.Labels {
			dst = AppendUint32(dst, l)
		}
	case ImmSelect:
		dst = appendTypes(dst, in.Types)
	case ImmHeap:
		dst = AppendInt64(dst, in.Ref.HeapType())
	case ImmMemory:
		dst = append(dst, 0)
	case ImmMemoryCopy:
		dst = append(dst, 0, 0)
	case ImmMemoryInit:
		dst = append(AppendUint32(dst, in.Index), 0)
	case ImmV128, ImmShuffle:
		dst = append(dst, in.V128[:]...)
	}
	return dst
}

func (t BlockType) appendTo(dst []byte) []byte {
	switch {
	case t.HasType:
		return AppendInt64(dst, int64(t.Type))
	case t.Result.Kind == 0:
		return append(dst, 0x40)
	}
	return AppendValType(dst, t.Result)
}

// AppendValType appends a value type.
func AppendValType(dst []byte, t ValType) []byte {
	dst = append(dst, t.Kind)
	if t.Kind == Ref || t.Kind == RefNull {
		dst = AppendInt64(dst, t.Heap)
	}
	return dst
}

func appendTypes(dst []byte, ts []ValType) []byte {
	dst = AppendUint32(dst, uint32(len(ts)))
	for _, t := range ts {
		dst = AppendValType(dst, t)
	}
	return dst
}
