package migrate

import (
	"context"
	"fmt"

	"github.com/clonecloud/clonecloud/internal/wasi"
)

// Effect tells whether a call changed something outside the process that stays. What has none may be forgotten, or
// done again: a clone that lied may have made calls that the program does not make.
func Effect(req *wasi.Request, resp *wasi.Response) bool {
	switch req.Op {
	case wasi.OpClockTime, wasi.OpSleep, wasi.OpPoll, wasi.OpReadAt, wasi.OpStat, wasi.OpStatPath, wasi.OpReadDir, wasi.OpReadlink, wasi.OpSync:
		return false
	case wasi.OpRead, wasi.OpOutput, wasi.OpWrite, wasi.OpWriteAt, wasi.OpAppend:
		return resp.N > 0
	case wasi.OpOpen:
		return resp.Errno == 0 && req.Flags&(wasi.FlagCreate|wasi.FlagTruncate) != 0
	case OpHost:
		return true
	}
	return resp.Errno == 0
}

// Replayer is the System of a device's process: it passes calls to the real one, and during a fallback it
// answers from the lost offload's journal until that is used up. One goroutine at a time.
//
// What the clone had done outside must be repeated call for call, or the run has diverged. Entries without an effect
// that do not match are forgotten, and the call goes to the real System if no effect is left behind it.
type Replayer struct {
	Real    wasi.System
	journal *Journal
	forgot  int
}

// Begin makes the calls that follow be answered from j first. The Replayer owns j from here on.
func (r *Replayer) Begin(j *Journal) {
	r.journal = j
	if j.Remaining() == 0 {
		r.drop()
	}
}

func (r *Replayer) drop() {
	r.journal.Close()
	r.journal = nil
}

// Replaying tells whether entries are left to consume.
func (r *Replayer) Replaying() bool { return r.journal != nil }

// Forgot counts the entries so far that did not match and could be forgotten. Only a clone that lies leaves any.
func (r *Replayer) Forgot() int { return r.forgot }

// End checks that the fallback that finished has consumed all that its clone had done outside.
func (r *Replayer) End() error {
	if r.journal == nil {
		return nil
	}
	n, harmless := r.journal.Remaining(), r.journal.Harmless()
	r.drop()
	if harmless {
		r.forgot += n
		return nil
	}
	return fmt.Errorf("%w: the run ended with %d host calls of the clone not repeated", ErrDiverged, n)
}

// Do implements wasi.System.
func (r *Replayer) Do(ctx context.Context, req *wasi.Request, resp *wasi.Response) error {
	if r.journal == nil || req.Op == wasi.OpClose {
		// A close is never in the journal: what the clone closed is closed when its descriptors are merged.
		return r.Real.Do(ctx, req, resp)
	}
	for digest := req.Digest(); ; r.forgot++ {
		e, err := r.journal.Next()
		if err != nil {
			return err
		}
		match, number := e.Op == req.Op && e.Digest == digest, r.journal.read
		diverged := !match && e.Effect
		if diverged || r.journal.Remaining() == 0 {
			r.drop()
		}
		switch {
		case match:
			return ApplyResponse(e.Response, req, resp)
		case diverged:
			return fmt.Errorf("%w: host call %d was %v on the clone and is %v now, or its input differs",
				ErrDiverged, number, e.Op, req.Op)
		case r.journal == nil:
			r.forgot++
			return r.Real.Do(ctx, req, resp)
		}
	}
}

// ApplyResponse fills resp, and the buffer of a read, from an encoded response.
func ApplyResponse(b []byte, req *wasi.Request, resp *wasi.Response) error {
	if err := resp.Decode(b); err != nil {
		return fmt.Errorf("decode response of %v: %w", req.Op, err)
	}
	return resp.Fill(req)
}
