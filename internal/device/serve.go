package device

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// serve carries out the clone's calls until it is back.
func (t *trip) serve(ctx context.Context) error {
	for {
		m, err := t.recv(ctx)
		if err != nil {
			return err
		}
		if err := t.handle(ctx, m); err != nil || t.merged {
			return err
		}
		t.heard = time.Now()
	}
}

// handle takes one message of the attempt. What is of another attempt has no business here: all of an earlier one
// came before the SyncState that answers its end.
func (t *trip) handle(ctx context.Context, m wire.Message) error {
	mine := func(offload uint64, attempt uint32) error {
		if a := (migrate.Attempt{Offload: offload, Number: attempt}); a != t.attempt {
			return distrust("%v of offload %v in the midst of %v", m.Type(), a, t.attempt)
		}
		return nil
	}
	var err error
	switch m := m.(type) {
	case *wire.HomeCall:
		if err = mine(m.Offload, m.Attempt); err == nil {
			err = t.homeCall(ctx, m)
		}
	case *wire.Output:
		if err = mine(m.Offload, m.Attempt); err == nil {
			err = t.write(ctx, m)
		}
	case *wire.Note:
		if err = mine(m.Offload, m.Attempt); err == nil {
			err = t.note(m)
		}
	case *wire.Files:
		if err = mine(m.Offload, m.Attempt); err == nil {
			err = t.handleFiles(ctx, m)
		}
	case *wire.Reintegrate:
		if err = mine(m.Offload, m.Attempt); err == nil {
			err = t.reintegrate(ctx, m)
		}
	case *wire.Refuse:
		if err = mine(m.Offload, m.Attempt); err == nil {
			err = &refusal{word: "refused", text: fmt.Sprintf("%v: %s", m.Code, m.Text)}
		}
	default:
		err = distrust("%v out of place", m.Type())
	}
	return err
}

// recv waits for the next message, or until the trip is overdue.
func (t *trip) recv(ctx context.Context) (wire.Message, error) {
	for {
		if err := t.late(); err != nil {
			return nil, err
		}
		wait := t.c.ticks.until(ctx)
		m, err := t.c.conn.recv(wait, t.c.initial())
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.Canceled) {
			return m, err
		}
		if t.back == nil && t.c.cfg.Away != nil && time.Since(t.start) >= tick {
			t.back = t.c.cfg.Away()
		}
	}
}

// late tells whether to go on without the clone. It looks once in a tick, however much the clone says.
func (t *trip) late() error {
	now := time.Now()
	if now.Sub(t.looked) < tick {
		return nil
	}
	t.looked = now
	if t.c.cfg.Policy.Overdue(t.cand.ID, now.Sub(t.start)-t.serving, t.waiting()) {
		return errOverdue
	}
	if d := now.Sub(t.heard); d > t.c.cfg.Limits.Silence {
		return fmt.Errorf("%w: for %v", errSilent, d.Round(time.Millisecond))
	}
	return nil
}

// next checks the number of a call, and that the attempt may make another.
func (t *trip) next(call uint64) error {
	if call != t.calls+1 {
		return distrust("call %d after %d", call, t.calls)
	}
	if call > t.c.cfg.Limits.Calls {
		return distrust("more than %d calls", t.c.cfg.Limits.Calls)
	}
	if !t.journal.Room(wire.MaxCall) {
		return migrate.ErrJournalFull
	}
	return nil
}

// maxRepeats is how often a call may be repeated.
const maxRepeats = 16

