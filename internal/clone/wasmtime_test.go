//go:build wasmtime && cgo && linux && (amd64 || arm64)

package clone_test

import (
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/wasmtime"
)

func init() {
	more = func() (engine.Engine, error) { return wasmtime.New(wasmtime.Options{}) }
}
