//go:build wasmtime && cgo && linux && (amd64 || arm64)

package wasmtime

// #include <stdlib.h>
// #include "glue.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	_ "github.com/bytecodealliance/wasmtime-go/v39" // the library

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// Version is that of the library.
const Version = "39.0.1"

// reservation is how much address space compiled code takes for granted behind a memory's base, guard included.
const reservation = 4<<30 + uint64(C.CC_GUARD)

// Options says how an engine is made. The zero value is right for all but measurements.
type Options struct {
	// Fast compiles in less time, to slower code.
	Fast bool
	// Heap is how much memory linked instances may take, all together, for their exceptions: the library never takes it
	// back while they live, and 1 MiB is about 20,000 of them. Then a run ends with engine.ErrMemory. 0: 1 GiB.
	Heap uint64
}

// New makes an engine.
func New(opt Options) (engine.Engine, error) {
	level, name := C.int(1), "speed"
	if opt.Fast {
		level, name = 0, "none"
	}
	heap := opt.Heap
	if heap == 0 {
		heap = 1 << 30
	}
	e := &wasmtimeEngine{
		c:    C.cc_engine_new(level, C.CC_WASM_STACK, 4<<30, C.CC_GUARD, C.size_t(heap)),
		code: fmt.Sprintf("wasmtime-%s-%s-%s", Version, runtime.GOARCH, name),
	}
	if e.c == nil {
		return nil, fmt.Errorf("open wasmtime: %w", engine.ErrUnsupported)
	}
	return e, nil
}

// wasmtimeEngine implements engine.Coder.
type wasmtimeEngine struct {
	c    *C.wasm_engine_t
	code string
	mu   sync.Mutex // guards all groups' counts
}

// Name implements engine.Engine.
func (e *wasmtimeEngine) Name() string { return "wasmtime" }

// CodeID implements engine.Coder. Which of the processor's instructions code uses stands in the code, and Load looks.
func (e *wasmtimeEngine) CodeID() string { return e.code }

// Close implements engine.Engine.
func (e *wasmtimeEngine) Close(context.Context) error {
	if e.c != nil {
		C.wasm_engine_delete(e.c)
		e.c = nil
	}
	return nil
}

// Compile implements engine.Engine.
func (e *wasmtimeEngine) Compile(ctx context.Context, bin []byte) (engine.Module, error) {
	return e.module(ctx, "compile module", bin, func(out **C.wasmtime_module_t, text *C.cc_text) C.int {
		return C.cc_compile(e.c, (*C.uint8_t)(unsafe.SliceData(bin)), C.size_t(len(bin)), out, text)
	})
}

// Load implements engine.Coder.
func (e *wasmtimeEngine) Load(ctx context.Context, bin []byte, path string) (engine.Module, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("load code: %w", err)
	}
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	return e.module(ctx, "load code", bin, func(out **C.wasmtime_module_t, text *C.cc_text) C.int {
		return C.cc_load(e.c, name, out, text)
	})
}

