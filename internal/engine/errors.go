package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrUnsupported marks a module, or a way of running, that this engine does not offer.
	ErrUnsupported = errors.New("not supported by this engine")
	// ErrClosed is returned by calls into a closed instance.
	ErrClosed = errors.New("instance is closed")
	// ErrMemory is how a run ends whose memory may not grow as far as its module allows, see linmem.Options.Limit.
	ErrMemory = errors.New("memory may not grow further here")
)

// TrapKind tells the traps of the specification apart, equally on all engines.
type TrapKind uint8

// The kinds of traps. They travel between device and clone: never renumber.
const (
	TrapOther TrapKind = iota
	TrapUnreachable
	TrapMemoryBounds      // loads, stores, bulk operations, data segments
	TrapTableBounds       // table accesses and element segments, and call_indirect beyond the end or through a null entry
	TrapIndirectType      // call_indirect on a function of another type
	TrapNullReference     // call_ref and ref.as_non_null on null
	TrapDivideByZero      // integer division and remainder
	TrapIntegerOverflow   // division of the least integer by -1, conversion of what does not fit
	TrapInvalidConversion // conversion of NaN to an integer
	TrapStackOverflow     // the depth differs between engines and runs
	TrapUnaligned         // atomic accesses
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

// ImportError names the import that could not be resolved.
type ImportError struct{ Module, Name, Reason string }

func (e *ImportError) Error() string {
	return fmt.Sprintf("import %s.%s: %s", e.Module, e.Name, e.Reason)
}

// Signature is a function type in words: "(i32 i64) -> (f64)".
func Signature(params, results []byte) string {
	list := func(types []byte) string {
		names := make([]string, len(types))
		for i, t := range types {
			names[i] = typeName(t)
		}
		return "(" + strings.Join(names, " ") + ")"
	}
	return list(params) + " -> " + list(results)
}

func typeName(t byte) string {
	switch t {
	case I32:
		return "i32"
	case I64:
		return "i64"
	case F32:
		return "f32"
	case F64:
		return "f64"
	}
	return fmt.Sprintf("%#x", t)
}

// IsNumber tells whether t is a value type that crosses this interface.
func IsNumber(t byte) bool { return t >= F64 && t <= I32 }

// Ended is how a run ends whose context has ended: it wraps the context's error and its cause.
func Ended(ctx context.Context) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); cause != err {
		return fmt.Errorf("run ended: %w: %w", err, cause)
	}
	return fmt.Errorf("run ended: %w", err)
}
