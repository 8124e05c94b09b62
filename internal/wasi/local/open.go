package local

import (
	"fmt"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
)

// Open is an open file or directory below a mount, as another System needs it to go on with it.
type Open struct {
	Issued wasi.FD // what it was issued for, and as which handle
	Mount  int
	File   vfs.File
	Stat   wasi.Stat // as the file system has it; of Opened: at the time of opening
	// Virtual is the number that the guest knows the file by.
	Virtual uint64
	// Listing is what a reading of the directory has begun with, nil: none has.
	Listing []wasi.Dirent
}

// Opened describes an open file or directory; false for streams and what is not open.
func (l *System) Opened(n uint64) (Open, bool) {
	h, ok := l.handles[n]
	if !ok || h.stream != nil {
		return Open{}, false
	}
	return Open{Issued: h.issued, Mount: h.mount, File: h.file, Stat: h.real, Virtual: h.stat.Ino, Listing: h.listing}, true
}

// Root returns the handle of a mount's root.
func (l *System) Root(mount int) uint64 { return l.mounts[mount].root }

// Adopt takes over an open file or directory under the handle that it was issued as elsewhere. What had that handle is
// closed. The file is l's from then on, after an error too.
func (l *System) Adopt(o Open) error {
	h := &handle{issued: o.Issued, file: o.File, mount: o.Mount, listing: o.Listing}
	dir, isDir := o.File.(vfs.Dir)
	if isDir != (o.Issued.Kind == wasi.KindDir) || o.Issued.Kind > wasi.KindDir || o.Mount < 0 || o.Mount >= len(l.mounts) {
		_ = o.File.Close()
		return fmt.Errorf("adopt handle %d: it is no such file", o.Issued.Handle)
	}
	if isDir {
		h.dir = dir
	}
	st, err := o.File.Stat()
	if err != nil {
		_ = o.File.Close()
		return fmt.Errorf("adopt handle %d: %w", o.Issued.Handle, err)
	}
	m := &l.mounts[o.Mount]
	h.real, h.readOnly = st, m.readOnly
	h.stat = st
	h.stat.Dev, h.stat.Ino = m.inodes.dev, o.Virtual
	if o.Virtual == 0 {
		h.stat = m.inodes.virtual(st)
	}
	if _, ok := l.handles[o.Issued.Handle]; ok {
		if err := l.release(o.Issued.Handle); err != nil {
			_ = o.File.Close()
			return fmt.Errorf("adopt handle %d: %w", o.Issued.Handle, err)
		}
	}
	l.handles[o.Issued.Handle] = h
	return nil
}

// Begin closes all that is open, and makes the handles that are issued from now on follow n.
func (l *System) Begin(n uint64) error {
	l.last = n
	return l.releaseAll()
}

// Path opens something below a mount, for Adopt.
func (l *System) Path(mount int, path string, flags vfs.OpenFlags) (vfs.File, error) {
	if path == "" {
		path = "."
	}
	return l.mounts[mount].top.Open(path, flags)
}

// StatPath describes something below a mount, a symbolic link itself.
func (l *System) StatPath(mount int, path string) (wasi.Stat, error) {
	if path == "" {
		path = "."
	}
	return l.mounts[mount].top.StatPath(path, false)
}

// List replaces the listing of an open directory, of which the guest has read a part.
func (l *System) List(n uint64, listing []wasi.Dirent) {
	if h, ok := l.handles[n]; ok && h.dir != nil {
		h.listing = listing
	}
}

// Dev is the number that the guest knows the device of a mount by.
func (l *System) Dev(mount int) uint64 { return l.mounts[mount].inodes.dev }

// SetDev makes it another one.
func (l *System) SetDev(mount int, dev uint64) { l.mounts[mount].inodes.dev = dev }

// Across is how a rename or a link ends of which one end is here and the other in another System: what speaks against this end
// comes first.
func (l *System) Across(req *wasi.Request) error {
	from, to := wasi.RightLinkSource, wasi.RightLinkTarget
	if req.Op == wasi.OpRename {
		from, to = wasi.RightRenameSource, wasi.RightRenameTarget
	}
	h, source := l.handles[req.Handle]
	if source {
		if _, err := l.dir(req.Handle, from, req.Op == wasi.OpRename); err != nil {
			return err
		}
	} else if _, err := l.dir(req.Handle2, to, true); err != nil {
		return err
	}
	if source && h.readOnly {
		return vfs.EROFS
	}
	return vfs.EXDEV
}

// Drop forgets a handle and closes what it stands for.
func (l *System) Drop(n uint64) error {
	if _, ok := l.handles[n]; !ok {
		return vfs.EBADF
	}
	return l.release(n)
}
