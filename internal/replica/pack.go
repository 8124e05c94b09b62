package replica

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// What is given over a slow link is one long zstd stream, cut where messages end: a chunk is compressed with what came
// before it in mind, which for files is worth a fifth of their bytes. Both ends hold the stream's window meanwhile.
const (
	packWindow = 2 << 20
	// maxPacked bounds the bytes of one message before compression.
	maxPacked = MaxObject + 2*MaxGive
)

// Packer makes the stream of one conversation. One goroutine at a time.
type Packer struct {
	buf bytes.Buffer
	enc *zstd.Encoder
}

// Pack compresses a Give message, behind all earlier ones: its length (uvarint), and a part of the stream.
func (p *Packer) Pack(data []byte) ([]byte, error) {
	if p.enc == nil {
		enc, err := zstd.NewWriter(&p.buf, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithWindowSize(packWindow),
			zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
		if err != nil {
			return nil, fmt.Errorf("make compressor: %w", err)
		}
		p.enc = enc
	}
	p.buf.Reset()
	p.buf.Write(binary.AppendUvarint(nil, uint64(len(data))))
	_, err := p.enc.Write(data)
	if err == nil {
		err = p.enc.Flush()
	}
	if err != nil {
		return nil, fmt.Errorf("compress files: %w", err)
	}
	return bytes.Clone(p.buf.Bytes()), nil
}

// Unpacker reads the stream of one conversation. One goroutine at a time.
type Unpacker struct {
	in  feed
	dec *zstd.Decoder
	err error
}

// feed is what a decoder reads from: what has come, and then nothing.
type feed struct{ b []byte }

func (f *feed) Read(p []byte) (int, error) {
	if len(f.b) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, f.b)
	f.b = f.b[n:]
	return n, nil
}

var errPacked = fmt.Errorf("%w: compressed files", ErrMalformed)

// Unpack returns the Give message. After an error there is no going on.
func (u *Unpacker) Unpack(data []byte) ([]byte, error) {
	if u.err != nil {
		return nil, u.err
	}
	raw, err := u.unpack(data)
	if err != nil {
		u.err = fmt.Errorf("%w: %w", errPacked, err)
		return nil, u.err
	}
	return raw, nil
}

func (u *Unpacker) unpack(data []byte) ([]byte, error) {
	n, k := binary.Uvarint(data)
	if k <= 0 || n == 0 || n > maxPacked {
		return nil, errors.New("length")
	}
	u.in.b = append(u.in.b, data[k:]...)
	if u.dec == nil {
		var err error
		u.dec, err = zstd.NewReader(&u.in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(packWindow))
		if err != nil {
			return nil, err
		}
	}
	// Room is made as it is needed: the length is a stranger's word.
	var out bytes.Buffer
	if _, err := io.CopyN(&out, u.dec, int64(n)); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Close releases the decoder.
func (u *Unpacker) Close() {
	if u.dec != nil {
		u.dec.Close()
	}
}
