//go:build linux || darwin

package reconcile

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

// openTop opens a directory by its path, which may be a link.
func openTop(path string) (folder, error) {
	fd, err := openAt(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &dir{fd}, nil
}

func statOf(s *unix.Stat_t) stat {
	x := stat{
		mode: uint32(s.Mode) & 0o777, dev: uint64(s.Dev), ino: s.Ino, nlink: uint64(s.Nlink), size: uint64(max(s.Size, 0)),
		mtime: uint64(max(s.Mtim.Nano(), 0)), atime: uint64(max(s.Atim.Nano(), 0)), ctime: uint64(max(s.Ctim.Nano(), 0)),
	}
	switch s.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		x.kind = tree.KindFile
	case unix.S_IFDIR:
		x.kind = tree.KindDir
	case unix.S_IFLNK:
		x.kind = tree.KindSymlink
	default:
		x.kind = tree.KindOther
	}
	return x
}

func (d *dir) stat() (stat, error) {
	var s unix.Stat_t
	if err := again(func() error { return unix.Fstat(d.fd, &s) }); err != nil {
		return stat{}, &fs.PathError{Op: "stat", Path: ".", Err: err}
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

func (d *dir) lstat(name string) (stat, error) {
	var s unix.Stat_t
	err := d.do("stat", name, func() error { return unix.Fstatat(d.fd, name, &s, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return stat{}, err
	}
	return statOf(&s), nil
}

func (d *dir) names() ([]string, error) {
	f, err := d.handle() // whose position is at the beginning
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (d *dir) handle() (*os.File, error) {
	fd, err := openAt(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "."), nil
}

func (d *dir) enter(name string) (folder, error) {
	fd, err := openAt(d.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	return &dir{fd}, nil
}

func (d *dir) open(name string, write bool) (file, error) {
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

func (d *dir) create(name string) (file, error) {
	fd, err := openAt(d.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o666)
	if err != nil {
		return nil, err
	}
	return &osFile{os.NewFile(uintptr(fd), name)}, nil
}

func (d *dir) mkdir(name string, perm uint32) error {
	return d.do("mkdir", name, func() error { return unix.Mkdirat(d.fd, name, perm) })
}

func (d *dir) symlink(target, name string) error {
	return d.do("symlink", name, func() error { return unix.Symlinkat(target, d.fd, name) })
}

func (d *dir) link(name string, to folder, as string) error {
	t := to.(*dir)
	return d.do("link", as, func() error { return unix.Linkat(d.fd, name, t.fd, as, 0) })
}

func (d *dir) move(name string, to folder, as string) error {
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
	st, err := d.lstat(name)
	if err != nil {
		return err
	}
	if st.kind != tree.KindDir {
		err := d.link(name, t, as)
		if err == nil {
			return d.remove(name, false)
		}
		if errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	switch _, err := t.lstat(as); {
	case err == nil:
		return &fs.PathError{Op: "rename", Path: as, Err: fs.ErrExist}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return d.do("rename", as, func() error { return unix.Renameat(d.fd, name, t.fd, as) })
}

func (d *dir) remove(name string, isDir bool) error {
	flags := 0
	if isDir {
		flags = unix.AT_REMOVEDIR
	}
	return d.do("remove", name, func() error { return unix.Unlinkat(d.fd, name, flags) })
}

func (d *dir) setTimes(name string, mtime, atime uint64) error {
	old, err := d.lstat(name)
	if err != nil {
		return err
	}
	if mtime == 0 {
		mtime = old.mtime
	}
	if atime == 0 {
		atime = old.atime
	}
	const most = 1<<63 - 1
	ts := []unix.Timespec{unix.NsecToTimespec(int64(min(atime, most))), unix.NsecToTimespec(int64(min(mtime, most)))}
	return d.do("set times of", name, func() error { return unix.UtimesNanoAt(d.fd, name, ts, unix.AT_SYMLINK_NOFOLLOW) })
}

func (d *dir) sync() error {
	err := d.do("sync", ".", func() error { return unix.Fsync(d.fd) })
	if errors.Is(err, unix.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil // a file system that cannot does so by itself, or not at all
	}
	return err
}

func (d *dir) close() error { return unix.Close(d.fd) }

type osFile struct{ *os.File }

func (f *osFile) handle() *os.File { return f.File }

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

func (f *osFile) stat() (stat, error) {
	var s unix.Stat_t
	if err := f.control("stat", func(fd int) error { return unix.Fstat(fd, &s) }); err != nil {
		return stat{}, err
	}
	return statOf(&s), nil
}

func (f *osFile) truncate(size uint64) error {
	if size > 1<<63-1 {
		return &fs.PathError{Op: "truncate", Path: f.Name(), Err: unix.EFBIG}
	}
	return f.File.Truncate(int64(size))
}

func (f *osFile) chmod(mode uint32) error {
	return f.control("chmod", func(fd int) error { return unix.Fchmod(fd, mode) })
}

func (f *osFile) sync() error { return f.File.Sync() }

func (f *osFile) lock() error {
	err := f.control("lock", func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errInUse
	}
	return err
}

// reopen opens a file again that may have no name.
func reopen(f *os.File, flags int) (*os.File, error) {
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

// detach leaves a file open that is about to lose its name.
func detach(f file) (*os.File, error) { return f.handle(), nil }

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

func isNotEmpty(err error) bool { return errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) }

// fits tells whether the system can have a name.
func fits(string) bool { return true }
