package wasi

import (
	"encoding/binary"
	"math"

	"github.com/clonecloud/clonecloud/internal/vfs"
)

// stat makes a request and lays its Stat out at the address in argument i.
func (c *call) stat(i int, req Request) Errno {
	size := uint32(64)
	if c.abi == Unstable {
		size = 56
	}
	b, ok := c.bytes(c.u32(i), size)
	if !ok {
		return vfs.EFAULT
	}
	if e := c.do(req); e != vfs.Success {
		return e
	}
	s := &c.resp.Stat
	clear(b)
	le := binary.LittleEndian
	le.PutUint64(b, s.Dev)
	le.PutUint64(b[8:], s.Ino)
	b[16] = byte(s.Type)
	if c.abi == Unstable { // a link count of 32 bits, and no gap behind it
		le.PutUint32(b[20:], uint32(min(s.Nlink, math.MaxUint32)))
		b = b[24:]
	} else {
		le.PutUint64(b[24:], s.Nlink)
		b = b[32:]
	}
	le.PutUint64(b, s.Size)
	le.PutUint64(b[8:], s.Atime)
	le.PutUint64(b[16:], s.Mtime)
	le.PutUint64(b[24:], s.Ctime)
	return vfs.Success
}

func (c *call) fdFilestatGet() Errno {
	f, e := c.fd(0, RightStat)
	if e != vfs.Success {
		return e
	}
	return c.stat(1, Request{Op: OpStat, Handle: f.Handle})
}

// setTimes makes a request of the times and flags that begin at argument i.
func (c *call) setTimes(i int, req Request) Errno {
	flags := c.u32(i + 2)
	const atime, atimeNow, mtime, mtimeNow = 1, 2, 4, 8
	if flags > 15 || flags&(atime|atimeNow) == atime|atimeNow || flags&(mtime|mtimeNow) == mtime|mtimeNow {
		return vfs.EINVAL
	}
	if flags&atime != 0 {
		req.Flags |= FlagAtime
		req.Atime = c.u64(i)
	}
	if flags&mtime != 0 {
		req.Flags |= FlagMtime
		req.Mtime = c.u64(i + 1)
	}
	if flags&atimeNow != 0 {
		req.Flags |= FlagAtimeNow
	}
	if flags&mtimeNow != 0 {
		req.Flags |= FlagMtimeNow
	}
	req.Realtime = c.p.State.Clocks[Realtime]
	return c.do(req)
}

func (c *call) fdFilestatSetTimes() Errno {
	f, e := c.fd(0, RightSetTimes)
	if e != vfs.Success {
		return e
	}
	return c.setTimes(1, Request{Op: OpSetTimes, Handle: f.Handle})
}

// sizable finds the descriptor of argument 0 for a change of length; readOnly is what one gets that cannot write.
func (c *call) sizable(need Rights, readOnly Errno) (*FD, Errno) {
	f := c.p.State.FD(c.u32(0))
	switch {
	case f == nil || f.Kind == KindDir:
		return nil, vfs.EBADF
	case f.Kind != KindFile:
		return nil, vfs.EINVAL
	case f.Base&RightWrite == 0:
		return nil, readOnly
	case f.Base&need != need:
		return nil, vfs.ENOTCAPABLE
	}
	return f, vfs.Success
}

func (c *call) fdFilestatSetSize() Errno {
	f, e := c.sizable(RightSetSize, vfs.EINVAL)
	if e != vfs.Success {
		return e
	}
	if c.u64(1) > math.MaxInt64 {
		return vfs.EINVAL
	}
	return c.do(Request{Op: OpSetSize, Handle: f.Handle, Size: c.u64(1)})
}

func (c *call) fdAllocate() Errno {
	f, e := c.sizable(RightAllocate, vfs.EBADF)
	if e != vfs.Success {
		return e
	}
	return c.do(Request{Op: OpAllocate, Handle: f.Handle, Offset: c.u64(1), Size: c.u64(2)})
}

// fdAdvise checks and forgets: advice changes nothing that a guest could see.
func (c *call) fdAdvise() Errno {
	f := c.p.State.FD(c.u32(0))
	const numAdvices = 6
	switch {
	case f == nil || f.Kind == KindDir:
		return vfs.EBADF
	case f.Kind != KindFile:
		return vfs.ESPIPE
	case f.Base&RightAdvise == 0:
		return vfs.ENOTCAPABLE
	case c.u32(3) >= numAdvices, c.u64(1) > math.MaxInt64, c.u64(2) > math.MaxInt64:
		return vfs.EINVAL
	}
	return vfs.Success
}

func (c *call) fdSync() Errno     { return c.sync(0) }
func (c *call) fdDatasync() Errno { return c.sync(FlagDataOnly) }

func (c *call) sync(flags uint64) Errno {
	f := c.p.State.FD(c.u32(0))
	if f == nil {
		return vfs.EBADF
	}
	return c.do(Request{Op: OpSync, Handle: f.Handle, Flags: flags})
}

// fdReaddir lays out as many entries as fit, the last one cut short if need be.
func (c *call) fdReaddir() Errno {
	f, e := c.dir(0, RightReadDir)
	if e != vfs.Success {
		return e
	}
	buf, ok := c.bytes(c.u32(1), c.u32(2))
	out, ok2 := c.bytes(c.u32(4), 4)
	if !ok || !ok2 {
		return vfs.EFAULT
	}
	used := 0
	for cookie := c.u64(3); used < len(buf); {
		if e := c.do(Request{
			Op: OpReadDir, Handle: f.Handle, Offset: cookie, Size: min(uint64(len(buf)-used), MaxList),
		}); e != vfs.Success {
			return e
		}
		got := 0
		for rest := c.resp.Data; len(rest) > 0 && used < len(buf); {
			var entry Dirent
			if entry, rest, ok = parseDirent(rest); !ok {
				return vfs.EIO
			}
			cookie++
			n := putDirent(buf[used:], entry, cookie)
			used, got = used+n, got+n
		}
		if got < MaxList {
			break // there is no more: a buffer that is not full tells the guest
		}
	}
	return c.count(out, uint64(used), vfs.Success)
}

// putDirent lays out an entry, the next one's cookie in it, as far as it fits.
func putDirent(buf []byte, e Dirent, next uint64) int {
	var head [DirentSize]byte
	le := binary.LittleEndian
	le.PutUint64(head[:], next)
	le.PutUint64(head[8:], e.Ino)
	le.PutUint32(head[16:], uint32(len(e.Name)))
	head[20] = byte(e.Type)
	n := copy(buf, head[:])
	return n + copy(buf[n:], e.Name)
}
