// Package peer keeps a conversation between a device and a node going over links that fail: it sends and receives
// messages in order and exactly once (package wire's Session), and when a link breaks it waits, or dials again, for a
// while before it gives the conversation up.
//
// An Endpoint has one goroutine that writes and one that reads for the current link. Sending never waits for the
// network but for room among the unacknowledged frames. Received messages queue in order for one receiver; while it
// does not receive, the link fills up and the other side's Send waits.
package peer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Config bounds an endpoint. Zero fields have the defaults named.
type Config struct {
	// Grace is how long a conversation outlives its link. Default 5 s.
	Grace time.Duration
	// Heartbeat is after how much silence a Ping is sent. Default 2 s.
	Heartbeat time.Duration
	// Dead is after how much silence a link counts as broken. Default 4 heartbeats.
	Dead time.Duration
	// Session bounds what is kept for sending again.
	Session wire.SessionConfig
}

func (c Config) withDefaults() Config {
	if c.Grace <= 0 {
		c.Grace = 5 * time.Second
	}
	if c.Heartbeat <= 0 {
		c.Heartbeat = 2 * time.Second
	}
	if c.Dead <= 0 {
		c.Dead = 4 * c.Heartbeat
	}
	return c
}

// ErrLost marks a conversation that is over: the link failed and did not come back in time, the other side ended it,
// or it broke the protocol.
var ErrLost = errors.New("connection to the other side lost")

// Endpoint is one side of a conversation. Send and Recv may be called by different goroutines, each by many.
type Endpoint struct {
	cfg   Config
	ready chan struct{} // signals the receiver
	done  chan struct{} // closed when the conversation is over
	redo  func()        // device side: starts dialing again; nil on a node

	mu      sync.Mutex
	session *wire.Session  // guarded by mu
	inbox   []wire.Message // guarded by mu; received, in order
	drained chan struct{}  // guarded by mu; closed and replaced when inbox was emptied
	current *attached      // guarded by mu; nil between links
	err     error          // guarded by mu; why done is closed
	room    chan struct{}  // guarded by mu; closed and replaced when frames were acknowledged
	resumed int            // guarded by mu
	bytes   Traffic        // guarded by mu
	rtt     time.Duration  // guarded by mu; smoothed
	grace   *time.Timer    // guarded by mu; runs between links
}

// Traffic counts what went over the links, frames sent again included.
type Traffic struct{ Sent, Received uint64 }

// attached is the endpoint's use of one link.
type attached struct {
	link    link.Link
	cancel  context.CancelFunc
	queue   [][]byte      // guarded by Endpoint.mu; numbered frames to write
	extra   [][]byte      // guarded by Endpoint.mu; frames without a number
	wake    chan struct{} // signals the writer
	heard   time.Time     // guarded by Endpoint.mu
	writing bool          // guarded by Endpoint.mu; a batch is on its way to the link
}

func newEndpoint(cfg Config) *Endpoint {
	cfg = cfg.withDefaults()
	return &Endpoint{
		cfg:     cfg,
		ready:   make(chan struct{}, 1),
		drained: make(chan struct{}),
		done:    make(chan struct{}),
		session: wire.NewSession(cfg.Session),
		room:    make(chan struct{}),
	}
}

// attach makes l the current link: hello is written first, then what resume (nil: nothing) gives.
func (e *Endpoint) attach(l link.Link, resume func() ([][]byte, error), hello ...[]byte) error {
	ctx, cancel := context.WithCancel(context.Background())
	a := &attached{link: l, cancel: cancel, wake: make(chan struct{}, 1), heard: time.Now(), extra: hello}
	e.mu.Lock()
	err := e.err
	if err == nil && resume != nil {
		a.queue, err = resume()
	}
	if err != nil {
		e.mu.Unlock()
		cancel()
		l.Close()
		return err
	}
	old := e.current
	e.current = a
	if e.grace != nil {
		e.grace.Stop()
		e.grace = nil
	}
	e.mu.Unlock()
	if old != nil {
		old.cancel()
		old.link.Close()
	}
	a.signal()
	go e.write(ctx, a)
	go e.read(ctx, a)
	return nil
}

