package device

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// reintegrate judges what came back, and merges it.
func (t *trip) reintegrate(ctx context.Context, m *wire.Reintegrate) error {
	c := t.c
	begin := time.Now()
	if m.Calls != t.calls {
		return distrust("it made %d calls where %d arrived", m.Calls, t.calls)
	}
	t.exec = min(time.Duration(m.ExecNanos), time.Since(t.start))
	switch m.Outcome {
	case wire.OutcomeHandedBack:
		return &refusal{"handed back", m.Detail}
	case wire.OutcomeResults:
		if err := checkResults(m.Results, t.cand.Results); err != nil {
			return err
		}
	case wire.OutcomeTrap:
		if m.Trap >= uint8(engine.NumTrapKinds) {
			return distrust("trap of kind %d", m.Trap)
		}
	}
	if delta.ID(m.Image.Base) != t.sent {
		return distrust("what came back is based on state %x in place of %v", m.Image.Base[:4], t.sent)
	}
	if err := c.proc.Check(&m.Image); err != nil {
		return distrust("%w", err)
	}
	w := &wasi.State{}
	if err := w.UnmarshalBinary(m.Image.WASI); err != nil {
		return distrust("wasi state: %w", err)
	}
	if err := wasi.CheckReturned(c.proc.WASI.State, w, c.cfg.Local.Issued); err != nil {
		return distrust("wasi state: %w", err)
	}
	var mem []byte
	if c.proc.Mem != nil {
		mem = c.proc.Mem.Bytes()
	}
	lim := delta.Limits{MaxPages: c.cfg.Limits.DownPages, Base: func(page uint32) []byte {
		if at := uint64(page) * delta.PageSize; at < uint64(len(mem)) {
			return mem[at:][:delta.PageSize]
		}
		return nil
	}}
	staged, err := migrate.Stage(t.attempt, &m.Image, lim, func() (wire.Message, error) { return t.recv(ctx) })
	if err != nil {
		if errors.Is(err, peer.ErrLost) || errors.Is(err, errOverdue) || ctx.Err() != nil {
			return err
		}
		return distrust("%w", err)
	}
	t.down, t.pagesDown = staged.Bytes, uint64(staged.Len())
	t.transfer += time.Since(begin)
	begin = time.Now()
	if err := c.proc.Grow(&m.Image); err != nil {
		return &refusal{"memory", err.Error()}
	}
	if err := t.apply(ctx, m, staged, w); err != nil {
		return err
	}
	t.merge = time.Since(begin)
	// What is left of the trip when all else is taken away was spent on the link.
	link := time.Since(t.start) - t.exec - t.capture - t.merge - t.serving - time.Duration(t.homeCalls+1)*c.conn.end.RTT()
	c.cfg.Cloud.measured(t.up+t.down, link)
	t.results = m.Results
	return ending(m)
}

// apply is the merge: from its first write it does not fail.
func (t *trip) apply(ctx context.Context, m *wire.Reintegrate, staged *migrate.Staged, w *wasi.State) error {
	c := t.c
	t.merged = true
	if c.proc.Mem != nil {
		staged.Apply(c.proc.Mem.Bytes())
	}
	if err := c.proc.Apply(ctx, &m.Image, w); err != nil {
		return fmt.Errorf("BUG: merge: %w", err)
	}
	c.closeUnused(ctx)
	for p := range staged.Pages() {
		c.ever.Add(p)
	}
	c.note()
	if c.proc.Mem != nil {
		c.shadow.Update(c.proc.Mem.Bytes(), staged.Pages())
		if err := c.proc.Mem.Forget(); err != nil {
			return fmt.Errorf("BUG: arm after merge: %w", err)
		}
	}
	c.confirmed = staged.Next
	c.pending.Clear()
	if err := t.send(ctx)(&wire.Commit{Offload: t.attempt.Offload, Attempt: t.attempt.Number, State: staged.Next}); err != nil {
		c.cfg.Cloud.drop(c.conn, false) // the merge stands; another clone begins from the initial image
	}
	return nil
}

// closeUnused really closes what the clone has closed.
func (c *Controller) closeUnused(ctx context.Context) {
	used := map[uint64]bool{}
	for _, fd := range c.proc.WASI.State.FDs() {
		used[fd.Handle] = true
	}
	for _, h := range c.cfg.Local.Handles() {
		if !used[h] {
			// An error of a close is nobody's any more: on the clone it had succeeded.
			_ = c.real.Do(ctx, &wasi.Request{Op: wasi.OpClose, Handle: h}, &wasi.Response{})
		}
	}
}

func checkResults(got []uint64, want []byte) error {
	if len(got) != len(want) {
		return distrust("%d results of a function that has %d", len(got), len(want))
	}
	for i, k := range want {
		if (k == 0x7f || k == 0x7d) && got[i]>>32 != 0 {
			return distrust("result %d is out of its type's range", i)
		}
	}
	return nil
}
