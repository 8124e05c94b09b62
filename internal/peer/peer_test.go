package peer_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// pair is a conversation over a network.
type pair struct {
	net          *link.Network
	acc          *peer.Acceptor
	device, node *peer.Endpoint
	release      chan struct{} // lets Serve return
}

// patient outlives any fault that strikes once.
var patient = peer.Config{Grace: time.Minute, Heartbeat: 100 * time.Millisecond}

func welcome(h *wire.Hello) (*wire.Welcome, error) {
	return &wire.Welcome{Version: wire.Version, Session: h.Session}, nil
}

// connect begins a conversation, with another session if the first greeting fails.
func connect(t testing.TB, net *link.Network, cfg peer.Config) *pair {
	t.Helper()
	return connectTo(t, net, cfg, cfg)
}

// connectTo is connect with another configuration for the device.
func connectTo(t testing.TB, net *link.Network, cfg, here peer.Config) *pair {
	t.Helper()
	p := &pair{net: net, release: make(chan struct{})}
	type begun struct {
		session wire.Token
		end     *peer.Endpoint
	}
	nodes := make(chan begun, 32)
	p.acc = &peer.Acceptor{Config: cfg, Admit: welcome, Serve: func(ctx context.Context, e *peer.Endpoint, h *wire.Hello, _ *wire.Welcome) {
		nodes <- begun{h.Session, e}
		select {
		case <-p.release:
		case <-ctx.Done():
		}
	}}
	dial := net.Dialer(func(l link.Link) { _ = p.acc.Accept(t.Context(), l) })
	hello := wire.Hello{Version: wire.Version}
	for n := byte(1); p.device == nil; n++ {
		hello.Session = wire.Token{n}
		d, w, err := peer.Dial(t.Context(), dial, hello, here)
		if err != nil {
			if n == 20 {
				t.Fatal(err)
			}
			continue
		}
		if p.device = d; w.Session != hello.Session {
			t.Fatalf("welcomed to session %x, want %x", w.Session, hello.Session)
		}
	}
	for n := range nodes { // an earlier greeting may have reached the node and come to nothing
		if n.session == hello.Session {
			p.node = n.end
			break
		}
	}
	return p
}

func (p *pair) close() {
	p.device.Close()
	close(p.release)
	p.acc.Close()
}

// numbered is a message that tells its number; some take several frames.
func numbered(n uint64) wire.Message {
	size := 8
	switch {
	case n%13 == 0:
		size = 200 << 10
	case n%5 == 0:
		size = 30 << 10
	}
	b := make([]byte, size)
	binary.LittleEndian.PutUint64(b, n)
	return &wire.HomeCall{Offload: 1, Attempt: 1, Call: n, Request: b}
}

func numberOf(m wire.Message) (uint64, error) {
	c, ok := m.(*wire.HomeCall)
	if !ok {
		return 0, fmt.Errorf("received %v", m.Type())
	}
	if n := binary.LittleEndian.Uint64(c.Request); n != c.Call {
		return 0, fmt.Errorf("message %d carries %d", c.Call, n)
	}
	return c.Call, nil
}

// stream sends messages 1 to n.
func stream(ctx context.Context, e *peer.Endpoint, n uint64) error {
	for i := uint64(1); i <= n; i++ {
		if err := e.Send(ctx, numbered(i)); err != nil {
			return fmt.Errorf("send %d: %w", i, err)
		}
	}
	return nil
}

