package wasi

import (
	"encoding/binary"

	"github.com/clonecloud/clonecloud/internal/vfs"
)

// funcTable lists the functions; params has i for i32 and I for i64.
var funcTable = []struct {
	name, params string
	run          func(*call) Errno
	preview1Only bool
}{
	{"args_get", "ii", (*call).argsGet, false},
	{"args_sizes_get", "ii", (*call).argsSizesGet, false},
	{"clock_res_get", "ii", (*call).clockResGet, false},
	{"clock_time_get", "iIi", (*call).clockTimeGet, false},
	{"environ_get", "ii", (*call).environGet, false},
	{"environ_sizes_get", "ii", (*call).environSizesGet, false},
	{"fd_advise", "iIIi", (*call).fdAdvise, false},
	{"fd_allocate", "iII", (*call).fdAllocate, false},
	{"fd_close", "i", (*call).fdClose, false},
	{"fd_datasync", "i", (*call).fdDatasync, false},
	{"fd_fdstat_get", "ii", (*call).fdFdstatGet, false},
	{"fd_fdstat_set_flags", "ii", (*call).fdFdstatSetFlags, false},
	{"fd_fdstat_set_rights", "iII", (*call).fdFdstatSetRights, false},
	{"fd_filestat_get", "ii", (*call).fdFilestatGet, false},
	{"fd_filestat_set_size", "iI", (*call).fdFilestatSetSize, false},
	{"fd_filestat_set_times", "iIIi", (*call).fdFilestatSetTimes, false},
	{"fd_pread", "iiiIi", (*call).fdPread, false},
	{"fd_prestat_dir_name", "iii", (*call).fdPrestatDirName, false},
	{"fd_prestat_get", "ii", (*call).fdPrestatGet, false},
	{"fd_pwrite", "iiiIi", (*call).fdPwrite, false},
	{"fd_read", "iiii", (*call).fdRead, false},
	{"fd_readdir", "iiiIi", (*call).fdReaddir, false},
	{"fd_renumber", "ii", (*call).fdRenumber, false},
	{"fd_seek", "iIii", (*call).fdSeek, false},
	{"fd_sync", "i", (*call).fdSync, false},
	{"fd_tell", "ii", (*call).fdTell, false},
	{"fd_write", "iiii", (*call).fdWrite, false},
	{"path_create_directory", "iii", (*call).pathCreateDirectory, false},
	{"path_filestat_get", "iiiii", (*call).pathFilestatGet, false},
	{"path_filestat_set_times", "iiiiIIi", (*call).pathFilestatSetTimes, false},
	{"path_link", "iiiiiii", (*call).pathLink, false},
	{"path_open", "iiiiiIIii", (*call).pathOpen, false},
	{"path_readlink", "iiiiii", (*call).pathReadlink, false},
	{"path_remove_directory", "iii", (*call).pathRemoveDirectory, false},
	{"path_rename", "iiiiii", (*call).pathRename, false},
	{"path_symlink", "iiiii", (*call).pathSymlink, false},
	{"path_unlink_file", "iii", (*call).pathUnlinkFile, false},
	{"poll_oneoff", "iiii", (*call).pollOneoff, false},
	{"proc_exit", "i", (*call).procExit, false},
	{"proc_raise", "i", (*call).procRaise, false},
	{"random_get", "ii", (*call).randomGet, false},
	{"sched_yield", "", (*call).schedYield, false},
	{"sock_accept", "iii", (*call).sock, true},
	{"sock_recv", "iiiiii", (*call).sock, false},
	{"sock_send", "iiiii", (*call).sock, false},
	{"sock_shutdown", "ii", (*call).sock, false},
}

func (c *call) argsGet() Errno         { return c.putStrings(c.p.State.Args) }
func (c *call) argsSizesGet() Errno    { return c.putSizes(c.p.State.Args) }
func (c *call) environSizesGet() Errno { return c.putSizes(c.p.State.Env) }

func (c *call) environGet() Errno {
	c.p.EnvRead = true
	return c.putStrings(c.p.State.Env)
}

func sizeOf(list []string) (n uint64) {
	for _, s := range list {
		n += uint64(len(s)) + 1
	}
	return n
}

// putStrings writes NUL-terminated strings one after the other to argument 1 and their addresses to argument 0.
func (c *call) putStrings(list []string) Errno {
	size := sizeOf(list)
	if size > 1<<31 || uint64(len(list)) > 1<<29 {
		return vfs.EOVERFLOW
	}
	at := c.u32(1)
	table, ok1 := c.bytes(c.u32(0), uint32(4*len(list)))
	data, ok2 := c.bytes(at, uint32(size))
	if !ok1 || !ok2 {
		return vfs.EFAULT
	}
	for i, s := range list {
		binary.LittleEndian.PutUint32(table[4*i:], at)
		n := copy(data, s)
		data[n] = 0
		data = data[n+1:]
		at += uint32(n) + 1
	}
	return vfs.Success
}

func (c *call) putSizes(list []string) Errno {
	size := sizeOf(list)
	if size > 1<<31 {
		return vfs.EOVERFLOW
	}
	if e := c.putU32(c.u32(0), uint32(len(list))); e != vfs.Success {
		return e
	}
	return c.putU32(c.u32(1), uint32(size))
}

func (c *call) clockResGet() Errno {
	if c.u32(0) >= NumClocks {
		return vfs.EINVAL
	}
	return c.putU64(c.u32(1), 1)
}

func (c *call) clockTimeGet() Errno {
	if _, ok := c.bytes(c.u32(2), 8); !ok {
		return vfs.EFAULT
	}
	now, e := c.now(c.u32(0))
	if e != vfs.Success {
		return e
	}
	return c.putU64(c.u32(2), now)
}

func (c *call) procExit() Errno {
	c.err = &ExitError{Code: c.u32(0)}
	return vfs.Success
}

// procRaise: there are no signals to send.
func (c *call) procRaise() Errno { return vfs.ENOTSUP }

func (c *call) schedYield() Errno { return vfs.Success }

func (c *call) randomGet() Errno {
	b, ok := c.bytes(c.u32(0), c.u32(1))
	if !ok {
		return vfs.EFAULT
	}
	c.p.State.Rand.Read(b) // never fails
	return vfs.Success
}
