package peer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// attached is an endpoint's use of one link.
type attached struct {
	link   link.Link
	try    link.TrySender   // the same, nil if it cannot tell
	batch  link.BatchSender // the same, nil if it takes one frame at a time
	rated  link.Rated       // the same, nil if it does not care
	ahead  link.Ahead       // the same, nil if it cannot tell
	ctx    context.Context  // ends when the link is given up
	cancel context.CancelFunc

	// Guarded by Endpoint.mu:

	queue  [][]byte      // frames to write, in order
	extra  [][]byte      // frames that may overtake those of queue
	busy   bool          // some goroutine writes
	quiet  chan struct{} // closed while nothing is left to write, else open
	full   bool          // the reader waits for the receiver
	cause  error         // why the link was given up, first
	heard  time.Time
	beaten time.Time // when pulse last ran
	wrote  time.Time
	sent   uint64 // the highest number written
	beat   *time.Timer
	ping   struct {
		open   bool // no answer yet
		loaded bool // by what was on the way: no measure of the round trip
		stamp  uint64
		sent   uint64
		at     time.Time
	}
}

var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// errAgain marks a frame that has its place at the start of a link only: a link that repeats frames is a bad link.
var (
	errAgain  = errors.New("link began again")
	errLoses  = errors.New("link loses frames")
	errSilent = errors.New("link is silent")
)

// attach makes l the current link: hello is written first, then what resume (nil: nothing) gives.
func (e *Endpoint) attach(l link.Link, resume func() ([][]byte, error), hello ...[]byte) error {
	now := time.Now()
	a := &attached{link: l, heard: now, beaten: now, wrote: now, queue: hello, quiet: closed}
	a.try, _ = l.(link.TrySender)
	a.batch, _ = l.(link.BatchSender)
	a.rated, _ = l.(link.Rated)
	a.ahead, _ = l.(link.Ahead)
	e.mu.Lock()
	err := e.err
	if err == nil && resume != nil {
		var again [][]byte
		again, err = resume()
		a.queue = append(a.queue, again...)
	}
	if err != nil {
		e.mu.Unlock()
		return err
	}
	a.ctx, a.cancel = context.WithCancel(e.life)
	a.sent = e.session.Acked()
	old := e.current
	e.current = a
	e.links++
	if a.rated != nil && e.least >= afar {
		a.rated.SetRate(e.rate.perSecond, e.rtt)
	}
	if e.grace != nil {
		e.grace.Stop()
		e.grace = nil
	}
	a.beat = time.AfterFunc(e.cfg.Heartbeat/2, func() { e.pulse(a) })
	go e.read(a)
	e.flush(a)
	if old != nil {
		old.detach()
	}
	return nil
}

// detach ends the use of the link.
func (a *attached) detach() {
	a.cancel()
	a.beat.Stop()
	a.link.Close()
}

