package clone

import (
	"io/fs"
	"sync"

	"github.com/clonecloud/clonecloud/internal/wire"
)

// Store keeps modules by their SHA-256. Safe for concurrent use.
type Store interface {
	Has(id wire.ID) bool
	// Load returns a module that has this hash, or an error that matches fs.ErrNotExist.
	Load(id wire.ID) ([]byte, error)
	Save(id wire.ID, bin []byte) error
}

// memoryStore is the Store of a host that has no disk.
type memoryStore struct {
	mu      sync.Mutex
	modules map[wire.ID][]byte // guarded by mu
}

func (s *memoryStore) Has(id wire.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.modules[id] != nil
}

func (s *memoryStore) Load(id wire.ID) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if bin := s.modules[id]; bin != nil {
		return bin, nil
	}
	return nil, fs.ErrNotExist
}

func (s *memoryStore) Save(id wire.ID, bin []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.modules == nil {
		s.modules = map[wire.ID][]byte{}
	}
	s.modules[id] = bin
	return nil
}
