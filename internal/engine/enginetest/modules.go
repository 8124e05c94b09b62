package enginetest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine"
)

// plenty is a module with something of everything.
func plenty() *module {
	m := &module{}
	m.importFunc("host", "add", "ii:i")
	m.memory(1, 2)
	m.data("i32.const 4", []byte{9})
	m.global("g", "l", true, "i64.const 5")
	m.table(2, m.fn("f", "ii:i", "f", "local.get 0; local.get 1; call 0; i32.const 4; i32.load8_u; i32.add"))
	m.start(m.fn("", "", "", "i64.const 6; global.set 0"))
	return m
}

var adding = host(funcs{"add": hostFunc("ii:i", func(_ context.Context, _ engine.Instance, stack []uint64) error {
	stack[0] += stack[1]
	return nil
})})

func testModules(t *testing.T, s *suite) {
	t.Run("malformed", func(t *testing.T) { testMalformed(t, s) })
	t.Run("many", func(t *testing.T) {
		code := s.compile(t, plenty())
		insts := make([]engine.Instance, 300)
		for i := range insts {
			insts[i] = instantiate(t, code, adding)
			insts[i].Global("g").Set(uint64(i))
		}
		for i, inst := range insts {
			if got := inst.Global("g").Get(); got != uint64(i) {
				t.Errorf("instance %d: global is %d", i, got)
			}
			want(t, inst, 12, "f", 1, 2)
		}
	})
	t.Run("twice", func(t *testing.T) {
		first := s.compile(t, plenty())
		second, err := s.Compile(t.Context(), plenty().Encode())
		if err != nil {
			t.Fatal(err)
		}
		inst := instantiate(t, first, adding)
		if err := second.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		want(t, inst, 12, "f", 1, 2)
		want(t, instantiate(t, first, adding), 12, "f", 1, 2)
	})
	t.Run("closed", func(t *testing.T) {
		inst := instantiate(t, s.compile(t, plenty()), adding)
		f := inst.Func("f")
		for range 2 {
			if err := inst.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Call(context.Background(), make([]uint64, 2)); err == nil {
			t.Error("a closed instance ran")
		}
		if inst.Func("absent") != nil || inst.Global("g") != nil {
			t.Error("a closed instance has exports")
		}
		if _, ok := inst.Grow(1); ok {
			t.Error("a closed instance grew")
		}
	})
	t.Run("concurrent", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				m := plenty()
				if i%2 == 0 {
					m.global("own", "i", false, fmt.Sprint("i32.const ", i))
				}
				code, err := s.Compile(context.Background(), m.Encode())
				if err != nil {
					t.Error(err)
					return
				}
				for j := range uint64(10) {
					inst, err := code.Instantiate(context.Background(), adding)
					if err != nil {
						t.Error(err)
						return
					}
					if got, err := call(context.Background(), inst, "f", j, 1); err != nil || got[0] != j+10 {
						t.Errorf("got %d, %v", got, err)
					}
					if err := inst.Close(context.Background()); err != nil {
						t.Error(err)
					}
				}
				if err := code.Close(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
	t.Run("engines", func(t *testing.T) {
		other := open(t, s.newEngine)
		if name := other.Name(); name != s.Name() || name != strings.ToLower(name) || name == "" {
			t.Errorf("names %q and %q", name, s.Name())
		}
		code, err := other.Compile(context.Background(), plenty().Encode())
		if err != nil {
			t.Fatal(err)
		}
		inst, err := code.Instantiate(context.Background(), adding)
		if err != nil {
			t.Fatal(err)
		}
		m := &module{}
		m.importFunc("other", "f", "ii:i")
		_, err = s.compile(t, m).Instantiate(context.Background(), engine.Config{Link: map[string]engine.Instance{"other": inst}})
		if err == nil || !strings.Contains(err.Error(), "other.f") {
			t.Errorf("linked an instance of another engine: %v", err)
		}
		if err := inst.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := code.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func testMalformed(t *testing.T, s *suite) {
	try := func(bin []byte) {
		code, err := s.Compile(context.Background(), bin)
		if err == nil {
			err = code.Close(context.Background())
		} else if err.Error() == "" {
			t.Errorf("no text for %x", bin)
		}
		_ = err
	}
	refuse := func(name string, bin []byte) {
		if code, err := s.Compile(context.Background(), bin); err == nil {
			t.Errorf("%s: compiled", name)
			_ = code.Close(context.Background())
		}
	}
	good := plenty().Encode()
	refuse("nothing", nil)
	refuse("text", []byte("#!/bin/sh\necho hello\n"))
	refuse("version", []byte("\x00asm\x02\x00\x00\x00"))
	refuse("zeros", make([]byte, 100))
	refuse("tail", append(bytes.Clone(good), 0xff))
	m := &module{}
	m.fn("f", ":i", "", "i64.const 0")
	refuse("ill-typed", m.Encode())
	m = &module{}
	m.fn("f", "", "", "call 1")
	refuse("index", m.Encode())
	for n := range good {
		try(good[:n])
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		bin := bytes.Clone(good)
		for range 1 + rnd.IntN(3) {
			bin[8+rnd.IntN(len(bin)-8)] = byte(rnd.Uint32())
		}
		try(bin)
	}
}
