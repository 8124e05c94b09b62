package device

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// node is a node that makes clones ready and does nothing else.
type node struct {
	net  *link.Network
	acc  *peer.Acceptor
	have bool // it has the module
	// preferred and code are as in its answer; ready is how long it takes until a clone is.
	preferred string
	code      bool
	ready     time.Duration
	// refuse, if not 0, is its answer to a hello; serve, if not nil, is called when the module is there, and then the
	// conversation ends.
	refuse wire.Code
	serve  func(ctx context.Context, e *peer.Endpoint)

	mu       sync.Mutex
	sessions []wire.Token
}

var gentle = peer.Config{Grace: time.Second}

func newNode(plan link.Plan) *node {
	n := &node{net: link.NewNetwork(plan, link.NetworkConfig{})}
	n.acc = &peer.Acceptor{Config: gentle, Admit: func(h *wire.Hello) (*wire.Welcome, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.sessions = append(n.sessions, h.Session)
		if n.refuse != 0 {
			return nil, &peer.RefusedError{Code: n.refuse, Text: "no"}
		}
		return &wire.Welcome{Version: wire.Version, Session: h.Session, HaveModule: n.have, Engine: "fast", Arch: "z80", Preferred: n.preferred, HaveCode: n.code}, nil
	}, Serve: func(ctx context.Context, e *peer.Endpoint, h *wire.Hello, _ *wire.Welcome) {
		for n.have == false {
			m, err := e.Recv(ctx)
			if err != nil {
				return
			}
			if p := m.(*wire.Module); p.Offset+uint64(len(p.Data)) == p.Total {
				break
			}
		}
		time.Sleep(n.ready)
		if n.serve != nil {
			n.serve(ctx, e)
			return
		}
		if e.Send(ctx, &wire.SyncState{State: migrate.InitialID(h.Module)}) == nil {
			<-ctx.Done()
		}
	}}
	return n
}

func (n *node) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.sessions)
}

// log collects lines.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) add(f string, a ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(f, a...))
}

func (n *node) cloud(size int) (*Cloud, *log) {
	l := &log{}
	module := []byte(strings.Repeat("m", size))
	c := &Cloud{Dial: n.net.Dialer(func(l link.Link) { _ = n.acc.Accept(context.Background(), l) }), Peer: gentle, Module: module, Log: l.add,
		Hello: wire.Hello{Version: wire.Version, Module: migrate.Identity(module)}}
	c.Start()
	return c, l
}

func (l *log) expect(t *testing.T, want ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	ok := len(l.lines) == len(want)
	for i := range min(len(l.lines), len(want)) {
		ok = ok && strings.Contains(l.lines[i], want[i])
	}
	if !ok {
		t.Errorf("log %q, want %q", l.lines, want)
	}
}

// TestCloudComesBack loses conversations in many ways: another one begins, with another session.
func TestCloudComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(link.Plan{Latency: time.Millisecond})
		c, l := n.cloud(200_000)
		var last *conn
		for i, lose := range []func(){
			n.acc.Kill,
			func() { c.drop(last, fmt.Errorf("%w: for a test", errSilent)) },
			func() { n.net.Down(true); n.net.Cut(); time.Sleep(time.Minute); n.net.Down(false) },
			func() { last.end.Close() },
			n.acc.Kill,
		} {
			cn := c.await(t.Context(), 20*time.Second, false)
			if cn == nil || cn == last || c.ready() != cn || !c.Await(t.Context(), 0) {
				t.Fatalf("conversation %d: %p after %p", i, cn, last)
			}
			if cn.engine != "fast" || cn.arch != "z80" || cn.state != migrate.InitialID(c.Hello.Module) {
				t.Errorf("clone is %+v", cn)
			}
			last = cn
			if i == 0 {
				l.expect(t)
			}
			lose()
			if i == 0 {
				n.net.Cut() // so that the device notices
			}
			<-last.end.Done()
		}
		if c.await(t.Context(), 20*time.Second, false) == nil {
			t.Error("no conversation at the end")
		}
		l.expect(t, "clone lost, going on without until there is another")
		if tr := c.totals(); tr.up < 6*200_000 || tr.up > 7*200_000 {
			t.Errorf("%d bytes up for six modules of 200,000", tr.up)
		}
		c.Close()
		n.acc.Close()
		seen := map[wire.Token]bool{}
		for _, s := range n.sessions {
			if seen[s] {
				t.Errorf("session %x twice", s)
			}
			seen[s] = true
		}
	})
}

