package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// dir is a folder by its path below an os.Root, which nothing leaves. A link on the way is looked for before each use; one that is put there at
// the same moment may be followed, but not out of the root.
type dir struct {
	root *os.Root
	path string
	top  bool
}

// OpenTop opens a directory by its path.
func OpenTop(path string) (Folder, error) {
	r, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &dir{r, ".", true}, nil
}

func (d *dir) at(name string) string { return filepath.Join(d.path, name) }

func timeNS(t time.Time) uint64 {
	if t.Before(time.Unix(0, 0)) {
		return 0
	}
	return uint64(t.UnixNano())
}

func kindOfMode(m fs.FileMode) tree.Kind {
	switch {
	case m.IsRegular():
		return tree.KindFile
	case m.IsDir():
		return tree.KindDir
	case m&fs.ModeSymlink != 0:
		return tree.KindSymlink
	}
	return tree.KindOther
}

func (d *dir) Stat() (Stat, error) { return d.Lstat(".") }

func (d *dir) Lstat(name string) (Stat, error) {
	fi, err := d.root.Lstat(d.at(name))
	if err != nil {
		return Stat{}, err
	}
	st := statOf(fi)
	if st.Kind == tree.KindFile || st.Kind == tree.KindDir {
		f, err := d.root.Open(d.at(name))
		if err != nil {
			return Stat{}, err
		}
		defer f.Close()
		if err := identify(f, &st); err != nil {
			return Stat{}, err
		}
	}
	return st, nil
}

// statOf is what is known without opening the file.
func statOf(fi fs.FileInfo) Stat {
	m := timeNS(fi.ModTime())
	st := Stat{Kind: kindOfMode(fi.Mode()), Mode: uint32(fi.Mode().Perm()), Nlink: 1, Size: uint64(max(fi.Size(), 0)), Mtime: m, Atime: m, Ctime: m}
	if st.Kind != tree.KindFile && st.Kind != tree.KindDir {
		st.Ino = m // it cannot be opened as such
	}
	return st
}

func (d *dir) Names() ([]string, error) {
	f, err := d.Handle()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (d *dir) Handle() (*os.File, error) { return d.root.Open(d.path) }

func (d *dir) Enter(name string) (Folder, error) {
	fi, err := d.root.Lstat(d.at(name))
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errNotDir}
	}
	return &dir{d.root, d.at(name), false}, nil
}

func (d *dir) Open(name string, write bool) (File, error) {
	fi, err := d.root.Lstat(d.at(name))
	if err != nil {
		return nil, err
	}
	if fi.Mode()&fs.ModeSymlink != 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	f, err := d.root.OpenFile(d.at(name), flag, 0)
	if err != nil {
		return nil, err
	}
	return &osFile{f}, nil
}

func (d *dir) Create(name string) (File, error) {
	f, err := d.root.OpenFile(d.at(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	return &osFile{f}, nil
}

func (d *dir) Mkdir(name string, perm uint32) error {
	return d.root.Mkdir(d.at(name), fs.FileMode(perm))
}

func (d *dir) Symlink(target, name string) error {
	return d.root.Symlink(filepath.FromSlash(target), d.at(name))
}

func (d *dir) Link(name string, to Folder, as string) error {
	return d.root.Link(d.at(name), to.(*dir).at(as))
}

func (d *dir) Move(name string, to Folder, as string) error {
	t := to.(*dir)
	switch _, err := d.root.Lstat(t.at(as)); {
	case err == nil:
		return &fs.PathError{Op: "rename", Path: as, Err: fs.ErrExist}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return d.root.Rename(d.at(name), t.at(as))
}

func (d *dir) Remove(name string, isDir bool) error {
	fi, err := d.root.Lstat(d.at(name))
	if err != nil {
		return err
	}
	if fi.IsDir() != isDir {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrInvalid}
	}
	return d.root.Remove(d.at(name))
}

func (d *dir) SetTimes(name string, mtime, atime uint64) error {
	fi, err := d.root.Lstat(d.at(name))
	if err != nil {
		return err
	}
	if fi.Mode()&fs.ModeSymlink != 0 {
		return nil // a link's own times cannot be set
	}
	of := func(ns uint64) time.Time {
		if ns == 0 {
			return time.Time{} // left as it is
		}
		return time.Unix(0, int64(min(ns, 1<<63-1)))
	}
	return d.root.Chtimes(d.at(name), of(atime), of(mtime))
}

// Sync: names are as durable as the system makes them.
func (d *dir) Sync() error { return nil }

func (d *dir) SyncAll() error { return errors.ErrUnsupported }

func (d *dir) Close() error {
	if d.top {
		return d.root.Close()
	}
	return nil
}

// HasSyncAll tells whether syncAll is there.
const HasSyncAll = false

type osFile struct{ *os.File }

func (f *osFile) Handle() *os.File { return f.File }

func (f *osFile) Stat() (Stat, error) {
	fi, err := f.File.Stat()
	if err != nil {
		return Stat{}, err
	}
	st := statOf(fi)
	return st, identify(f.File, &st)
}

func (f *osFile) Truncate(size uint64) error {
	if size > 1<<63-1 {
		return &fs.PathError{Op: "truncate", Path: f.Name(), Err: fs.ErrInvalid}
	}
	return f.File.Truncate(int64(size))
}

// Chmod: who may do what follows from the folder.
func (f *osFile) Chmod(uint32) error { return nil }

func (f *osFile) Punch(uint64, uint64) error { return errors.ErrUnsupported }

func (f *osFile) Sync() error { return f.File.Sync() }

// Reopen opens a file again.
func Reopen(f *os.File, flags int) (*os.File, error) { return os.OpenFile(f.Name(), flags, 0) }

// Detach leaves a copy of a file that is about to be removed: an open file cannot be.
func Detach(f File) (*os.File, error) {
	g, err := os.CreateTemp("", "clonecloud-open-*")
	if err != nil {
		return nil, err
	}
	if _, err = g.ReadFrom(f.Handle()); err == nil {
		_, err = g.Seek(0, 0)
	}
	if err != nil {
		return nil, errors.Join(err, g.Close(), os.Remove(g.Name()))
	}
	return g, f.Close()
}

// Fits tells whether the system can have a name.
func Fits(name string) bool {
	return filepath.IsLocal(name) && !strings.ContainsAny(name, "<>:\"|?*\\") && !strings.HasSuffix(name, ".") && !strings.HasSuffix(name, " ") &&
		strings.IndexFunc(name, func(r rune) bool { return r < 32 }) < 0
}
