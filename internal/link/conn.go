package link

import (
	"context"
	"io"
	"sync"
	"time"
)

// packer writes to a connection in lengths that fill TLS records, and copies only what would not fill one by itself.
type packer struct {
	w    io.Writer
	lent *buffer // nil: nothing is waiting
}

func (p *packer) write(b []byte) error {
	for len(b) > 0 {
		if p.lent == nil {
			if n := len(b) - len(b)%tlsRecord; n > 0 {
				if _, err := p.w.Write(b[:n]); err != nil {
					return err
				}
				b = b[n:]
				continue
			}
			p.lent = borrow(tlsRecord)
		}
		have := p.lent.b
		n := min(len(b), tlsRecord-len(have))
		p.lent.b = append(have, b[:n]...)
		b = b[n:]
		if len(p.lent.b) == tlsRecord {
			if err := p.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush writes what is waiting.
func (p *packer) flush() error {
	if p.lent == nil {
		return nil
	}
	_, err := p.w.Write(p.lent.b)
	p.drop()
	return err
}

// drop forgets what is waiting.
func (p *packer) drop() {
	p.lent.giveBack()
	p.lent = nil
}

// watch sets a deadline in the past once a context ends. It stays with a context that is used again, so that waiting
// costs nothing where the context is always the same.
type watch struct {
	set func(time.Time) error

	mu     sync.Mutex
	done   <-chan struct{} // guarded by mu; of the context that is watched
	stop   func() bool     // guarded by mu; nil: none is
	turn   uint64          // guarded by mu; counts contexts
	struck bool            // guarded by mu; the deadline has passed
	over   bool            // guarded by mu; for good
}

// arm watches ctx in place of the last one.
func (w *watch) arm(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || w.done == ctx.Done() {
		return
	}
	w.reset()
	if w.struck {
		w.struck = false
		w.set(time.Time{}) // where it fails, so will what follows
	}
	w.done = ctx.Done()
	if w.done != nil {
		turn := w.turn
		w.stop = context.AfterFunc(ctx, func() { w.strike(turn) })
	}
}

// reset leaves the context. Preconditions: mu is held.
func (w *watch) reset() {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
	w.turn++
}

func (w *watch) strike(turn uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.turn == turn {
		w.struck = true
		w.set(past)
	}
}

// close ends what waits, and what will.
func (w *watch) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reset()
	w.over = true
	w.set(past)
}

var past = time.Unix(1, 0)
