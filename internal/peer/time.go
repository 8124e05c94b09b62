package peer

import (
	"sync"
	"time"
)

// vigil is a timer that counts the time in which this process runs. A machine that slept, or a process that was stopped,
// finds the rest of its time still to come: the other side could not have been heard meanwhile.
type vigil struct {
	mu    sync.Mutex
	timer *time.Timer
	step  time.Duration
	left  time.Duration
	ended bool
}

// vigilSteps is into how many parts the time is cut: of a pause, one part at most is counted.
const vigilSteps = 16

// keepVigil calls f once d has passed.
func keepVigil(d time.Duration, f func()) *vigil {
	v := &vigil{step: max(d/vigilSteps, time.Millisecond), left: d}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.timer = time.AfterFunc(min(v.step, v.left), func() {
		v.mu.Lock()
		v.left -= v.step
		over := v.left <= 0 && !v.ended
		if v.left > 0 && !v.ended {
			v.timer.Reset(min(v.step, v.left))
		}
		v.ended = v.ended || over
		v.mu.Unlock()
		if over {
			f()
		}
	})
	return v
}

// Stop prevents f from being called, if it has not begun.
func (v *vigil) Stop() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended = true
	v.timer.Stop()
}

// rate estimates how many bytes of frames in a second the way to the other side takes, from acknowledgements between
// which something was always on the way. It reads no clock.
type rate struct {
	perSecond float64 // 0: not known
	last      time.Time
	bytes     uint64
	busy      bool // since last, something has been on the way
}

const (
	rateBytes = 32 << 10             // less says more about the machines than about the link
	rateTime  = 2 * time.Millisecond // likewise
)

// begin notes that something is sent; idle tells whether nothing was on the way before.
func (r *rate) begin(idle bool) {
	if idle {
		r.busy = false
	}
}

// acknowledged notes that n bytes have arrived and whether others are still on the way. It tells whether the estimate
// changed.
func (r *rate) acknowledged(now time.Time, n uint64, more bool) bool {
	if !r.busy { // the first of a burst: it waited a round trip besides
		r.busy, r.last, r.bytes = more, now, 0
		return false
	}
	r.bytes += n
	took := now.Sub(r.last)
	r.busy = more
	if r.bytes < rateBytes || took < rateTime {
		return false
	}
	sample := float64(r.bytes) / took.Seconds()
	if r.perSecond == 0 {
		r.perSecond = sample
	} else {
		r.perSecond += (sample - r.perSecond) / 4
	}
	r.last, r.bytes = now, 0
	return true
}
