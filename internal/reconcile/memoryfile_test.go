package reconcile

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/clonecloud/clonecloud/internal/reconcile/disk"
)

type memoryFile struct {
	m    *memory
	n    *inode
	name string
	held bool
}

func (f *memoryFile) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memoryFile) changed() {
	f.n.st.Size = uint64(len(f.n.data))
	t := f.m.now()
	f.n.st.Mtime, f.n.st.Ctime = t, t
}

func (f *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.m.change("write", f.name); err != nil {
		return 0, err
	}
	if end := int(off) + len(p); end > len(f.n.data) {
		f.n.data = resize(f.n.data, end)
	}
	copy(f.n.data[off:], p)
	f.changed()
	return len(p), nil
}

func (f *memoryFile) Truncate(size uint64) error {
	if err := f.m.change("truncate", f.name); err != nil {
		return err
	}
	if size > 1<<24 {
		return &fs.PathError{Op: "truncate", Path: f.name, Err: syscall.EFBIG}
	}
	f.n.data = resize(f.n.data, int(size))
	f.changed()
	return nil
}

func (f *memoryFile) Punch(off, n uint64) error {
	if err := f.m.change("punch", f.name); err != nil {
		return err
	}
	copy(f.n.data[off:off+n], bytes.Repeat([]byte{0}, int(n)))
	f.changed()
	return nil
}

func (f *memoryFile) Chmod(mode uint32) error {
	if err := f.m.change("chmod", f.name); err != nil {
		return err
	}
	f.n.st.Mode = mode
	return nil
}

func (f *memoryFile) Stat() (disk.Stat, error) { return f.n.st, nil }

func (f *memoryFile) Sync() error {
	if err := f.m.change("sync", f.name); err != nil {
		return err
	}
	f.n.sync()
	return nil
}

func (f *memoryFile) Lock() error {
	if f.n.locked {
		return disk.ErrInUse
	}
	f.n.locked, f.held = true, true
	return nil
}

func (f *memoryFile) Close() error {
	if f.held {
		f.n.locked = false
	}
	return nil
}

// Handle: what needs one is tested on a real file system.
func (f *memoryFile) Handle() *os.File {
	g, err := os.Open(os.DevNull)
	if err != nil {
		panic(err)
	}
	return g
}
