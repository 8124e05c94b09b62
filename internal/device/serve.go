package device

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// tick is how often a waiting trip looks whether it is overdue.
const tick = 20 * time.Millisecond

// serve carries out the clone's calls until it is back.
func (t *trip) serve(ctx context.Context) error {
	for {
		m, err := t.recv(ctx)
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *wire.HomeCall:
			if !t.mine(m.Offload, m.Attempt) {
				continue
			}
			err = t.homeCall(ctx, m)
		case *wire.Output:
			if !t.mine(m.Offload, m.Attempt) {
				continue
			}
			err = t.write(ctx, m)
		case *wire.Note:
			if !t.mine(m.Offload, m.Attempt) {
				continue
			}
			err = t.note(m)
		case *wire.Refuse:
			if !t.mine(m.Offload, m.Attempt) {
				continue
			}
			return &refusal{"refused", fmt.Sprintf("%v: %s", m.Code, m.Text)}
		case *wire.Reintegrate:
			if !t.mine(m.Offload, m.Attempt) {
				continue // its pages are skipped below
			}
			return t.reintegrate(ctx, m)
		case *wire.Pages, *wire.PagesEnd, *wire.SyncState:
			// Of an attempt that was given up.
		default:
			return distrust("%v out of place", m.Type())
		}
		if err != nil {
			return err
		}
	}
}

func (t *trip) mine(offload uint64, attempt uint32) bool {
	return t.attempt == migrate.Attempt{Offload: offload, Number: attempt}
}

// recv waits for the next message, or until the trip is overdue.
func (t *trip) recv(ctx context.Context) (wire.Message, error) {
	for {
		wait, stop := context.WithTimeout(ctx, tick)
		m, err := t.c.conn.end.Recv(wait)
		stop()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return m, err
		}
		calls := time.Duration(t.homeCalls) * t.c.conn.end.RTT()
		if t.c.cfg.Policy.Overdue(t.cand.ID, time.Since(t.start)-t.serving, calls) {
			return nil, errOverdue
		}
	}
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

// allowed refuses a call that the candidate cannot make.
func (t *trip) allowed(req *wasi.Request) error {
	reach := t.c.cfg.Reach[t.cand.ID]
	if req.Op == migrate.OpHost {
		if !reach[req.Path+"."+req.Path2] {
			return distrust("host function %q %q is out of the candidate's reach", req.Path, req.Path2)
		}
		return nil
	}
	for _, n := range req.Op.Imports() {
		if reach[wasi.Preview1.String()+"."+n] || reach[wasi.Unstable.String()+"."+n] {
			return t.known(req)
		}
	}
	return distrust("%v is out of the candidate's reach", req.Op)
}

// known refuses handles that were never issued, which no program can name.
func (t *trip) known(req *wasi.Request) error {
	for _, h := range req.Handles() {
		if _, ok := t.c.cfg.Local.Issued(h); !ok {
			return distrust("%v of a handle that was never issued", req.Op)
		}
	}
	return nil
}

func (t *trip) homeCall(ctx context.Context, m *wire.HomeCall) error {
	if last, ok := t.journal.Last(); ok && m.Call == t.calls && m.Call > 0 {
		// A call that is repeated is answered, never carried out, again.
		return t.send(ctx)(&wire.HomeResult{Offload: m.Offload, Attempt: m.Attempt, Call: m.Call, Response: last.Response})
	}
	if err := t.next(m.Call); err != nil {
		return err
	}
	var req wasi.Request
	if err := req.Decode(m.Request); err != nil {
		return distrust("call %d: %w", m.Call, err)
	}
	if req.Op.Where() == wasi.AtClone || req.Op == wasi.OpClose {
		return distrust("%v as a home call", req.Op)
	}
	if err := t.allowed(&req); err != nil {
		return err
	}
	t.homeCalls++
	response, err := t.carryOut(ctx, &req)
	if err != nil {
		return err
	}
	return t.send(ctx)(&wire.HomeResult{Offload: m.Offload, Attempt: m.Attempt, Call: m.Call, Response: response})
}

// carryOut does what the clone asked for, and has it in the journal before anything else happens.
func (t *trip) carryOut(ctx context.Context, req *wasi.Request) ([]byte, error) {
	begin := time.Now()
	var resp wasi.Response
	err := wasi.Serve(ctx, t.c.real, req, &resp)
	t.serving += time.Since(begin)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errGuest, err)
	}
	response := resp.AppendTo(nil)
	t.calls++
	return response, t.journal.Append(migrate.Entry{Op: req.Op, Digest: req.Digest(), Response: response})
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
	response, err := t.carryOut(ctx, req)
	if err != nil {
		return err
	}
	var resp wasi.Response
	if err := resp.Decode(response); err != nil {
		return err
	}
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
	if req.Op.Where() != wasi.AtClone {
		return distrust("%v as a note", req.Op)
	}
	if err := t.allowed(&req); err != nil {
		return err
	}
	t.calls++
	return t.journal.Append(migrate.Entry{Op: req.Op, Digest: req.Digest(), Response: m.Response})
}
