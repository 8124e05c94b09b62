package wasm

// The instructions of one byte.
const (
	OpUnreachable, OpNop, OpBlock, OpLoop, OpIf, OpElse                          Opcode = 0x00, 0x01, 0x02, 0x03, 0x04, 0x05
	OpThrow                                                                      Opcode = 0x08
	OpThrowRef, OpEnd, OpBr, OpBrIf, OpBrTable, OpReturn, OpCall                 Opcode = 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10
	OpCallIndirect, OpReturnCall, OpReturnCallIndirect, OpCallRef                Opcode = 0x11, 0x12, 0x13, 0x14
	OpReturnCallRef                                                              Opcode = 0x15
	OpDrop, OpSelect, OpSelectT                                                  Opcode = 0x1a, 0x1b, 0x1c
	OpTryTable, OpLocalGet, OpLocalSet, OpLocalTee, OpGlobalGet                  Opcode = 0x1f, 0x20, 0x21, 0x22, 0x23
	OpGlobalSet, OpTableGet, OpTableSet                                          Opcode = 0x24, 0x25, 0x26
	OpI32Load, OpI64Load, OpF32Load, OpF64Load, OpI32Load8S, OpI32Load8U         Opcode = 0x28, 0x29, 0x2a, 0x2b, 0x2c, 0x2d
	OpI32Load16S, OpI32Load16U, OpI64Load8S, OpI64Load8U, OpI64Load16S           Opcode = 0x2e, 0x2f, 0x30, 0x31, 0x32
	OpI64Load16U, OpI64Load32S, OpI64Load32U, OpI32Store, OpI64Store             Opcode = 0x33, 0x34, 0x35, 0x36, 0x37
	OpF32Store, OpF64Store, OpI32Store8, OpI32Store16, OpI64Store8               Opcode = 0x38, 0x39, 0x3a, 0x3b, 0x3c
	OpI64Store16, OpI64Store32, OpMemorySize, OpMemoryGrow, OpI32Const           Opcode = 0x3d, 0x3e, 0x3f, 0x40, 0x41
	OpI64Const, OpF32Const, OpF64Const, OpI32Eqz, OpI32Eq, OpI32Ne               Opcode = 0x42, 0x43, 0x44, 0x45, 0x46, 0x47
	OpI32LtS, OpI32LtU, OpI32GtS, OpI32GtU, OpI32LeS, OpI32LeU                   Opcode = 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d
	OpI32GeS, OpI32GeU, OpI64Eqz, OpI64Eq, OpI64Ne, OpI64LtS                     Opcode = 0x4e, 0x4f, 0x50, 0x51, 0x52, 0x53
	OpI64LtU, OpI64GtS, OpI64GtU, OpI64LeS, OpI64LeU, OpI64GeS                   Opcode = 0x54, 0x55, 0x56, 0x57, 0x58, 0x59
	OpI64GeU, OpF32Eq, OpF32Ne, OpF32Lt, OpF32Gt, OpF32Le, OpF32Ge               Opcode = 0x5a, 0x5b, 0x5c, 0x5d, 0x5e, 0x5f, 0x60
	OpF64Eq, OpF64Ne, OpF64Lt, OpF64Gt, OpF64Le, OpF64Ge, OpI32Clz               Opcode = 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67
	OpI32Ctz, OpI32Popcnt, OpI32Add, OpI32Sub, OpI32Mul, OpI32DivS               Opcode = 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d
	OpI32DivU, OpI32RemS, OpI32RemU, OpI32And, OpI32Or, OpI32Xor                 Opcode = 0x6e, 0x6f, 0x70, 0x71, 0x72, 0x73
	OpI32Shl, OpI32ShrS, OpI32ShrU, OpI32Rotl, OpI32Rotr, OpI64Clz               Opcode = 0x74, 0x75, 0x76, 0x77, 0x78, 0x79
	OpI64Ctz, OpI64Popcnt, OpI64Add, OpI64Sub, OpI64Mul, OpI64DivS               Opcode = 0x7a, 0x7b, 0x7c, 0x7d, 0x7e, 0x7f
	OpI64DivU, OpI64RemS, OpI64RemU, OpI64And, OpI64Or, OpI64Xor                 Opcode = 0x80, 0x81, 0x82, 0x83, 0x84, 0x85
	OpI64Shl, OpI64ShrS, OpI64ShrU, OpI64Rotl, OpI64Rotr, OpF32Abs               Opcode = 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b
	OpF32Neg, OpF32Ceil, OpF32Floor, OpF32Trunc, OpF32Nearest, OpF32Sqrt         Opcode = 0x8c, 0x8d, 0x8e, 0x8f, 0x90, 0x91
	OpF32Add, OpF32Sub, OpF32Mul, OpF32Div, OpF32Min, OpF32Max                   Opcode = 0x92, 0x93, 0x94, 0x95, 0x96, 0x97
	OpF32Copysign, OpF64Abs, OpF64Neg, OpF64Ceil, OpF64Floor, OpF64Trunc         Opcode = 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d
	OpF64Nearest, OpF64Sqrt, OpF64Add, OpF64Sub, OpF64Mul, OpF64Div              Opcode = 0x9e, 0x9f, 0xa0, 0xa1, 0xa2, 0xa3
	OpF64Min, OpF64Max, OpF64Copysign, OpI32WrapI64, OpI32TruncF32S              Opcode = 0xa4, 0xa5, 0xa6, 0xa7, 0xa8
	OpI32TruncF32U, OpI32TruncF64S, OpI32TruncF64U, OpI64ExtendI32S              Opcode = 0xa9, 0xaa, 0xab, 0xac
	OpI64ExtendI32U, OpI64TruncF32S, OpI64TruncF32U, OpI64TruncF64S              Opcode = 0xad, 0xae, 0xaf, 0xb0
	OpI64TruncF64U, OpF32ConvertI32S, OpF32ConvertI32U, OpF32ConvertI64S         Opcode = 0xb1, 0xb2, 0xb3, 0xb4
	OpF32ConvertI64U, OpF32DemoteF64, OpF64ConvertI32S, OpF64ConvertI32U         Opcode = 0xb5, 0xb6, 0xb7, 0xb8
	OpF64ConvertI64S, OpF64ConvertI64U, OpF64PromoteF32, OpI32ReinterpretF32     Opcode = 0xb9, 0xba, 0xbb, 0xbc
	OpI64ReinterpretF64, OpF32ReinterpretI32, OpF64ReinterpretI64, OpI32Extend8S Opcode = 0xbd, 0xbe, 0xbf, 0xc0
	OpI32Extend16S, OpI64Extend8S, OpI64Extend16S, OpI64Extend32S                Opcode = 0xc1, 0xc2, 0xc3, 0xc4
	OpRefNull, OpRefIsNull, OpRefFunc                                            Opcode = 0xd0, 0xd1, 0xd2
	OpRefAsNonNull, OpBrOnNull, OpBrOnNonNull                                    Opcode = 0xd4, 0xd5, 0xd6
)