// module makes a module of what open gives, which validates bin or knows that it is valid.
func (e *wasmtimeEngine) module(ctx context.Context, what string, bin []byte, open func(**C.wasmtime_module_t, *C.cc_text) C.int) (engine.Module, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	var c *C.wasmtime_module_t
	var text C.cc_text
	if open(&c, &text) != C.CC_OK {
		return nil, fmt.Errorf("%s: %w", what, refusal(take(&text)))
	}
	m, err := newModule(e, c, bin)
	if err != nil {
		C.wasmtime_module_delete(c)
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return m, nil
}

// Encode implements engine.Coder.
func (e *wasmtimeEngine) Encode(m engine.Module) ([]byte, error) {
	own, ok := m.(*module)
	if !ok || own.eng != e || own.c == nil {
		return nil, errors.New("encode code: the module is closed or of another engine")
	}
	var v C.wasm_byte_vec_t
	var text C.cc_text
	if C.cc_serialize(own.c, &v, &text) != C.CC_OK {
		return nil, fmt.Errorf("encode code: %s", take(&text))
	}
	defer C.wasm_byte_vec_delete(&v)
	b := make([]byte, int(v.size)) // C.GoBytes has an int32 for the size
	copy(b, unsafe.Slice((*byte)(unsafe.Pointer(v.data)), int(v.size)))
	return b, nil
}

// take returns a text and releases it.
func take(t *C.cc_text) string {
	s := C.GoStringN(t.data, C.int(t.size))
	C.free(unsafe.Pointer(t.data))
	t.data = nil
	return s
}

// refusal is the error of a module that is not compiled.
func refusal(text string) error {
	for _, mark := range []string{"not enabled", "multiple memories", "must be enabled", "proposal", "mplementation limit", "too large", "not supported", "unsupported"} {
		if strings.Contains(text, mark) {
			return fmt.Errorf("%w: %s", engine.ErrUnsupported, oneLine(text))
		}
	}
	return errors.New(oneLine(text))
}

// oneLine joins the lines in which wasmtime tells causes.
func oneLine(text string) string {
	var parts []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "Stack backtrace:" {
			break // of the engine itself
		}
		if line != "" && line != "Caused by:" {
			parts = append(parts, line)
		}
	}
	return strings.Join(parts, ": ")
}

// module is compiled code.
type module struct {
	eng     *wasmtimeEngine
	c       *C.wasmtime_module_t // nil: closed
	imports []wasm.Import
	types   []wasm.FuncType
	funcs   []uint32          // types of functions, by index
	globals []wasm.GlobalType // by index
	exports map[string]wasm.Export
	pages   uint64 // of the memory that it defines; noMemory: it defines none
	max     uint64 // noMax: no limit
	heap    bool   // the engine may want memory for itself, which would look like the module's
}

// maxTable is how many elements a table may have, as in browsers. The library ends the process when the system refuses it
// memory for one.
const maxTable = 10_000_000

const (
	noMemory = ^uint64(0)
	noMax    = ^uint64(0)
)

func newModule(e *wasmtimeEngine, c *C.wasmtime_module_t, bin []byte) (*module, error) {
	d, err := wasm.Decode(bin)
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	m := &module{eng: e, c: c, imports: d.Imports, types: d.Types, funcs: d.FuncTypeIndices(), globals: d.GlobalTypes(),
		exports: map[string]wasm.Export{}, pages: noMemory, max: noMax}
	for _, l := range d.MemoryTypes() {
		if l.Shared {
			return nil, fmt.Errorf("shared memory: %w", engine.ErrUnsupported)
		}
	}
	for i := range d.Tables {
		if d.Tables[i].Limits.Min > maxTable {
			return nil, fmt.Errorf("table of %d elements: %w", d.Tables[i].Limits.Min, engine.ErrUnsupported)
		}
	}
	if len(d.Memories) > 0 {
		if m.pages = d.Memories[0].Min; d.Memories[0].HasMax {
			m.max = d.Memories[0].Max
		}
	}
	m.heap = len(d.TagTypes()) > 0 || m.pages == 0 && m.max == noMax
	for _, x := range d.Exports {
		m.exports[x.Name] = x
	}
	return m, nil
}

// Close implements engine.Module.
func (m *module) Close(context.Context) error {
	if m.c != nil {
		C.wasmtime_module_delete(m.c) // instances hold it too
		m.c = nil
	}
	return nil
}

// signature is a function type in binary form; false: it does not have numbers alone.
func signature(t wasm.FuncType) (params, results []byte, numbers bool) {
	numbers = true
	list := func(types []wasm.ValType) (b []byte) {
		for _, v := range types {
			b = append(b, v.Kind)
			numbers = numbers && engine.IsNumber(v.Kind)
		}
		return b
	}
	return list(t.Params), list(t.Results), numbers
}
