//go:build wasmtime && cgo && linux && (amd64 || arm64)

package engines

import (
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/wasmtime"
)

func init() {
	more[Wasmtime] = func(string) (engine.Engine, error) { return wasmtime.New(wasmtime.Options{}) }
}
