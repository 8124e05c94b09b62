package hostdir

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

// Dir is an open directory.
type Dir struct{ fd int }

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

// Open opens a directory by its path, which may be a link.
func Open(path string) (*Dir, error) {
	fd, err := openAt(unix.AT_FDCWD, path, unix.O_DIRECTORY)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &Dir{fd}, nil
}

// OpenDir opens a directory in h, never through a link.
func (h *Dir) OpenDir(name string) (*Dir, error) {
	fd, err := openAt(h.fd, name, unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	return &Dir{fd}, nil
}

// OpenFile opens a file in h for reading, never through a link.
func (h *Dir) OpenFile(name string) (*os.File, Stat, error) {
	fd, err := openAt(h.fd, name, unix.O_NOFOLLOW)
	if err != nil {
		return nil, Stat{}, err
	}
	f := os.NewFile(uintptr(fd), name)
	s, err := StatFile(f)
	if err != nil {
		return nil, Stat{}, errors.Join(err, f.Close())
	}
	return f, s, nil
}

// StatFile tells of an open file.
func StatFile(f *os.File) (Stat, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return Stat{}, err
	}
	var s Stat
	var callErr error
	err = raw.Control(func(fd uintptr) {
		h := Dir{int(fd)}
		s, callErr = h.Stat()
	})
	return s, errors.Join(err, callErr)
}

// Stat tells of the directory itself.
func (h *Dir) Stat() (Stat, error) {
	var s unix.Stat_t
	if err := again(func() error { return unix.Fstat(h.fd, &s) }); err != nil {
		return Stat{}, err
	}
	return statOf(&s), nil
}

// Lstat tells of a name in it; of a link, of the link.
func (h *Dir) Lstat(name string) (Stat, error) {
	var s unix.Stat_t
	if err := again(func() error { return unix.Fstatat(h.fd, name, &s, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return Stat{}, err
	}
	return statOf(&s), nil
}

// Readlink returns the target of a link.
func (h *Dir) Readlink(name string) (string, error) {
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

// Close ends the use of the directory.
func (h *Dir) Close() error { return unix.Close(h.fd) }

func statOf(s *unix.Stat_t) Stat {
	x := Stat{
		Mode: s.Mode & 0o7777, UID: s.Uid, GID: s.Gid, Nlink: uint32(min(uint64(s.Nlink), 1<<32-1)), Dev: uint64(s.Dev), Ino: s.Ino,
		Size: uint64(max(s.Size, 0)), Mtime: uint64(max(s.Mtim.Nano(), 0)), Ctime: uint64(max(s.Ctim.Nano(), 0)),
	}
	switch s.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		x.Kind = tree.KindFile
	case unix.S_IFDIR:
		x.Kind = tree.KindDir
	case unix.S_IFLNK:
		x.Kind = tree.KindSymlink
	default:
		x.Kind, x.Type = tree.KindOther, otherType(s.Mode)
	}
	return x
}

func otherType(mode uint32) uint8 {
	switch mode & unix.S_IFMT {
	case unix.S_IFBLK:
		return TypeBlock
	case unix.S_IFCHR:
		return TypeChar
	case unix.S_IFSOCK:
		return TypeSocket
	}
	return TypeUnknown
}

// The system's record of a name: number u64, position u64, length u16, type u8, the name, NUL.
const (
	direntIno  = 0
	direntLen  = 16
	direntType = 18
	direntName = 19
	direntBuf  = 256 << 10
)

// Read calls fn for each name of the directory with its number and what is known of its kind. The name is followed by a NUL in memory.
func (h *Dir) Read(b *Buffer, fn func(name []byte, ino uint64, kind tree.Kind) error) error {
	if b.buf == nil {
		b.buf = make([]byte, direntBuf)
	}
	for {
		n := 0
		err := again(func() (err error) {
			n, err = unix.Getdents(h.fd, b.buf)
			return err
		})
		if err != nil || n == 0 {
			return err
		}
		for b := b.buf[:n]; len(b) > 0; {
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

// System tells of the file system: do only processes of this machine change it, is it read-only.
func (h *Dir) System() (local, readOnly bool) {
	var s unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(h.fd, &s) }); err != nil {
		return false, false
	}
	return localSystems[int64(s.Type)], int64(s.Flags)&unix.ST_RDONLY != 0
}

// procPath names what a descriptor has open.
func procPath(fd int) string { return filepath.Join("/proc/self/fd", strconv.Itoa(fd)) }

// IsGone tells whether an error says that a name is no longer what the listing of its directory said.
func IsGone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// IsLack tells whether an error is of this process, not of the file.
func IsLack(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// NextData finds the next byte that may not be zero.
func NextData(f *os.File, off, size uint64) uint64 {
	next, err := f.Seek(int64(off), unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return size
	}
	if err != nil {
		return off // the file system does not know
	}
	return uint64(next)
}

// nextHole finds the end of the data at off.
func nextHole(f *os.File, off, size uint64) uint64 {
	next, err := f.Seek(int64(off), unix.SEEK_HOLE)
	if err != nil || uint64(next) <= off {
		return size
	}
	return uint64(next)
}

// LstatRead is Lstat of a name that Read has given.
func (h *Dir) LstatRead(name []byte) (Stat, error) {
	var s unix.Stat_t
	if err := h.lstatRaw(name, &s); err != nil {
		return Stat{}, err
	}
	return statOf(&s), nil
}
