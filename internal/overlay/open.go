package overlay

import (
	"fmt"

	"github.com/clonecloud/clonecloud/internal/overlay/names"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
)

// Open implements vfs.Dir.
func (h *dirHandle) Open(path string, flags vfs.OpenFlags) (vfs.File, error) {
	n, err := names.Parse(path)
	if err != nil {
		return nil, err
	}
	if n.Slash {
		if flags&vfs.OpenCreate != 0 {
			return nil, vfs.EISDIR
		}
		flags |= vfs.OpenDirectory | vfs.OpenFollow
	}
	if flags&vfs.OpenDirectory != 0 && flags&vfs.OpenCreate != 0 {
		return nil, vfs.EINVAL
	}
	if err := h.lock(); err != nil {
		return nil, err
	}
	defer h.fs.mu.Unlock()
	if flags&vfs.OpenFollow == 0 && !n.Dot {
		if err := h.fs.noLink(h.in, n, flags); err != nil {
			return nil, err
		}
	}
	return h.fs.open(h.in, n, flags)
}

// noLink refuses a symbolic link. Preconditions: f.mu is held.
func (f *FS) noLink(start *inode, n names.Name, flags vfs.OpenFlags) error {
	create := flags&vfs.OpenCreate != 0
	st, err := f.statAt(start, n.Path, false)
	switch {
	case err != nil:
		if create && vfs.ErrnoOf(err) == vfs.ENOENT {
			return nil
		}
		return err
	case st.Type != vfs.TypeSymlink:
		return nil
	case create && flags&vfs.OpenExclusive != 0:
		return vfs.EEXIST
	case flags&vfs.OpenDirectory != 0:
		return vfs.ENOTDIR
	}
	return vfs.ELOOP
}

// open follows links and opens what it comes to. Preconditions: f.mu is held.
func (f *FS) open(start *inode, n names.Name, flags vfs.OpenFlags) (file vfs.File, err error) {
	err = f.walk(start, n.Path, func(dir *inode, name string) error {
		file, err = f.openAt(dir, name, flags)
		return err
	})
	if err != nil {
		return nil, err
	}
	return file, nil
}

func (f *FS) openAt(dir *inode, name string, flags vfs.OpenFlags) (vfs.File, error) {
	x, err := f.at(dir, name)
	if err != nil {
		return nil, err
	}
	create := flags&vfs.OpenCreate != 0
	switch {
	case !x.exists() && !create:
		return nil, vfs.ENOENT
	case !x.exists():
		return f.create(&x, flags)
	case create && flags&vfs.OpenExclusive != 0:
		return nil, vfs.EEXIST
	case x.kind() == tree.KindSymlink:
		return nil, link(x.target())
	case x.isDir() && flags&(vfs.OpenCreate|vfs.OpenWrite|vfs.OpenTruncate) != 0:
		return nil, vfs.EISDIR
	case !x.isDir() && flags&vfs.OpenDirectory != 0:
		return nil, vfs.ENOTDIR
	}
	in, err := f.get(&x)
	if err != nil {
		return nil, err
	}
	if err := f.mayOpen(&x, in, flags); err != nil {
		f.settle(in)
		return nil, err
	}
	if flags&vfs.OpenTruncate != 0 {
		if err := f.resize(in, 0); err != nil {
			return nil, err
		}
	}
	f.ahead.opened(in, flags)
	return f.handle(in, flags), nil
}

// mayOpen checks what the user may do. Preconditions: f.mu is held.
func (f *FS) mayOpen(x *found, in *inode, flags vfs.OpenFlags) error {
	write := flags&(vfs.OpenWrite|vfs.OpenTruncate) != 0
	need := tree.Flags(0)
	switch {
	case x.apart():
		return needsDevice("open", x)
	case in.kind == tree.KindDir:
		need = tree.Readable | tree.Searchable
	case write && f.cfg.ReadOnly:
		return vfs.EROFS
	case write:
		need = tree.Writable
	}
	if flags&vfs.OpenRead != 0 || !write {
		need |= tree.Readable
	}
	if err := may(in.flags, need); err != nil {
		return err
	}
	if in.flags&tree.Shared != 0 && flags&vfs.OpenTruncate != 0 {
		return needsDevice("truncate", x)
	}
	return nil
}

// create makes a regular file and opens it. Preconditions: f.mu is held.
func (f *FS) create(x *found, flags vfs.OpenFlags) (vfs.File, error) {
	if err := f.mayMake(x); err != nil {
		return nil, err
	}
	now := f.now()
	in := f.make(tree.KindFile, now)
	in.nlink = 1
	f.setName(x, in)
	x.dir.touch(now)
	return f.handle(in, flags), nil
}

// shared refuses to change a file that has names outside its tree.
func shared(in *inode) error {
	if in.flags&tree.Shared == 0 {
		return nil
	}
	return abort(fmt.Sprintf("change %q", in.place()), ErrNeedsDevice)
}
