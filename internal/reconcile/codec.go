package reconcile

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/clonecloud/clonecloud/internal/tree"
)

const (
	planMagic   = "CCplan"
	planEnd     = "CCend"
	planVersion = 1
	maxHeader   = 1 << 16
	maxMeta     = 4 << 30
	trailerSize = 8 + 8 + 32 + 5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header says where a plan belongs. It is durable before anything else is done.
type header struct {
	dir    string
	num    uint64 // number of the directory
	policy Policy
	date   string // for names
}

func (h *header) append(b []byte) []byte {
	b = append(append(b, planMagic...), planVersion)
	b = appendString(b, h.dir)
	b = binary.AppendUvarint(b, h.num)
	b = append(b, byte(h.policy))
	b = appendString(b, h.date)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeHeader reads the header at the front of b, and returns its length.
func decodeHeader(b []byte) (*header, int, error) {
	r := &reader{b: b}
	if string(r.take(len(planMagic))) != planMagic {
		return nil, 0, fmt.Errorf("%w: it does not begin as one", ErrDamaged)
	}
	if v := r.u8(); r.err == nil && v != planVersion {
		return nil, 0, fmt.Errorf("%w: its version is %d, not %d", ErrDamaged, v, planVersion)
	}
	h := &header{dir: r.string(), num: r.uint(), policy: Policy(r.u8()), date: r.string()}
	sum := crc32.Checksum(b[:r.at], castagnoli)
	if got := r.take(4); r.err == nil && binary.LittleEndian.Uint32(got) != sum || h.policy >= numPolicies {
		r.fail()
	}
	return h, r.at, r.err
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendStamp(b []byte, s stamp) []byte {
	b = append(b, byte(s.kind))
	for _, v := range []uint64{s.ino, s.size, s.mtime, s.ctime} {
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

// append encodes all but what is needed for staging only.
func (s *steps) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s.made)))
	for _, m := range s.made {
		b = append(binary.AppendUvarint(b, m.ino), byte(m.kind))
		b = appendBool(binary.AppendUvarint(b, m.num), m.named)
	}
	b = binary.AppendUvarint(b, uint64(len(s.writes)))
	for i := range s.writes {
		b = s.writes[i].append(b)
	}
	b = binary.AppendUvarint(b, uint64(len(s.displaced)))
	for _, d := range s.displaced {
		b = appendStamp(appendString(b, d.path), d.was)
		b = appendBool(appendBool(b, d.gone), d.sole)
		b = binary.AppendUvarint(binary.AppendUvarint(b, d.takes), uint64(d.write+1))
	}
	b = binary.AppendUvarint(b, uint64(len(s.places)))
	for _, p := range s.places {
		b = appendString(appendString(b, p.path), p.from)
		b = binary.AppendUvarint(appendBool(append(b, byte(p.kind)), p.made), p.ino)
	}
	b = binary.AppendUvarint(b, uint64(len(s.links)))
	for _, l := range s.links {
		b = appendString(appendString(b, l.path), l.to)
		b = binary.AppendUvarint(b, l.num)
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(l.made+1)), l.ino)
	}
	b = binary.AppendUvarint(b, uint64(len(s.times)))
	for _, t := range s.times {
		b = binary.AppendUvarint(binary.AppendUvarint(appendString(b, t.path), t.mtime), t.atime)
	}
	return b
}

func (w *write) append(b []byte) []byte {
	b = appendString(appendStamp(appendString(b, w.path), w.was), w.final)
	b = appendBool(appendBool(appendBool(b, w.nameless), w.elsewhere), w.written)
	for _, v := range []uint64{uint64(w.mode), w.mtime, w.atime, w.size, uint64(len(w.pieces))} {
		b = binary.AppendUvarint(b, v)
	}
	for _, p := range w.pieces {
		b = append(binary.AppendUvarint(b, p.size), p.form)
		if p.form == formData {
			b = append(binary.AppendUvarint(b, p.off), p.check[:]...)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(w.chunks)))
	for _, c := range w.chunks {
		b = append(binary.AppendUvarint(b, c.Size), c.ID[:]...)
	}
	return b
}

// decodeSteps reads steps back, of a plan whose data ends at dataEnd.
func decodeSteps(b []byte, dataEnd uint64) (*steps, error) {
	r := &reader{b: b}
	s := &steps{}
	s.made = list(r, 4, func() made {
		return made{ino: r.uint(), kind: tree.Kind(r.u8()), num: r.uint(), named: r.bool()}
	})
	s.writes = list(r, 16, func() write { return r.write(dataEnd) })
	s.displaced = list(r, 10, func() displacement {
		return displacement{path: r.path(), was: r.stamp(), gone: r.bool(), sole: r.bool(), takes: r.uint(), write: r.index(len(s.writes))}
	})
	s.places = list(r, 5, func() placement {
		return placement{path: r.path(), from: r.staged(s), kind: tree.Kind(r.u8()), made: r.bool(), ino: r.uint()}
	})
	s.links = list(r, 5, func() link {
		return link{path: r.path(), to: r.path(), num: r.uint(), made: r.index(len(s.made)), ino: r.uint()}
	})
	s.times = list(r, 3, func() dirTimes { return dirTimes{path: r.string(), mtime: r.uint(), atime: r.uint()} })
	for i := range s.times {
		if !tree.ValidPath(s.times[i].path) {
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
func (r *reader) staged(s *steps) string {
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
	if name != newName(i) && name != oldName(i) || name[0] == 'n' && i >= len(s.made) || name[0] == 'o' && i >= len(s.displaced) {
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

func (r *reader) stamp() stamp {
	return stamp{kind: tree.Kind(r.u8()), ino: r.uint(), size: r.uint(), mtime: r.uint(), ctime: r.uint()}
}

func (r *reader) id() (id tree.ID) {
	copy(id[:], r.take(len(id)))
	return id
}

func (r *reader) write(dataEnd uint64) write {
	w := write{path: r.path(), was: r.stamp(), final: r.string(), nameless: r.bool(), elsewhere: r.bool(), written: r.bool(), mode: uint32(r.uint()) & 0o777, mtime: r.uint(), atime: r.uint(), size: r.uint()}
	if w.nameless != (w.final == "") || !tree.ValidPath(w.final) || w.size > tree.MaxFile {
		r.fail()
	}
	left := w.size
	w.pieces = list(r, 2, func() piece {
		p := piece{size: r.uint(), form: r.u8()}
		if p.form == formData {
			p.off, p.check = r.uint(), r.id()
			if p.size > tree.MaxChunk || p.off > dataEnd || p.size > dataEnd-p.off {
				r.fail()
			}
		}
		if p.form >= numForms || p.size > left {
			r.fail()
		}
		left -= min(left, p.size)
		return p
	})
	if w.written && left != 0 {
		r.fail()
	}
	w.chunks = list(r, 33, func() tree.Chunk { return tree.Chunk{Size: r.uint(), ID: r.id()} })
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
