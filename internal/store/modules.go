package store

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
)

// Modules keeps modules by their SHA-256. Its methods may be called by many goroutines, and many processes may have the
// same folder open.
type Modules struct{ f *folder }

// Open opens the modules in the folder dir, which is made. quota bounds the bytes of all of them (0: no bound);
// processes that save at the same instant may pass it by what they save.
func Open(dir string, quota uint64) (*Modules, error) {
	f, err := openFolder(dir, ".wasm", "", quota)
	if err != nil {
		return nil, fmt.Errorf("open module store: %w", err)
	}
	return &Modules{f}, nil
}

// Has tells whether a module seems to be there. Load may still find it damaged.
func (m *Modules) Has(id [32]byte) bool { return m.f.has(id) }

// Load returns a module whose hash is right. The error matches os.ErrNotExist if there is none.
func (m *Modules) Load(id [32]byte) ([]byte, error) {
	b, err := m.f.load(id)
	if err == nil && sha256.Sum256(b) != id {
		m.f.remove(id)
		err = &fs.PathError{Op: "check", Path: m.f.path(id), Err: fs.ErrNotExist}
	}
	if err != nil {
		return nil, fmt.Errorf("load module: %w", err)
	}
	m.f.used(id)
	return b, nil
}

// Save keeps a module, whose hash must be id, and may remove others for it.
func (m *Modules) Save(id [32]byte, module []byte) error {
	if sha256.Sum256(module) != id {
		return fmt.Errorf("save module: its hash is not %x", id)
	}
	if err := m.f.save(id, module); err != nil {
		return fmt.Errorf("save module: %w", err)
	}
	return nil
}
