//go:build linux && !amd64 && !arm64

package hostdir

import "golang.org/x/sys/unix"

// lstatRaw is lstat of a name.
func (h *Dir) lstatRaw(name []byte, s *unix.Stat_t) error {
	return again(func() error { return unix.Fstatat(h.fd, string(name), s, unix.AT_SYMLINK_NOFOLLOW) })
}
