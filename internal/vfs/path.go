package vfs

import (
	"strings"
	"unicode/utf8"
)

// Limits of paths, as on most systems.
const (
	maxPath      = 4096
	maxName      = 255
	maxSymlinks  = 8 // as os.Root has it
	invalidChars = "\x00"
)

// name is a path taken apart.
type name struct {
	path  string // without empty and "." components, "." if nothing is left
	dir   string // path without the last component, "." if there is just one
	base  string // the last component
	slash bool   // it ended so that it can only mean a directory
	dot   bool   // it ended in "." or "..", which names nothing that can be made or removed
}

// parse checks a path that a guest gave.
func parse(path string) (name, error) {
	switch {
	case path == "":
		return name{}, ENOENT
	case len(path) > maxPath:
		return name{}, ENAMETOOLONG
	case !utf8.ValidString(path):
		return name{}, EILSEQ
	case strings.ContainsAny(path, invalidChars):
		return name{}, EINVAL
	case path[0] == '/':
		return name{}, EPERM
	}
	var n name
	parts := make([]string, 0, 8)
	for p := range strings.SplitSeq(path, "/") {
		n.slash, n.dot = p == "" || p == "." || p == "..", p == "." || p == "" && n.dot || p == ".."
		switch {
		case len(p) > maxName:
			return name{}, ENAMETOOLONG
		case p != "" && p != ".":
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 {
		return name{path: ".", dir: ".", base: ".", slash: true, dot: true}, nil
	}
	last := len(parts) - 1
	n.path, n.dir, n.base = strings.Join(parts, "/"), ".", parts[last]
	if last > 0 {
		n.dir = strings.Join(parts[:last], "/")
	}
	return n, nil
}

// checkTarget refuses what a symbolic link may not hold: wherever it stands it would lead out of the tree.
func checkTarget(target string) error {
	switch {
	case target == "":
		return ENOENT
	case len(target) > maxPath:
		return ENAMETOOLONG
	case !utf8.ValidString(target):
		return EILSEQ
	case strings.ContainsAny(target, invalidChars):
		return EINVAL
	case target[0] == '/':
		return EPERM
	}
	return nil
}
