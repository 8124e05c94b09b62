package overlay

import (
	"math"

	"github.com/clonecloud/clonecloud/internal/overlay/names"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
)

func checkTimes(t vfs.Times) error {
	for _, v := range []*uint64{t.Atime, t.Mtime} {
		if v != nil && *v > math.MaxInt64 {
			return vfs.EINVAL
		}
	}
	return nil
}

func (f *FS) setTimesPath(start *inode, path string, follow bool, t vfs.Times) error {
	n, err := names.Parse(path)
	if err != nil {
		return err
	}
	if n.Slash {
		follow = true
		if _, err := f.statName(start, n, true); err != nil {
			return err
		}
	}
	if err := checkTimes(t); err != nil {
		return err
	}
	return f.walk(start, n.Path, func(dir *inode, name string) error {
		x, err := f.at(dir, name)
		nothing := t.Atime == nil && t.Mtime == nil
		switch {
		case follow && x.exists() && x.kind() == tree.KindSymlink:
			return link(x.target())
		case nothing && follow && !isAbort(err):
			return nil // Linux does not even look whether it is there
		case err != nil:
			return err
		case !x.exists():
			return vfs.ENOENT
		case nothing && x.kind() != tree.KindSymlink:
			return nil
		case x.apart():
			return needsDevice("set times of", &x)
		}
		in, err := f.get(&x)
		if err != nil {
			return err
		}
		return f.setTimes(in, t)
	})
}

// setTimes sets the times of an inode; of a link, none too. Preconditions: f.mu is held.
func (f *FS) setTimes(in *inode, t vfs.Times) error {
	if f.cfg.ReadOnly {
		return vfs.EROFS
	}
	// Whoever owns a file may set its times. A file that cannot be written may be another's.
	if in.base != nil && (in.flags&tree.Shared != 0 || in.kind != tree.KindSymlink && in.flags&tree.Writable == 0) {
		f.settle(in)
		return abort("set times", ErrNeedsDevice)
	}
	in.ctime, in.dirty = f.now(), true
	if t.Atime != nil {
		in.atime, in.hasAtime = *t.Atime, true
	}
	if t.Mtime != nil {
		in.mtime, in.hasMtime = *t.Mtime, true
	}
	return nil
}
