package vfs

import (
	"errors"
	"io/fs"
	"os"
)

// Path operations of a host directory: what every system shares. The functions that begin with "sys" do the last
// step; they get clean paths whose last component is a name.

func (d *hostDir) StatPath(path string, follow bool) (Stat, error) {
	n, err := parse(path)
	if err != nil {
		return Stat{}, err
	}
	st, err := d.stat(n.path, follow || n.slash)
	if err == nil && n.slash && st.Type != TypeDirectory {
		return Stat{}, ENOTDIR
	}
	return st, err
}

func (d *hostDir) SetTimesPath(path string, follow bool, t Times) error {
	n, err := parse(path)
	if err != nil {
		return err
	}
	if n.slash {
		follow = true
		if _, err := d.StatPath(path, true); err != nil {
			return err
		}
	}
	at, err := timeOf(t.Atime)
	if err != nil {
		return err
	}
	mt, err := timeOf(t.Mtime)
	if err != nil {
		return err
	}
	if !follow {
		fi, err := d.root.Lstat(n.path)
		if err != nil {
			return err
		}
		if fi.Mode()&fs.ModeSymlink != 0 {
			return d.sysSetLinkTimes(n, t)
		}
	}
	return d.root.Chtimes(n.path, at, mt)
}

// parseName parses a path whose last component is to be made, removed or renamed; ifDot is the error if it is
// "." or ".." of something that exists.
func (d *hostDir) parseName(path string, ifDot Errno) (name, error) {
	n, err := parse(path)
	if err == nil && n.dot {
		if _, err = d.StatPath(path, true); err == nil {
			err = ifDot
		}
	}
	return n, err
}

// isDir says whether a name is a directory, not following links.
func (d *hostDir) isDir(n name) (bool, error) {
	fi, err := d.root.Lstat(n.path)
	return err == nil && fi.IsDir(), err
}

func (d *hostDir) Mkdir(path string) error {
	n, err := d.parseName(path, EEXIST)
	if err != nil {
		return err
	}
	return d.sysMkdir(n)
}

func (d *hostDir) Rmdir(path string) error {
	n, err := d.parseName(path, EINVAL)
	if err != nil {
		return err
	}
	if dir, err := d.isDir(n); err != nil {
		return err
	} else if !dir {
		return ENOTDIR
	}
	return d.sysRmdir(n)
}

func (d *hostDir) Unlink(path string) error {
	n, err := d.parseName(path, EISDIR)
	if err != nil {
		return err
	}
	if dir, err := d.isDir(n); err != nil {
		return err
	} else if dir {
		return EISDIR
	}
	if n.slash {
		return ENOTDIR
	}
	return d.sysUnlink(n)
}

func (d *hostDir) Rename(path string, to Dir, newPath string) error {
	n, err := d.parseName(path, EBUSY)
	if err != nil {
		return err
	}
	nd, ok := to.(*hostDir)
	if !ok || nd.tree != d.tree {
		return EXDEV
	}
	dir, err := d.isDir(n)
	if err != nil {
		return err
	}
	nn, err := nd.parseName(newPath, EBUSY)
	if err != nil {
		return err
	}
	if !dir && (n.slash || nn.slash) {
		return ENOTDIR
	}
	return d.sysRename(n, nd, nn)
}

func (d *hostDir) Link(path string, to Dir, newPath string) error {
	n, err := d.parseName(path, EPERM)
	if err != nil {
		return err
	}
	nd, ok := to.(*hostDir)
	if !ok || nd.tree != d.tree {
		return EXDEV
	}
	if dir, err := d.isDir(n); err != nil {
		return err
	} else if dir {
		return EPERM
	}
	if n.slash {
		return ENOTDIR
	}
	nn, err := nd.parseName(newPath, EEXIST)
	if err != nil {
		return err
	}
	if err := nd.nothingAt(nn); err != nil {
		return err
	}
	return d.sysLink(n, nd, nn)
}

// nothingAt refuses a new name with a slash at its end, which only a directory may have.
func (d *hostDir) nothingAt(n name) error {
	if !n.slash {
		return nil
	}
	switch dir, err := d.isDir(n); {
	case err != nil:
		return err
	case dir:
		return EEXIST
	}
	return ENOTDIR
}

func (d *hostDir) Symlink(target, path string) error {
	if err := checkTarget(target); err != nil {
		return err
	}
	n, err := d.parseName(path, EEXIST)
	if err != nil {
		return err
	}
	if err := d.nothingAt(n); err != nil {
		return err
	}
	return d.sysSymlink(target, n)
}

func (d *hostDir) Readlink(path string) (string, error) {
	n, err := d.parseName(path, EINVAL)
	if err != nil {
		return "", err
	}
	if n.slash {
		if _, err := d.StatPath(path, true); err != nil {
			return "", err
		}
		return "", EINVAL
	}
	return d.sysReadlink(n)
}

// parent opens the directory that holds a name.
func (d *hostDir) parent(n name) (*os.File, func(), error) {
	if n.dir == "." {
		return d.f, func() {}, nil
	}
	f, err := d.root.OpenFile(n.dir, os.O_RDONLY|osDirectory, 0)
	if err != nil {
		return nil, nil, err
	}
	return f, func() { _ = f.Close() }, nil
}

var errNoNumber = errors.New("file has no inode number")
