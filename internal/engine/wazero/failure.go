package wazero

import (
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero/sys"

	"github.com/clonecloud/clonecloud/internal/engine"
)

// hostError carries the error of a host function through the guest's frames, which wazero unwinds by panicking.
type hostError struct{ err error }

func (e *hostError) Error() string { return e.err.Error() }

// trapKinds maps the texts of wazero's errors, whose type is out of reach. Each is tested.
var trapKinds = map[string]engine.TrapKind{
	"unreachable":                   engine.TrapUnreachable,
	"out of bounds memory access":   engine.TrapMemoryBounds,
	"invalid table access":          engine.TrapTableBounds,
	"indirect call type mismatch":   engine.TrapIndirectType,
	"null reference":                engine.TrapNullReference,
	"integer divide by zero":        engine.TrapDivideByZero,
	"integer overflow":              engine.TrapIntegerOverflow,
	"invalid conversion to integer": engine.TrapInvalidConversion,
	"stack overflow":                engine.TrapStackOverflow,
	"unaligned atomic":              engine.TrapUnaligned,
	"expected shared memory":        engine.TrapOther,
	"too many waiters":              engine.TrapOther,
}

const uncaught = "uncaught exception"

// failure turns what wazero returns from a run into what the engine interface promises.
func (in *instance) failure(err error) error {
	var host *hostError
	if errors.As(err, &host) {
		return host.err
	}
	root := err
	for next := errors.Unwrap(root); next != nil; next = errors.Unwrap(root) {
		root = next
	}
	if isRuntimeError(root) {
		if root.Error() == uncaught {
			return &engine.Exception{Detail: err.Error()}
		}
		return &engine.Trap{Kind: trapKinds[root.Error()], Detail: err.Error()}
	}
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		return engine.ErrClosed
	}
	return fmt.Errorf("run failed: %w", err)
}
