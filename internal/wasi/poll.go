package wasi

import (
	"encoding/binary"
	"slices"

	"github.com/clonecloud/clonecloud/internal/vfs"
)

// Kinds of subscriptions, with WASI's values.
const (
	SubClock = iota
	SubRead
	SubWrite
)

// Sub is one subscription of OpPoll and OpSleep; in requests 16 bytes: kind, clock, absolute, 5 zero bytes, arg.
type Sub struct {
	Kind, Clock byte
	Absolute    bool
	Arg         uint64 // time or handle
}

// Event answers subscription number Index; in responses 16 bytes: index (4), errno (2), flags (2), size (8).
type Event struct {
	Index uint32
	Errno Errno
	Flags uint16
	Size  uint64 // bytes at hand
}

const (
	subSize   = 16
	eventSize = 16
	// MaxSubs bounds the subscriptions of one poll.
	MaxSubs = 4096
)

// AppendSub encodes a subscription.
func AppendSub(b []byte, s Sub) []byte {
	abs := byte(0)
	if s.Absolute {
		abs = 1
	}
	return binary.LittleEndian.AppendUint64(append(b, s.Kind, s.Clock, abs, 0, 0, 0, 0, 0), s.Arg)
}

// ParseSubs decodes the subscriptions of a request.
func ParseSubs(b []byte) ([]Sub, error) {
	if len(b) == 0 || len(b)%subSize != 0 || len(b) > MaxSubs*subSize {
		return nil, vfs.EINVAL
	}
	subs := make([]Sub, 0, len(b)/subSize)
	for c := range slices.Chunk(b, subSize) {
		s := Sub{Kind: c[0], Clock: c[1], Absolute: c[2] == 1, Arg: binary.LittleEndian.Uint64(c[8:])}
		if s.Kind > SubWrite {
			return nil, vfs.EINVAL
		}
		subs = append(subs, s)
	}
	return subs, nil
}

// AppendEvent encodes an event.
func AppendEvent(b []byte, e Event) []byte {
	b = binary.LittleEndian.AppendUint32(b, e.Index)
	b = binary.LittleEndian.AppendUint16(b, uint16(e.Errno))
	b = binary.LittleEndian.AppendUint16(b, e.Flags)
	return binary.LittleEndian.AppendUint64(b, e.Size)
}

// ParseEvents decodes the events of an answer; what is left over at the end is ignored.
func ParseEvents(b []byte) []Event {
	var list []Event
	for ; len(b) >= eventSize; b = b[eventSize:] {
		list = append(list, Event{
			Index: binary.LittleEndian.Uint32(b), Errno: Errno(binary.LittleEndian.Uint16(b[4:])), Flags: binary.LittleEndian.Uint16(b[6:]),
			Size: binary.LittleEndian.Uint64(b[8:]),
		})
	}
	return list
}
