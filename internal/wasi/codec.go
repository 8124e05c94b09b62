package wasi

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/clonecloud/clonecloud/internal/vfs"
)

// ErrMalformed marks bytes that are no encoded State, Request or Response.
var ErrMalformed = errors.New("malformed")

// The encodings are sequences of unsigned varints; strings and bytes follow their length. Each value has exactly
// one encoding, so that digests of encodings compare.
//
//	Request:  op handle handle2 offset size flags rights inheriting atime mtime realtime monotonic path path2 data
//	Response: errno handle n value rights inheriting
//	          dev ino type nlink size atime mtime ctime data
//	State:    version args env clocks random-generator fds
//	          fd: number-gap handle kind type flags base inheriting offset preopen
const stateVersion = 1

func appendBytes[T ~string | ~[]byte](dst []byte, b T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func appendUints(dst []byte, vs ...uint64) []byte {
	for _, v := range vs {
		dst = binary.AppendUvarint(dst, v)
	}
	return dst
}

// reader takes an encoding apart; the first fault stays in err and all later values are zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrMalformed, what)
	}
}

func (r *reader) uint(what string, max uint64) uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > max || n > 1 && r.b[n-1] == 0 {
		r.fail(what)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) u64(what string) uint64 { return r.uint(what, 1<<64-1) }

// bytes returns a slice of the input.
func (r *reader) bytes(what string, max uint64) []byte {
	n := r.uint(what, max)
	if r.err != nil {
		return nil
	}
	if n > uint64(len(r.b)) {
		r.fail(what)
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) end() error {
	if r.err == nil && len(r.b) != 0 {
		r.fail("bytes after the end")
	}
	return r.err
}

// appendHead is the encoding but for the bytes of Data.
func (r *Request) appendHead(dst []byte) []byte {
	dst = appendUints(dst, uint64(r.Op), r.Handle, r.Handle2, r.Offset, r.Size, r.Flags, uint64(r.Rights), uint64(r.Inheriting),
		r.Atime, r.Mtime, r.Realtime, r.Monotonic)
	dst = appendBytes(dst, r.Path)
	dst = appendBytes(dst, r.Path2)
	return binary.AppendUvarint(dst, uint64(len(r.Data)))
}

// AppendTo appends the encoded request to dst; Buf is left out.
func (r *Request) AppendTo(dst []byte) []byte {
	return append(r.appendHead(dst), r.Data...)
}

// Digest identifies the call and all of its input.
func (r *Request) Digest() [32]byte {
	var head [256]byte
	h := sha256.New()
	h.Write(r.appendHead(head[:0]))
	h.Write(r.Data)
	var d [32]byte
	h.Sum(d[:0])
	return d
}

// Decode sets r to the request that b holds, all of it. Data is a slice of b.
func (r *Request) Decode(b []byte) error {
	d := reader{b: b}
	*r = Request{
		Op: Op(d.uint("operation", math.MaxUint8)), Handle: d.u64("handle"), Handle2: d.u64("second handle"),
		Offset: d.u64("offset"), Size: d.u64("size"), Flags: d.u64("flags"), Rights: Rights(d.u64("rights")),
		Inheriting: Rights(d.u64("inheriting rights")), Atime: d.u64("atime"), Mtime: d.u64("mtime"),
		Realtime: d.u64("realtime"), Monotonic: d.u64("monotonic"),
		Path: string(d.bytes("path", MaxPath)), Path2: string(d.bytes("second path", MaxPath)),
		Data: d.bytes("data", MaxIO),
	}
	if r.Op >= NumOps && r.Op < OpOther {
		d.fail("operation")
	}
	if (r.Op == OpRead || r.Op == OpReadAt || r.Op == OpReadDir) && r.Size > MaxIO {
		d.fail("size")
	}
	if err := d.end(); err != nil {
		return fmt.Errorf("decode request: %w", err)
	}
	return nil
}

// AppendTo appends the encoded response to dst. See Serve for the answer of a read.
func (r *Response) AppendTo(dst []byte) []byte {
	s := &r.Stat
	dst = appendUints(dst, uint64(r.Errno), r.Handle, r.N, r.Value, uint64(r.Rights), uint64(r.Inheriting),
		s.Dev, s.Ino, uint64(s.Type), s.Nlink, s.Size, s.Atime, s.Mtime, s.Ctime)
	return appendBytes(dst, r.Data)
}

// Decode sets r to the response that b holds, all of it. Data is a slice of b.
func (r *Response) Decode(b []byte) error {
	d := reader{b: b}
	*r = Response{
		Errno: Errno(d.uint("errno", uint64(vfs.NumErrnos)-1)), Handle: d.u64("handle"), N: d.u64("n"),
		Value: d.u64("value"), Rights: Rights(d.u64("rights")), Inheriting: Rights(d.u64("inheriting rights")),
		Stat: Stat{
			Dev: d.u64("dev"), Ino: d.u64("ino"), Type: FileType(d.uint("type", uint64(vfs.NumFileTypes)-1)),
			Nlink: d.u64("nlink"), Size: d.u64("size"), Atime: d.u64("atime"), Mtime: d.u64("mtime"),
			Ctime: d.u64("ctime"),
		},
		Data: d.bytes("data", MaxIO),
	}
	if err := d.end(); err != nil {
		return fmt.Errorf("decode response: %w", err)
	}
	return nil
}

// MarshalBinary encodes the state; equal states give equal bytes.
func (s *State) MarshalBinary() ([]byte, error) {
	b := []byte{stateVersion}
	for _, list := range [][]string{s.Args, s.Env} {
		b = appendUints(b, uint64(len(list)))
		for _, v := range list {
			b = appendBytes(b, v)
		}
	}
	b = appendUints(b, s.Clocks[:]...)
	random, err := s.Rand.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("encode random generator: %w", err)
	}
	b = appendBytes(b, random)
	n := 0
	for range s.FDs() {
		n++
	}
	b = appendUints(b, uint64(n))
	next := uint32(0)
	for fd, f := range s.FDs() {
		b = appendUints(b, uint64(fd-next), f.Handle, uint64(f.Kind), uint64(f.Type), uint64(f.Flags),
			uint64(f.Base), uint64(f.Inheriting), f.Offset)
		b = appendBytes(b, f.Preopen)
		next = fd + 1
	}
	return b, nil
}

