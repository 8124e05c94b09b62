//go:build wasmtime && cgo && linux && (amd64 || arm64)

package wasmtime

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/enginetest"
	"github.com/clonecloud/clonecloud/internal/engine/wazero"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// fromMain are functions for the main goroutine to run.
var fromMain = make(chan func())

func TestMain(m *testing.M) {
	done := make(chan int)
	go func() { done <- m.Run() }()
	for {
		select {
		case f := <-fromMain:
			f()
		case code := <-done:
			os.Exit(code)
		}
	}
}

func newEngine(t testing.TB) engine.Engine {
	e, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func open(t testing.TB) *wasmtimeEngine {
	e := newEngine(t)
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return e.(*wasmtimeEngine)
}

func TestConformance(t *testing.T) { enginetest.Run(t, newEngine) }

func BenchmarkEngine(b *testing.B) { enginetest.Bench(b, newEngine) }

// The declarations of the C interface are those of the library that is linked.
func TestABI(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip(err)
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/bytecodealliance/wasmtime-go/v39").Output()
	if err != nil {
		t.Skip(err)
	}
	const program = "#include <wasm.h>\n#include <wasmtime.h>\n#define CC_REAL_HEADERS\n#include \"abi.h\"\n" +
		"_Static_assert(CC_I32 == WASMTIME_I32 && CC_I64 == WASMTIME_I64 && CC_F32 == WASMTIME_F32 && CC_F64 == WASMTIME_F64, \"kinds\");\n" +
		"_Static_assert(CC_EXTERN_FUNC == WASMTIME_EXTERN_FUNC && CC_EXTERN_GLOBAL == WASMTIME_EXTERN_GLOBAL &&" +
		" CC_EXTERN_TABLE == WASMTIME_EXTERN_TABLE && CC_EXTERN_MEMORY == WASMTIME_EXTERN_MEMORY, \"externs\");\n" +
		"_Static_assert(sizeof(wasm_valkind_t) == 1 && WASM_I32 == CC_I32 && WASM_F64 == CC_F64, \"types\");\n" +
		"_Static_assert(WASMTIME_TRAP_CODE_STACK_OVERFLOW == 0 && WASMTIME_TRAP_CODE_UNREACHABLE_CODE_REACHED == 9 &&" +
		" WASMTIME_TRAP_CODE_NULL_REFERENCE == 14 && sizeof(wasmtime_trap_code_t) == 1, \"traps\");\n" +
		"_Static_assert(WASMTIME_OPT_LEVEL_NONE == 0 && WASMTIME_OPT_LEVEL_SPEED == 1, \"levels\");\n"
	cmd := exec.Command(gcc, "-std=gnu11", "-Werror", "-fsyntax-only", "-I", filepath.Join(strings.TrimSpace(string(out)), "build", "include"), "-I", ".", "-x", "c", "-")
	cmd.Stdin = strings.NewReader(program)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestVersion(t *testing.T) {
	mod, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if want := "github.com/bytecodealliance/wasmtime-go/v39 v" + Version; !bytes.Contains(mod, []byte(want)) {
		t.Errorf("go.mod has another version than %s", want)
	}
	if _, ok := debug.ReadBuildInfo(); !ok {
		t.Error("no build information")
	}
}

var (
	i32 = wasm.ValType{Kind: wasm.I32}
	one = wasm.FuncType{Params: []wasm.ValType{i32}, Results: []wasm.ValType{i32}}
)

func fn(t uint32, code ...byte) wasm.Func { return wasm.Func{Type: t, Body: wasm.Body{Code: code}} }

// sample has a memory that begins empty, a tag, endless recursion and a global.
func sample() []byte {
	m := wasm.Module{
		Types:    []wasm.FuncType{one, {Params: []wasm.ValType{i32}}},
		Memories: []wasm.Limits{{}},
		Tags:     []uint32{1},
		Funcs: []wasm.Func{
			fn(0, 0x20, 0, 0x41, 1, 0x6a, 0x0b),                                                       // add one
			fn(0, 0x20, 0, 0x40, 0, 0x0b),                                                             // memory.grow
			fn(0, 0x20, 0, 0x41, 42, 0x36, 2, 0, 0x20, 0, 0x28, 2, 0, 0x0b),                           // store and load
			fn(0, 0x02, 0x7f, 0x1f, 0x40, 1, 0, 0, 0, 0x20, 0, 0x08, 0, 0x0b, 0x41, 0x7f, 0x0b, 0x0b), // throw and catch
			fn(0, 0x20, 0, 0x41, 1, 0x6a, 0x24, 0, 0x23, 0, 0x10, 4, 0x41, 1, 0x6a, 0x0b),             // count, recur
			fn(0, 0x03, 0x40, 0x23, 0, 0x20, 0, 0x47, 0x0d, 0, 0x0b, 0x23, 0, 0x0b),                   // spin until the global is the argument
			fn(0, 0x20, 0, 0x08, 0, 0x0b),                                                             // throw
		},
		Globals: []wasm.Global{{GlobalType: wasm.GlobalType{Type: i32, Mutable: true}, Init: wasm.Expr{0x41, 0, 0x0b}}},
	}
	for i, name := range []string{"inc", "grow", "put", "catch", "deep", "spin", "throw"} {
		m.Exports = append(m.Exports, wasm.Export{Name: name, Index: uint32(i)})
	}
	m.Exports = append(m.Exports, wasm.Export{Name: "g", Kind: wasm.ExternGlobal}, wasm.Export{Name: "memory", Kind: wasm.ExternMemory},
		wasm.Export{Name: "tag", Kind: wasm.ExternTag})
	return m.Encode()
}

func instantiate(t testing.TB, code engine.Module, cfg engine.Config) engine.Instance {
	t.Helper()
	in, err := code.Instantiate(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(in.Close(context.Background()), code.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return in
}

func compile(t testing.TB, e engine.Engine) engine.Module {
	t.Helper()
	code, err := e.Compile(context.Background(), sample())
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func call(t testing.TB, in engine.Instance, name string, arg uint64) uint64 {
	t.Helper()
	stack := []uint64{arg}
	if err := in.Func(name).Call(context.Background(), stack); err != nil {
		t.Fatalf("%s(%d): %v", name, arg, err)
	}
	return stack[0]
}

// The engine's heap of exceptions comes from the same creator as memories, here with the same limits.
func TestOwnHeap(t *testing.T) {
	in := instantiate(t, compile(t, open(t)), engine.Config{})
	for i := range uint64(2000) {
		if got := call(t, in, "catch", i); got != i {
			t.Fatalf("caught %d, want %d", got, i)
		}
	}
	if in.Memory().Size() != 0 {
		t.Fatalf("memory has %d bytes", in.Memory().Size())
	}
	if got := call(t, in, "grow", 1); got != 0 {
		t.Fatalf("grow: %d", got)
	}
	if got := call(t, in, "put", 100); got != 42 || in.Memory().Bytes()[100] != 42 {
		t.Errorf("put: %d, memory has %d", got, in.Memory().Bytes()[100])
	}
	for i := range uint64(2000) {
		if got := call(t, in, "catch", i); got != i {
			t.Fatalf("caught %d, want %d", got, i)
		}
	}
	var uncaught *engine.Exception
	if err := in.Func("throw").Call(context.Background(), []uint64{1}); !errors.As(err, &uncaught) {
		t.Errorf("throw: %v", err)
	}
}

// Calls of the main goroutine run elsewhere.
func TestMainGoroutine(t *testing.T) {
	e := open(t)
	code := compile(t, e)
	result := make(chan error)
	fromMain <- func() {
		go func() { result <- nil }() // the test waits while main is at work
		in, err := code.Instantiate(context.Background(), engine.Config{})
		if err == nil {
			stack := []uint64{0}
			err = in.Func("deep").Call(context.Background(), stack)
			var trap *engine.Trap
			if !errors.As(err, &trap) || trap.Kind != engine.TrapStackOverflow {
				t.Errorf("deep: %v", err)
			}
			if got := in.Global("g").Get(); got < 1_000_000 {
				t.Errorf("overflow after %d frames", got)
			}
			err = in.Close(context.Background())
		}
		if err != nil {
			t.Error(err)
		}
		go func() { result <- code.Close(context.Background()) }()
	}
	for range 2 {
		if err := <-result; err != nil {
			t.Error(err)
		}
	}
}

// A guest that calls nothing holds up nobody: another goroutine sets what it waits for, and collects garbage.
func TestPreemption(t *testing.T) {
	old := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(old)
	in := instantiate(t, compile(t, open(t)), engine.Config{})
	g, spin := in.Global("g"), in.Func("spin")
	for i := uint64(1); i <= 20; i++ {
		var wg sync.WaitGroup
		wg.Go(func() {
			runtime.GC()
			g.Set(i)
		})
		stack := []uint64{i}
		if err := spin.Call(context.Background(), stack); err != nil || stack[0] != i {
			t.Fatalf("spin: %d, %v", stack[0], err)
		}
		wg.Wait()
	}
}

// At least the stack of a device's compiler.
func TestStack(t *testing.T) {
	frames := func(e engine.Engine) uint64 {
		in := instantiate(t, compile(t, e), engine.Config{})
		if err := in.Func("deep").Call(context.Background(), []uint64{0}); err == nil {
			t.Fatal("endless recursion ended")
		}
		return in.Global("g").Get()
	}
	device, err := wazero.New(wazero.Options{Mode: wazero.Compiler})
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { device.Close(context.Background()) })
	there, here := frames(device), frames(open(t))
	t.Logf("%d frames, on a device %d", here, there)
	if here < there {
		t.Errorf("%d frames, on a device %d", here, there)
	}
}

func TestNoAllocations(t *testing.T) {
	in := instantiate(t, compile(t, open(t)), engine.Config{})
	f, g := in.Func("inc"), in.Global("g")
	stack := []uint64{1}
	ctx := context.Background()
	if n := testing.AllocsPerRun(100, func() {
		_ = f.Call(ctx, stack)
		g.Set(g.Get() + 1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestReservation(t *testing.T) {
	code := compile(t, open(t))
	defer code.Close(context.Background())
	var mem *linmem.Memory
	_, err := code.Instantiate(context.Background(), engine.Config{Memory: func(lo, hi, reserve uint64) (_ *linmem.Memory, err error) {
		mem, err = linmem.New(lo, hi, linmem.Options{Reserve: reserve - 1})
		return mem, err
	}})
	if err == nil || !strings.Contains(err.Error(), "address space") || mem.Bytes() != nil {
		t.Errorf("took a memory without guard: %v", err)
	}
}

func TestCode(t *testing.T) {
	e := open(t)
	code := compile(t, e)
	b, err := e.Encode(code)
	if err != nil {
		t.Fatal(err)
	}
	if err := code.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Encode(code); err == nil {
		t.Error("encoded a closed module")
	}
	path := filepath.Join(t.TempDir(), "code")
	write := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(b)
	other := open(t)
	loaded, err := other.Load(context.Background(), sample(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	in := instantiate(t, loaded, engine.Config{})
	if got := call(t, in, "inc", 41); got != 42 {
		t.Errorf("got %d", got)
	}
	again, err := other.Encode(loaded)
	if err != nil || !bytes.Equal(again, b) {
		t.Errorf("code that was loaded is encoded to %d bytes, not the same %d: %v", len(again), len(b), err)
	}
	if _, err := other.Load(context.Background(), sample(), path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	// What the engine itself can see.
	for name, bad := range map[string][]byte{
		"empty": nil, "text": []byte("no code"), "module": sample(), "short": b[:len(b)/2],
	} {
		write(bad)
		if m, err := other.Load(context.Background(), sample(), path); err == nil {
			m.Close(context.Background())
			t.Errorf("%s: loaded", name)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := other.Load(ctx, sample(), path); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	fast, err := New(Options{Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	defer fast.Close(context.Background())
	if fast.(engine.Coder).CodeID() == e.CodeID() {
		t.Error("other settings, same code")
	}
}

// Features are those of the device's engine: what one refuses, the other does.
func TestUnsupported(t *testing.T) {
	e := open(t)
	shared := wasm.Module{Memories: []wasm.Limits{{Min: 1, Max: 1, HasMax: true, Shared: true}}}
	if _, err := e.Compile(context.Background(), shared.Encode()); !errors.Is(err, engine.ErrUnsupported) {
		t.Errorf("shared memory: %v", err)
	}
	device, err := wazero.New(wazero.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close(context.Background())
	two := wasm.Module{Memories: []wasm.Limits{{Min: 1}, {Min: 1}}}
	relaxed := wasm.Module{Types: []wasm.FuncType{{}}, Funcs: []wasm.Func{fn(0, append(append(bytes.Repeat(append([]byte{0xfd, 0x0c}, make([]byte, 16)...), 2), 0xfd, 0x80, 2), 0x1a, 0x0b)...)}}
	gc := []byte("\x00asm\x01\x00\x00\x00\x01\x03\x01\x5f\x00") // a struct type
	for name, bin := range map[string][]byte{"two memories": two.Encode(), "relaxed": relaxed.Encode(), "gc": gc} {
		if _, err := e.Compile(context.Background(), bin); !errors.Is(err, engine.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := device.Compile(context.Background(), bin); err == nil {
			t.Errorf("%s: a device runs it", name)
		}
	}
}

// Faults of Go code stay Go's, though the engine has its own handlers: in a host function and elsewhere, and while a guest
// runs on another thread.
func TestFaults(t *testing.T) {
	var nobody *wasm.Module
	fault := func() (err error) {
		defer func() { err, _ = recover().(error) }()
		nobody.Funcs = nil
		return nil
	}
	m := wasm.Module{
		Types:   []wasm.FuncType{one, {}},
		Imports: []wasm.Import{{Module: "host", Name: "fault", Type: 1}},
		Funcs:   []wasm.Func{fn(0, 0x10, 0, 0x20, 0, 0x0b)},
		Exports: []wasm.Export{{Name: "f", Index: 1}},
	}
	code, err := open(t).Compile(context.Background(), m.Encode())
	if err != nil {
		t.Fatal(err)
	}
	recovers := true
	in := instantiate(t, code, engine.Config{Funcs: map[string]map[string]engine.HostFunc{"host": {"fault": {
		Call: func(context.Context, engine.Instance, []uint64) error {
			if !recovers {
				nobody.Funcs = nil
			}
			if fault() == nil {
				t.Error("no fault")
			}
			return nil
		}}}}})
	spinner := instantiate(t, compile(t, open(t)), engine.Config{})
	var wg sync.WaitGroup
	wg.Go(func() { call(t, spinner, "spin", 1) })
	for i := range uint64(100) {
		if got := call(t, in, "f", i); got != i {
			t.Fatalf("got %d", got)
		}
		if fault() == nil {
			t.Fatal("no fault")
		}
	}
	recovers = false
	if err := in.Func("f").Call(context.Background(), []uint64{1}); err == nil || !strings.Contains(err.Error(), "nil pointer") {
		t.Errorf("got %v", err)
	}
	recovers = true
	call(t, in, "f", 3)
	spinner.Global("g").Set(1)
	wg.Wait()
}
