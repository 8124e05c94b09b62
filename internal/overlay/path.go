package overlay

import (
	"fmt"

	"github.com/clonecloud/clonecloud/internal/overlay/names"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
)

// Path operations. Their checks stand in the order in which package vfs and Linux make them, since that decides which
// error a guest gets.

// needsDevice refuses what the pinned tree does not describe, or does not know the owner of.
func needsDevice(what string, x *found) error {
	return abort(fmt.Sprintf("%s %q", what, x.name), ErrNeedsDevice)
}

// apart tells whether only the device can do anything with what was found.
func (x *found) apart() bool {
	if x.in != nil {
		return x.in.kind == tree.KindOther || x.in.flags&tree.Apart != 0
	}
	return x.e != nil && (x.e.Kind == tree.KindOther || x.e.Flags&tree.Apart != 0)
}

// statAt describes what a clean path leads to. Preconditions: f.mu is held.
func (f *FS) statAt(start *inode, path string, follow bool) (st vfs.Stat, err error) {
	err = f.walk(start, path, func(dir *inode, name string) error {
		x, err := f.at(dir, name)
		switch {
		case err != nil:
			return err
		case !x.exists():
			return vfs.ENOENT
		case follow && x.kind() == tree.KindSymlink:
			return link(x.target())
		}
		st = x.stat()
		return nil
	})
	return st, err
}

// statName is statAt for a path that a guest gave.
func (f *FS) statName(start *inode, n names.Name, follow bool) (vfs.Stat, error) {
	st, err := f.statAt(start, n.Path, follow || n.Slash)
	if err == nil && n.Slash && st.Type != vfs.TypeDirectory {
		return vfs.Stat{}, vfs.ENOTDIR
	}
	return st, err
}

// parseName parses a path whose last component is to be made, removed or renamed; ifDot is the error if it is "." or
// ".." of something that exists. Preconditions: f.mu is held.
func (f *FS) parseName(start *inode, path string, ifDot vfs.Errno) (names.Name, error) {
	n, err := names.Parse(path)
	if err == nil && n.Dot {
		if _, err = f.statName(start, n, true); err == nil {
			err = ifDot
		}
	}
	return n, err
}

// isDir tells whether a name is a directory, without following links.
func (f *FS) isDir(start *inode, n names.Name) (bool, error) {
	st, err := f.statAt(start, n.Path, false)
	return err == nil && st.Type == vfs.TypeDirectory, err
}

// parent opens the directory that holds a name. Preconditions: f.mu is held.
func (f *FS) parent(start *inode, n names.Name) (dir *inode, err error) {
	if n.Dir == "." {
		return start, nil
	}
	err = f.walk(start, n.Dir, func(at *inode, name string) error {
		dir, err = f.enter(at, name)
		return err
	})
	return dir, err
}

// entry finds a name itself in its directory. Preconditions: f.mu is held.
func (f *FS) entry(start *inode, n names.Name) (found, error) {
	dir, err := f.parent(start, n)
	if err != nil {
		return found{}, err
	}
	return f.at(dir, n.Base)
}

// mayMake checks that a new name can be made in a directory. Preconditions: f.mu is held.
func (f *FS) mayMake(x *found) error {
	switch {
	case x.dir.gone():
		return vfs.ENOENT
	case x.exists():
		return vfs.EEXIST
	case f.cfg.ReadOnly:
		return vfs.EROFS
	}
	return may(x.dir.flags, tree.Writable)
}

// mayTake checks that a name can be taken out of its directory. Preconditions: f.mu is held.
func (f *FS) mayTake(what string, x *found) error {
	if f.cfg.ReadOnly {
		return vfs.EROFS
	}
	if err := may(x.dir.flags, tree.Writable); err != nil {
		return err
	}
	if x.apart() || x.dir.sticky && (x.in == nil || x.in.base != nil) {
		return needsDevice(what, x)
	}
	return nil
}

func (f *FS) mkdir(start *inode, path string) error {
	n, err := f.parseName(start, path, vfs.EEXIST)
	if err != nil {
		return err
	}
	x, err := f.entry(start, n)
	if err != nil {
		return err
	}
	if err := f.mayMake(&x); err != nil {
		return err
	}
	now := f.now()
	in := f.make(tree.KindDir, now)
	in.dir.parent = x.dir
	f.setName(&x, in)
	x.dir.addDirs(1)
	x.dir.touch(now)
	return nil
}

// addDirs counts directories in a directory, where the file system does.
func (in *inode) addDirs(n int) {
	if in.nlink >= 2 {
		in.nlink += uint64(n)
	}
}

