package clone_test

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// deviceScript turns bytes into what a device sends: honest offloads with bytes of them changed, and messages out of
// place.
type deviceScript struct {
	data []byte
	seq  uint64
}

func (s *deviceScript) byte() byte {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return b
}

func (s *deviceScript) number() uint64 {
	switch b := s.byte(); {
	case b < 240:
		return uint64(b)
	default:
		var n [8]byte
		k := copy(n[:], s.data[:min(len(s.data), 8)])
		s.data = s.data[k:]
		return binary.LittleEndian.Uint64(n[:])
	}
}

// frame makes the next frame of m, with the numbers that a session would give it, and changes up to three bytes of its
// body.
func (s *deviceScript) frame(m wire.Message) []byte {
	var seq uint64
	if m.Type().Numbered() {
		s.seq++
		seq = s.seq
	}
	f, err := wire.Encode(seq, 0, m)
	if err != nil {
		if seq > 0 {
			s.seq--
		}
		return nil
	}
	if n := s.byte(); n < 3 && len(f) > wire.HeaderSize {
		for range n + 1 {
			f[wire.HeaderSize+int(s.number()%uint64(len(f)-wire.HeaderSize))] ^= s.byte()
		}
		wire.Seal(f)
	}
	return f
}

// FuzzDevice plays devices that know the protocol and break it: the host neither panics nor hangs, and serves an honest
// device afterwards.
func FuzzDevice(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 9, 0, 9, 0, 9})
	f.Add([]byte{0, 1, 7, 1, 9, 8, 5, 1, 9, 8, 2, 0, 9})
	f.Add([]byte{1, 1, 1, 1, 2, 1, 1, 3, 1, 1, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 200 {
			return
		}
		r := newRig(t)
		r.host.Store = nil // the rig's own is for conversations that follow each other
		ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
		defer stop()
		here, there := link.Pipe(1 << 20)
		defer here.Close()
		go func() { _ = r.host.Accept(context.Background(), there) }()
		go func() {
			for {
				if _, err := here.Recv(ctx); err != nil {
					return
				}
			}
		}()
		s := &deviceScript{data: data}
		d := &device{rig: r, ctx: ctx}
		hello := r.hello
		hello.Session[0] = 1
		send := func(f []byte) bool { return f == nil || here.Send(ctx, f) == nil }
		if !send(s.frame(&hello)) || !send(s.frame(&wire.Module{Total: uint64(len(r.bin)), Data: r.bin})) {
			return
		}
		base := d.initial()
		for len(s.data) > 0 {
			var ms []wire.Message
			n, a := s.number(), uint32(s.number())
			switch s.byte() % 10 {
			case 0, 1:
				ms = d.migrate(n%8+1, uint32(s.byte()%4), base, 5)
			case 2:
				ms = []wire.Message{&wire.Sync{}}
			case 3:
				ms = []wire.Message{&wire.Cancel{Offload: n, Attempt: a, Reason: wire.CancelReason(s.byte())}}
			case 4:
				ms = []wire.Message{&wire.Commit{Offload: n, Attempt: a, State: wire.ID(base)}}
			case 5:
				ms = []wire.Message{&wire.HomeResult{Offload: n, Attempt: a, Call: s.number(), Response: s.data}}
			case 6:
				ms = []wire.Message{&wire.Credit{Offload: n, Attempt: a, Limit: s.number()}}
			case 7:
				ms = []wire.Message{&wire.Pages{Offload: n, Attempt: a, Data: s.data}, &wire.PagesEnd{Offload: n, Attempt: a, Bytes: uint64(len(s.data))}}
			case 8:
				ms = []wire.Message{&wire.Module{Total: n, Offset: uint64(a), Data: s.data[:min(len(s.data), int(n%64))]}}
			case 9:
				ms = []wire.Message{&hello, &wire.Welcome{}, &wire.SyncState{}, &wire.Ping{Stamp: n}}[n%4 : n%4+1]
			}
			for _, m := range ms {
				if !send(s.frame(m)) {
					ms = nil
					break
				}
			}
			if ms == nil {
				break
			}
		}
		clear(r.proc.Mem.Bytes()[31<<12:])
		r.ready().honest(1, base)
	})
}
