package mirror

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// Memory is a Store in memory, for hosts without a disk: what was used longest ago goes first.
type Memory struct{ c cache }

// NewMemory returns a store that keeps at most about so many bytes.
func NewMemory(most int) *Memory { return &Memory{cache{most: most}} }

// Get implements Store.
func (m *Memory) Get(_ context.Context, id tree.ID) ([]byte, error) {
	if b := m.c.get(id); b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("object %v: %w", id, fs.ErrNotExist)
}

// Has implements Store.
func (m *Memory) Has(ids []tree.ID) []bool {
	has := make([]bool, len(ids))
	for i, id := range ids {
		has[i] = m.c.has(id)
	}
	return has
}

// Put implements Store.
func (m *Memory) Put(_ context.Context, id tree.ID, data []byte) error {
	m.c.put(id, data)
	return nil
}

// Flush implements Store: there is nothing more durable here.
func (m *Memory) Flush(context.Context) error { return nil }

// Pin implements Store: what is in use is used last.
func (m *Memory) Pin(context.Context, string, tree.ID) error { return nil }
