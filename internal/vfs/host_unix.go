//go:build linux || darwin

package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const osDirectory = unix.O_DIRECTORY

func statOf(_ *os.File, fi fs.FileInfo) (Stat, error) {
	s, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return Stat{}, errNoNumber
	}
	st := Stat{
		Dev: uint64(s.Dev), Ino: s.Ino, Type: typeOf(fi.Mode()), Nlink: uint64(s.Nlink), Size: uint64(max(s.Size, 0)),
		Mtime: nanoseconds(fi.ModTime()),
	}
	st.Atime, st.Ctime = otherTimes(s)
	return st, nil
}

func statPathOf(_ *os.Root, _ string, _ bool, fi fs.FileInfo) (Stat, error) { return statOf(nil, fi) }

// at runs fn on the descriptor of the directory that holds n. os.Root has led there, and fn is given a plain
// name and does not follow links: it cannot leave the tree.
func (d *hostDir) at(n name, fn func(dir int) error) error {
	f, done, err := d.parent(n)
	if err != nil {
		return err
	}
	defer done()
	return control(f, fn)
}

// control runs fn on the descriptor of f, again if a signal interrupted it.
func control(f *os.File, fn func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var fnErr error
	err = raw.Control(func(fd uintptr) {
		for {
			if fnErr = fn(int(fd)); !errors.Is(fnErr, unix.EINTR) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return fnErr
}

func (d *hostDir) sysMkdir(n name) error {
	return d.at(n, func(dir int) error { return unix.Mkdirat(dir, n.base, 0o777) })
}

func (d *hostDir) sysRmdir(n name) error {
	return d.at(n, func(dir int) error { return unix.Unlinkat(dir, n.base, unix.AT_REMOVEDIR) })
}

func (d *hostDir) sysUnlink(n name) error {
	return d.at(n, func(dir int) error { return unix.Unlinkat(dir, n.base, 0) })
}

func (d *hostDir) sysRename(n name, nd *hostDir, nn name) error {
	return d.at(n, func(dir int) error {
		return nd.at(nn, func(newDir int) error { return unix.Renameat(dir, n.base, newDir, nn.base) })
	})
}

func (d *hostDir) sysLink(n name, nd *hostDir, nn name) error {
	return d.at(n, func(dir int) error {
		return nd.at(nn, func(newDir int) error { return unix.Linkat(dir, n.base, newDir, nn.base, 0) })
	})
}

func (d *hostDir) sysSymlink(target string, n name) error {
	return d.at(n, func(dir int) error { return unix.Symlinkat(target, dir, n.base) })
}

func (d *hostDir) sysReadlink(n name) (string, error) {
	buf := make([]byte, maxPath+1)
	got := 0
	err := d.at(n, func(dir int) (err error) {
		got, err = unix.Readlinkat(dir, n.base, buf)
		return err
	})
	if err != nil {
		return "", err
	}
	return string(buf[:got]), nil
}

func (d *hostDir) sysSetLinkTimes(n name, t Times) error {
	old, err := d.stat(n.path, false)
	if err != nil {
		return err
	}
	ts := timespecs(t, old)
	return d.at(n, func(dir int) error { return unix.UtimesNanoAt(dir, n.base, ts[:], unix.AT_SYMLINK_NOFOLLOW) })
}

// timespecs keeps what t leaves out as it was.
func timespecs(t Times, old Stat) [2]unix.Timespec {
	ts := [2]unix.Timespec{unix.NsecToTimespec(int64(old.Atime)), unix.NsecToTimespec(int64(old.Mtime))}
	for i, v := range []*uint64{t.Atime, t.Mtime} {
		if v != nil {
			ts[i] = unix.NsecToTimespec(int64(*v))
		}
	}
	return ts
}

func setAppend(f *os.File, on bool) error {
	return control(f, func(fd int) error {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil {
			return err
		}
		flags &^= unix.O_APPEND
		if on {
			flags |= unix.O_APPEND
		}
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
		return err
	})
}

// appendTo writes to a file in append mode; the descriptor's position is then behind what was written.
func appendTo(f *os.File, p []byte) (n int, end uint64, err error) {
	n, err = f.Write(p)
	if err != nil && n == 0 {
		return 0, 0, err
	}
	at, serr := f.Seek(0, io.SeekCurrent)
	return n, uint64(at), errors.Join(err, serr)
}

func syncDir(f *os.File) error {
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}
