package wasi

import (
	"encoding/binary"
	"math"

	"github.com/clonecloud/clonecloud/internal/vfs"
)

// iovecs is a guest's vector of buffers; get gives those within memory, which vector has checked.
type iovecs struct {
	mem, table []byte
	total      uint64
	parts      int    // that are not empty
	first      []byte // of those
}

func (v *iovecs) len() int { return len(v.table) / 8 }

func (v *iovecs) get(i int) []byte {
	ptr := binary.LittleEndian.Uint32(v.table[8*i:])
	n := binary.LittleEndian.Uint32(v.table[8*i+4:])
	return v.mem[ptr : uint64(ptr)+uint64(n)]
}

// vector reads the buffers that arguments 1 and 2 describe.
func (c *call) vector() (iovecs, Errno) {
	n := c.u32(2)
	if uint64(n)*8 > uint64(len(c.mem)) {
		return iovecs{}, vfs.EFAULT
	}
	table, ok := c.bytes(c.u32(1), 8*n)
	if !ok {
		return iovecs{}, vfs.EFAULT
	}
	v := iovecs{mem: c.mem, table: table}
	for i := range v.len() {
		b, ok := c.bytes(binary.LittleEndian.Uint32(table[8*i:]), binary.LittleEndian.Uint32(table[8*i+4:]))
		if !ok {
			return iovecs{}, vfs.EFAULT
		}
		if len(b) > 0 {
			if v.parts == 0 {
				v.first = b
			}
			v.parts++
			v.total += uint64(len(b))
		}
	}
	if v.total > math.MaxUint32 {
		return iovecs{}, vfs.EINVAL // the count that is returned could not tell
	}
	return v, vfs.Success
}

// room returns n bytes that last until the next call.
func (c *call) room(n int) []byte {
	if cap(c.p.scratch) < n {
		c.p.scratch = make([]byte, n)
	}
	return c.p.scratch[:n]
}

// chunks calls put with the content of the buffers in pieces of at most MaxIO, until put returns false. A piece
// is guest memory itself where it lies in one buffer.
func (c *call) chunks(v *iovecs, put func(b []byte) bool) {
	if v.parts <= 1 {
		for b := v.first; len(b) > 0; {
			n := min(len(b), MaxIO)
			if !put(b[:n]) {
				return
			}
			b = b[n:]
		}
		return
	}
	buf, used := c.room(int(min(v.total, MaxIO))), 0
	for i := range v.len() {
		for b := v.get(i); len(b) > 0; {
			n := copy(buf[used:], b)
			used, b = used+n, b[n:]
			if used == len(buf) {
				if !put(buf) {
					return
				}
				used = 0
			}
		}
	}
	if used > 0 {
		put(buf[:used])
	}
}

// readable finds the descriptor of argument 0 for a read; positional refuses streams.
func (c *call) readable(positional bool) (*FD, Errno) {
	f := c.p.State.FD(c.u32(0))
	switch {
	case f == nil:
		return nil, vfs.EBADF
	case f.Kind == KindDir:
		return nil, vfs.EISDIR
	case f.Base&RightRead == 0:
		return nil, vfs.EBADF
	case positional && f.Kind != KindFile:
		return nil, vfs.ESPIPE
	}
	return f, vfs.Success
}

func (c *call) writable(positional bool) (*FD, Errno) {
	f := c.p.State.FD(c.u32(0))
	switch {
	case f == nil, f.Kind == KindDir, f.Base&RightWrite == 0:
		return nil, vfs.EBADF
	case positional && f.Kind != KindFile:
		return nil, vfs.ESPIPE
	}
	return f, vfs.Success
}

func (c *call) fdRead() Errno {
	f, e := c.readable(false)
	if e != vfs.Success {
		return e
	}
	v, out, e := c.vectorAndResult(3)
	if e != vfs.Success {
		return e
	}
	var n uint64
	if f.Kind == KindFile {
		n, e = c.readAt(f, f.Offset, &v)
		f.Offset += n
	} else {
		n, e = c.readStream(f, &v)
	}
	return c.count(out, n, e)
}

func (c *call) fdPread() Errno {
	f, e := c.readable(true)
	if e != vfs.Success {
		return e
	}
	v, out, e := c.vectorAndResult(4)
	if e != vfs.Success {
		return e
	}
	n, e := c.readAt(f, c.u64(3), &v)
	return c.count(out, n, e)
}

func (c *call) vectorAndResult(arg int) (v iovecs, out []byte, e Errno) {
	if v, e = c.vector(); e != vfs.Success {
		return v, nil, e
	}
	out, ok := c.bytes(c.u32(arg), 4)
	if !ok {
		return v, nil, vfs.EFAULT
	}
	return v, out, vfs.Success
}

