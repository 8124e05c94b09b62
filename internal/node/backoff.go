package node

import "time"

// backoff says when to try again what has failed: at once at first, then after pauses that double. It reads no clock.
type backoff struct {
	free        int           // failures without a pause
	first, most time.Duration // the pauses
	fails       int
	until       time.Time
}

// fail counts a failure.
func (b *backoff) fail(now time.Time) {
	b.fails++
	if n := b.fails - b.free; n > 0 {
		b.until = now.Add(min(b.most, b.first<<min(n-1, 20)))
	}
}

// wait is how long to wait from now on; 0: no longer.
func (b *backoff) wait(now time.Time) time.Duration { return max(0, b.until.Sub(now)) }

func (b *backoff) succeed() { b.fails, b.until = 0, time.Time{} }

// stale tells whether the failures are so long ago that they say nothing any more.
func (b *backoff) stale(now time.Time) bool { return now.Sub(b.until) > 2*b.most }
