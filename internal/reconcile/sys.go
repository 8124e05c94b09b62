package reconcile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// stat is what the system says of a file. Times are nanoseconds since 1970, zero before that.
type stat struct {
	kind                      tree.Kind
	mode                      uint32 // permission bits
	dev, ino, nlink           uint64
	size, mtime, atime, ctime uint64
}

// folder is an open directory. Names are plain and never followed when they are links. Nothing is durable before it is synced: what is in
// a file with the file, its name with the folder.
type folder interface {
	stat() (stat, error)
	lstat(name string) (stat, error)
	names() ([]string, error)
	enter(name string) (folder, error)
	open(name string, write bool) (file, error)
	create(name string) (file, error)
	mkdir(name string, perm uint32) error
	symlink(target, name string) error
	link(name string, to folder, as string) error
	// move renames. It never replaces what has the name already: that is fs.ErrExist.
	move(name string, to folder, as string) error
	remove(name string, dir bool) error
	// setTimes sets those that are not zero. The name "." is the folder itself.
	setTimes(name string, mtime, atime uint64) error
	sync() error
	// syncAll makes durable all that has been changed on the folder's file system. Not every system has it: errors.ErrUnsupported.
	syncAll() error
	handle() (*os.File, error) // of its own
	close() error
}

// file is an open regular file.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	stat() (stat, error)
	truncate(size uint64) error
	chmod(mode uint32) error
	// punch makes a range read as zeros, without data where the system can do that: else errors.ErrUnsupported.
	punch(off, n uint64) error
	sync() error
	// lock takes the file for the open handle, until it is closed. Of another's it is errInUse.
	lock() error
	handle() *os.File
}

var (
	errInUse = errors.New("in use by another process")
	errApart = errors.New("on another file system")
)

// isItem tells whether an error is of the one thing that was to be changed, so that it can be dealt with as a conflict. Others
// (a full or broken disk, too many open files) are of the whole.
func isItem(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrInvalid) ||
		errors.Is(err, errApart) || errors.Is(err, errors.ErrUnsupported) || isItemOfSystem(err)
}

// join is a path of a directory's name.
func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// split is the reverse of join.
func split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// walk opens the directory at a path below root, name by name, on root's file system alone. Close it after use.
func walk(root folder, path string) (folder, error) {
	if path == "" {
		return root.enter(".")
	}
	top, err := root.stat()
	if err != nil {
		return nil, err
	}
	at := root
	for name := range strings.SplitSeq(path, "/") {
		next, err := at.enter(name)
		if at != root {
			_ = at.close() // was read only
		}
		if err != nil {
			return nil, fmt.Errorf("folder %q: %w", path, err)
		}
		at = next
		st, err := at.stat()
		if err == nil && st.dev != top.dev {
			err = errApart
		}
		if err != nil {
			_ = at.close()
			return nil, fmt.Errorf("folder %q: %w", path, err)
		}
	}
	return at, nil
}

// in runs fn on the directory that holds path.
func in(root folder, path string, fn func(dir folder, name string) error) error {
	parent, name := split(path)
	d, err := walk(root, parent)
	if err != nil {
		return err
	}
	defer d.close()
	return fn(d, name)
}

// lstatPath looks at a path below root.
func lstatPath(root folder, path string) (st stat, err error) {
	if path == "" {
		return root.stat()
	}
	err = in(root, path, func(d folder, name string) error {
		st, err = d.lstat(name)
		return err
	})
	return st, err
}

// readFull reads exactly len(p) bytes.
func readFull(r io.ReaderAt, p []byte, off uint64) error {
	n, err := r.ReadAt(p, int64(off))
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// system is what the package needs of the system, so that tests can break it.
type system struct {
	open func(path string) (folder, error)
}

var real = system{open: openTop}
