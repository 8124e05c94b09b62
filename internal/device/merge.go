package device

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// handedBack is the reason of a fallback whose call the clone could not carry out.
const handedBack = "handed back"

// reintegrate judges what came back, and merges it.
func (t *trip) reintegrate(ctx context.Context, m *wire.Reintegrate) error {
	c := t.c
	begin := time.Now()
	if m.Calls != t.calls {
		return distrust("it made %d calls where %d arrived", m.Calls, t.calls)
	}
	t.exec = time.Duration(min(m.ExecNanos, uint64(time.Since(t.start))))
	t.engine = cmp.Or(m.Engine, c.conn.engine)
	t.emit(trace.Event{Kind: trace.Back, Exec: t.exec})
	if m.Outcome == wire.OutcomeHandedBack {
		return &refusal{handedBack, m.Detail, unquoted.ReplaceAllString(m.Detail, `"..."`)}
	}
	if err := t.checkEnd(m); err != nil {
		return err
	}
	if delta.ID(m.Image.Base) != t.sent {
		return distrust("what came back is based on state %x in place of %v", m.Image.Base[:4], t.sent)
	}
	if err := c.proc.Check(&m.Image); err != nil {
		return distrust("%w", err)
	}
	w, err := t.checkWASI(m.Image.WASI)
	if err != nil {
		return err
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
	staged, err := migrate.Stage(t.attempt, &m.Image, lim, func() (wire.Message, error) { return t.piece(ctx) })
	if err != nil {
		if errors.Is(err, peer.ErrLost) || errors.Is(err, errOverdue) || errors.Is(err, errSilent) || ctx.Err() != nil {
			return err
		}
		return distrust("%w", err)
	}
	t.down, t.pagesDown = staged.Bytes, uint64(staged.Len())
	arrived := time.Now()
	t.transfer += arrived.Sub(begin)
	t.emit(trace.Event{Kind: trace.Received, Took: arrived.Sub(begin), Pages: t.pagesDown, Down: t.down})
	begin = time.Now()
	if err := t.prepareFiles(ctx); err != nil {
		return err
	}
	if err := c.proc.Grow(&m.Image); err != nil {
		return &refusal{word: "memory", text: err.Error()}
	}
	if err := t.apply(ctx, m, staged, w); err != nil {
		return err
	}
	t.merge = time.Since(begin)
	t.emit(trace.Event{Kind: trace.Merge, Took: t.merge, Pages: t.pagesDown, Down: t.down})
	// What is left of the trip when all else is taken away was spent on the link.
	link := time.Since(t.start) - t.exec - t.capture - t.merge - t.serving - t.waiting() - c.conn.end.LeastRTT()
	c.cfg.Cloud.measured(t.up+t.down+t.filesUp+t.filesDown, link)
	t.results = m.Results
	return ending(m)
}

// piece waits for the next message of the pages that come back.
func (t *trip) piece(ctx context.Context) (wire.Message, error) {
	m, err := t.recv(ctx)
	if p, ok := m.(*wire.Pages); ok && len(p.Data) == 0 {
		return nil, distrust("pages of no bytes")
	}
	t.heard = time.Now()
	return m, err
}

// apply is the merge: files first, whose changes stand in a plan that will be carried out; from the first write to memory
// on it does not fail.
func (t *trip) apply(ctx context.Context, m *wire.Reintegrate, staged *migrate.Staged, w *wasi.State) error {
	c := t.c
	if err := t.applyFiles(ctx); err != nil {
		return err
	}
	t.merged = true
	if c.proc.Mem != nil {
		staged.Apply(c.proc.Mem.Bytes())
	}
	w.Env = c.proc.WASI.State.Env // what stays was not sent
	if err := c.proc.Apply(ctx, &m.Image, w); err != nil {
		return fmt.Errorf("BUG: merge: %w", err)
	}
	c.closeUnused(ctx)
	came := &linmem.PageSet{}
	for p := range staged.Pages() {
		came.Add(p)
	}
	c.ever.Or(came)
	c.note()
	if c.proc.Mem != nil {
		c.shadow.Update(c.proc.Mem.Bytes(), staged.Pages())
		// The guest has not run meanwhile: what was written is what came.
		if err := c.proc.Mem.ForgetPages(came); err != nil {
			return fmt.Errorf("BUG: arm after merge: %w", err)
		}
	}
	c.confirmed = staged.Next
	c.pending.Clear()
	if err := t.c.conn.end.Queue(ctx, &wire.Commit{Offload: t.attempt.Offload, Attempt: t.attempt.Number, State: staged.Next}); err != nil {
		c.cfg.Cloud.drop(c.conn, err) // the merge stands; another clone begins from the initial image
	}
	return nil
}

// closeUnused really closes what the clone has closed, but not what is kept.
func (c *Controller) closeUnused(ctx context.Context, kept ...uint64) {
	used := map[uint64]bool{}
	for _, h := range kept {
		used[h] = true
	}
	for _, fd := range c.proc.WASI.State.FDs() {
		used[fd.Handle] = true
	}
	for _, h := range c.cfg.Local.Handles() {
		if !used[h] {
			// An error of a close is nobody's any more: on the clone it had succeeded.
			_ = c.out.Do(ctx, &wasi.Request{Op: wasi.OpClose, Handle: h}, &wasi.Response{})
		}
	}
}
