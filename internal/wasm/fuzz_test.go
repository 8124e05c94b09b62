package wasm_test

import (
	"errors"
	"testing"

	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wasm/validate"
)

// walk decodes, reads and validates; what is accepted must survive encoding.
func walk(t *testing.T, bin []byte) {
	m, err := wasm.Decode(bin)
	if err != nil {
		if f := (*wasm.FormatError)(nil); !errors.As(err, &f) || f.Offset < 0 || f.Offset > len(bin) {
			t.Fatalf("unclear error %#v", err)
		}
		return
	}
	check := m.CheckBodies()
	if err := validate.Module(m); err == nil && check != nil {
		t.Fatalf("a module with malformed bodies is valid: %v", check)
	}
	enc := m.Encode()
	again, err := wasm.Decode(enc)
	if err != nil {
		t.Fatalf("decode again: %v", err)
	}
	sameModule(t, "fuzz", again, m)
	if check == nil {
		for i := range m.Funcs {
			reencodeBody(t, "fuzz", m.Funcs[i].Body.Code)
		}
	}
	if names, err := m.Names(); err == nil {
		m.SetNames(names)
		if _, err := m.Names(); err != nil {
			t.Fatalf("names do not survive: %v", err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(rich().Encode())
	n := 0
	eachModule(f, func(_ string, bin []byte) {
		if n++; n%16 == 0 && len(bin) < 1<<13 {
			f.Add(bin)
		}
	})
	f.Fuzz(walk)
}
