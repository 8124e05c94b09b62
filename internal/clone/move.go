package clone

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecloud/clonecloud/internal/clone/choose"
	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/wasi"
)

// mostMoved is how much memory moves between engines, in bytes: while it does, there are two of it.
const mostMoved = 256 << 20

// reconsider moves the process to another engine if that is the one for the next offload. The device has just committed, so
// that the process stands at the state that both know; for it nothing changes.
func (s *session) reconsider(ctx context.Context) {
	if s.bound || s.over {
		return
	}
	c := s.choice.next(s.hello.Code)
	if c.Prepare >= 0 {
		s.host.ahead(s.hello, c.Prepare)
	}
	if c.Engine < 0 || c.Engine == s.eng || uint64(s.ever.Len())*delta.PageSize > mostMoved {
		return
	}
	if err := s.move(ctx, c.Engine); err != nil && ctx.Err() == nil {
		s.choice.failed(c.Engine, err)
	}
}

// move brings the process to another engine, whose code is in place. After an error it is where it was.
func (s *session) move(ctx context.Context, to int) error {
	h := s.host
	code, err := h.program(ctx, s.hello, nil, to)
	if err != nil {
		return err
	}
	proc, err := h.fresh(ctx, code)
	if err == nil {
		if err = s.transplant(ctx, proc); err != nil {
			proc.Inst.Close(context.WithoutCancel(ctx))
		}
	}
	if err != nil {
		h.beside(func() { h.leave(code) })
		return fmt.Errorf("move to %s: %w", h.Engines[to].Name(), err)
	}
	old, choice := s.code, s.choice
	s.proc.Inst.Close(context.WithoutCancel(ctx))
	s.proc, s.code, s.eng = proc, code, to
	h.beside(func() {
		choice.save() // should the engine end the process, the next one will not try it at once
		h.leave(old)  // which may make an instance
	})
	return nil
}

// transplant brings a fresh process to the committed state, which the present one has. Preconditions: nothing was
// written since.
func (s *session) transplant(ctx context.Context, to *instance) error {
	w := &wasi.State{}
	if err := w.UnmarshalBinary(s.committed.WASI); err != nil {
		return fmt.Errorf("decode wasi state: %w", err)
	}
	if err := to.Check(s.committed); err != nil {
		return err
	}
	if err := to.Grow(s.committed); err != nil {
		return err
	}
	if to.Mem != nil {
		from, mem := s.proc.Mem.Bytes(), to.Mem.Bytes()
		for first, end := range s.ever.Ranges() {
			copy(mem[uint64(first)*linmem.PageSize:uint64(end)*linmem.PageSize], from[uint64(first)*linmem.PageSize:])
		}
	}
	if err := to.Apply(ctx, s.committed, w); err != nil {
		return err
	}
	if to.Mem == nil {
		return nil
	}
	return to.Mem.ForgetPages(s.ever)
}

// beside runs f beside all else, or at once if the host is being closed.
func (h *Host) beside(f func()) {
	h.mu.Lock()
	closing := h.open.Err() != nil
	if !closing {
		h.work.Add(1)
	}
	h.mu.Unlock()
	if closing {
		f()
		return
	}
	go func() {
		defer h.work.Done()
		f()
	}()
}

// leaveBroken has the process begin anew on another engine if its own has been left for good and the code of another is in
// place. It tells whether that was so.
func (s *session) leaveBroken(ctx context.Context) (bool, error) {
	if s.bound || !s.broken {
		return false, nil
	}
	s.broken = false
	c := s.choice.next(s.hello.Code)
	if c.Prepare >= 0 {
		s.host.ahead(s.hello, c.Prepare)
	}
	if c.Engine < 0 || c.Engine == s.eng || !s.host.inPlace(s.hello.Code)(c.Engine) {
		return false, nil
	}
	return true, s.beginOn(ctx, c.Engine, nil)
}

// noting is the System of a process, and notes that one of its calls has ended the guest.
type noting struct {
	wasi.System
	trip *trip
}

// Do implements wasi.System.
func (n noting) Do(ctx context.Context, req *wasi.Request, resp *wasi.Response) error {
	err := n.System.Do(ctx, req, resp)
	if err != nil {
		n.trip.failed = true
	}
	return err
}

// account takes an offload into what is known of the engine.
func (s *session) account(t *trip, r choose.Run, end error) {
	if s.bound {
		return
	}
	if broke(end) && !t.failed {
		s.broken = true
		s.choice.failed(s.eng, end)
		return
	}
	if end == nil {
		s.choice.ran(s.eng, r)
	}
}

// broke tells whether a run ended in a way that may be the engine's own fault: by what is neither an end of the guest nor
// a limit that holds for every engine. Engines have stacks of their own.
func broke(end error) bool {
	var trap *engine.Trap
	switch {
	case end == nil, merges(end), errors.Is(end, errLimit), errors.Is(end, errCancelled), errors.Is(end, engine.ErrMemory),
		errors.Is(end, migrate.ErrHostLimit), errors.Is(end, migrate.ErrBounds):
		return false
	case errors.As(end, &trap):
		return trap.Kind == engine.TrapStackOverflow
	}
	return true
}

// merges tells whether a call that ended so is merged by the device.
func merges(end error) bool {
	var trap *engine.Trap
	var exit *wasi.ExitError
	var exc *engine.Exception
	switch {
	case end == nil, errors.As(end, &exit), errors.As(end, &exc):
		return true
	}
	return errors.As(end, &trap) && trap.Kind != engine.TrapStackOverflow && !errors.Is(end, errLimit)
}
