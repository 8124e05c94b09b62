package faultproxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
)

// patience is how long a test waits for what must happen; silence, for what must not.
const (
	patience = 20 * time.Second
	silence  = 30 * time.Millisecond
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// node is a listener that hands out what it accepts.
type node struct {
	net.Listener
	conns chan *net.TCPConn
}

func listen(t testing.TB) *node {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	n := &node{l, make(chan *net.TCPConn, 100)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.conns <- c.(*net.TCPConn)
		}
	}()
	t.Cleanup(func() { l.Close() })
	return n
}

func (n *node) next(t testing.TB) *net.TCPConn {
	t.Helper()
	select {
	case c := <-n.conns:
		c.SetDeadline(time.Now().Add(patience))
		t.Cleanup(func() { c.Close() })
		return c
	case <-time.After(patience):
		t.Fatal("no connection arrives")
		return nil
	}
}

func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	must(t, err)
	c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func start(t testing.TB, config Config) *Proxy {
	t.Helper()
	p, err := Start(config)
	must(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

// ends returns a proxy and the two ends of a connection through it.
func ends(t testing.TB, config Config) (p *Proxy, device, far *net.TCPConn) {
	t.Helper()
	n := listen(t)
	config.Target = n.Addr().String()
	p = start(t, config)
	device = dial(t, p.Addr())
	return p, device, n.next(t)
}

func plan(t testing.TB, s string) Plan {
	t.Helper()
	p, err := ParsePlan(s)
	must(t, err)
	return p
}

func send(t testing.TB, c net.Conn, s string) {
	t.Helper()
	_, err := io.WriteString(c, s)
	must(t, err)
}

func receive(t testing.TB, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v, want %q", got[:n], err, want)
	}
}

// ended waits for the end of what c receives.
func ended(t testing.TB, c net.Conn, wantReset bool) {
	t.Helper()
	rest, err := io.ReadAll(c)
	if len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %d bytes, %v, want an end", len(rest), err)
	}
	if isReset := errors.Is(err, syscall.ECONNRESET); runtime.GOOS != "windows" && isReset != wantReset {
		t.Fatalf("ended with %v; a reset is wanted: %t", err, wantReset)
	}
}

// refused sees that a connection is reset as soon as it is made, if not sooner.
func refused(t testing.TB, addr string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	ended(t, c, true)
}

func silent(t testing.TB, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(silence))
	defer c.SetReadDeadline(time.Now().Add(patience))
	if n, err := c.Read(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %d bytes, %v, want silence", n, err)
	}
}

// settle waits for a condition that other goroutines bring about.
func settle(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%s", what)
		}
	}
}

// fired waits until faults have struck.
func fired(t testing.TB, p *Proxy, want string) {
	t.Helper()
	settle(t, "want fired: "+want, func() bool { return Plan(p.Fired()).String() == want })
}

var networks = map[string]link.Profile{
	"plain":  {},
	"shaped": {RTT: 2 * time.Millisecond, Jitter: time.Millisecond, Up: 20e6, Down: 30e6},
}

// each runs a test with bytes that pass as they come, and with ones that are queued.
func each(t *testing.T, test func(t *testing.T, profile link.Profile)) {
	for name, profile := range networks {
		t.Run(name, func(t *testing.T) { test(t, profile) })
	}
}

func TestPasses(t *testing.T) {
	each(t, func(t *testing.T, profile link.Profile) {
		p, device, far := ends(t, Config{Profile: profile})
		want := make([]byte, 3<<20)
		rand.NewChaCha8([32]byte{1}).Read(want)
		echoed := make(chan error, 2)
		go func() {
			_, err := io.Copy(far, far)
			far.CloseWrite()
			echoed <- err
		}()
		go func() {
			var err error
			for b := want; len(b) > 0 && err == nil; {
				n := min(len(b), 1+rand.IntN(100_000))
				_, err = device.Write(b[:n])
				b = b[n:]
			}
			device.CloseWrite() // the other half stays open
			echoed <- err
		}()
		got, err := io.ReadAll(device)
		must(t, err)
		must(t, <-echoed)
		must(t, <-echoed)
		if !bytes.Equal(got, want) {
			t.Fatalf("%d bytes came back changed, of %d", len(got), len(want))
		}
		if up, down := p.Traffic(); up != uint64(len(want)) || down != up {
			t.Fatalf("counted %d and %d bytes, want %d", up, down, len(want))
		}
		settle(t, "the connection stays open", func() bool { return p.Connections() == 0 })
	})
}

