package delta

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/s2"
)

// Limits bound what a decoder accepts.
type Limits struct {
	// MaxMemory is the largest memory in bytes; 0: 4 GiB.
	MaxMemory uint64
	// MaxPages is the largest number of pages; 0: as many as the memory has.
	MaxPages uint32
	// Base returns a page of the base state, as Options.Base does; nil or a nil page: differences are refused.
	// It may be the page that the caller writes to: its bytes are not used after Next has returned.
	Base func(page uint32) []byte
}

// Decoder reads one stream.
type Decoder struct {
	r      *bufio.Reader
	lim    Limits
	header Header
	digest *digest
	err    error

	left uint32 // pages still to come, those of this run included
	next uint32 // first page that the next record may hold; within a run the page that comes next
	kind Encoding
	run  uint32 // pages still to come of this run

	block  []byte // contents of a run
	packed []byte // its S2 form, or a difference
	used   int    // bytes of block handed out
	stats  Stats
}

var zeroPage [PageSize]byte

// NewDecoder reads the header. r must end where the stream ends.
func NewDecoder(r io.Reader, lim Limits) (*Decoder, error) {
	if lim.MaxMemory == 0 {
		lim.MaxMemory = maxMemory
	}
	if lim.MaxPages == 0 {
		lim.MaxPages = maxMemory / PageSize
	}
	d := &Decoder{r: bufio.NewReaderSize(r, 4096), lim: lim}
	var b [headerSize]byte
	if err := d.full(b[:]); err != nil {
		return nil, fmt.Errorf("read delta header: %w", err)
	}
	if string(b[:4]) != magic {
		return nil, fmt.Errorf("read delta header: not a delta: %w", ErrFormat)
	}
	d.header = Header{
		Base:        ID(b[4:36]),
		MemoryBytes: binary.LittleEndian.Uint64(b[36:]),
		Pages:       binary.LittleEndian.Uint32(b[44:]),
	}
	if err := d.header.check(); err != nil {
		return nil, fmt.Errorf("read delta header: %d pages of %d bytes: %w", d.header.Pages, d.header.MemoryBytes, err)
	}
	if d.header.MemoryBytes > lim.MaxMemory || d.header.Pages > lim.MaxPages {
		return nil, fmt.Errorf("read delta header: %d pages of %d bytes: %w", d.header.Pages, d.header.MemoryBytes, ErrLimit)
	}
	d.left = d.header.Pages
	d.digest = newDigest(&d.header)
	return d, nil
}

// Header returns the header, which the caller compares with what it expects.
func (d *Decoder) Header() Header { return d.header }

// Stats says what has been read so far; Bytes is not counted.
func (d *Decoder) Stats() Stats { return d.stats }

// Digest returns the digest; it has been checked once Next has returned io.EOF.
func (d *Decoder) Digest() [32]byte { return d.digest.sum() }

// Next returns the next page and its contents, PageSize bytes that are valid until the next call. io.EOF comes after
// the last page, once the digest is found right and nothing follows it: before that, nothing that was read can be trusted. Any
// other error is final.
func (d *Decoder) Next() (page uint32, data []byte, err error) {
	if d.err != nil {
		return 0, nil, d.err
	}
	page, data, err = d.page()
	if err != nil && err != io.EOF && errors.Is(err, io.EOF) {
		err = fmt.Errorf("%v", err) // of the reader's; only the end is io.EOF, even to errors.Is
	}
	d.err = err
	return page, data, err
}

func (d *Decoder) page() (uint32, []byte, error) {
	if d.left == 0 {
		return 0, nil, d.finish()
	}
	if d.run == 0 {
		if err := d.record(); err != nil {
			return 0, nil, fmt.Errorf("read page record after page %d: %w", int64(d.next)-1, err)
		}
	}
	p, data := d.next, zeroPage[:]
	if d.kind != Zero {
		data = d.block[d.used : d.used+PageSize]
		d.used += PageSize
	}
	if d.kind == Zero || IsZero(data) {
		d.digest.page(p, nil)
	} else {
		d.digest.page(p, data)
	}
	d.next++
	d.run--
	d.left--
	return p, data, nil
}

