package enginetest

import (
	"context"
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine"
)

// Bench measures what crossing the interface costs, and the engine's speed on a few loops.
func Bench(b *testing.B, newEngine func(t testing.TB) engine.Engine) {
	m := &module{}
	nop := m.importFunc("host", "nop", "ii:i")
	m.importFunc("host", "enter", "i:i")
	m.memory(16, 16)
	m.global("g", "i", true, "i32.const 0")
	m.fn("nop", "ii:i", "", "local.get 0")
	m.fn("hosts", "i", "", "loop; local.get 0; local.get 0; call "+itoa(nop)+"; drop; local.get 0; i32.const 1; i32.sub; local.tee 0; br_if 0; end")
	guest := m.fn("", "i:i", "", "local.get 0")
	m.fn("guests", "i", "", "loop; local.get 0; call "+itoa(guest)+"; drop; local.get 0; i32.const 1; i32.sub; local.tee 0; br_if 0; end")
	m.fn("enter", "i:i", "", "local.get 0; call 1")
	fib := uint32(m.NumFuncs())
	m.fn("fib", "i:i", "", "local.get 0; i32.const 2; i32.lt_u; if; i32.const 1; return; end; local.get 0; i32.const 1; i32.sub; call "+itoa(fib)+
		"; local.get 0; i32.const 2; i32.sub; call "+itoa(fib)+"; i32.add")
	m.fn("sum", "i:i", "ii", "loop; local.get 2; local.get 1; i32.load; i32.add; local.set 2; local.get 1; i32.const 4; i32.add; local.tee 1; local.get 0; i32.lt_u; br_if 0; end; local.get 2")
	s := &suite{open(b, newEngine), newEngine}
	cfg := host(funcs{
		"nop": hostFunc("ii:i", func(context.Context, engine.Instance, []uint64) error { return nil }),
		"enter": hostFunc("i:i", func(ctx context.Context, inst engine.Instance, stack []uint64) error {
			return inst.Func("fib").Call(ctx, stack)
		}),
	})
	code := s.compile(b, m)
	inst := instantiate(b, code, cfg)

	// In these the unit of work is one call inside the guest, so that the entry does not count.
	for _, name := range []string{"hosts", "guests"} {
		b.Run(name, func(b *testing.B) {
			stack := make([]uint64, 1)
			f := inst.Func(name)
			b.ReportAllocs()
			for n := b.N; n > 0; n -= 1 << 20 {
				stack[0] = uint64(min(n, 1<<20))
				if err := f.Call(context.Background(), stack); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run := func(label, name string, ctx context.Context, arg uint64) {
		b.Run(label, func(b *testing.B) {
			stack := make([]uint64, 2)
			f := inst.Func(name)
			b.ReportAllocs()
			for b.Loop() {
				stack[0] = arg
				if err := f.Call(ctx, stack); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("call", "nop", context.Background(), 0)
	cancellable, cancel := context.WithCancel(context.Background())
	defer cancel()
	run("call-cancellable", "nop", cancellable, 0)
	run("reenter", "enter", context.Background(), 1)
	run("fib20", "fib", context.Background(), 20)
	run("sum256KiB", "sum", context.Background(), 256<<10)
	b.Run("global", func(b *testing.B) {
		g := inst.Global("g")
		for b.Loop() {
			g.Set(g.Get() + 1)
		}
	})
	b.Run("instantiate", func(b *testing.B) {
		for b.Loop() {
			inst, err := code.Instantiate(context.Background(), cfg)
			if err != nil {
				b.Fatal(err)
			}
			if err := inst.Close(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