func (f *FS) symlink(target string, start *inode, path string) error {
	if err := names.CheckTarget(target); err != nil {
		return err
	}
	n, err := f.parseName(start, path, vfs.EEXIST)
	if err != nil {
		return err
	}
	if err := f.nothingAt(start, n); err != nil {
		return err
	}
	x, err := f.entry(start, n)
	if err != nil {
		return err
	}
	if err := f.mayMake(&x); err != nil {
		return err
	}
	now := f.now()
	in := f.make(tree.KindSymlink, now)
	in.target, in.size, in.nlink = target, uint64(len(target)), 1
	f.setName(&x, in)
	x.dir.touch(now)
	return nil
}

// nothingAt refuses a new name with a slash at its end, which only a directory may have.
func (f *FS) nothingAt(start *inode, n names.Name) error {
	if !n.Slash {
		return nil
	}
	switch dir, err := f.isDir(start, n); {
	case err != nil:
		return err
	case dir:
		return vfs.EEXIST
	}
	return vfs.ENOTDIR
}

func (f *FS) rmdir(start *inode, path string) error {
	n, err := f.parseName(start, path, vfs.EINVAL)
	if err != nil {
		return err
	}
	if dir, err := f.isDir(start, n); err != nil {
		return err
	} else if !dir {
		return vfs.ENOTDIR
	}
	x, err := f.entry(start, n)
	if err != nil {
		return err
	}
	if err := f.mayTake("remove directory", &x); err != nil {
		return err
	}
	in, err := f.get(&x)
	if err != nil {
		return err
	}
	if empty, err := f.empty(in); err != nil {
		return err
	} else if !empty {
		return vfs.ENOTEMPTY
	}
	now := f.now()
	f.removeDir(&x, in, now)
	x.dir.touch(now)
	f.settle(in)
	return nil
}

// removeDir takes away an empty directory.
func (f *FS) removeDir(x *found, in *inode, now uint64) {
	f.setName(x, nil)
	x.dir.addDirs(-1)
	in.nlink, in.dir.parent = 0, nil
	in.ctime, in.dirty = now, true
}

// removeName takes away a name of what is no directory.
func (f *FS) removeName(x *found, in *inode, now uint64) {
	f.setName(x, nil)
	in.nlink -= min(in.nlink, 1)
	in.ctime, in.dirty = now, true
}

func (f *FS) unlink(start *inode, path string) error {
	n, err := f.parseName(start, path, vfs.EISDIR)
	if err != nil {
		return err
	}
	if dir, err := f.isDir(start, n); err != nil {
		return err
	} else if dir {
		return vfs.EISDIR
	}
	if n.Slash {
		return vfs.ENOTDIR
	}
	x, err := f.entry(start, n)
	if err != nil {
		return err
	}
	if err := f.mayTake("unlink", &x); err != nil {
		return err
	}
	in, err := f.get(&x)
	if err != nil {
		return err
	}
	now := f.now()
	f.removeName(&x, in, now)
	x.dir.touch(now)
	f.settle(in)
	return nil
}

func (f *FS) rename(start *inode, path string, to *inode, newPath string) error {
	n, err := f.parseName(start, path, vfs.EBUSY)
	if err != nil {
		return err
	}
	dir, err := f.isDir(start, n)
	if err != nil {
		return err
	}
	nn, err := f.parseName(to, newPath, vfs.EBUSY)
	if err != nil {
		return err
	}
	if !dir && (n.Slash || nn.Slash) {
		return vfs.ENOTDIR
	}
	return f.renameEntry(start, n, to, nn)
}

func (f *FS) renameEntry(start *inode, n names.Name, to *inode, nn names.Name) error {
	oldDir, err := f.parent(start, n)
	if err != nil {
		return err
	}
	newDir, err := f.parent(to, nn)
	if err != nil {
		return err
	}
	x, err := f.at(oldDir, n.Base)
	if err == nil && !x.exists() {
		err = vfs.ENOENT
	}
	if err != nil {
		return err
	}
	y, err := f.at(newDir, nn.Base)
	if err == nil && newDir.gone() {
		err = vfs.ENOENT
	}
	if err != nil {
		return err
	}
	in, err := f.get(&x)
	if err != nil {
		return err
	}
	var replaced *inode
	if y.exists() {
		if replaced, err = f.get(&y); err != nil {
			return err
		}
	}
	if err := f.mayRename(&x, in, &y, replaced); err != nil {
		f.settle(in)
		if replaced != nil {
			f.settle(replaced)
		}
		return err
	}
	if in == replaced {
		return nil
	}
	now := f.now()
	if replaced != nil && replaced.kind == tree.KindDir {
		f.removeDir(&y, replaced, now)
	} else if replaced != nil {
		f.removeName(&y, replaced, now)
	}
	f.move(&x, in, &y, now)
	if replaced != nil {
		f.settle(replaced)
	}
	return nil
}

