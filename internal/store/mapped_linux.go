package store

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// openFlags are against what has come in place of a file since it was looked at: a link is not followed, and a pipe not
// waited for.
const openFlags = unix.O_NOFOLLOW | unix.O_NONBLOCK

// local are the file systems that this machine alone reads and writes, by the numbers that statfs has for them.
var local = map[uint32]bool{
	unix.EXT4_SUPER_MAGIC: true, unix.XFS_SUPER_MAGIC: true, unix.BTRFS_SUPER_MAGIC: true, unix.F2FS_SUPER_MAGIC: true,
	unix.TMPFS_MAGIC: true, unix.OVERLAYFS_SUPER_MAGIC: true,
	0x2fc12fc1: true, // ZFS
	0xca451a4e: true, // bcachefs
}

// lasting returns a path of the open file itself, whatever becomes of its name, if its contents stay what they are once
// they were verified: nobody else can open it for writing, no other machine has a say in what is read, and it can be
// mapped as code. "": a copy must be verified in its place.
//
// Whoever acts as this user can still write to it, and can also make MACs, and trace this process.
func lasting(f *os.File) (path string, err error) {
	fd := int(f.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", os.NewSyscallError("fstat", err)
	}
	var sf unix.Statfs_t
	if err := unix.Fstatfs(fd, &sf); err != nil {
		return "", os.NewSyscallError("fstatfs", err)
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 || !local[uint32(sf.Type)] || sf.Flags&unix.ST_NOEXEC != 0 {
		return "", nil
	}
	return pathOf(f), nil
}

func pathOf(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

// copied is a copy in memory.
type copied struct{ file *os.File }

func newCopy() (*copied, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("clonecloud code", flags|unix.MFD_NOEXEC_SEAL) // it can be mapped as code, but not run as a program
	if errors.Is(err, unix.EINVAL) {                                           // before Linux 6.3
		fd, err = unix.MemfdCreate("clonecloud code", flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return &copied{os.NewFile(uintptr(fd), "code in memory")}, nil
}

// finish returns the path of the copy, which nobody can change any more.
func (c *copied) finish() (path string, err error) {
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(c.file.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	return pathOf(c.file), nil
}

func (c *copied) drop() error { return c.file.Close() }
