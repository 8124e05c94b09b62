package device

import (
	"context"
	"fmt"
	"time"

	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/trace"
)

// Looking for pages that were written takes time, with some trackers much: what it takes may be this share of the run.
const (
	lookShare = 20                    // one part in so many
	lookFrom  = 20 * time.Millisecond // what a call must take for its pages to be counted
	lookCalls = 4                     // of a candidate
)

// collect takes the writes since the last capture into the sets.
func (c *Controller) collect() error {
	if c.proc.Mem == nil {
		return nil
	}
	begin := time.Now()
	dirty := &linmem.PageSet{}
	err := c.proc.Mem.Collect(dirty) // after an error too, what is in dirty is not reported again
	c.pending.Or(dirty)
	c.ever.Or(dirty)
	for i := range c.frames {
		if f := &c.frames[i]; f.wrote == nil {
			f.wrote = dirty.Clone()
		} else {
			f.wrote.Or(dirty)
		}
	}
	if err != nil {
		return fmt.Errorf("collect dirty pages: %w", err)
	}
	c.looked = time.Now()
	c.looking = c.looked.Sub(begin)
	return nil
}

// look is collect where that is not too dear by now; false: what is known is older.
func (c *Controller) look() bool {
	return time.Since(c.looked) >= c.looking*lookShare && c.collect() == nil
}

// wrote counts the bytes of the pages that the innermost call has written here, if that is worth knowing.
func (c *Controller) wrote(took time.Duration) (uint64, bool) {
	f := &c.frames[len(c.frames)-1]
	if took < lookFrom || c.proc.Mem == nil || c.looks[f.id] >= lookCalls || !c.look() {
		return 0, false
	}
	c.looks[f.id]++
	return uint64(f.wrote.Len()) * delta.PageSize, true
}

// behind counts the bytes of the pages that the clone lacks.
func (c *Controller) behind() uint64 {
	c.look()
	return uint64(c.pending.Len()) * delta.PageSize
}

// situation is what a policy may know of this moment.
func (c *Controller) situation() Situation {
	s := Situation{Now: c.now(), Depth: len(c.frames), Up: uint64(c.pending.Len()) * delta.PageSize}
	s.Rate, s.RTT = c.cfg.Cloud.recalled()
	if c.conn != nil {
		s.Ready = true
		if rtt := c.conn.end.RTT(); rtt > 0 {
			s.RTT = rtt
		}
		s.Find = c.find
	}
	return s
}

// await returns the conversation to use for a call of a candidate. Where there is none it waits for one, for as long as
// the policy expects to gain by that; where nothing is known, the first candidate waits as long as the configuration says.
func (c *Controller) await(ctx context.Context, id uint32) *conn {
	if n := c.cfg.Cloud.ready(); n != nil {
		c.waited = true // another, should this one be lost, is not waited for
		return n
	}
	var wait time.Duration
	informed := false
	if p, ok := c.cfg.Policy.(Patient); ok {
		var most time.Duration
		if most, informed = p.Patience(id, c.situation()); informed {
			wait = most
		}
	}
	if !informed && !c.waited {
		wait, c.waited = c.cfg.Wait, true
	}
	if wait <= 0 {
		return nil
	}
	begin := time.Now()
	n := c.cfg.Cloud.await(ctx, wait, informed)
	took := time.Since(begin)
	c.inside += took
	c.cut = ctx.Err() != nil
	if c.cfg.Events != nil {
		c.emit(trace.Event{Kind: trace.Waited, Function: name(c.proc.Manifest.Candidates[id]), Took: took, Final: n == nil})
	}
	return n
}
