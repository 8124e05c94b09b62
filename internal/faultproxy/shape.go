package faultproxy

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
)

const (
	// leastQueue is what a direction of a connection holds at least before its sender has to wait.
	leastQueue = 64 << 10
	// freeQueue is what it holds where there is no rate that would say how much a round trip is.
	freeQueue = 16 << 20
	// slack is for how long there must be bytes at hand, so that a fast line does not run idle when a goroutine is
	// woken late.
	slack = 2 * time.Millisecond
	// A piece is what arrives at once. It is what the rate lets pass in pieceTime, so that the first bytes of
	// much do not wait for the last, within the bounds of a packet and of what is worth a system call.
	pieceTime  = 500 * time.Microsecond
	leastPiece = 1460
	mostPiece  = 16 << 10
)

// shape is a profile at work. A proxy without one passes bytes on as they come.
type shape struct {
	rtt    time.Duration
	buffer int // what the kernel may hold of a direction
	lane   [2]lane
}

// lane is one direction of the network, which all connections share.
type lane struct {
	delay, jitter time.Duration
	rate          float64
	limit, piece  int

	mu   sync.Mutex
	busy time.Time  // guarded by mu; when what was sent so far has left the sender
	rng  *rand.Rand // guarded by mu
}

// newShape returns nil for a profile that shapes nothing.
func newShape(p link.Profile, seed uint64) *shape {
	if p.RTT <= 0 && p.Jitter <= 0 && p.Up <= 0 && p.Down <= 0 {
		return nil
	}
	s := &shape{rtt: p.RTT, buffer: leastQueue}
	for d, rate := range [2]float64{p.Up, p.Down} {
		l := &s.lane[d]
		l.delay, l.jitter, l.rate = p.RTT/2, p.Jitter/2, rate
		l.rng = rand.New(rand.NewPCG(seed, uint64(d)))
		l.limit, l.piece = freeQueue, mostPiece
		if rate > 0 {
			l.limit = max(leastQueue, int(rate*(p.RTT+slack).Seconds()))
			s.buffer = max(s.buffer, int(rate*slack.Seconds()))
			l.piece = min(max(leastPiece, int(rate*pieceTime.Seconds())), mostPiece)
		}
	}
	return s
}

// arrive takes n bytes into the lane now and returns when they arrive. They cannot set out before from.
func (l *lane) arrive(n int, now, from time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy.Before(now) {
		l.busy = now
	}
	if l.rate > 0 {
		l.busy = l.busy.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
	}
	due := l.busy
	if due.Before(from) {
		due = from
	}
	due = due.Add(l.delay)
	if l.jitter > 0 {
		due = due.Add(time.Duration(l.rng.Int64N(2*int64(l.jitter)+1)) - l.jitter)
	}
	return due
}
