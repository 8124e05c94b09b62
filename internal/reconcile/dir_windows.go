package reconcile

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

func openTop(path string) (folder, error) {
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

func (d *dir) stat() (stat, error) { return d.lstat(".") }

func (d *dir) lstat(name string) (stat, error) {
	fi, err := d.root.Lstat(d.at(name))
	if err != nil {
		return stat{}, err
	}
	st := statOf(fi)
	if st.kind == tree.KindFile || st.kind == tree.KindDir {
		f, err := d.root.Open(d.at(name))
		if err != nil {
			return stat{}, err
		}
		defer f.Close()
		if err := identify(f, &st); err != nil {
			return stat{}, err
		}
	}
	return st, nil
}

// statOf is what is known without opening the file.
func statOf(fi fs.FileInfo) stat {
	m := timeNS(fi.ModTime())
	st := stat{kind: kindOfMode(fi.Mode()), mode: uint32(fi.Mode().Perm()), nlink: 1, size: uint64(max(fi.Size(), 0)), mtime: m, atime: m, ctime: m}
	if st.kind != tree.KindFile && st.kind != tree.KindDir {
		st.ino = m // it cannot be opened as such
	}
	return st
}

func (d *dir) names() ([]string, error) {
	f, err := d.handle()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (d *dir) handle() (*os.File, error) { return d.root.Open(d.path) }

func (d *dir) enter(name string) (folder, error) {
	fi, err := d.root.Lstat(d.at(name))
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errNotDir}
	}
	return &dir{d.root, d.at(name), false}, nil
}

func (d *dir) open(name string, write bool) (file, error) {
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

func (d *dir) create(name string) (file, error) {
	f, err := d.root.OpenFile(d.at(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	return &osFile{f}, nil
}

func (d *dir) mkdir(name string, perm uint32) error {
	return d.root.Mkdir(d.at(name), fs.FileMode(perm))
}

func (d *dir) symlink(target, name string) error {
	return d.root.Symlink(filepath.FromSlash(target), d.at(name))
}

func (d *dir) link(name string, to folder, as string) error {
	return d.root.Link(d.at(name), to.(*dir).at(as))
}

func (d *dir) move(name string, to folder, as string) error {
	t := to.(*dir)
	switch _, err := d.root.Lstat(t.at(as)); {
	case err == nil:
		return &fs.PathError{Op: "rename", Path: as, Err: fs.ErrExist}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return d.root.Rename(d.at(name), t.at(as))
}

func (d *dir) remove(name string, isDir bool) error {
	fi, err := d.root.Lstat(d.at(name))
	if err != nil {
		return err
	}
	if fi.IsDir() != isDir {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrInvalid}
	}
	return d.root.Remove(d.at(name))
}

func (d *dir) setTimes(name string, mtime, atime uint64) error {
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

// sync: names are as durable as the system makes them.
func (d *dir) sync() error { return nil }

func (d *dir) syncAll() error { return errors.ErrUnsupported }

func (d *dir) close() error {
	if d.top {
		return d.root.Close()
	}
	return nil
}

// hasSyncAll tells whether syncAll is there.
const hasSyncAll = false

type osFile struct{ *os.File }

func (f *osFile) handle() *os.File { return f.File }

func (f *osFile) stat() (stat, error) {
	fi, err := f.File.Stat()
	if err != nil {
		return stat{}, err
	}
	st := statOf(fi)
	return st, identify(f.File, &st)
}

func (f *osFile) truncate(size uint64) error {
	if size > 1<<63-1 {
		return &fs.PathError{Op: "truncate", Path: f.Name(), Err: fs.ErrInvalid}
	}
	return f.File.Truncate(int64(size))
}

// chmod: who may do what follows from the folder.
func (f *osFile) chmod(uint32) error { return nil }

func (f *osFile) punch(uint64, uint64) error { return errors.ErrUnsupported }

func (f *osFile) sync() error { return f.File.Sync() }

// reopen opens a file again.
func reopen(f *os.File, flags int) (*os.File, error) { return os.OpenFile(f.Name(), flags, 0) }

// detach leaves a copy of a file that is about to be removed: an open file cannot be.
func detach(f file) (*os.File, error) {
	g, err := os.CreateTemp("", "clonecloud-open-*")
	if err != nil {
		return nil, err
	}
	if _, err = g.ReadFrom(f.handle()); err == nil {
		_, err = g.Seek(0, 0)
	}
	if err != nil {
		return nil, errors.Join(err, g.Close(), os.Remove(g.Name()))
	}
	return g, f.Close()
}

// fits tells whether the system can have a name.
func fits(name string) bool {
	return filepath.IsLocal(name) && !strings.ContainsAny(name, "<>:\"|?*\\") && !strings.HasSuffix(name, ".") && !strings.HasSuffix(name, " ") &&
		strings.IndexFunc(name, func(r rune) bool { return r < 32 }) < 0
}
