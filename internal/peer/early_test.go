package peer_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// earlyPair begins a conversation without waiting for the answer. The node's end comes when it is there; nil: it will not.
func earlyPair(t *testing.T, net *link.Network, admit error) (*pair, <-chan *peer.Endpoint) {
	t.Helper()
	p := &pair{net: net, release: make(chan struct{})}
	nodes := make(chan *peer.Endpoint, 1)
	p.acc = &peer.Acceptor{Config: patient, Admit: func(h *wire.Hello) (*wire.Welcome, error) {
		if !h.Early {
			t.Error("hello does not say that it is early")
		}
		return &wire.Welcome{Version: wire.Version, Session: h.Session, HaveModule: true, Engine: "e", Arch: "a", Speed: 2}, admit
	}, Serve: func(ctx context.Context, e *peer.Endpoint, _ *wire.Hello, _ *wire.Welcome) {
		nodes <- e
		select {
		case <-p.release:
		case <-ctx.Done():
		}
	}}
	dial := net.Dialer(func(l link.Link) { _ = p.acc.Accept(t.Context(), l) })
	var err error
	if p.device, err = peer.DialEarly(t.Context(), dial, wire.Hello{Version: wire.Version, Session: wire.Token{1}}, patient); err != nil {
		t.Fatal(err)
	}
	return p, nodes
}

// TestEarly: what is sent behind the greeting reaches the node half a round trip after the link stands.
func TestEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, nodes := earlyPair(t, link.NewNetwork(link.Plan{Latency: 50 * time.Millisecond}, link.NetworkConfig{}), nil)
		start := time.Now()
		if err := stream(t.Context(), p.device, 4); err != nil {
			t.Fatal(err)
		}
		p.node = <-nodes
		defer p.close()
		if err := drain(t.Context(), p.node, 4); err != nil || time.Since(start) != 50*time.Millisecond {
			t.Errorf("received after %v: %v", time.Since(start), err)
		}
		w, err := p.device.Welcome(t.Context())
		if err != nil || w.Engine != "e" || w.Arch != "a" || !w.HaveModule || w.Resumed || time.Since(start) != 100*time.Millisecond {
			t.Errorf("welcome %+v after %v: %v", w, time.Since(start), err)
		}
		if again, err := p.device.Welcome(t.Context()); again != w || err != nil {
			t.Errorf("welcome again: %+v, %v", again, err)
		}
		p.net.Cut()
		if err := p.both(t.Context(), 40); err != nil {
			t.Error(err)
		}
		if n := p.device.Resumed(); n != 1 {
			t.Errorf("resumed %d times", n)
		}
	})
}

// TestEarlyRefused: the device is told in place of an answer, whatever it has sent already.
func TestEarlyRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		no := &peer.RefusedError{Code: wire.CodeUnknown, Text: "nothing here"}
		p, _ := earlyPair(t, link.NewNetwork(link.Plan{Latency: 50 * time.Millisecond}, link.NetworkConfig{}), no)
		if err := stream(t.Context(), p.device, 40); err != nil {
			t.Fatal(err)
		}
		_, err := p.device.Welcome(t.Context())
		_, again := p.device.Recv(t.Context())
		for _, err := range []error{err, again} {
			var r *peer.RefusedError
			if !errors.As(err, &r) || *r != *no || !errors.Is(err, peer.ErrLost) {
				t.Errorf("error %v", err)
			}
		}
		p.acc.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		no := errors.New("no way")
		_, err := peer.DialEarly(t.Context(), func(context.Context) (link.Link, error) { return nil, no }, wire.Hello{Session: wire.Token{1}}, patient)
		if !errors.Is(err, no) {
			t.Errorf("error %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p, nodes := earlyPair(t, link.NewNetwork(link.Plan{Latency: 100 * time.Millisecond}, link.NetworkConfig{}), nil)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := p.device.Welcome(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		p.node = <-nodes
		p.close()
	})
}

