package wazero

import (
	"reflect"
	"strings"
	"unsafe"

	wz "github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/clonecloud/clonecloud/internal/engine"
)

// This file holds all that depends on wazero's insides, beyond its interface. Everything but the linked variable is found
// by name at run time and checked; without it calls are slower or limits coarser, but nothing breaks. The tests of
// this package fail if something is not found.

// callStackCeiling is how many frames the interpreter allows. wazero means it to be set when linking.
//
//go:linkname callStackCeiling github.com/tetratelabs/wazero/internal/engine/interpreter.callStackCeiling
var callStackCeiling int

// An init function, since no interpreter may run while it is set.
func init() { callStackCeiling = max(callStackCeiling, Frames) }

// modeOf tells which of its engines wazero chose.
func modeOf(rt wz.Runtime) Mode {
	v := reflect.Indirect(reflect.ValueOf(rt)).FieldByName("store")
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		if v = v.Elem().FieldByName("Engine"); v.Kind() == reflect.Interface && strings.HasSuffix(v.Elem().Type().String(), "wazevo.engine") {
			return Compiler
		}
	}
	return Interpreter
}

// isRuntimeError tells whether err is of the type of wazero's traps.
func isRuntimeError(err error) bool {
	return reflect.TypeOf(err).String() == "*wasmruntime.Error"
}

// stackSize finds the word in which a wazero function has the size of its stack: bytes of the compiler's, frames of the
// interpreter's. It points to a zero if there is none.
func stackSize(f api.Function) *int {
	v := reflect.ValueOf(f)
	if v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
		for _, name := range []string{"frames", "stack"} {
			if s := v.Elem().FieldByName(name); s.Kind() == reflect.Slice {
				return (*int)(unsafe.Add(unsafe.Pointer(s.UnsafeAddr()), unsafe.Sizeof(uintptr(0))))
			}
		}
	}
	return new(int)
}

// cellOf finds where a global keeps its value: in the instance, or in the memory that compiled code addresses. nil if
// it is not found.
func cellOf(g api.Global) (cell *uint64) {
	defer func() {
		if recover() != nil {
			cell = nil
		}
	}()
	inst := reflect.ValueOf(g).FieldByName("g").Elem()
	me := inst.FieldByName("Me")
	if me.IsNil() {
		cell = (*uint64)(unsafe.Pointer(inst.FieldByName("Val").UnsafeAddr()))
	} else {
		const size = 16
		me = me.Elem().Elem()
		begin := me.FieldByName("parent").Elem().FieldByName("offsets").FieldByName("GlobalsBegin").Int()
		at := int(begin) + int(inst.FieldByName("Index").Uint())*size
		cell = (*uint64)(unsafe.Pointer(me.FieldByName("opaque").Index(at).UnsafeAddr()))
	}
	if *cell != g.Get() {
		return nil
	}
	if m, ok := g.(api.MutableGlobal); ok {
		old := m.Get()
		m.Set(old ^ 1)
		same := *cell == old^1
		m.Set(old)
		if !same {
			return nil
		}
	}
	return cell
}

// global implements engine.Global.
type global struct {
	api     api.Global
	cell    *uint64 // nil if unknown
	mask    uint64
	typ     byte
	mutable bool
}

func newGlobal(g api.Global) *global {
	_, mutable := g.(api.MutableGlobal)
	h := &global{api: g, cell: cellOf(g), mask: ^uint64(0), typ: g.Type(), mutable: mutable}
	if h.typ == engine.I32 || h.typ == engine.F32 {
		h.mask = low32
	}
	return h
}

// Get implements engine.Global. The guest may write at the same time, which on these machines is one store of an
// aligned word; the race detector would see the interpreter's, but not compiled code's.
//
//go:norace
func (g *global) Get() uint64 {
	if g.cell == nil {
		return g.api.Get() & g.mask
	}
	return *g.cell & g.mask
}

// Set implements engine.Global.
//
//go:norace
func (g *global) Set(v uint64) {
	switch {
	case !g.mutable:
		panic("BUG: set of an immutable global")
	case g.cell == nil:
		g.api.(api.MutableGlobal).Set(v & g.mask)
	default:
		*g.cell = v & g.mask
	}
}
