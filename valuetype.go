package clonecloud

import (
	"fmt"
	"strings"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// ValueType is the type of a parameter or a result: a number, which travels as a raw 64-bit slot.
type ValueType byte

// The value types. I32 and I64 are integers without a sign of their own.
const (
	I32 = ValueType(engine.I32)
	I64 = ValueType(engine.I64)
	F32 = ValueType(engine.F32)
	F64 = ValueType(engine.F64)
)

// String is the type's name in WebAssembly's text format.
func (t ValueType) String() string {
	if !engine.IsNumber(byte(t)) {
		return fmt.Sprintf("type %#x", byte(t))
	}
	return wasm.ValType{Kind: byte(t)}.String()
}

func valTypes(types []ValueType) []wasm.ValType {
	var list []wasm.ValType
	for _, t := range types {
		list = append(list, wasm.ValType{Kind: byte(t)})
	}
	return list
}

func valueTypes(types []wasm.ValType) []ValueType {
	var list []ValueType
	for _, t := range types {
		list = append(list, ValueType(t.Kind))
	}
	return list
}

// typeText is a function's type in words: "(i32 i32) -> (f64)".
func typeText(params, results []wasm.ValType) string {
	list := func(types []wasm.ValType) string {
		var names []string
		for _, t := range types {
			names = append(names, t.String())
		}
		return "(" + strings.Join(names, " ") + ")"
	}
	return list(params) + " -> " + list(results)
}
