package wasi

import (
	"context"
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/clonecloud/clonecloud/internal/vfs"
)

// Process is what the functions of one running guest work on. State and System may be replaced between calls of
// the guest's, never during one. Not for concurrent use.
type Process struct {
	State  *State
	System System
	// EnvRead is set once the guest has been given its variables.
	EnvRead bool

	call    call
	scratch []byte
}

// ABI is a version of the interface that guests import.
type ABI uint8

// The versions.
const (
	Preview1 ABI = iota // wasi_snapshot_preview1
	Unstable            // wasi_unstable
)

func (a ABI) String() string {
	if a == Unstable {
		return "wasi_unstable"
	}
	return "wasi_snapshot_preview1"
}

// Func is one function that a guest may import.
type Func struct {
	Module, Name    string
	Params, Results []byte // value types in binary form
	// Call gets the arguments in stack and leaves the result there; mem is the guest's memory, nil if it has
	// none. An error ends the guest: *ExitError, or what System.Do returned.
	Call func(ctx context.Context, mem []byte, stack []uint64) error
}

// Funcs returns all functions of one version, working on p.
func Funcs(p *Process, abi ABI) []Func {
	fs := make([]Func, 0, len(funcTable))
	for _, e := range funcTable {
		if abi == Unstable && e.preview1Only {
			continue
		}
		params := make([]byte, len(e.params))
		for i, c := range e.params {
			params[i] = 0x7f
			if c == 'I' {
				params[i] = 0x7e
			}
		}
		f := Func{Module: abi.String(), Name: e.name, Params: params, Results: []byte{0x7f}}
		if e.name == "proc_exit" {
			f.Results = nil
		}
		run, noResult := e.run, f.Results == nil
		f.Call = func(ctx context.Context, mem []byte, stack []uint64) error {
			c := &p.call
			c.p, c.ctx, c.abi, c.mem, c.args, c.err = p, ctx, abi, mem, stack, nil
			errno := run(c)
			err := c.err
			c.ctx, c.mem, c.args = nil, nil, nil
			if err == nil && !noResult {
				stack[0] = uint64(errno)
			}
			return err
		}
		fs = append(fs, f)
	}
	return fs
}

// call is one call of a guest. The request and response in it are used again by the next.
type call struct {
	p    *Process
	ctx  context.Context
	abi  ABI
	mem  []byte
	args []uint64
	req  Request
	resp Response
	err  error // ends the guest
}

// u32 is an i32 argument: the upper half of its slot may hold anything.
func (c *call) u32(i int) uint32 { return uint32(c.args[i]) }
func (c *call) u64(i int) uint64 { return c.args[i] }

// do asks the System. After an error that ends the guest it returns an errno that nobody will see.
func (c *call) do(req Request) Errno {
	if c.err != nil {
		return vfs.EIO
	}
	c.req, c.resp = req, Response{}
	c.err = c.p.System.Do(c.ctx, &c.req, &c.resp)
	c.req.Data, c.req.Buf = nil, nil
	if c.err != nil {
		return vfs.EIO
	}
	return c.resp.Errno
}

// bytes is a range of guest memory, or false if it does not lie within.
func (c *call) bytes(ptr, n uint32) ([]byte, bool) {
	end := uint64(ptr) + uint64(n)
	if end > uint64(len(c.mem)) {
		return nil, false
	}
	return c.mem[ptr:end:end], true
}

func (c *call) putU32(ptr, v uint32) Errno {
	b, ok := c.bytes(ptr, 4)
	if !ok {
		return vfs.EFAULT
	}
	binary.LittleEndian.PutUint32(b, v)
	return vfs.Success
}

func (c *call) putU64(ptr uint32, v uint64) Errno {
	b, ok := c.bytes(ptr, 8)
	if !ok {
		return vfs.EFAULT
	}
	binary.LittleEndian.PutUint64(b, v)
	return vfs.Success
}

// path reads a path argument.
func (c *call) path(ptr, n uint32) (string, Errno) {
	b, ok := c.bytes(ptr, n)
	switch {
	case !ok:
		return "", vfs.EFAULT
	case n > MaxPath:
		return "", vfs.ENAMETOOLONG
	case !utf8.Valid(b):
		return "", vfs.EILSEQ
	}
	return string(b), vfs.Success
}

// fd is the open descriptor that argument i names, with the rights that the call needs.
func (c *call) fd(i int, need Rights) (*FD, Errno) {
	f := c.p.State.FD(c.u32(i))
	if f == nil {
		return nil, vfs.EBADF
	}
	if f.Base&need != need {
		return nil, vfs.ENOTCAPABLE
	}
	return f, vfs.Success
}

// dir is fd for a directory.
func (c *call) dir(i int, need Rights) (*FD, Errno) {
	f := c.p.State.FD(c.u32(i))
	if f == nil {
		return nil, vfs.EBADF
	}
	if f.Kind != KindDir {
		return nil, vfs.ENOTDIR
	}
	if f.Base&need != need {
		return nil, vfs.ENOTCAPABLE
	}
	return f, vfs.Success
}

// now reads a clock, which never runs backwards.
func (c *call) now(id uint32) (uint64, Errno) {
	last := &c.p.State.Clocks
	if id >= NumClocks {
		return 0, vfs.EINVAL
	}
	e := c.do(Request{Op: OpClockTime, Flags: uint64(id), Realtime: last[Realtime], Monotonic: last[Monotonic]})
	if e != vfs.Success {
		return 0, e
	}
	last[id] = max(last[id], c.resp.Value)
	return last[id], vfs.Success
}

// checkCount guards against a System that counts more than was asked for.
func (c *call) checkCount(op Op, got, most uint64) bool {
	if got > most && c.err == nil {
		c.err = fmt.Errorf("carry out %v: answer of %d bytes to a request of %d", op, got, most)
	}
	return c.err == nil
}
