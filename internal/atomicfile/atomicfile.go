// Package atomicfile writes files that are there whole or not at all, also after a crash, and keeps small secrets in
// them. A file is written beside its place under a name that begins with TempPrefix, synced and renamed, and then its
// folder is synced. What a crash leaves behind has that name, and is for whoever owns the folder to remove.
package atomicfile

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// TempPrefix begins the names of files that are being written.
const TempPrefix = ".tmp-"

// Write puts data at path, in place of what is there.
func Write(path string, data []byte, perm fs.FileMode) error {
	return put(path, perm, func(f *os.File) error { return writeAll(f, data) }, os.Rename)
}

// Create puts data at path, where nothing may be yet; else the error matches fs.ErrExist. Of several at once one has
// its way. (Where the file system has no hard links, two at the same instant may both believe it was them.)
func Create(path string, data []byte, perm fs.FileMode) error {
	return put(path, perm, func(f *os.File) error { return writeAll(f, data) }, moveNew)
}

func writeAll(f *os.File, data []byte) error {
	_, err := f.Write(data)
	return err
}

// moveNew renames without replacing.
func moveNew(from, to string) error {
	err := os.Link(from, to)
	if err == nil {
		_ = os.Remove(from) // the file is in place; what may remain is one more name of it
		return nil
	}
	if _, there := os.Lstat(to); there == nil {
		return &fs.PathError{Op: "create", Path: to, Err: fs.ErrExist}
	}
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Rename(from, to)
}

// put writes with write and moves into place with move. Nothing of it stays after an error.
func put(path string, perm fs.FileMode, write func(*os.File) error, move func(from, to string) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, TempPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if runtime.GOOS != "windows" {
		if err := f.Chmod(perm); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := move(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the names in a folder durable, where the system knows how to.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// Private loads the file at path, at most limit bytes, or makes it with what fresh returns. Nobody but its owner may be
// able to read it. Of several processes that make it at once all get the same.
func Private(path string, limit int, fresh func() ([]byte, error)) ([]byte, error) {
	return open(path, limit, 0o600, fresh)
}

// Shared is Private for what is no secret.
func Shared(path string, limit int, fresh func() ([]byte, error)) ([]byte, error) {
	return open(path, limit, 0o644, fresh)
}

func open(path string, limit int, perm fs.FileMode, fresh func() ([]byte, error)) ([]byte, error) {
	b, err := load(path, limit, perm)
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	if b, err = fresh(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := Create(path, b, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return load(path, limit, perm) // another may have been first
}

func load(path string, limit int, perm fs.FileMode) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case runtime.GOOS != "windows" && perm&0o077 == 0 && info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s can be read or written by others (mode %04o): run chmod 600 on it, and replace it if others may have read it",
			path, info.Mode().Perm())
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(b) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return b, nil
}

// Key loads a secret of 32 bytes, kept as base64url on a line, or makes it, as Private does.
func Key(path string) ([32]byte, error) {
	text, err := Private(path, 256, func() ([]byte, error) {
		var k [32]byte
		_, _ = rand.Read(k[:]) // never fails, as its documentation says
		return []byte(base64.RawURLEncoding.EncodeToString(k[:]) + "\n"), nil
	})
	if err != nil {
		return [32]byte{}, err
	}
	k, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(k) != 32 {
		return [32]byte{}, fmt.Errorf("%s does not hold 32 bytes as base64url: remove it for a new one", path)
	}
	return [32]byte(k), nil
}
