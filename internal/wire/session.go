package wire

import (
	"fmt"
	"slices"
)

// SessionConfig bounds what a session keeps. The zero value has the defaults.
type SessionConfig struct {
	// MaxFrames and MaxBytes bound the frames that wait for an acknowledgement. Defaults: 4096 and 8 MiB.
	// A message larger than MaxBytes may be sent when nothing else waits.
	MaxFrames int
	MaxBytes  int
	// AckBytes and AckFrames are how much may be received before an acknowledgement is due. Defaults: 64 KiB and 32.
	AckBytes  int
	AckFrames int
}

func (c SessionConfig) withDefaults() SessionConfig {
	if c.MaxFrames <= 0 {
		c.MaxFrames = 4096
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = 8 << 20
	}
	if c.AckBytes <= 0 {
		c.AckBytes = 64 << 10
	}
	if c.AckFrames <= 0 {
		c.AckFrames = 32
	}
	return c
}

// Session is one end of a conversation that outlives its links: it numbers and keeps what goes out until the peer
// has acknowledged it, takes what comes in once and in order, and after a cut tells what to send again.
//
// It is a state machine without locks: one goroutine at a time. Frames that it returned are never changed later, so
// a link may hold them.
type Session struct {
	cfg SessionConfig

	out      [][]byte // frames out[i] has number acked+1+i
	outBytes int
	sent     uint64 // the last number given
	acked    uint64 // up to here the peer has received

	received uint64 // up to here we have
	part     []byte // body so far of a message in several frames
	partType Type

	toldAck         uint64 // acknowledgement last put into a frame
	dueBytes, dueNo int    // received since
}

// NewSession returns a session that has sent and received nothing.
func NewSession(cfg SessionConfig) *Session { return &Session{cfg: cfg.withDefaults()} }

// Send makes the frames of a message, to be sent in order after all earlier ones. It returns ErrFull, and has done
// nothing, when too much waits for an acknowledgement: receive first. A message that is not numbered never waits.
func (s *Session) Send(m Message) ([][]byte, error) {
	if !m.Type().Numbered() {
		f, err := Encode(0, s.tellAck(), m)
		return [][]byte{f}, err
	}
	if !s.Room() {
		return nil, ErrFull
	}
	if m.sizeHint() <= MaxBody { // then it nearly always fits
		if f, err := Encode(s.sent+1, s.received, m); err == nil {
			return s.keep(f), nil
		}
	}
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("encode %v: %w", m.Type(), err)
	}
	body, err := m.appendBody(nil)
	if err != nil {
		return nil, fmt.Errorf("encode %v: %w", m.Type(), err)
	}
	if limit := kinds[m.Type()].max; len(body) > limit {
		return nil, fmt.Errorf("encode %v: body of %d bytes, limit %d", m.Type(), len(body), limit)
	}
	var frames [][]byte
	for {
		n, flags := len(body), Flags(0)
		if n > MaxBody {
			n, flags = MaxData, FlagMore
		}
		f := appendHeader(make([]byte, 0, HeaderSize+n), m.Type(), flags, s.sent+1+uint64(len(frames)), s.received)
		frames = append(frames, seal(append(f, body[:n]...)))
		if body = body[n:]; flags == 0 {
			return s.keep(frames...), nil
		}
	}
}

func (s *Session) keep(frames ...[]byte) [][]byte {
	s.tellAck()
	for _, f := range frames {
		s.outBytes += len(f)
	}
	s.sent += uint64(len(frames))
	s.out = append(s.out, frames...)
	return s.out[len(s.out)-len(frames) : len(s.out) : len(s.out)]
}

// Room reports whether Send takes another numbered message.
func (s *Session) Room() bool { return len(s.out) < s.cfg.MaxFrames && s.outBytes < s.cfg.MaxBytes }

// Waiting returns how many frames and bytes wait for an acknowledgement.
func (s *Session) Waiting() (frames, bytes int) { return len(s.out), s.outBytes }

// Sent returns the last number given; everything up to Acked has reached the peer.
func (s *Session) Sent() uint64 { return s.sent }

// Acked returns the number up to which the peer has received everything.
func (s *Session) Acked() uint64 { return s.acked }

// Received returns the number up to which everything has been received.
func (s *Session) Received() uint64 { return s.received }

