package wazero

import (
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/enginetest"
)

func newEngine(mode Mode) func(testing.TB) engine.Engine {
	return func(t testing.TB) engine.Engine {
		e, err := New(Options{Mode: mode})
		if err != nil {
			t.Skip(err)
		}
		return e
	}
}

func TestConformance(t *testing.T) {
	for _, mode := range []Mode{Compiler, Interpreter} {
		t.Run(mode.String(), func(t *testing.T) { enginetest.Run(t, newEngine(mode)) })
	}
}

func BenchmarkEngine(b *testing.B) {
	for _, mode := range []Mode{Compiler, Interpreter} {
		b.Run(mode.String(), func(b *testing.B) { enginetest.Bench(b, newEngine(mode)) })
	}
}
