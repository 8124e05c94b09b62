// Package enginetest is the suite that every engine passes, and the benchmarks that compare them.
package enginetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/engine"
)

// MinFrames is the depth of calls of a small function that every engine offers.
const MinFrames = 50_000

// Run tests an implementation. newEngine makes an engine, which the suite closes; it may be called often. What an
// engine refuses to compile with ErrUnsupported is skipped.
func Run(t *testing.T, newEngine func(t testing.TB) engine.Engine) {
	groups := []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"value", testValues}, {"global", testGlobals}, {"memory", testMemory}, {"host", testHost}, {"import", testImports},
		{"trap", testTraps}, {"recursion", testRecursion}, {"stop", testStop}, {"module", testModules}, {"link", testLink},
		{"feature", testFeatures},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			t.Run("all", func(t *testing.T) { g.run(t, &suite{open(t, newEngine), newEngine}) })
			// Goroutines may take a moment to end, but none may stay.
			for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
				if time.Now().After(deadline) {
					buf := make([]byte, 1<<16)
					t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
				}
			}
		})
	}
}

func open(t testing.TB, newEngine func(testing.TB) engine.Engine) engine.Engine {
	t.Helper()
	e := newEngine(t)
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Errorf("close engine: %v", err)
		}
	})
	return e
}

type suite struct {
	engine.Engine
	newEngine func(testing.TB) engine.Engine
}

// funcs are host functions of the module "host".
type funcs map[string]engine.HostFunc

func host(f funcs) engine.Config {
	return engine.Config{Funcs: map[string]map[string]engine.HostFunc{"host": f}}
}

// hostFunc makes a host function; sig is as for module.sig.
func hostFunc(sig string, call func(ctx context.Context, inst engine.Instance, stack []uint64) error) engine.HostFunc {
	params, results, _ := strings.Cut(sig, ":")
	kinds := func(letters string) (list []byte) {
		for _, t := range types(letters) {
			list = append(list, t.Kind)
		}
		return list
	}
	return engine.HostFunc{Params: kinds(params), Results: kinds(results), Call: call}
}

// tickFunc is the host function that polling calls.
var tickFunc = hostFunc("", func(context.Context, engine.Instance, []uint64) error { return nil })

// polling is an endless loop that code may leave with "br_if 1". It calls the function now and then, as
// engine.Config.StopGlobal demands, and counts in a global.
func (m *module) polling(tick uint32, code string) string {
	g := itoa(m.global(fmt.Sprint("ticks", len(m.Globals)), "i", true, "i32.const 0"))
	return "block; loop;" + code + "; global.get " + g + "; i32.const 1; i32.add; global.set " + g +
		"; global.get " + g + "; i32.const 65535; i32.and; i32.eqz; if; call " + itoa(tick) + "; end; br 0; end; end;"
}

// compile compiles m; the test is skipped if the engine does not support it.
func (s *suite) compile(t testing.TB, m *module) engine.Module {
	t.Helper()
	code, err := s.Compile(context.Background(), m.Encode())
	if errors.Is(err, engine.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := code.Close(context.Background()); err != nil {
			t.Errorf("close module: %v", err)
		}
	})
	return code
}

// instance compiles and instantiates m.
func (s *suite) instance(t testing.TB, m *module, cfg engine.Config) engine.Instance {
	t.Helper()
	return instantiate(t, s.compile(t, m), cfg)
}

func instantiate(t testing.TB, code engine.Module, cfg engine.Config) engine.Instance {
	t.Helper()
	inst, err := code.Instantiate(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, inst)
	return inst
}

func closeAfter(t testing.TB, inst engine.Instance) {
	t.Cleanup(func() {
		if err := inst.Close(context.Background()); err != nil {
			t.Errorf("close instance: %v", err)
		}
	})
}

// call calls an export with args and returns as many slots as it has results.
func call(ctx context.Context, inst engine.Instance, name string, args ...uint64) ([]uint64, error) {
	f := inst.Func(name)
	if f == nil {
		return nil, errors.New("no function " + name)
	}
	params, results := f.Type()
	stack := make([]uint64, max(len(params), len(results)))
	copy(stack, args)
	if err := f.Call(ctx, stack); err != nil {
		return nil, err
	}
	return stack[:len(results)], nil
}

// want calls an export that has one result and compares that.
func want(t testing.TB, inst engine.Instance, result uint64, name string, args ...uint64) {
	t.Helper()
	got, err := call(context.Background(), inst, name, args...)
	if err != nil {
		t.Fatalf("%s%x: %v", name, args, err)
	}
	if len(got) != 1 || got[0] != result {
		t.Fatalf("%s%x: got %#x, want %#x", name, args, got, result)
	}
}

// wantTrap checks that err is a trap of the kind.
func wantTrap(t testing.TB, err error, kind engine.TrapKind) {
	t.Helper()
	var trap *engine.Trap
	if !errors.As(err, &trap) {
		t.Fatalf("got %v, want trap %q", err, kind)
	}
	if trap.Kind != kind {
		t.Fatalf("got trap %q (%s), want %q", trap.Kind, trap.Detail, kind)
	}
}
