package overlay

import (
	"math"

	"github.com/clonecloud/clonecloud/internal/overlay/names"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
)

// fileHandle is an open file.
type fileHandle struct {
	fs          *FS
	in          *inode
	read, write bool
	closed      bool
	end         uint64 // of what was last appended: where the position of a host's file is
	recent      [2]recent
}

// recent is a chunk that was read through a handle.
type recent struct {
	at   uint64
	data []byte
}

// dirHandle is an open directory.
type dirHandle struct{ fileHandle }

// handleOf returns the handle that a file is, nil if it is none of ours.
func handleOf(file vfs.File) *fileHandle {
	switch h := file.(type) {
	case *dirHandle:
		return &h.fileHandle
	case *fileHandle:
		return h
	}
	return nil
}

// handle opens an inode. Preconditions: f.mu is held.
func (f *FS) handle(in *inode, flags vfs.OpenFlags) vfs.File {
	in.handles++
	h := fileHandle{fs: f, in: in}
	if in.kind == tree.KindDir {
		return &dirHandle{h}
	}
	// As a host's: with neither it is opened to be read, and truncating takes a descriptor that can write.
	h.write = flags&(vfs.OpenWrite|vfs.OpenTruncate) != 0
	h.read = flags&vfs.OpenRead != 0 || !h.write
	return &h
}

// lock begins an operation; end it with f.mu.Unlock unless it fails.
func (h *fileHandle) lock() error {
	h.fs.mu.Lock()
	if h.closed || h.fs.closed {
		h.fs.mu.Unlock()
		return vfs.EBADF
	}
	return nil
}

// Type implements vfs.File.
func (h *fileHandle) Type() vfs.FileType { return h.in.typ }

// Stat implements vfs.File.
func (h *fileHandle) Stat() (vfs.Stat, error) {
	if err := h.lock(); err != nil {
		return vfs.Stat{}, err
	}
	defer h.fs.mu.Unlock()
	return h.in.stat(), nil
}

// SetTimes implements vfs.File.
func (h *fileHandle) SetTimes(t vfs.Times) error {
	if err := h.lock(); err != nil {
		return err
	}
	defer h.fs.mu.Unlock()
	if err := checkTimes(t); err != nil || t.Atime == nil && t.Mtime == nil {
		return err
	}
	return h.fs.setTimes(h.in, t)
}

// Sync implements vfs.File. What is written becomes durable on the device, with the whole offload.
func (h *fileHandle) Sync(bool) error {
	if err := h.lock(); err != nil {
		return err
	}
	h.fs.mu.Unlock()
	return nil
}

// Close implements vfs.File.
func (h *fileHandle) Close() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.closed {
		return vfs.EBADF
	}
	h.closed = true
	h.recent = [2]recent{}
	h.in.handles--
	h.fs.settle(h.in)
	return nil
}

// Allocate implements vfs.File: what it adds is a hole.
func (h *fileHandle) Allocate(off, n uint64) error {
	if n == 0 || off > math.MaxInt64 {
		return vfs.EINVAL
	}
	if n > math.MaxInt64-off {
		return vfs.EFBIG
	}
	if err := h.lock(); err != nil {
		return err
	}
	defer h.fs.mu.Unlock()
	switch {
	case !h.write:
		return vfs.EBADF
	case off+n > maxFile:
		return vfs.EFBIG
	}
	return h.fs.resize(h.in, max(h.in.size, off+n)) // which sets its time, as Linux does
}

// SetSize implements vfs.File.
func (h *fileHandle) SetSize(size uint64) error {
	if size > math.MaxInt64 {
		return vfs.EFBIG
	}
	if err := h.lock(); err != nil {
		return err
	}
	defer h.fs.mu.Unlock()
	switch {
	case !h.write:
		return vfs.EINVAL
	case size > maxFile && size > h.in.size:
		return vfs.EFBIG
	}
	return h.fs.resize(h.in, size)
}

// WriteAt implements vfs.File.
func (h *fileHandle) WriteAt(p []byte, off uint64) (int, error) {
	if off > math.MaxInt64-uint64(len(p)) {
		return 0, vfs.EFBIG
	}
	if err := h.lock(); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		h.fs.mu.Unlock()
		return 0, nil
	}
	n, crowded, err := h.writeAt(p, off)
	h.fs.mu.Unlock()
	if err == nil {
		err = h.fs.fill(h.in, crowded)
	}
	return n, err
}

// Append implements vfs.File.
func (h *fileHandle) Append(p []byte) (n int, end uint64, err error) {
	if err := h.lock(); err != nil {
		return 0, 0, err
	}
	if len(p) == 0 {
		defer h.fs.mu.Unlock()
		if !h.write {
			return 0, 0, vfs.EBADF
		}
		return 0, h.end, nil
	}
	off := h.in.size
	n, crowded, err := h.writeAt(p, off)
	if n > 0 {
		h.end = off + uint64(n)
	}
	end = h.end
	h.fs.mu.Unlock()
	if err == nil {
		err = h.fs.fill(h.in, crowded)
	}
	if n == 0 {
		end = 0
	}
	return n, end, err
}

