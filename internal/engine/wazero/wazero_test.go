package wazero

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"

	wz "github.com/tetratelabs/wazero"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/enginetest"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

func newEngine(mode Mode) func(testing.TB) engine.Engine {
	return func(t testing.TB) engine.Engine {
		e, err := New(Options{Mode: mode})
		if errors.Is(err, engine.ErrUnsupported) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
}

func modes(t *testing.T, test func(t *testing.T, e *wazeroEngine)) {
	for _, mode := range []Mode{Compiler, Interpreter} {
		t.Run(mode.String(), func(t *testing.T) {
			e := newEngine(mode)(t).(*wazeroEngine)
			defer e.Close(context.Background())
			test(t, e)
		})
	}
}

func TestConformance(t *testing.T) {
	for _, mode := range []Mode{Compiler, Interpreter} {
		t.Run(mode.String(), func(t *testing.T) { enginetest.Run(t, newEngine(mode)) })
	}
}

func BenchmarkEngine(b *testing.B) {
	for _, mode := range []Mode{Compiler, Interpreter} {
		b.Run(mode.String(), func(b *testing.B) { enginetest.Bench(b, newEngine(mode)) })
	}
}

// BenchmarkRaw is wazero's own call, to be compared with BenchmarkEngine's.
func BenchmarkRaw(b *testing.B) {
	for _, mode := range []Mode{Compiler, Interpreter} {
		b.Run(mode.String(), func(b *testing.B) {
			e := newEngine(mode)(b).(*wazeroEngine)
			defer e.Close(context.Background())
			mod, err := e.rt.InstantiateWithConfig(context.Background(), sample(), wz.NewModuleConfig().WithName(""))
			if err != nil {
				b.Fatal(err)
			}
			f := mod.ExportedFunction("f")
			stack := make([]uint64, 2)
			for b.Loop() {
				if err := f.CallWithStack(context.Background(), stack); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// sample exports f(i32, i32) -> i32, the sum, endless recursion as "deep", and a global of each kind.
func sample() []byte {
	i32 := wasm.ValType{Kind: wasm.I32}
	m := wasm.Module{Types: []wasm.FuncType{{Params: []wasm.ValType{i32, i32}, Results: []wasm.ValType{i32}}, {}}}
	sum := wasm.AppendOp(wasm.AppendIndex(wasm.AppendIndex(nil, wasm.OpLocalGet, 0), wasm.OpLocalGet, 1), wasm.OpI32Add, wasm.OpEnd)
	deep := wasm.AppendOp(wasm.AppendIndex(nil, wasm.OpCall, 1), wasm.OpEnd)
	m.Funcs = []wasm.Func{{Body: wasm.Body{Code: sum}}, {Type: 1, Body: wasm.Body{Code: deep}}}
	m.Exports = []wasm.Export{{Name: "f"}, {Name: "deep", Index: 1}, {Name: "g", Kind: wasm.ExternGlobal}, {Name: "c", Kind: wasm.ExternGlobal, Index: 1}}
	zero := wasm.AppendOp(wasm.AppendI32Const(nil, 5), wasm.OpEnd)
	m.Globals = []wasm.Global{{GlobalType: wasm.GlobalType{Type: i32, Mutable: true}, Init: zero}, {GlobalType: wasm.GlobalType{Type: i32}, Init: zero}}
	return m.Encode()
}

// compile makes an instance of sample.
func compile(t testing.TB, e engine.Engine) *instance {
	t.Helper()
	code, err := e.Compile(context.Background(), sample())
	if err != nil {
		t.Fatal(err)
	}
	inst, err := code.Instantiate(context.Background(), engine.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(inst.Close(context.Background()), code.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return inst.(*instance)
}

// What is reached beyond wazero's interface must be there: nothing else would tell if it is missing.
func TestInternals(t *testing.T) {
	if callStackCeiling != Frames {
		t.Errorf("the interpreter's ceiling is %d", callStackCeiling)
	}
	modes(t, func(t *testing.T, e *wazeroEngine) {
		inst := compile(t, e)
		for _, name := range []string{"g", "c"} {
			g := inst.Global(name).(*global)
			if g.cell == nil || g.Get() != 5 {
				t.Errorf("global %s: cell %v, value %d", name, g.cell, g.Get())
			}
		}
		stack := inst.mod.ExportedFunction("deep")
		size := stackSize(stack)
		before := *size
		if err := stack.CallWithStack(context.Background(), nil); err == nil {
			t.Fatal("endless recursion ended")
		}
		if e.mode == Compiler && (before < 1<<10 || *size < 50<<20 || *size > 200<<20) {
			t.Errorf("stack of %d bytes, %d after an overflow", before, *size)
		}
		if t := reflect.TypeOf(stack).Elem(); e.mode == Interpreter {
			if f, ok := t.FieldByName("frames"); !ok || f.Type.Kind() != reflect.Slice {
				panic("no frames in " + t.String())
			}
		}
	})
}

func TestModes(t *testing.T) {
	e, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(context.Background())
	compiles := (runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64") && runtime.GOOS != "android"
	if want := map[bool]string{true: "wazero-compiler", false: "wazero-interpreter"}[compiles]; e.Name() != want {
		t.Errorf("auto is %s, want %s", e.Name(), want)
	}
	if _, err := New(Options{Mode: 9}); !errors.Is(err, engine.ErrUnsupported) {
		t.Errorf("mode 9: %v", err)
	}
}

func TestNoAllocations(t *testing.T) {
	e := newEngine(Compiler)(t)
	defer e.Close(context.Background())
	inst := compile(t, e)
	f, g := inst.Func("f"), inst.Global("g")
	stack := []uint64{1, 2}
	ctx := context.Background()
	if n := testing.AllocsPerRun(100, func() {
		_ = f.Call(ctx, stack)
		g.Set(g.Get() + 1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestStackIsReleased(t *testing.T) {
	modes(t, func(t *testing.T, e *wazeroEngine) {
		inst := compile(t, e)
		f := inst.Func("deep").(*function)
		var trap *engine.Trap
		if err := f.Call(context.Background(), nil); !errors.As(err, &trap) || trap.Kind != engine.TrapStackOverflow {
			t.Fatalf("got %v", err)
		}
		if f.idle.call != nil || inst.top.call != nil || inst.used != 0 {
			t.Error("the stack is still held")
		}
	})
}

func TestCache(t *testing.T) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skip("no compiler")
	}
	dir := filepath.Join(t.TempDir(), "made", "here")
	entries := func() []string {
		files, err := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	run := func() {
		t.Helper()
		e, err := New(Options{CacheDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close(context.Background())
		stack := []uint64{40, 2}
		code, err := e.Compile(context.Background(), sample())
		if err != nil {
			t.Fatal(err)
		}
		inst, err := code.Instantiate(context.Background(), engine.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if err := inst.Func("f").Call(context.Background(), stack); err != nil || stack[0] != 42 {
			t.Fatalf("got %d, %v", stack[0], err)
		}
		if err := errors.Join(inst.Close(context.Background()), code.Close(context.Background())); err != nil {
			t.Error(err)
		}
	}
	run()
	if len(entries()) != 1 {
		t.Fatalf("cache has %q", entries())
	}
	file := entries()[0]
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	run()
	if again, err := os.Stat(file); err != nil || !again.ModTime().Equal(info.ModTime()) {
		t.Errorf("cached code was not used: %v", err)
	}
	t.Run("damaged", func(t *testing.T) {
		for n := 0; n < len(good); n += 7 {
			if err := os.WriteFile(file, good[:n], 0o600); err != nil {
				t.Fatal(err)
			}
			run()
			if mended, err := os.ReadFile(file); err != nil || len(mended) != len(good) {
				t.Errorf("entry of %d bytes is now of %d, want %d: %v", n, len(mended), len(good), err)
			}
		}
	})
	t.Run("unwritable", func(t *testing.T) {
		// The folder goes away under the engine, so that writing fails for every user.
		e, err := New(Options{CacheDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close(context.Background())
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		compile(t, e)
	})
	t.Run("file", func(t *testing.T) {
		if _, err := New(Options{CacheDir: os.Args[0]}); err == nil {
			t.Error("a file was taken for a folder")
		}
	})
}

func TestCompileCancelled(t *testing.T) {
	modes(t, func(t *testing.T, e *wazeroEngine) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := e.Compile(ctx, sample()); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
