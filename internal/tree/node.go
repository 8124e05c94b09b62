package tree

import (
	"encoding/binary"
	"fmt"
)

// Cutting of directories. The hash chooses one name in leafEvery once a leaf has leafMin entries: 256 on average.
const (
	leafAlone = 512 // entries of a directory that is not cut
	leafMin   = 64
	leafMax   = 1024
	leafEvery = 192
)

// Node is a decoded directory or a part of one: entries, or the leaves that hold them. An empty directory has neither.
type Node struct {
	Entries []Entry // by name
	Leaves  []Leaf  // by name
}

// Leaf is a place in an index: the entries from First on, up to the next leaf.
type Leaf struct {
	First string
	Count uint32
	ID    ID
}

// Check tells whether n, which was found under l.ID, is the leaf that the index speaks of. next is the first name of
// the leaf behind it, or empty.
func (l *Leaf) Check(n *Node, next string) error {
	switch {
	case len(n.Leaves) > 0 || len(n.Entries) != int(l.Count) || l.Count == 0:
		return fmt.Errorf("%w: leaf %v has not the %d entries of its index", ErrFormat, l.ID, l.Count)
	case n.Entries[0].Name != l.First || next != "" && n.Entries[l.Count-1].Name >= next:
		return fmt.Errorf("%w: leaf %v does not hold the names of its index", ErrFormat, l.ID)
	}
	return nil
}

// EncodeDir encodes a directory. Entries must be sorted by name. The object of the root is the last.
func EncodeDir(entries []Entry) (root ID, objects []Object, err error) {
	for i := range entries {
		e := &entries[i]
		if err := e.validate(); err != nil {
			return ID{}, nil, fmt.Errorf("encode directory: entry %q: %w", e.Name, err)
		}
		if e.Name == "" || i > 0 && e.Name <= entries[i-1].Name {
			return ID{}, nil, fmt.Errorf("encode directory: entry %q is out of order", e.Name)
		}
	}
	if len(entries) <= leafAlone {
		o := leafObject(entries)
		return o.ID, []Object{o}, nil
	}
	var index []byte
	for len(entries) > 0 {
		n := leafEnd(entries)
		o := leafObject(entries[:n])
		objects = append(objects, o)
		index = appendString(index, entries[0].Name)
		index = binary.AppendUvarint(index, uint64(n))
		index = append(index, o.ID[:]...)
		entries = entries[n:]
	}
	if len(objects) == 1 {
		return objects[0].ID, objects, nil
	}
	b := binary.AppendUvarint([]byte{version, sortIndex}, uint64(len(objects)))
	b = append(b, index...)
	if len(b) > MaxObject {
		return ID{}, nil, fmt.Errorf("encode directory: index of %d leaves: %w", len(objects), ErrTooLarge)
	}
	o := Object{ID: IDOf(b), Data: b}
	return o.ID, append(objects, o), nil
}

// leafEnd returns how many of the entries the first leaf holds.
func leafEnd(entries []Entry) int {
	for i := leafMin; i < min(len(entries), leafMax); i++ {
		if startsLeaf(entries[i].Name) {
			return i
		}
	}
	return min(len(entries), leafMax)
}

// startsLeaf is FNV-1a with a finish that mixes the high bits.
func startsLeaf(name string) bool {
	h := uint64(14695981039346656037)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	h ^= h >> 32
	h *= 0x9e3779b97f4a7c15
	return h>>32%leafEvery == 0
}

func leafObject(entries []Entry) Object {
	size := 2 + binary.MaxVarintLen64
	for i := range entries {
		e := &entries[i]
		size += 64 + len(e.Name) + len(e.Target) + 40*len(e.Chunks)
	}
	b := append(make([]byte, 0, size), version, sortLeaf)
	b = binary.AppendUvarint(b, uint64(len(entries)))
	for i := range entries {
		b = entries[i].append(b)
	}
	return Object{ID: IDOf(b), Data: b}
}

// DecodeNode reads the node of a directory, or a leaf of it.
func DecodeNode(b []byte) (*Node, error) {
	if len(b) > MaxObject {
		return nil, fmt.Errorf("read node: %w: %d bytes", ErrFormat, len(b))
	}
	r := &reader{text: string(b)}
	r.version(0)
	n := &Node{}
	switch sort := r.u8("sort", 255); {
	case r.err != nil:
	case sort == sortLeaf:
		r.leaf(n)
	case sort == sortIndex:
		r.index(n)
	default:
		r.fail("sort is %d, not that of a node", sort)
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("read node: %w", err)
	}
	return n, nil
}

func (r *reader) leaf(n *Node) {
	count := r.count("entries", minEntry)
	if count > leafMax {
		r.fail("%d entries in a leaf", count)
	}
	if r.err != nil || count == 0 {
		return
	}
	n.Entries = make([]Entry, 0, count)
	last := ""
	for range count {
		e := r.entry()
		if r.err == nil && e.Name <= last {
			r.fail("name %q is out of order", e.Name)
		}
		if r.err != nil {
			return
		}
		last = e.Name
		n.Entries = append(n.Entries, e)
	}
}

func (r *reader) index(n *Node) {
	count := r.count("leaves", 3+len(ID{}))
	if count < 2 {
		r.fail("index of %d leaves", count)
	}
	if r.err != nil {
		return
	}
	n.Leaves = make([]Leaf, 0, count)
	last := ""
	for range count {
		l := Leaf{
			First: r.string("first name", MaxName),
			Count: uint32(r.uint("number of entries", leafMax)),
			ID:    r.id("id of a leaf"),
		}
		if r.err == nil && (!ValidName(l.First) || l.First <= last || l.Count == 0) {
			r.fail("leaf of %d entries from %q on is out of order", l.Count, l.First)
		}
		if r.err != nil {
			return
		}
		last = l.First
		n.Leaves = append(n.Leaves, l)
	}
}

// EncodeList encodes the chunks of a file.
func EncodeList(chunks []Chunk) []byte {
	b := make([]byte, 0, 12+40*len(chunks))
	b = binary.AppendUvarint(append(b, version, sortList), uint64(len(chunks)))
	for _, c := range chunks {
		b = appendChunk(b, c)
	}
	return b
}

// DecodeList reads the chunks of a file.
func DecodeList(b []byte) ([]Chunk, error) {
	if len(b) > MaxObject {
		return nil, fmt.Errorf("read list of chunks: %w: %d bytes", ErrFormat, len(b))
	}
	r := &reader{text: string(b)}
	r.version(sortList)
	count := r.count("chunks", 2)
	if count > MaxList {
		r.fail("%d chunks", count)
	}
	if r.err != nil {
		return nil, fmt.Errorf("read list of chunks: %w", r.err)
	}
	chunks := make([]Chunk, 0, count)
	sum := uint64(0)
	for range count {
		c := r.chunk()
		if sum += c.Size; sum > MaxFile {
			r.fail("chunks of more than %d bytes", uint64(MaxFile))
		}
		if r.err != nil {
			break
		}
		chunks = append(chunks, c)
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("read list of chunks: %w", err)
	}
	return chunks, nil
}
