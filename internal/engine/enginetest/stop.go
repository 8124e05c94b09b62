package enginetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/engine"
)

func testStop(t *testing.T, s *suite) {
	m := &module{}
	began := m.importFunc("host", "began", "")
	poll := m.importFunc("host", "poll", "")
	inner := m.importFunc("host", "inner", "")
	tick := m.importFunc("host", "tick", "")
	m.global("stop", "i", true, "i32.const 0")
	m.global("seen", "i", true, "i32.const 0")
	m.fn("polls", "", "", "call "+itoa(began)+";"+m.polling(tick, "global.get 0; if; i32.const 1; global.set 1; call "+itoa(poll)+"; end"))
	m.fn("calls", "", "", "call "+itoa(began)+"; loop; call "+itoa(poll)+"; br 0; end")
	m.fn("finish", ":i", "", "call "+itoa(began)+"; i32.const 5")
	m.fn("outer", ":i", "", "call "+itoa(inner)+"; i32.const 6")
	code := s.compile(t, m)

	// cancel is what a test does when the guest has begun; it may let the guest go on only after that.
	type env struct {
		inst   engine.Instance
		cancel func()
		inner  func(ctx context.Context, inst engine.Instance) error
		polled bool
	}
	start := func(t *testing.T, stop string) *env {
		e := &env{cancel: func() {}}
		cfg := host(funcs{
			"began": hostFunc("", func(context.Context, engine.Instance, []uint64) error { e.cancel(); return nil }),
			"poll":  hostFunc("", func(context.Context, engine.Instance, []uint64) error { e.polled = true; return nil }),
			"tick":  tickFunc,
			"inner": hostFunc("", func(ctx context.Context, inst engine.Instance, _ []uint64) error { return e.inner(ctx, inst) }),
		})
		cfg.StopGlobal = stop
		e.inst = instantiate(t, code, cfg)
		return e
	}
	healthy := func(t *testing.T, e *env) {
		t.Helper()
		if got := e.inst.Global("stop").Get(); got != 0 {
			t.Errorf("stop global is left %d", got)
		}
		e.cancel = func() {}
		want(t, e.inst, 5, "finish")
	}
	cause := errors.New("the user has left")

	for _, name := range []string{"polls", "calls"} {
		for _, after := range []time.Duration{0, time.Millisecond} {
			t.Run(name+after.String(), func(t *testing.T) {
				stop := "stop"
				if name == "calls" {
					stop = ""
				}
				e := start(t, stop)
				ctx, cancel := context.WithCancelCause(context.Background())
				defer cancel(nil)
				e.cancel = func() { time.AfterFunc(after, func() { cancel(cause) }) }
				_, err := call(ctx, e.inst, name)
				if !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
					t.Errorf("got %v", err)
				}
				if name == "polls" && e.polled {
					t.Error("the poll was called after the end")
				}
				healthy(t, e)
			})
		}
	}
	t.Run("seen", func(t *testing.T) {
		// A host call between polls may end the run as well, but not always.
		e := start(t, "stop")
		for range 1000 {
			ctx, cancel := context.WithCancel(context.Background())
			e.cancel = func() { time.AfterFunc(time.Microsecond, cancel) }
			if _, err := call(ctx, e.inst, "polls"); !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v", err)
			}
			if e.inst.Global("seen").Get() != 0 {
				return
			}
		}
		t.Error("the guest never saw the stop global")
	})
	t.Run("deadline", func(t *testing.T) {
		e := start(t, "stop")
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if _, err := call(ctx, e.inst, "polls"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		healthy(t, e)
	})
	t.Run("before", func(t *testing.T) {
		e := start(t, "stop")
		e.cancel = func() { t.Error("the guest has run") }
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := call(ctx, e.inst, "finish"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if _, err := code.Instantiate(ctx, engine.Config{}); !errors.Is(err, context.Canceled) {
			t.Errorf("instantiate: got %v", err)
		}
		healthy(t, e)
	})
	t.Run("finish", func(t *testing.T) {
		e := start(t, "stop")
		for range 100 {
			ctx, cancel := context.WithCancel(context.Background())
			e.cancel = cancel
			if got, err := call(ctx, e.inst, "finish"); err != nil || got[0] != 5 {
				t.Fatalf("got %v, %v", got, err)
			}
			healthy(t, e)
		}
	})
	t.Run("inner", func(t *testing.T) {
		e := start(t, "stop")
		e.inner = func(ctx context.Context, inst engine.Instance) error {
			ctx, cancel := context.WithCancel(ctx)
			e.cancel = cancel
			if _, err := call(ctx, inst, "polls"); !errors.Is(err, context.Canceled) {
				t.Errorf("inner run: %v", err)
			}
			if got := inst.Global("stop").Get(); got != 0 {
				t.Errorf("stop global is %d after the inner run", got)
			}
			return nil
		}
		for _, ctx := range []context.Context{context.Background(), t.Context()} {
			if got, err := call(ctx, e.inst, "outer"); err != nil || got[0] != 6 {
				t.Errorf("got %v, %v", got, err)
			}
		}
		healthy(t, e)
	})
	t.Run("outer", func(t *testing.T) {
		e := start(t, "stop")
		ctx, cancel := context.WithCancel(context.Background())
		e.inner = func(_ context.Context, inst engine.Instance) error {
			// Not even a run with a context of its own outlives the outer one's.
			e.cancel = cancel
			if _, err := call(context.Background(), inst, "polls"); !errors.Is(err, context.Canceled) {
				t.Errorf("inner run: %v", err)
			}
			return cause
		}
		if _, err := call(ctx, e.inst, "outer"); err != cause {
			t.Errorf("got %v", err)
		}
		healthy(t, e)
	})
	t.Run("start", func(t *testing.T) {
		m := &module{}
		m.importFunc("host", "began", "")
		m.start(m.fn("", "", "", "loop; call 0; br 0; end"))
		ctx, cancel := context.WithCancel(context.Background())
		cfg := host(funcs{"began": hostFunc("", func(context.Context, engine.Instance, []uint64) error { cancel(); return nil })})
		if _, err := s.compile(t, m).Instantiate(ctx, cfg); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
