//go:build wasmtime && cgo && linux && (amd64 || arm64)

package wasmtime

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// nest calls the host: at once, at the bottom of a recursion, when its global says so, or from its start function.
func nest(start bool) []byte {
	m := wasm.Module{
		Types:   []wasm.FuncType{one, {}, {Params: []wasm.ValType{i32}}},
		Imports: []wasm.Import{{Module: "host", Name: "f", Type: 0}},
		Tags:    []uint32{2},
		Funcs: []wasm.Func{
			fn(0, 0x20, 0, 0x10, 0, 0x0b), // 1 call
			fn(0, 0x20, 0, 0x45, 0x04, 0x7f, 0x20, 0, 0x10, 0, 0x05, 0x20, 0, 0x41, 1, 0x6b, 0x10, 2, 0x41, 1, 0x6a, 0x0b, 0x0b), // 2 deep
			fn(0, 0x03, 0x40, 0x23, 0, 0x04, 0x40, 0x20, 0, 0x10, 0, 0x1a, 0x0b, 0x0c, 0, 0x0b, 0x00, 0x0b),                      // 3 poll
			fn(0, 0x00, 0x0b),                   // 4 trap
			fn(0, 0x20, 0, 0x08, 0, 0x0b),       // 5 throw
			fn(1, 0x41, 0, 0x10, 0, 0x1a, 0x0b), // 6 start
			fn(0, 0x02, 0x7f, 0x1f, 0x40, 1, 0, 0, 0, 0x20, 0, 0x10, 0, 0x08, 0, 0x0b, 0x41, 0x7f, 0x0b, 0x0b), // 7 call the host, throw, catch
		},
		Globals: []wasm.Global{{GlobalType: wasm.GlobalType{Type: i32, Mutable: true}, Init: wasm.Expr{0x41, 0, 0x0b}}},
	}
	for i, name := range []string{"call", "deep", "poll", "trap", "throw", "start", "catch"} {
		m.Exports = append(m.Exports, wasm.Export{Name: name, Index: uint32(i + 1)})
	}
	m.Exports = append(m.Exports, wasm.Export{Name: "stop", Kind: wasm.ExternGlobal})
	if start {
		m.Start = new(uint32(6))
	}
	return m.Encode()
}

// nested makes instances of nest, whose host function is what f is when it is called.
type nested struct {
	code, starts engine.Module
	f            func(ctx context.Context, in engine.Instance, stack []uint64) error
}