// TestEarlyLost loses the link around the greeting. Where the node has it, the conversation goes on and the answer
// comes with the next link; else the node does not know it, and says so.
func TestEarlyLost(t *testing.T) {
	for _, c := range []struct {
		plan  string
		code  wire.Code // of the refusal; 0: it goes on
		again int       // how often it is resumed
	}{
		{"cut@1:down", 0, 1}, {"lose@1:down", 0, 1}, {"corrupt@1:down/3", 0, 1}, {"stall@1:down", 0, 1}, {"dead@1:down", 0, 1}, {"after@1:down", 0, 1},
		{"swap@1:down", 0, 1}, {"double@1:down", 0, 1}, {"double@1:up", 0, 1},
		{"cut@1:up", wire.CodeUnknown, 0}, {"corrupt@1:up/3", wire.CodeUnknown, 0}, {"dead@1:up", wire.CodeUnknown, 0},
		{"lose@1:up", wire.CodeProtocol, 0},
		{"cut@1:down refuse@2 refuse@3", 0, 1}, {"cut@2:up", wire.CodeUnknown, 0}, {"cut@1:down lose@2:down", 0, 1},
	} {
		t.Run(c.plan, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				plan, err := link.ParsePlan(c.plan)
				if err != nil {
					t.Fatal(err)
				}
				plan.Latency = time.Millisecond
				p, nodes := earlyPair(t, link.NewNetwork(plan, link.NetworkConfig{}), nil)
				defer p.acc.Close()
				errs := make(chan error, 2)
				go func() { errs <- stream(t.Context(), p.device, 3) }()
				go func() {
					select {
					case n := <-nodes:
						errs <- errors.Join(drain(t.Context(), n, 3), n.Send(t.Context(), numbered(1)))
					case <-p.device.Done():
						errs <- nil
					}
				}()
				w, err := p.device.Welcome(t.Context())
				if c.code != 0 {
					var r *peer.RefusedError
					if !errors.As(err, &r) || r.Code != c.code {
						t.Errorf("welcome %+v, %v, want a refusal with %v", w, err, c.code)
					}
					return
				}
				if err != nil || w.Engine != "e" || w.Arch != "a" || w.Speed != 2 || !w.HaveModule {
					t.Errorf("welcome %+v, %v", w, err)
				}
				if err := errors.Join(<-errs, <-errs, drain(t.Context(), p.device, 1)); err != nil {
					t.Error(err)
				}
				if n := p.device.Resumed(); n != c.again {
					t.Errorf("resumed %d times, want %d", n, c.again)
				}
				p.device.Close()
				close(p.release)
			})
		})
	}
}

// TestHopeless: no more attempts once the dialer says that they are of no use.
func TestHopeless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := link.NewNetwork(link.Plan{}, link.NetworkConfig{})
		acc := &peer.Acceptor{Config: patient, Admit: welcome, Serve: func(ctx context.Context, _ *peer.Endpoint, _ *wire.Hello, _ *wire.Welcome) { <-ctx.Done() }}
		defer acc.Close()
		dial, dials := n.Dialer(func(l link.Link) { _ = acc.Accept(t.Context(), l) }), 0
		e, _, err := peer.Dial(t.Context(), func(ctx context.Context) (link.Link, error) {
			if dials++; dials == 1 {
				return dial(ctx)
			}
			return nil, fmt.Errorf("%w: another node", peer.ErrHopeless)
		}, wire.Hello{Version: wire.Version, Session: wire.Token{1}}, patient)
		if err != nil {
			t.Fatal(err)
		}
		n.Cut()
		start := time.Now()
		<-e.Done()
		if !errors.Is(e.Err(), peer.ErrHopeless) || !errors.Is(e.Err(), peer.ErrLost) || time.Since(start) > time.Second || dials != 2 {
			t.Errorf("ended after %v and %d dials: %v", time.Since(start), dials, e.Err())
		}
	})
}

