//go:build !linux && !windows

package scan

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

func statOpen(_ *os.File, fi fs.FileInfo) (stat, error) {
	s, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return stat{}, errors.New("the system gives no number of the file")
	}
	x := stat{uid: s.Uid, gid: s.Gid, nlink: uint32(s.Nlink), dev: uint64(s.Dev), ino: s.Ino, ctime: uint64(max(s.Ctimespec.Nano(), 0))}
	x.statMode(fi)
	x.mode = uint32(s.Mode) & 0o7777
	return x, nil
}

func statNamed(_ *os.Root, _ string, fi fs.FileInfo) (stat, error) { return statOpen(nil, fi) }

func unlock(f *os.File) {
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = syscall.Flock(int(fd), syscall.LOCK_UN) })
	}
}
