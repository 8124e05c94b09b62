package scan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// handle is an open directory.
type handle struct{ fd int }

// again repeats a call that a signal interrupted.
func again(fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func openAt(dir int, name string, flags int) (fd int, err error) {
	err = again(func() error {
		fd, err = unix.Openat(dir, name, flags|unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		return err
	})
	return fd, err
}

// openTop opens a directory by its path, which may be a link.
func openTop(path string) (*handle, error) {
	fd, err := openAt(unix.AT_FDCWD, path, unix.O_DIRECTORY)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &handle{fd}, nil
}

// openDir opens a directory in h, never through a link.
func (h *handle) openDir(name string) (*handle, error) {
	fd, err := openAt(h.fd, name, unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	return &handle{fd}, nil
}

// openFile opens a file in h for reading, never through a link.
func (h *handle) openFile(name string) (*os.File, stat, error) {
	fd, err := openAt(h.fd, name, unix.O_NOFOLLOW)
	if err != nil {
		return nil, stat{}, err
	}
	f := os.NewFile(uintptr(fd), name)
	s, err := statFile(f)
	if err != nil {
		return nil, stat{}, errors.Join(err, f.Close())
	}
	return f, s, nil
}

func statFile(f *os.File) (stat, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return stat{}, err
	}
	var s stat
	var callErr error
	err = raw.Control(func(fd uintptr) {
		h := handle{int(fd)}
		s, callErr = h.stat()
	})
	return s, errors.Join(err, callErr)
}

func (h *handle) stat() (stat, error) {
	var s unix.Stat_t
	if err := again(func() error { return unix.Fstat(h.fd, &s) }); err != nil {
		return stat{}, err
	}
	return statOf(&s), nil
}

func (h *handle) lstat(name string) (stat, error) {
	var s unix.Stat_t
	if err := again(func() error { return unix.Fstatat(h.fd, name, &s, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return stat{}, err
	}
	return statOf(&s), nil
}

func (h *handle) readlink(name string) (string, error) {
	var buf [tree.MaxTarget + 1]byte
	n := 0
	err := again(func() (err error) {
		n, err = unix.Readlinkat(h.fd, name, buf[:])
		return err
	})
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func (h *handle) close() error { return unix.Close(h.fd) }

func statOf(s *unix.Stat_t) stat {
	x := stat{
		mode: s.Mode & 0o7777, uid: s.Uid, gid: s.Gid, nlink: uint32(min(uint64(s.Nlink), 1<<32-1)), dev: uint64(s.Dev), ino: s.Ino,
		size: uint64(max(s.Size, 0)), mtime: uint64(max(s.Mtim.Nano(), 0)), ctime: uint64(max(s.Ctim.Nano(), 0)),
	}
	switch s.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		x.kind = tree.KindFile
	case unix.S_IFDIR:
		x.kind = tree.KindDir
	case unix.S_IFLNK:
		x.kind = tree.KindSymlink
	default:
		x.kind, x.typ = tree.KindOther, otherType(s.Mode)
	}
	return x
}

func otherType(mode uint32) uint8 {
	switch mode & unix.S_IFMT {
	case unix.S_IFBLK:
		return typeBlock
	case unix.S_IFCHR:
		return typeChar
	case unix.S_IFSOCK:
		return typeSocket
	}
	return typeUnknown
}

// The system's record of a name: number u64, position u64, length u16, type u8, the name, NUL.
const (
	direntIno  = 0
	direntLen  = 16
	direntType = 18
	direntName = 19
	direntBuf  = 256 << 10
)

// read calls fn for each name of the directory with its number and what is known of its kind. The name is followed by a NUL in memory.
func (h *handle) read(l *listing, fn func(name []byte, ino uint64, kind tree.Kind) error) error {
	if l.buf == nil {
		l.buf = make([]byte, direntBuf)
	}
	for {
		n := 0
		err := again(func() (err error) {
			n, err = unix.Getdents(h.fd, l.buf)
			return err
		})
		if err != nil || n == 0 {
			return err
		}
		for b := l.buf[:n]; len(b) > 0; {
			size := 0
			if len(b) > direntName {
				size = int(binary.NativeEndian.Uint16(b[direntLen:]))
			}
			if size <= direntName || size > len(b) {
				return fmt.Errorf("read names: %w", unix.EIO)
			}
			name := b[direntName:size]
			for i, c := range name {
				if c == 0 {
					name = name[:i]
					break
				}
			}
			if s := string(name); s != "." && s != ".." && s != "" {
				if err := fn(name, binary.NativeEndian.Uint64(b[direntIno:]), kindOf(b[direntType])); err != nil {
					return err
				}
			}
			b = b[size:]
		}
	}
}

func kindOf(t byte) tree.Kind {
	switch t {
	case unix.DT_REG:
		return tree.KindFile
	case unix.DT_DIR:
		return tree.KindDir
	case unix.DT_LNK:
		return tree.KindSymlink
	case unix.DT_UNKNOWN:
		return tree.KindInvalid
	}
	return tree.KindOther
}

// localSystems are file systems that only this machine changes, by their magic numbers.
var localSystems = map[int64]bool{
	unix.EXT4_SUPER_MAGIC: true, unix.XFS_SUPER_MAGIC: true, unix.BTRFS_SUPER_MAGIC: true, unix.TMPFS_MAGIC: true, unix.F2FS_SUPER_MAGIC: true,
	unix.OVERLAYFS_SUPER_MAGIC: true, unix.MSDOS_SUPER_MAGIC: true, unix.RAMFS_MAGIC: true, unix.REISERFS_SUPER_MAGIC: true,
	unix.EXFAT_SUPER_MAGIC: true, unix.NILFS_SUPER_MAGIC: true, 0x2fc12fc1: true /* ZFS */, 0x7366746e: true /* NTFS3 */, 0xca451a4e: true, /* bcachefs */
}

// system tells of the file system: do only processes of this machine change it, is it read-only.
func (h *handle) system() (local, readOnly bool) {
	var s unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(h.fd, &s) }); err != nil {
		return false, false
	}
	return localSystems[int64(s.Type)], int64(s.Flags)&unix.ST_RDONLY != 0
}

// procPath names what a descriptor has open.
func procPath(fd int) string { return filepath.Join("/proc/self/fd", strconv.Itoa(fd)) }

// isGone tells whether an error says that a name is no longer what the listing of its directory said.
func isGone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// isLack tells whether an error is of this process, not of the file.
func isLack(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// nextData finds the next byte that may not be zero.
func nextData(f *os.File, off, size uint64) (uint64, error) {
	next, err := f.Seek(int64(off), unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, nil
	case err != nil:
		return off, nil // the file system does not know
	}
	return uint64(next), nil
}

// nextHole finds the end of the data at off.
func nextHole(f *os.File, off, size uint64) uint64 {
	next, err := f.Seek(int64(off), unix.SEEK_HOLE)
	if err != nil || uint64(next) <= off {
		return size
	}
	return uint64(next)
}

// lstatOf is lstat of a name that read has given.
func (h *handle) lstatOf(name []byte) (stat, error) {
	var s unix.Stat_t
	if err := h.lstatRaw(name, &s); err != nil {
		return stat{}, err
	}
	return statOf(&s), nil
}

func unlock(f *os.File) {
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Flock(int(fd), unix.LOCK_UN) })
	}
}
