package peer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Dial opens a conversation from the device's side and keeps it: when the link fails it dials again. hello names the
// session, which must be new.
func Dial(ctx context.Context, dial link.Dialer, hello wire.Hello, cfg Config) (*Endpoint, *wire.Welcome, error) {
	e := newEndpoint(cfg)
	try, stop := context.WithTimeout(ctx, e.cfg.Greeting)
	defer stop()
	g, err := greet(try, dial, &hello, 0, &e.cfg)
	if err != nil {
		e.over()
		return nil, nil, err
	}
	if t, ok := g.link.(link.Timed); ok && t.RTT() < g.took {
		g.took = t.RTT() // the node may have had to start something before it could answer
	}
	e.rtt, e.least = g.took, g.took
	hello.Resume = true
	e.redo = func() { e.redial(dial, hello) }
	if err := e.attach(g.link, nil); err != nil {
		g.link.Close()
		return nil, nil, err
	}
	return e, g.welcome, nil
}

// DialEarly is Dial for a device that goes on without waiting for Welcome, which saves a round trip: it knows the answer
// from an earlier conversation. Should it be another one, Welcome says so or the conversation ends. hello is marked.
func DialEarly(ctx context.Context, dial link.Dialer, hello wire.Hello, cfg Config) (*Endpoint, error) {
	e := newEndpoint(cfg)
	hello.Early = true
	f, err := wire.Encode(0, 0, &hello)
	if err != nil {
		e.over()
		return nil, fmt.Errorf("greet: %w: %w", ErrHopeless, err)
	}
	try, stop := context.WithTimeout(ctx, e.cfg.Greeting)
	defer stop()
	l, err := dial(try)
	if err != nil {
		e.over()
		return nil, fmt.Errorf("connect: %w", err)
	}
	if t, ok := l.(link.Timed); ok {
		e.sample(t.RTT())
	}
	hello.Resume, hello.Early = true, false
	e.redo = func() { e.redial(dial, hello) }
	e.greeted = make(chan struct{})
	if err := e.attach(l, nil, f); err != nil {
		l.Close()
		return nil, err
	}
	return e, nil
}

// Welcome waits for the answer to the Hello of DialEarly.
func (e *Endpoint) Welcome(ctx context.Context) (*wire.Welcome, error) {
	select {
	case <-e.greeted:
	case <-e.life.Done():
	case <-ctx.Done():
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.welcome != nil: // also when it has ended since
		return e.welcome, nil
	case e.err != nil:
		return nil, e.err
	}
	return nil, ctx.Err()
}

// welcomed takes the answer to the Hello of DialEarly; false: it was there. Preconditions: e.mu is held.
func (e *Endpoint) welcomed(w *wire.Welcome) bool {
	if e.greeted == nil || e.welcome != nil {
		return false
	}
	e.welcome = w
	close(e.greeted)
	return true
}

// greeting is a link over which the node has answered.
type greeting struct {
	link    link.Link
	welcome *wire.Welcome
	ack     uint64        // what the node has received
	took    time.Duration // from hello to welcome
}

// greet dials and says hello.
func greet(ctx context.Context, dial link.Dialer, hello *wire.Hello, ack uint64, cfg *Config) (*greeting, error) {
	f, err := wire.Encode(0, ack, hello)
	if err != nil {
		return nil, fmt.Errorf("greet: %w: %w", ErrHopeless, err)
	}
	l, err := dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	g := &greeting{link: l}
	if err := g.exchange(ctx, f, cfg); err != nil {
		l.Close()
		return nil, err
	}
	return g, nil
}

func (g *greeting) exchange(ctx context.Context, hello []byte, cfg *Config) error {
	start := time.Now()
	if err := g.link.Send(ctx, hello); err != nil {
		return fmt.Errorf("greet: %w", err)
	}
	cfg.frame(SawSent, hello)
	f, err := g.link.Recv(ctx)
	if err != nil {
		return fmt.Errorf("await welcome: %w", err)
	}
	g.took = time.Since(start)
	h, m, err := wire.Decode(f)
	if err != nil {
		return fmt.Errorf("await welcome: %w", err)
	}
	cfg.frame(SawReceived, f)
	switch m := m.(type) {
	case *wire.Welcome:
		g.welcome, g.ack = m, h.Ack
		return nil
	case *wire.Bye:
		return fmt.Errorf("greet: %w", &RefusedError{m.Code, m.Text})
	default:
		return fmt.Errorf("await welcome: %w: %v in its place", wire.ErrProtocol, m.Type())
	}
}

// Waits between attempts to dial again; the longest is a tenth of the grace if that is less.
const (
	firstWait = 5 * time.Millisecond
	lastWait  = time.Second
)

// redial tries to go on over a new link until the grace ends the conversation.
func (e *Endpoint) redial(dial link.Dialer, hello wire.Hello) {
	e.mu.Lock()
	// A greeting that is lost on the way must not use up the grace.
	patience := min(e.cfg.Greeting, max(e.cfg.Grace/4, 8*e.rtt)) // TCP, TLS and the greeting take a round trip each
	e.mu.Unlock()
	for wait := firstWait; ; wait = min(2*wait, lastWait, e.cfg.Grace/10) {
		err := e.goOn(dial, &hello, patience)
		if err == nil {
			return
		}
		if final(err) || errors.Is(err, wire.ErrLost) {
			e.end(fmt.Errorf("%w: %w", ErrLost, err))
			return
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-e.life.Done():
			t.Stop()
			return
		}
	}
}

// final tells whether no other link would carry the conversation on.
func final(err error) bool {
	var refused *RefusedError
	return errors.As(err, &refused) || errors.Is(err, ErrHopeless)
}

// goOn makes one attempt to go on over a new link.
func (e *Endpoint) goOn(dial link.Dialer, hello *wire.Hello, patience time.Duration) error {
	ctx, stop := context.WithTimeout(e.life, patience)
	defer stop()
	e.mu.Lock()
	ack := e.session.Received()
	e.mu.Unlock()
	g, err := greet(ctx, dial, hello, ack, &e.cfg)
	if err != nil {
		return err
	}
	if !g.welcome.Resumed {
		err = fmt.Errorf("%w: the node does not know the session any more", wire.ErrLost)
	} else {
		e.mu.Lock()
		e.welcomed(g.welcome)
		e.mu.Unlock()
		err = e.resume(g.link, g.ack)
	}
	if err != nil {
		g.link.Close()
	}
	return err
}

// resume goes on over l; the other side has received everything up to ack. hello is written first. After an error l is
// not in use.
func (e *Endpoint) resume(l link.Link, ack uint64, hello ...[]byte) error {
	return e.attach(l, func() ([][]byte, error) {
		again, err := e.session.Resume(ack)
		if err != nil {
			return nil, err
		}
		e.resumed++
		e.acknowledged()
		e.linkBack()
		return again, nil
	}, hello...)
}