func newNested(t *testing.T, e engine.Engine) *nested {
	t.Helper()
	n := &nested{}
	for start, code := range map[bool]*engine.Module{false: &n.code, true: &n.starts} {
		var err error
		if *code, err = e.Compile(context.Background(), nest(start)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := (*code).Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	return n
}

func (n *nested) config(beside engine.Instance) engine.Config {
	return engine.Config{Beside: beside, StopGlobal: "stop", Funcs: map[string]map[string]engine.HostFunc{"host": {"f": {
		Params: []byte{engine.I32}, Results: []byte{engine.I32},
		Call: func(ctx context.Context, in engine.Instance, stack []uint64) error { return n.f(ctx, in, stack) },
	}}}}
}

func (n *nested) instance(t *testing.T, beside engine.Instance) engine.Instance {
	t.Helper()
	in, err := n.code.Instantiate(context.Background(), n.config(beside))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return in
}

func try(ctx context.Context, in engine.Instance, name string, arg uint64) (uint64, error) {
	stack := []uint64{arg}
	err := in.Func(name).Call(ctx, stack)
	return stack[0], err
}

func trapKind(err error) engine.TrapKind {
	var trap *engine.Trap
	if !errors.As(err, &trap) {
		return engine.NumTrapKinds
	}
	return trap.Kind
}

// The stack that one group has used another does not have.
func TestNestedStacks(t *testing.T) {
	e := open(t)
	outer, inner := newNested(t, e), newNested(t, e)
	a, b := outer.instance(t, nil), inner.instance(t, nil)
	inner.f = func(context.Context, engine.Instance, []uint64) error { return nil }
	const most = 1_500_000
	for _, depth := range []uint64{most, 1 << 30} {
		var err error
		outer.f = func(ctx context.Context, _ engine.Instance, stack []uint64) error {
			stack[0], err = try(ctx, b, "deep", depth)
			return nil
		}
		if _, err := try(context.Background(), a, "deep", most); err != nil {
			t.Fatal(err)
		}
		if want := map[bool]engine.TrapKind{true: engine.TrapStackOverflow, false: engine.NumTrapKinds}[depth > most]; trapKind(err) != want {
			t.Errorf("%d frames: %v", depth, err)
		}
	}
}

// Endless recursion through the host ends as any other.
func TestNestedRecursion(t *testing.T) {
	n := newNested(t, open(t))
	in := n.instance(t, nil)
	n.f = func(ctx context.Context, in engine.Instance, stack []uint64) error {
		return in.Func("call").Call(ctx, stack)
	}
	if _, err := try(context.Background(), in, "call", 1); trapKind(err) != engine.TrapStackOverflow {
		t.Errorf("got %v", err)
	}
}

// A group runs on one thread: what another goroutine calls meanwhile is refused, and does no harm.
func TestNestedElsewhere(t *testing.T) {
	n := newNested(t, open(t))
	in := n.instance(t, nil)
	n.f = func(ctx context.Context, in engine.Instance, _ []uint64) error {
		n.f = func(context.Context, engine.Instance, []uint64) error { return nil }
		done := make(chan error)
		go func() {
			_, err := try(ctx, in, "deep", 10)
			done <- err
		}()
		return <-done
	}
	if _, err := try(context.Background(), in, "call", 1); !errors.Is(err, engine.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	call(t, in, "call", 1)
}

// What an inner call ends with is not what the outer one ends with, unless the host says so.
func TestNestedEndings(t *testing.T) {
	e := open(t)
	outer, inner := newNested(t, e), newNested(t, e)
	a, b := outer.instance(t, nil), inner.instance(t, nil)
	own := errors.New("the host's own")
	for _, callee := range []engine.Instance{a, b} {
		for range 3 {
			for _, name := range []string{"trap", "throw", "call"} {
				ends := func(ctx context.Context) error {
					inner.f = func(context.Context, engine.Instance, []uint64) error { return own }
					save := outer.f
					outer.f = inner.f
					defer func() { outer.f = save }()
					_, err := try(ctx, callee, name, 1)
					var thrown *engine.Exception
					switch {
					case name == "trap" && trapKind(err) == engine.TrapUnreachable:
					case name == "throw" && errors.As(err, &thrown):
					case name == "call" && err == own:
					default:
						t.Errorf("inner %s: %v", name, err)
					}
					return err
				}
				outer.f = func(ctx context.Context, _ engine.Instance, _ []uint64) error { _ = ends(ctx); return nil }
				call(t, a, "call", 5)
				if got := call(t, a, "catch", 5); got != 5 {
					t.Errorf("caught %d", got)
				}
				var inner error
				outer.f = func(ctx context.Context, _ engine.Instance, _ []uint64) error { inner = ends(ctx); return inner }
				if _, err := try(context.Background(), a, "catch", 5); err != inner || err == nil {
					t.Errorf("%s: %v, the host returned %v", name, err, inner)
				}
				outer.f = func(ctx context.Context, _ engine.Instance, _ []uint64) error { _ = ends(ctx); return own }
				if _, err := try(context.Background(), a, "call", 5); err != own {
					t.Errorf("%s: %v", name, err)
				}
				if _, err := try(context.Background(), a, "trap", 5); trapKind(err) != engine.TrapUnreachable {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
}

// Instances that fail while their group runs leave nothing behind that would hold the group.
func TestNestedFailure(t *testing.T) {
	e := open(t)
	n := newNested(t, e)
	in := n.instance(t, nil)
	own := errors.New("the host's own")
	n.f = func(ctx context.Context, inst engine.Instance, _ []uint64) error {
		n.f = func(context.Context, engine.Instance, []uint64) error { return own }
		for range 3 {
			if _, err := n.starts.Instantiate(ctx, n.config(in)); !errors.Is(err, own) || strings.Contains(err.Error(), "running") {
				t.Errorf("start: %v", err)
			}
			cfg := n.config(in)
			cfg.StopGlobal = "none"
			if _, err := n.code.Instantiate(ctx, cfg); err == nil || strings.Contains(err.Error(), "running") {
				t.Errorf("no stop global: %v", err)
			}
		}
		return nil
	}
	call(t, in, "call", 1)
	id := in.(*instance).group.id
	if err := in.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if groups.get(id) != nil {
		t.Error("the group lives on")
	}
}

// A context that ends stops the instance that is called with it, whatever others of its group watch it.
func TestNestedStop(t *testing.T) {
	for _, same := range []bool{true, false} {
		n := newNested(t, open(t))
		a := n.instance(t, nil)
		b := n.instance(t, a)
		ctx, cancel := context.WithCancel(context.Background())
		n.f = func(ctx context.Context, in engine.Instance, _ []uint64) error {
			if in != a {
				t.Error("called after the end")
				return nil
			}
			if !same {
				var end func()
				ctx, end = context.WithCancel(ctx)
				defer end()
			}
			go cancel()
			_, err := try(ctx, b, "poll", 1)
			return err
		}
		if _, err := try(ctx, a, "call", 1); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		for i, in := range []engine.Instance{a, b} {
			if got := in.Global("stop").Get(); got != 0 {
				t.Errorf("stop global of instance %d is left %d, same context: %t", i, got, same)
			}
		}
	}
}

// A goroutine that ends in a host function takes its thread with it, and its group.
func TestGoexit(t *testing.T) {
	e := open(t)
	for range 20 {
		n := newNested(t, e)
		in, err := n.code.Instantiate(context.Background(), n.config(nil))
		if err != nil {
			t.Fatal(err)
		}
		n.f = func(context.Context, engine.Instance, []uint64) error { runtime.Goexit(); return nil }
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := try(context.Background(), in, "deep", 100)
			t.Errorf("came back: %v", err)
		})
		wg.Wait()
		if _, err := try(context.Background(), in, "trap", 1); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("a call into what was left: %v", err)
		}
		if err := in.Close(context.Background()); err == nil {
			t.Error("closed what was left")
		}
		other := newNested(t, e).instance(t, nil)
		for range 4 {
			wg.Go(func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				n := newNested(t, e)
				n.f = func(context.Context, engine.Instance, []uint64) error { return nil }
				if _, err := try(context.Background(), n.instance(t, nil), "trap", 1); trapKind(err) != engine.TrapUnreachable {
					t.Errorf("got %v", err)
				}
			})
		}
		wg.Wait()
		if _, err := try(context.Background(), other, "trap", 1); trapKind(err) != engine.TrapUnreachable {
			t.Errorf("got %v", err)
		}
	}
}

// A panic of what makes memory is an error, too.
func TestMemoryPanic(t *testing.T) {
	code := compile(t, open(t))
	defer code.Close(context.Background())
	_, err := code.Instantiate(context.Background(), engine.Config{Memory: func(_, _, _ uint64) (*linmem.Memory, error) { panic("no memory today") }})
	if err == nil || !strings.Contains(err.Error(), "no memory today") {
		t.Errorf("got %v", err)
	}
}

// Exceptions are not taken back: those that there is no room for end the run as growth that is refused does.
func TestHeapLimit(t *testing.T) {
	e, err := New(Options{Heap: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close(context.Background()) })
	in := instantiate(t, compile(t, e), engine.Config{})
	caught := 0
	for err == nil && caught < 100_000 {
		if _, err = try(context.Background(), in, "catch", 1); err == nil {
			caught++
		}
	}
	if !errors.Is(err, engine.ErrMemory) || caught < 10_000 {
		t.Errorf("after %d exceptions: %v", caught, err)
	}
	call(t, in, "inc", 1)
}

// The library would end the process if the system refused it memory for a table.
func TestTableLimit(t *testing.T) {
	funcref := wasm.TableType{Elem: wasm.ValType{Kind: wasm.FuncRef}}
	m := wasm.Module{
		Types:   []wasm.FuncType{one},
		Tables:  []wasm.Table{{TableType: funcref}},
		Funcs:   []wasm.Func{fn(0, 0xd0, 0x70, 0x20, 0, 0xfc, 15, 0, 0x0b)}, // table.grow
		Exports: []wasm.Export{{Name: "grow"}},
	}
	e := open(t)
	code, err := e.Compile(context.Background(), m.Encode())
	if err != nil {
		t.Fatal(err)
	}
	in := instantiate(t, code, engine.Config{})
	for _, c := range []struct{ by, want uint64 }{{3, 0}, {1<<32 - 1, 1<<32 - 1}, {maxTable - 2, 1<<32 - 1}, {1 << 31, 1<<32 - 1}, {1, 3}} {
		if got := call(t, in, "grow", c.by); got != c.want {
			t.Errorf("grow by %d: %d, want %d", c.by, got, c.want)
		}
	}
	m.Tables[0].Limits.Min = maxTable + 1
	if _, err := e.Compile(context.Background(), m.Encode()); !errors.Is(err, engine.ErrUnsupported) {
		t.Errorf("large table: %v", err)
	}
}

// Who sets a global from another goroutine may come too late.
func TestClosedGlobals(t *testing.T) {
	e := open(t)
	code := compile(t, e)
	defer code.Close(context.Background())
	for range 200 {
		in, err := code.Instantiate(context.Background(), engine.Config{})
		if err != nil {
			t.Fatal(err)
		}
		g := in.Global("g")
		g.Set(7)
		closed := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				g.Set(5)
				select {
				case <-closed:
					return
				default:
				}
			}
		})
		if err := in.Close(context.Background()); err != nil {
			t.Error(err)
		}
		close(closed)
		wg.Wait()
		if got := g.Get(); got != 0 {
			t.Fatalf("the global of a closed instance is %d", got)
		}
	}
}