// drain receives messages 1 to n, each once and in order.
func drain(ctx context.Context, e *peer.Endpoint, n uint64) error {
	for want := uint64(1); want <= n; want++ {
		m, err := e.Recv(ctx)
		if err != nil {
			return fmt.Errorf("receive %d: %w", want, err)
		}
		got, err := numberOf(m)
		if err == nil && got != want {
			err = fmt.Errorf("received %d, want %d", got, want)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// both streams n messages each way at once.
func (p *pair) both(ctx context.Context, n uint64) error {
	errs := make(chan error, 4)
	for _, e := range []*peer.Endpoint{p.device, p.node} {
		go func() { errs <- stream(ctx, e, n) }()
		go func() { errs <- drain(ctx, e, n) }()
	}
	var all error
	for range cap(errs) {
		all = errors.Join(all, <-errs)
	}
	return all
}

var seeds = flag.Uint64("seeds", 400, "how many plans of faults TestChaos tries")

// TestChaos streams both ways over networks that fail by plan.
func TestChaos(t *testing.T) {
	if testing.Short() {
		*seeds = min(*seeds, 100)
	}
	kinds := []link.Kind{link.Cut, link.After, link.Stall, link.Dead, link.Lose, link.Corrupt, link.Double, link.Swap, link.Refuse}
	struck, resumed := map[link.Kind]int{}, 0
	for seed := range *seeds {
		plan := link.RandomPlan(seed, link.Chaos{Frames: 60, Faults: 1 + int(seed%6), Kinds: kinds, Longest: time.Second})
		switch seed % 3 {
		case 1:
			plan.Latency = time.Duration(seed%40) * time.Millisecond
		case 2:
			plan.Rate = 1 << 20
		}
		synctest.Test(t, func(t *testing.T) {
			net := link.NewNetwork(plan, link.NetworkConfig{})
			p := connect(t, net, patient)
			defer p.close()
			if err := p.both(t.Context(), 40); err != nil {
				t.Fatalf("seed %d, plan %v: %v", seed, plan, err)
			}
			resumed += p.device.Resumed()
			for _, f := range net.Fired() {
				struck[f.Kind]++
			}
		})
		if t.Failed() {
			return
		}
	}
	for _, k := range kinds {
		if struck[k] == 0 {
			t.Errorf("no fault of kind %v has struck", k)
		}
	}
	t.Logf("faults that struck: %v; conversations resumed: %d", struck, resumed)
}

// TestSilentFaults strikes once the conversation stands and no further frame follows by itself.
func TestSilentFaults(t *testing.T) {
	for _, plan := range []string{
		"lose@3:up", "lose@3:down", "dead@3:up", "dead@3:down", "stall@3:up", "stall@3:down", "corrupt@3:up/77",
		"after@3:up", "cut@3:down", "cut@3:up refuse@2 refuse@3 refuse@4",
	} {
		t.Run(plan, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pl, err := link.ParsePlan(plan)
				if err != nil {
					t.Fatal(err)
				}
				p := connect(t, link.NewNetwork(pl, link.NetworkConfig{}), patient)
				defer p.close()
				start := time.Now()
				for i := uint64(1); i <= 3; i++ { // a call at a time, as an offload makes them
					for _, e := range [][2]*peer.Endpoint{{p.node, p.device}, {p.device, p.node}} {
						if err := e[0].Send(t.Context(), numbered(i)); err != nil {
							t.Fatal(err)
						}
						m, err := e[1].Recv(t.Context())
						if err != nil {
							t.Fatal(err)
						}
						if n, err := numberOf(m); n != i || err != nil {
							t.Fatalf("received %d (%v), want %d", n, err, i)
						}
					}
				}
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("took %v", took)
				}
				if p.device.Resumed() != 1 {
					t.Errorf("resumed %d times, want once", p.device.Resumed())
				}
			})
		})
	}
}

func TestGrace(t *testing.T) {
	for _, c := range []struct {
		down time.Duration
		lost bool
	}{{8500 * time.Millisecond, false}, {11 * time.Second, true}} {
		t.Run(fmt.Sprint(c.down), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := peer.Config{Grace: 10 * time.Second, Heartbeat: time.Second}
				p := connect(t, link.NewNetwork(link.Plan{}, link.NetworkConfig{}), cfg)
				defer p.close()
				for i := range 2 {
					if err := p.node.Send(t.Context(), numbered(uint64(i+1))); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				p.net.Down(true)
				p.net.Cut()
				time.Sleep(c.down) // no waiting for a state: the network comes back at this time
				p.net.Down(false)
				time.Sleep(time.Second)
				if err := drain(t.Context(), p.device, 2); err != nil {
					t.Errorf("what had arrived is gone: %v", err)
				}
				for name, e := range map[string]*peer.Endpoint{"device": p.device, "node": p.node} {
					if got := errors.Is(e.Err(), peer.ErrLost); got != c.lost {
						t.Errorf("%s: lost %v, want %v: %v", name, got, c.lost, e.Err())
					}
					if c.lost {
						if _, err := e.Recv(t.Context()); !errors.Is(err, peer.ErrLost) {
							t.Errorf("%s: receive: %v", name, err)
						}
						if err := e.Send(t.Context(), numbered(1)); !errors.Is(err, peer.ErrLost) {
							t.Errorf("%s: send: %v", name, err)
						}
					}
				}
			})
		})
	}
}

// TestIdle leaves a conversation alone for a day.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, link.NewNetwork(link.Plan{Latency: 25 * time.Millisecond}, link.NetworkConfig{}), peer.Config{})
		defer p.close()
		time.Sleep(24 * time.Hour)
		if p.device.Err() != nil || p.node.Err() != nil || p.device.Resumed() > 0 {
			t.Errorf("device %v, node %v, resumed %d times", p.device.Err(), p.node.Err(), p.device.Resumed())
		}
		if got, want := p.device.RTT(), 50*time.Millisecond; got < want || got > want+time.Millisecond {
			t.Errorf("RTT %v, want %v", got, want)
		}
		if tr := p.device.Traffic(); tr.Sent > 10<<20 || tr.Sent < 1<<10 {
			t.Errorf("sent %d bytes", tr.Sent)
		}
	})
}

// TestSlowReceiver lets each side in turn receive nothing for long while the other one sends all it may.
func TestSlowReceiver(t *testing.T) {
	for _, name := range []string{"device", "node"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := connect(t, link.NewNetwork(link.Plan{}, link.NetworkConfig{Capacity: 64 << 10}), patient)
				defer p.close()
				from, to := p.node, p.device
				if name == "node" {
					from, to = p.device, p.node
				}
				const n = 600
				errs := make(chan error, 1)
				go func() { errs <- stream(t.Context(), from, n) }()
				time.Sleep(time.Hour)
				if len(errs) > 0 {
					t.Error("nothing held the sender up")
				}
				if err := errors.Join(drain(t.Context(), to, n), <-errs); err != nil {
					t.Error(err)
				}
				if from.Resumed()+to.Resumed() > 0 {
					t.Error("the link was taken for broken")
				}
			})
		})
	}
}

