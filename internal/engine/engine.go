// Package engine is the door to a WebAssembly engine: what the rest of the project may ask of one.
//
// Nothing above this package knows which engine runs. An implementation passes the suite in engine/enginetest.
//
// # Values
//
// Values are raw 64-bit slots as in the specification's binary representation: i32 and f32 in the low half with
// the upper half zero (the implementation clears it in both directions), f64 and i64 whole. v128 and references
// do not cross this interface; the rewriter sees to it.
//
// # Goroutines
//
// Engine and Module are safe for concurrent use. An Instance belongs to one goroutine at a time, and so does a whole
// group of instances, see Config.Link, since a call may lead from one into another. The exceptions are
// Global.Get and Global.Set, which any goroutine may call while the guest runs: the value is seen soon, but
// nothing else is ordered by it.
//
// A guest that calls no host function may hold up the whole process: an engine need not leave compiled code for Go's
// scheduler, so that the garbage collector waits for the guest, and every goroutine for the collector. Code that
// is to be stopped, or runs beside other goroutines, must call the host now and then, say each millisecond.
package engine

import (
	"context"

	"github.com/clonecloud/clonecloud/internal/linmem"
)

const (
	// PageSize is WebAssembly's page: the unit of Instance.Grow and of a module's memory limits.
	PageSize = linmem.Unit
	// MaxPages bounds the memory of an instance on every engine, whatever its module declares.
	MaxPages = linmem.MaxSize / linmem.Unit
)

// The value types that cross this interface, in binary form.
const (
	I32 byte = 0x7f
	I64 byte = 0x7e
	F32 byte = 0x7d
	F64 byte = 0x7c
)

// Engine compiles modules. Safe for concurrent use.
type Engine interface {
	// Name is stable and lower-case: "wazero-compiler", "wazero-interpreter".
	Name() string
	// Compile validates and compiles a module in the binary format. Errors name the fault, never panic; one that
	// wraps ErrUnsupported may be a valid module. bin must not change while the Module is in use.
	Compile(ctx context.Context, bin []byte) (Module, error)
	// Close releases the engine; its modules and instances must be closed before.
	Close(ctx context.Context) error
}

// Coder is an Engine whose machine code can be kept on disk and taken back, by this process or another one of the same
// kind.
type Coder interface {
	Engine
	// CodeID names all that code depends on beside its module: the engine's version, its settings, the processor. Code of
	// another one is of no use.
	CodeID() string
	// Encode returns the code of a module of this engine.
	Encode(m Module) ([]byte, error)
	// Load makes a module of code that Encode returned, without compiling: bin is what was compiled, the file at path
	// begins with the code, is mapped, and must not be written to any more. Code is not verified: it is for the caller to know
	// who wrote the file, and that it is of this CodeID. An error says that it cannot be used here.
	Load(ctx context.Context, bin []byte, path string) (Module, error)
}

// Module is compiled code, which many instances may share. Safe for concurrent use.
type Module interface {
	// Instantiate resolves the imports, makes memory, tables and globals, applies the segments and runs the start
	// function, if there is one; what that calls finds an instance with a memory, but without exports.
	// Errors: *ImportError, what Config.Memory returned, and, for a segment out of bounds or from the start function,
	// all that Func.Call returns. After an error there is no instance.
	Instantiate(ctx context.Context, cfg Config) (Instance, error)
	// Close releases the code. Its instances should be closed before.
	Close(ctx context.Context) error
}

// Config says what an instance is linked with. The zero value suits a module without imports.
type Config struct {
	// Funcs resolves imported functions; the first key is the module's name, the second the function's. Functions
	// that are not imported cost nothing.
	Funcs map[string]map[string]HostFunc
	// Link resolves by module name the imports whose module is not in Funcs: exports (functions, globals,
	// memories, tables, and on some engines tags) of other instances of the same engine. Linked instances form a group
	// that shares a fate: what they own is released when the last of them is closed, since each may hold
	// functions of all the others. All that is linked here must be of one group.
	Link map[string]Instance
	// Beside puts the instance in the group of another one, with which it is not linked, so that a third can be
	// linked with both; nil: in that of the linked instances, or in a new one.
	Beside Instance
	// Memory makes the linear memory that the module defines, sizes in bytes, maxSize at most MaxPages pages; nil:
	// linmem.New with defaults. It may be larger than minSize, and has at least reserve bytes of address space, see
	// linmem.Options. The instance owns it from then on.
	Memory func(minSize, maxSize, reserve uint64) (*linmem.Memory, error)
	// StopGlobal names an exported mutable i32 that is set to 1 when the context of a running Call is cancelled, and
	// to 0 when that Call returns. Code that sees it must call any host function, which ends the run. Empty: a
	// cancelled context is noticed only by the host calls that happen anyway. See the package comment: the
	// goroutine that would set it may itself have to wait for a host call.
	StopGlobal string
}

// HostFunc is a function that the host offers to a module.
type HostFunc struct {
	// Params and Results are value types in binary form.
	Params, Results []byte
	// Call gets arguments in stack and leaves results there (len = max of both counts). It runs on the
	// goroutine of the Call that led here, with that Call's context, and may re-enter the instance that imports it,
	// inst. An error ends the guest: Func.Call returns it as it is. No handler of the guest sees it, not
	// even when it is an *Exception. A panic ends the guest too and comes back from Func.Call as an error.
	//
	// It is not called any more once the context is cancelled: the run ends instead.
	Call func(ctx context.Context, inst Instance, stack []uint64) error
}

// Instance is an instantiated module.
type Instance interface {
	// Func returns an exported function whose type has only numbers, or nil. The same name gives the same Func,
	// which is cheap to hold until it is called.
	Func(name string) Func
	// Global returns an exported global of a number type, or nil.
	Global(name string) Global
	// Memory is the (only) memory, defined or imported; nil if there is none. It is the same for the life of the
	// instance. It must not be grown but through Grow.
	Memory() *linmem.Memory
	// Grow does what memory.grow does, sizes in pages: the former size, or false. The memory must be exported by
	// the instance that defines it.
	Grow(delta uint32) (uint32, bool)
	// Close releases the instance; see Config.Link. It fails while the instance runs. A second Close does nothing. Globals
	// of a closed instance must not be used.
	Close(ctx context.Context) error
}

// Func is an exported function.
type Func interface {
	// Type gives the value types in binary form, not to be changed.
	Type() (params, results []byte)
	// Call runs the function; stack holds arguments before and results after (len at least the larger count).
	// Errors: *Trap for a trap of the guest, an *Exception for one that nothing caught, whatever a HostFunc
	// returned, ctx.Err() wrapped when the context ended the run, ErrClosed. After an error the instance stays usable,
	// and the contents of stack are undefined.
	Call(ctx context.Context, stack []uint64) error
}

// Global is an exported global of a number type.
type Global interface {
	Get() uint64
	// Set panics with a BUG text on an immutable global.
	Set(v uint64)
}