func TestReset(t *testing.T) {
	each(t, func(t *testing.T, profile link.Profile) {
		_, device, far := ends(t, Config{Profile: profile})
		send(t, device, "hello")
		receive(t, far, "hello")
		reset(far)
		ended(t, device, true)

		_, device, far = ends(t, Config{Profile: profile})
		send(t, device, "hello")
		receive(t, far, "hello")
		far.Close() // with nothing unread: an end of the stream, and a reset for what comes after
		ended(t, device, false)
		for end := time.Now().Add(patience); ; {
			if _, err := device.Write([]byte("?")); err != nil {
				break
			}
			if time.Now().After(end) {
				t.Fatal("a device can write for ever to a node that has closed")
			}
		}
	})
}

func TestTarget(t *testing.T) {
	a, b := listen(t), listen(t)
	p := start(t, Config{Target: a.Addr().String()})
	one := dial(t, p.Addr())
	first := a.next(t)
	p.SetTarget(b.Addr().String())
	two := dial(t, p.Addr())
	second := b.next(t)
	send(t, one, "one")
	send(t, two, "two")
	receive(t, first, "one")
	receive(t, second, "two")
	b.Close()
	refused(t, p.Addr())
	settle(t, "the connection to nobody stays", func() bool { return p.Connections() == 2 })
	if n := p.Dials(); n != 3 {
		t.Fatalf("counted %d dials, want 3", n)
	}
}

// TestPlanned has faults that strike at the sixth byte up.
func TestPlanned(t *testing.T) {
	for _, tc := range []struct {
		plan  string
		check func(t *testing.T, device, far *net.TCPConn)
	}{
		{"cut@6:up", func(t *testing.T, device, far *net.TCPConn) {
			receive(t, far, "hello")
			ended(t, far, true)
			ended(t, device, true)
		}},
		{"close@6", func(t *testing.T, device, far *net.TCPConn) {
			receive(t, far, "hello")
			ended(t, far, false)
			ended(t, device, false)
		}},
		{"close@6:up", func(t *testing.T, device, far *net.TCPConn) {
			receive(t, far, "hello")
			ended(t, far, false)
			send(t, far, "still here")
			receive(t, device, "still here")
		}},
		{"stall@6:up", func(t *testing.T, device, far *net.TCPConn) {
			receive(t, far, "hello")
			silent(t, far)
			send(t, far, "the other way")
			receive(t, device, "the other way")
		}},
		{"stall@6/1ms", func(t *testing.T, device, far *net.TCPConn) {
			send(t, far, "down")
			receive(t, device, "down")
			receive(t, far, "hello world")
		}},
		{"corrupt@6:up/9", func(t *testing.T, device, far *net.TCPConn) { receive(t, far, "hello\"world") }},
		{"halfopen@6:up", func(t *testing.T, device, far *net.TCPConn) {
			receive(t, far, "hello")
			device.CloseWrite()
			silent(t, far)
			send(t, far, "anybody there?")
			receive(t, device, "anybody there?")
		}},
		{"halfopen@6", func(t *testing.T, device, far *net.TCPConn) {
			receive(t, far, "hello")
			send(t, far, "anybody there?")
			silent(t, device)
			reset(device)
			silent(t, far)
		}},
		{"orphan@6:up", func(t *testing.T, device, far *net.TCPConn) {
			receive(t, far, "hello")
			ended(t, far, true)
			send(t, device, "anybody there?")
			silent(t, device)
		}},
		{"freeze@6:up/1ms", func(t *testing.T, device, far *net.TCPConn) { receive(t, far, "hello world") }},
		{"freeze@6:up", func(t *testing.T, device, far *net.TCPConn) {
			receive(t, far, "hello")
			send(t, far, "down")
			silent(t, far)
			silent(t, device)
		}},
		{"stall@99:up cut@6:down", func(t *testing.T, device, far *net.TCPConn) { receive(t, far, "hello world") }},
	} {
		t.Run(tc.plan, func(t *testing.T) {
			each(t, func(t *testing.T, profile link.Profile) {
				want := plan(t, tc.plan)
				p, device, far := ends(t, Config{Profile: profile, Plan: want})
				send(t, device, "hello world")
				if want[0].At != 6 {
					want = nil
				}
				fired(t, p, want.String())
				tc.check(t, device, far)
				fired(t, p, want.String())
			})
		})
	}
}

