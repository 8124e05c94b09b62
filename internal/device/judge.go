package device

import (
	"bytes"
	"math"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// What a clone asks for and brings back is held against what the candidate can do at all: the imports that the
// analysis says it can reach.

// reaches tells whether the candidate can call one of some functions of WASI.
func (t *trip) reaches(names ...string) bool {
	reach := t.c.cfg.Reach[t.cand.ID]
	for _, n := range names {
		if reach[wasi.Preview1.String()+"."+n] || reach[wasi.Unstable.String()+"."+n] {
			return true
		}
	}
	return false
}

// allowed refuses a call that the candidate cannot make, or that is no business of the device's.
func (t *trip) allowed(req *wasi.Request) error {
	switch {
	case req.Op == migrate.OpHost:
		if !t.c.cfg.Reach[t.cand.ID][req.Path+"."+req.Path2] {
			return distrust("host function %q %q is out of the candidate's reach", req.Path, req.Path2)
		}
		if err := t.c.proc.CheckHost(req); err != nil {
			return distrust("%w", err)
		}
		return nil
	case req.Op.Where() == wasi.AtClone || req.Op == wasi.OpClose:
		return distrust("%v as a home call", req.Op)
	case !t.reaches(req.Op.Imports()...):
		return distrust("%v is out of the candidate's reach", req.Op)
	}
	if req.Op == wasi.OpPoll {
		subs, err := wasi.ParseSubs(req.Data)
		if err != nil {
			return distrust("poll: %w", err)
		}
		only := true
		for _, s := range subs {
			only = only && s.Kind == wasi.SubClock
		}
		if only {
			return distrust("poll of nothing but clocks")
		}
	}
	for _, h := range req.Handles() {
		fd, ok := t.c.cfg.Local.Issued(h)
		switch {
		case !ok: // no program can name it
			return distrust("%v of handle %d, which was not issued", req.Op, h)
		case t.files != nil && t.files.Owns(h):
			return distrust("%v of handle %d, which the clone has itself", req.Op, h)
		case req.Op == wasi.OpOutput && fd.Kind != wasi.KindOutput:
			return distrust("output to handle %d, which is none", h)
		}
	}
	return nil
}

// believable refuses a note of a call that the candidate cannot make, or of an answer that no clock gives.
func (t *trip) believable(req *wasi.Request, resp *wasi.Response) error {
	switch {
	case req.Op.Where() != wasi.AtClone:
		return distrust("%v as a note", req.Op)
	case !t.reaches(req.Op.Imports()...):
		return distrust("%v is out of the candidate's reach", req.Op)
	case resp.Value > math.MaxInt64 || resp.Errno != vfs.Success:
		return distrust("%v gives %d, %v", req.Op, resp.Value, resp.Errno)
	}
	if req.Op == wasi.OpSleep {
		if _, err := wasi.ParseSubs(req.Data); err != nil {
			return distrust("sleep: %w", err)
		}
		return nil
	}
	last := req.Realtime
	if req.Flags == wasi.Monotonic {
		last = req.Monotonic
	}
	if req.Flags >= wasi.NumClocks || resp.Value < last || len(resp.Data) > 0 {
		return distrust("clock %d goes from %d back to %d", req.Flags, last, resp.Value)
	}
	return nil
}

// checkEnd judges how the call is said to have ended.
func (t *trip) checkEnd(m *wire.Reintegrate) error {
	switch m.Outcome {
	case wire.OutcomeResults:
		return checkResults(m.Results, t.cand.Results)
	case wire.OutcomeTrap:
		// A clone hands back what overflows its stack.
		if k := engine.TrapKind(m.Trap); k >= engine.NumTrapKinds || k == engine.TrapStackOverflow {
			return distrust("trap of kind %d", m.Trap)
		}
	case wire.OutcomeExit:
		if !t.reaches("proc_exit") {
			return distrust("exit is out of the candidate's reach")
		}
	default:
		return distrust("an end with %v, which no candidate can have", m.Outcome) // exceptions: none can leave one
	}
	return nil
}

func checkResults(got []uint64, want []byte) error {
	if len(got) != len(want) {
		return distrust("%d results of a function that has %d", len(got), len(want))
	}
	for i, k := range want {
		if (k == engine.I32 || k == engine.F32) && got[i]>>32 != 0 {
			return distrust("result %d is out of its type's range", i)
		}
	}
	return nil
}

// checkWASI decodes the WASI state that the call is said to have left, and judges it.
func (t *trip) checkWASI(b []byte) (*wasi.State, error) {
	before, after := t.c.proc.WASI.State, &wasi.State{}
	if err := after.UnmarshalBinary(b); err != nil {
		return nil, distrust("wasi state: %w", err)
	}
	if env := t.c.cfg.Private.public(before.Env); len(env) != len(before.Env) {
		sent := *before
		sent.Env = env
		before = &sent
	}
	if err := wasi.CheckReturned(before, after, t.issued); err != nil {
		return nil, distrust("wasi state: %w", err)
	}
	if before.Clocks != after.Clocks && !t.reaches("clock_time_get", "poll_oneoff") {
		return nil, distrust("clocks are out of the candidate's reach")
	}
	if !t.reaches("random_get") {
		was, err := before.Rand.MarshalBinary()
		is, err2 := after.Rand.MarshalBinary()
		if err != nil || err2 != nil || !bytes.Equal(was, is) {
			return nil, distrust("the random generator is out of the candidate's reach")
		}
	}
	return after, t.checkFDs(before, after)
}

// checkFDs refuses changes of descriptors that the candidate has no call for.
func (t *trip) checkFDs(before, after *wasi.State) error {
	for fd, was := range before.FDs() {
		is := after.FD(fd)
		switch {
		case is == nil || is.Handle != was.Handle:
			if !t.reaches("fd_close", "fd_renumber") {
				return distrust("closing descriptor %d is out of the candidate's reach", fd)
			}
		case is.Offset != was.Offset && !t.reaches("fd_read", "fd_write", "fd_seek"),
			is.Flags != was.Flags && !t.reaches("fd_fdstat_set_flags"),
			(is.Base != was.Base || is.Inheriting != was.Inheriting) && !t.reaches("fd_fdstat_set_rights"):
			return distrust("what became of descriptor %d is out of the candidate's reach", fd)
		}
	}
	for fd := range after.FDs() {
		if before.FD(fd) == nil && !t.reaches("path_open", "fd_renumber") {
			return distrust("opening descriptor %d is out of the candidate's reach", fd)
		}
	}
	return nil
}
