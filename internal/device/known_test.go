package device

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// knowing is a cloud of n that has not begun, with what an earlier run has learned.
func (n *node) knowing(k *Known, size int) (*Cloud, *log) {
	l, module := &log{}, []byte(strings.Repeat("m", size))
	return &Cloud{Dial: n.net.Dialer(func(l link.Link) { _ = n.acc.Accept(context.Background(), l) }), Peer: gentle, Module: module, Log: l.add,
		Known: k, Hello: wire.Hello{Version: wire.Version, Module: migrate.Identity(module), Engine: "slow", Arch: "z80"}}, l
}

// warmNode has the module of all, and refuses early greetings where cold.
func warmNode(cold bool) *node {
	n := newNode(link.Plan{Latency: 20 * time.Millisecond})
	n.have = true
	admit := n.acc.Admit
	n.acc.Admit = func(h *wire.Hello) (*wire.Welcome, error) {
		w, err := admit(h)
		if h.Early && cold {
			return nil, &peer.RefusedError{Code: wire.CodeUnknown, Text: "nothing here"}
		}
		return w, err
	}
	return n
}

func known(engine string) *Known {
	return &Known{Engine: engine, Arch: "z80", Warm: true, Rate: 1e6}
}

// TestKnownWarm begins early with a node that is what it was: a conversation is there when the link stands.
func TestKnownWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := warmNode(false)
		c, l := n.knowing(known("fast"), 10)
		c.Start()
		start := time.Now()
		cn := c.await(t.Context(), time.Second, false)
		if cn == nil || time.Since(start) != 40*time.Millisecond || !cn.early || cn.engine != "fast" || cn.state != migrate.InitialID(c.Hello.Module) {
			t.Fatalf("after %v: %+v", time.Since(start), cn)
		}
		if k := c.Learned(); k != nil {
			t.Errorf("learned %+v before the node said anything", k)
		}
		wait, stop := context.WithTimeout(t.Context(), time.Millisecond)
		if _, err := cn.recv(wait, cn.state); !errors.Is(err, context.DeadlineExceeded) || !cn.early {
			t.Errorf("received %v before the node said anything", err)
		}
		stop()
		time.Sleep(time.Second)
		if k := c.Learned(); k == nil || k.Engine != "fast" || k.Arch != "z80" || !k.Warm || k.Rate != 1e6 {
			t.Errorf("learned %+v", k)
		}
		wait, stop = context.WithTimeout(t.Context(), time.Millisecond)
		if m, err := cn.recv(wait, cn.state); !errors.Is(err, context.DeadlineExceeded) || cn.early {
			t.Errorf("received %v, %v: the word that the clone is ready is no message", m, err)
		}
		stop()
		l.expect(t)
		if n.count() != 1 {
			t.Errorf("%d conversations", n.count())
		}
		n.acc.Kill()
		n.net.Cut()
		time.Sleep(20 * time.Second)
		l.expect(t, "clone lost, going on without until there is another")
		if cn := c.ready(); cn == nil || cn.early {
			t.Errorf("after it: %+v", cn)
		}
		c.Close()
		n.acc.Close()
	})
}

// TestKnownOutdated: what was known is not true any more. Nobody is troubled, and a conversation of the usual kind begins.
func TestKnownOutdated(t *testing.T) {
	for _, c := range []struct {
		name    string
		cold    bool
		engine  string
		alike   bool
		hello   string // engine of the device
		sent    bool   // the guest has an offload on the way
		line    string // of the end of all dealings
		dialled int
	}{
		{"cold", true, "fast", false, "slow", false, "", 2},
		{"cold_offload", true, "fast", false, "slow", true, "", 2},
		{"changed", false, "other", false, "slow", false, "", 2},
		{"changed_offload", false, "other", false, "slow", true, "", 2},
		{"alike", false, "fast", true, "fast", false, "", 1},
		{"not_alike", false, "slow", true, "slow", false, "the cloud has become another (fast z80); the next run can use it", 1},
		{"not_alike_offload", false, "slow", true, "slow", true, "the cloud has become another (fast z80); the next run can use it", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := warmNode(c.cold)
				cl, l := n.knowing(known(c.engine), 10)
				cl.Alike, cl.Hello.Engine = c.alike, c.hello
				cl.Start()
				cn := cl.await(t.Context(), time.Second, false)
				if cn == nil || !cn.early {
					t.Fatalf("conversation is %+v", cn)
				}
				if c.sent {
					_, err := cn.recv(t.Context(), cn.state)
					if !errors.Is(err, peer.ErrLost) {
						t.Errorf("received something, %v", err)
					}
					cl.drop(cn, err)
				}
				time.Sleep(time.Second)
				if c.line == "" {
					l.expect(t)
				} else {
					l.expect(t, c.line)
				}
				switch now := cl.ready(); {
				case c.line != "" && (now != nil || cl.Await(t.Context(), time.Hour)):
					t.Errorf("it goes on with %+v", now)
				case c.line == "" && (now == nil || now.early != (c.dialled == 1) || now.engine != "fast"):
					t.Errorf("it goes on with %+v", now)
				}
				if n.count() != c.dialled {
					t.Errorf("%d conversations, want %d", n.count(), c.dialled)
				}
				if k := cl.Learned(); k == nil || k.Engine != "fast" || k.Arch != "z80" || k.Warm != (c.line == "") {
					t.Errorf("learned %+v", k)
				}
				cl.Close()
				n.acc.Close()
			})
		})
	}
}

