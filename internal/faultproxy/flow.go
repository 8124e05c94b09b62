package faultproxy

import (
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	leastBuffer = 4 << 10
	mostBuffer  = 64 << 10
	// What is due within early is due: to wait for less is not worth it.
	early = 30 * time.Microsecond
	// Waits below short are for nap, longer ones for a timer that can be interrupted.
	short = 2 * time.Millisecond
)

// flow is one direction of a connection. One goroutine reads what its sender sends, another one delivers what is due.
// While nothing holds bytes back the reader delivers itself, which saves the way from one to the other.
type flow struct {
	c   *conn
	dir int // 0 up, 1 down
	src *net.TCPConn
	dst *net.TCPConn
	// from is when what is sent can set out: the connection takes a while to be made.
	from time.Time

	space chan struct{} // signals the reader
	ready chan struct{} // signals the deliverer

	mu        sync.Mutex
	pieces    []piece   // guarded by mu
	bytes     int       // guarded by mu; in pieces
	last      time.Time // guarded by mu; when the last piece arrives: none overtakes another
	busy      bool      // guarded by mu; somebody delivers
	stalled   time.Time // guarded by mu; nothing arrives before
	stuck     bool      // guarded by mu; nothing arrives any more, but is kept
	gone      bool      // guarded by mu; nothing arrives any more, and is dropped
	closed    bool      // guarded by mu; the receiver has been told of an end that the sender did not send
	flips     []uint32  // guarded by mu; bits to flip, one in each of the next bytes
	srcEnded  bool      // guarded by mu; the reader is done
	delivered bool      // guarded by mu; the receiver has been told of an end
}

// piece is bytes, or an end of the stream, that arrive at some time.
type piece struct {
	b   []byte
	due time.Time
	end ending
}

type ending uint8

const (
	endNone ending = iota
	endFIN
	endRST
)

func newFlow(c *conn, dir int) *flow {
	return &flow{c: c, dir: dir, space: make(chan struct{}, 1), ready: make(chan struct{}, 1)}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// read takes what the sender sends until it ends.
func (f *flow) read() {
	buf := make([]byte, leastBuffer)
	for {
		n, err := f.src.Read(buf)
		if n > 0 {
			f.pass(buf[:n])
		}
		if err != nil {
			f.mu.Lock()
			f.srcEnded = true
			f.mu.Unlock()
			if err == io.EOF {
				f.end(endFIN)
			} else {
				f.end(endRST)
			}
			f.c.check()
			return
		}
		if n == len(buf) && n < mostBuffer {
			buf = make([]byte, 4*n)
		}
	}
}

// pass delivers b at once, or queues it, and waits while the queue is full.
func (f *flow) pass(b []byte) {
	s := f.c.p.shape.Load()
	f.mu.Lock()
	defer f.mu.Unlock()
	if s == nil && len(f.pieces) == 0 && !f.busy && !f.held() {
		f.busy = true
		f.mu.Unlock()
		b = f.deliver(b)
		f.mu.Lock()
		f.busy = false
		if len(f.pieces) > 0 { // an end came meanwhile
			wake(f.ready)
		}
	}
	limit, size := leastQueue, mostPiece
	if s != nil {
		limit, size = s.lane[f.dir].limit, s.lane[f.dir].piece
	}
	for len(b) > 0 {
		n := min(len(b), size)
		for f.bytes > 0 && f.bytes+n > limit {
			f.mu.Unlock()
			select {
			case <-f.space:
			case <-f.c.over:
			}
			f.mu.Lock()
			if f.c.isOver() {
				return
			}
		}
		if f.closed {
			return
		}
		f.push(piece{b: slices.Clone(b[:n])}, s)
		b = b[n:]
	}
}

// push queues a piece. Precondition: f.mu is held.
func (f *flow) push(p piece, s *shape) {
	if s != nil {
		p.due = s.lane[f.dir].arrive(len(p.b), time.Now(), f.from)
	}
	if p.due.Before(f.last) {
		p.due = f.last
	}
	f.last = p.due
	f.pieces = append(f.pieces, p)
	f.bytes += len(p.b)
	wake(f.ready)
}

// end sends an end of the stream after what is on the way.
func (f *flow) end(e ending) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.gone && (!f.closed || e == endRST) {
		f.push(piece{end: e}, f.c.p.shape.Load())
	}
}

