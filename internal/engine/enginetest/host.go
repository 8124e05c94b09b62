package enginetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// exit stands for the error of a process that ends itself.
type exit struct{ code int }

func (e *exit) Error() string { return fmt.Sprintf("exit %d", e.code) }

func testHost(t *testing.T, s *suite) {
	t.Run("error", func(t *testing.T) { testHostError(t, s) })
	t.Run("context", func(t *testing.T) { testHostContext(t, s) })
	t.Run("reenter", func(t *testing.T) { testReenter(t, s) })
	t.Run("reexport", func(t *testing.T) {
		m := &module{}
		m.export("twice", wasm.ExternFunc, m.importFunc("host", "twice", "i:i"))
		inst := s.instance(t, m, host(funcs{"twice": hostFunc("i:i", func(_ context.Context, _ engine.Instance, stack []uint64) error {
			stack[0] *= 2
			return nil
		})}))
		want(t, inst, 0xfffffffe, "twice", 0xffffffff)
	})
}

func testHostError(t *testing.T, s *suite) {
	m := &module{}
	fail := m.importFunc("host", "fail", "i:i")
	again := m.importFunc("host", "again", "i:i")
	m.memory(1, 1)
	m.fn("fail", "i:i", "", "i32.const 0; local.get 0; i32.store; local.get 0; call "+itoa(fail)+"; i32.const 0; i32.const 99; i32.store")
	m.fn("again", "i:i", "", "local.get 0; call "+itoa(again))
	m.fn("fine", ":i", "", "i32.const 0; i32.load")
	m.fn("trap", ":i", "", "unreachable")
	failures := []error{
		errors.New("plain"), fmt.Errorf("wrapped: %w", context.DeadlineExceeded), &exit{3},
		&engine.Trap{Kind: engine.TrapUnaligned}, &engine.Exception{}, engine.ErrClosed,
	}
	inst := s.instance(t, m, host(funcs{
		"fail": hostFunc("i:i", func(_ context.Context, _ engine.Instance, stack []uint64) error { return failures[stack[0]] }),
		"again": hostFunc("i:i", func(ctx context.Context, inst engine.Instance, stack []uint64) error {
			if stack[0] == 100 {
				return inst.Func("trap").Call(ctx, stack)
			}
			if err := inst.Func("fail").Call(ctx, stack); err != nil {
				return fmt.Errorf("again: %w", err)
			}
			return nil
		}),
	}))
	for i, failure := range failures {
		if _, err := call(context.Background(), inst, "fail", uint64(i)); err != failure {
			t.Errorf("got %v, want %v itself", err, failure)
		}
		want(t, inst, uint64(i), "fine")
		_, err := call(context.Background(), inst, "again", uint64(i))
		if !errors.Is(err, failure) || !strings.HasPrefix(err.Error(), "again: ") {
			t.Errorf("again: got %v, want %v", err, failure)
		}
	}
	var e *exit
	if _, err := call(context.Background(), inst, "again", 2); !errors.As(err, &e) || e.code != 3 {
		t.Errorf("got %v", err)
	}
	_, err := call(context.Background(), inst, "again", 100)
	wantTrap(t, err, engine.TrapUnreachable)
	if _, err := call(context.Background(), inst, "fail", 10); err == nil || !strings.Contains(err.Error(), "index out of range") {
		t.Errorf("panic of a host function: got %v", err)
	}
	want(t, inst, 10, "fine")
}

func testHostContext(t *testing.T, s *suite) {
	type key struct{}
	m := &module{}
	m.importFunc("host", "see", "")
	m.fn("see", "", "", "call 0")
	var inst engine.Instance
	seen := 0
	inst = s.instance(t, m, host(funcs{"see": hostFunc("", func(ctx context.Context, in engine.Instance, stack []uint64) error {
		seen++
		if in != inst || ctx.Value(key{}) != "here" || len(stack) != 0 {
			t.Errorf("instance %v, context %v, %d slots", in, ctx, len(stack))
		}
		return nil
	})}))
	if _, err := call(context.WithValue(context.Background(), key{}, "here"), inst, "see"); err != nil || seen != 1 {
		t.Errorf("%d calls: %v", seen, err)
	}
}

