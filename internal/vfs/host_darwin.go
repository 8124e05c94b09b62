package vfs

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func otherTimes(s *syscall.Stat_t) (atime, ctime uint64) {
	return uint64(max(syscall.TimespecToNsec(s.Atimespec), 0)), uint64(max(syscall.TimespecToNsec(s.Ctimespec), 0))
}

// setTimes keeps microseconds only: the system has no finer call for an open file that Go can reach.
func setTimes(f *os.File, t Times) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	old, err := statOf(f, fi)
	if err != nil {
		return err
	}
	ts := timespecs(t, old)
	tv := []unix.Timeval{unix.NsecToTimeval(ts[0].Nano()), unix.NsecToTimeval(ts[1].Nano())}
	return control(f, func(fd int) error { return unix.Futimes(fd, tv) })
}

func syncFile(f *os.File, _ bool) error { return f.Sync() }

func allocate(f *os.File, off, n int64) error { return extend(f, off+n) }
