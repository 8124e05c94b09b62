package overlay

import (
	"slices"
	"strings"

	"github.com/clonecloud/clonecloud/internal/overlay/names"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
)

// Limits of a walk: those that a host directory has, through os.Root.
const (
	maxSymlinks = 8
	maxSteps    = 255
	maxRestarts = 8
)

func cutPath(path string) (first, rest string) {
	first, rest, _ = strings.Cut(path, "/")
	return first, rest
}

// link says that a component is a symbolic link to be followed.
type link string

func (link) Error() string { return "BUG: link is not followed" }

// may refuses an access that the device's user does not have.
func may(flags, need tree.Flags) error {
	if flags&need != need {
		return vfs.EACCES
	}
	return nil
}

// at finds a name in a directory of which any access is asked. "." is the directory. Preconditions: f.mu is held.
func (f *FS) at(dir *inode, name string) (found, error) {
	if err := may(dir.flags, tree.Searchable); err != nil {
		return found{}, err
	}
	if name == "." {
		return found{dir: dir, name: name, in: dir}, nil
	}
	if len(name) > tree.MaxName {
		return found{}, vfs.ENAMETOOLONG
	}
	return f.lookup(dir, name)
}

// enter opens a component of a path that is not the last. A host opens it for reading, and so needs that right.
// Preconditions: f.mu is held.
func (f *FS) enter(dir *inode, name string) (*inode, error) {
	x, err := f.at(dir, name)
	switch {
	case err != nil:
		return nil, err
	case !x.exists():
		return nil, vfs.ENOENT
	case x.kind() == tree.KindSymlink:
		return nil, link(x.target())
	case !x.isDir():
		return nil, vfs.ENOTDIR
	}
	in, err := f.get(&x)
	if err != nil {
		return nil, err
	}
	if in.flags&tree.Apart != 0 {
		return nil, abort("use directory "+name, ErrNeedsDevice)
	}
	return in, may(in.flags, tree.Readable)
}

// walk leads from start, which it does not leave, to the last component of a path, and calls last for it. last may
// return a link to be followed. As os.Root does, it takes ".." as the end of what was before it, and begins again.
// Preconditions: f.mu is held.
func (f *FS) walk(start *inode, path string, last func(dir *inode, name string) error) error {
	parts, slash, err := names.Split(path, nil, nil)
	if err != nil {
		return err
	}
	dir, i, steps, restarts, links := start, 0, 0, 0, 0
	for {
		if steps++; steps > maxSteps && restarts > maxRestarts {
			return vfs.ENAMETOOLONG
		}
		if parts[i] == ".." {
			restarts++
			if parts = names.Up(parts, i); parts == nil {
				return vfs.EPERM
			}
			dir, i = start, 0
			continue
		}
		if i == len(parts)-1 {
			if err = f.mustBeDir(dir, parts[i], slash); err == nil {
				err = last(dir, parts[i])
			}
		} else {
			var next *inode
			if next, err = f.enter(dir, parts[i]); err == nil {
				dir = next
				i++
				continue
			}
		}
		to, isLink := err.(link)
		if !isLink {
			return err
		}
		if links++; links > maxSymlinks {
			return vfs.ELOOP
		}
		next, nextSlash, err := names.Split(string(to), parts[:i], parts[i+1:])
		if err != nil {
			return err
		}
		slash = slash || nextSlash && i == len(parts)-1
		if len(next) < i || !slices.Equal(parts[:i], next[:i]) {
			dir, i = start, 0
		}
		parts = next
	}
}

// mustBeDir checks what a link with a slash at its end led to.
func (f *FS) mustBeDir(dir *inode, name string, slash bool) error {
	if !slash {
		return nil
	}
	x, err := f.at(dir, name)
	switch {
	case err != nil:
		return err
	case !x.exists():
		return vfs.ENOENT
	case x.kind() == tree.KindSymlink:
		return link(x.target())
	case !x.isDir():
		return vfs.ENOTDIR
	}
	return nil
}