// Receive takes a frame from the link. The message is nil if the frame completes none: a repeated one, an Ack, a
// part. ErrCorrupt and ErrGap mean: drop the link, connect again and resume. ErrProtocol is final.
// The session is unchanged after an error. Byte fields of the message may be slices of the frame.
func (s *Session) Receive(frame []byte) (Message, error) {
	h, body, err := Open(frame)
	if err != nil {
		return nil, err
	}
	if h.Ack > s.sent {
		return nil, fmt.Errorf("receive %v: acknowledges %d of %d: %w", h.Type, h.Ack, s.sent, ErrProtocol)
	}
	if !h.Type.Numbered() {
		m, err := DecodeBody(h.Type, body)
		if err != nil {
			return nil, err
		}
		s.ack(h.Ack)
		if h.Type == TypeAck {
			return nil, nil
		}
		return m, nil
	}
	if h.Seq <= s.received {
		// The peer does not know that we have it: acknowledge again.
		s.ack(h.Ack)
		s.toldAck = min(s.toldAck, h.Seq-1)
		s.dueNo++
		return nil, nil
	}
	if h.Seq != s.received+1 {
		return nil, fmt.Errorf("receive %v: number %d after %d: %w", h.Type, h.Seq, s.received, ErrGap)
	}
	m, err := s.assemble(h, body)
	if err != nil {
		return nil, err
	}
	s.ack(h.Ack)
	s.received = h.Seq
	s.dueNo++
	s.dueBytes += len(frame)
	return m, nil
}

// assemble joins the parts of a message. It changes nothing if it fails.
func (s *Session) assemble(h Header, body []byte) (Message, error) {
	if s.partType != TypeInvalid && h.Type != s.partType {
		return nil, fmt.Errorf("receive %v: in the midst of %v: %w", h.Type, s.partType, ErrProtocol)
	}
	if n := len(s.part) + len(body); n > kinds[h.Type].max {
		return nil, fmt.Errorf("receive %v: body of %d bytes, limit %d: %w", h.Type, n, kinds[h.Type].max, ErrProtocol)
	}
	if h.Flags&FlagMore != 0 {
		s.part = append(s.part, body...)
		s.partType = h.Type
		return nil, nil
	}
	if s.partType != TypeInvalid {
		body = append(s.part, body...)
	}
	m, err := DecodeBody(h.Type, body)
	if err != nil {
		return nil, err
	}
	s.part, s.partType = nil, TypeInvalid
	return m, nil
}

// ack drops the frames up to n, which the peer has.
func (s *Session) ack(n uint64) {
	if n <= s.acked {
		return
	}
	k := int(n - s.acked)
	for i, f := range s.out[:k] {
		s.outBytes -= len(f)
		s.out[i] = nil
	}
	s.out = s.out[k:]
	s.acked = n
}

// tellAck notes that the acknowledgement goes out.
func (s *Session) tellAck() uint64 {
	s.toldAck = s.received
	s.dueNo, s.dueBytes = 0, 0
	return s.received
}

// AckDue reports whether enough has been received that an Ack should be sent now. Otherwise the next message or a timer of the
// caller's carries it; AckPending tells whether there is anything to carry.
func (s *Session) AckDue() bool { return s.dueNo >= s.cfg.AckFrames || s.dueBytes >= s.cfg.AckBytes }

// AckPending reports whether something received has not been acknowledged yet.
func (s *Session) AckPending() bool { return s.received > s.toldAck }

// Ack returns an Ack frame.
func (s *Session) Ack() []byte {
	f, err := Encode(0, s.tellAck(), &Ack{})
	if err != nil {
		panic("BUG: encode ack: " + err.Error())
	}
	return f
}

// Resume starts on a new link: given the acknowledgement in the header of the peer's Hello or Welcome, it returns
// the frames to send again, before any new one. ErrLost: the peer stands where this session has never been or what
// it lacks is gone; the session is over. The session is unchanged then.
func (s *Session) Resume(peerReceived uint64) ([][]byte, error) {
	if peerReceived < s.acked || peerReceived > s.sent {
		return nil, fmt.Errorf("resume: peer has received %d, kept are %d to %d: %w", peerReceived, s.acked+1, s.sent, ErrLost)
	}
	s.ack(peerReceived)
	s.tellAck() // in our own Hello or Welcome; the old ones in the frames do no harm
	return slices.Clone(s.out), nil
}
