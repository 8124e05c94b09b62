package migrate

import (
	"context"
	"fmt"

	"github.com/clonecloud/clonecloud/internal/wasi"
)

// Replayer is the System of a device's process: it passes calls to the real one, and during a fallback it
// answers from the lost offload's journal until that is used up. One goroutine at a time.
type Replayer struct {
	Real    wasi.System
	journal *Journal
}

// Begin makes the calls that follow be answered from j first. The Replayer owns j from here on.
func (r *Replayer) Begin(j *Journal) {
	if j.Remaining() == 0 {
		j.Close()
		return
	}
	r.journal = j
}

// Replaying tells whether entries are left to consume.
func (r *Replayer) Replaying() bool { return r.journal != nil }

// End checks that the fallback that finished has consumed all that its clone had seen.
func (r *Replayer) End() error {
	if r.journal == nil {
		return nil
	}
	n := r.journal.Remaining()
	r.journal.Close()
	r.journal = nil
	return fmt.Errorf("%w: the run ended with %d host calls of the clone not repeated", ErrDiverged, n)
}

// Do implements wasi.System.
func (r *Replayer) Do(ctx context.Context, req *wasi.Request, resp *wasi.Response) error {
	if r.journal == nil || req.Op == wasi.OpClose {
		return r.Real.Do(ctx, req, resp)
	}
	// A close is never in the journal: what the clone closed is closed when its descriptors are merged.
	e, err := r.journal.Next()
	if err != nil {
		return err
	}
	if e.Op != req.Op || e.Digest != req.Digest() {
		return fmt.Errorf("%w: host call %d was %v on the clone and is %v now, or its input differs",
			ErrDiverged, r.journal.read, e.Op, req.Op)
	}
	if r.journal.Remaining() == 0 {
		r.journal.Close()
		r.journal = nil
	}
	return ApplyResponse(e.Response, req, resp)
}

// ApplyResponse fills resp, and the buffer of a read, from an encoded response.
func ApplyResponse(b []byte, req *wasi.Request, resp *wasi.Response) error {
	if err := resp.Decode(b); err != nil {
		return fmt.Errorf("decode response of %v: %w", req.Op, err)
	}
	return resp.Fill(req)
}
