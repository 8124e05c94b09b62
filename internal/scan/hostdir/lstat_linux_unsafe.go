//go:build linux && (amd64 || arm64)

package hostdir

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// lstatRaw is lstat of a name that a NUL follows in memory. It allocates nothing, and there is one for each file of a tree.
func (h *Dir) lstatRaw(name []byte, s *unix.Stat_t) error {
	for {
		_, _, errno := unix.Syscall6(unix.SYS_NEWFSTATAT, uintptr(h.fd), uintptr(unsafe.Pointer(&name[0])), uintptr(unsafe.Pointer(s)),
			unix.AT_SYMLINK_NOFOLLOW, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return errno
		}
		return nil
	}
}
