//go:build !linux && !windows

package hostdir

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

func statOpen(_ *os.File, fi fs.FileInfo) (Stat, error) {
	s, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return Stat{}, errors.New("the system gives no number of the file")
	}
	x := Stat{UID: s.Uid, GID: s.Gid, Nlink: uint32(s.Nlink), Dev: uint64(s.Dev), Ino: s.Ino, Ctime: uint64(max(s.Ctimespec.Nano(), 0))}
	x.statMode(fi)
	x.Mode = uint32(s.Mode) & 0o7777
	return x, nil
}

func statNamed(_ *os.Root, _ string, fi fs.FileInfo) (Stat, error) { return statOpen(nil, fi) }
