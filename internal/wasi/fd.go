package wasi

import (
	"encoding/binary"
	"math"

	"github.com/clonecloud/clonecloud/internal/vfs"
)

func (c *call) fdClose() Errno {
	f := c.p.State.FD(c.u32(0))
	if f == nil {
		return vfs.EBADF
	}
	_ = c.p.State.Set(c.u32(0), nil) // in range, since it is open
	return c.do(Request{Op: OpClose, Handle: f.Handle})
}

// fdRenumber moves a descriptor onto another open one, which is closed.
func (c *call) fdRenumber() Errno {
	s := c.p.State
	from, to := s.FD(c.u32(0)), s.FD(c.u32(1))
	if from == nil || to == nil {
		return vfs.EBADF
	}
	if from == to {
		return vfs.Success
	}
	_ = s.Set(c.u32(1), from)
	_ = s.Set(c.u32(0), nil)
	c.do(Request{Op: OpClose, Handle: to.Handle})
	return vfs.Success
}

func (c *call) fdFdstatGet() Errno {
	f := c.p.State.FD(c.u32(0))
	if f == nil {
		return vfs.EBADF
	}
	b, ok := c.bytes(c.u32(1), 24)
	if !ok {
		return vfs.EFAULT
	}
	clear(b)
	b[0] = byte(f.Type)
	binary.LittleEndian.PutUint16(b[2:], f.Flags)
	binary.LittleEndian.PutUint64(b[8:], uint64(f.Base))
	binary.LittleEndian.PutUint64(b[16:], uint64(f.Inheriting))
	return vfs.Success
}

func (c *call) fdFdstatSetFlags() Errno {
	f, e := c.fd(0, RightSetFlags)
	if e != vfs.Success {
		return e
	}
	flags := c.u32(1)
	if flags&^uint32(fdFlagsMask) != 0 {
		return vfs.EINVAL
	}
	f.Flags = uint16(flags)
	return vfs.Success
}

func (c *call) fdFdstatSetRights() Errno {
	f := c.p.State.FD(c.u32(0))
	if f == nil {
		return vfs.EBADF
	}
	base, inheriting := Rights(c.u64(1)), Rights(c.u64(2))
	if base&^f.Base != 0 || inheriting&^f.Inheriting != 0 {
		return vfs.ENOTCAPABLE
	}
	f.Base, f.Inheriting = base, inheriting
	return vfs.Success
}

func (c *call) preopen() (*FD, Errno) {
	f := c.p.State.FD(c.u32(0))
	if f == nil || f.Preopen == "" {
		return nil, vfs.EBADF
	}
	return f, vfs.Success
}

func (c *call) fdPrestatGet() Errno {
	f, e := c.preopen()
	if e != vfs.Success {
		return e
	}
	b, ok := c.bytes(c.u32(1), 8)
	if !ok {
		return vfs.EFAULT
	}
	binary.LittleEndian.PutUint32(b, 0) // a directory
	binary.LittleEndian.PutUint32(b[4:], uint32(len(f.Preopen)))
	return vfs.Success
}

func (c *call) fdPrestatDirName() Errno {
	f, e := c.preopen()
	if e != vfs.Success {
		return e
	}
	if c.u32(2) < uint32(len(f.Preopen)) {
		return vfs.ENAMETOOLONG
	}
	b, ok := c.bytes(c.u32(1), uint32(len(f.Preopen)))
	if !ok {
		return vfs.EFAULT
	}
	copy(b, f.Preopen)
	return vfs.Success
}

// seekable finds the descriptor of argument 0 for a change of position.
func (c *call) seekable(need Rights) (*FD, Errno) {
	f := c.p.State.FD(c.u32(0))
	switch {
	case f == nil || f.Kind == KindDir:
		return nil, vfs.EBADF
	case f.Kind == KindFile && f.Base&need != need:
		return nil, vfs.ENOTCAPABLE
	}
	return f, vfs.Success
}

func (c *call) fdSeek() Errno {
	delta, whence := int64(c.u64(1)), c.u32(2)
	if c.abi == Unstable && whence < 3 {
		whence = (whence + 1) % 3 // there: current, end, set
	}
	need := RightSeek
	if delta == 0 && whence == 1 {
		need = RightTell
	}
	f, e := c.seekable(need)
	if e != vfs.Success {
		return e
	}
	out, ok := c.bytes(c.u32(3), 8)
	if !ok {
		return vfs.EFAULT
	}
	if whence > 2 {
		return vfs.EINVAL
	}
	to, e := c.seek(f, delta, whence)
	if e == vfs.Success {
		binary.LittleEndian.PutUint64(out, to)
	}
	return e
}

func (c *call) seek(f *FD, delta int64, whence uint32) (uint64, Errno) {
	if f.Kind != KindFile {
		e := c.do(Request{Op: OpSeek, Handle: f.Handle, Offset: uint64(delta), Flags: uint64(whence)})
		return c.resp.Value, e
	}
	var from uint64
	switch whence {
	case 1:
		from = f.Offset
	case 2:
		if e := c.do(Request{Op: OpStat, Handle: f.Handle}); e != vfs.Success {
			return 0, e
		}
		from = c.resp.Stat.Size
	}
	to := from + uint64(delta)
	if from > math.MaxInt64 || delta < 0 && uint64(-delta) > from || delta >= 0 && to > math.MaxInt64 {
		return 0, vfs.EINVAL
	}
	f.Offset = to
	return to, vfs.Success
}

func (c *call) fdTell() Errno {
	f, e := c.seekable(RightTell)
	if e != vfs.Success {
		return e
	}
	out, ok := c.bytes(c.u32(1), 8)
	if !ok {
		return vfs.EFAULT
	}
	at, e := c.seek(f, 0, 1)
	if e == vfs.Success {
		binary.LittleEndian.PutUint64(out, at)
	}
	return e
}
