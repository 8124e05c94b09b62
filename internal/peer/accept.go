package peer

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
	// Serve has a new conversation until it returns; ctx ends when the conversation does. It is called for each Hello
	// that Admit has taken, also where the conversation has ended already.
	Serve func(ctx context.Context, e *Endpoint, hello *wire.Hello, welcome *wire.Welcome)

	mu       sync.Mutex
	sessions map[wire.Token]*Endpoint // guarded by mu
	closed   bool                     // guarded by mu
	wg       sync.WaitGroup
}

// Accept takes a link whose first frame is yet to come. It blocks until that is answered; whoever says nothing is
// not waited for longer than Config.Greeting.
func (a *Acceptor) Accept(ctx context.Context, l link.Link) error {
	ctx, stop := context.WithTimeout(ctx, a.Config.withDefaults().Greeting)
	defer stop()
	f, err := l.Recv(ctx)
	if err != nil {
		l.Close()
		return fmt.Errorf("await hello: %w", err)
	}
	h, m, err := wire.Decode(f)
	hello, ok := m.(*wire.Hello)
	switch {
	case errors.Is(err, wire.ErrCorrupt):
		l.Close() // a bad link, not a bad device: no word that would end the conversation
		return fmt.Errorf("await hello: %w", err)
	case err != nil:
	case !ok:
		err = fmt.Errorf("%w: %v in place of hello", wire.ErrProtocol, m.Type())
	case hello.Version != wire.Version:
		err = &RefusedError{wire.CodeVersion, fmt.Sprintf("version %d, this side speaks %d", hello.Version, wire.Version)}
	case hello.Resume:
		err = a.resume(l, h.Ack, hello)
	default:
		err = a.begin(ctx, l, hello)
	}
	if err != nil {
		a.refuse(ctx, l, err)
	}
	return err
}

// resume goes on with a conversation. After an error the link is not in use; likewise begin.
func (a *Acceptor) resume(l link.Link, ack uint64, hello *wire.Hello) error {
	a.mu.Lock()
	e := a.sessions[hello.Session]
	a.mu.Unlock()
	if e == nil || e.Err() != nil {
		return &RefusedError{wire.CodeUnknown, "no such session"}
	}
	e.mu.Lock()
	received, first := e.session.Received(), e.welcome
	e.mu.Unlock()
	if first == nil { // its greeting is still being judged
		return &RefusedError{wire.CodeUnknown, "no such session yet"}
	}
	again := *first // a device that did not wait for the first one may never have got it
	again.HaveModule, again.Resumed = true, true
	f, err := wire.Encode(0, received, &again)
	if err != nil {
		return err
	}
	return e.resume(l, ack, f)
}

func (a *Acceptor) begin(ctx context.Context, l link.Link, hello *wire.Hello) error {
	e := newEndpoint(a.Config)
	if err := a.register(hello.Session, e); err != nil {
		e.over()
		return err
	}
	welcome, err := a.Admit(hello)
	if err != nil {
		a.forget(hello.Session)
		e.end(fmt.Errorf("%w: %w", ErrLost, err))
		return err
	}
	e.mu.Lock()
	e.welcome = welcome
	e.mu.Unlock()
	f, err := wire.Encode(0, 0, welcome)
	if err == nil {
		err = e.attach(l, nil, f)
	}
	if err != nil {
		e.end(fmt.Errorf("%w: %w", ErrLost, err))
	}
	go func() {
		defer a.forget(hello.Session)
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		defer context.AfterFunc(e.life, cancel)()
		a.Serve(ctx, e, hello, welcome)
		e.Close()
	}()
	return err
}

func (a *Acceptor) register(s wire.Token, e *Endpoint) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.closed:
		return &RefusedError{wire.CodeLimit, "shutting down"}
	case a.sessions[s] != nil:
		return &RefusedError{wire.CodeProtocol, "session exists already"}
	case a.sessions == nil:
		a.sessions = map[wire.Token]*Endpoint{}
	}
	a.sessions[s] = e
	a.wg.Add(1)
	return nil
}

func (a *Acceptor) forget(s wire.Token) {
	a.mu.Lock()
	delete(a.sessions, s)
	a.mu.Unlock()
	a.wg.Done()
}

// refuse says why, and closes the link.
func (a *Acceptor) refuse(ctx context.Context, l link.Link, err error) {
	bye := &wire.Bye{Code: wire.CodeProtocol, Text: err.Error()}
	var r *RefusedError
	switch {
	case errors.As(err, &r):
		bye.Code, bye.Text = r.Code, r.Text
	case errors.Is(err, ErrLost):
		bye.Code = wire.CodeUnknown
	case errors.Is(err, wire.ErrLost):
		// An old greeting that was long on the way: the device has made a newer one.
		l.Close()
		return
	}
	bye.Text = strings.ToValidUTF8(bye.Text[:min(len(bye.Text), wire.MaxText)], "")
	if f, e := wire.Encode(0, 0, bye); e == nil {
		_ = l.Send(ctx, f) // it will notice the end of the link as well
	}
	l.Close()
}

// Close ends all conversations and waits for their Serve to return. Links are refused from then on.
func (a *Acceptor) Close() {
	a.mu.Lock()
	a.closed = true
	for _, e := range a.sessions {
		go e.Close()
	}
	a.mu.Unlock()
	a.wg.Wait()
}

// Kill drops all conversations at once without a word to the other sides, as when a node loses its power.
func (a *Acceptor) Kill() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for token, e := range a.sessions {
		delete(a.sessions, token)
		go e.end(fmt.Errorf("%w: killed", ErrLost))
	}
}