// TestCount counts bytes over connections, and lets each fault strike once.
func TestCount(t *testing.T) {
	n := listen(t)
	p := start(t, Config{Target: n.Addr().String(), Plan: plan(t, "cut@4:up cut@5:up cut@12 refuse@3/2")})
	one := dial(t, p.Addr())
	send(t, one, "12")
	receive(t, n.next(t), "12")
	two := dial(t, p.Addr())
	send(t, two, "3456")
	far := n.next(t)
	receive(t, far, "3")
	ended(t, far, true)
	fired(t, p, "cut@4:up")
	for range 2 {
		refused(t, p.Addr())
	}
	three := dial(t, p.Addr())
	far = n.next(t)
	send(t, three, "456")
	receive(t, far, "4")
	ended(t, far, true)
	fired(t, p, "cut@4:up refuse@3/2 cut@5:up")
	four := dial(t, p.Addr())
	far = n.next(t)
	send(t, far, "1234567")
	receive(t, four, "1234567") // with 4 up: 11 of both
	send(t, four, "x")
	ended(t, four, true)
	fired(t, p, "cut@4:up refuse@3/2 cut@5:up cut@12")
}

func TestStrike(t *testing.T) {
	each(t, func(t *testing.T, profile link.Profile) {
		n := listen(t)
		p := start(t, Config{Target: n.Addr().String(), Profile: profile})
		one := dial(t, p.Addr())
		far1 := n.next(t)
		two := dial(t, p.Addr())
		far2 := n.next(t)
		echo := func() {
			t.Helper()
			send(t, one, "ping")
			receive(t, far1, "ping")
			send(t, far1, "pong")
			receive(t, one, "pong")
		}
		echo()
		if got := p.StrikeNewest(Fault{Kind: Cut}); got != 1 {
			t.Fatalf("struck %d connections, want 1", got)
		}
		ended(t, two, true)
		ended(t, far2, true)
		echo()

		if got := p.Strike(Fault{Kind: Stall}); got != 1 {
			t.Fatalf("struck %d connections, want 1", got)
		}
		send(t, one, "late")
		silent(t, far1)
		p.Strike(Fault{Kind: Stall, For: 1})
		receive(t, far1, "late")
		echo()

		p.Strike(Fault{Kind: Corrupt, Dir: Up})
		p.Strike(Fault{Kind: Corrupt, Dir: Up, Bit: 1})
		send(t, one, "abc")
		receive(t, far1, "``c")
		echo()

		p.Strike(Fault{Kind: Freeze})
		send(t, one, "late")
		silent(t, far1)
		three := dial(t, p.Addr())
		send(t, three, "new")
		select {
		case <-n.conns:
			t.Fatal("a connection comes over a frozen network")
		case <-time.After(silence):
		}
		p.Strike(Fault{Kind: Freeze, For: 1})
		receive(t, far1, "late")
		receive(t, n.next(t), "new")
		echo()

		p.Strike(Fault{Kind: Refuse, N: 2})
		for range 2 {
			refused(t, p.Addr())
		}
		send(t, dial(t, p.Addr()), "taken")
		receive(t, n.next(t), "taken")

		p.Strike(Fault{Kind: Orphan, Dir: Down})
		ended(t, one, true)
		send(t, far1, "lost")
		silent(t, far1)
		far1.Close()
		fired(t, p, "cut stall stall/1ns corrupt:up/0 corrupt:up/1 freeze freeze/1ns refuse/2 orphan:down")
	})
}

