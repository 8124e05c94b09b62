// Package wazero runs modules on the wazero engine: compiled to machine code where the platform allows it, else
// interpreted.
//
// All features that wazero has are switched on. Memory comes from linmem and never moves. Host functions are called
// without reflection. wazero's own ways of interrupting and observing a run are not used, since they slow all code:
// a run ends at the next host call, and Config.StopGlobal leads it there.
//
// # Limits
//
// The call stack: compiled code has about 84 MB of it, two million frames of a small function. The interpreter has
// Frames frames, and raises the ceiling that wazero sets for the whole process. A stack overflow gives back its
// memory. Calls that re-enter through host functions share that budget per instance.
//
// Compiled code cannot be preempted: see the package comment of engine for what that means to other goroutines.
//
// Exception handlers are costly in wazero: compiled code copies the stack at each try_table it enters, and keeps the
// copy until it leaves, so that endless recursion through try_table exhausts the memory of the process; the interpreter
// needs time quadratic in the depth to unwind functions with try_table.
package wazero

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"

	wz "github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/clonecloud/clonecloud/internal/engine"
)

// Mode says how code is run.
type Mode uint8

// The modes.
const (
	Auto        Mode = iota // Compiler where the platform allows it, else Interpreter
	Compiler                // New fails where the platform does not allow it
	Interpreter             // works everywhere
)

func (m Mode) String() string {
	switch m {
	case Auto:
		return "auto"
	case Compiler:
		return "compiler"
	case Interpreter:
		return "interpreter"
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// Frames is the interpreter's ceiling: as many calls may be active in one Func.Call. One takes some 4.5 KB of the
// goroutine's stack, whose size doubles, so this many fit in 256 MiB.
const Frames = 60_000

// maxGoStack lets calls that re-enter the interpreter have another Frames, and their panics unwind.
const maxGoStack = 1 << 30

// features is all that wazero can do.
const features = api.CoreFeaturesV2 | experimental.CoreFeaturesThreads | experimental.CoreFeaturesTailCall |
	experimental.CoreFeaturesExtendedConst | experimental.CoreFeaturesExceptionHandling |
	experimental.CoreFeaturesTypedFunctionReferences

// Options says how an engine is made. The zero value compiles where it can and keeps nothing on disk.
type Options struct {
	// Mode is how code is run. Default: Auto.
	Mode Mode
	// CacheDir keeps compiled code for later runs; it is made if need be. Whoever can write there can run code in
	// this process. Default: none. The interpreter has no use for it.
	CacheDir string
	// Workers is how many goroutines compile one module. Default: as many as there are processors.
	Workers int
}

// New makes an engine.
func New(opt Options) (engine.Engine, error) {
	e := &wazeroEngine{mode: opt.Mode, workers: opt.Workers, hash: maphash.MakeSeed()}
	if e.workers <= 0 {
		e.workers = runtime.GOMAXPROCS(0)
	}
	if err := e.open(opt); err != nil {
		return nil, fmt.Errorf("open wazero: %w", err)
	}
	return e, nil
}

type wazeroEngine struct {
	mode     Mode // Compiler or Interpreter
	workers  int
	rt       wz.Runtime
	cache    wz.CompilationCache // nil: none
	cacheDir string

	mu sync.Mutex // guards all groups

	// compiling are locks by a module's hash: wazero shows code that it has read from the cache to other callers before
	// the entries into it are made.
	compiling [16]sync.Mutex
	hash      maphash.Seed
}

func (e *wazeroEngine) open(opt Options) error {
	ctx := context.Background()
	switch opt.Mode {
	case Interpreter:
		e.rt = wz.NewRuntimeWithConfig(ctx, configure(wz.NewRuntimeConfigInterpreter(), features))
		raiseGoStack()
		return nil
	case Auto, Compiler:
	default:
		return fmt.Errorf("%v: %w", opt.Mode, engine.ErrUnsupported)
	}
	config := configure(wz.NewRuntimeConfig(), features)
	if opt.CacheDir != "" {
		cache, err := wz.NewCompilationCacheWithDir(opt.CacheDir)
		if err != nil {
			return fmt.Errorf("open code cache: %w", err)
		}
		e.cache, e.cacheDir = cache, opt.CacheDir
		config = config.WithCompilationCache(cache)
	}
	e.rt = wz.NewRuntimeWithConfig(ctx, config)
	if e.mode = modeOf(e.rt); e.mode == Interpreter && runtime.GOARCH == "arm64" {
		// Processors without the LSE atomics, as in many boards and older phones, are refused for the sake of
		// threads alone. A module with atomic instructions is worth less than a compiler for all others.
		e.rt = wz.NewRuntimeWithConfig(ctx, config.WithCoreFeatures(features&^experimental.CoreFeaturesThreads))
		if e.mode = modeOf(e.rt); e.mode == Interpreter {
			e.rt = wz.NewRuntimeWithConfig(ctx, config)
		}
	}
	if e.mode == Compiler {
		return nil
	}
	raiseGoStack()
	if opt.Mode == Compiler {
		return errors.Join(fmt.Errorf("compile on %s/%s: %w", runtime.GOOS, runtime.GOARCH, engine.ErrUnsupported), e.Close(ctx))
	}
	return nil
}

func configure(c wz.RuntimeConfig, f api.CoreFeatures) wz.RuntimeConfig {
	// Debug information makes cached code slow to load and serves only wazero's stack traces.
	return c.WithCoreFeatures(f).WithDebugInfoEnabled(false)
}

// raiseGoStack makes room for Frames, for the whole process.
func raiseGoStack() {
	if old := debug.SetMaxStack(maxGoStack); old > maxGoStack {
		debug.SetMaxStack(old)
	}
}

// Name implements engine.Engine.
func (e *wazeroEngine) Name() string { return "wazero-" + e.mode.String() }

// Close implements engine.Engine.
func (e *wazeroEngine) Close(ctx context.Context) error {
	err := e.rt.Close(ctx)
	if e.cache != nil {
		err = errors.Join(err, e.cache.Close(ctx))
	}
	if err != nil {
		return fmt.Errorf("close wazero: %w", err)
	}
	return nil
}

// Compile implements engine.Engine.
func (e *wazeroEngine) Compile(ctx context.Context, bin []byte) (engine.Module, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("compile module: %w", err)
	}
	code, err := e.compile(ctx, bin)
	if err != nil && e.cache != nil && isCacheError(err) {
		// Code that cannot be written is compiled all the same, and found in memory by the second try; code that
		// cannot be read is of no use to anybody.
		e.dropCache()
		code, err = e.compile(ctx, bin)
	}
	if err != nil {
		return nil, fmt.Errorf("compile module: %w", err)
	}
	imports, err := readImports(bin)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("compile module: read imports: %w", err), code.Close(ctx))
	}
	return newModule(e, code, imports), nil
}

