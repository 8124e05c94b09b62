package wasi

import (
	"context"
	"math"
	"time"

	"github.com/clonecloud/clonecloud/internal/vfs"
)

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

// NewClocks returns the machine's clocks, or virtual ones: each reading is 1 ms after the last, sleeping takes no time.
func NewClocks(virtual bool) *Clocks { return &Clocks{virtual: virtual, epoch: time.Now()} }

// Start is what the clocks of a new process stand at.
func (c *Clocks) Start() [NumClocks]uint64 {
	if c.virtual {
		return [NumClocks]uint64{Realtime: virtualEpoch}
	}
	return [NumClocks]uint64{}
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
		if req.Flags >= NumClocks {
			return vfs.EINVAL
		}
		resp.Value = c.Now(int(req.Flags), req)
		return nil
	case OpSleep:
		subs, err := ParseSubs(req.Data)
		if err != nil {
			return err
		}
		timers, err := c.Timers(subs, req)
		if err != nil {
			return err
		}
		if err := c.Sleep(ctx, timers.Wait); err != nil {
			return err
		}
		c.Fire(timers, req, resp)
		return nil
	}
	return vfs.ENOSYS
}

// Now reads a clock, not before the last value that req carries. The monotonic clock of a machine that the process
// moved to goes on from there, the wall clock waits until it is true again.
func (c *Clocks) Now(id int, req *Request) uint64 {
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

// Timers are the clock subscriptions of a poll.
type Timers struct {
	due  []timer
	Wait uint64 // until the first; math.MaxUint64 if there is none
}

type timer struct {
	index uint32
	after uint64 // from the beginning of the poll
}

// Timers finds the clock subscriptions of a poll.
func (c *Clocks) Timers(subs []Sub, req *Request) (Timers, error) {
	t := Timers{Wait: math.MaxUint64}
	for i, s := range subs {
		if s.Kind != SubClock {
			continue
		}
		if s.Clock >= NumClocks {
			return t, vfs.EINVAL
		}
		after := s.Arg
		if s.Absolute {
			now := c.Now(int(s.Clock), req)
			after -= min(now, after)
		}
		t.due = append(t.due, timer{uint32(i), after})
		t.Wait = min(t.Wait, after)
	}
	if len(t.due) == 0 && req.Op == OpSleep {
		return t, vfs.EINVAL
	}
	return t, nil
}

// Sleep waits ns, longer than anyone lives at most.
func (c *Clocks) Sleep(ctx context.Context, ns uint64) error {
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

// Fire answers with the timers that are due once the first one is.
func (c *Clocks) Fire(t Timers, req *Request, resp *Response) {
	for _, d := range t.due {
		if d.after <= t.Wait {
			resp.Data = AppendEvent(resp.Data, Event{Index: d.index})
		}
	}
	if c.virtual && req.Monotonic <= math.MaxInt64 && req.Realtime <= math.MaxInt64 {
		resp.Value = min(t.Wait, math.MaxInt64)
	}
}

// Virtual says whether these clocks only count.
func (c *Clocks) Virtual() bool { return c.virtual }
