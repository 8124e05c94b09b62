// Package peer keeps a conversation between a device and a node going over links that fail: it sends and receives
// messages in order and exactly once (package wire's Session), and when a link breaks it waits, or dials again, for a
// while before it gives the conversation up.
//
// Send never waits for the network but for room among the unacknowledged frames: what the link takes at once is
// written on the caller's goroutine, and a goroutine of the endpoint's writes the rest. Another one reads the link.
// Received messages queue in order for the receiver; while it does not receive, the link fills up and the other
// side's Send waits, but neither side takes that for a broken link.
//
// Each side says something at least once in a Heartbeat, so that silence means a broken link; any byte of a frame counts
// as a word. A frame that a link loses without a word is noticed as well: the answer to a ping tells what had arrived
// before it. Time in which this process did not run, because the machine slept or it was stopped, is nobody's silence.
package peer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Config bounds an endpoint. Zero fields have the defaults named.
type Config struct {
	// Grace is how long a conversation outlives its link. Default 5 s.
	Grace time.Duration
	// Heartbeat is after how much silence a Ping is sent. Default 2 s.
	Heartbeat time.Duration
	// Dead is after how much silence a link counts as broken. Default 4 heartbeats. A node may leave that to its operating
	// system, which answers for a device that is stopped: then it is long.
	Dead time.Duration
	// Greeting is how long it may take until both sides have said who they are. Default 10 s, or Dead if that is less.
	Greeting time.Duration
	// Session bounds what is kept for sending again.
	Session wire.SessionConfig
	// Watch is told of each frame and of what becomes of the links; nil: nobody is. Several goroutines may call it, which
	// hold locks: it must be quick and must not use the endpoint.
	Watch func(Sight)
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
	if c.Greeting <= 0 {
		c.Greeting = min(10*time.Second, c.Dead)
	}
	return c
}

// ErrLost marks a conversation that is over: the link failed and did not come back in time, the other side ended it,
// or it broke the protocol.
var ErrLost = errors.New("connection to the other side lost")

// ErrHopeless marks errors of a dialer, and of the links it makes, which another attempt would end with again.
var ErrHopeless = errors.New("no use trying again")

// RefusedError is the other side's word that it does not begin a conversation, or ends it.
type RefusedError struct {
	Code wire.Code
	Text string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("refused: %v: %s", e.Code, Printable(e.Text))
}

// Printable makes a text that may hold words of the other side fit to be shown: one line, short, nothing that steers a terminal.
func Printable(s string) string {
	const most = 300
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return '?'
	}, s)
}

// Endpoint is one side of a conversation. Send and Recv may be called by different goroutines, each by many.
type Endpoint struct {
	cfg   Config
	life  context.Context // ends with the conversation
	over  context.CancelFunc
	ready chan struct{} // signals a receiver
	redo  func()        // device side: dials again; nil on a node

	mu        sync.Mutex
	session   *wire.Session           // guarded by mu
	inbox     []wire.Message          // guarded by mu; received, in order
	intercept func(wire.Message) bool // guarded by mu; may be nil
	drained   chan struct{}           // guarded by mu; closed and replaced when inbox has room again
	current   *attached               // guarded by mu; nil between links
	err       error                   // guarded by mu; why life has ended
	ending    bool                    // guarded by mu; Refuse says why it is about to
	room      chan struct{}           // guarded by mu; closed and replaced when frames were acknowledged
	resumed   int                     // guarded by mu
	bytes     Traffic                 // guarded by mu
	queued    uint64                  // guarded by mu; bytes of numbered frames
	arrived   uint64                  // guarded by mu; those of them that are acknowledged
	arrival   time.Time               // guarded by mu; of the last acknowledgement
	rtt       time.Duration           // guarded by mu; smoothed
	least     time.Duration           // guarded by mu; the shortest
	links     int                     // guarded by mu; counts changes of current
	grace     *vigil                  // guarded by mu; runs between links
	lost      time.Time               // guarded by mu; when the last link failed
	rate      rate                    // guarded by mu
	greeted   chan struct{}           // closed when welcome is there; nil: the conversation began with it
	welcome   *wire.Welcome           // guarded by mu until greeted is closed; on a node, what it said
}

// Traffic counts what went over the links, frames sent again included.
type Traffic struct{ Sent, Received uint64 }

func newEndpoint(cfg Config) *Endpoint {
	e := &Endpoint{
		cfg:     cfg.withDefaults(),
		ready:   make(chan struct{}, 1),
		drained: make(chan struct{}),
		session: wire.NewSession(cfg.Session),
		room:    make(chan struct{}),
	}
	e.life, e.over = context.WithCancel(context.Background())
	return e
}

// Send queues a message. It waits while too much is unacknowledged. The message's bytes are copied.
func (e *Endpoint) Send(ctx context.Context, m wire.Message) error { return e.send(ctx, m, true) }

// Queue is Send for a message that others follow: it may go out together with the next, which spares the system a call
// and the other side an awakening. Alone it goes out with the next heartbeat: a timer of its own would cost more than
// what is saved.
func (e *Endpoint) Queue(ctx context.Context, m wire.Message) error { return e.send(ctx, m, false) }

