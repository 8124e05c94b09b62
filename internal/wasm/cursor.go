package wasm

import (
	"fmt"
	"unicode/utf8"
)

// FormatError says where and why an input is not a WebAssembly module that this package understands.
type FormatError struct {
	Section string // "header", "type", …, "code", "custom"
	Offset  int    // in the input
	Reason  string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("decode %s section at offset %d: %s", e.Section, e.Offset, e.Reason)
}

// cursor reads a byte slice. The first error sticks and moves the cursor to the end, so that callers need check only
// in loops and before they use a count.
type cursor struct {
	b       []byte
	pos     int
	base    int // offset of b in the input
	section string
	err     *FormatError
}

const (
	errEnd      = "unexpected end"
	errTooLong  = "integer representation too long"
	errTooLarge = "integer too large"
)

func (c *cursor) failAt(pos int, reason string) {
	if c.err == nil {
		c.err = &FormatError{Section: c.section, Offset: c.base + pos, Reason: reason}
	}
	c.pos = len(c.b)
}

func (c *cursor) fail(reason string) { c.failAt(c.pos, reason) }

func (c *cursor) left() int { return len(c.b) - c.pos }

func (c *cursor) byte() byte {
	if c.pos < len(c.b) {
		c.pos++
		return c.b[c.pos-1]
	}
	c.fail(errEnd)
	return 0
}

// take returns the next n bytes without copying; nothing can be appended over what follows them.
func (c *cursor) take(n int) []byte {
	if n < 0 || n > c.left() {
		c.fail(errEnd)
		return nil
	}
	p := c.b[c.pos : c.pos+n : c.pos+n]
	c.pos += n
	return p
}

// u32 is small enough to be inlined for the numbers of one byte.
func (c *cursor) u32() uint32 {
	if c.pos < len(c.b) && c.b[c.pos] < 0x80 {
		c.pos++
		return uint32(c.b[c.pos-1])
	}
	return c.long()
}

// long reads an unsigned integer of any length; most have two or three bytes.
func (c *cursor) long() uint32 {
	if b := c.b[min(c.pos, len(c.b)):]; len(b) > 2 {
		if b[1] < 0x80 {
			c.pos += 2
			return uint32(b[0]&0x7f) | uint32(b[1])<<7
		}
		if b[2] < 0x80 {
			c.pos += 3
			return uint32(b[0]&0x7f) | uint32(b[1]&0x7f)<<7 | uint32(b[2])<<14
		}
	}
	return uint32(c.leb(32, false))
}

func (c *cursor) s32() int32 {
	if c.pos < len(c.b) && c.b[c.pos] < 0x80 {
		c.pos++
		return int32(int8(c.b[c.pos-1]<<1) >> 1)
	}
	return int32(c.leb(32, true))
}

func (c *cursor) s33() int64 { return int64(c.leb(33, true)) }
func (c *cursor) s64() int64 { return int64(c.leb(64, true)) }

// leb reads a LEB128 integer of the given width, sign-extended to 64 bits if it is signed.
func (c *cursor) leb(width uint, signed bool) uint64 {
	start := c.pos
	var v uint64
	for shift := uint(0); ; shift += 7 {
		if c.pos >= len(c.b) {
			c.fail(errEnd)
			return 0
		}
		b := c.b[c.pos]
		c.pos++
		v |= uint64(b&0x7f) << shift
		rest := width - shift // bits that still count
		if rest <= 7 {
			// The last byte: unused bits must be zero, or copies of the sign.
			if b >= 0x80 {
				c.failAt(start, errTooLong)
				return 0
			}
			spare := b >> rest
			if signed {
				spare = b >> (rest - 1)
			}
			if spare != 0 && !(signed && spare == 0x7f>>(rest-1)) {
				c.failAt(start, errTooLarge)
				return 0
			}
		}
		if b < 0x80 {
			if signed && b&0x40 != 0 && shift+7 < 64 {
				v |= ^uint64(0) << (shift + 7)
			}
			return v
		}
	}
}

// count reads the length of a vector whose entries take at least size bytes each.
func (c *cursor) count(size int) int {
	at := c.pos
	n := c.u32()
	if int64(n)*int64(size) > int64(c.left()) {
		c.failAt(at, "vector length out of bounds")
		return 0
	}
	return int(n)
}

// room bounds what is allocated before the n entries of a vector have been seen, to about the size of the input.
func (c *cursor) room(n int) int { return min(n, max(1024, c.left()/64)) }

func (c *cursor) name() string {
	n := c.u32()
	if int64(n) > int64(c.left()) {
		c.fail("length out of bounds")
		return ""
	}
	at := c.pos
	p := c.take(int(n))
	if !utf8.Valid(p) {
		c.failAt(at, "malformed UTF-8 encoding")
		return ""
	}
	return string(p)
}

func (c *cursor) valType() ValType {
	switch b := c.byte(); b {
	case I32, I64, F32, F64, V128, FuncRef, ExternRef, ExnRef:
		return ValType{Kind: b}
	case Ref, RefNull:
		return RefTo(c.heapType(), b == RefNull)
	default:
		c.pos = max(c.pos-1, 0)
		c.fail(fmt.Sprintf("malformed value type 0x%02x", b))
		return ValType{}
	}
}

func (c *cursor) heapType() int64 {
	at := c.pos
	h := c.s33()
	if h < 0 && h != HeapFunc && h != HeapExtern && h != HeapExn {
		c.failAt(at, "malformed heap type")
	}
	return h
}

func (c *cursor) refType() ValType {
	at := c.pos
	t := c.valType()
	if c.err == nil && !t.IsRef() {
		c.failAt(at, "malformed reference type")
	}
	return t
}

func (c *cursor) valTypes() []ValType {
	n := c.count(1)
	if n == 0 {
		return nil
	}
	t := make([]ValType, 0, c.room(n))
	for range n {
		t = append(t, c.valType())
		if c.err != nil {
			return nil
		}
	}
	return t
}
