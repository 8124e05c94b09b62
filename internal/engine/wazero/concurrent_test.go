package wazero

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// TestConcurrentCompile compiles a module from the disk's cache many times at once, and calls what comes first.
func TestConcurrentCompile(t *testing.T) {
	m := &wasm.Module{}
	for i := range 64 { // a type each, so that the code that enters a function takes a while to make
		var ft wasm.FuncType
		for k := range i {
			ft.Params = append(ft.Params, wasm.ValType{Kind: []byte{wasm.I32, wasm.I64, wasm.F64}[k%3]})
		}
		m.Types = append(m.Types, ft)
		m.Funcs = append(m.Funcs, wasm.Func{Type: uint32(i), Body: wasm.Body{Code: wasm.Expr{0x0b}}})
	}
	m.Exports = []wasm.Export{{Name: "f", Kind: wasm.ExternFunc}}
	bin, dir, ctx := m.Encode(), t.TempDir(), context.Background()
	for range 20 {
		e, err := New(Options{Mode: Compiler, CacheDir: dir})
		if errors.Is(err, engine.ErrUnsupported) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				mod, err := e.Compile(ctx, bin)
				if err != nil {
					t.Error(err)
					return
				}
				defer mod.Close(ctx)
				in, err := mod.Instantiate(ctx, engine.Config{})
				if err != nil {
					t.Error(err)
					return
				}
				defer in.Close(ctx)
				if err := in.Func("f").Call(ctx, nil); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		e.Close(ctx)
	}
}
