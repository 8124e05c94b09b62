package scan

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// A record is an image in the cache. All numbers are little-endian. It is
//
//	checksum    u32, CRC-32C of the rest
//	self        a name record, of which the name says nothing
//	id          32 bytes; u32 number of nodes, if there are several, and their ids
//	names       u32 length, the names one after another
//	recs        u32 number, the name records
//	targets     u32 number, of each u32 length and the bytes
//	contents    u32 number, of each u32 place of its name, u8 1 if it is racy, u32 number of chunks, the chunks
//
// with name records of u32 place of the name, u64 size, mtime, ctime and ino, u32 mode, links and ext, u8 length of the
// name, kind, type and flags; and chunks of u64 size and a 32-byte id.

const (
	recSize   = 4 + 4*8 + 3*4 + 4
	chunkSize = 8 + 32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errDamaged = errors.New("damaged record")

func appendRec(b []byte, r *rec) []byte {
	b = binary.LittleEndian.AppendUint32(b, r.name)
	for _, v := range [...]uint64{r.size, r.mtime, r.ctime, r.ino} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	for _, v := range [...]uint32{r.mode, r.nlink, r.ext} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return append(b, r.len, byte(r.kind), r.typ, byte(r.flags))
}

func decodeRec(b []byte) rec {
	return rec{
		name: binary.LittleEndian.Uint32(b), size: binary.LittleEndian.Uint64(b[4:]), mtime: binary.LittleEndian.Uint64(b[12:]),
		ctime: binary.LittleEndian.Uint64(b[20:]), ino: binary.LittleEndian.Uint64(b[28:]), mode: binary.LittleEndian.Uint32(b[36:]),
		nlink: binary.LittleEndian.Uint32(b[40:]), ext: binary.LittleEndian.Uint32(b[44:]),
		len: b[48], kind: tree.Kind(b[49]), typ: b[50], flags: tree.Flags(b[51]),
	}
}

// appendTo appends the record of an image.
func (m *image) appendTo(b []byte) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = appendRec(b, &m.self)
	b = append(b, m.id[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.nodes)))
	for i := range m.nodes {
		b = append(b, m.nodes[i][:]...)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.names)))
	b = append(b, m.names...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.recs)))
	for i := range m.recs {
		b = appendRec(b, &m.recs[i])
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.targets)))
	for _, s := range m.targets {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...)
	}
	b = m.appendContents(b)
	binary.LittleEndian.PutUint32(b[start:], crc32.Checksum(b[start+4:], castagnoli))
	return b
}

func (m *image) appendContents(b []byte) []byte {
	count := 0
	for _, c := range m.contents {
		if c != nil {
			count++
		}
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(count))
	for i, c := range m.contents {
		if c == nil {
			continue
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(i))
		racy := byte(0)
		if c.racy {
			racy = 1
		}
		b = append(b, racy)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(c.chunks)))
		for _, x := range c.chunks {
			b = append(binary.LittleEndian.AppendUint64(b, x.Size), x.ID[:]...)
		}
	}
	return b
}

// fields takes the parts of a record off its front.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) take(n int) []byte {
	if f.bad || n < 0 || n > len(f.b) {
		f.bad = true
		return nil
	}
	b := f.b[:n]
	f.b = f.b[n:]
	return b
}

// count reads a number of things that take at least size bytes each.
func (f *fields) count(size int) int {
	b := f.take(4)
	if f.bad {
		return 0
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n < 0 || n > len(f.b)/size {
		f.bad = true
		return 0
	}
	return n
}

// decodeImage reads a record.
func decodeImage(b []byte) (*image, error) {
	f := &fields{b: b}
	sum := f.take(4)
	if f.bad || binary.LittleEndian.Uint32(sum) != crc32.Checksum(f.b, castagnoli) {
		return nil, errDamaged
	}
	m := &image{}
	if self := f.take(recSize); !f.bad {
		m.self = decodeRec(self)
	}
	copy(m.id[:], f.take(len(m.id)))
	for range f.count(len(m.id)) {
		m.nodes = append(m.nodes, tree.ID(f.take(len(m.id))))
	}
	m.names = string(f.take(f.count(1)))
	m.recs = make([]rec, f.count(recSize))
	for i := range m.recs {
		m.recs[i] = decodeRec(f.take(recSize))
	}
	if n := f.count(4); n > 0 {
		m.targets = make([]string, n)
		for i := range m.targets {
			m.targets[i] = string(f.take(f.count(1)))
		}
	}
	if f.bad || !m.sound() {
		return nil, errDamaged
	}
	f.contents(m)
	if f.bad || len(f.b) > 0 {
		return nil, errDamaged
	}
	return m, nil
}

func (f *fields) contents(m *image) {
	n := f.count(9)
	if n == 0 {
		return
	}
	m.contents = make([]*content, len(m.recs))
	slab := make([]content, n) // one allocation for all
	room := make([]tree.Chunk, 0, len(f.b)/chunkSize)
	last := -1
	for i := range slab {
		head := f.take(5)
		count := f.count(chunkSize)
		if f.bad {
			return
		}
		at := int(binary.LittleEndian.Uint32(head))
		if at <= last || at >= len(m.recs) || m.recs[at].kind != tree.KindFile || head[4] > 1 {
			f.bad = true
			return
		}
		last = at
		c := &slab[i]
		c.racy = head[4] == 1
		from := len(room)
		sum := uint64(0)
		for range count {
			b := f.take(chunkSize)
			x := tree.Chunk{Size: binary.LittleEndian.Uint64(b), ID: tree.ID(b[8:])}
			if sum += x.Size; x.Size == 0 || x.Size > tree.MaxFile || sum > m.recs[at].size {
				f.bad = true
				return
			}
			room = append(room, x)
		}
		if sum != m.recs[at].size {
			f.bad = true
			return
		}
		if c.chunks = room[from:len(room):len(room)]; count > tree.MaxInline {
			c.list = tree.IDOf(tree.EncodeList(c.chunks))
		}
		m.racy = m.racy || c.racy
		m.contents[at] = c
	}
}

// sound checks that what a record says can be used.
func (m *image) sound() bool {
	if m.id == (tree.ID{}) || m.self.kind != tree.KindDir {
		return false
	}
	dirs, links := uint32(0), uint32(0)
	for i := range m.recs {
		r := &m.recs[i]
		if uint64(r.name)+uint64(r.len) > uint64(len(m.names)) || !tree.ValidName(m.name(i)) || i > 0 && m.name(i) <= m.name(i-1) ||
			r.ino == 0 || r.ino >= tree.FirstNew || r.size > tree.MaxFile && r.kind == tree.KindFile {
			return false
		}
		switch r.kind {
		case tree.KindDir:
			if r.ext != dirs {
				return false
			}
			dirs++
		case tree.KindSymlink:
			if r.ext != links || int(links) >= len(m.targets) || m.targets[links] == "" || len(m.targets[links]) > tree.MaxTarget {
				return false
			}
			links++
		case tree.KindFile, tree.KindOther:
		default:
			return false
		}
		m.multi = m.multi || r.nlink > 1 && r.kind != tree.KindDir
	}
	return int(links) == len(m.targets)
}