// TestNotAlike refuses a clone on which the program could behave otherwise, whose kind the next run then knows.
func TestNotAlike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(link.Plan{})
		c, l := n.knowing(nil, 10)
		c.Alike = true
		c.Start()
		time.Sleep(time.Hour)
		l.expect(t, "going on without a clone: refused: unsupported: the cloud has become another (fast z80); the next run can use it")
		if k := c.Learned(); n.count() != 1 || k == nil || k.Engine != "fast" || k.Warm {
			t.Errorf("%d conversations, learned %+v", n.count(), k)
		}
		c.Close()
		n.acc.Close()
	})
}

// TestDialerHopeless: one line, and no more dialing.
func TestDialerHopeless(t *testing.T) {
	for _, k := range []*Known{nil, known("fast")} {
		synctest.Test(t, func(t *testing.T) {
			n := newNode(link.Plan{})
			c, l := n.knowing(k, 10)
			dials := 0
			c.Dial = func(context.Context) (link.Link, error) {
				dials++
				return nil, fmt.Errorf("%w: the node presents another certificate", peer.ErrHopeless)
			}
			c.Start()
			start := time.Now()
			if c.Await(t.Context(), time.Hour) || time.Since(start) > time.Second {
				t.Errorf("waited for %v", time.Since(start))
			}
			time.Sleep(time.Hour)
			l.expect(t, "going on without a clone: connect: no use trying again: the node presents another certificate")
			if dials != 1 || c.Learned() != nil {
				t.Errorf("%d dials, learned %+v", dials, c.Learned())
			}
			c.Close()
		})
	}
}

// TestMaxModule bounds what is uploaded, over all conversations.
func TestMaxModule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(link.Plan{})
		c, l := n.knowing(nil, 200_000)
		c.MaxModule = 300_000
		c.Start()
		cn := c.await(t.Context(), time.Minute, false)
		if cn == nil {
			t.Fatal("no conversation")
		}
		n.acc.Kill()
		n.net.Cut()
		time.Sleep(time.Hour)
		l.mu.Lock()
		lines := len(l.lines)
		l.mu.Unlock()
		if lines != 2 || c.ready() != nil || n.count() != 2 {
			t.Errorf("%d conversations, log %q", n.count(), l.lines)
		}
		if up := c.totals().up; up > 300_000 {
			t.Errorf("sent %d bytes", up)
		}
		c.Close()
		n.acc.Close()
	})
}

// TestTouches tells private requests from others.
func TestTouches(t *testing.T) {
	o := &outside{names: map[uint64]string{1: "standard input", 2: "/pub", 3: "/priv", 4: "/priv/f"}, kept: map[uint64]bool{1: true, 3: true, 4: true}}
	poll := func(handle uint64) []byte {
		return wasi.AppendSub(nil, wasi.Sub{Kind: wasi.SubRead, Arg: handle})
	}
	for _, c := range []struct {
		req  wasi.Request
		what string
	}{
		{wasi.Request{Op: wasi.OpRead, Handle: 1}, "standard input"},
		{wasi.Request{Op: wasi.OpReadAt, Handle: 4}, "/priv/f"},
		{wasi.Request{Op: wasi.OpOpen, Handle: 3, Path: "a/b"}, "/priv/a/b"},
		{wasi.Request{Op: wasi.OpOpen, Handle: 2, Path: "a"}, ""},
		{wasi.Request{Op: wasi.OpRename, Handle: 2, Path: "a", Handle2: 3, Path2: "b"}, "/pub/a"},
		{wasi.Request{Op: wasi.OpLink, Handle: 3, Path: "a", Handle2: 2, Path2: "b"}, "/priv/a"},
		{wasi.Request{Op: wasi.OpSymlink, Path: "x", Handle2: 3, Path2: "b"}, "/priv/b"},
		{wasi.Request{Op: wasi.OpSymlink, Path: "x", Handle2: 2, Path2: "b"}, ""},
		{wasi.Request{Op: wasi.OpPoll, Data: poll(1)}, "standard input"},
		{wasi.Request{Op: wasi.OpPoll, Data: poll(2)}, ""},
		{wasi.Request{Op: wasi.OpClockTime}, ""},
		{wasi.Request{Op: wasi.OpRead, Handle: 9}, ""},
	} {
		if got := o.touches(&c.req); got != c.what {
			t.Errorf("%v: %q, want %q", c.req.Op, got, c.what)
		}
	}
}