func testReenter(t *testing.T, s *suite) {
	m := &module{}
	fib := m.importFunc("host", "fib", "i:l")
	m.importFunc("host", "stay", "")
	m.memory(1, 1)
	m.fn("fib", "i:l", "l", `local.get 0; i32.const 2; i32.lt_u; if; i64.const 1; return; end
		local.get 0; i32.const 1; i32.sub; call `+itoa(fib)+`; local.set 1
		local.get 0; i32.const 2; i32.sub; call `+itoa(fib)+`; local.get 1; i64.add`)
	m.fn("stay", "", "", "call 1")
	// deep fills the wasm stack at each turn before it lets the host re-enter.
	deep := uint32(m.NumFuncs())
	m.fn("deep", "i:l", "", `local.get 0; if; local.get 0; i32.const 1; i32.sub; call `+itoa(deep)+`; drop; end; i32.const 1000; call `+itoa(fib))
	target, levels := "fib", 0
	inst := s.instance(t, m, host(funcs{
		"fib": hostFunc("i:l", func(ctx context.Context, inst engine.Instance, stack []uint64) error {
			levels++
			return inst.Func(target).Call(ctx, stack)
		}),
		"stay": hostFunc("", func(ctx context.Context, inst engine.Instance, _ []uint64) error {
			if err := inst.Close(ctx); err == nil {
				t.Error("closed a running instance")
			}
			return nil
		}),
	}))
	want(t, inst, 610, "fib", 14)
	if _, err := call(context.Background(), inst, "stay"); err != nil {
		t.Error(err)
	}
	for _, target = range []string{"deep"} {
		levels = 0
		_, err := call(context.Background(), inst, target, 1000)
		wantTrap(t, err, engine.TrapStackOverflow)
		if levels < 10 {
			t.Errorf("only %d levels", levels)
		}
	}
	m.fn("endless", "i:l", "", "local.get 0; call "+itoa(fib))
	inst = s.instance(t, m, host(funcs{
		"fib": hostFunc("i:l", func(ctx context.Context, inst engine.Instance, stack []uint64) error {
			return inst.Func("endless").Call(ctx, stack)
		}),
		"stay": hostFunc("", func(context.Context, engine.Instance, []uint64) error { return nil }),
	}))
	for range 2 {
		_, err := call(context.Background(), inst, "endless", 0)
		wantTrap(t, err, engine.TrapStackOverflow)
	}
}

func testImports(t *testing.T, s *suite) {
	nop := hostFunc("i", func(context.Context, engine.Instance, []uint64) error { return nil })
	imports := map[string]wasm.Import{
		"func":   {Kind: wasm.ExternFunc},
		"memory": {Kind: wasm.ExternMemory, Memory: wasm.Limits{Min: 1}},
		"global": {Kind: wasm.ExternGlobal, Global: wasm.GlobalType{Type: types("i")[0]}},
		"table":  {Kind: wasm.ExternTable, Table: wasm.TableType{Elem: types("F")[0], Limits: wasm.Limits{Min: 1, Max: 200, HasMax: true}}},
		"tag":    {Kind: wasm.ExternTag},
	}
	empty := s.instance(t, &module{}, engine.Config{})
	configs := map[string]engine.Config{
		"nothing":  {},
		"module":   {Funcs: map[string]map[string]engine.HostFunc{"x": {"missing": nop}}},
		"function": {Funcs: map[string]map[string]engine.HostFunc{"env": {"other": nop}}},
		"nil":      {Funcs: map[string]map[string]engine.HostFunc{"env": {"missing": {}}}},
		"type":     {Funcs: map[string]map[string]engine.HostFunc{"env": {"missing": nop}}},
		"link":     {Link: map[string]engine.Instance{"env": empty}},
		"both": {Link: map[string]engine.Instance{"env": empty}, Funcs: map[string]map[string]engine.HostFunc{"env": {
			"missing": hostFunc("", func(context.Context, engine.Instance, []uint64) error { return nil })}}},
	}
	for kind, im := range imports {
		t.Run(kind, func(t *testing.T) {
			m := &module{}
			m.sig("")
			im.Module, im.Name = "env", "missing"
			m.Imports = []wasm.Import{im}
			code := s.compile(t, m)
			for name, cfg := range configs {
				_, err := code.Instantiate(context.Background(), cfg)
				var ie *engine.ImportError
				if !errors.As(err, &ie) {
					t.Errorf("%s: got %v", name, err)
					continue
				}
				if ie.Module != "env" || ie.Name != "missing" || !strings.Contains(err.Error(), "env.missing") || strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: got %q", name, err)
				}
			}
		})
	}
	t.Run("unused", func(t *testing.T) {
		m := &module{}
		m.fn("f", ":i", "", "i32.const 1")
		inst := s.instance(t, m, engine.Config{Funcs: configs["type"].Funcs, Link: map[string]engine.Instance{"other": empty}})
		want(t, inst, 1, "f")
	})
	t.Run("stop", func(t *testing.T) {
		m := &module{}
		m.global("const", "i", false, "i32.const 0")
		m.global("long", "l", true, "i64.const 0")
		code := s.compile(t, m)
		for _, name := range []string{"absent", "const", "long"} {
			if _, err := code.Instantiate(context.Background(), engine.Config{StopGlobal: name}); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("stop global %s: %v", name, err)
			}
		}
	})
}