// broken drops a link that failed and gives the conversation its grace.
func (e *Endpoint) broken(a *attached, err error) {
	e.mu.Lock()
	if a.cause == nil {
		a.cause = err // others hear of it by what detaching does to them
	}
	err = a.cause
	e.mu.Unlock()
	a.detach()
	if final(err) || errors.Is(err, wire.ErrProtocol) {
		e.end(fmt.Errorf("%w: %w", ErrLost, err))
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current != a || e.err != nil {
		return
	}
	e.current = nil
	if e.ending {
		return // the other side has taken its leave
	}
	e.linkLost(err)
	e.links++
	links := e.links
	e.grace = keepVigil(e.cfg.Grace, func() {
		e.mu.Lock()
		back := e.links != links
		e.mu.Unlock()
		if !back {
			e.end(fmt.Errorf("%w: link failed and did not come back within %v: %w", ErrLost, e.cfg.Grace, err))
		}
	})
	if e.redo != nil {
		go e.redo()
	}
}

// Bounds of what is written on a caller's goroutine, and of what goes into one write.
const (
	inlineFrames = 4
	inlineBytes  = 16 << 10
	batchFrames  = 64
	batchBytes   = 128 << 10
)

// flush writes what is queued, or sees to it that another goroutine does. Preconditions: e.mu is held; flush releases
// it.
func (e *Endpoint) flush(a *attached) {
	if a.busy || a.ctx.Err() != nil {
		e.mu.Unlock()
		return
	}
	a.busy = true
	if a.quiet == closed {
		a.quiet = make(chan struct{})
	}
	if a.batch != nil {
		e.flushBatch(a)
		return
	}
	for n := 0; ; n++ {
		f := e.next(a)
		if f == nil {
			e.mu.Unlock()
			return
		}
		if a.try == nil || n == inlineFrames || len(f) > inlineBytes {
			e.mu.Unlock()
			go e.write(a, f)
			return
		}
		e.mu.Unlock()
		ok, err := a.try.TrySend(f)
		if err != nil {
			e.lastWords(a, err)
			return
		}
		if !ok {
			go e.write(a, f)
			return
		}
		e.mu.Lock()
	}
}

// flushBatch is flush for links that take many frames at once. Where little is on the way the system has room for what
// is queued, and the caller writes it. Preconditions: e.mu is held, a.busy; it releases e.mu.
func (e *Endpoint) flushBatch(a *attached) {
	frames := e.nextBatch(a)
	inline := e.queued-e.arrived <= inlineBytes
	e.mu.Unlock()
	if frames == nil {
		return
	}
	if !inline {
		go e.write(a, frames...)
		return
	}
	if err := a.send(frames); err != nil {
		e.lastWords(a, err)
		return
	}
	e.mu.Lock()
	frames = e.nextBatch(a)
	e.mu.Unlock()
	if frames != nil {
		go e.write(a, frames...)
	}
}

// nextBatch is next for as many frames as the link takes at once; nil: there are none, and the writer's turn has ended.
// Preconditions: e.mu is held, a.busy.
func (e *Endpoint) nextBatch(a *attached) [][]byte {
	most := 1
	if a.batch != nil {
		most = batchFrames
	}
	var frames [][]byte
	for bytes := 0; len(frames) < most && bytes < batchBytes; {
		if len(frames) > 0 && len(a.extra) == 0 && len(a.queue) == 0 {
			break // an acknowledgement that is due goes with the next, or alone
		}
		f := e.next(a)
		if f == nil {
			break
		}
		bytes += len(f)
		frames = append(frames, f)
	}
	return frames
}

// send writes frames that nextBatch gave.
func (a *attached) send(frames [][]byte) error {
	if a.batch != nil {
		return a.batch.SendBatch(a.ctx, frames)
	}
	return a.link.Send(a.ctx, frames[0])
}

// write writes frames and what is queued behind them, and ends.
func (e *Endpoint) write(a *attached, frames ...[]byte) {
	for frames != nil {
		if err := a.send(frames); err != nil {
			e.lastWords(a, err)
			return
		}
		e.mu.Lock()
		frames = e.nextBatch(a)
		e.mu.Unlock()
	}
}

// lastWords gives up a link that takes nothing any more, once what the other side said before has been read: it may
// have ended the conversation, and said why. Nobody writes meanwhile, since a.busy stays.
func (e *Endpoint) lastWords(a *attached, err error) {
	t := time.AfterFunc(farewell, func() { e.broken(a, err) })
	context.AfterFunc(a.ctx, func() { t.Stop() })
}

// next takes the next frame to write, counts it as written, and ends the writer's turn when there is none.
// Preconditions: e.mu is held, a.busy.
func (e *Endpoint) next(a *attached) []byte {
	q := &a.extra
	if len(*q) == 0 {
		q = &a.queue
	}
	switch {
	case len(*q) > 0:
	case e.session.AckDue():
		*q = append(*q, e.session.Ack())
	default:
		a.busy = false
		close(a.quiet)
		a.quiet = closed
		return nil
	}
	f := (*q)[0]
	(*q)[0] = nil
	if *q = (*q)[1:]; len(*q) == 0 {
		*q = nil
	}
	a.wrote = time.Now()
	e.bytes.Sent += uint64(len(f))
	e.cfg.frame(SawSent, f)
	if h, err := wire.ParseHeader(f); err == nil {
		a.sent = max(a.sent, h.Seq)
	}
	return f
}

// pulse keeps the link alive, and notices when it is not. It runs twice in a heartbeat.
func (e *Endpoint) pulse(a *attached) {
	e.mu.Lock()
	if e.current != a {
		e.mu.Unlock()
		return
	}
	now := time.Now()
	if a.full || now.Sub(a.beaten) > 2*e.cfg.Heartbeat {
		a.heard = now // silence is ours, not the link's: nobody received, or this process did not run
	}
	a.beaten = now
	if l, ok := a.link.(link.Hearer); ok {
		// A long frame on a slow link is a sign of life all the while.
		if h := now.Add(-l.Silence()); h.After(a.heard) {
			a.heard = h
		}
	}
	silent := now.Sub(a.heard)
	if silent >= e.cfg.Dead {
		e.mu.Unlock()
		e.broken(a, fmt.Errorf("%w: for %v", errSilent, silent.Round(time.Millisecond)))
		return
	}
	a.beat.Reset(e.cfg.Heartbeat / 2)
	waiting, bytes := e.session.Waiting()
	quiet := now.Sub(a.wrote) >= e.cfg.Heartbeat
	switch {
	case len(a.extra) > 0: // the link does not take anything now
	case !a.ping.open && now.Sub(a.ping.at) >= e.cfg.Heartbeat && (quiet || waiting > 0 || silent >= e.cfg.Heartbeat):
		p := &a.ping
		p.open, p.loaded, p.stamp, p.sent, p.at = true, bytes > inlineBytes, p.stamp+1, a.sent, now
		e.unnumbered(a, &wire.Ping{Stamp: p.stamp})
	case quiet || e.session.AckPending():
		a.extra = append(a.extra, e.session.Ack())
	}
	e.flush(a)
}

// unnumbered puts a frame before those that wait. Preconditions: e.mu is held.
func (e *Endpoint) unnumbered(a *attached, m wire.Message) {
	if f, err := e.session.Send(m); err == nil {
		a.extra = append(a.extra, f...)
	}
}

func (e *Endpoint) read(a *attached) {
	for {
		f, err := a.link.Recv(a.ctx)
		if err == nil {
			err = e.take(a, f)
		}
		if err != nil {
			wake(e.ready) // there may be messages of which nobody was told
			e.broken(a, err)
			return
		}
		e.mu.Lock()
		a.full = len(e.inbox) >= inboxLimit
		full, drained := a.full, e.drained
		e.mu.Unlock()
		if !full {
			continue
		}
		select {
		case <-drained:
			e.mu.Lock()
			a.full, a.heard = false, time.Now()
			e.mu.Unlock()
		case <-a.ctx.Done():
			return
		}
	}
}

// take gives a frame to the session; unnumbered messages of the link itself are answered here.
func (e *Endpoint) take(a *attached, f []byte) error {
	e.mu.Lock()
	if e.current != a {
		e.mu.Unlock()
		return link.ErrClosed // a newer link has taken over
	}
	if h, err := wire.ParseHeader(f); err == nil && h.Type.Numbered() && e.greeted != nil && e.welcome == nil {
		e.mu.Unlock()
		return errLoses // Welcome came first
	}
	before := e.session.Acked()
	m, err := e.session.Receive(f)
	if err != nil {
		e.mu.Unlock()
		return err
	}
	a.heard = time.Now()
	e.bytes.Received += uint64(len(f))
	e.cfg.frame(SawReceived, f)
	if e.session.Acked() != before {
		e.acknowledged()
	}
	write := e.session.AckDue()
	switch m := m.(type) {
	case nil:
	case *wire.Ping:
		e.unnumbered(a, &wire.Pong{Stamp: m.Stamp})
		write = true
	case *wire.Pong:
		err = e.answered(a, m.Stamp)
	case *wire.Welcome:
		if !e.welcomed(m) {
			err = errAgain
		}
	case *wire.Hello:
		err = errAgain
	case *wire.Bye:
		e.mu.Unlock()
		e.end(fmt.Errorf("%w: ended by the other side: %w", ErrLost, &RefusedError{m.Code, m.Text}))
		return link.ErrClosed
	default:
		if e.intercept != nil && e.intercept(m) {
			break
		}
		e.inbox = append(e.inbox, m)
	}
	if n := len(e.inbox); n > 0 && (a.ahead == nil || n >= inboxLimit || !a.ahead.Ahead()) {
		wake(e.ready) // a receiver is woken once for all that came together
	}
	if write && err == nil {
		e.flush(a)
		return nil
	}
	e.mu.Unlock()
	return err
}

// answered takes the answer to a ping. Preconditions: e.mu is held.
func (e *Endpoint) answered(a *attached, stamp uint64) error {
	p := &a.ping
	if !p.open || p.stamp != stamp {
		return nil
	}
	p.open = false
	if e.session.Acked() < p.sent {
		return errLoses
	}
	if !p.loaded {
		e.sample(time.Since(p.at))
	}
	return nil
}
