package delta

import (
	"encoding/binary"
	"fmt"
	"io"
	"iter"

	"github.com/klauspost/compress/s2"
)

// Options say how to encode. The zero value sends pages whole, but for those of zeros.
type Options struct {
	// Base returns a page as it is in the base state on both sides, or nil if the sender has no copy of it.
	Base func(page uint32) []byte
	// Compress tries S2, and uses it where it saves at least an eighth.
	Compress bool
}

// Stats says what a stream consists of.
type Stats struct {
	Pages [NumEncodings]uint32 // pages by encoding
	Bytes uint64               // length of the stream
}

// Encode writes the stream of the given pages of mem, which ascend, are h.Pages in number and must not change
// meanwhile. len(mem) must be h.MemoryBytes. The digest is returned for NextID. Errors are those of w, or name the
// caller's fault.
func Encode(w io.Writer, h Header, mem []byte, pages iter.Seq[uint32], opt Options) (Stats, [32]byte, error) {
	e := encoder{w: w, mem: mem, opt: opt}
	if err := h.check(); err != nil || uint64(len(mem)) != h.MemoryBytes {
		return e.stats, [32]byte{}, fmt.Errorf("encode delta: header with %d pages of %d bytes, memory of %d bytes",
			h.Pages, h.MemoryBytes, len(mem))
	}
	e.digest = newDigest(&h)
	e.write(h.appendTo([]byte(magic)))
	limit := uint64(len(mem) / PageSize)
	var count, next uint64
	for p := range pages {
		if uint64(p) < next || uint64(p) >= limit {
			return e.stats, [32]byte{}, fmt.Errorf("encode delta: page %d after page %d of a memory of %d pages", p, int64(next)-1, limit)
		}
		next = uint64(p) + 1
		count++
		if e.page(p); e.err != nil {
			break
		}
	}
	e.flush()
	if e.err == nil && count != uint64(h.Pages) {
		e.err = fmt.Errorf("encode delta: %d pages where %d are announced", count, h.Pages)
	}
	sum := e.digest.sum()
	e.write(sum[:])
	return e.stats, sum, e.err
}

type encoder struct {
	w      io.Writer
	mem    []byte
	opt    Options
	digest *digest
	stats  Stats
	err    error

	// The run being gathered: pages first to first+run, of encoding Zero or Whole.
	first, run uint32
	kind       Encoding
	done       uint32 // end of the run written last

	diff  []byte
	block []byte
	head  []byte
	skip  int // runs not to compress, because the ones before did not
	fails int
}

func (e *encoder) write(b []byte) {
	if e.err == nil {
		var n int
		n, e.err = e.w.Write(b)
		e.stats.Bytes += uint64(n)
	}
}

func (e *encoder) at(p, n uint32) []byte {
	return e.mem[uint64(p)*PageSize : uint64(p+n)*PageSize : uint64(p+n)*PageSize]
}

func (e *encoder) page(p uint32) {
	data := e.at(p, 1)
	if IsZero(data) {
		e.digest.page(p, nil)
		e.gather(p, Zero)
		return
	}
	e.digest.page(p, data)
	if e.opt.Base != nil {
		if base := e.opt.Base(p); len(base) == PageSize && alike(base, data) && e.writeDiff(p, base, data) {
			return
		}
	}
	e.gather(p, Whole)
}

func (e *encoder) gather(p uint32, kind Encoding) {
	if e.run > 0 && (p != e.first+e.run || kind != e.kind || kind == Whole && e.run == maxRun) {
		e.flush()
	}
	if e.run == 0 {
		e.first, e.kind = p, kind
	}
	e.run++
}

// record begins a record in head.
func (e *encoder) record(first, run uint32, kind Encoding) {
	e.head = binary.AppendUvarint(e.head[:0], uint64(first-e.done))
	e.head = append(e.head, byte(kind))
	e.head = binary.AppendUvarint(e.head, uint64(run))
	e.done = first + run
	e.stats.Pages[kind] += run
}

func (e *encoder) flush() {
	if e.run == 0 {
		return
	}
	first, run := e.first, e.run
	e.run = 0
	if e.kind == Zero {
		e.record(first, run, Zero)
		e.write(e.head)
		return
	}
	data := e.at(first, run)
	if e.opt.Compress {
		if c := e.compress(data); c != nil {
			e.record(first, run, S2)
			e.head = binary.AppendUvarint(e.head, uint64(len(c)))
			e.write(e.head)
			e.write(c)
			return
		}
	}
	e.record(first, run, Whole)
	e.write(e.head)
	e.write(data)
}

// compress returns data as an S2 block if that pays. Where it has not paid several times in a row it is tried less
// often: pictures and random bytes come in large pieces.
func (e *encoder) compress(data []byte) []byte {
	if e.skip > 0 {
		e.skip--
		return nil
	}
	if e.block == nil {
		e.block = make([]byte, s2.MaxEncodedLen(blockSize))
	}
	c := s2.Encode(e.block, data)
	if len(c) <= len(data)-len(data)/8 {
		e.fails = 0
		return c
	}
	e.fails = min(e.fails+1, 8)
	if e.fails > 2 {
		e.skip = e.fails - 2
	}
	return nil
}

func (e *encoder) writeDiff(p uint32, base, data []byte) bool {
	var ok bool
	if e.diff, ok = appendDiff(e.diff[:0], base, data, maxDiff); !ok {
		return false
	}
	e.flush()
	e.record(p, 1, Diff)
	e.head = binary.LittleEndian.AppendUint64(e.head, checksum(base))
	e.head = binary.AppendUvarint(e.head, uint64(len(e.diff)))
	e.write(e.head)
	e.write(e.diff)
	return true
}