// The instructions behind prefix 0xfc.
const (
	OpI32TruncSatF32S, OpI32TruncSatF32U, OpI32TruncSatF64S        Opcode = 0xfc0000, 0xfc0001, 0xfc0002
	OpI32TruncSatF64U, OpI64TruncSatF32S, OpI64TruncSatF32U        Opcode = 0xfc0003, 0xfc0004, 0xfc0005
	OpI64TruncSatF64S, OpI64TruncSatF64U, OpMemoryInit, OpDataDrop Opcode = 0xfc0006, 0xfc0007, 0xfc0008, 0xfc0009
	OpMemoryCopy, OpMemoryFill, OpTableInit, OpElemDrop            Opcode = 0xfc000a, 0xfc000b, 0xfc000c, 0xfc000d
	OpTableCopy, OpTableGrow, OpTableSize, OpTableFill             Opcode = 0xfc000e, 0xfc000f, 0xfc0010, 0xfc0011
)

// Vector instructions: memory, constants, splats, bitwise ones, and all that compute with floats.
const (
	OpV128Load, OpV128Load8x8S, OpV128Load8x8U, OpV128Load16x4S                 Opcode = 0xfd0000, 0xfd0001, 0xfd0002, 0xfd0003
	OpV128Load16x4U, OpV128Load32x2S, OpV128Load32x2U                           Opcode = 0xfd0004, 0xfd0005, 0xfd0006
	OpV128Load8Splat, OpV128Load16Splat, OpV128Load32Splat                      Opcode = 0xfd0007, 0xfd0008, 0xfd0009
	OpV128Load64Splat, OpV128Store, OpV128Const, OpI8x16Shuffle                 Opcode = 0xfd000a, 0xfd000b, 0xfd000c, 0xfd000d
	OpI8x16Swizzle, OpI8x16Splat, OpI16x8Splat, OpI32x4Splat                    Opcode = 0xfd000e, 0xfd000f, 0xfd0010, 0xfd0011
	OpI64x2Splat, OpF32x4Splat, OpF64x2Splat                                    Opcode = 0xfd0012, 0xfd0013, 0xfd0014
	OpF32x4Eq, OpF32x4Ne, OpF32x4Lt, OpF32x4Gt, OpF32x4Le                       Opcode = 0xfd0041, 0xfd0042, 0xfd0043, 0xfd0044, 0xfd0045
	OpF32x4Ge, OpF64x2Eq, OpF64x2Ne, OpF64x2Lt, OpF64x2Gt                       Opcode = 0xfd0046, 0xfd0047, 0xfd0048, 0xfd0049, 0xfd004a
	OpF64x2Le, OpF64x2Ge, OpV128Not, OpV128And, OpV128Andnot                    Opcode = 0xfd004b, 0xfd004c, 0xfd004d, 0xfd004e, 0xfd004f
	OpV128Or, OpV128Xor, OpV128Bitselect, OpV128AnyTrue                         Opcode = 0xfd0050, 0xfd0051, 0xfd0052, 0xfd0053
	OpV128Load8Lane, OpV128Load16Lane, OpV128Load32Lane                         Opcode = 0xfd0054, 0xfd0055, 0xfd0056
	OpV128Load64Lane, OpV128Store8Lane, OpV128Store16Lane                       Opcode = 0xfd0057, 0xfd0058, 0xfd0059
	OpV128Store32Lane, OpV128Store64Lane, OpV128Load32Zero                      Opcode = 0xfd005a, 0xfd005b, 0xfd005c
	OpV128Load64Zero, OpF32x4DemoteF64x2Zero, OpF64x2PromoteLowF32x4            Opcode = 0xfd005d, 0xfd005e, 0xfd005f
	OpI8x16Abs, OpI8x16Neg, OpI8x16Popcnt, OpI8x16AllTrue                       Opcode = 0xfd0060, 0xfd0061, 0xfd0062, 0xfd0063
	OpI8x16Bitmask, OpI8x16NarrowI16x8S, OpI8x16NarrowI16x8U                    Opcode = 0xfd0064, 0xfd0065, 0xfd0066
	OpF32x4Ceil, OpF32x4Floor, OpF32x4Trunc, OpF32x4Nearest                     Opcode = 0xfd0067, 0xfd0068, 0xfd0069, 0xfd006a
	OpF64x2Ceil, OpF64x2Floor                                                   Opcode = 0xfd0074, 0xfd0075
	OpF64x2Trunc                                                                Opcode = 0xfd007a
	OpF64x2Nearest                                                              Opcode = 0xfd0094
	OpF32x4Abs, OpF32x4Neg                                                      Opcode = 0xfd00e0, 0xfd00e1
	OpF32x4Sqrt, OpF32x4Add, OpF32x4Sub, OpF32x4Mul                             Opcode = 0xfd00e3, 0xfd00e4, 0xfd00e5, 0xfd00e6
	OpF32x4Div, OpF32x4Min, OpF32x4Max, OpF32x4Pmin                             Opcode = 0xfd00e7, 0xfd00e8, 0xfd00e9, 0xfd00ea
	OpF32x4Pmax, OpF64x2Abs, OpF64x2Neg                                         Opcode = 0xfd00eb, 0xfd00ec, 0xfd00ed
	OpF64x2Sqrt, OpF64x2Add, OpF64x2Sub, OpF64x2Mul                             Opcode = 0xfd00ef, 0xfd00f0, 0xfd00f1, 0xfd00f2
	OpF64x2Div, OpF64x2Min, OpF64x2Max, OpF64x2Pmin                             Opcode = 0xfd00f3, 0xfd00f4, 0xfd00f5, 0xfd00f6
	OpF64x2Pmax, OpI32x4TruncSatF32x4S, OpI32x4TruncSatF32x4U                   Opcode = 0xfd00f7, 0xfd00f8, 0xfd00f9
	OpF32x4ConvertI32x4S, OpF32x4ConvertI32x4U, OpI32x4TruncSatF64x2SZero       Opcode = 0xfd00fa, 0xfd00fb, 0xfd00fc
	OpI32x4TruncSatF64x2UZero, OpF64x2ConvertLowI32x4S, OpF64x2ConvertLowI32x4U Opcode = 0xfd00fd, 0xfd00fe, 0xfd00ff
)

// OpAtomicFence is the one atomic instruction without an address.
const OpAtomicFence Opcode = 0xfe0003
