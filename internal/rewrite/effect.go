package rewrite

import "github.com/clonecloud/clonecloud/internal/wasm"

// shape is how an operand holds floats, as far as the bits of its NaNs go.
type shape byte

const (
	shapeNone shape = iota // none: just bits
	shapeF32
	shapeF64
	shapeF32x4
	shapeF64x2
	numShapes
	shapeAny // the operand is not looked at
)

type effectKind byte

const (
	effectUnknown effectKind = iota // may look at every operand there is
	effectPlain                     // pops and pushes; the result is the same everywhere
	effectMake                      // the result may be a NaN of unspecified bits
	effectPass                      // the result is a NaN with bits of the first operand if that is one
	effectGet
	effectSet
	effectTee
	effectSelect
)

// effect is what an instruction does to the operand stack.
type effect struct {
	kind         effectKind
	pops, pushes byte
	takes        shape // the bits of NaNs in operands of this shape make no difference to a result that is canonical
	makes        shape // of effectMake
}

// effects is indexed by opcode: those of one byte, then those behind 0xfc and 0xfd.
var effects = func() (t [3][256]effect) {
	for page, prefix := range []wasm.Opcode{0, 0xfc0000, 0xfd0000} {
		for n := range wasm.Opcode(256) {
			if i := (prefix | n).Info(); i != nil && plain(i) {
				t[page][n] = effect{kind: effectPlain, pops: byte(len(i.In)), pushes: byte(len(i.Out))}
			}
		}
	}
	set := func(kind effectKind, takes, makes shape, first, last wasm.Opcode) {
		for op := first; op <= last; op++ {
			e := &t[page(op)][op&0xff]
			e.kind, e.takes, e.makes = kind, takes, makes
		}
	}
	set(effectMake, shapeF32, shapeF32, wasm.OpF32Ceil, wasm.OpF32Max)
	set(effectMake, shapeF64, shapeF64, wasm.OpF64Ceil, wasm.OpF64Max)
	set(effectMake, shapeF64, shapeF32, wasm.OpF32DemoteF64, wasm.OpF32DemoteF64)
	set(effectMake, shapeF32, shapeF64, wasm.OpF64PromoteF32, wasm.OpF64PromoteF32)
	set(effectMake, shapeF32x4, shapeF32x4, wasm.OpF32x4Ceil, wasm.OpF32x4Nearest)
	set(effectMake, shapeF32x4, shapeF32x4, wasm.OpF32x4Sqrt, wasm.OpF32x4Max)
	set(effectMake, shapeF64x2, shapeF64x2, wasm.OpF64x2Ceil, wasm.OpF64x2Floor)
	set(effectMake, shapeF64x2, shapeF64x2, wasm.OpF64x2Trunc, wasm.OpF64x2Trunc)
	set(effectMake, shapeF64x2, shapeF64x2, wasm.OpF64x2Nearest, wasm.OpF64x2Nearest)
	set(effectMake, shapeF64x2, shapeF64x2, wasm.OpF64x2Sqrt, wasm.OpF64x2Max)
	set(effectMake, shapeF64x2, shapeF32x4, wasm.OpF32x4DemoteF64x2Zero, wasm.OpF32x4DemoteF64x2Zero)
	set(effectMake, shapeF32x4, shapeF64x2, wasm.OpF64x2PromoteLowF32x4, wasm.OpF64x2PromoteLowF32x4)

	set(effectPlain, shapeF32, 0, wasm.OpF32Eq, wasm.OpF32Ge)
	set(effectPlain, shapeF64, 0, wasm.OpF64Eq, wasm.OpF64Ge)
	set(effectPlain, shapeF32x4, 0, wasm.OpF32x4Eq, wasm.OpF32x4Ge)
	set(effectPlain, shapeF64x2, 0, wasm.OpF64x2Eq, wasm.OpF64x2Ge)
	set(effectPlain, shapeF32, 0, wasm.OpI32TruncF32S, wasm.OpI32TruncF32U)
	set(effectPlain, shapeF64, 0, wasm.OpI32TruncF64S, wasm.OpI32TruncF64U)
	set(effectPlain, shapeF32, 0, wasm.OpI64TruncF32S, wasm.OpI64TruncF32U)
	set(effectPlain, shapeF64, 0, wasm.OpI64TruncF64S, wasm.OpI64TruncF64U)
	set(effectPlain, shapeF32, 0, wasm.OpI32TruncSatF32S, wasm.OpI32TruncSatF32U)
	set(effectPlain, shapeF64, 0, wasm.OpI32TruncSatF64S, wasm.OpI32TruncSatF64U)
	set(effectPlain, shapeF32, 0, wasm.OpI64TruncSatF32S, wasm.OpI64TruncSatF32U)
	set(effectPlain, shapeF64, 0, wasm.OpI64TruncSatF64S, wasm.OpI64TruncSatF64U)
	set(effectPlain, shapeF32x4, 0, wasm.OpI32x4TruncSatF32x4S, wasm.OpI32x4TruncSatF32x4U)
	set(effectPlain, shapeF64x2, 0, wasm.OpI32x4TruncSatF64x2SZero, wasm.OpI32x4TruncSatF64x2UZero)

	set(effectPass, 0, 0, wasm.OpF32Abs, wasm.OpF32Neg)
	set(effectPass, 0, 0, wasm.OpF64Abs, wasm.OpF64Neg)
	set(effectPass, 0, 0, wasm.OpF32Copysign, wasm.OpF32Copysign)
	set(effectPass, 0, 0, wasm.OpF64Copysign, wasm.OpF64Copysign)
	set(effectPass, 0, 0, wasm.OpF32x4Abs, wasm.OpF32x4Neg)
	set(effectPass, 0, 0, wasm.OpF64x2Abs, wasm.OpF64x2Neg)

	t[0][wasm.OpLocalGet] = effect{kind: effectGet}
	t[0][wasm.OpLocalSet] = effect{kind: effectSet}
	t[0][wasm.OpLocalTee] = effect{kind: effectTee}
	t[0][wasm.OpSelect] = effect{kind: effectSelect}
	t[0][wasm.OpGlobalGet] = effect{kind: effectPlain, pushes: 1}
	t[0][wasm.OpGlobalSet] = effect{kind: effectPlain, pops: 1}
	t[0][wasm.OpDrop] = effect{kind: effectPlain, pops: 1, takes: shapeAny}
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