func (a *attached) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Send queues a message. It waits while too much is unacknowledged. The message's bytes are copied.
func (e *Endpoint) Send(ctx context.Context, m wire.Message) error {
	for {
		e.mu.Lock()
		if e.err != nil {
			defer e.mu.Unlock()
			return e.err
		}
		frames, err := e.session.Send(m)
		if err == nil {
			if e.current != nil {
				if m.Type().Numbered() {
					e.current.queue = append(e.current.queue, frames...)
				} else {
					e.current.extra = append(e.current.extra, frames...)
				}
				e.current.signal()
			}
			e.mu.Unlock()
			return nil
		}
		room := e.room
		e.mu.Unlock()
		if !errors.Is(err, wire.ErrFull) {
			return fmt.Errorf("send %v: %w", m.Type(), err)
		}
		select {
		case <-room:
		case <-e.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Recv returns the next message. After the conversation is over it returns what is left, then why it ended.
func (e *Endpoint) Recv(ctx context.Context) (wire.Message, error) {
	for {
		e.mu.Lock()
		if len(e.inbox) > 0 {
			m := e.inbox[0]
			e.inbox[0] = nil
			if e.inbox = e.inbox[1:]; len(e.inbox) == 0 {
				close(e.drained)
				e.drained = make(chan struct{})
			}
			e.mu.Unlock()
			return m, nil
		}
		err := e.err
		e.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-e.ready:
		case <-e.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Done is closed when the conversation is over; Err then says why.
func (e *Endpoint) Done() <-chan struct{} { return e.done }

// Err is nil while the conversation lives.
func (e *Endpoint) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// RTT is the smoothed round-trip time, 0 before the first measurement.
func (e *Endpoint) RTT() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rtt
}

// Resumed counts how often the conversation went on over a new link.
func (e *Endpoint) Resumed() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.resumed
}

// Traffic returns the bytes of frames so far.
func (e *Endpoint) Traffic() Traffic {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.bytes
}

// Close ends the conversation; the other side is told if the link allows it.
func (e *Endpoint) Close() error {
	if e.Err() == nil {
		e.Refuse(wire.CodeDone, "closed")
	}
	return nil
}

func (e *Endpoint) end(err error) {
	e.mu.Lock()
	if e.err != nil {
		e.mu.Unlock()
		return
	}
	e.err = err
	a := e.current
	e.current = nil
	if e.grace != nil {
		e.grace.Stop()
	}
	close(e.done)
	e.mu.Unlock()
	if a != nil {
		a.cancel()
		a.link.Close()
	}
}

// broken drops a link that failed and gives the conversation its grace.
func (e *Endpoint) broken(a *attached, err error) {
	a.cancel()
	a.link.Close()
	if errors.Is(err, wire.ErrProtocol) {
		e.end(fmt.Errorf("%w: %w", ErrLost, err))
		return
	}
	e.mu.Lock()
	if e.current != a || e.err != nil {
		e.mu.Unlock()
		return
	}
	e.current = nil
	e.grace = time.AfterFunc(e.cfg.Grace, func() {
		e.end(fmt.Errorf("%w: link failed and did not come back within %v: %w", ErrLost, e.cfg.Grace, err))
	})
	redo := e.redo
	e.mu.Unlock()
	if redo != nil {
		go redo()
	}
}

func (e *Endpoint) write(ctx context.Context, a *attached) {
	beat := time.NewTicker(e.cfg.Heartbeat)
	defer beat.Stop()
	for {
		e.mu.Lock()
		batch := append(a.extra, a.queue...)
		a.extra, a.queue = nil, nil
		if len(batch) == 0 && e.session.AckDue() {
			batch = append(batch, e.session.Ack())
		}
		for _, f := range batch {
			e.bytes.Sent += uint64(len(f))
		}
		a.writing = len(batch) > 0
		e.mu.Unlock()
		for _, f := range batch {
			if err := a.link.Send(ctx, f); err != nil {
				e.broken(a, err)
				return
			}
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		case now := <-beat.C:
			e.mu.Lock()
			silent := now.Sub(a.heard)
			if silent >= e.cfg.Heartbeat {
				if f, err := wire.Encode(0, e.session.Received(), &wire.Ping{Stamp: uint64(now.UnixNano())}); err == nil {
					a.extra = append(a.extra, f)
				}
			} else if e.session.AckPending() {
				a.extra = append(a.extra, e.session.Ack())
			}
			e.mu.Unlock()
			if silent >= e.cfg.Dead {
				e.broken(a, fmt.Errorf("nothing heard for %v", silent.Round(time.Millisecond)))
				return
			}
		}
	}
}

// inboxLimit is how many messages may wait for the receiver before the link is left to fill up.
const inboxLimit = 64

func (e *Endpoint) read(ctx context.Context, a *attached) {
	for {
		f, err := a.link.Recv(ctx)
		if err == nil {
			err = e.take(a, f)
		}
		if err != nil {
			e.broken(a, err)
			return
		}
		for {
			e.mu.Lock()
			full, drained := len(e.inbox) >= inboxLimit, e.drained
			if full {
				a.heard = time.Now() // silence is ours, not the link's
			}
			e.mu.Unlock()
			if !full {
				break
			}
			select {
			case <-drained:
			case <-ctx.Done():
				return
			case <-time.After(e.cfg.Heartbeat / 2):
			}
		}
	}
}

// take gives a frame to the session; unnumbered messages of the link itself are answered here.
func (e *Endpoint) take(a *attached, f []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current != a {
		return link.ErrClosed // a newer link has taken over
	}
	before := e.session.Acked()
	m, err := e.session.Receive(f)
	if err != nil {
		return err
	}
	a.heard = time.Now()
	e.bytes.Received += uint64(len(f))
	if e.session.Acked() != before {
		close(e.room)
		e.room = make(chan struct{})
	}
	if e.session.AckDue() {
		a.signal()
	}
	switch m := m.(type) {
	case nil:
	case *wire.Ping:
		if f, err := wire.Encode(0, e.session.Received(), &wire.Pong{Stamp: m.Stamp}); err == nil {
			a.extra = append(a.extra, f)
			a.signal()
		}
	case *wire.Pong:
		e.sample(time.Since(time.Unix(0, int64(m.Stamp))))
	case *wire.Hello, *wire.Welcome:
		return fmt.Errorf("%w: %v in the midst of a session", wire.ErrProtocol, m.Type())
	case *wire.Bye:
		go e.end(fmt.Errorf("%w: ended by the other side: %v %s", ErrLost, m.Code, m.Text))
	default:
		e.inbox = append(e.inbox, m)
		select {
		case e.ready <- struct{}{}:
		default:
		}
	}
	return nil
}

// sample takes a round-trip time into the smoothed one. Preconditions: e.mu is held.
func (e *Endpoint) sample(d time.Duration) {
	if d <= 0 || d > time.Minute {
		return
	}
	if e.rtt == 0 {
		e.rtt = d
		return
	}
	e.rtt += (d - e.rtt) / 8
}

// Refuse ends the conversation and tells the other side why.
func (e *Endpoint) Refuse(code wire.Code, text string) {
	e.Send(context.Background(), &wire.Bye{Code: code, Text: text[:min(len(text), wire.MaxText)]})
	e.drain(100 * time.Millisecond)
	e.end(fmt.Errorf("%w: %s", ErrLost, text))
}

// drain waits until the writer has nothing left, or for at most d.
func (e *Endpoint) drain(d time.Duration) {
	deadline := time.Now().Add(d)
	for time.Now().Before(deadline) {
		e.mu.Lock()
		a := e.current
		idle := a == nil || len(a.extra)+len(a.queue) == 0 && !a.writing
		e.mu.Unlock()
		if idle {
			return
		}
		select {
		case <-e.done:
			return
		case <-time.After(time.Millisecond):
		}
	}
}
