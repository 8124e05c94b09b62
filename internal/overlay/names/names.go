// Package names takes paths apart as package vfs does for a host directory: it knows texts only.
package names

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/clonecloud/clonecloud/internal/vfs"
)

const (
	maxPath = 4096
	maxName = 255
)

// Name is a path that a guest gave, taken apart.
type Name struct {
	Path  string // "." and empty components left out, "." if nothing else is left
	Dir   string // path up to the last component, "." if there is just one
	Base  string // the last component
	Slash bool   // it can only mean a directory
	Dot   bool   // it ends in "." or "..", which nothing can be made or removed as
}

// Parse checks a path that a guest gave and takes it apart.
func Parse(path string) (Name, error) {
	switch {
	case path == "":
		return Name{}, vfs.ENOENT
	case len(path) > maxPath:
		return Name{}, vfs.ENAMETOOLONG
	case !utf8.ValidString(path):
		return Name{}, vfs.EILSEQ
	case strings.IndexByte(path, 0) >= 0:
		return Name{}, vfs.EINVAL
	case path[0] == '/':
		return Name{}, vfs.EPERM
	}
	n := Name{Path: path, Dir: ".", Base: path}
	if !strings.Contains(path, "/") && path != "." && path != ".." {
		if len(path) > maxName {
			return Name{}, vfs.ENAMETOOLONG
		}
		return n, nil // what guests give most often
	}
	var parts []string
	for part := range strings.SplitSeq(path, "/") {
		if len(part) > maxName {
			return Name{}, vfs.ENAMETOOLONG
		}
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	// The last component that is not empty decides whether there is a name to make or remove.
	last := strings.TrimRight(path, "/")
	last = last[strings.LastIndexByte(last, '/')+1:]
	n.Dot = last == "." || last == ".."
	n.Slash = n.Dot || path[len(path)-1] == '/'
	if len(parts) == 0 {
		return Name{Path: ".", Dir: ".", Base: ".", Slash: true, Dot: true}, nil
	}
	n.Path, n.Base = strings.Join(parts, "/"), parts[len(parts)-1]
	if len(parts) > 1 {
		n.Dir = strings.Join(parts[:len(parts)-1], "/")
	}
	return n, nil
}

// CheckTarget refuses what a new symbolic link may not hold.
func CheckTarget(target string) error {
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

// Up takes a run of ".." at i and what it undoes out of a path; nil: it leads out.
func Up(parts []string, i int) []string {
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

// Split puts the components of a path between others. "." is left out unless it is the end.
func Split(path string, before, after []string) (parts []string, slash bool, err error) {
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
