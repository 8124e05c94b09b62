//go:build !linux

package scan

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// handle is an open directory. Where a name is a link, or becomes one while it is opened, os.Root keeps it inside, and
// the number of what was opened tells that it is not what was looked at.
type handle struct{ root *os.Root }

func openTop(path string) (*handle, error) {
	r, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &handle{r}, nil
}

var errLink = errors.New("is a link")

func (h *handle) openDir(name string) (*handle, error) {
	if name == "." {
		r, err := h.root.OpenRoot(name)
		return &handle{r}, err
	}
	before, err := h.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.IsDir() {
		return nil, errLink
	}
	r, err := h.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	after, err := r.Stat(".")
	if err == nil && !os.SameFile(before, after) {
		err = errLink
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return &handle{r}, nil
}

func (h *handle) openFile(name string) (*os.File, stat, error) {
	before, err := h.root.Lstat(name)
	if err != nil {
		return nil, stat{}, err
	}
	if !before.Mode().IsRegular() {
		return nil, stat{}, errLink
	}
	f, err := h.root.Open(name)
	if err != nil {
		return nil, stat{}, err
	}
	after, err := f.Stat()
	if err == nil && !os.SameFile(before, after) {
		err = errLink
	}
	var s stat
	if err == nil {
		s, err = statOpen(f, after)
	}
	if err != nil {
		return nil, stat{}, errors.Join(err, f.Close())
	}
	return f, s, nil
}

func statFile(f *os.File) (stat, error) {
	fi, err := f.Stat()
	if err != nil {
		return stat{}, err
	}
	return statOpen(f, fi)
}

func (h *handle) stat() (stat, error) {
	f, err := h.root.Open(".")
	if err != nil {
		return stat{}, err
	}
	s, err := statFile(f)
	return s, errors.Join(err, f.Close())
}

func (h *handle) lstat(name string) (stat, error) {
	fi, err := h.root.Lstat(name)
	if err != nil {
		return stat{}, err
	}
	return statNamed(h.root, name, fi)
}

func (h *handle) lstatOf(name []byte) (stat, error) { return h.lstat(string(name)) }

func (h *handle) readlink(name string) (string, error) { return h.root.Readlink(name) }

func (h *handle) close() error { return h.root.Close() }

// read calls fn for each name of the directory, with its number and kind.
func (h *handle) read(_ *listing, fn func(name []byte, ino uint64, kind tree.Kind) error) error {
	f, err := h.root.Open(".")
	if err != nil {
		return err
	}
	for err == nil {
		var list []fs.DirEntry
		list, err = f.ReadDir(1000)
		for _, e := range list {
			s, serr := h.lstat(e.Name())
			switch {
			case isGone(serr):
				continue
			case serr != nil:
				return errors.Join(serr, f.Close())
			}
			if ferr := fn([]byte(e.Name()), s.ino, s.kind); ferr != nil {
				return errors.Join(ferr, f.Close())
			}
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// statMode fills in what the mode says.
func (s *stat) statMode(fi fs.FileInfo) {
	m := fi.Mode()
	s.mode = uint32(m.Perm())
	s.size = uint64(max(fi.Size(), 0))
	s.sealed = m.Perm()&0o222 == 0
	s.mtime = uint64(max(fi.ModTime().UnixNano(), 0))
	switch {
	case m.IsRegular():
		s.kind = tree.KindFile
	case m.IsDir():
		s.kind = tree.KindDir
	case m&fs.ModeSymlink != 0:
		s.kind = tree.KindSymlink
	case m&fs.ModeCharDevice != 0:
		s.kind, s.typ = tree.KindOther, typeChar
	case m&fs.ModeDevice != 0:
		s.kind, s.typ = tree.KindOther, typeBlock
	case m&fs.ModeSocket != 0:
		s.kind, s.typ = tree.KindOther, typeSocket
	default:
		s.kind, s.typ = tree.KindOther, typeUnknown
	}
}

// system tells of the file system. Nothing is asked here: it may be another machine's.
func (h *handle) system() (local, readOnly bool) { return false, false }

func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP) || errors.Is(err, errLink)
}

func isLack(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// nextData: the holes of a file are read.
func nextData(_ *os.File, off, _ uint64) (uint64, error) { return off, nil }

func nextHole(_ *os.File, _, size uint64) uint64 { return size }
