package rewrite_test

import (
	"errors"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wasm/validate"
)

// What is valid is valid rewritten, also for the engine; what is invalid stays so; nothing makes Rewrite panic.
func FuzzRewrite(f *testing.F) {
	var k maker
	k.memory()
	k.table(k.fn("f", "dv", "dv", "", wasm.OpLocalGet, 0, wasm.OpLocalGet, 0, wasm.OpF64Add, wasm.OpLocalGet, 1))
	nested(&k)
	f.Add(k.Encode(), byte(0xff))
	var d maker
	d.memory()
	d.data(wasm.Passive, "abc")
	d.data(wasm.Active, "xyz", wasm.OpI32Const, int64(70), wasm.OpI32Const, int64(-6), wasm.OpI32Add)
	d.data(wasm.Active, "yz!", wasm.OpI32Const, int64(65))
	d.HasDataCount = true
	d.fn("f", "", "", "", wasm.OpI32Const, 0, wasm.OpI32Const, 0, wasm.OpI32Const, 0, wasm.OpMemoryInit, 1, byte(0), wasm.OpDataDrop, 2)
	f.Add(d.Encode(), byte(8))
	_, bins := modules(f)
	for i, bin := range bins {
		if len(bin) < 2000 && i%10 == 0 {
			f.Add(bin, byte(i))
		}
	}
	options := allOptions()
	r := wazero.NewRuntimeWithConfig(f.Context(), wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features))
	compile := func(t *testing.T, bin []byte) error {
		c, err := r.CompileModule(t.Context(), bin)
		if err == nil {
			err = c.Close(t.Context())
		}
		return err
	}
	f.Fuzz(func(t *testing.T, bin []byte, i byte) {
		m, err := wasm.Decode(bin)
		if err != nil {
			return
		}
		rewrite.WhyLocal(m)
		invalid := validate.Module(m)
		res, err := rewrite.Rewrite(m, withCandidates(m, options[int(i)%len(options)]))
		if stay := (*rewrite.StayError)(nil); errors.As(err, &stay) {
			return
		}
		if err != nil {
			if invalid == nil {
				t.Fatalf("a valid module is refused: %v", err)
			}
			return
		}
		out, err := wasm.Decode(res.Binary)
		if err != nil {
			t.Fatalf("the result is malformed: %v", err)
		}
		if err := validate.Module(out); (err == nil) != (invalid == nil) {
			t.Fatalf("before: %v, after: %v", invalid, err)
		}
		if invalid != nil || compile(t, bin) != nil {
			return
		}
		checkImage(t, m, &res.Manifest)
		if err := compile(t, res.Binary); err != nil {
			t.Fatalf("options %d: %v", int(i)%len(options), err)
		}
	})
}
