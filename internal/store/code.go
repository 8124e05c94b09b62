package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"sync/atomic"
)

// Code keeps what engines have compiled, under a MAC: files that go into a folder of the engine's, with Keep and Fetch, and
// code that is mapped as it is kept, with Put and Open. Its methods may be called by many goroutines, and many processes
// may have the same folder open.
type Code struct {
	f      *folder
	mapped *folder
	key    [32]byte
}

// OpenCode opens the compiled code in the folder dir, which is made. key is the node's own, from LoadKey: code that was
// sealed under another is not taken. quota bounds the bytes of all of it (0: no bound).
func OpenCode(dir string, key [32]byte, quota uint64) (*Code, error) {
	const files, mapped = ".code", ".mapped"
	f, err := openFolder(dir, files, mapped, quota)
	if err != nil {
		return nil, fmt.Errorf("open code store: %w", err)
	}
	m, err := openFolder(dir, mapped, files, quota)
	if err != nil {
		return nil, fmt.Errorf("open code store: %w", err)
	}
	return &Code{f: f, mapped: m, key: key}, nil
}

// Fetch writes the files kept for a module into the folder into, which must be there and be the caller's alone; false:
// there are none that can be trusted. Each file appears whole. After an error some may be there.
func (c *Code) Fetch(id [32]byte, into string) (found bool, err error) {
	b, err := c.f.load(id)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("fetch code: %w", err)
	}
	files, err := unseal(b, c.key, id)
	if err != nil {
		c.f.remove(id)
		return false, nil //nolint:nilerr // damaged or old is absent, and will be compiled again
	}
	root, err := os.OpenRoot(into)
	if err != nil {
		return false, fmt.Errorf("fetch code: %w", err)
	}
	defer root.Close()
	for _, file := range files {
		if err := place(root, file); err != nil {
			return false, fmt.Errorf("fetch code: %w", err)
		}
	}
	c.f.used(id)
	return true, nil
}

var placed atomic.Uint64 // numbers the names of files that are being written, within this process

// place writes a file and moves it to its name. It is not synced: the folder ends with its process.
func place(root *os.Root, f file) error {
	name := filepath.FromSlash(f.name)
	if dir := path.Dir(f.name); dir != "." {
		if err := root.MkdirAll(filepath.FromSlash(dir), 0o700); err != nil {
			return err
		}
	}
	temp := ".place-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatUint(placed.Add(1), 10)
	err := root.WriteFile(temp, f.data, 0o600)
	if err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		_ = root.Remove(temp)
	}
	return err
}

// Keep seals the named files of the folder from for a module, in place of what was kept for it, and may remove others'
// code for it. Names are relative, with slashes.
func (c *Code) Keep(id [32]byte, from string, names []string) error {
	b, err := c.collect(id, from, names)
	if err == nil {
		err = c.f.save(id, b)
	}
	if err != nil {
		return fmt.Errorf("keep code: %w", err)
	}
	return nil
}

func (c *Code) collect(id [32]byte, from string, names []string) ([]byte, error) {
	root, err := os.OpenRoot(from)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	files := make([]file, 0, min(len(names), maxFiles))
	left := int64(MaxFile)
	for _, name := range names {
		if err := checkName(name); err != nil {
			return nil, err
		}
		data, err := readFile(root, name, left)
		if err != nil {
			return nil, err
		}
		left -= int64(len(data))
		files = append(files, file{name, data})
	}
	return seal(c.key, id, files)
}

// readFile reads a regular file of at most limit bytes.
func readFile(root *os.Root, name string, limit int64) ([]byte, error) {
	name = filepath.FromSlash(name)
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is not a regular file", name)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%q: all together have more than %d bytes", name, MaxFile)
	}
	return b, nil
}
