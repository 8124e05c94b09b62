package plan

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/clonecloud/clonecloud/internal/tree"
)

const (
	planMagic   = "CCplan"
	planVersion = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header says where a plan belongs. It is durable before anything else is done.
type Header struct {
	Dir    string
	Num    uint64 // number of the directory
	Policy Policy
	Date   string // for names
}

// Append encodes a header.
func (h *Header) Append(b []byte) []byte {
	b = append(append(b, planMagic...), planVersion)
	b = AppendString(b, h.Dir)
	b = binary.AppendUvarint(b, h.Num)
	b = append(b, byte(h.Policy))
	b = AppendString(b, h.Date)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// DecodeHeader reads the header at the front of b, and returns its length.
func DecodeHeader(b []byte) (*Header, int, error) {
	r := &reader{b: b}
	if string(r.take(len(planMagic))) != planMagic {
		return nil, 0, fmt.Errorf("%w: it does not begin as one", ErrDamaged)
	}
	if v := r.u8(); r.err == nil && v != planVersion {
		return nil, 0, fmt.Errorf("%w: its version is %d, not %d", ErrDamaged, v, planVersion)
	}
	h := &Header{Dir: r.string(), Num: r.uint(), Policy: Policy(r.u8()), Date: r.string()}
	sum := crc32.Checksum(b[:r.at], castagnoli)
	if got := r.take(4); r.err == nil && binary.LittleEndian.Uint32(got) != sum || h.Policy >= NumPolicies {
		r.fail()
	}
	return h, r.at, r.err
}

// AppendString encodes a string.
func AppendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendStamp(b []byte, s Stamp) []byte {
	b = append(b, byte(s.Kind))
	for _, v := range []uint64{s.Ino, s.Size, s.Mtime, s.Ctime} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// Append encodes all but what is needed for staging only.
func (s *Steps) Append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s.Made)))
	for _, m := range s.Made {
		b = append(binary.AppendUvarint(b, m.Ino), byte(m.Kind))
		b = appendBool(binary.AppendUvarint(b, m.Num), m.Named)
	}
	b = binary.AppendUvarint(b, uint64(len(s.Writes)))
	for i := range s.Writes {
		b = s.Writes[i].append(b)
	}
	b = binary.AppendUvarint(b, uint64(len(s.Displaced)))
	for _, d := range s.Displaced {
		b = appendStamp(AppendString(b, d.Path), d.Was)
		b = appendBool(appendBool(b, d.Gone), d.Sole)
		b = binary.AppendUvarint(binary.AppendUvarint(b, d.Takes), uint64(d.Write+1))
	}
	b = binary.AppendUvarint(b, uint64(len(s.Places)))
	for _, p := range s.Places {
		b = AppendString(AppendString(b, p.Path), p.From)
		b = binary.AppendUvarint(appendBool(append(b, byte(p.Kind)), p.Made), p.Ino)
	}
	b = binary.AppendUvarint(b, uint64(len(s.Links)))
	for _, l := range s.Links {
		b = AppendString(AppendString(b, l.Path), l.To)
		b = binary.AppendUvarint(b, l.Num)
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(l.Made+1)), l.Ino)
	}
	b = binary.AppendUvarint(b, uint64(len(s.Times)))
	for _, t := range s.Times {
		b = binary.AppendUvarint(binary.AppendUvarint(AppendString(b, t.Path), t.Mtime), t.Atime)
	}
	return b
}

func (w *Write) append(b []byte) []byte {
	b = AppendString(appendStamp(AppendString(b, w.Path), w.Was), w.Final)
	b = appendBool(appendBool(appendBool(b, w.Nameless), w.Elsewhere), w.Written)
	for _, v := range []uint64{uint64(w.Mode), w.Mtime, w.Atime, w.Size, uint64(len(w.Pieces))} {
		b = binary.AppendUvarint(b, v)
	}
	for _, p := range w.Pieces {
		b = append(binary.AppendUvarint(b, p.Size), p.Form)
		if p.Form == FormData {
			b = append(binary.AppendUvarint(b, p.Off), p.Check[:]...)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(w.Chunks)))
	for _, c := range w.Chunks {
		b = append(binary.AppendUvarint(b, c.Size), c.ID[:]...)
	}
	return b
}

