package link

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// incoming is the record that is being read. It stays where it is when Recv is called off.
type incoming struct {
	codec codec
	raw   int     // length of the payload, decompressed
	left  int     // bytes of a plain record from which no frame has been begun
	whole bool    // buf is the payload, else a frame
	buf   []byte  // is being filled; nil: nothing is
	have  int     // bytes in buf
	lent  *buffer // behind buf; nil: buf belongs to whom it is given
	block []byte  // frames that have arrived
}

// next reads until there is a frame. After an error it may be called again, and goes on where it was.
func (s *Stream) next() ([]byte, error) {
	for now := &s.now; ; {
		var err error
		switch {
		case len(now.block) > 0:
			return s.cut()
		case now.buf != nil:
			if err = s.fill(); err != nil {
				break
			}
			if !now.whole {
				f := now.buf
				now.buf = nil
				return f, nil
			}
			err = s.unpack()
		case now.left > 0:
			err = s.begin()
		default:
			err = s.header()
		}
		if err != nil {
			return nil, err
		}
	}
}

// header reads the header of the next record.
func (s *Stream) header() error {
	b, err := s.in.Peek(plainHeader)
	if err == nil && codec(b[0]) != codecNone {
		b, err = s.in.Peek(codedHeader)
	}
	if err != nil {
		if err == io.EOF && len(b) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	k, n := codec(b[0]), int(binary.LittleEndian.Uint32(b)>>8)
	if k >= numCodecs || n == 0 || n > maxRaw {
		return fmt.Errorf("%w: %d bytes with codec %d", errRecord, n, k)
	}
	raw := n
	if k != codecNone {
		announced := binary.LittleEndian.Uint32(b[plainHeader:])
		if announced > maxRaw || int(announced) <= n {
			return fmt.Errorf("%w: %d bytes with codec %d for %d", errRecord, n, k, announced)
		}
		raw = int(announced)
	}
	if raw < s.opt.Header {
		return fmt.Errorf("%w: %d bytes are no frame", errRecord, raw)
	}
	if _, err := s.in.Discard(len(b)); err != nil {
		return err
	}
	s.received.add(k, raw, len(b)+n)
	s.now = incoming{codec: k, raw: raw}
	switch now := &s.now; {
	case k != codecNone:
		now.lent = borrow(n)
		now.buf, now.whole = now.lent.b[:n], true
	case n <= smallRecord:
		now.buf, now.whole = make([]byte, n), true
	default:
		now.left = n
	}
	return nil
}

// begin finds how long the next frame of a plain record is, and makes room for it.
func (s *Stream) begin() error {
	head, err := s.in.Peek(min(s.opt.Header, s.now.left))
	if err != nil {
		return unexpected(err)
	}
	n, err := s.size(head, s.now.left)
	if err != nil {
		return err
	}
	s.now.buf, s.now.have = make([]byte, n), 0
	s.now.left -= n
	return nil
}

// size returns the length of the frame that begins so, and has left bytes of a record to end in.
func (s *Stream) size(head []byte, left int) (int, error) {
	if len(head) < s.opt.Header {
		return 0, fmt.Errorf("%w: it ends within a frame", errRecord)
	}
	n, err := s.opt.Size(head[:s.opt.Header])
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: %w", errRecord, err)
	case n < s.opt.Header || n > s.opt.MaxFrame:
		return 0, fmt.Errorf("%w: frame of %d bytes", errRecord, n)
	case n > left:
		return 0, fmt.Errorf("%w: it ends within a frame", errRecord)
	}
	return n, nil
}

// fill reads what is missing in buf, straight into it where it is long.
func (s *Stream) fill() error {
	for now := &s.now; now.have < len(now.buf); {
		n, err := s.in.Read(now.buf[now.have:])
		now.have += n
		if err != nil {
			return unexpected(err)
		}
	}
	return nil
}

// unpack makes the payload in buf a block of frames.
func (s *Stream) unpack() error {
	now := &s.now
	payload := now.buf
	now.buf = nil
	if now.codec == codecNone {
		now.block = payload
		return nil
	}
	block, err := now.codec.decode(payload, now.raw)
	now.lent.giveBack()
	now.lent = nil
	if err != nil {
		return fmt.Errorf("%w: %w", errRecord, err)
	}
	now.block = block
	return nil
}

// cut takes the next frame off the block.
func (s *Stream) cut() ([]byte, error) {
	now := &s.now
	n, err := s.size(now.block, len(now.block))
	if err != nil {
		return nil, err
	}
	f := now.block[:n:n]
	if now.block = now.block[n:]; len(now.block) == 0 {
		now.block = nil
	}
	if n <= smallRecord && now.raw > smallRecord {
		f = bytes.Clone(f) // whoever keeps it does not keep the block
	}
	return f, nil
}

// unexpected says that the end of the connection is not one of the link: it lies within a record.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
