package push

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/wire"
)

func TestPush(t *testing.T) {
	l := newOwnLab(t, link.Plan{})
	v := l.pin()
	var last Stats
	cfg := l.config(v)
	cfg.Progress = func(s Stats) {
		if s.Files < last.Files || s.Bytes < last.Bytes || s.Files > s.FilesTotal || s.Bytes > s.BytesTotal {
			t.Errorf("progress goes from %+v to %+v", last, s)
		}
		last = s
	}
	s := l.push(cfg)
	l.whole(v)
	if s.Files != s.FilesTotal || s.Bytes != s.BytesTotal || s.Files < 1200 || s.Left+s.Dropped+s.Here != 0 || s.Sessions != 1 {
		t.Errorf("got %+v", s)
	}
	if n, again := l.store.puts(); n != s.Given || again != 0 {
		t.Errorf("%d objects came, %d of them again; %d were given", n, again, s.Given)
	}
	if last.Files != s.Files || last.Bytes != s.Bytes {
		t.Errorf("the progress ends with %+v, the push with %+v", last, s)
	}

	// Again: only questions.
	two := l.push(l.config(v))
	if two.Given != 0 || two.Here != s.Given || two.Sent > uint64(40*s.Given) {
		t.Errorf("a second push: got %+v after %+v", two, s)
	}
	// With a memory: not even these.
	cfg = l.config(v)
	cfg.Known = &Known{}
	l.push(cfg)
	if again := l.push(cfg); again.Given != 0 || again.Sent != 0 || again.Here != s.Given {
		t.Errorf("a push of what is known: got %+v", again)
	}

	// After a change: only that.
	changed := noise(9999, 3000)
	write(t, l.dir, "tree/3/303/f", changed)
	w := l.pin()
	cfg.Image = w
	three := l.push(cfg)
	l.whole(w)
	// The file's chunk, and the nodes of its directory and of the three above.
	if three.Given != 5 || three.Sent > 20_000 {
		t.Errorf("after one change: got %+v", three)
	}
	cfg.Known.Forget()
	if four := l.push(cfg); four.Given != 0 || four.Here != s.Given {
		t.Errorf("after forgetting: got %+v", four)
	}
}

// TestUnhashed: contents that nobody has asked for are hashed on the way.
func TestUnhashed(t *testing.T) {
	l := newOwnLab(t, link.Plan{})
	v, err := l.tree.Pin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.push(l.config(v))
	w := l.pin()
	s := l.push(l.config(w))
	l.whole(w)
	if s.Given > 600 { // the nodes of directories, which now say what files consist of
		t.Errorf("got %+v", s)
	}
}

func TestOrder(t *testing.T) {
	l := newLab(t, link.Plan{})
	v := l.pin()
	cfg := l.config(v)
	cfg.Used = []string{"tree/3/303/f", "gone", "tree", "link", "many/0699", "tree/3/303/f"}
	cfg.UsedOnly = true
	s := l.push(cfg)
	first, second := l.came(l.chunksOf(v, "tree/3/303/f")[0]), l.came(l.chunksOf(v, "many/0699")[0])
	n, _ := l.store.puts()
	if s.FilesTotal != 2 || s.Files != 2 || first != n-2 || second != n-1 {
		t.Errorf("used files came as %d and %d of %d; %+v", first, second, n, s)
	}
	cfg.UsedOnly = false
	l.push(cfg)
	l.whole(v)
}

// TestCuts cuts the link at many points; sessions go on over new links.
func TestCuts(t *testing.T) {
	resumed, struck := 0, 0
	for seed := range uint64(12) {
		plan := link.RandomPlan(seed, link.Chaos{Frames: 120, Faults: 3, Kinds: []link.Kind{link.Cut, link.After, link.Corrupt, link.Double, link.Swap, link.Lose}})
		l := newLab(t, plan)
		v := l.pin()
		s := l.push(l.config(v))
		l.whole(v)
		if _, again := l.store.puts(); again != 0 && s.Sessions == 1 {
			t.Errorf("%v: %d objects came again", plan, again)
		}
		struck += len(l.net.Fired())
		if s.Sessions == 1 {
			resumed++
		}
	}
	if struck < 20 || resumed == 0 {
		t.Errorf("%d faults struck, %d pushes went on in their session", struck, resumed)
	}
}

// TestLost ends sessions for good, at many points: the node forgets the conversation, as when it is started anew.
func TestLost(t *testing.T) {
	for _, at := range []uint64{0, 1 << 20, 2 << 20, 3 << 20, 4 << 20, 5 << 20, 6 << 20} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			l := newLab(t, link.Plan{})
			v := l.pin()
			cfg := l.config(v)
			kills := 0
			cfg.Progress = func(s Stats) {
				if s.Bytes >= at && kills < 2 {
					kills++
					l.host.Kill()
				}
			}
			s := l.push(cfg)
			l.whole(v)
			if kills == 0 || s.Sessions < 2 {
				t.Errorf("%d times killed: %+v", kills, s)
			}
			// What was on its way may come again: a few MB in chunks of 64 KiB, or all the small ones once.
			if n, again := l.store.puts(); again > n/2 {
				t.Errorf("%d of %d objects came again", again, n)
			}
		})
	}
}