// mayRename makes the system's checks. replaced is what stands at y, or nil.
func (f *FS) mayRename(x *found, in *inode, y *found, replaced *inode) error {
	isDir := in.kind == tree.KindDir
	switch {
	case isDir && below(y.dir, in):
		return vfs.EINVAL
	case replaced != nil && replaced.kind == tree.KindDir && below(x.dir, replaced):
		return vfs.ENOTEMPTY
	case in == replaced:
		return nil
	}
	if err := f.mayTake("rename", x); err != nil {
		return err
	}
	if replaced == nil {
		if err := f.mayMake(y); err != nil {
			return err
		}
	} else {
		if err := f.mayTake("replace", y); err != nil {
			return err
		}
		switch {
		case isDir && replaced.kind != tree.KindDir:
			return vfs.ENOTDIR
		case !isDir && replaced.kind == tree.KindDir:
			return vfs.EISDIR
		}
	}
	if isDir && x.dir != y.dir {
		if err := may(in.flags, tree.Writable); err != nil {
			return err // its ".." changes
		}
	}
	if replaced != nil && isDir {
		if empty, err := f.empty(replaced); err != nil {
			return err
		} else if !empty {
			return vfs.ENOTEMPTY
		}
	}
	return nil
}

// move makes what stands at x stand at y, where nothing stands.
func (f *FS) move(x *found, in *inode, y *found, now uint64) {
	f.setName(x, nil)
	f.setName(y, in)
	if in.kind == tree.KindDir && x.dir != y.dir {
		x.dir.addDirs(-1)
		y.dir.addDirs(1)
		in.dir.parent = y.dir
	}
	x.dir.touch(now)
	y.dir.touch(now)
	in.ctime, in.dirty = now, true
}

func (f *FS) link(start *inode, path string, to *inode, newPath string) error {
	n, err := f.parseName(start, path, vfs.EPERM)
	if err != nil {
		return err
	}
	if dir, err := f.isDir(start, n); err != nil {
		return err
	} else if dir {
		return vfs.EPERM
	}
	if n.Slash {
		return vfs.ENOTDIR
	}
	nn, err := f.parseName(to, newPath, vfs.EEXIST)
	if err != nil {
		return err
	}
	if err := f.nothingAt(to, nn); err != nil {
		return err
	}
	oldDir, err := f.parent(start, n)
	if err != nil {
		return err
	}
	newDir, err := f.parent(to, nn)
	if err != nil {
		return err
	}
	return f.linkEntry(oldDir, n.Base, newDir, nn.Base)
}

func (f *FS) linkEntry(oldDir *inode, oldName string, newDir *inode, newName string) error {
	x, err := f.at(oldDir, oldName)
	if err != nil {
		return err
	}
	y, err := f.at(newDir, newName)
	if err != nil {
		return err
	}
	if err := f.mayMake(&y); err != nil {
		return err
	}
	in, err := f.get(&x)
	if err != nil {
		return err
	}
	defer f.settle(in)
	switch {
	case x.apart(), in.flags&tree.Shared != 0, !ownable(in):
		return needsDevice("link to", &x)
	case in.nlink >= maxLinks:
		return vfs.EMLINK
	}
	now := f.now()
	in.nlink++
	in.ctime, in.dirty = now, true
	f.setName(&y, in)
	newDir.touch(now)
	return nil
}

// ownable tells whether one may link to a file even if it is another's: Linux wants it to be plain, and that one can read
// and write it.
func ownable(in *inode) bool {
	const need, special = tree.Readable | tree.Writable, 0o6000
	return in.base == nil || in.kind == tree.KindFile && in.flags&need == need && in.base.Mode&special == 0
}

func (f *FS) readlink(start *inode, path string) (string, error) {
	n, err := f.parseName(start, path, vfs.EINVAL)
	if err != nil {
		return "", err
	}
	if n.Slash {
		if _, err := f.statName(start, n, true); err != nil {
			return "", err
		}
		return "", vfs.EINVAL
	}
	x, err := f.entry(start, n)
	switch {
	case err != nil:
		return "", err
	case !x.exists():
		return "", vfs.ENOENT
	case x.kind() != tree.KindSymlink:
		return "", vfs.EINVAL
	}
	return x.target(), nil
}