func (e *wazeroEngine) compile(ctx context.Context, bin []byte) (code wz.CompiledModule, err error) {
	defer func() {
		if r := recover(); r != nil {
			code, err = nil, fmt.Errorf("wazero failed: %v", r)
		}
	}()
	if e.mode == Compiler {
		ctx = experimental.WithCompilationWorkers(ctx, e.workers)
	}
	if e.cache != nil {
		lock := &e.compiling[maphash.Bytes(e.hash, bin)%uint64(len(e.compiling))]
		lock.Lock()
		defer lock.Unlock()
	}
	code, err = e.rt.CompileModule(ctx, bin)
	if err != nil && (strings.Contains(err.Error(), "is disabled") || strings.Contains(err.Error(), "not enabled")) {
		err = fmt.Errorf("%w: %w", engine.ErrUnsupported, err)
	}
	return code, err
}

func isCacheError(err error) bool {
	var path *fs.PathError
	var link *os.LinkError
	return strings.Contains(err.Error(), "compilationcache:") || errors.As(err, &path) || errors.As(err, &link)
}

// dropCache removes what wazero keeps on disk; failing to do so is no harm.
func (e *wazeroEngine) dropCache() {
	dirs, _ := filepath.Glob(filepath.Join(e.cacheDir, "wazero-*"))
	for _, dir := range dirs {
		files, _ := os.ReadDir(dir)
		for _, f := range files {
			_ = os.Remove(filepath.Join(dir, f.Name()))
		}
	}
}

// Budgets for calls that re-enter an instance through host functions, beside what the innermost one may use. The unit
// is frames in the interpreter and bytes of wasm stack in the compiler.
func (e *wazeroEngine) reentry() (perCall, limit uint64) {
	if e.mode == Interpreter {
		return 16, Frames
	}
	return 16 << 10, 64 << 20
}

// keepStack is the size up to which a finished call's wasm stack is worth keeping for the next.
const keepStack = 256 << 10

const low32 = math.MaxUint32
