package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	maxMode = 0o7777
	// minEntry bytes, at least, is an encoded entry long.
	minEntry = 2 + 2 + 4 + 16
	asList   = 255 // in place of a number of chunks
)

// AppendTo appends the encoding of a single entry: of a root.
func (e *Entry) AppendTo(b []byte) []byte { return e.append(append(b, version)) }

// DecodeEntry reads a single entry. Its name may be empty.
func DecodeEntry(b []byte) (Entry, error) {
	r := &reader{text: string(b)}
	r.version(0)
	e := r.entry()
	if err := r.end(); err != nil {
		return Entry{}, fmt.Errorf("read entry: %w", err)
	}
	return e, nil
}

func (e *Entry) append(b []byte) []byte {
	b = appendString(b, e.Name)
	b = append(b, byte(e.Kind), byte(e.Flags))
	b = binary.AppendUvarint(b, uint64(e.Mode))
	b = binary.AppendUvarint(b, e.Ino)
	b = binary.AppendUvarint(b, uint64(e.Nlink))
	b = binary.AppendUvarint(b, e.Size)
	b = binary.LittleEndian.AppendUint64(b, e.Mtime)
	b = binary.LittleEndian.AppendUint64(b, e.Ctime)
	switch e.Kind {
	case KindFile:
		return e.appendContents(b)
	case KindDir:
		return append(b, e.Dir[:]...)
	case KindSymlink:
		return appendString(b, e.Target)
	}
	return append(b, e.Type)
}

func (e *Entry) appendContents(b []byte) []byte {
	if e.Flags&Hashed == 0 {
		return b
	}
	if e.List != (ID{}) {
		return append(append(b, asList), e.List[:]...)
	}
	b = append(b, byte(len(e.Chunks)))
	for _, c := range e.Chunks {
		b = appendChunk(b, c)
	}
	return b
}

func (r *reader) entry() Entry {
	e := Entry{
		Name:  r.string("name", MaxName),
		Kind:  Kind(r.u8("kind", uint8(numKinds)-1)),
		Flags: Flags(r.u8("flags", uint8(allFlags))),
		Mode:  uint32(r.uint("mode", maxMode)),
		Ino:   r.uint("number of the file", FirstNew-1),
		Nlink: uint32(r.uint("number of links", 1<<32-1)),
		Size:  r.uint("size", MaxFile),
		Mtime: r.u64("modification time"),
		Ctime: r.u64("change time"),
	}
	switch {
	case r.err != nil:
		return e
	case e.Kind == KindFile && e.Flags&Hashed != 0:
		r.contents(&e)
	case e.Kind == KindDir:
		e.Dir = r.id("node of a directory")
	case e.Kind == KindSymlink:
		e.Target = r.string("target", MaxTarget)
	case e.Kind == KindOther:
		e.Type = r.u8("type", 255)
	}
	if r.err == nil {
		if err := e.validate(); err != nil {
			r.fail("entry %q: %v", e.Name, err)
		}
	}
	return e
}

func (r *reader) contents(e *Entry) {
	n := r.u8("number of chunks", 255)
	switch {
	case r.err != nil:
	case n == asList:
		e.List = r.id("list of chunks")
	case n > MaxInline:
		r.fail("%d chunks in an entry", n)
	case n > 0:
		e.Chunks = make([]Chunk, 0, n)
		for range n {
			e.Chunks = append(e.Chunks, r.chunk())
		}
	}
}

// validate checks all but that the name is not empty.
func (e *Entry) validate() error {
	switch {
	case e.Name != "" && !ValidName(e.Name):
		return errors.New("not a name")
	case e.Kind == KindInvalid || e.Kind >= numKinds:
		return fmt.Errorf("kind %d", e.Kind)
	case e.Flags&^allFlags != 0 || e.Mode > maxMode:
		return fmt.Errorf("flags %#x, mode %#o", e.Flags, e.Mode)
	case e.Ino == 0 || e.Ino >= FirstNew:
		return fmt.Errorf("number %d", e.Ino)
	case e.Size > MaxFile:
		return fmt.Errorf("size %d", e.Size)
	case e.Kind != KindOther && e.Type != 0, e.Kind != KindSymlink && e.Target != "", (e.Kind == KindDir) != (e.Dir != ID{}):
		return errors.New("a field that its kind does not have, or lacks one")
	case e.Kind == KindSymlink && !validTarget(e.Target):
		return errors.New("not a target")
	}
	return e.validateContents()
}

func (e *Entry) validateContents() error {
	if e.Flags&Hashed == 0 {
		if len(e.Chunks) > 0 || e.List != (ID{}) {
			return errors.New("contents that are not hashed")
		}
		return nil
	}
	switch {
	case e.Kind != KindFile:
		return errors.New("contents of what is no file")
	case len(e.Chunks) > MaxInline:
		return fmt.Errorf("%d chunks in an entry", len(e.Chunks))
	case e.List == ID{}:
		return validateChunks(e.Chunks, e.Size)
	case len(e.Chunks) > 0:
		return errors.New("both chunks and a list")
	case e.Size == 0:
		return errors.New("a list of nothing")
	}
	return nil
}

// validateChunks checks that chunks add up to size.
func validateChunks(chunks []Chunk, size uint64) error {
	sum := uint64(0)
	for _, c := range chunks {
		if err := c.validate(); err != nil {
			return err
		}
		if sum += c.Size; sum > size {
			break
		}
	}
	if sum != size {
		return fmt.Errorf("chunks of %d bytes in a file of %d", sum, size)
	}
	return nil
}

func validTarget(s string) bool {
	if s == "" || len(s) > MaxTarget {
		return false
	}
	for i := range len(s) {
		if s[i] == 0 {
			return false
		}
	}
	return true
}