func TestDown(t *testing.T) {
	l := newLab(t, link.Plan{})
	v := l.pin()
	l.net.Down(true)
	cfg := l.config(v)
	c := cfg.Clock.(*clock)
	s, err := Push(t.Context(), cfg)
	if err == nil || s.Sessions != 6 {
		t.Errorf("no node: %+v, %v", s, err)
	}
	if want := (500 + 1000 + 2000 + 4000 + 8000) * time.Millisecond; c.slept != want {
		t.Errorf("it waited %v in all, want %v", c.slept, want)
	}
	// It comes while the push waits.
	cfg.Clock = &coming{clock: clock{}, up: func() { l.net.Down(false) }}
	if s := l.push(cfg); s.Sessions != 2 {
		t.Errorf("got %+v", s)
	}
	l.whole(v)
}

// coming is a clock at which something happens meanwhile.
type coming struct {
	clock
	up func()
}

func (c *coming) Sleep(ctx context.Context, d time.Duration) error {
	c.up()
	return c.clock.Sleep(ctx, d)
}

func TestBudget(t *testing.T) {
	l := newLab(t, link.Plan{})
	v := l.pin()
	const budget = 2 << 20
	for round := 1; ; round++ {
		cfg := l.config(v)
		cfg.MaxBytes = budget
		s := l.push(cfg)
		if s.Sent > budget {
			t.Fatalf("round %d: %+v", round, s)
		}
		if !s.Over {
			l.whole(v)
			if round < 4 || s.Files != s.FilesTotal {
				t.Errorf("it took %d rounds: %+v", round, s)
			}
			break
		}
		if s.Sent < budget*8/10 || round > 10 {
			t.Fatalf("round %d: %+v", round, s)
		}
	}
	if _, again := l.store.puts(); again != 0 {
		t.Errorf("%d objects came again", again)
	}
	cfg := l.config(v)
	cfg.MaxBytes = 10 // not even for a question
	if s := l.push(cfg); !s.Over || s.Sent != 0 || s.Given != 0 {
		t.Errorf("got %+v", s)
	}
}

func TestRate(t *testing.T) {
	l := newLab(t, link.Plan{})
	cfg := l.config(l.pin())
	cfg.Rate = 1 << 20
	s := l.push(cfg)
	slept := cfg.Clock.(*clock).slept
	// Questions are not counted, and the last piece need not be waited for.
	if least, most := float64(s.Sent)/float64(cfg.Rate)-2, float64(s.Sent)/float64(cfg.Rate)+1; slept.Seconds() < least || slept.Seconds() > most {
		t.Errorf("%d bytes took %v, want %.1f to %.1f s", s.Sent, slept, least, most)
	}
}

