// Package wire is the language between a device and a node: frames, messages, and the session that numbers,
// acknowledges and resumes them. It does no I/O, reads no clock and starts no goroutine.
//
// A frame is a header of 28 bytes and a body, all numbers little-endian:
//
//	offset size
//	0      4    length of the body, at most MaxBody
//	4      1    type of the message
//	5      1    flags: bit 0 (more) the message goes on in the next numbered frame; the others are zero
//	6      2    reserved, zero
//	8      8    sequence number, from 1 upwards; zero in frames that are not numbered
//	16     8    acknowledgement: the highest number up to which the sender has received everything
//	24     4    CRC-32C of bytes 0 to 23 and of the body
//	28     n    body
//
// Hello, Welcome, Ack, Ping, Pong and Bye are not numbered: they are never kept and never sent again. All other
// messages arrive exactly once and in order within a session, over any number of links. A message larger than one
// frame travels in several numbered frames of the same type, all but the last with the flag more, nothing numbered
// between them; unnumbered frames may pass between.
//
// The body of a control message is protobuf (wirepb/wire.proto). Four messages carry bulk behind fields of fixed
// size; the first three always fit one frame:
//
//	Module  total u64, offset u64, bytes
//	Pages   offload u64, attempt u32, bytes of a delta stream
//	Output  offload u64, attempt u32, call u64, handle u64, bytes
//	Files   offload u64, attempt u32, kind u8, bytes as package replica has them
//
// # A session
//
// The device dials and sends Hello; the node answers Welcome, or Bye with a code. If the node asks for the module
// (HaveModule is false), the device sends Module chunks. The acknowledgement in the header of a Hello that resumes,
// and in the Welcome that accepts it, says from where the other side sends again. A device that was here before may send
// its first offload right behind its Hello (Early).
//
// An offload goes Migrate, Pages..., PagesEnd; then HomeCall and HomeResult in turn, Output, Credit and Note as they come up;
// then Reintegrate, Pages..., PagesEnd; then Commit or Cancel. Refuse answers what a side will not do. After a failed attempt Sync asks
// the clone where it stands, and SyncState answers. Where files go with the process, Files messages come before Migrate, in between, and
// before Reintegrate.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Version is the version of this language; both sides must have the same.
const Version = 5

// Bounds of frames and messages.
const (
	HeaderSize = 28
	MaxBody    = 64<<10 + 64          // of a frame: MaxData behind the widest fixed fields
	MaxFrame   = HeaderSize + MaxBody // of a frame with its header
	MaxData    = 64 << 10             // bytes of bulk in one Module, Pages or Output
	MaxMessage = 8 << 20              // body of a message, over all of its frames
)

// What is wrong with a frame. ErrCorrupt and ErrGap are faults of the link: reconnect and resume. ErrProtocol is a
// fault of the peer, which no repetition cures.
var (
	ErrCorrupt  = errors.New("frame damaged on the way")
	ErrGap      = errors.New("frame missing before this one")
	ErrProtocol = errors.New("peer breaks the protocol")
	ErrFull     = errors.New("too much is unacknowledged")
	ErrLost     = errors.New("session cannot be resumed")
)

// ID names a state of a process or a piece of code: a SHA-256.
type ID = [32]byte

// Token names a process or a session: random bytes.
type Token = [16]byte

// Type says which message a frame carries. The numbers travel: never renumber.
type Type uint8

// The types of messages.
const (
	TypeInvalid Type = iota
	TypeHello
	TypeWelcome
	TypeModule
	TypeMigrate
	TypePages
	TypePagesEnd
	TypeHomeCall
	TypeHomeResult
	TypeOutput
	TypeCredit
	TypeNote
	TypeReintegrate
	TypeCommit
	TypeCancel
	TypeRefuse
	TypeSync
	TypeSyncState
	TypeBye
	TypePing
	TypePong
	TypeAck
	TypeFiles
	numTypes
)