// TestSendWaits holds a sender up: only the caller's context or the end may release it.
func TestSendWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, link.NewNetwork(link.Plan{}, link.NetworkConfig{Capacity: 64 << 10}), patient)
		defer p.close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := stream(ctx, p.device, 10_000); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want that of the context", err)
		}
		errs := make(chan error)
		go func() { errs <- stream(t.Context(), p.device, 10_000) }()
		synctest.Wait()
		p.device.Close()
		if err := <-errs; !errors.Is(err, peer.ErrLost) {
			t.Errorf("error %v, want ErrLost", err)
		}
	})
}

// TestEnd checks that an end comes after all that was sent before, and says why.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, link.NewNetwork(link.Plan{Latency: time.Millisecond}, link.NetworkConfig{}), patient)
		defer p.close()
		if err := stream(t.Context(), p.node, 30); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		p.node.Refuse(wire.CodeLimit, "too much\x1b[2J\n of "+strings.Repeat("é", wire.MaxText))
		if took := time.Since(start); took > 200*time.Millisecond {
			t.Errorf("the end took %v", took)
		}
		if err := drain(t.Context(), p.device, 30); err != nil {
			t.Error(err)
		}
		_, err := p.device.Recv(t.Context())
		var r *peer.RefusedError
		if !errors.Is(err, peer.ErrLost) || !errors.As(err, &r) || r.Code != wire.CodeLimit {
			t.Errorf("end is %v, want ErrLost with code limit", err)
		}
		if s := err.Error(); strings.ContainsAny(s, "\x1b\n") || len(s) > 400 || !strings.Contains(s, "too much") {
			t.Errorf("text is not fit to be shown: %q", s)
		}
		if err := p.node.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestRefused(t *testing.T) {
	hello := wire.Hello{Version: wire.Version, Session: wire.Token{1}}
	old := hello
	old.Version++
	unknown := hello
	unknown.Resume = true
	for _, c := range []struct {
		name  string
		hello wire.Hello
		admit error
		code  wire.Code
	}{
		{"admit", hello, &peer.RefusedError{Code: wire.CodeLimit, Text: "full"}, wire.CodeLimit},
		{"admit_error", hello, errors.New("no"), wire.CodeProtocol},
		{"version", old, nil, wire.CodeVersion},
		{"unknown", unknown, nil, wire.CodeUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				acc := &peer.Acceptor{
					Admit: func(h *wire.Hello) (*wire.Welcome, error) { w, _ := welcome(h); return w, c.admit },
					Serve: func(context.Context, *peer.Endpoint, *wire.Hello, *wire.Welcome) { t.Error("served") },
				}
				defer acc.Close()
				net := link.NewNetwork(link.Plan{}, link.NetworkConfig{})
				dial := net.Dialer(func(l link.Link) {
					if acc.Accept(t.Context(), l) == nil {
						t.Error("accepted")
					}
				})
				_, _, err := peer.Dial(t.Context(), dial, c.hello, peer.Config{})
				var r *peer.RefusedError
				if !errors.As(err, &r) || r.Code != c.code {
					t.Errorf("error %v, want code %v", err, c.code)
				}
			})
		})
	}
}

// TestStrangers says things other than hello to an acceptor, or nothing.
func TestStrangers(t *testing.T) {
	frame := func(m wire.Message, seq uint64) []byte {
		f, err := wire.Encode(seq, 0, m)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	damaged := frame(&wire.Hello{Version: wire.Version, Session: wire.Token{1}}, 0)
	damaged[len(damaged)-1]++
	for _, c := range []struct {
		name  string
		frame []byte
		bye   bool
	}{
		{"silent", nil, false},
		{"damaged", damaged, false}, // a bad link, of which the device must not conclude anything
		{"garbage", []byte("GET / HTTP/1.1\r\n\r\n"), false},
		{"ping", frame(&wire.Ping{}, 0), true},
		{"output", frame(&wire.Output{Offload: 1, Attempt: 1, Call: 1}, 1), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				acc := &peer.Acceptor{Admit: welcome, Serve: func(context.Context, *peer.Endpoint, *wire.Hello, *wire.Welcome) { t.Error("served") }}
				defer acc.Close()
				here, there := link.Pipe(0)
				if c.frame != nil {
					if err := here.Send(t.Context(), c.frame); err != nil {
						t.Fatal(err)
					}
				}
				if err := acc.Accept(t.Context(), there); err == nil {
					t.Error("accepted")
				}
				f, err := here.Recv(t.Context())
				if (err == nil) != c.bye {
					t.Fatalf("answer %q, %v", f, err)
				}
				if _, m, err := wire.Decode(f); c.bye && (err != nil || m.Type() != wire.TypeBye) {
					t.Errorf("answer %v, %v", m, err)
				}
			})
		})
	}
}