// TestCloudWaits tries a node that does not answer less and less often, and tells of it once.
func TestCloudWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(link.Plan{})
		n.refuse = wire.CodeLimit
		c, l := n.cloud(10)
		time.Sleep(time.Hour)
		if dials := n.count(); dials < 300 || dials > 400 { // one in 10 s
			t.Errorf("%d attempts in an hour", dials)
		}
		l.expect(t, "no clone so far: greet: refused: limit: no")
		if c.await(t.Context(), time.Second, false) != nil {
			t.Error("a clone is ready")
		}
		n.mu.Lock()
		n.refuse = 0
		n.mu.Unlock()
		if c.await(t.Context(), 15*time.Second, false) == nil {
			t.Error("no clone when the node answers again")
		}
		c.Close()
		n.acc.Close()
	})
}

// TestCloudGivesUp meets nodes with which it makes no sense to go on.
func TestCloudGivesUp(t *testing.T) {
	bye := func(code wire.Code) func(context.Context, *peer.Endpoint) {
		return func(_ context.Context, e *peer.Endpoint) { e.Refuse(code, "no") }
	}
	send := func(m wire.Message) func(context.Context, *peer.Endpoint) {
		return func(ctx context.Context, e *peer.Endpoint) {
			if e.Send(ctx, m) == nil {
				<-ctx.Done()
			}
		}
	}
	for _, c := range []struct {
		name   string
		refuse wire.Code
		serve  func(context.Context, *peer.Endpoint)
		line   string
	}{
		{"version", wire.CodeVersion, nil, "refused: version: no"},
		{"unsupported", wire.CodeUnsupported, nil, "refused: unsupported: no"},
		{"unsupported_later", 0, bye(wire.CodeUnsupported), "refused: unsupported: no"},
		{"stranger", 0, send(&wire.Sync{}), "the clone broke a rule: sync before it is ready"},
		{"state", 0, send(&wire.SyncState{}), "the clone broke a rule: it does not begin with the module's initial state"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(link.Plan{})
				n.refuse, n.serve = c.refuse, c.serve
				cl, l := n.cloud(10)
				start := time.Now()
				if cl.await(t.Context(), time.Hour, false) != nil || time.Since(start) > time.Second {
					t.Errorf("waited %v", time.Since(start))
				}
				time.Sleep(time.Hour)
				if n.count() != 1 {
					t.Errorf("%d attempts", n.count())
				}
				l.expect(t, "going on without a clone: ")
				l.expect(t, c.line)
				cl.Close()
				n.acc.Close()
			})
		})
	}
}

// TestCloudDistrust: once a clone has lied, its cloud is left alone, with one line however often it is said.
func TestCloudDistrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(link.Plan{})
		c, l := n.cloud(10)
		cn := c.await(t.Context(), time.Second, false)
		for range 3 {
			c.drop(cn, distrust("it lies\n\x1b[2J"))
		}
		time.Sleep(time.Hour)
		l.expect(t, "going on without a clone: the clone broke a rule: it lies ?[2J")
		if c.ready() != nil || c.Await(t.Context(), time.Hour) || n.count() != 1 {
			t.Errorf("%d attempts", n.count())
		}
		c.Close()
		n.acc.Close()
	})
}

// TestCloudCloses at any moment of a conversation.
func TestCloudCloses(t *testing.T) {
	for wait := time.Duration(0); wait < 400*time.Millisecond; wait += 13 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			n := newNode(link.Plan{Latency: 20 * time.Millisecond, Rate: 1 << 20})
			c, l := n.cloud(200_000)
			time.Sleep(wait)
			start := time.Now()
			c.Close()
			if took := time.Since(start); took > 200*time.Millisecond {
				t.Errorf("closing after %v took %v", wait, took)
			}
			l.expect(t)
			n.acc.Close()
			time.Sleep(10 * time.Second) // what is on the way arrives
		})
	}
	(&Cloud{}).Close()
}

// TestCloudRate measures the link by the module's upload, however much of it the session takes at once.
func TestCloudRate(t *testing.T) {
	for _, rate := range []int{50_000, 1_000_000, 100_000_000} {
		synctest.Test(t, func(t *testing.T) {
			n := newNode(link.Plan{Latency: 20 * time.Millisecond, Rate: rate})
			c, _ := n.cloud(3 << 20)
			if c.await(t.Context(), 5*time.Minute, false) == nil {
				t.Fatal("no clone")
			}
			c.mu.Lock()
			got := c.rate
			c.mu.Unlock()
			if got < 0.3*float64(rate) || got > 1.1*float64(rate) {
				t.Errorf("measured %.0f bytes in a second, want %d", got, rate)
			}
			c.Close()
			n.acc.Close()
		})
	}
	c := &Cloud{}
	c.measured(100, time.Second)
	c.measured(1<<20, 0)
	if c.rate != 0 {
		t.Error("measured by too little")
	}
	c.measured(1<<20, time.Second)
	c.measured(5<<20, time.Second)
	if c.rate != 2<<20 {
		t.Errorf("mean is %.0f", c.rate)
	}
}
