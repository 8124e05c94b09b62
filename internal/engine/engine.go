// Package engine is the door to a WebAssembly engine: what the rest of the project may ask of one.
//
// Nothing above this package knows which engine runs. An implementation passes the suite in engine/enginetest.
//
// Values are raw 64-bit slots as in the specification's binary representation: i32 and f32 in the low half with
// the upper half zero (the implementation clears it in both directions), f64 and i64 whole. v128 and references
// do not cross this interface; the rewriter sees to it.
package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecloud/clonecloud/internal/linmem"
)

// Engine compiles modules. Safe for concurrent use.
type Engine interface {
	// Name is stable and lower-case: "wazero-compiler", "wazero-interpreter".
	Name() string
	// Compile validates and compiles a module in the binary format. Errors name the fault, never panic.
	Compile(ctx context.Context, bin []byte) (Module, error)
	// Close releases the engine; its modules and instances must be closed before.
	Close(ctx context.Context) error
}

// Module is compiled code, which many instances may share. Safe for concurrent use.
type Module interface {
	Instantiate(ctx context.Context, cfg Config) (Instance, error)
	Close(ctx context.Context) error
}

// Config says what an instance is linked with. The zero value suits a module without imports.
type Config struct {
	// Funcs resolves imported functions; the first key is the module's name, the second the function's.
	Funcs map[string]map[string]HostFunc
	// Link resolves what Funcs does not: exports (functions, globals, memories, tables, tags) of other instances
	// of the same engine, by module name.
	Link map[string]Instance
	// Memory makes the linear memory that the module defines, sizes in bytes; nil: linmem.New with defaults.
	Memory func(min, max uint64) (*linmem.Memory, error)
	// StopGlobal names an exported mutable i32 that is set to 1 when the context of a running Call is
	// cancelled, so that code with polls ends; empty: a cancelled context is noticed only at host calls.
	StopGlobal string
}

// HostFunc is a function that the host offers to a module.
type HostFunc struct {
	Params, Results []byte // value types in binary form: 0x7f i32, 0x7e i64, 0x7d f32, 0x7c f64
	// Call gets arguments in stack and leaves results there (len = max of both counts). It runs on the
	// goroutine of the Call that led here and may re-enter the instance. An error ends the guest: Func.Call
	// returns an error for which errors.Is / As finds it.
	Call func(ctx context.Context, inst Instance, stack []uint64) error
}

// Instance is an instantiated module. One goroutine at a time may be inside it; Global.Set may be called from others.
type Instance interface {
	// Func returns an exported function whose type has only numbers, or nil.
	Func(name string) Func
	// Global returns an exported global of a number type, or nil.
	Global(name string) Global
	// Memory is the (only) memory, defined or imported; nil if there is none.
	Memory() *linmem.Memory
	// Grow does what memory.grow does, sizes in 64 KiB pages: the former size, or false.
	Grow(delta uint32) (uint32, bool)
	Close(ctx context.Context) error
}

// Func is an exported function.
type Func interface {
	// Type gives the value types in binary form.
	Type() (params, results []byte)
	// Call runs the function; stack holds arguments before and results after. Errors: *Trap for a trap of the
	// guest, an *Exception for one that nothing caught, whatever a HostFunc returned, ctx.Err() wrapped when
	// the context ended the run. After an error the instance stays usable for inspection (memory, globals).
	Call(ctx context.Context, stack []uint64) error
}

// Global is an exported global of a number type.
type Global interface {
	Get() uint64
	// Set panics with a BUG text on an immutable global.
	Set(v uint64)
}

// TrapKind tells the traps of the specification apart, equally on all engines.
type TrapKind uint8

// The kinds of traps. They travel between device and clone: never renumber.
const (
	TrapOther TrapKind = iota
	TrapUnreachable
	TrapMemoryBounds
	TrapTableBounds
	TrapIndirectType
	TrapNullReference
	TrapDivideByZero
	TrapIntegerOverflow
	TrapInvalidConversion
	TrapStackOverflow
	TrapUnaligned
	NumTrapKinds
)

var trapNames = [NumTrapKinds]string{
	"trap", "unreachable executed", "out of bounds memory access", "out of bounds table access",
	"indirect call type mismatch", "null reference", "integer divide by zero", "integer overflow",
	"invalid conversion to integer", "call stack exhausted", "unaligned atomic",
}

func (k TrapKind) String() string {
	if k < NumTrapKinds {
		return trapNames[k]
	}
	return fmt.Sprintf("trap %d", uint8(k))
}

// Trap is a trap of the guest.
type Trap struct {
	Kind TrapKind
	// Detail is the engine's own text, for logs only: it differs between engines.
	Detail string
}

func (t *Trap) Error() string { return "wasm trap: " + t.Kind.String() }

// Exception is an exception of the guest that nothing caught.
type Exception struct{ Detail string }

func (e *Exception) Error() string { return "uncaught wasm exception" }

// ErrUnsupported marks a module that this engine does not run.
var ErrUnsupported = errors.New("not supported by this engine")
