package rewrite

import (
	"encoding/binary"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// shape is how an operand holds floats, as far as the bits of its NaNs go.
type shape byte

const (
	shapeNone shape = iota // no floats, or floats whose NaNs are copied as they are
	shapeF32
	shapeF64
	shapeF32x4
	shapeF64x2
	shapeAny // the operand is not looked at
	numShapes
)

// effect is what an instruction does to the operand stack. Instructions without a known one are treated as if they
// looked at every operand there is.
type effect struct {
	known        bool
	pops, pushes byte
	takes        shape // operands whose NaNs may be any without a difference to the result, once that is canonical
	makes        shape // the result may be a NaN of unspecified bits
}

// effects is indexed by opcode: those of one byte, then those behind 0xfc and 0xfd.
var effects = func() (t [3][256]effect) {
	for page, prefix := range []wasm.Opcode{0, 0xfc0000, 0xfd0000} {
		for n := range wasm.Opcode(256) {
			if i := (prefix | n).Info(); i != nil && plain(i) {
				t[page][n] = effect{known: true, pops: byte(len(i.In)), pushes: byte(len(i.Out))}
			}
		}
	}
	set := func(first, last wasm.Opcode, takes, makes shape) {
		for op := first; op <= last; op++ {
			e := &t[page(op)][op&0xff]
			e.takes, e.makes = takes, makes
		}
	}
	set(wasm.OpF32Ceil, wasm.OpF32Max, shapeF32, shapeF32)
	set(wasm.OpF64Ceil, wasm.OpF64Max, shapeF64, shapeF64)
	set(wasm.OpF32DemoteF64, wasm.OpF32DemoteF64, shapeF64, shapeF32)
	set(wasm.OpF64PromoteF32, wasm.OpF64PromoteF32, shapeF32, shapeF64)
	set(wasm.OpF32Eq, wasm.OpF32Ge, shapeF32, shapeNone)
	set(wasm.OpF64Eq, wasm.OpF64Ge, shapeF64, shapeNone)
	set(wasm.OpI32TruncF32S, wasm.OpI32TruncF32U, shapeF32, shapeNone)
	set(wasm.OpI32TruncF64S, wasm.OpI32TruncF64U, shapeF64, shapeNone)
	set(wasm.OpI64TruncF32S, wasm.OpI64TruncF32U, shapeF32, shapeNone)
	set(wasm.OpI64TruncF64S, wasm.OpI64TruncF64U, shapeF64, shapeNone)
	set(wasm.OpI32TruncSatF32S, wasm.OpI32TruncSatF32U, shapeF32, shapeNone)
	set(wasm.OpI32TruncSatF64S, wasm.OpI32TruncSatF64U, shapeF64, shapeNone)
	set(wasm.OpI64TruncSatF32S, wasm.OpI64TruncSatF32U, shapeF32, shapeNone)
	set(wasm.OpI64TruncSatF64S, wasm.OpI64TruncSatF64U, shapeF64, shapeNone)

	set(wasm.OpF32x4Ceil, wasm.OpF32x4Nearest, shapeF32x4, shapeF32x4)
	set(wasm.OpF32x4Sqrt, wasm.OpF32x4Max, shapeF32x4, shapeF32x4)
	set(wasm.OpF64x2Ceil, wasm.OpF64x2Floor, shapeF64x2, shapeF64x2)
	set(wasm.OpF64x2Trunc, wasm.OpF64x2Trunc, shapeF64x2, shapeF64x2)
	set(wasm.OpF64x2Nearest, wasm.OpF64x2Nearest, shapeF64x2, shapeF64x2)
	set(wasm.OpF64x2Sqrt, wasm.OpF64x2Max, shapeF64x2, shapeF64x2)
	set(wasm.OpF32x4DemoteF64x2Zero, wasm.OpF32x4DemoteF64x2Zero, shapeF64x2, shapeF32x4)
	set(wasm.OpF64x2PromoteLowF32x4, wasm.OpF64x2PromoteLowF32x4, shapeF32x4, shapeF64x2)
	set(wasm.OpF32x4Eq, wasm.OpF32x4Ge, shapeF32x4, shapeNone)
	set(wasm.OpF64x2Eq, wasm.OpF64x2Ge, shapeF64x2, shapeNone)
	set(wasm.OpI32x4TruncSatF32x4S, wasm.OpI32x4TruncSatF32x4U, shapeF32x4, shapeNone)
	set(wasm.OpI32x4TruncSatF64x2SZero, wasm.OpI32x4TruncSatF64x2UZero, shapeF64x2, shapeNone)

	t[0][wasm.OpLocalGet] = effect{known: true, pushes: 1}
	t[0][wasm.OpGlobalGet] = effect{known: true, pushes: 1}
	t[0][wasm.OpLocalSet] = effect{known: true, pops: 1}
	t[0][wasm.OpLocalTee] = effect{known: true, pops: 1, pushes: 1}
	t[0][wasm.OpGlobalSet] = effect{known: true, pops: 1}
	t[0][wasm.OpDrop] = effect{known: true, pops: 1, takes: shapeAny}
	return t
}()

// plain reports whether In and Out are all that an instruction pops and pushes, and it is none of control.
func plain(i *wasm.Info) bool {
	switch i.Imm {
	case wasm.ImmNone:
		return i.In+i.Out != ""
	case wasm.ImmMem, wasm.ImmMemLane, wasm.ImmMemory, wasm.ImmLane, wasm.ImmShuffle,
		wasm.ImmI32, wasm.ImmI64, wasm.ImmF32, wasm.ImmF64, wasm.ImmV128:
		return true
	}
	return false
}

// page is the index in effects for an opcode of one byte or behind 0xfc or 0xfd.
func page(op wasm.Opcode) int {
	if op < 0x100 {
		return 0
	}
	return int(op>>16) - 0xfb
}

// nanTracker finds the results that must be made canonical: those of arithmetic that something else than arithmetic
// and comparisons may see. It follows the operand stack in straight-line code and forgets it, after making canonical
// what is on it, at everything else.
type nanTracker struct {
	stack []int32 // the top of the operand stack: the edit that makes the operand canonical, or -1
}

func (t *nanTracker) reset() { t.stack = t.stack[:0] }

// flush makes everything on the stack canonical.
func (t *nanTracker) flush(edits []edit) {
	for _, e := range t.stack {
		if e >= 0 {
			edits[e].live = true
		}
	}
	t.reset()
}

// step follows one instruction and notes an edit behind it if its result may need one.
func (t *nanTracker) step(in *wasm.Instr, edits *[]edit) {
	var e *effect
	if op := in.Op; op < 0xfe0000 && op&0xffff < 0x100 {
		e = &effects[page(op)][op&0xff]
	}
	if e == nil || !e.known {
		t.flush(*edits)
		return
	}
	for range e.pops {
		n := len(t.stack) - 1
		if n < 0 {
			break
		}
		if k := t.stack[n]; k >= 0 && e.takes != shapeAny && e.takes != shape((*edits)[k].arg) {
			(*edits)[k].live = true
		}
		t.stack = t.stack[:n]
	}
	switch {
	case e.makes != shapeNone:
		t.stack = append(t.stack, int32(len(*edits)))
		*edits = append(*edits, edit{pos: uint32(in.End), end: uint32(in.End), arg: uint32(e.makes), kind: editNaN})
	case e.pushes > 0:
		t.stack = append(t.stack, -1)
	}
}

// The canonical NaNs are positive, with only the top bit of the fraction set.
const (
	canonical32 = 0x7fc00000
	canonical64 = 0x7ff8000000000000
)

// appendCanonical appends code that makes the operand on top canonical, without a branch: it stays where it equals
// itself, and becomes the canonical NaN where it does not.
func appendCanonical(dst []byte, s shape, scratch uint32) []byte {
	dst = wasm.AppendIndex(dst, wasm.OpLocalTee, scratch)
	var equal, choose wasm.Opcode
	switch s {
	case shapeF32:
		dst = binary.LittleEndian.AppendUint32(wasm.AppendOp(dst, wasm.OpF32Const), canonical32)
		equal, choose = wasm.OpF32Eq, wasm.OpSelect
	case shapeF64:
		dst = binary.LittleEndian.AppendUint64(wasm.AppendOp(dst, wasm.OpF64Const), canonical64)
		equal, choose = wasm.OpF64Eq, wasm.OpSelect
	case shapeF32x4:
		dst = wasm.AppendOp(dst, wasm.OpV128Const)
		for range 4 {
			dst = binary.LittleEndian.AppendUint32(dst, canonical32)
		}
		equal, choose = wasm.OpF32x4Eq, wasm.OpV128Bitselect
	default:
		dst = wasm.AppendOp(dst, wasm.OpV128Const)
		for range 2 {
			dst = binary.LittleEndian.AppendUint64(dst, canonical64)
		}
		equal, choose = wasm.OpF64x2Eq, wasm.OpV128Bitselect
	}
	dst = wasm.AppendIndex(wasm.AppendIndex(dst, wasm.OpLocalGet, scratch), wasm.OpLocalGet, scratch)
	return wasm.AppendOp(dst, equal, choose)
}