// TestBackpressure sees that a sender has to wait while nothing arrives.
func TestBackpressure(t *testing.T) {
	each(t, func(t *testing.T, profile link.Profile) {
		p, device, far := ends(t, Config{Profile: profile})
		p.Strike(Fault{Kind: Stall, Dir: Up})
		device.SetWriteDeadline(time.Now().Add(10 * silence))
		n, err := device.Write(make([]byte, 64<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("wrote %d bytes into a stalled connection, %v", n, err)
		}
		p.Strike(Fault{Kind: Stall, Dir: Up, For: 1})
		if _, err := io.CopyN(io.Discard, far, int64(n)); err != nil {
			t.Fatal(err)
		}
	})
}

// TestClose closes a proxy with connections in all states, and looks for what stays.
func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	n, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	for range 10 {
		p, err := Start(Config{Target: n.Addr().String(), Profile: networks["shaped"], Plan: plan(t, "cut@100:up stall@200:up halfopen@300:up")})
		must(t, err)
		var conns []net.Conn
		for i := range 8 {
			c, err := net.Dial("tcp", p.Addr())
			must(t, err)
			conns = append(conns, c)
			if i%4 > 0 {
				c.Write(make([]byte, 90))
			}
			if i == 5 {
				p.SetProfile(link.Profile{RTT: time.Hour})
			}
			if i == 6 {
				p.Strike(Fault{Kind: Freeze})
			}
		}
		must(t, p.Close())
		must(t, p.Close())
		if got := p.Connections(); got != 0 {
			t.Fatalf("%d connections are open after Close", got)
		}
		for _, c := range conns {
			c.SetReadDeadline(time.Now().Add(patience))
			if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("after Close: %v", err)
			}
			c.Close()
		}
		if _, err := net.Dial("tcp", p.Addr()); err == nil {
			t.Fatal("a closed proxy takes connections")
		}
	}
	n.Close()
	settle(t, fmt.Sprintf("goroutines stay, there were %d", before), func() bool { return runtime.NumGoroutine() <= before })
}

// TestReaped sees that connections that neither end has any more are not kept, whatever has struck them.
func TestReaped(t *testing.T) {
	for _, kind := range []Kind{Stall, HalfOpen, Orphan, Close, Corrupt} {
		for _, dir := range []Direction{Up, Down, Both} {
			t.Run(fmt.Sprint(kind, dir), func(t *testing.T) {
				p, device, far := ends(t, Config{})
				p.Strike(Fault{Kind: kind, Dir: dir})
				device.Close()
				far.Close()
				settle(t, "the connection is kept", func() bool { return p.Connections() == 0 })
			})
		}
	}
}

// TestChaos throws random plans at echoes: what arrives must be what was sent, but for a bit that was flipped, up to
// where it breaks off.
func TestChaos(t *testing.T) {
	n := listen(t)
	go func() {
		for {
			select {
			case c := <-n.conns:
				go func() {
					io.Copy(c, c)
					c.Close()
				}()
			case <-t.Context().Done():
				return
			}
		}
	}()
	for seed := range uint64(60) {
		profile := link.Profile{}
		if seed%2 == 0 {
			profile = networks["shaped"]
		}
		pl := RandomPlan(seed, Chaos{Bytes: 100_000, Faults: 1 + int(seed%4), Kinds: []Kind{Cut, Close, Stall, Corrupt, HalfOpen, Orphan, Freeze, Refuse}})
		p := start(t, Config{Target: n.Addr().String(), Profile: profile, Plan: pl, Seed: seed})
		for range 3 {
			c, err := net.Dial("tcp", p.Addr())
			if err != nil {
				continue // refused
			}
			c.SetDeadline(time.Now().Add(60 * time.Millisecond)) // not for a state: some plans are silent for ever
			sent := make([]byte, 50_000)
			rand.NewChaCha8([32]byte{byte(seed)}).Read(sent)
			go c.Write(sent)
			got := make([]byte, len(sent))
			k, _ := io.ReadFull(c, got)
			wrong := 0
			for i := range k {
				if got[i] != sent[i] {
					wrong++
				}
			}
			if most := 2 * len(pl); wrong > most {
				t.Fatalf("seed %d, plan %q: %d bytes of %d are wrong", seed, pl, wrong, k)
			}
			c.Close()
		}
		must(t, p.Close())
	}
}
