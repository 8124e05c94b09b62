package peer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// RefusedError is a node's answer to a Hello that it does not accept.
type RefusedError struct {
	Code wire.Code
	Text string
}

func (e *RefusedError) Error() string { return fmt.Sprintf("refused: %v: %s", e.Code, e.Text) }

// Dial opens a conversation from the device's side and keeps it: when the link fails it dials again. hello names the
// session, which must be new.
func Dial(ctx context.Context, dial link.Dialer, hello wire.Hello, cfg Config) (*Endpoint, *wire.Welcome, error) {
	e := newEndpoint(cfg)
	l, welcome, _, took, err := greet(ctx, dial, &hello, 0)
	if err != nil {
		return nil, nil, err
	}
	e.rtt = took
	hello.Resume = true
	e.redo = func() { e.redial(dial, hello) }
	if err := e.attach(l, nil); err != nil {
		return nil, nil, err
	}
	return e, welcome, nil
}

// greet dials and says hello: the new link, the answer and its acknowledgement, and how long the answer took.
func greet(ctx context.Context, dial link.Dialer, hello *wire.Hello, ack uint64) (link.Link, *wire.Welcome, uint64, time.Duration, error) {
	fail := func(l link.Link, what string, err error) (link.Link, *wire.Welcome, uint64, time.Duration, error) {
		if l != nil {
			l.Close()
		}
		return nil, nil, 0, 0, fmt.Errorf("%s: %w", what, err)
	}
	l, err := dial(ctx)
	if err != nil {
		return fail(nil, "connect", err)
	}
	f, err := wire.Encode(0, ack, hello)
	if err != nil {
		return fail(l, "greet", err)
	}
	start := time.Now()
	if err := l.Send(ctx, f); err != nil {
		return fail(l, "greet", err)
	}
	if f, err = l.Recv(ctx); err != nil {
		return fail(l, "await welcome", err)
	}
	took := time.Since(start)
	h, m, err := wire.Decode(f)
	if err != nil {
		return fail(l, "await welcome", err)
	}
	switch m := m.(type) {
	case *wire.Welcome:
		return l, m, h.Ack, took, nil
	case *wire.Bye:
		return fail(l, "greet", &RefusedError{m.Code, m.Text})
	default:
		return fail(l, "await welcome", fmt.Errorf("%w: %v in its place", wire.ErrProtocol, m.Type()))
	}
}

// redial tries to go on over a new link until the grace ends the conversation.
func (e *Endpoint) redial(dial link.Dialer, hello wire.Hello) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-e.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		e.mu.Lock()
		ack := e.session.Received()
		e.mu.Unlock()
		try, stop := context.WithTimeout(ctx, e.cfg.Dead)
		l, welcome, peerAck, _, err := greet(try, dial, &hello, ack)
		stop()
		if err == nil {
			if !welcome.Resumed {
				l.Close()
				e.end(fmt.Errorf("%w: the node does not know the session any more", ErrLost))
				return
			}
			if err = e.resume(l, peerAck); err == nil {
				return
			}
		}
		var refused *RefusedError
		if errors.As(err, &refused) || errors.Is(err, wire.ErrLost) || errors.Is(err, wire.ErrProtocol) {
			e.end(fmt.Errorf("%w: %w", ErrLost, err))
			return
		}
		select {
		case <-time.After(wait):
		case <-e.done:
			return
		}
	}
}

// resume goes on over l; the other side has received everything up to ack. hello is written first.
func (e *Endpoint) resume(l link.Link, ack uint64, hello ...[]byte) error {
	return e.attach(l, func() ([][]byte, error) {
		again, err := e.session.Resume(ack)
		if err != nil {
			return nil, err
		}
		e.resumed++
		close(e.room)
		e.room = make(chan struct{})
		// The writer appends to and clears its queue: it must be its own.
		return again, nil
	}, hello...)
}
