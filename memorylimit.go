package clonecloud

import (
	"fmt"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// wasmPage is the unit of a memory's size in WebAssembly.
const wasmPage = 64 << 10

// LimitMemory returns the module with its memory bounded to the given number of bytes, rounded down to 64 KiB: growth beyond
// fails, as it does at any maximum. The result is another module, with an identity of its own, unless its memory was
// bounded as much before.
func LimitMemory(module []byte, bytes uint64) ([]byte, error) {
	m, err := wasm.Decode(module)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModule, err)
	}
	pages, changed := bytes/wasmPage, false
	for i := range m.Memories {
		l := &m.Memories[i]
		if l.Min > pages {
			return nil, fmt.Errorf("%w: its memory begins with %d bytes, %d are allowed", ErrModule, l.Min*wasmPage, bytes)
		}
		if !l.HasMax || l.Max > pages {
			l.Max, l.HasMax, changed = pages, true, true
		}
	}
	if !changed {
		return module, nil
	}
	return m.Encode(), nil
}
