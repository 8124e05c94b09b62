package clonecloud

import (
	"fmt"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// ExportSignatures lists the exports of a module that [Config.Invoke] may name, in its order.
func ExportSignatures(module []byte) ([]Signature, error) {
	m, err := wasm.Decode(module)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModule, err)
	}
	return signatures(m), nil
}
