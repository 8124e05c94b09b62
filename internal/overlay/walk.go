package overlay

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
)

// Limits of paths: those that a host directory has, through os.Root.
const (
	maxPath     = 4096
	maxName     = 255
	maxSymlinks = 8
	maxSteps    = 255
	maxRestarts = 8
)

// name is a path that a guest gave, taken apart.
type name struct {
	path  string // "." and empty components left out, "." if nothing else is left
	dir   string // path up to the last component, "." if there is just one
	base  string // the last component
	slash bool   // it can only mean a directory
	dot   bool   // it ends in "." or "..", which nothing can be made or removed as
}

func parse(path string) (name, error) {
	switch {
	case path == "":
		return name{}, vfs.ENOENT
	case len(path) > maxPath:
		return name{}, vfs.ENAMETOOLONG
	case !utf8.ValidString(path):
		return name{}, vfs.EILSEQ
	case strings.IndexByte(path, 0) >= 0:
		return name{}, vfs.EINVAL
	case path[0] == '/':
		return name{}, vfs.EPERM
	}
	n := name{path: path, dir: ".", base: path}
	if !strings.Contains(path, "/") && path != "." && path != ".." {
		if len(path) > maxName {
			return name{}, vfs.ENAMETOOLONG
		}
		return n, nil // what guests give most often
	}
	var parts []string
	for part := range strings.SplitSeq(path, "/") {
		if len(part) > maxName {
			return name{}, vfs.ENAMETOOLONG
		}
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	// The last component that is not empty decides whether there is a name to make or remove.
	last := strings.TrimRight(path, "/")
	last = last[strings.LastIndexByte(last, '/')+1:]
	n.dot = last == "." || last == ".."
	n.slash = n.dot || path[len(path)-1] == '/'
	if len(parts) == 0 {
		return name{path: ".", dir: ".", base: ".", slash: true, dot: true}, nil
	}
	n.path, n.base = strings.Join(parts, "/"), parts[len(parts)-1]
	if len(parts) > 1 {
		n.dir = strings.Join(parts[:len(parts)-1], "/")
	}
	return n, nil
}

// checkTarget refuses what a new symbolic link may not hold.
func checkTarget(target string) error {
	switch {
	case target == "":
		return vfs.ENOENT
	case len(target) > maxPath:
		return vfs.ENAMETOOLONG
	case !utf8.ValidString(target):
		return vfs.EILSEQ
	case strings.IndexByte(target, 0) >= 0:
		return vfs.EINVAL
	case target[0] == '/':
		return vfs.EPERM
	case len(target) == maxPath:
		return vfs.ENAMETOOLONG // the system counts a byte for the end
	}
	return nil
}

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
	if len(name) > maxName {
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
	parts, slash, err := splitInto(path, nil, nil)
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
			if parts = goUp(parts, i); parts == nil {
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
		next, nextSlash, err := splitInto(string(to), parts[:i], parts[i+1:])
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

// goUp takes a run of ".." at i and what it undoes out of a path; nil: it leads out.
func goUp(parts []string, i int) []string {
	end := i + 1
	for end < len(parts) && parts[end] == ".." {
		end++
	}
	n := end - i
	if n > i {
		return nil
	}
	parts = slices.Delete(slices.Clone(parts), i-n, end)
	if len(parts) == 0 {
		return []string{"."}
	}
	return parts
}

// splitInto puts the components of a path between others. "." is left out unless it is the end.
func splitInto(path string, before, after []string) (parts []string, slash bool, err error) {
	switch {
	case path == "":
		return nil, false, vfs.EIO // no system makes such a link
	case path[0] == '/':
		return nil, false, vfs.EPERM
	}
	parts = slices.Clone(before)
	trimmed := strings.TrimRight(path, "/")
	for part := range strings.SplitSeq(trimmed, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	if len(after) == 0 && (trimmed == "." || strings.HasSuffix(trimmed, "/.")) {
		parts = append(parts, ".")
	}
	parts = append(parts, after...)
	if len(parts) == 0 {
		parts = []string{"."}
	}
	return parts, len(trimmed) < len(path), nil
}