// held tells whether a fault keeps bytes back. Precondition: f.mu is held.
func (f *flow) held() bool {
	if f.gone {
		return false
	}
	if f.stuck || !f.stalled.IsZero() && time.Now().Before(f.stalled) {
		return true
	}
	until, frozen := f.c.p.frozen()
	return frozen && (until.IsZero() || time.Now().Before(until))
}

// write delivers what is due until the connection is over.
func (f *flow) write() {
	for {
		changed := f.c.p.changes() // before the look at what may change
		p, ok, wait := f.next()
		switch {
		case !ok:
			if !f.c.p.wait(wait, f.ready, changed, f.c.over) {
				return
			}
		case p.end == endRST:
			f.c.finish(true)
			return
		case p.end == endFIN:
			f.dst.CloseWrite() // fails only where the connection has failed
			f.mu.Lock()
			f.busy, f.delivered = false, true
			f.mu.Unlock()
			f.c.check()
		default:
			rest := f.deliver(p.b)
			f.mu.Lock()
			f.busy = false
			if len(rest) > 0 && !f.gone && !f.closed {
				f.pieces = slices.Insert(f.pieces, 0, piece{b: rest, due: p.due})
				f.bytes += len(rest)
			}
			f.mu.Unlock()
			wake(f.space)
		}
	}
}

// next takes the piece that is due. There may be none, and then it pays to look again after wait (0: no matter when)
// or when something changes.
func (f *flow) next() (p piece, ok bool, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy || len(f.pieces) == 0 || f.stuck {
		return p, false, 0
	}
	due := f.pieces[0].due
	if f.stalled.After(due) {
		due = f.stalled
	}
	if until, frozen := f.c.p.frozen(); frozen {
		if until.IsZero() {
			return p, false, 0
		}
		if until.After(due) {
			due = until
		}
	}
	if !due.IsZero() {
		if wait = time.Until(due); wait > early {
			return p, false, wait
		}
	}
	p = f.pieces[0]
	f.pieces[0] = piece{}
	f.pieces = f.pieces[1:]
	f.bytes -= len(p.b)
	f.busy = true
	return p, true, 0
}

// deliver writes b to the receiver, while faults strike that are planned for its bytes. It returns what a fault has
// held back. Precondition: f.busy was set by the caller.
func (f *flow) deliver(b []byte) (rest []byte) {
	for len(b) > 0 {
		f.mu.Lock()
		if f.held() {
			f.mu.Unlock()
			return b
		}
		if f.closed {
			f.mu.Unlock()
			return nil
		}
		gone := f.gone
		n := min(len(f.flips), len(b))
		for i, bit := range f.flips[:n] {
			b[i] ^= 1 << (bit % 8)
		}
		f.flips = f.flips[n:]
		f.mu.Unlock()

		if f.c.isOver() {
			return nil // and not counted
		}
		n, struck := f.c.p.advance(f.dir, len(b))
		for _, s := range struck {
			if s.Kind == Corrupt {
				b[0] ^= 1 << (s.Bit % 8)
			} else {
				f.c.strike(s)
			}
			f.c.p.note(s)
		}
		if n > 0 && !gone {
			if _, err := f.dst.Write(b[:n]); err != nil {
				// The receiver is no more. The sender learns of it as it would: from what comes back.
				f.vanish()
				f.c.flow[1-f.dir].end(endRST)
			}
		}
		b = b[n:]
	}
	return nil
}

// drop loses what is on the way. Precondition: f.mu is held.
func (f *flow) drop() {
	f.pieces, f.bytes = nil, 0
	wake(f.space)
	wake(f.ready)
}

func (f *flow) vanish() {
	f.mu.Lock()
	f.gone = true
	f.drop()
	f.mu.Unlock()
	f.c.check()
}

func (f *flow) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone || f.closed || f.delivered {
		return
	}
	f.drop()
	f.stuck, f.stalled, f.last = false, time.Time{}, time.Time{}
	f.closed = true
	f.push(piece{end: endFIN}, nil)
}

// stall lets nothing arrive for a while; 0: for ever. It replaces an earlier one.
func (f *flow) stall(d time.Duration) {
	f.mu.Lock()
	f.stuck = d <= 0
	f.stalled = time.Now().Add(d)
	f.mu.Unlock()
	wake(f.ready)
	f.c.check()
}

func (f *flow) flip(bit uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flips = append(f.flips, bit)
}

// done tells that nothing more can arrive.
func (f *flow) done() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.srcEnded && (f.delivered || f.gone || f.stuck)
}
