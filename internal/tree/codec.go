package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// ErrFormat marks what is no valid encoding, to be tested with errors.Is.
var ErrFormat = errors.New("malformed tree data")

// ErrTooLarge marks what is beyond the limits of the format.
var ErrTooLarge = errors.New("too large to be described")

const version = 1

// The sorts of objects, behind the version.
const (
	sortLeaf = 1 + iota
	sortIndex
	sortList
)

// ValidName tells whether s can be a name in a directory.
func ValidName(s string) bool {
	return s != "" && len(s) <= MaxName && s != "." && s != ".." && strings.IndexByte(s, '/') < 0 && strings.IndexByte(s, 0) < 0
}

// ValidPath tells whether s is a path inside a tree: names with slashes between them, or "" for the root.
func ValidPath(s string) bool {
	if len(s) > MaxPath {
		return false
	}
	if s == "" {
		return true
	}
	for name := range strings.SplitSeq(s, "/") {
		if !ValidName(name) {
			return false
		}
	}
	return true
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendChunk(b []byte, c Chunk) []byte {
	b = binary.AppendUvarint(b, c.Size)
	if c.Hole() {
		return append(b, 0)
	}
	return append(append(b, 1), c.ID[:]...)
}

// reader takes fields off the front of an encoding. The first error stays; what is read after it is zero. Strings
// share the memory of text.
type reader struct {
	text string
	at   int
	err  error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s at byte %d", ErrFormat, fmt.Sprintf(format, args...), r.at)
	}
}

func (r *reader) rest() int { return len(r.text) - r.at }

// take returns the next n bytes.
func (r *reader) take(what string, n int) string {
	if r.err != nil || n > r.rest() {
		r.fail("%s is cut off", what)
		return ""
	}
	s := r.text[r.at : r.at+n]
	r.at += n
	return s
}

func (r *reader) u8(what string, most uint8) uint8 {
	s := r.take(what, 1)
	if s == "" {
		return 0
	}
	if s[0] > most {
		r.at--
		r.fail("%s is %d", what, s[0])
		return 0
	}
	return s[0]
}

func (r *reader) u64(what string) uint64 {
	s := r.take(what, 8)
	if s == "" {
		return 0
	}
	var v uint64
	for i := range 8 {
		v |= uint64(s[i]) << (8 * i)
	}
	return v
}

// uint reads a number of at most most, in the fewest bytes.
func (r *reader) uint(what string, most uint64) uint64 {
	if r.err != nil {
		return 0
	}
	var v uint64
	for i := 0; ; i++ {
		if i >= r.rest() || i == binary.MaxVarintLen64 {
			r.fail("%s is no number", what)
			return 0
		}
		c := r.text[r.at+i]
		if i == binary.MaxVarintLen64-1 && c > 1 || i > 0 && c == 0 {
			r.fail("%s is no number", what)
			return 0
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			if v > most {
				r.fail("%s is %d, more than %d", what, v, most)
				return 0
			}
			r.at += i + 1
			return v
		}
	}
}

// count reads how many things of at least size bytes follow: never more than the rest has room for.
func (r *reader) count(what string, size int) int {
	return int(r.uint("number of "+what, uint64(r.rest()/size)))
}

func (r *reader) string(what string, most int) string {
	return r.take(what, int(r.uint("length of "+what, uint64(most))))
}

func (r *reader) id(what string) (id ID) {
	copy(id[:], r.take(what, len(id)))
	if r.err == nil && id == (ID{}) {
		r.fail("%s is zero", what)
	}
	return id
}

func (r *reader) chunk() Chunk {
	c := Chunk{Size: r.uint("size of a chunk", MaxFile)}
	if r.u8("form of a chunk", 1) == 1 {
		c.ID = r.id("id of a chunk")
	}
	if r.err == nil {
		if err := c.validate(); err != nil {
			r.fail("%v", err)
		}
	}
	return c
}

func (c Chunk) validate() error {
	switch {
	case c.Size == 0:
		return errors.New("empty chunk")
	case c.Size > MaxFile, !c.Hole() && c.Size > MaxChunk:
		return fmt.Errorf("chunk of %d bytes", c.Size)
	}
	return nil
}

// version reads the version, and the sort of an object unless that is 0.
func (r *reader) version(sort uint8) {
	if v := r.u8("version", 255); r.err == nil && v != version {
		r.fail("version is %d, want %d", v, version)
	}
	if sort == 0 || r.err != nil {
		return
	}
	if s := r.u8("sort", 255); r.err == nil && s != sort {
		r.fail("sort is %d, want %d", s, sort)
	}
}

// end returns the error, of bytes left over too.
func (r *reader) end() error {
	if r.err == nil && r.rest() > 0 {
		r.fail("%d bytes too many", r.rest())
	}
	return r.err
}