// kinds says for each type what a decoder must know before it looks at the body.
var kinds = [numTypes]struct {
	name     string
	make     func() Message
	max      int  // length of the whole body
	numbered bool // kept until acknowledged
}{
	TypeInvalid:     {name: "invalid"},
	TypeHello:       {"hello", func() Message { return new(Hello) }, MaxBody, false},
	TypeWelcome:     {"welcome", func() Message { return new(Welcome) }, 4 << 10, false},
	TypeModule:      {"module", func() Message { return new(Module) }, moduleFields + MaxData, true},
	TypeMigrate:     {"migrate", func() Message { return new(Migrate) }, MaxMessage, true},
	TypePages:       {"pages", func() Message { return new(Pages) }, pagesFields + MaxData, true},
	TypePagesEnd:    {"pages-end", func() Message { return new(PagesEnd) }, 64, true},
	TypeHomeCall:    {"home-call", func() Message { return new(HomeCall) }, MaxCall + 64, true},
	TypeHomeResult:  {"home-result", func() Message { return new(HomeResult) }, MaxCall + 64, true},
	TypeOutput:      {"output", func() Message { return new(Output) }, outputFields + MaxData, true},
	TypeCredit:      {"credit", func() Message { return new(Credit) }, 64, true},
	TypeNote:        {"note", func() Message { return new(Note) }, 2*MaxNote + 64, true},
	TypeReintegrate: {"reintegrate", func() Message { return new(Reintegrate) }, MaxMessage, true},
	TypeCommit:      {"commit", func() Message { return new(Commit) }, 128, true},
	TypeCancel:      {"cancel", func() Message { return new(Cancel) }, 64, true},
	TypeRefuse:      {"refuse", func() Message { return new(Refuse) }, 64 + 2*MaxText, true},
	TypeSync:        {"sync", func() Message { return new(Sync) }, 64, true},
	TypeSyncState:   {"sync-state", func() Message { return new(SyncState) }, 1 << 20, true},
	TypeBye:         {"bye", func() Message { return new(Bye) }, 64 + 2*MaxText, false},
	TypePing:        {"ping", func() Message { return new(Ping) }, 64, false},
	TypePong:        {"pong", func() Message { return new(Pong) }, 64, false},
	TypeAck:         {"ack", func() Message { return new(Ack) }, 0, false},
	TypeFiles:       {"files", func() Message { return new(Files) }, MaxMessage, true},
}

