package place

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Memory is a Backend in memory.
type Memory struct {
	now func() time.Time

	mu    sync.RWMutex
	items map[string]memoryItem // guarded by mu
}

type memoryItem struct {
	data []byte
	used time.Time
}

// NewMemory returns a backend that keeps items in memory.
func NewMemory() *Memory { return NewMemoryAt(time.Now) }

// NewMemoryAt is NewMemory with another clock.
func NewMemoryAt(now func() time.Time) *Memory {
	return &Memory{now: now, items: map[string]memoryItem{}}
}

func (m *Memory) Get(ctx context.Context, name string, buf []byte) ([]byte, error) {
	if err := cmp.Or(ctx.Err(), checkName(name)); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	it, ok := m.items[name]
	if !ok {
		return nil, fmt.Errorf("item %s: %w", name, fs.ErrNotExist)
	}
	buf = sized(buf, len(it.data))
	copy(buf, it.data)
	return buf, nil
}

func (m *Memory) Stat(_ context.Context, name string) (Info, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	it, ok := m.items[name]
	if !ok {
		return Info{}, fmt.Errorf("item %s: %w", name, fs.ErrNotExist)
	}
	return Info{Name: name, Size: int64(len(it.data)), Used: it.used}, nil
}

func (m *Memory) PutAll(ctx context.Context, items []Item) error {
	if err := cmp.Or(ctx.Err(), checkItems(items)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	for _, it := range items {
		m.items[it.Name] = memoryItem{bytes.Clone(it.Data), now}
	}
	return nil
}

func (m *Memory) Delete(ctx context.Context, names ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		delete(m.items, name)
	}
	return nil
}

func (m *Memory) List(ctx context.Context, prefix string, f func(Info) error) error {
	m.mu.RLock()
	items := maps.Clone(m.items)
	m.mu.RUnlock()
	for _, name := range slices.Sorted(maps.Keys(items)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		it := items[name]
		if err := f(Info{Name: name, Size: int64(len(it.data)), Used: it.used}); err != nil {
			return err
		}
	}
	return nil
}

func (m *Memory) Touch(ctx context.Context, names ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	for _, name := range names {
		if it, ok := m.items[name]; ok {
			it.used = now
			m.items[name] = it
		}
	}
	return nil
}

func (m *Memory) Close() error { return nil }