// count stores how much was moved. As in POSIX what was moved before a fault counts, and the fault shows next time.
func (c *call) count(out []byte, n uint64, e Errno) Errno {
	if n == 0 && e != vfs.Success {
		return e
	}
	binary.LittleEndian.PutUint32(out, uint32(n))
	return vfs.Success
}

func (c *call) readStream(f *FD, v *iovecs) (uint64, Errno) {
	if v.total == 0 {
		return 0, vfs.Success
	}
	buf := v.first
	if v.parts > 1 {
		buf = c.room(int(min(v.total, MaxIO)))
	}
	buf = buf[:min(len(buf), MaxIO)]
	req := Request{Op: OpRead, Handle: f.Handle, Size: uint64(len(buf)), Buf: buf}
	if f.Flags&FDNonblock != 0 {
		req.Flags |= FlagNonblock
	}
	e := c.do(req)
	n := c.resp.N
	if !c.checkCount(OpRead, n, uint64(len(buf))) {
		return 0, vfs.EIO
	}
	if v.parts > 1 {
		scatter(v, buf[:n])
	}
	return n, e
}

func scatter(v *iovecs, b []byte) {
	for i := 0; len(b) > 0; i++ {
		b = b[copy(v.get(i), b):]
	}
}

// readAt reads until the buffers are full or the file ends: straight into guest memory, or through one request
// for several small buffers.
func (c *call) readAt(f *FD, off uint64, v *iovecs) (uint64, Errno) {
	if off > math.MaxInt64 || v.total > math.MaxInt64-off {
		return 0, vfs.EINVAL
	}
	if v.parts > 1 && v.total <= MaxIO {
		buf := c.room(int(v.total))
		n, e := c.readOnce(f, off, buf)
		scatter(v, buf[:n])
		return n, e
	}
	var done uint64
	for i := range v.len() {
		for b := v.get(i); len(b) > 0; {
			want := min(len(b), MaxIO)
			n, e := c.readOnce(f, off+done, b[:want])
			done += n
			if e != vfs.Success || n < uint64(want) {
				return done, e
			}
			b = b[want:]
		}
	}
	return done, vfs.Success
}

func (c *call) readOnce(f *FD, off uint64, buf []byte) (uint64, Errno) {
	e := c.do(Request{Op: OpReadAt, Handle: f.Handle, Offset: off, Size: uint64(len(buf)), Buf: buf})
	if !c.checkCount(OpReadAt, c.resp.N, uint64(len(buf))) {
		return 0, vfs.EIO
	}
	return c.resp.N, e
}

func (c *call) fdWrite() Errno {
	f, e := c.writable(false)
	if e != vfs.Success {
		return e
	}
	v, out, e := c.vectorAndResult(3)
	if e != vfs.Success {
		return e
	}
	req := Request{Handle: f.Handle, Flags: syncFlags(f.Flags)}
	switch {
	case f.Kind == KindOutput:
		req.Op = OpOutput
	case f.Kind == KindStream:
		req.Op = OpWrite
	case f.Flags&FDAppend != 0:
		req.Op = OpAppend
	default:
		req.Op, req.Offset = OpWriteAt, f.Offset
		if off := f.Offset; off > math.MaxInt64 || v.total > math.MaxInt64-off {
			return vfs.EFBIG
		}
	}
	n, e := c.write(req, &v, f)
	return c.count(out, n, e)
}

func (c *call) fdPwrite() Errno {
	f, e := c.writable(true)
	if e != vfs.Success {
		return e
	}
	v, out, e := c.vectorAndResult(4)
	if e != vfs.Success {
		return e
	}
	off := c.u64(3)
	if off > math.MaxInt64 || v.total > math.MaxInt64-off {
		return vfs.EINVAL
	}
	req := Request{Op: OpWriteAt, Handle: f.Handle, Offset: off, Flags: syncFlags(f.Flags)}
	n, e := c.write(req, &v, nil)
	return c.count(out, n, e)
}

func syncFlags(fdflags uint16) uint64 {
	switch {
	case fdflags&(FDSync|FDRsync) != 0:
		return FlagSync
	case fdflags&FDDsync != 0:
		return FlagSync | FlagDataOnly
	}
	return 0
}

// write sends the buffers in order until one is written short, and moves the offset of f unless it is nil.
func (c *call) write(req Request, v *iovecs, f *FD) (done uint64, e Errno) {
	c.chunks(v, func(b []byte) bool {
		req.Data = b
		e = c.do(req)
		n := c.resp.N
		if !c.checkCount(req.Op, n, uint64(len(b))) {
			return false
		}
		done += n
		switch req.Op {
		case OpWriteAt:
			req.Offset += n
			if f != nil {
				f.Offset = req.Offset
			}
		case OpAppend:
			if e == vfs.Success && c.resp.Value <= math.MaxInt64 {
				f.Offset = c.resp.Value
			}
		}
		return e == vfs.Success && n == uint64(len(b))
	})
	return done, e
}