func (t Type) String() string {
	if t < numTypes {
		return kinds[t].name
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Numbered reports whether messages of this type are kept until they are acknowledged.
func (t Type) Numbered() bool { return t < numTypes && kinds[t].numbered }

// Flags of a frame.
type Flags uint8

// FlagMore says that the message goes on in the next numbered frame.
const FlagMore Flags = 1

// Header is what stands before a body.
type Header struct {
	Type   Type
	Flags  Flags
	Seq    uint64
	Ack    uint64
	Length int
	crc    uint32
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ParseHeader reads the header at the start of b, so that a stream knows how much to read. The checksum is
// checked by Open. The error is ErrCorrupt: from the header alone, damage and malice look the same.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, fmt.Errorf("read header of %d bytes: %w", len(b), ErrCorrupt)
	}
	n := binary.LittleEndian.Uint32(b)
	if n > MaxBody {
		return Header{}, fmt.Errorf("read header: body of %d bytes: %w", n, ErrCorrupt)
	}
	return Header{
		Type:   Type(b[4]),
		Flags:  Flags(b[5]),
		Seq:    binary.LittleEndian.Uint64(b[8:]),
		Ack:    binary.LittleEndian.Uint64(b[16:]),
		Length: int(n),
		crc:    binary.LittleEndian.Uint32(b[24:]),
	}, nil
}

// FrameSize tells from a header how long its frame is.
func FrameSize(header []byte) (int, error) {
	h, err := ParseHeader(header)
	return HeaderSize + h.Length, err
}

// Open checks a frame and returns its header and its body, a slice of the frame.
func Open(frame []byte) (Header, []byte, error) {
	h, err := ParseHeader(frame)
	if err != nil {
		return h, nil, err
	}
	body := frame[HeaderSize:]
	if len(body) != h.Length {
		return h, nil, fmt.Errorf("open frame: body of %d bytes where %d are announced: %w", len(body), h.Length, ErrCorrupt)
	}
	if crc32.Update(crc32.Checksum(frame[:24], castagnoli), castagnoli, body) != h.crc {
		return h, nil, fmt.Errorf("open frame: checksum: %w", ErrCorrupt)
	}
	switch {
	case h.Type == TypeInvalid || h.Type >= numTypes:
		return h, nil, fmt.Errorf("open frame: %v: %w", h.Type, ErrProtocol)
	case h.Flags&^FlagMore != 0 || frame[6] != 0 || frame[7] != 0:
		return h, nil, fmt.Errorf("open frame: unknown flags: %w", ErrProtocol)
	case h.Type.Numbered() != (h.Seq != 0):
		return h, nil, fmt.Errorf("open frame: %v with sequence number %d: %w", h.Type, h.Seq, ErrProtocol)
	case h.Flags&FlagMore != 0 && (h.Length == 0 || !h.Type.Numbered()):
		return h, nil, fmt.Errorf("open frame: %v cannot go on: %w", h.Type, ErrProtocol)
	}
	return h, body, nil
}

// appendHeader leaves room for the checksum, which seal fills in.
func appendHeader(dst []byte, t Type, f Flags, seq, ack uint64) []byte {
	dst = append(dst, 0, 0, 0, 0, byte(t), byte(f), 0, 0)
	dst = binary.LittleEndian.AppendUint64(dst, seq)
	dst = binary.LittleEndian.AppendUint64(dst, ack)
	return append(dst, 0, 0, 0, 0)
}

// Seal writes length and checksum into a frame whose body was changed: for tests of what a peer with bad intentions sends.
func Seal(frame []byte) { seal(frame) }

// seal writes length and checksum into a frame whose body stands.
func seal(frame []byte) []byte {
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-HeaderSize))
	sum := crc32.Update(crc32.Checksum(frame[:24], castagnoli), castagnoli, frame[HeaderSize:])
	binary.LittleEndian.PutUint32(frame[24:], sum)
	return frame
}

// Encode makes the frame of a message that fits one; Session.Send splits larger ones. The message is validated
// first. Give seq 0 to a message that is not numbered.
func Encode(seq, ack uint64, m Message) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("encode %v: %w", m.Type(), err)
	}
	if m.Type().Numbered() != (seq != 0) {
		return nil, fmt.Errorf("encode %v: sequence number %d does not suit it", m.Type(), seq)
	}
	frame := appendHeader(make([]byte, 0, HeaderSize+m.sizeHint()), m.Type(), 0, seq, ack)
	frame, err := m.appendBody(frame)
	if err != nil {
		return nil, fmt.Errorf("encode %v: %w", m.Type(), err)
	}
	if len(frame) > MaxFrame {
		return nil, fmt.Errorf("encode %v: %d bytes do not fit a frame", m.Type(), len(frame))
	}
	return seal(frame), nil
}

// Decode reads a frame that holds a whole message. Byte fields of the message may be slices of the frame.
func Decode(frame []byte) (Header, Message, error) {
	h, body, err := Open(frame)
	if err != nil {
		return h, nil, err
	}
	if h.Flags&FlagMore != 0 {
		return h, nil, fmt.Errorf("decode %v: message goes on in another frame: %w", h.Type, ErrProtocol)
	}
	m, err := DecodeBody(h.Type, body)
	return h, m, err
}

// DecodeBody reads and validates the body of a message. Byte fields may be slices of body.
func DecodeBody(t Type, body []byte) (Message, error) {
	if t == TypeInvalid || t >= numTypes {
		return nil, fmt.Errorf("decode %v: %w", t, ErrProtocol)
	}
	if len(body) > kinds[t].max {
		return nil, fmt.Errorf("decode %v: body of %d bytes, limit %d: %w", t, len(body), kinds[t].max, ErrProtocol)
	}
	m := kinds[t].make()
	if err := m.decode(body); err != nil {
		return nil, fmt.Errorf("decode %v: %w: %w", t, ErrProtocol, err)
	}
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("decode %v: %w: %w", t, ErrProtocol, err)
	}
	return m, nil
}
