package wasi

import (
	"encoding/binary"
	"math"

	"github.com/clonecloud/clonecloud/internal/vfs"
)

const guestEventSize = 32

// pollOneoff waits for the first of several events. Clocks alone are the executing side's matter.
func (c *call) pollOneoff() Errno {
	n := c.u32(2)
	if n == 0 || n > MaxSubs {
		return vfs.EINVAL
	}
	size := uint32(48)
	if c.abi == Unstable {
		size = 56
	}
	in, ok1 := c.bytes(c.u32(0), n*size)
	out, ok2 := c.bytes(c.u32(1), n*guestEventSize)
	count, ok3 := c.bytes(c.u32(3), 4)
	if !ok1 || !ok2 || !ok3 {
		return vfs.EFAULT
	}
	s := c.p.State
	req := Request{Op: OpSleep, Realtime: s.Clocks[Realtime], Monotonic: s.Clocks[Monotonic]}
	for i := range n {
		sub, e := c.subscription(in[i*size : (i+1)*size])
		if e != vfs.Success {
			return e
		}
		if sub.Kind != SubClock {
			req.Op = OpPoll
		}
		req.Data = AppendSub(req.Data, sub)
	}
	op := req.Op
	if e := c.do(req); e != vfs.Success {
		return e
	}
	if op == OpSleep || c.resp.Value > 0 {
		for i := range s.Clocks {
			s.Clocks[i] += min(c.resp.Value, math.MaxInt64-min(s.Clocks[i], math.MaxInt64))
		}
	}
	return c.events(in, out, count, size)
}

// subscription reads one subscription of the guest.
func (c *call) subscription(b []byte) (Sub, Errno) {
	le := binary.LittleEndian
	switch b[8] {
	case SubClock:
		at := b[16:]
		if c.abi == Unstable {
			at = b[24:] // behind an identifier
		}
		id, flags := le.Uint32(at), le.Uint16(at[24:])
		if id >= NumClocks || flags > 1 {
			return Sub{}, vfs.EINVAL
		}
		return Sub{Kind: SubClock, Clock: byte(id), Absolute: flags == 1, Arg: le.Uint64(at[8:])}, vfs.Success
	case SubRead, SubWrite:
		s := Sub{Kind: b[8]}
		// No handle is 0: a bad descriptor becomes an event with its error, like a handle that is gone.
		if f := c.p.State.FD(le.Uint32(b[16:])); f != nil && f.Base&RightPoll != 0 {
			s.Arg = f.Handle
		}
		return s, vfs.Success
	}
	return Sub{}, vfs.EINVAL
}

// events lays out what happened.
func (c *call) events(in, out, count []byte, size uint32) Errno {
	le := binary.LittleEndian
	got := c.resp.Data
	if len(got) == 0 || len(got)%eventSize != 0 || len(got)/eventSize*guestEventSize > len(out) {
		return vfs.EIO
	}
	// The guest may have put both arrays in one place.
	subs := append([]byte(nil), in...)
	n := uint32(0)
	for ; len(got) > 0; got = got[eventSize:] {
		at := uint64(le.Uint32(got)) * uint64(size)
		if at+uint64(size) > uint64(len(subs)) {
			return vfs.EIO
		}
		b := out[n*guestEventSize:][:guestEventSize]
		clear(b)
		copy(b, subs[at:at+8])
		copy(b[8:10], got[4:6])
		b[10] = subs[at+8]
		if b[10] != SubClock {
			copy(b[16:24], got[8:16])
			copy(b[24:26], got[6:8])
		}
		n++
	}
	le.PutUint32(count, n)
	return vfs.Success
}

// Sockets are not served: no descriptor is one.
func (c *call) sock() Errno {
	if c.p.State.FD(c.u32(0)) == nil {
		return vfs.EBADF
	}
	return vfs.ENOTSOCK
}