func (t *trip) homeCall(ctx context.Context, m *wire.HomeCall) error {
	var req wasi.Request
	if err := req.Decode(m.Request); err != nil {
		return distrust("call %d: %w", m.Call, err)
	}
	answer := func(response []byte) error {
		return t.send(ctx)(&wire.HomeResult{Offload: m.Offload, Attempt: m.Attempt, Call: m.Call, Response: response})
	}
	if last, ok := t.journal.Last(); ok && m.Call == t.calls && last.Op == req.Op && last.Digest == req.Digest() {
		// A call that is repeated is answered, never carried out, again.
		if t.repeats++; t.repeats > maxRepeats {
			return distrust("call %d again and again", m.Call)
		}
		return answer(last.Response)
	}
	if err := t.next(m.Call); err != nil {
		return err
	}
	if err := t.allowed(&req); err != nil {
		return err
	}
	if what := t.c.out.touches(&req); what != "" {
		return privateError{what}
	}
	if !t.answered.IsZero() {
		t.turn = min(t.turn, time.Since(t.answered))
	}
	t.homeCalls++
	begin := time.Now()
	response, err := t.carryOut(ctx, &req)
	if err != nil {
		return err
	}
	t.answered = time.Now()
	t.emit(trace.Event{Kind: trace.HomeCall, Op: req.Op.String(), Down: uint64(len(m.Request)), Up: uint64(len(response)), Took: t.answered.Sub(begin)})
	if req.Op == migrate.OpHost {
		t.c.cfg.Audit("%s: host function %s for the clone, %d bytes", name(t.cand), peer.Printable(req.Path+"."+req.Path2), len(response))
	} else if what := t.c.out.name(&req); what != "" {
		t.c.cfg.Audit("%s: %v of %q for the clone, %d bytes", name(t.cand), req.Op, what, len(response))
	}
	if !t.c.mayUpload(uint64(len(response))) {
		return errUpload
	}
	return answer(response)
}

// waiting is what the home calls of the trip have spent on the link, at least: a round trip each. None takes longer
// than the quickest turn from an answer to the next call, whatever was measured while the machines were busy.
func (t *trip) waiting() time.Duration {
	return time.Duration(t.homeCalls) * min(t.c.conn.end.LeastRTT(), t.turn)
}

// carryOut does what the clone asked for, and has it in the journal before anything else happens.
func (t *trip) carryOut(ctx context.Context, req *wasi.Request) ([]byte, error) {
	begin := time.Now()
	var resp wasi.Response
	err := wasi.Serve(ctx, t.c.out, req, &resp)
	t.serving += time.Since(begin)
	if err != nil {
		return nil, &guestError{err}
	}
	response := resp.AppendTo(nil)
	return response, t.record(req, &resp, response)
}

// record puts a call into the journal.
func (t *trip) record(req *wasi.Request, resp *wasi.Response, response []byte) error {
	t.calls++
	t.repeats = 0
	return t.journal.Append(migrate.Entry{
		Op: req.Op, Effect: migrate.Effect(req, resp), Digest: req.Digest(), Response: response,
	})
}

func (t *trip) write(ctx context.Context, m *wire.Output) error {
	if err := t.next(m.Call); err != nil {
		return err
	}
	if err := t.credit.Receive(len(m.Data)); err != nil {
		return distrust("%w", err)
	}
	req := &wasi.Request{Op: wasi.OpOutput, Handle: m.Handle, Data: m.Data}
	if err := t.allowed(req); err != nil {
		return err
	}
	if t.output += uint64(len(m.Data)); t.output > t.c.cfg.Limits.Output {
		return distrust("more than %d bytes of output", t.c.cfg.Limits.Output)
	}
	begin := time.Now()
	response, err := t.carryOut(ctx, req)
	if err != nil {
		return err
	}
	var resp wasi.Response
	if err := resp.Decode(response); err != nil {
		return err
	}
	t.emit(trace.Event{Kind: trace.Output, Down: min(resp.N, uint64(len(m.Data))), Took: time.Since(begin)})
	if resp.Errno != 0 || resp.N != uint64(len(m.Data)) {
		// The clone went on as if it had succeeded: what it did since never happened.
		return fmt.Errorf("%w: %d of %d bytes, %v", errOutput, resp.N, len(m.Data), resp.Errno)
	}
	if limit, grant := t.credit.Consume(len(m.Data)); grant {
		return t.send(ctx)(&wire.Credit{Offload: m.Offload, Attempt: m.Attempt, Limit: limit})
	}
	return nil
}

func (t *trip) note(m *wire.Note) error {
	if err := t.next(m.Call); err != nil {
		return err
	}
	var req wasi.Request
	if err := req.Decode(m.Request); err != nil {
		return distrust("note %d: %w", m.Call, err)
	}
	var resp wasi.Response
	if err := resp.Decode(m.Response); err != nil {
		return distrust("note %d: %w", m.Call, err)
	}
	if err := t.believable(&req, &resp); err != nil {
		return err
	}
	t.emit(trace.Event{Kind: trace.Note, Op: req.Op.String()})
	return t.record(&req, &resp, m.Response)
}
