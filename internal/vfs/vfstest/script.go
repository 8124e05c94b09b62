// Package vfstest is the suite that every file system of package vfs passes: scripts of operations with the
// results that Linux gives, and random operations compared between two trees.
package vfstest

import (
	"fmt"
	"strings"

	"github.com/clonecloud/clonecloud/internal/vfs"
)

// Shell runs operations written as text on a tree. A path may begin with the name of a directory opened with
// "sub" and a colon.
type Shell struct {
	dirs  map[string]vfs.Dir
	files map[string]vfs.File
}

// NewShell starts at the top of a tree.
func NewShell(fs vfs.FS) (*Shell, error) {
	root, err := fs.Root()
	if err != nil {
		return nil, err
	}
	return &Shell{map[string]vfs.Dir{"": root}, map[string]vfs.File{}}, nil
}

// Close closes what is still open.
func (s *Shell) Close() {
	for _, d := range s.dirs {
		_ = d.Close()
	}
	for _, f := range s.files {
		_ = f.Close()
	}
}

func (s *Shell) at(path string) (vfs.Dir, string) {
	if d, p, ok := strings.Cut(path, ":"); ok && s.dirs[d] != nil {
		return s.dirs[d], p
	}
	return s.dirs[""], path
}

var openFlags = map[rune]vfs.OpenFlags{
	'r': vfs.OpenRead, 'w': vfs.OpenWrite, 'c': vfs.OpenCreate, 'x': vfs.OpenExclusive, 't': vfs.OpenTruncate,
	'd': vfs.OpenDirectory, 'f': vfs.OpenFollow,
}

func flagsOf(text string) (fl vfs.OpenFlags) {
	for _, c := range text {
		fl |= openFlags[c]
	}
	return fl
}

var typeNames = map[vfs.FileType]string{
	vfs.TypeDirectory: "dir", vfs.TypeRegular: "file", vfs.TypeSymlink: "link", vfs.TypeCharDevice: "chardev",
}

func describe(st vfs.Stat) string {
	if st.Type == vfs.TypeDirectory {
		return "dir"
	}
	return fmt.Sprintf("%s %d nlink %d", typeNames[st.Type], st.Size, st.Nlink)
}

// Do runs one operation and returns its output, or the name of its error behind "-> ".
func (s *Shell) Do(line string) string {
	f := strings.Fields(line)
	for len(f) < 4 {
		f = append(f, "")
	}
	for i := range f {
		f[i] = strings.ReplaceAll(f[i], "_EMPTY_", "")
	}
	out, err := s.run(f[0], f[1], f[2], f[3])
	if err != nil {
		return "-> " + vfs.ErrnoOf(err).String()
	}
	return out
}

func (s *Shell) run(op, a, b, c string) (string, error) {
	d, path := s.at(a)
	d2, path2 := s.at(b)
	switch op {
	case "mkdir":
		return "", d.Mkdir(path)
	case "rmdir":
		return "", d.Rmdir(path)
	case "unlink":
		return "", d.Unlink(path)
	case "rename":
		return "", d.Rename(path, d2, path2)
	case "link":
		return "", d.Link(path, d2, path2)
	case "symlink":
		return "", d2.Symlink(a, path2)
	case "readlink":
		return d.Readlink(path)
	case "stat", "lstat":
		st, err := d.StatPath(path, op == "stat")
		return describe(st), err
	case "ls":
		return s.list(d, path)
	case "sub": // sub NAME PATH
		f, err := d2.Open(path2, vfs.OpenDirectory|vfs.OpenRead|vfs.OpenFollow)
		if err == nil {
			s.dirs[a] = f.(vfs.Dir)
		}
		return "", err
	case "try": // try FLAGS PATH: open and close
		f, err := d2.Open(path2, flagsOf(a))
		if err != nil {
			return "", err
		}
		return typeNames[f.Type()], f.Close()
	case "cat":
		f, err := d.Open(path, vfs.OpenRead|vfs.OpenFollow)
		if err != nil {
			return "", err
		}
		buf := make([]byte, 4096)
		n, err := f.ReadAt(buf, 0)
		_ = f.Close()
		return fmt.Sprintf("%q", buf[:n]), err
	case "put": // put PATH TEXT
		f, err := d.Open(path, vfs.OpenWrite|vfs.OpenCreate|vfs.OpenTruncate|vfs.OpenFollow)
		if err != nil {
			return "", err
		}
		_, err = f.WriteAt([]byte(b), 0)
		_ = f.Close()
		return "", err
	case "open": // open NAME FLAGS PATH
		d, path := s.at(c)
		f, err := d.Open(path, flagsOf(b))
		if err == nil {
			s.files[a] = f
		}
		return "", err
	}
	return s.runFile(op, a, b, c)
}

func (s *Shell) runFile(op, a, b, c string) (string, error) {
	f, ok := s.files[a]
	if !ok {
		return "no such operation or file", nil
	}
	num := func(t string) (v uint64) { _, _ = fmt.Sscan(t, &v); return v }
	switch op {
	case "read": // read NAME OFFSET LENGTH
		buf := make([]byte, num(c))
		n, err := f.ReadAt(buf, num(b))
		return fmt.Sprintf("%q", buf[:n]), err
	case "write": // write NAME OFFSET TEXT
		n, err := f.WriteAt([]byte(c), num(b))
		return fmt.Sprint(n), err
	case "append":
		n, end, err := f.Append([]byte(b))
		return fmt.Sprint(n, " ", end), err
	case "size":
		return "", f.SetSize(num(b))
	case "allocate":
		return "", f.Allocate(num(b), num(c))
	case "fstat":
		st, err := f.Stat()
		return describe(st), err
	case "sync":
		return "", f.Sync(b == "data")
	case "close":
		delete(s.files, a)
		return "", f.Close()
	}
	return "no such operation", nil
}

func (s *Shell) list(d vfs.Dir, path string) (string, error) {
	f, err := d.Open(path, vfs.OpenDirectory|vfs.OpenRead)
	if err != nil {
		return "", err
	}
	defer f.Close()
	list, err := f.(vfs.Dir).ReadDir()
	var out []string
	for _, e := range list {
		st, serr := f.(vfs.Dir).StatPath(e.Name, false)
		if serr != nil || st.Ino != e.Ino || st.Type != e.Type {
			return fmt.Sprintf("entry %+v does not match %+v, %v", e, st, serr), nil
		}
		out = append(out, e.Name)
	}
	return strings.Join(out, " "), err
}
