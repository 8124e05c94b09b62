package peer

import (
	"context"
	"fmt"
	"sync"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Acceptor is the node's side: it takes links, tells new conversations from resumed ones, and hands the new ones to
// its owner. Safe for concurrent use.
type Acceptor struct {
	Config Config
	// Admit judges the Hello of a new conversation and makes the answer; an error refuses it.
	Admit func(*wire.Hello) (*wire.Welcome, error)
	// Serve has a new conversation until it returns; ctx ends when the conversation does.
	Serve func(ctx context.Context, e *Endpoint, hello *wire.Hello)

	mu       sync.Mutex
	sessions map[wire.Token]*Endpoint // guarded by mu
	wg       sync.WaitGroup
}

// Accept takes a link whose first frame is yet to come. It blocks until that is answered.
func (a *Acceptor) Accept(ctx context.Context, l link.Link) error {
	f, err := l.Recv(ctx)
	if err != nil {
		l.Close()
		return fmt.Errorf("await hello: %w", err)
	}
	h, m, err := wire.Decode(f)
	hello, ok := m.(*wire.Hello)
	if err == nil && !ok {
		err = fmt.Errorf("%w: %v in place of hello", wire.ErrProtocol, m.Type())
	}
	if err == nil && hello.Version != wire.Version {
		err = &RefusedError{wire.CodeVersion, fmt.Sprintf("version %d, this side speaks %d", hello.Version, wire.Version)}
	}
	if err != nil {
		return a.refuse(ctx, l, err)
	}
	if hello.Resume {
		return a.resume(ctx, l, h.Ack, hello)
	}
	return a.begin(ctx, l, hello)
}

func (a *Acceptor) resume(ctx context.Context, l link.Link, ack uint64, hello *wire.Hello) error {
	a.mu.Lock()
	e := a.sessions[hello.Session]
	a.mu.Unlock()
	if e == nil {
		return a.refuse(ctx, l, &RefusedError{wire.CodeUnknown, "no such session"})
	}
	e.mu.Lock()
	received := e.session.Received()
	e.mu.Unlock()
	f, err := wire.Encode(0, received, &wire.Welcome{Version: wire.Version, Session: hello.Session, HaveModule: true, Resumed: true})
	if err != nil {
		return a.refuse(ctx, l, err)
	}
	if err := e.resume(l, ack, f); err != nil {
		return fmt.Errorf("resume session: %w", err)
	}
	return nil
}

func (a *Acceptor) begin(ctx context.Context, l link.Link, hello *wire.Hello) error {
	welcome, err := a.Admit(hello)
	if err != nil {
		return a.refuse(ctx, l, err)
	}
	f, err := wire.Encode(0, 0, welcome)
	if err != nil {
		return a.refuse(ctx, l, err)
	}
	e := newEndpoint(a.Config)
	a.mu.Lock()
	if a.sessions == nil {
		a.sessions = map[wire.Token]*Endpoint{}
	}
	if a.sessions[hello.Session] != nil {
		a.mu.Unlock()
		return a.refuse(ctx, l, &RefusedError{wire.CodeProtocol, "session exists already"})
	}
	a.sessions[hello.Session] = e
	a.wg.Add(1)
	a.mu.Unlock()
	if err := e.attach(l, nil, f); err != nil {
		return err
	}
	go func() {
		defer a.wg.Done()
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		go func() {
			select {
			case <-e.Done():
				cancel()
			case <-ctx.Done():
			}
		}()
		a.Serve(ctx, e, hello)
		e.Close()
		a.mu.Lock()
		delete(a.sessions, hello.Session)
		a.mu.Unlock()
	}()
	return nil
}

func (a *Acceptor) refuse(ctx context.Context, l link.Link, err error) error {
	bye := &wire.Bye{Code: wire.CodeProtocol, Text: err.Error()}
	if r, ok := err.(*RefusedError); ok {
		bye.Code, bye.Text = r.Code, r.Text
	}
	if len(bye.Text) > wire.MaxText {
		bye.Text = bye.Text[:wire.MaxText]
	}
	if f, e := wire.Encode(0, 0, bye); e == nil {
		l.Send(ctx, f)
	}
	l.Close()
	return err
}

// Close ends all conversations and waits for their Serve to return.
func (a *Acceptor) Close() {
	a.mu.Lock()
	for _, e := range a.sessions {
		go e.Close()
	}
	a.mu.Unlock()
	a.wg.Wait()
}

// Kill drops all conversations at once without a word to the other sides.
func (a *Acceptor) Kill() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for token, e := range a.sessions {
		delete(a.sessions, token)
		go e.end(fmt.Errorf("%w: killed", ErrLost))
	}
}
