package link

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// StreamOptions configures a Stream. Header, MaxFrame and Size must be given.
type StreamOptions struct {
	// Header is how many bytes of a frame Size needs; no frame is shorter. MaxFrame is the longest frame, at most
	// 256 KiB.
	Header, MaxFrame int
	// Size returns the length of the whole frame that begins so. An error ends the link.
	Size func(header []byte) (int, error)
	// Compress allows that what is sent is compressed. What is received always may be.
	Compress bool
	// Reader is what read from the connection so far, and may have read ahead. nil: nothing did.
	Reader *bufio.Reader
}

// Stream is a Link over a connection. What it writes is a sequence of records, numbers little-endian:
//
//	offset size
//	0      1    codec: 0 none, 1 S2 (one block), 2 zstd (frames)
//	1      3    length of the payload, from 1 to 256 KiB
//	4      4    only with a codec: length of the payload before it was compressed, at most 256 KiB and greater than
//	            the length of the payload
//	4 or 8 n    payload: one or more whole frames
//
// Each record is compressed for itself, so that an idle link holds no state for it. Send and SendBatch may be called
// by one goroutine at a time, Recv by another one, the other methods by any. The connection and its deadlines belong to
// the Stream.
//
// A Send whose context ends within the write ends the link: half a record may be on its way. The error is then not
// the context's. All errors of the connection match ErrClosed, and ErrCut unless an end has closed it.
type Stream struct {
	conn   net.Conn
	opt    StreamOptions
	closed atomic.Bool

	out     packer
	writing watch
	sendErr error
	one     [1][]byte // for Send

	in      *bufio.Reader
	reading watch
	recvErr error
	now     incoming

	mu      sync.Mutex
	chooser chooser // guarded by mu

	sent, received counters
	made           time.Time
	heard          atomic.Int64 // nanoseconds after made when something was last read
}

// ear notes when something is read.
type ear struct {
	r io.Reader
	s *Stream
}

func (e ear) Read(b []byte) (int, error) {
	n, err := e.r.Read(b)
	if n > 0 {
		e.s.heard.Store(int64(time.Since(e.s.made)))
	}
	return n, err
}

const (
	plainHeader = 4
	codedHeader = 8
	readBuffer  = 4 << 10 // idle links are many
	smallRecord = 4 << 10 // frames of a plain record up to here share memory; shorter ones do not hold longer records
	tlsRecord   = 16 << 10
	farewell    = 100 * time.Millisecond // for TLS's last word, when the socket is full
)

var (
	_ Link        = (*Stream)(nil)
	_ BatchSender = (*Stream)(nil)
	_ Rated       = (*Stream)(nil)
)

var errRecord = errors.New("malformed record")

// NewStream returns a Stream over conn.
func NewStream(conn net.Conn, opt StreamOptions) *Stream {
	if opt.Size == nil || opt.Header < 1 || opt.Header > readBuffer || opt.MaxFrame < opt.Header || opt.MaxFrame > maxRaw {
		panic("BUG: stream options")
	}
	var r io.Reader = conn
	if opt.Reader != nil {
		r = opt.Reader
	}
	s := &Stream{conn: conn, opt: opt, made: time.Now()}
	conn.SetDeadline(time.Time{}) // one that was for the greeting; where it fails, so will what follows
	s.out, s.in, s.chooser = packer{w: conn}, bufio.NewReaderSize(ear{r, s}, readBuffer), newChooser()
	s.writing, s.reading = watch{set: conn.SetWriteDeadline}, watch{set: conn.SetReadDeadline}
	return s
}

// Send implements Link.
func (s *Stream) Send(ctx context.Context, frame []byte) error {
	s.one[0] = frame
	err := s.SendBatch(ctx, s.one[:])
	s.one[0] = nil
	return err
}

// SendBatch implements BatchSender.
func (s *Stream) SendBatch(ctx context.Context, frames [][]byte) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.closed.Load():
		return ErrClosed
	case s.sendErr != nil:
		return s.sendErr
	}
	for _, f := range frames {
		if err := s.check(f); err != nil {
			s.sendErr = err
			return err
		}
	}
	s.writing.arm(ctx)
	if err := s.write(frames); err != nil {
		s.sendErr = s.failed(err)
		if err := ctx.Err(); err != nil && errors.Is(s.sendErr, os.ErrDeadlineExceeded) {
			s.sendErr = fmt.Errorf("%w: %v in the middle of a write", ErrCut, err)
		}
		return s.sendErr
	}
	return nil
}

// check refuses a frame that the other side would not take, or not find the end of.
func (s *Stream) check(f []byte) error {
	if len(f) < s.opt.Header || len(f) > s.opt.MaxFrame {
		return fmt.Errorf("send frame of %d bytes: not from %d to %d", len(f), s.opt.Header, s.opt.MaxFrame)
	}
	switch n, err := s.opt.Size(f[:s.opt.Header]); {
	case err != nil:
		return fmt.Errorf("send frame: %w", err)
	case n != len(f):
		return fmt.Errorf("send frame of %d bytes: its header says %d", len(f), n)
	}
	return nil
}

