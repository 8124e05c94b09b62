//go:build !linux

package hostdir

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// Dir is an open directory. Where a name is a link, or becomes one while it is opened, os.Root keeps it inside, and
// the number of what was opened tells that it is not what was looked at.
type Dir struct{ root *os.Root }

// Open opens a directory by its path.
func Open(path string) (*Dir, error) {
	r, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &Dir{r}, nil
}

var errLink = errors.New("is a link")

// OpenDir opens a directory in h, never through a link.
func (h *Dir) OpenDir(name string) (*Dir, error) {
	if name == "." {
		r, err := h.root.OpenRoot(name)
		return &Dir{r}, err
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
	return &Dir{r}, nil
}

// OpenFile opens a file in h for reading, never through a link.
func (h *Dir) OpenFile(name string) (*os.File, Stat, error) {
	before, err := h.root.Lstat(name)
	if err != nil {
		return nil, Stat{}, err
	}
	if !before.Mode().IsRegular() {
		return nil, Stat{}, errLink
	}
	f, err := h.root.Open(name)
	if err != nil {
		return nil, Stat{}, err
	}
	after, err := f.Stat()
	if err == nil && !os.SameFile(before, after) {
		err = errLink
	}
	var s Stat
	if err == nil {
		s, err = statOpen(f, after)
	}
	if err != nil {
		return nil, Stat{}, errors.Join(err, f.Close())
	}
	return f, s, nil
}

// StatFile tells of an open file.
func StatFile(f *os.File) (Stat, error) {
	fi, err := f.Stat()
	if err != nil {
		return Stat{}, err
	}
	return statOpen(f, fi)
}

// Stat tells of the directory itself.
func (h *Dir) Stat() (Stat, error) {
	f, err := h.root.Open(".")
	if err != nil {
		return Stat{}, err
	}
	s, err := StatFile(f)
	return s, errors.Join(err, f.Close())
}

// Lstat tells of a name in it; of a link, of the link.
func (h *Dir) Lstat(name string) (Stat, error) {
	fi, err := h.root.Lstat(name)
	if err != nil {
		return Stat{}, err
	}
	return statNamed(h.root, name, fi)
}

// LstatRead is Lstat of a name that Read has given.
func (h *Dir) LstatRead(name []byte) (Stat, error) { return h.Lstat(string(name)) }

// Readlink returns the target of a link.
func (h *Dir) Readlink(name string) (string, error) { return h.root.Readlink(name) }

// Close ends the use of the directory.
func (h *Dir) Close() error { return h.root.Close() }

// Read calls fn for each name of the directory, with its number and kind.
func (h *Dir) Read(_ *Buffer, fn func(name []byte, ino uint64, kind tree.Kind) error) error {
	f, err := h.root.Open(".")
	if err != nil {
		return err
	}
	for err == nil {
		var list []fs.DirEntry
		list, err = f.ReadDir(1000)
		for _, e := range list {
			s, serr := h.Lstat(e.Name())
			switch {
			case IsGone(serr):
				continue
			case serr != nil:
				return errors.Join(serr, f.Close())
			}
			if ferr := fn([]byte(e.Name()), s.Ino, s.Kind); ferr != nil {
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
func (s *Stat) statMode(fi fs.FileInfo) {
	m := fi.Mode()
	s.Mode = uint32(m.Perm())
	s.Size = uint64(max(fi.Size(), 0))
	s.Sealed = m.Perm()&0o222 == 0
	s.Mtime = uint64(max(fi.ModTime().UnixNano(), 0))
	switch {
	case m.IsRegular():
		s.Kind = tree.KindFile
	case m.IsDir():
		s.Kind = tree.KindDir
	case m&fs.ModeSymlink != 0:
		s.Kind = tree.KindSymlink
	case m&fs.ModeCharDevice != 0:
		s.Kind, s.Type = tree.KindOther, TypeChar
	case m&fs.ModeDevice != 0:
		s.Kind, s.Type = tree.KindOther, TypeBlock
	case m&fs.ModeSocket != 0:
		s.Kind, s.Type = tree.KindOther, TypeSocket
	default:
		s.Kind, s.Type = tree.KindOther, TypeUnknown
	}
}

// System tells of the file system. Nothing is asked here: it may be another machine's.
func (h *Dir) System() (local, readOnly bool) { return false, false }

// IsGone tells whether an error says that a name is no longer what the listing of its directory said.
func IsGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP) || errors.Is(err, errLink)
}

// IsLack tells whether an error is of this process, not of the file.
func IsLack(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// NextData finds the next byte that may not be zero: here, the next byte.
func NextData(_ *os.File, off, _ uint64) uint64 { return off }

func nextHole(_ *os.File, _, size uint64) uint64 { return size }
