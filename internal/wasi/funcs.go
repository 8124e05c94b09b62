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
	{"environ_get", "ii", (*call).environGet, false},
	{"environ_sizes_get", "ii", (*call).environSizesGet, false},
	{"clock_res_get", "ii", (*call).clockResGet, false},
	{"clock_time_get", "iIi", (*call).clockTimeGet, false},
	{"fd_write", "iiii", (*call).fdWrite, false},
	{"fd_read", "iiii", (*call).fdRead, false},
	{"fd_fdstat_get", "ii", (*call).fdFdstatGet, false},
	{"fd_close", "i", (*call).fdClose, false},
	{"fd_prestat_get", "ii", (*call).fdPrestatGet, false},
	{"fd_prestat_dir_name", "iii", (*call).fdPrestatDirName, false},
	{"proc_exit", "i", (*call).procExit, false},
	{"proc_raise", "i", (*call).procRaise, false},
	{"random_get", "ii", (*call).randomGet, false},
	{"sched_yield", "", (*call).schedYield, false},
}

func (c *call) argsGet() Errno         { return c.putStrings(c.p.State.Args) }
func (c *call) argsSizesGet() Errno    { return c.putSizes(c.p.State.Args) }
func (c *call) environGet() Errno      { return c.putStrings(c.p.State.Env) }
func (c *call) environSizesGet() Errno { return c.putSizes(c.p.State.Env) }

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
	if c.u32(0) >= numClocks {
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
