// Package delta is the format in which memory pages travel: what must be written over one state of a linear memory
// to have the next one. Encoder and decoder stream; neither holds more than a block of pages.
//
// All numbers are little-endian, uvarint is that of encoding/binary. A stream is
//
//	magic       "CCD1"
//	base        32 bytes, id of the state that it leads from
//	memory      u64, size of the memory afterwards, a multiple of 64 KiB
//	pages       u32, how many pages of 4 KiB follow
//	records     until all pages are there
//	digest      32 bytes
//
// and a record, which holds a run of adjacent pages, is
//
//	gap         uvarint, pages left out since the end of the run before, or since page 0
//	encoding    u8
//	run         uvarint, number of pages, at least 1
//	payload     by encoding:
//	  0 zero      nothing; the pages are zeros
//	  1 whole     the pages; at most 16
//	  2 s2        uvarint length, an S2 block of the pages; at most 16
//	  3 diff      8 bytes, checksum of the page in the base state; uvarint length; changed ranges, each of them
//	              uvarint bytes kept, uvarint bytes replaced, the new bytes; one page
//	  4 left      reserved: the pages stay on the node; refused
//
// So pages ascend, and none comes twice. The digest is the SHA-256 of what the stream says, however it is encoded:
// the header without magic, then for each page its number (u32) and a byte 0 for a page of zeros, or a byte 1 and the contents.
// It guards against faults; whoever sends a delta can make any content and its digest.
package delta

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"hash/crc32"
)

// PageSize is the unit of deltas, whatever the page size of the machine.
const PageSize = 4096

const (
	magic      = "CCD1"
	headerSize = 4 + 32 + 8 + 4
	wasmPage   = 64 << 10
	maxMemory  = 1 << 32
	maxRun     = 16 // pages in a record with a payload
	maxDiff    = PageSize / 2
	blockSize  = maxRun * PageSize
)

// Errors of decoding, to be tested with errors.Is.
var (
	ErrFormat      = errors.New("malformed delta")
	ErrLimit       = errors.New("delta above the limit")
	ErrBase        = errors.New("delta against another page than the one held")
	ErrDigest      = errors.New("delta does not have its digest")
	ErrUnsupported = errors.New("page encoding not supported")
)

// ID names a state of a process.
type ID [32]byte

// String returns the first eight hex digits, enough for people.
func (id ID) String() string { return hex.EncodeToString(id[:4]) }

// IsZero reports whether id is that of no state.
func (id ID) IsZero() bool { return id == ID{} }

// NextID derives the id of the state that follows from parent by what parts say: a delta's digest, globals and so
// on, always in the same order. Parts are told apart by their lengths.
func NextID(parent ID, parts ...[]byte) ID {
	h := sha256.New()
	h.Write([]byte("clonecloud state 1\x00"))
	h.Write(parent[:])
	for _, p := range parts {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(p))))
		h.Write(p)
	}
	return ID(h.Sum(nil))
}

// Header is what a stream begins with.
type Header struct {
	Base        ID
	MemoryBytes uint64
	Pages       uint32 // how many follow
}

func (h *Header) appendTo(b []byte) []byte {
	b = append(b, h.Base[:]...)
	b = binary.LittleEndian.AppendUint64(b, h.MemoryBytes)
	return binary.LittleEndian.AppendUint32(b, h.Pages)
}

// check reports whether any memory can have these sizes.
func (h *Header) check() error {
	if h.MemoryBytes > maxMemory || h.MemoryBytes%wasmPage != 0 || uint64(h.Pages) > h.MemoryBytes/PageSize {
		return ErrFormat
	}
	return nil
}

// Encoding is how pages are written.
type Encoding uint8

// The encodings. The numbers travel: never renumber.
const (
	Zero Encoding = iota
	Whole
	S2
	Diff
	Left
	NumEncodings
)

func (e Encoding) String() string {
	if e < NumEncodings {
		return [NumEncodings]string{"zero", "whole", "s2", "diff", "left"}[e]
	}
	return "unknown"
}

// digest accumulates the digest of a stream.
type digest struct {
	hash.Hash
	head [5]byte
}

func newDigest(h *Header) *digest {
	d := &digest{Hash: sha256.New()}
	d.Write(h.appendTo(nil))
	return d
}

// page adds a page, nil for one of zeros.
func (d *digest) page(n uint32, data []byte) {
	binary.LittleEndian.PutUint32(d.head[:], n)
	d.head[4] = 0
	if data != nil {
		d.head[4] = 1
	}
	d.Write(d.head[:])
	d.Write(data)
}

func (d *digest) sum() (s [32]byte) {
	d.Sum(s[:0])
	return s
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum names the contents of a base page. Two CRCs, because machines compute both in hardware; the digest at
// the end is what is strong.
func checksum(page []byte) uint64 {
	return uint64(crc32.Checksum(page, castagnoli))<<32 | uint64(crc32.ChecksumIEEE(page))
}

// IsZero reports whether a page, or several, hold only zeros.
func IsZero(p []byte) bool {
	for ; len(p) >= 64; p = p[64:] {
		q := p[:64]
		v := binary.LittleEndian.Uint64(q) | binary.LittleEndian.Uint64(q[8:]) |
			binary.LittleEndian.Uint64(q[16:]) | binary.LittleEndian.Uint64(q[24:]) |
			binary.LittleEndian.Uint64(q[32:]) | binary.LittleEndian.Uint64(q[40:]) |
			binary.LittleEndian.Uint64(q[48:]) | binary.LittleEndian.Uint64(q[56:])
		if v != 0 {
			return false
		}
	}
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
