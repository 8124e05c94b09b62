package disk

import (
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

func renameNew(from int, name string, to int, as string) error {
	if runtime.GOOS == "android" {
		return unix.ENOSYS // some of its versions end a process that calls it
	}
	return unix.Renameat2(from, name, to, as, unix.RENAME_NOREPLACE)
}

// HasSyncAll tells whether syncAll is there.
const HasSyncAll = true

func (d *dir) SyncAll() error {
	return d.do("sync", ".", func() error { return unix.Syncfs(d.fd) })
}

func (f *osFile) Punch(off, n uint64) error {
	return f.control("punch a hole in", func(fd int) error {
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(n))
	})
}

func reopenByDescriptor(f *os.File, flags int) (g *os.File, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var openErr error
	err = raw.Control(func(fd uintptr) { g, openErr = os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(fd)), flags, 0) })
	if err != nil {
		return nil, err
	}
	return g, openErr
}
