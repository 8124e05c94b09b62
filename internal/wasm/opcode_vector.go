package wasm

// Vector instructions (prefix 0xfd), v128.load to f64x2.splat.
const (
	OpV128Load Opcode = 0xfd0000 + iota
	OpV128Load8x8S
	OpV128Load8x8U
	OpV128Load16x4S
	OpV128Load16x4U
	OpV128Load32x2S
	OpV128Load32x2U
	OpV128Load8Splat
	OpV128Load16Splat
	OpV128Load32Splat
	OpV128Load64Splat
	OpV128Store
	OpV128Const
	OpI8x16Shuffle
	OpI8x16Swizzle
	OpI8x16Splat
	OpI16x8Splat
	OpI32x4Splat
	OpI64x2Splat
	OpF32x4Splat
	OpF64x2Splat
)

// Vector instructions (prefix 0xfd), f32x4.eq to f32x4.nearest.
const (
	OpF32x4Eq Opcode = 0xfd0041 + iota
	OpF32x4Ne
	OpF32x4Lt
	OpF32x4Gt
	OpF32x4Le
	OpF32x4Ge
	OpF64x2Eq
	OpF64x2Ne
	OpF64x2Lt
	OpF64x2Gt
	OpF64x2Le
	OpF64x2Ge
	OpV128Not
	OpV128And
	OpV128Andnot
	OpV128Or
	OpV128Xor
	OpV128Bitselect
	OpV128AnyTrue
	OpV128Load8Lane
	OpV128Load16Lane
	OpV128Load32Lane
	OpV128Load64Lane
	OpV128Store8Lane
	OpV128Store16Lane
	OpV128Store32Lane
	OpV128Store64Lane
	OpV128Load32Zero
	OpV128Load64Zero
	OpF32x4DemoteF64x2Zero
	OpF64x2PromoteLowF32x4
	OpI8x16Abs
	OpI8x16Neg
	OpI8x16Popcnt
	OpI8x16AllTrue
	OpI8x16Bitmask
	OpI8x16NarrowI16x8S
	OpI8x16NarrowI16x8U
	OpF32x4Ceil
	OpF32x4Floor
	OpF32x4Trunc
	OpF32x4Nearest
)

// Vector instructions (prefix 0xfd), f32x4.sqrt to f64x2.neg.
const (
	OpF32x4Sqrt Opcode = 0xfd00e3 + iota
	OpF32x4Add
	OpF32x4Sub
	OpF32x4Mul
	OpF32x4Div
	OpF32x4Min
	OpF32x4Max
	OpF32x4Pmin
	OpF32x4Pmax
	OpF64x2Abs
	OpF64x2Neg
)

// Vector instructions (prefix 0xfd), f64x2.sqrt to f64x2.convert_low_i32x4_u.
const (
	OpF64x2Sqrt Opcode = 0xfd00ef + iota
	OpF64x2Add
	OpF64x2Sub
	OpF64x2Mul
	OpF64x2Div
	OpF64x2Min
	OpF64x2Max
	OpF64x2Pmin
	OpF64x2Pmax
	OpI32x4TruncSatF32x4S
	OpI32x4TruncSatF32x4U
	OpF32x4ConvertI32x4S
	OpF32x4ConvertI32x4U
	OpI32x4TruncSatF64x2SZero
	OpI32x4TruncSatF64x2UZero
	OpF64x2ConvertLowI32x4S
	OpF64x2ConvertLowI32x4U
)

// Vector instructions (prefix 0xfd), the ones that stand alone.
const (
	OpF64x2Ceil    Opcode = 0xfd0074
	OpF64x2Floor   Opcode = 0xfd0075
	OpF64x2Trunc   Opcode = 0xfd007a
	OpF64x2Nearest Opcode = 0xfd0094
	OpF32x4Abs     Opcode = 0xfd00e0
	OpF32x4Neg     Opcode = 0xfd00e1
)