func TestBucket(t *testing.T) {
	c := &clock{}
	b := bucket{rate: 1000, clock: c}
	take := func(n int, want time.Duration) {
		t.Helper()
		before := c.slept
		if err := b.take(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		if got := c.slept - before; got.Round(time.Millisecond) != want {
			t.Errorf("%d bytes waited %v, want %v", n, got, want)
		}
	}
	take(500, 0)
	take(100, 500*time.Millisecond)
	take(2000, 100*time.Millisecond)
	take(1, 2*time.Second)
	c.now = c.now.Add(time.Hour) // no more than a second's worth is saved up
	take(1500, 0)
	take(1, 500*time.Millisecond)
	c.now = c.now.Add(-time.Hour)
	take(1, time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.level = -1
	if err := b.take(ctx, 1); err == nil {
		t.Error("it waited on after its context had ended")
	}
}

// counting counts the links that are open.
type counting struct {
	link.Link
	once sync.Once
	open *atomic.Int32
}

func (c *counting) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Link.Close()
}

// TestGate: while there may be no sending there is no connection, and then it goes on.
func TestGate(t *testing.T) {
	l := newLab(t, link.Plan{})
	v := l.pin()
	cfg := l.config(v)
	var open atomic.Int32
	dial := cfg.Dial
	cfg.Dial = func(ctx context.Context) (link.Link, error) {
		x, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		open.Add(1)
		return &counting{Link: x, open: &open}, nil
	}
	asked, waits := 0, 0
	cfg.Gate = func(ctx context.Context) error {
		if asked++; asked%5 != 0 {
			return nil
		}
		if ctx.Err() != nil {
			asked-- // it stays closed until somebody waits
			return ctx.Err()
		}
		if waits++; open.Load() != 0 {
			t.Errorf("it waits with a connection open")
		}
		return nil
	}
	s := l.push(cfg)
	l.whole(v)
	if _, again := l.store.puts(); again != 0 || waits < 3 || s.Sessions < 3 {
		t.Errorf("%d objects came again, %d waits: %+v", again, waits, s)
	}
	closed := errors.New("closed for good")
	cfg.Gate = func(context.Context) error { return closed }
	if s, err := Push(t.Context(), cfg); !errors.Is(err, closed) || s.Sessions != 0 {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestCancel(t *testing.T) {
	l := newLab(t, link.Plan{})
	v := l.pin()
	cfg := l.config(v)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cfg.Progress = func(s Stats) {
		if s.Bytes > 3<<20 {
			cancel(enough)
		}
	}
	if s, err := Push(ctx, cfg); !errors.Is(err, enough) || s.Given == 0 {
		t.Errorf("got %+v, %v", s, err)
	}
	cfg.Progress = nil
	if s := l.push(cfg); s.Here == 0 {
		t.Errorf("it began anew: %+v", s)
	}
	l.whole(v)
}

// TestChanged: what changed since it was pinned is left.
func TestChanged(t *testing.T) {
	l := newOwnLab(t, link.Plan{})
	v := l.pin()
	write(t, l.dir, "large", noise(1, 5<<20))
	if err := os.Remove(filepath.Join(l.dir, "many", "0007")); err != nil {
		t.Fatal(err)
	}
	s := l.push(l.config(v))
	if s.Left != 2 || s.Files != s.FilesTotal {
		t.Errorf("got %+v", s)
	}
	w := l.pin()
	if s := l.push(l.config(w)); s.Left != 0 {
		t.Errorf("got %+v", s)
	}
	l.whole(w)
}

func TestNotKept(t *testing.T) {
	l := newLab(t, link.Plan{})
	l.store.deaf = true
	s, err := Push(t.Context(), l.config(l.pin()))
	if !errors.Is(err, ErrNotKept) || s.Sessions != 1 || s.Dropped != s.Given {
		t.Errorf("got %+v, %v", s, err)
	}
}

// TestHostile: a node that does not keep to the protocol ends the push with an error, in one session.
func TestHostile(t *testing.T) {
	answer := func(kind wire.FilesKind, n int) wire.Message {
		return &wire.Files{Offload: 1, Attempt: 1, Kind: kind, Data: make([]byte, n)}
	}
	for name, first := range map[string]wire.Message{
		"short": answer(wire.FilesMiss, 1), "long": answer(wire.FilesMiss, 5000), "none": answer(wire.FilesMiss, 0),
		"kept": answer(wire.FilesKept, 0), "data": answer(wire.FilesData, 100), "migration": &wire.Cancel{Offload: 1, Attempt: 1, Reason: 1},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, link.Plan{})
			cfg := l.config(l.pin())
			cfg.Dial = hostile(t, l.net, func(e *peer.Endpoint) {
				if _, err := e.Recv(t.Context()); err == nil {
					_ = e.Send(t.Context(), first)
				}
			})
			s, err := Push(t.Context(), cfg)
			if !errors.Is(err, wire.ErrProtocol) || s.Sessions != 1 || s.Given != 0 {
				t.Errorf("got %+v, %v", s, err)
			}
		})
	}
	t.Run("unasked", func(t *testing.T) {
		l := newLab(t, link.Plan{})
		cfg := l.config(l.pin())
		cfg.Dial = hostile(t, l.net, func(e *peer.Endpoint) {
			for range 100 {
				_ = e.Send(t.Context(), answer(wire.FilesMiss, 32))
			}
		})
		if s, err := Push(t.Context(), cfg); !errors.Is(err, wire.ErrProtocol) || s.Sessions != 1 {
			t.Errorf("got %+v, %v", s, err)
		}
	})
	for code, sessions := range map[wire.Code]int{wire.CodeDenied: 1, wire.CodeVersion: 1, wire.CodeLimit: 6, wire.CodeInternal: 6} {
		t.Run(code.String(), func(t *testing.T) {
			l := newLab(t, link.Plan{})
			cfg := l.config(l.pin())
			cfg.Dial = hostile(t, l.net, func(e *peer.Endpoint) { e.Refuse(code, "no") })
			var refused *peer.RefusedError
			s, err := Push(t.Context(), cfg)
			if !errors.As(err, &refused) || refused.Code != code || s.Sessions != sessions {
				t.Errorf("got %+v, %v; want %d sessions", s, err, sessions)
			}
		})
	}
}

// hostile is a node with a mind of its own.
func hostile(t *testing.T, n *link.Network, serve func(*peer.Endpoint)) link.Dialer {
	a := &peer.Acceptor{
		Admit: func(h *wire.Hello) (*wire.Welcome, error) {
			return &wire.Welcome{Version: wire.Version, Session: h.Session, HaveModule: true, Engine: "x", Arch: "y"}, nil
		},
		Serve: func(ctx context.Context, e *peer.Endpoint, _ *wire.Hello, _ *wire.Welcome) {
			serve(e)
			<-ctx.Done()
		},
	}
	t.Cleanup(a.Close)
	return n.Dialer(func(x link.Link) { _ = a.Accept(context.Background(), x) })
}
