package wasi

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/clonecloud/clonecloud/internal/vfs"
)

// Subscription kinds.
const (
	subClock = iota
	subRead
	subWrite
)

// sub is one subscription of a poll; in requests 16 bytes: kind, clock, absolute, 5 zero bytes, arg.
type sub struct {
	kind, clock byte
	absolute    bool
	arg         uint64 // time or handle
}

// event answers subscription number index; in responses 16 bytes: index (4), errno (2), flags (2), size (8).
type event struct {
	index uint32
	errno Errno
	flags uint16
	size  uint64
}

const (
	subSize   = 16
	eventSize = 16
	// MaxSubs bounds the subscriptions of one poll.
	MaxSubs = 4096
)

func appendSub(b []byte, s sub) []byte {
	abs := byte(0)
	if s.absolute {
		abs = 1
	}
	return binary.LittleEndian.AppendUint64(append(b, s.kind, s.clock, abs, 0, 0, 0, 0, 0), s.arg)
}

func parseSubs(b []byte) ([]sub, error) {
	if len(b) == 0 || len(b)%subSize != 0 || len(b) > MaxSubs*subSize {
		return nil, vfs.EINVAL
	}
	var subs []sub
	for c := range slices.Chunk(b, subSize) {
		s := sub{kind: c[0], clock: c[1], absolute: c[2] == 1, arg: binary.LittleEndian.Uint64(c[8:])}
		if s.kind > subWrite {
			return nil, vfs.EINVAL
		}
		subs = append(subs, s)
	}
	return subs, nil
}

func appendEvent(b []byte, e event) []byte {
	b = binary.LittleEndian.AppendUint32(b, e.index)
	b = binary.LittleEndian.AppendUint16(b, uint16(e.errno))
	b = binary.LittleEndian.AppendUint16(b, e.flags)
	return binary.LittleEndian.AppendUint64(b, e.size)
}

// Clocks carries out OpClockTime and OpSleep, on a clone as well as for Local.
type Clocks struct {
	virtual bool
	epoch   time.Time
	offset  uint64 // of the monotonic clock
}

// virtualEpoch is what the virtual wall clock begins with: 2020-01-01.
const virtualEpoch = 1577836800 * uint64(time.Second)

// virtualStep is how far a virtual clock is ahead of its last reading.
const virtualStep = uint64(time.Millisecond)

// NewClocks returns the machine's clocks, or virtual ones (see LocalConfig).
func NewClocks(virtual bool) *Clocks { return &Clocks{virtual: virtual, epoch: time.Now()} }

func (c *Clocks) start() [numClocks]uint64 {
	if c.virtual {
		return [numClocks]uint64{Realtime: virtualEpoch}
	}
	return [numClocks]uint64{}
}

// Do implements System for clock operations; others get ENOSYS.
func (c *Clocks) Do(ctx context.Context, req *Request, resp *Response) error {
	err := c.do(ctx, req, resp)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	resp.Errno = vfs.ErrnoOf(err)
	return nil
}

func (c *Clocks) do(ctx context.Context, req *Request, resp *Response) error {
	switch req.Op {
	case OpClockTime:
		if req.Flags >= numClocks {
			return vfs.EINVAL
		}
		resp.Value = c.now(int(req.Flags), req)
		return nil
	case OpSleep:
		subs, err := parseSubs(req.Data)
		if err != nil {
			return err
		}
		timers, err := c.timers(subs, req)
		if err != nil {
			return err
		}
		if err := c.sleep(ctx, timers.wait); err != nil {
			return err
		}
		c.fire(timers, req, resp)
		return nil
	}
	return vfs.ENOSYS
}

// now reads a clock, not before the last value that req carries. The monotonic clock of a machine that the process
// moved to goes on from there, the wall clock waits until it is true again.
func (c *Clocks) now(id int, req *Request) uint64 {
	last := req.Realtime
	if id == Monotonic {
		last = req.Monotonic
	}
	switch {
	case c.virtual:
		return last + virtualStep
	case id == Monotonic:
		now := uint64(time.Since(c.epoch)) + c.offset
		if now < last {
			c.offset += last - now
			now = last
		}
		return now
	}
	return max(last, uint64(max(time.Now().UnixNano(), 0)))
}

// timers are the clock subscriptions of a poll.
type timers struct {
	due  []timer
	wait uint64 // until the first; math.MaxUint64 if there is none
}

type timer struct {
	index uint32
	after uint64 // from the beginning of the poll
}

func (c *Clocks) timers(subs []sub, req *Request) (timers, error) {
	t := timers{wait: math.MaxUint64}
	for i, s := range subs {
		if s.kind != subClock {
			continue
		}
		if s.clock >= numClocks {
			return t, vfs.EINVAL
		}
		after := s.arg
		if s.absolute {
			now := c.now(int(s.clock), req)
			after -= min(now, after)
		}
		t.due = append(t.due, timer{uint32(i), after})
		t.wait = min(t.wait, after)
	}
	if len(t.due) == 0 && req.Op == OpSleep {
		return t, vfs.EINVAL
	}
	return t, nil
}

// sleep waits ns, longer than anyone lives at most.
func (c *Clocks) sleep(ctx context.Context, ns uint64) error {
	if ns == 0 || c.virtual {
		return ctx.Err()
	}
	t := time.NewTimer(time.Duration(min(ns, math.MaxInt64)))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// fire answers with the timers that are due once the first one is.
func (c *Clocks) fire(t timers, req *Request, resp *Response) {
	for _, d := range t.due {
		if d.after <= t.wait {
			resp.Data = appendEvent(resp.Data, event{index: d.index})
		}
	}
	if c.virtual && req.Monotonic <= math.MaxInt64 && req.Realtime <= math.MaxInt64 {
		resp.Value = min(t.wait, math.MaxInt64)
	}
}

// errNotReady is what a stream says that would have to wait.
var errNotReady = errors.New("not ready")