func (e *Endpoint) send(ctx context.Context, m wire.Message, now bool) error {
	for {
		e.mu.Lock()
		if e.err != nil {
			defer e.mu.Unlock()
			return e.err
		}
		frames, err := e.session.Send(m)
		if err == nil {
			e.rate.begin(e.queued == e.arrived)
			for _, f := range frames {
				e.queued += uint64(len(f))
			}
			a := e.current
			if a == nil {
				e.mu.Unlock()
				return nil
			}
			a.queue = append(a.queue, frames...)
			if !now && a.batch != nil && e.queued-e.arrived < inlineBytes {
				e.mu.Unlock()
				return nil
			}
			e.flush(a)
			return nil
		}
		room := e.room
		e.mu.Unlock()
		if !errors.Is(err, wire.ErrFull) {
			return fmt.Errorf("send %v: %w", m.Type(), err)
		}
		select {
		case <-room:
		case <-e.life.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Intercept has f called for each message as it is read, before it waits for a receiver; what f returns true for is not
// received. f must be quick and must not use the endpoint. It is called at once for messages that were read before and are not
// received yet, so that it sees all in their order.
func (e *Endpoint) Intercept(f func(wire.Message) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.intercept = f
	before := len(e.inbox)
	e.inbox = slices.DeleteFunc(e.inbox, f)
	if before > inboxLimit/2 && len(e.inbox) <= inboxLimit/2 {
		close(e.drained)
		e.drained = make(chan struct{})
	}
}

// inboxLimit is how many messages may wait for the receiver before the link is left to fill up.
const inboxLimit = 64

// Recv returns the next message. After the conversation is over it returns what is left, then why it ended.
func (e *Endpoint) Recv(ctx context.Context) (wire.Message, error) {
	for {
		e.mu.Lock()
		if len(e.inbox) > 0 {
			m := e.inbox[0]
			e.inbox[0] = nil
			e.inbox = e.inbox[1:]
			if len(e.inbox) == inboxLimit/2 {
				close(e.drained)
				e.drained = make(chan struct{})
			}
			if len(e.inbox) > 0 {
				wake(e.ready) // another receiver
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
		case <-e.life.Done():
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Done is closed when the conversation is over; Err then says why.
func (e *Endpoint) Done() <-chan struct{} { return e.life.Done() }

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

// LeastRTT is the shortest round trip so far: what the link itself takes, without what else the machines were doing.
func (e *Endpoint) LeastRTT() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.least
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

// Unwritten returns the bytes of frames that have been sent and that no link has taken.
func (e *Endpoint) Unwritten() (n uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current == nil {
		return e.queued - e.arrived // all of it will be sent again
	}
	for _, f := range e.current.queue {
		n += uint64(len(f))
	}
	return n
}

// Delivered returns the bytes of messages that the other side has acknowledged, and when it last did so.
func (e *Endpoint) Delivered() (uint64, time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.arrived, e.arrival
}

// afar is the round trip from which on a link is slower than the machines at its ends, so that its rate is the link's
// own. Nearby it would be that of what the machines do besides.
const afar = 300 * time.Microsecond

// acknowledged notes that the other side has received more. Preconditions: e.mu is held.
func (e *Endpoint) acknowledged() {
	_, waiting := e.session.Waiting()
	arrived, now := e.queued-uint64(waiting), time.Now()
	if e.rate.acknowledged(now, arrived-e.arrived, waiting > 0) && e.least >= afar && e.current != nil && e.current.rated != nil {
		e.current.rated.SetRate(e.rate.perSecond, e.rtt)
	}
	e.arrived, e.arrival = arrived, now
	close(e.room)
	e.room = make(chan struct{})
}

// Close ends the conversation; the other side is told if the link allows it.
func (e *Endpoint) Close() error {
	e.Refuse(wire.CodeDone, "closed")
	return nil
}

// farewell is how long the end of a conversation waits for the link to take what was sent before.
const farewell = 100 * time.Millisecond

// farewellNear is how long it then waits until the other side has closed the link.
const farewellNear = 10 * time.Millisecond

// Refuse ends the conversation and tells the other side why, if the link allows it.
func (e *Endpoint) Refuse(code wire.Code, text string) {
	e.mu.Lock()
	a := e.current
	if e.err == nil && a != nil {
		text := strings.ToValidUTF8(text[:min(len(text), wire.MaxText)], "")
		if f, err := e.session.Send(&wire.Bye{Code: code, Text: text}); err == nil {
			a.queue = append(a.queue, f...)
			e.ending = true
			e.flush(a)
			e.mu.Lock()
			quiet := a.quiet
			e.mu.Unlock()
			t := time.NewTimer(farewell)
			defer t.Stop()
			select {
			case <-quiet:
				if l, ok := a.link.(link.Finisher); ok && l.Finish() == nil {
					// The other side closes the link once it has read that. Far away it is not waited for.
					t.Reset(farewellNear)
					select {
					case <-a.ctx.Done():
					case <-t.C:
					}
				}
			case <-a.ctx.Done():
			case <-t.C:
			}
			e.mu.Lock()
		}
	}
	e.mu.Unlock()
	e.end(fmt.Errorf("%w: %s", ErrLost, text))
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
	e.mu.Unlock()
	e.over()
	if a != nil {
		a.detach()
	}
}

// sample takes a round-trip time into the smoothed one. Preconditions: e.mu is held.
func (e *Endpoint) sample(d time.Duration) {
	switch {
	case d <= 0 || d > time.Minute:
		return
	case e.rtt == 0:
		e.rtt, e.least = d, d
	default:
		e.rtt += (d - e.rtt) / 8
		e.least = min(e.least, d)
	}
}