// TestGreeting: neither side waits for ever for the other to say who it is.
func TestGreeting(t *testing.T) {
	for _, c := range []struct {
		cfg  peer.Config
		want time.Duration
	}{
		{peer.Config{}, 8 * time.Second}, // the time of four heartbeats is less than ten seconds
		{peer.Config{Dead: time.Hour}, 10 * time.Second},
		{peer.Config{Heartbeat: 100 * time.Millisecond}, 400 * time.Millisecond},
		{peer.Config{Greeting: 3 * time.Second, Dead: time.Second}, 3 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			here, there := link.Pipe(0)
			start := time.Now()
			_, _, err := peer.Dial(t.Context(), func(context.Context) (link.Link, error) { return here, nil },
				wire.Hello{Version: wire.Version, Session: wire.Token{1}}, c.cfg)
			if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != c.want {
				t.Errorf("%+v: device gave up after %v: %v", c.cfg, took, err)
			}
			there.Close()
			here, there = link.Pipe(0)
			acc := &peer.Acceptor{Config: c.cfg, Admit: welcome}
			start = time.Now()
			err = acc.Accept(t.Context(), there)
			if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != c.want {
				t.Errorf("%+v: node gave up after %v: %v", c.cfg, took, err)
			}
			here.Close()
		})
	}
}

// TestServeFollowsAdmit: whatever Admit takes account of, Serve can give back, also where nothing comes of it.
func TestServeFollowsAdmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		admitted, served := 0, 0
		p := &pair{net: link.NewNetwork(link.Plan{}, link.NetworkConfig{})}
		p.acc = &peer.Acceptor{Config: patient, Admit: func(h *wire.Hello) (*wire.Welcome, error) {
			mu.Lock()
			defer mu.Unlock()
			admitted++
			if admitted == 2 {
				p.acc.Kill() // in the midst of it
			}
			return welcome(h)
		}, Serve: func(ctx context.Context, e *peer.Endpoint, _ *wire.Hello, _ *wire.Welcome) {
			<-ctx.Done()
			mu.Lock()
			defer mu.Unlock()
			served++
		}}
		dial := p.net.Dialer(func(l link.Link) { _ = p.acc.Accept(t.Context(), l) })
		for _, session := range []byte{1, 1, 2, 3} {
			e, _, err := peer.Dial(t.Context(), dial, wire.Hello{Version: wire.Version, Session: wire.Token{session}}, patient)
			if err == nil {
				defer e.Close()
			}
		}
		p.acc.Close()
		mu.Lock()
		defer mu.Unlock()
		if admitted != 3 || served != 3 {
			t.Errorf("%d admitted, %d served", admitted, served)
		}
	})
}

// TestInterceptInOrder: who intercepts sees all messages in their order, those too that were read before.
func TestInterceptInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, nodes := earlyPair(t, link.NewNetwork(link.Plan{Latency: 50 * time.Millisecond}, link.NetworkConfig{}), nil)
		const n = 10
		if err := stream(t.Context(), p.device, n); err != nil {
			t.Fatal(err)
		}
		p.node = <-nodes
		defer p.close()
		synctest.Wait() // they have been read
		var seen []uint64
		p.node.Intercept(func(m wire.Message) bool {
			i, err := numberOf(m)
			if err != nil {
				t.Error(err)
			}
			seen = append(seen, i)
			return i < n // what comes last is for the receiver
		})
		if len(seen) != n {
			t.Errorf("saw %d of %d messages", len(seen), n)
		}
		for i, got := range seen {
			if got != uint64(i)+1 {
				t.Errorf("message %d is the %dth", got, i+1)
			}
		}
		if m, err := p.node.Recv(t.Context()); err != nil {
			t.Error(err)
		} else if i, err := numberOf(m); err != nil || i != n {
			t.Errorf("received %d, %v", i, err)
		}
	})
}
