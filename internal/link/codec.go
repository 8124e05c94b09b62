package link

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// codec says how the payload of a record is compressed. The numbers travel: never renumber.
type codec uint8

const (
	codecNone codec = iota
	codecS2
	codecZstd
	numCodecs
)

// maxRaw is the longest record before compression.
const maxRaw = 256 << 10

var errCodec = errors.New("compressed bytes do not give the length announced")

// Encoders and decoders keep nothing between records, so that all links share them: as many as there are processors,
// made when they are needed first.
var (
	zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(maxRaw),
			zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic("BUG: make zstd encoder: " + err.Error())
		}
		return e
	})
	zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(maxRaw), zstd.WithDecoderMaxWindow(maxRaw), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic("BUG: make zstd decoder: " + err.Error())
		}
		return d
	})
)

// encode appends src, compressed, to dst, which should have room for it.
func (k codec) encode(dst, src []byte) []byte {
	switch k {
	case codecS2:
		room := dst[len(dst):cap(dst)]
		out := s2.Encode(room, src)
		if len(out) > 0 && len(room) > 0 && &out[0] == &room[0] {
			return dst[:len(dst)+len(out)]
		}
		return append(dst, out...)
	case codecZstd:
		return zstdEncoder().EncodeAll(src, dst)
	}
	panic(fmt.Sprintf("BUG: encode with codec %d", k))
}

// decode returns the raw bytes of payload, in memory of their own. Nothing is made larger than raw, which has been
// checked.
func (k codec) decode(payload []byte, raw int) ([]byte, error) {
	var out []byte
	var err error
	switch k {
	case codecS2:
		if n, err := s2.DecodedLen(payload); err != nil || n != raw {
			return nil, errCodec
		}
		out, err = s2.Decode(make([]byte, raw), payload)
	case codecZstd:
		out, err = zstdDecoder().DecodeAll(payload, make([]byte, 0, raw))
	default:
		panic(fmt.Sprintf("BUG: decode with codec %d", k))
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("decompress record: %w", err)
	case len(out) != raw:
		return nil, errCodec
	}
	return out, nil
}

// Two sizes of buffers are lent while a record is written or read, so that an idle link holds none.
const (
	smallBuffer = 20 << 10
	largeBuffer = maxRaw + maxRaw/4
)

var smallBuffers, largeBuffers = sync.Pool{New: func() any { return newBuffer(smallBuffer) }},
	sync.Pool{New: func() any { return newBuffer(largeBuffer) }}

// buffer is what a pool holds: a pointer, so that giving one back does not allocate.
type buffer struct{ b []byte }

func newBuffer(n int) *buffer { return &buffer{make([]byte, 0, n)} }

// borrow lends an empty buffer with room for n bytes, at most largeBuffer.
func borrow(n int) *buffer {
	if n <= smallBuffer {
		return smallBuffers.Get().(*buffer)
	}
	return largeBuffers.Get().(*buffer)
}

// giveBack takes a buffer; nil is none.
func (b *buffer) giveBack() {
	if b == nil {
		return
	}
	b.b = b.b[:0]
	if cap(b.b) == smallBuffer {
		smallBuffers.Put(b)
	} else {
		largeBuffers.Put(b)
	}
}

// coded is how much room the compressed form of n raw bytes may take, with the header of its record.
func coded(n int) int { return codedHeader + max(s2.MaxEncodedLen(n), n+n/128+64) }