// writeAt writes what fits below the largest size of a file. Preconditions: f.mu is held.
func (h *fileHandle) writeAt(p []byte, off uint64) (n int, crowded []uint64, err error) {
	if !h.write {
		return 0, nil, vfs.EBADF
	}
	if off >= maxFile {
		return 0, nil, vfs.EFBIG
	}
	short := uint64(len(p)) > maxFile-off
	if short {
		p = p[:maxFile-off]
	}
	crowded, err = h.fs.write(h.in, p, off)
	switch {
	case err != nil:
		return 0, nil, err
	case short:
		return len(p), crowded, vfs.EFBIG
	}
	return len(p), crowded, nil
}

// ReadDir implements vfs.Dir.
func (h *dirHandle) ReadDir() ([]vfs.DirEntry, error) {
	if err := h.lock(); err != nil {
		return nil, err
	}
	defer h.fs.mu.Unlock()
	// A host opens the directory again, and describes each name.
	if err := may(h.in.flags, tree.Searchable|tree.Readable); err != nil {
		return nil, err
	}
	list, err := h.fs.list(h.in)
	if err == nil {
		h.fs.ahead.listed(h.in)
	}
	return list, err
}

// ReadAt implements vfs.File.
func (h *dirHandle) ReadAt([]byte, uint64) (int, error) { return 0, vfs.EISDIR }

// WriteAt implements vfs.File.
func (h *dirHandle) WriteAt([]byte, uint64) (int, error) { return 0, vfs.EBADF }

// Append implements vfs.File.
func (h *dirHandle) Append([]byte) (n int, end uint64, err error) { return 0, 0, vfs.EBADF }

// SetSize implements vfs.File.
func (h *dirHandle) SetSize(uint64) error { return vfs.EBADF }

// Allocate implements vfs.File.
func (h *dirHandle) Allocate(uint64, uint64) error { return vfs.EBADF }

// SetTimes implements vfs.File.
func (h *dirHandle) SetTimes(t vfs.Times) error { return h.SetTimesPath(".", true, t) }

// StatPath implements vfs.Dir.
func (h *dirHandle) StatPath(path string, follow bool) (vfs.Stat, error) {
	n, err := names.Parse(path)
	if err != nil {
		return vfs.Stat{}, err
	}
	if err := h.lock(); err != nil {
		return vfs.Stat{}, err
	}
	defer h.fs.mu.Unlock()
	return h.fs.statName(h.in, n, follow)
}

// SetTimesPath implements vfs.Dir.
func (h *dirHandle) SetTimesPath(path string, follow bool, t vfs.Times) error {
	return h.do(func(f *FS) error { return f.setTimesPath(h.in, path, follow, t) })
}

// do carries out an operation.
func (h *dirHandle) do(op func(f *FS) error) error {
	if err := h.lock(); err != nil {
		return err
	}
	defer h.fs.mu.Unlock()
	return op(h.fs)
}

// Mkdir implements vfs.Dir.
func (h *dirHandle) Mkdir(path string) error {
	return h.do(func(f *FS) error { return f.mkdir(h.in, path) })
}

// Rmdir implements vfs.Dir.
func (h *dirHandle) Rmdir(path string) error {
	return h.do(func(f *FS) error { return f.rmdir(h.in, path) })
}

// Unlink implements vfs.Dir.
func (h *dirHandle) Unlink(path string) error {
	return h.do(func(f *FS) error { return f.unlink(h.in, path) })
}

// Symlink implements vfs.Dir.
func (h *dirHandle) Symlink(target, path string) error {
	return h.do(func(f *FS) error { return f.symlink(target, h.in, path) })
}

// Readlink implements vfs.Dir.
func (h *dirHandle) Readlink(path string) (target string, err error) {
	err = h.do(func(f *FS) error {
		target, err = f.readlink(h.in, path)
		return err
	})
	return target, err
}

// Rename implements vfs.Dir.
func (h *dirHandle) Rename(path string, to vfs.Dir, newPath string) error {
	return h.both(path, vfs.EBUSY, to, func(f *FS, t *inode) error { return f.rename(h.in, path, t, newPath) })
}

// Link implements vfs.Dir.
func (h *dirHandle) Link(path string, to vfs.Dir, newPath string) error {
	return h.both(path, vfs.EPERM, to, func(f *FS, t *inode) error { return f.link(h.in, path, t, newPath) })
}

// both carries out an operation on two directories of one tree.
func (h *dirHandle) both(path string, ifDot vfs.Errno, to vfs.Dir, op func(f *FS, to *inode) error) error {
	return h.do(func(f *FS) error {
		t, ok := to.(*dirHandle)
		switch {
		case !ok || t.fs != f:
			if _, err := f.parseName(h.in, path, ifDot); err != nil {
				return err
			}
			return vfs.EXDEV
		case t.closed:
			return vfs.EBADF
		}
		return op(f, t.in)
	})
}
