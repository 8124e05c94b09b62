//go:build unix

package overlay

import (
	"io/fs"
	"syscall"
)

func numbers(fi fs.FileInfo) (ino, nlink uint64) {
	s := fi.Sys().(*syscall.Stat_t)
	return s.Ino, uint64(s.Nlink)
}
