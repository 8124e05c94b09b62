// Package disk is the file system as package reconcile uses it: open directories, in which names are plain and never followed, so
// that what others do to the tree meanwhile leads nowhere else. Each call does one thing, so that tests can have another
// file system that fails, or forgets, at any of them.
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// Stat is what the system says of a file. Times are nanoseconds since 1970, zero before that.
type Stat struct {
	Kind                      tree.Kind
	Mode                      uint32 // permission bits
	Dev, Ino, Nlink           uint64
	Size, Mtime, Atime, Ctime uint64
}

// Folder is an open directory. Names are plain and never followed when they are links. Nothing is durable before it is synced: what is in
// a file with the file, its name with the folder.
type Folder interface {
	Stat() (Stat, error)
	Lstat(name string) (Stat, error)
	Names() ([]string, error)
	Enter(name string) (Folder, error)
	Open(name string, write bool) (File, error)
	Create(name string) (File, error)
	Mkdir(name string, perm uint32) error
	Symlink(target, name string) error
	Link(name string, to Folder, as string) error
	// Move renames. It never replaces what has the name already: that is fs.ErrExist.
	Move(name string, to Folder, as string) error
	Remove(name string, dir bool) error
	// SetTimes sets those that are not zero. The name "." is the folder itself.
	SetTimes(name string, mtime, atime uint64) error
	Sync() error
	// SyncAll makes durable all that has been changed on the folder's file system. Not every system has it: errors.ErrUnsupported.
	SyncAll() error
	Handle() (*os.File, error) // of its own
	Close() error
}

// File is an open regular file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Stat() (Stat, error)
	Truncate(size uint64) error
	Chmod(mode uint32) error
	// Punch makes a range read as zeros, without data where the system can do that: else errors.ErrUnsupported.
	Punch(off, n uint64) error
	Sync() error
	// Lock takes the file for the open handle, until it is closed. Of another's it is ErrInUse.
	Lock() error
	Handle() *os.File
}

var (
	ErrInUse = errors.New("in use by another process")
	errApart = errors.New("on another file system")
)

// IsItem tells whether an error is of the one thing that was to be changed, so that it can be dealt with as a conflict. Others
// (a full or broken disk, too many open files) are of the whole.
func IsItem(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrInvalid) ||
		errors.Is(err, errApart) || errors.Is(err, errors.ErrUnsupported) || isItemOfSystem(err)
}

// Join is a path of a directory's name.
func Join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// Split is the reverse of join.
func Split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// Walk opens the directory at a path below root, name by name, on root's file system alone. Close it after use.
func Walk(root Folder, path string) (Folder, error) {
	if path == "" {
		return root.Enter(".")
	}
	top, err := root.Stat()
	if err != nil {
		return nil, err
	}
	at := root
	for name := range strings.SplitSeq(path, "/") {
		next, err := at.Enter(name)
		if at != root {
			_ = at.Close() // was read only
		}
		if err != nil {
			return nil, fmt.Errorf("folder %q: %w", path, err)
		}
		at = next
		st, err := at.Stat()
		if err == nil && st.Dev != top.Dev {
			err = errApart
		}
		if err != nil {
			_ = at.Close()
			return nil, fmt.Errorf("folder %q: %w", path, err)
		}
	}
	return at, nil
}

// In runs fn on the directory that holds path.
func In(root Folder, path string, fn func(dir Folder, name string) error) error {
	parent, name := Split(path)
	d, err := Walk(root, parent)
	if err != nil {
		return err
	}
	defer d.Close()
	return fn(d, name)
}

// LstatPath looks at a path below root.
func LstatPath(root Folder, path string) (st Stat, err error) {
	if path == "" {
		return root.Stat()
	}
	err = In(root, path, func(d Folder, name string) error {
		st, err = d.Lstat(name)
		return err
	})
	return st, err
}

// ReadFull reads exactly len(p) bytes.
func ReadFull(r io.ReaderAt, p []byte, off uint64) error {
	n, err := r.ReadAt(p, int64(off))
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
