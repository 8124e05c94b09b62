package vfs

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func otherTimes(s *syscall.Stat_t) (atime, ctime uint64) {
	return uint64(max(syscall.TimespecToNsec(s.Atim), 0)), uint64(max(syscall.TimespecToNsec(s.Ctim), 0))
}

func setTimes(f *os.File, t Times) error {
	ts := timespecs(t, Stat{})
	for i, v := range []*uint64{t.Atime, t.Mtime} {
		if v == nil {
			ts[i].Nsec = unix.UTIME_OMIT
		}
	}
	return control(f, func(fd int) error { return unix.UtimesNanoAt(fd, "", ts[:], unix.AT_EMPTY_PATH) })
}

func syncFile(f *os.File, dataOnly bool) error {
	if !dataOnly {
		return f.Sync()
	}
	return control(f, unix.Fdatasync)
}

func allocate(f *os.File, off, n int64) error {
	err := control(f, func(fd int) error { return unix.Fallocate(fd, 0, off, n) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return extend(f, off+n)
	}
	return err
}
