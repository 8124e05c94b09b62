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
	var list []Signature
	for i := range m.Exports {
		if m.Exports[i].Kind != wasm.ExternFunc {
			continue
		}
		if s, err := signatureOf(m, &m.Exports[i]); err == nil {
			list = append(list, s)
		}
	}
	return list, nil
}
