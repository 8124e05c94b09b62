package clone

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// errCancelled ends the guest when the device has given the attempt up.
var errCancelled = errors.New("attempt cancelled by the device")

// trip is one attempt of an offload while it runs here, and the System of the process meanwhile: clocks are read here
// and noted in the device's journal, output goes to the device one-way, everything else is called home.
type trip struct {
	migrate.Attempt
	send   func(wire.Message) error
	clocks wasi.System
	cancel context.CancelCauseFunc

	calls   uint64
	credit  wire.CreditSender
	granted uint64 // the credit taken so far
	gate    *gate
	inside  atomic.Bool // the guest runs, and the gate knows
	failed  bool        // a call of the host's has ended the guest
	room    uint64      // bytes of output that may still come
	buf     []byte
	start   time.Time

	news   chan struct{} // signals that one of the following came
	mu     sync.Mutex
	result *wire.HomeResult // guarded by mu
	limit  uint64           // guarded by mu; the highest credit
	waited time.Duration    // guarded by mu; for the device, until the present wait
	since  time.Time        // guarded by mu; when the present wait began; zero: none
}

// take notes a message for the trip; the session's receiver calls it and never waits.
func (t *trip) take(m wire.Message) {
	t.mu.Lock()
	switch m := m.(type) {
	case *wire.HomeResult:
		t.result = m
	case *wire.Credit:
		t.limit = max(t.limit, m.Limit)
	}
	t.mu.Unlock()
	select {
	case t.news <- struct{}{}:
	default:
	}
}

// Do implements wasi.System.
func (t *trip) Do(ctx context.Context, req *wasi.Request, resp *wasi.Response) error {
	if req.Op == wasi.OpClose {
		return nil // takes effect when the device merges the descriptors
	}
	t.calls++
	if req.Op.Where() == wasi.OneWay {
		if uint64(len(req.Data)) > t.room {
			return fmt.Errorf("%w: output of one offload", errLimit)
		}
		t.room -= uint64(len(req.Data))
	}
	// The guest's code does not run meanwhile: who waits for it to poll need not wait for the device.
	t.gate.leave()
	defer t.gate.enter()
	switch where := req.Op.Where(); {
	case where == wasi.AtClone:
		return t.note(ctx, req, resp)
	case where == wasi.OneWay && len(req.Data) <= wire.MaxData:
		return t.output(ctx, req, resp)
	}
	return t.home(ctx, req, resp)
}

func (t *trip) note(ctx context.Context, req *wasi.Request, resp *wasi.Response) error {
	if err := t.clocks.Do(ctx, req, resp); err != nil {
		return err
	}
	return t.send(&wire.Note{Offload: t.Offload, Attempt: t.Number, Call: t.calls,
		Request: req.AppendTo(nil), Response: resp.AppendTo(nil)})
}

func (t *trip) output(ctx context.Context, req *wasi.Request, resp *wasi.Response) error {
	for need := len(req.Data); need > 0; {
		if n := t.credit.Take(need); n > 0 {
			need -= n
			continue
		}
		if _, err := t.wait(ctx, func() bool { return t.limit > t.granted }); err != nil {
			return err
		}
	}
	resp.N = uint64(len(req.Data))
	return t.send(&wire.Output{Offload: t.Offload, Attempt: t.Number, Call: t.calls, Handle: req.Handle, Data: req.Data})
}

func (t *trip) home(ctx context.Context, req *wasi.Request, resp *wasi.Response) error {
	t.buf = req.AppendTo(t.buf[:0])
	err := t.send(&wire.HomeCall{Offload: t.Offload, Attempt: t.Number, Call: t.calls, Request: t.buf})
	if err != nil {
		return err
	}
	r, err := t.wait(ctx, func() bool { return t.result != nil })
	if err != nil {
		return err
	}
	if r.Call != t.calls {
		return fmt.Errorf("answer to call %d where %d is open: %w", r.Call, t.calls, wire.ErrProtocol)
	}
	return migrate.ApplyResponse(r.Response, req, resp)
}

// waitedFor is how long the trip has waited for the device so far.
func (t *trip) waitedFor() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.since.IsZero() {
		return t.waited
	}
	return t.waited + time.Since(t.since)
}

// await and awaited frame the time in which the trip waits for the device.
func (t *trip) await() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.since = time.Now()
}

func (t *trip) awaited() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waited, t.since = t.waited+time.Since(t.since), time.Time{}
}

// wait blocks until there is what is waited for, and takes the result, if any, and the credit.
func (t *trip) wait(ctx context.Context, there func() bool) (*wire.HomeResult, error) {
	t.await()
	defer t.awaited()
	for {
		t.mu.Lock()
		if there() {
			r := t.result
			t.result, t.granted = nil, t.limit
			t.credit.Grant(t.limit)
			t.mu.Unlock()
			return r, nil
		}
		t.mu.Unlock()
		select {
		case <-t.news:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
