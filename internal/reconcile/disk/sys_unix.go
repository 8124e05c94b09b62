//go:build linux || darwin

package disk

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// dir is a folder by its descriptor.
type dir struct{ fd int }

// again repeats a call that a signal interrupted.
func again(fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func openAt(at int, name string, flags int, perm uint32) (fd int, err error) {
	err = again(func() error {
		fd, err = unix.Openat(at, name, flags|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, perm)
		return err
	})
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

// OpenTop opens a directory by its path, which may be a link.
func OpenTop(path string) (Folder, error) {
	fd, err := openAt(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &dir{fd}, nil
}

func statOf(s *unix.Stat_t) Stat {
	x := Stat{
		Mode: uint32(s.Mode) & 0o777, Dev: uint64(s.Dev), Ino: s.Ino, Nlink: uint64(s.Nlink), Size: uint64(max(s.Size, 0)),
		Mtime: uint64(max(s.Mtim.Nano(), 0)), Atime: uint64(max(s.Atim.Nano(), 0)), Ctime: uint64(max(s.Ctim.Nano(), 0)),
	}
	switch s.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		x.Kind = tree.KindFile
	case unix.S_IFDIR:
		x.Kind = tree.KindDir
	case unix.S_IFLNK:
		x.Kind = tree.KindSymlink
	default:
		x.Kind = tree.KindOther
	}
	return x
}

func (d *dir) Stat() (Stat, error) {
	var s unix.Stat_t
	if err := again(func() error { return unix.Fstat(d.fd, &s) }); err != nil {
		return Stat{}, &fs.PathError{Op: "stat", Path: ".", Err: err}
	}
	return statOf(&s), nil
}

// do makes a call about a name.
func (d *dir) do(op, name string, fn func() error) error {
	if err := again(fn); err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

func (d *dir) Lstat(name string) (Stat, error) {
	var s unix.Stat_t
	err := d.do("stat", name, func() error { return unix.Fstatat(d.fd, name, &s, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return Stat{}, err
	}
	return statOf(&s), nil
}

func (d *dir) Names() ([]string, error) {
	f, err := d.Handle() // whose position is at the beginning
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (d *dir) Handle() (*os.File, error) {
	fd, err := openAt(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "."), nil
}

func (d *dir) Enter(name string) (Folder, error) {
	fd, err := openAt(d.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	return &dir{fd}, nil
}

func (d *dir) Open(name string, write bool) (File, error) {
	flags := unix.O_RDONLY
	if write {
		flags = unix.O_RDWR
	}
	fd, err := openAt(d.fd, name, flags|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	return &osFile{os.NewFile(uintptr(fd), name)}, nil
}

func (d *dir) Create(name string) (File, error) {
	fd, err := openAt(d.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o666)
	if err != nil {
		return nil, err
	}
	return &osFile{os.NewFile(uintptr(fd), name)}, nil
}

func (d *dir) Mkdir(name string, perm uint32) error {
	return d.do("mkdir", name, func() error { return unix.Mkdirat(d.fd, name, perm) })
}

func (d *dir) Symlink(target, name string) error {
	return d.do("symlink", name, func() error { return unix.Symlinkat(target, d.fd, name) })
}

func (d *dir) Link(name string, to Folder, as string) error {
	t := to.(*dir)
	return d.do("link", as, func() error { return unix.Linkat(d.fd, name, t.fd, as, 0) })
}

func (d *dir) Move(name string, to Folder, as string) error {
	t := to.(*dir)
	err := d.do("rename", as, func() error { return renameNew(d.fd, name, t.fd, as) })
	if err == nil || !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return d.moveChecked(name, t, as)
}

// moveChecked is for file systems that cannot rename without replacing. Of what is no directory it makes another name, which fails if
// there is one; else it looks first.
func (d *dir) moveChecked(name string, t *dir, as string) error {
	st, err := d.Lstat(name)
	if err != nil {
		return err
	}
	if st.Kind != tree.KindDir {
		err := d.Link(name, t, as)
		if err == nil {
			return d.Remove(name, false)
		}
		if errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	switch _, err := t.Lstat(as); {
	case err == nil:
		return &fs.PathError{Op: "rename", Path: as, Err: fs.ErrExist}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return d.do("rename", as, func() error { return unix.Renameat(d.fd, name, t.fd, as) })
}

func (d *dir) Remove(name string, isDir bool) error {
	flags := 0
	if isDir {
		flags = unix.AT_REMOVEDIR
	}
	return d.do("remove", name, func() error { return unix.Unlinkat(d.fd, name, flags) })
}

func (d *dir) SetTimes(name string, mtime, atime uint64) error {
	old, err := d.Lstat(name)
	if err != nil {
		return err
	}
	if mtime == 0 {
		mtime = old.Mtime
	}
	if atime == 0 {
		atime = old.Atime
	}
	const most = 1<<63 - 1
	ts := []unix.Timespec{unix.NsecToTimespec(int64(min(atime, most))), unix.NsecToTimespec(int64(min(mtime, most)))}
	return d.do("set times of", name, func() error { return unix.UtimesNanoAt(d.fd, name, ts, unix.AT_SYMLINK_NOFOLLOW) })
}

func (d *dir) Sync() error {
	err := d.do("sync", ".", func() error { return unix.Fsync(d.fd) })
	if errors.Is(err, unix.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil // a file system that cannot does so by itself, or not at all
	}
	return err
}

func (d *dir) Close() error { return unix.Close(d.fd) }

type osFile struct{ *os.File }

func (f *osFile) Handle() *os.File { return f.File }

// control runs fn on the descriptor.
func (f *osFile) control(op string, fn func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	err = raw.Control(func(fd uintptr) { callErr = again(func() error { return fn(int(fd)) }) })
	if err == nil && callErr != nil {
		err = &fs.PathError{Op: op, Path: f.Name(), Err: callErr}
	}
	return err
}

func (f *osFile) Stat() (Stat, error) {
	var s unix.Stat_t
	if err := f.control("stat", func(fd int) error { return unix.Fstat(fd, &s) }); err != nil {
		return Stat{}, err
	}
	return statOf(&s), nil
}

func (f *osFile) Truncate(size uint64) error {
	if size > 1<<63-1 {
		return &fs.PathError{Op: "truncate", Path: f.Name(), Err: unix.EFBIG}
	}
	return f.File.Truncate(int64(size))
}

func (f *osFile) Chmod(mode uint32) error {
	return f.control("chmod", func(fd int) error { return unix.Fchmod(fd, mode) })
}

func (f *osFile) Sync() error { return f.File.Sync() }

func (f *osFile) Lock() error {
	err := f.control("lock", func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrInUse
	}
	return err
}

// Reopen opens a file again that may have no name.
func Reopen(f *os.File, flags int) (*os.File, error) {
	if g, err := reopenByDescriptor(f, flags); err == nil {
		return g, nil
	}
	var fd int
	err := (&osFile{f}).control("dup", func(old int) (err error) {
		fd, err = unix.FcntlInt(uintptr(old), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// Detach leaves a file open that is about to lose its name.
func Detach(f File) (*os.File, error) { return f.Handle(), nil }

func isItemOfSystem(err error) bool {
	for _, e := range []error{
		unix.ENOTDIR, unix.ELOOP, unix.EISDIR, unix.ENOTEMPTY, unix.EROFS, unix.EXDEV, unix.EBUSY, unix.ETXTBSY, unix.EMLINK,
		unix.ENAMETOOLONG, unix.EINVAL, unix.EILSEQ, unix.EFBIG, unix.ENXIO, unix.ENODEV, unix.EAGAIN,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// IsNotEmpty tells whether a directory could not be removed for what is in it.
func IsNotEmpty(err error) bool { return errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) }

// Fits tells whether the system can have a name.
func Fits(string) bool { return true }
