//go:build wasmtime && cgo && linux && (amd64 || arm64)

package wasmtime

import (
	"fmt"
	"strings"

	"github.com/clonecloud/clonecloud/internal/engine"
)

// trapKinds are wasmtime's numbers of traps, as its C interface has them.
var trapKinds = map[int]engine.TrapKind{
	0:  engine.TrapStackOverflow,
	1:  engine.TrapMemoryBounds,
	2:  engine.TrapUnaligned,
	3:  engine.TrapTableBounds,
	4:  engine.TrapTableBounds, // call of a null entry
	5:  engine.TrapIndirectType,
	6:  engine.TrapIntegerOverflow,
	7:  engine.TrapDivideByZero,
	8:  engine.TrapInvalidConversion,
	9:  engine.TrapUnreachable,
	14: engine.TrapNullReference,
}

func trapOf(code int, text string) error {
	if text == "" {
		text = fmt.Sprintf("wasmtime: trap code %d", code)
	}
	return &engine.Trap{Kind: trapKinds[code], Detail: oneLine(text)}
}

// engineError is what wasmtime says that is no trap.
type engineError struct{ text string }

func (e *engineError) Error() string { return e.text }

// names tells whether an import is what the text is about.
func (e *engineError) names(module, name string) bool {
	return strings.Contains(e.text, "`"+module+"::"+name+"`")
}

// thrown is how wasmtime reports an exception that nothing caught.
const thrown = "thrown Wasm exception"

// spent is how it reports that it has no room for an exception.
const spent = "GC heap out of memory"

func errorOf(text string) error {
	if strings.Contains(text, thrown) {
		return &engine.Exception{Detail: oneLine(text)}
	}
	if strings.Contains(text, spent) {
		return fmt.Errorf("%w: %s", engine.ErrMemory, oneLine(text))
	}
	return &engineError{oneLine(text)}
}