// UnmarshalBinary sets s to the state that b holds; b is not kept. Whether its handles and rights may be believed
// is another matter: see CheckReturned.
func (s *State) UnmarshalBinary(b []byte) error {
	d := reader{b: b}
	if v := d.uint("version", 1<<7-1); d.err == nil && v != stateVersion {
		return fmt.Errorf("decode state: version %d, know %d", v, stateVersion)
	}
	budget := uint64(MaxStrMem)
	list := func(what string) (l []string) {
		for range d.uint("number of "+what, min(MaxStrings, uint64(len(d.b)))) {
			v := string(d.bytes(what, budget))
			if d.err != nil {
				return nil
			}
			budget -= uint64(len(v))
			l = append(l, v)
		}
		return l
	}
	n := State{Args: list("arguments"), Env: list("variables")}
	for i := range n.Clocks {
		n.Clocks[i] = d.u64("clock")
	}
	n.Rand = new(rand.ChaCha8)
	if random := d.bytes("random generator", 256); d.err == nil {
		if err := n.Rand.UnmarshalBinary(random); err != nil {
			d.fail("random generator: " + err.Error())
		} else if again, err := n.Rand.MarshalBinary(); err != nil || string(again) != string(random) {
			d.fail("random generator: not in its one form")
		}
	}
	next := uint64(0)
	for range d.uint("number of descriptors", MaxFDs) {
		fd := next + d.uint("descriptor", MaxFDs)
		f := &FD{
			Handle: d.u64("handle"), Kind: Kind(d.uint("kind", uint64(NumKinds)-1)),
			Type:  FileType(d.uint("file type", uint64(vfs.NumFileTypes)-1)),
			Flags: uint16(d.uint("descriptor flags", uint64(fdFlagsMask))), Base: Rights(d.u64("rights")),
			Inheriting: Rights(d.u64("inheriting rights")), Offset: d.uint("offset", 1<<63-1),
			Preopen: string(d.bytes("name of a preopened directory", MaxPath)),
		}
		if d.err == nil {
			if err := n.Set(uint32(fd), f); err != nil {
				d.fail(err.Error())
			}
		}
		if d.err != nil {
			break
		}
		next = fd + 1
	}
	if err := d.end(); err != nil {
		return fmt.Errorf("decode state: %w", err)
	}
	*s = n
	return nil
}