func (d *Decoder) finish() error {
	want := d.digest.sum()
	var got [32]byte
	if err := d.full(got[:]); err != nil {
		return fmt.Errorf("read delta digest: %w", err)
	}
	if got != want {
		return fmt.Errorf("check delta: %w", ErrDigest)
	}
	switch _, err := d.r.ReadByte(); {
	case err == nil:
		return fmt.Errorf("end delta: bytes after the digest: %w", ErrFormat)
	case err != io.EOF:
		return fmt.Errorf("end delta: %w", err)
	}
	return io.EOF
}

// full reads all of b; an early end is malformed.
func (d *Decoder) full(b []byte) error {
	_, err := io.ReadFull(d.r, b)
	return early(err)
}

func early(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("stream ends early: %w", ErrFormat)
	}
	return err
}

func (d *Decoder) uvarint(limit uint64, what string) (uint64, error) {
	var v uint64
	for shift := 0; ; shift += 7 {
		b, err := d.r.ReadByte()
		if err != nil {
			return 0, early(err)
		}
		if shift > 28 { // no number of the format needs more than five bytes
			return 0, fmt.Errorf("%s too long: %w", what, ErrFormat)
		}
		if v |= uint64(b&0x7f) << shift; b&0x80 == 0 {
			break
		}
	}
	if v > limit {
		return 0, fmt.Errorf("%s %d, limit %d: %w", what, v, limit, ErrFormat)
	}
	return v, nil
}

func (d *Decoder) record() error {
	room := uint32(d.header.MemoryBytes/PageSize) - d.next
	if room == 0 {
		return fmt.Errorf("memory ends: %w", ErrFormat)
	}
	gap, err := d.uvarint(uint64(room-1), "gap")
	if err != nil {
		return err
	}
	k, err := d.r.ReadByte()
	if err != nil {
		return early(err)
	}
	d.kind = Encoding(k)
	limit := uint64(min(room-uint32(gap), d.left))
	switch d.kind {
	case Zero:
	case Whole, S2:
		limit = min(limit, maxRun)
	case Diff:
		limit = 1
	case Left:
		return fmt.Errorf("page left on the node: %w", ErrUnsupported)
	default:
		return fmt.Errorf("encoding %d: %w", k, ErrFormat)
	}
	run, err := d.uvarint(limit, "run of pages")
	if err != nil {
		return err
	}
	if run == 0 {
		return fmt.Errorf("run of no page: %w", ErrFormat)
	}
	d.next += uint32(gap)
	d.run = uint32(run)
	d.used = 0
	d.stats.Pages[d.kind] += d.run
	if d.kind != Zero && d.block == nil {
		d.block = make([]byte, blockSize)
	}
	switch d.kind {
	case Whole:
		return d.full(d.block[:run*PageSize])
	case S2:
		return d.unpack(int(run) * PageSize)
	case Diff:
		return d.patch()
	}
	return nil
}

// payload reads a payload with its length.
func (d *Decoder) payload(limit int) ([]byte, error) {
	n, err := d.uvarint(uint64(limit), "payload of length")
	if err != nil {
		return nil, err
	}
	if d.packed == nil {
		d.packed = make([]byte, blockSize)
	}
	return d.packed[:n], d.full(d.packed[:n])
}

func (d *Decoder) unpack(size int) error {
	p, err := d.payload(size) // longer would not have paid
	if err != nil {
		return err
	}
	if n, err := s2.DecodedLen(p); err != nil || n != size {
		return fmt.Errorf("s2 block of %d bytes for %d: %w", n, size, ErrFormat)
	}
	if _, err := s2.Decode(d.block[:size], p); err != nil {
		return fmt.Errorf("s2 block: %w", errors.Join(ErrFormat, err))
	}
	return nil
}

func (d *Decoder) patch() error {
	sum := d.block[:8] // scratch, and not on the heap
	if err := d.full(sum); err != nil {
		return err
	}
	want := binary.LittleEndian.Uint64(sum)
	diff, err := d.payload(maxDiff)
	if err != nil {
		return err
	}
	var base []byte
	if d.lim.Base != nil {
		base = d.lim.Base(d.next)
	}
	if len(base) != PageSize {
		return fmt.Errorf("page %d: no base: %w", d.next, ErrBase)
	}
	if checksum(base) != want {
		return fmt.Errorf("page %d: %w", d.next, ErrBase)
	}
	copy(d.block, base)
	return applyDiff(d.block[:PageSize], diff)
}
