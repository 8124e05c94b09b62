package peer_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// TestMany has many goroutines send and receive while links are cut at random, in real time.
func TestMany(t *testing.T) {
	const workers, each = 8, 200
	p := connect(t, link.NewNetwork(link.Plan{}, link.NetworkConfig{Capacity: 32 << 10}), peer.Config{Grace: 20 * time.Second})
	defer p.close()
	stop := make(chan struct{})
	var cutter sync.WaitGroup
	cutter.Go(func() {
		for r := rand.New(rand.NewPCG(1, 2)); ; {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(r.IntN(3000)) * time.Microsecond):
				p.net.Cut()
			}
		}
	})
	seen := [2]map[uint64]int{{}, {}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, e := range []*peer.Endpoint{p.device, p.node} {
		for w := range uint64(workers) {
			wg.Go(func() {
				for n := range uint64(each) {
					if err := e.Send(t.Context(), &wire.HomeCall{Offload: 1, Attempt: 1, Call: w*each + n + 1, Request: make([]byte, n*8)}); err != nil {
						t.Error(err)
						return
					}
				}
			})
			wg.Go(func() {
				for range each {
					m, err := e.Recv(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					seen[i][m.(*wire.HomeCall).Call]++
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	close(stop)
	cutter.Wait()
	for i := range seen {
		for n := range uint64(workers * each) {
			if seen[i][n+1] != 1 {
				t.Fatalf("side %d received message %d %d times", i, n+1, seen[i][n+1])
			}
		}
	}
	t.Logf("resumed %d times", p.device.Resumed())
}

// TestEndAtAnyTime ends conversations from both sides and the acceptor while links come and go.
func TestEndAtAnyTime(t *testing.T) {
	seeds := uint64(80)
	if testing.Short() {
		seeds = 20
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			// With a perfect network the streams never rest, and time would stand still.
			p := connect(t, link.NewNetwork(link.Plan{Latency: time.Millisecond, Rate: 10 << 20}, link.NetworkConfig{}), patient)
			defer close(p.release)
			done := make(chan error)
			go func() { done <- p.both(t.Context(), 1<<40) }()
			acts := []func(){
				p.net.Cut, func() { p.net.Down(true) }, func() { p.net.Down(false) }, func() { p.device.Close() },
				func() { p.node.Refuse(wire.CodeInternal, "x") }, p.acc.Close,
			}
			for range 10 {
				time.Sleep(time.Duration(r.IntN(5000)) * time.Microsecond)
				acts[r.IntN(len(acts))]()
			}
			p.acc.Close()
			p.device.Close()
			<-done
			if !errors.Is(p.device.Err(), peer.ErrLost) || !errors.Is(p.node.Err(), peer.ErrLost) {
				t.Errorf("seed %d: device ended with %v, node with %v", seed, p.device.Err(), p.node.Err())
			}
		})
	}
}

// TestClosedAcceptor refuses conversations once it is closed, and ends those that it had.
func TestClosedAcceptor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, link.NewNetwork(link.Plan{}, link.NetworkConfig{}), patient)
		p.acc.Close()
		synctest.Wait()
		if p.device.Err() == nil {
			t.Error("the device was not told")
		}
		dial := p.net.Dialer(func(l link.Link) { _ = p.acc.Accept(t.Context(), l) })
		_, _, err := peer.Dial(t.Context(), dial, wire.Hello{Version: wire.Version, Session: wire.Token{9}}, patient)
		var r *peer.RefusedError
		if !errors.As(err, &r) {
			t.Errorf("error %v, want a refusal", err)
		}
	})
}

// TestOldGreeting brings a greeting to the node after a newer one: the conversation goes on.
func TestOldGreeting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, link.NewNetwork(link.Plan{}, link.NetworkConfig{}), patient)
		defer p.close()
		for _, ack := range []uint64{0, 40, 1 << 60} { // as old as can be, current, never sent
			if err := p.both(t.Context(), 40); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second) // all is acknowledged
			here, there := link.Pipe(0)
			f, err := wire.Encode(0, ack, &wire.Hello{Version: wire.Version, Session: wire.Token{1}, Resume: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := here.Send(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			_ = p.acc.Accept(t.Context(), there)
			here.Close()
		}
		if err := p.both(t.Context(), 40); err != nil {
			t.Fatal(err)
		}
	})
}

// TestLiar breaks the rules of a session from the node's side: the device ends it, or drops the link.
func TestLiar(t *testing.T) {
	for _, c := range []struct {
		name     string
		seq, ack uint64
		m        wire.Message
		lost     bool
	}{
		{"gap", 7, 0, numbered(1), false},
		{"ack", 1, 99, numbered(1), true},
		{"hello", 0, 0, &wire.Hello{Session: wire.Token{1}}, false},
		{"welcome", 0, 0, &wire.Welcome{}, false},
		{"pong", 0, 0, &wire.Pong{Stamp: 77}, false},
		{"bye", 0, 0, &wire.Bye{Code: wire.CodeDone}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dials := 0
				dial := func(ctx context.Context) (link.Link, error) {
					here, there := link.Pipe(0)
					w := &wire.Welcome{Version: wire.Version, Resumed: dials > 0}
					f, err := wire.Encode(0, 0, w)
					if err == nil {
						err = there.Send(ctx, f)
					}
					if dials++; dials == 1 && err == nil {
						if f, err = wire.Encode(c.seq, c.ack, c.m); err == nil {
							err = there.Send(ctx, f)
						}
					}
					return here, err
				}
				e, _, err := peer.Dial(t.Context(), dial, wire.Hello{Version: wire.Version, Session: wire.Token{1}}, patient)
				if err != nil {
					t.Fatal(err)
				}
				defer e.Close()
				synctest.Wait()
				if lost := e.Err() != nil; lost != c.lost {
					t.Errorf("ended with %v, want an end: %v", e.Err(), c.lost)
				}
			})
		})
	}
}
