// Package engines knows which engines this binary has. Wazero is always there; wasmtime, which is C, is where the build
// had the tag wasmtime and cgo, on Linux.
package engines

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/wazero"
)

// The kinds of engines, as people name them.
const (
	Auto        = ""            // wazero's compiler where the platform allows it, else its interpreter
	Compiler    = "compiler"    // wazero's
	Interpreter = "interpreter" // wazero's
	Wasmtime    = "wasmtime"
)

// maker makes an engine that may keep compiled code in a folder; "": it keeps none.
type maker func(cacheDir string) (engine.Engine, error)

// more are the engines of this build beside wazero.
var more = map[string]maker{}

// Kinds are the kinds that this binary has on this platform, the fastest first.
func Kinds() []string {
	var list []string
	if _, ok := more[Wasmtime]; ok {
		list = append(list, Wasmtime)
	}
	if e, err := New(Compiler, ""); err == nil {
		_ = e.Close(context.Background()) // nothing was compiled
		list = append(list, Compiler)
	}
	return append(list, Interpreter)
}

// Known tells whether kind is the name of one, in this binary or another.
func Known(kind string) bool {
	return slices.Contains([]string{Auto, Compiler, Interpreter, Wasmtime}, kind)
}

// New makes an engine. cacheDir keeps compiled code for later runs, "": nothing does; an engine that is an engine.Coder
// leaves that to its caller. A kind that is not in this binary is an error that wraps engine.ErrUnsupported.
func New(kind, cacheDir string) (engine.Engine, error) {
	opt := wazero.Options{CacheDir: cacheDir, Workers: runtime.NumCPU()}
	switch kind {
	case Auto:
	case Compiler:
		opt.Mode = wazero.Compiler
	case Interpreter:
		opt.Mode = wazero.Interpreter
	default:
		if m := more[kind]; m != nil {
			return m(cacheDir)
		}
		if Known(kind) {
			return nil, fmt.Errorf("engine %s: this binary was built without it: %w", kind, engine.ErrUnsupported)
		}
		return nil, fmt.Errorf("engine %q: %w", kind, engine.ErrUnsupported)
	}
	return wazero.New(opt)
}

// Alike tells whether two engines of these names, on machines of one architecture, make the same NaNs of the same code.
// Wasmtime does not: what it compiles to where the processor lacks SSE4.1, as that of a virtual machine may, gives others
// their signs.
func Alike(a, b string) bool { return a == b && a != Wasmtime }