// TestReadyWithDelay: the delay before a conversation is no part of what a later run should expect, ready or not.
func TestReadyWithDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(link.Plan{Latency: 20 * time.Millisecond})
		for _, wait := range []time.Duration{time.Second, time.Minute + 10*time.Millisecond, 2 * time.Minute} {
			c, _ := n.knowing(nil, 10)
			c.Delay = time.Minute
			c.Start()
			ready := c.Await(t.Context(), wait)
			got, vain := c.Ready()
			if vain != (wait > c.Delay && !ready) {
				t.Errorf("after %v: ready %v, in vain %v", wait, ready, vain)
			}
			switch {
			case wait < c.Delay:
				if ready || got != 0 { // nothing is known
					t.Errorf("after %v: ready %v, in %v", wait, ready, got)
				}
			case got < 10*time.Millisecond || got > time.Second:
				t.Errorf("after %v: ready %v, in %v", wait, ready, got)
			}
			c.Close()
		}
		n.acc.Close()
	})
}

// TestPreferred: what the next run expects is the engine that the node prefers, whatever this clone runs on. A device that
// has to be like its clone takes one that is.
func TestPreferred(t *testing.T) {
	for _, c := range []struct {
		name, known, hello string
		alike, early, ok   bool
	}{
		{"first", "", "slow", false, false, true},
		{"again", "better", "slow", false, true, true},
		{"outdated", "fast", "slow", false, false, true},
		{"alike", "fast", "fast", true, false, true},
		{"not_alike", "better", "better", true, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := warmNode(false)
				n.preferred = "better"
				var k *Known
				if c.known != "" {
					k = known(c.known)
				}
				cl, _ := n.knowing(k, 10)
				cl.Alike, cl.Hello.Engine = c.alike, c.hello
				cl.Start()
				time.Sleep(time.Second)
				cn := cl.ready()
				if (cn != nil) != c.ok || c.ok && cn.early != c.early {
					t.Errorf("conversation %+v", cn)
				}
				if k := cl.Learned(); k == nil || k.Engine != "better" || k.Warm != c.ok {
					t.Errorf("learned %+v", k)
				}
				cl.Close()
				n.acc.Close()
			})
		})
	}
}

// TestPreparing: as long as the node makes code ready there is no clone, and that is told.
func TestPreparing(t *testing.T) {
	for _, c := range []struct {
		name        string
		code, loses bool
		after, want time.Duration
	}{
		{"meanwhile", false, false, 10 * time.Second, 10 * time.Second},
		{"ready", false, false, time.Hour, time.Minute},
		{"lost", false, true, 90 * time.Second, 80 * time.Second},
		{"in_place", true, false, time.Hour, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(link.Plan{})
				n.have, n.code, n.ready = true, c.code, time.Minute
				cl, _ := n.knowing(nil, 10)
				var told atomic.Int64
				cl.Events = func(e trace.Event) {
					if e.Kind == trace.Prepare {
						told.Add(1)
					}
				}
				cl.Start()
				if c.loses {
					time.Sleep(10 * time.Second)
					n.acc.Kill()
					n.net.Cut()
					c.after -= 10 * time.Second
				}
				time.Sleep(c.after)
				if got := cl.Preparing(); got.Round(time.Second) != c.want && !(c.loses && got > 60*time.Second && got < c.want) {
					t.Errorf("it took %v, want %v", got, c.want)
				}
				if ready := cl.ready() != nil; ready != (c.want < c.after) && !c.loses {
					t.Errorf("ready: %v", ready)
				}
				if (told.Load() == 0) != c.code {
					t.Errorf("told %d times", told.Load())
				}
				cl.Close()
				n.acc.Close()
			})
		})
	}
}

// TestEnginesBounded: a clone that claims a new engine each time does not fill the report.
func TestEnginesBounded(t *testing.T) {
	var f FunctionReport
	c := &Controller{}
	for i := range 100 {
		f.ran(fmt.Sprint("engine-", i))
		c.ranOn(fmt.Sprint("engine-", i), "z80")
	}
	if len(f.Engines) != mostClouds+1 || f.Engines["others"] != 100-mostClouds || f.Engines["engine-3"] != 1 || len(c.clouds) != mostClouds {
		t.Errorf("engines %v, clouds %v", f.Engines, c.clouds)
	}
}