// write puts frames into records and writes them.
func (s *Stream) write(frames [][]byte) error {
	defer s.out.drop()
	for len(frames) > 0 {
		n, raw := 0, 0
		for n < len(frames) && raw+len(frames[n]) <= maxRaw {
			raw += len(frames[n])
			n++
		}
		if err := s.writeRecord(frames[:n], raw); err != nil {
			return err
		}
		frames = frames[n:]
	}
	return s.out.flush()
}

func (s *Stream) writeRecord(frames [][]byte, raw int) error {
	if s.opt.Compress {
		s.mu.Lock()
		k := s.chooser.choose(raw)
		s.mu.Unlock()
		if k != codecNone {
			if done, err := s.writeCoded(k, frames, raw); done || err != nil {
				return err
			}
		}
	}
	var head [plainHeader]byte
	putHeader(head[:], codecNone, raw)
	err := s.out.write(head[:])
	for _, f := range frames {
		if err == nil {
			err = s.out.write(f)
		}
	}
	s.wrote(codecNone, raw, plainHeader+raw)
	return err
}

// writeCoded writes a compressed record, unless that would not be shorter.
func (s *Stream) writeCoded(k codec, frames [][]byte, raw int) (done bool, err error) {
	src := frames[0]
	if len(frames) > 1 {
		lent := borrow(raw)
		defer lent.giveBack()
		src = lent.b
		for _, f := range frames {
			src = append(src, f...)
		}
	}
	dst := borrow(coded(raw))
	defer dst.giveBack()
	start := time.Now()
	b := k.encode(dst.b[:codedHeader], src)
	took := time.Since(start)
	n := len(b) - codedHeader
	s.mu.Lock()
	s.chooser.learn(k, raw, n, took)
	s.mu.Unlock()
	if len(b) >= plainHeader+raw {
		return false, nil
	}
	putHeader(b, k, n)
	binary.LittleEndian.PutUint32(b[plainHeader:], uint32(raw))
	s.wrote(k, raw, len(b))
	return true, s.out.write(b)
}

func putHeader(b []byte, k codec, payload int) {
	binary.LittleEndian.PutUint32(b, uint32(payload)<<8|uint32(k))
}

func (s *Stream) wrote(k codec, raw, wire int) {
	s.sent.add(k, raw, wire)
	if s.opt.Compress {
		s.mu.Lock()
		s.chooser.sent(raw, wire)
		s.mu.Unlock()
	}
}

// SetRate tells how many bytes of frames the link carries in a second (0: unknown), as acknowledgements show it since the
// last call, and the time of a round trip. What is compressed, and how, follows from both.
func (s *Stream) SetRate(bytesPerSecond float64, rtt time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chooser.setRate(bytesPerSecond, rtt)
}

// Recv implements Link.
func (s *Stream) Recv(ctx context.Context) ([]byte, error) {
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case s.closed.Load():
		return nil, ErrClosed
	case s.recvErr != nil:
		return nil, s.recvErr
	}
	s.reading.arm(ctx)
	f, err := s.next()
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil && !s.closed.Load():
		return nil, ctx.Err()
	case errors.Is(err, errRecord):
		s.recvErr = fmt.Errorf("receive: %w", err)
	default:
		s.recvErr = s.failed(err)
	}
	s.now.lent.giveBack()
	s.now = incoming{}
	return nil, s.recvErr
}

// failed says what an error of the connection means for the link.
func (s *Stream) failed(err error) error {
	if s.closed.Load() || err == io.EOF {
		return ErrClosed
	}
	return fmt.Errorf("%w: %w", ErrCut, err)
}

// Finish implements Finisher.
func (s *Stream) Finish() error {
	if c, ok := s.conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// Close implements Link.
func (s *Stream) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.writing.close()
	s.reading.close()
	if c, ok := s.conn.(interface{ NetConn() net.Conn }); ok {
		// TLS says that it closes, and would wait for seconds while the socket is full.
		defer time.AfterFunc(farewell, func() { c.NetConn().Close() }).Stop()
	}
	s.conn.Close() // it is over, however well it closes
	return nil
}

// StreamStats counts what went through a Stream.
type StreamStats struct{ Sent, Received StreamCount }

// StreamCount is one direction of StreamStats. TLS adds to the bytes on the wire.
type StreamCount struct {
	Frames, Wire    uint64 // bytes of frames, and of the records that carried them
	Plain, S2, Zstd uint64 // records by codec
}

// Ahead implements the interface of this name.
func (s *Stream) Ahead() bool { return len(s.now.block) > 0 }

// Silence implements Hearer.
func (s *Stream) Silence() time.Duration { return time.Since(s.made) - time.Duration(s.heard.Load()) }

// Stats returns what was sent and received so far.
func (s *Stream) Stats() StreamStats {
	return StreamStats{s.sent.get(), s.received.get()}
}

type counters struct {
	frames, wire atomic.Uint64
	records      [numCodecs]atomic.Uint64
}

func (c *counters) add(k codec, raw, wire int) {
	c.frames.Add(uint64(raw))
	c.wire.Add(uint64(wire))
	c.records[k].Add(1)
}

func (c *counters) get() StreamCount {
	return StreamCount{c.frames.Load(), c.wire.Load(),
		c.records[codecNone].Load(), c.records[codecS2].Load(), c.records[codecZstd].Load()}
}
