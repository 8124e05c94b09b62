package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Mapped is code that was verified: what is at Path until Close, and what is mapped from there for ever, are the bytes
// that were verified.
type Mapped struct {
	// Size is the length of the code. The file may have more behind it.
	Size int64
	// Copied tells that this is a copy of this process's, and not the file that all of them share.
	Copied bool

	path string
	end  func() error
}

// Path names the code for this process.
func (m *Mapped) Path() string { return m.path }

// Close releases what Path names, but no mapping of it.
func (m *Mapped) Close() error {
	if err := m.end(); err != nil {
		return fmt.Errorf("close code: %w", err)
	}
	return nil
}

// Put keeps the code of a module for engines of meta, in place of what was kept for both, and may remove others' code for
// it. Code of the same module for other engines stays beside it. It is not synced: what a crash damages does not pass
// Open.
func (c *Code) Put(id [32]byte, meta string, code []byte) error {
	t := trailer{length: int64(len(code)), id: id, meta: sha256.Sum256([]byte(meta))}
	if t.length == 0 {
		return errors.New("put code: there is none")
	}
	t.renew()
	var err error
	if t.mac, err = t.sum(c.key, bytes.NewReader(code), nil); err != nil {
		return fmt.Errorf("put code: %w", err)
	}
	tail := t.encode()
	err = c.mapped.put(mappedName(id, meta), uint64(len(code)+len(tail)), func(path string) error {
		return writeUnsynced(path, code, tail)
	})
	if err != nil {
		return fmt.Errorf("put code: %w", err)
	}
	return nil
}

// Open verifies what was put for a module and engines of meta. The error matches fs.ErrNotExist where there is nothing,
// or nothing that can be trusted; the latter is removed. What is open stays as it is when others remove or replace it.
func (c *Code) Open(id [32]byte, meta string) (*Mapped, error) {
	name := mappedName(id, meta)
	m, err := c.open(name, id, meta)
	if errors.Is(err, errUntrusted) {
		c.mapped.remove(name)
		err = &fs.PathError{Op: "verify", Path: c.mapped.path(name), Err: fs.ErrNotExist}
	}
	if err != nil {
		return nil, fmt.Errorf("open code: %w", err)
	}
	c.mapped.used(name)
	return m, nil
}

// Remove forgets what was put for a module and engines of meta.
func (c *Code) Remove(id [32]byte, meta string) { c.mapped.remove(mappedName(id, meta)) }

func (c *Code) open(name, id [32]byte, meta string) (m *Mapped, err error) {
	f, size, err := c.mapped.open(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if m == nil || m.Copied {
			_ = f.Close() // it was read only
		}
	}()
	t, err := readTrailer(f, size)
	if err != nil {
		return nil, err
	}
	if t.id != id || t.meta != sha256.Sum256([]byte(meta)) {
		return nil, fmt.Errorf("%w: of another module or engine", errUntrusted)
	}
	path, err := lasting(f)
	if err != nil {
		return nil, err
	}
	if path != "" {
		if err := t.verify(c.key, f, nil); err != nil {
			return nil, err
		}
		return &Mapped{Size: t.length, path: path, end: f.Close}, nil
	}
	cp, err := newCopy()
	if err != nil {
		return nil, fmt.Errorf("copy: %w", err)
	}
	if err := t.verify(c.key, f, cp.file); err != nil {
		return nil, errors.Join(err, cp.drop())
	}
	if path, err = cp.finish(); err != nil {
		return nil, errors.Join(fmt.Errorf("copy: %w", err), cp.drop())
	}
	return &Mapped{Size: t.length, Copied: true, path: path, end: cp.drop}, nil
}

// mappedName hashes what the file's name is made of.
func mappedName(id [32]byte, meta string) [32]byte {
	h := sha256.New()
	h.Write(id[:])
	h.Write([]byte(meta))
	return [32]byte(h.Sum(nil))
}

// readTrailer reads the end of a file of size bytes.
func readTrailer(f *os.File, size int64) (*trailer, error) {
	if size < trailerSize {
		return nil, fmt.Errorf("%w: %d bytes", errUntrusted, size)
	}
	b := make([]byte, trailerSize)
	if n, err := f.ReadAt(b, size-trailerSize); n < len(b) {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: it shrank", errUntrusted)
		}
		return nil, err
	}
	t, err := parseTrailer(b)
	if err == nil && t.length != size-trailerSize {
		err = fmt.Errorf("%w: %d bytes of code in a file of %d", errUntrusted, t.length, size)
	}
	return t, err
}
