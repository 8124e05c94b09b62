//go:build wasmtime && cgo && linux && (amd64 || arm64)

package wasmtime

import (
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/enginetest"
)

func newEngine(t testing.TB) engine.Engine {
	e, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestConformance(t *testing.T) { enginetest.Run(t, newEngine) }

func BenchmarkEngine(b *testing.B) { enginetest.Bench(b, newEngine) }
