//go:build wasmtime && cgo && linux && (amd64 || arm64)

package worker

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/wasmtime"
)

// counting counts what a Coder does.
type counting struct {
	engine.Coder
	compiles, loads atomic.Int32
}

// Compile implements engine.Engine.
func (c *counting) Compile(ctx context.Context, bin []byte) (engine.Module, error) {
	c.compiles.Add(1)
	return c.Coder.Compile(ctx, bin)
}

// Load implements engine.Coder.
func (c *counting) Load(ctx context.Context, bin []byte, path string) (engine.Module, error) {
	m, err := c.Coder.Load(ctx, bin, path)
	if err == nil {
		c.loads.Add(1)
	}
	return m, err
}

// TestSealedWasmtime: what lies behind the code in the store's file is no matter to the engine, and nonsense under a
// right MAC is refused.
func TestSealedWasmtime(t *testing.T) {
	folder, l := t.TempDir(), &logged{}
	id := func(s *sealed) [32]byte { return s.id([]byte(answer)) }
	for _, step := range []struct {
		name            string
		before          func(s *sealed) error
		compiles, loads int32
		logged          string
	}{
		{"new", nil, 1, 0, ""},
		{"in place", nil, 0, 1, ""},
		{"copy", func(*sealed) error { return os.Chmod(files(t, folder)[0], 0o420) }, 0, 1, ""},
		{"damaged", func(*sealed) error {
			path := files(t, folder)[0]
			b, err := os.ReadFile(path)
			if err == nil {
				b[len(b)/2] ^= 1
				err = errors.Join(os.Remove(path), os.WriteFile(path, b, 0o400))
			}
			return err
		}, 1, 0, ""},
		{"again", nil, 0, 1, ""},
		{"nonsense", func(s *sealed) error { return s.code.Put(id(s), s.coder.CodeID(), make([]byte, 10_000)) }, 1, 0, "of no use"},
		{"cut", func(s *sealed) error {
			c, err := s.code.Open(id(s), s.coder.CodeID())
			if err != nil {
				return err
			}
			defer c.Close()
			b, err := os.ReadFile(c.Path())
			if err != nil {
				return err
			}
			return s.code.Put(id(s), s.coder.CodeID(), b[:c.Size/2])
		}, 1, 0, "of no use"},
		{"of no version", func(s *sealed) error { return s.code.Put(id(s), s.coder.CodeID(), []byte("\x7fELF and no more")) }, 1, 0, "of no use"},
		{"at last", nil, 0, 1, ""},
	} {
		e, err := wasmtime.New(wasmtime.Options{})
		if err != nil {
			t.Fatal(err)
		}
		c := &counting{Coder: e.(engine.Coder)}
		s := another(t, c, folder, l)
		if step.before != nil {
			if err := step.before(s); err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
		}
		answers(t, compile(t, s, answer))
		settled(t, s)
		if c.compiles.Load() != step.compiles || c.loads.Load() != step.loads {
			t.Errorf("%s: %d compilations, %d loads, want %d, %d", step.name, c.compiles.Load(), c.loads.Load(), step.compiles, step.loads)
		}
		if text := l.text(); !strings.Contains(text, step.logged) || step.logged == "" && text != "" {
			t.Errorf("%s: logged %q", step.name, text)
		}
		l.lines = nil
	}
}