// DecodeSteps reads steps back, of a plan whose data ends at dataEnd.
func DecodeSteps(b []byte, dataEnd uint64) (*Steps, error) {
	r := &reader{b: b}
	s := &Steps{}
	s.Made = list(r, 4, func() Made {
		return Made{Ino: r.uint(), Kind: tree.Kind(r.u8()), Num: r.uint(), Named: r.bool()}
	})
	s.Writes = list(r, 16, func() Write { return r.write(dataEnd) })
	s.Displaced = list(r, 10, func() Displacement {
		return Displacement{Path: r.path(), Was: r.stamp(), Gone: r.bool(), Sole: r.bool(), Takes: r.uint(), Write: r.index(len(s.Writes))}
	})
	s.Places = list(r, 5, func() Placement {
		return Placement{Path: r.path(), From: r.staged(s), Kind: tree.Kind(r.u8()), Made: r.bool(), Ino: r.uint()}
	})
	s.Links = list(r, 5, func() Link {
		return Link{Path: r.path(), To: r.path(), Num: r.uint(), Made: r.index(len(s.Made)), Ino: r.uint()}
	})
	s.Times = list(r, 3, func() DirTimes { return DirTimes{Path: r.string(), Mtime: r.uint(), Atime: r.uint()} })
	for i := range s.Times {
		if !tree.ValidPath(s.Times[i].Path) {
			r.fail()
		}
	}
	if r.at != len(b) {
		r.fail()
	}
	return s, r.err
}

// reader takes fields off the front. The first error stays; what is read after it is zero.
type reader struct {
	b   []byte
	at  int
	err error
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = fmt.Errorf("%w at byte %d", ErrDamaged, r.at)
	}
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b)-r.at {
		r.fail()
		return make([]byte, min(max(n, 0), 64))
	}
	p := r.b[r.at : r.at+n]
	r.at += n
	return p
}

func (r *reader) u8() uint8 { return r.take(1)[0] }

func (r *reader) bool() bool {
	v := r.u8()
	if v > 1 {
		r.fail()
	}
	return v == 1
}

func (r *reader) uint() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b[r.at:])
	if n <= 0 {
		r.fail()
		return 0
	}
	r.at += n
	return v
}

func (r *reader) string() string {
	n := r.uint()
	if n > uint64(len(r.b)-r.at) {
		r.fail()
	}
	if r.err != nil {
		return ""
	}
	return string(r.take(int(n)))
}

// path is one that is not the root's.
func (r *reader) path() string {
	s := r.string()
	if s == "" || !tree.ValidPath(s) {
		r.fail()
	}
	return s
}

// staged is the name of a new file or of a displaced one.
func (r *reader) staged(s *Steps) string {
	name := r.string()
	var i int
	if len(name) > 1 {
		for _, c := range name[1:] {
			if i = i*10 + int(c-'0'); c < '0' || c > '9' || i > 1<<40 {
				r.fail()
				return ""
			}
		}
	}
	if name != NewName(i) && name != OldName(i) || name[0] == 'n' && i >= len(s.Made) || name[0] == 'o' && i >= len(s.Displaced) {
		r.fail()
	}
	return name
}

// index is a position in a list of n, or -1.
func (r *reader) index(n int) int {
	v := r.uint()
	if v > uint64(n) {
		r.fail()
		return -1
	}
	return int(v) - 1
}

func (r *reader) stamp() Stamp {
	return Stamp{Kind: tree.Kind(r.u8()), Ino: r.uint(), Size: r.uint(), Mtime: r.uint(), Ctime: r.uint()}
}

func (r *reader) id() (id tree.ID) {
	copy(id[:], r.take(len(id)))
	return id
}

func (r *reader) write(dataEnd uint64) Write {
	w := Write{Path: r.path(), Was: r.stamp(), Final: r.string(), Nameless: r.bool(), Elsewhere: r.bool(), Written: r.bool(), Mode: uint32(r.uint()) & 0o777, Mtime: r.uint(), Atime: r.uint(), Size: r.uint()}
	if w.Nameless != (w.Final == "") || !tree.ValidPath(w.Final) || w.Size > tree.MaxFile {
		r.fail()
	}
	left := w.Size
	w.Pieces = list(r, 2, func() Piece {
		p := Piece{Size: r.uint(), Form: r.u8()}
		if p.Form == FormData {
			p.Off, p.Check = r.uint(), r.id()
			if p.Size > tree.MaxChunk || p.Off > dataEnd || p.Size > dataEnd-p.Off {
				r.fail()
			}
		}
		if p.Form >= numForms || p.Size > left {
			r.fail()
		}
		left -= min(left, p.Size)
		return p
	})
	if w.Written && left != 0 {
		r.fail()
	}
	w.Chunks = list(r, 33, func() tree.Chunk { return tree.Chunk{Size: r.uint(), ID: r.id()} })
	return w
}

// list reads a number and as many things of at least size bytes. It grows by what was read.
func list[T any](r *reader, size int, one func() T) []T {
	n := r.uint()
	if r.err != nil || n > uint64((len(r.b)-r.at)/size) {
		r.fail()
		return nil
	}
	var all []T
	for range n {
		x := one()
		if r.err != nil {
			return nil
		}
		all = append(all, x)
	}
	return slices.Clip(all)
}
