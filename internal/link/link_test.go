package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// send sends words as frames.
func send(t *testing.T, l Link, words ...string) {
	t.Helper()
	for _, w := range words {
		must(t, l.Send(t.Context(), []byte(w)))
	}
}

// recv receives what comes within a second, and how it ended: "-" silence, "closed", "cut".
func recv(t *testing.T, l Link) string {
	t.Helper()
	var got []string
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		f, err := l.Recv(ctx)
		cancel()
		switch {
		case err == nil:
			got = append(got, string(f))
			continue
		case errors.Is(err, context.DeadlineExceeded):
			got = append(got, "-")
		case err == ErrCut:
			got = append(got, "cut")
		case errors.Is(err, ErrClosed):
			got = append(got, "closed")
		default:
			t.Fatal(err)
		}
		return strings.Join(got, " ")
	}
}

// ends returns links of each implementation.
func ends() map[string]func() (Link, Link) {
	return map[string]func() (Link, Link){
		"pipe":    func() (Link, Link) { return Pipe(10) },
		"network": func() (Link, Link) { return NewNetwork(Plan{}, NetworkConfig{Capacity: 10}).Pipe() },
		"slow": func() (Link, Link) {
			return NewNetwork(Plan{Latency: time.Millisecond, Rate: 1e6}, NetworkConfig{Capacity: 10}).Pipe()
		},
	}
}

func TestLink(t *testing.T) {
	for name, pipe := range ends() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := pipe()
				send(t, a, "one", "", "two")
				send(t, b, "three")
				if got, want := recv(t, b), "one  two -"; got != want {
					t.Fatalf("received %q, want %q", got, want)
				}
				// A full direction blocks, the other one is free.
				send(t, a, "0123456789")
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := a.Send(ctx, []byte("x")); !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("error %v, want that of the context", err)
				}
				go func() { send(t, a, "four", strings.Repeat("five", 10)) }()
				synctest.Wait()
				if got, want := recv(t, b), "0123456789 four "+strings.Repeat("five", 10)+" -"; got != want {
					t.Fatalf("received %q, want %q", got, want)
				}
				if got, want := recv(t, a), "three -"; got != want {
					t.Fatalf("received %q, want %q", got, want)
				}
			})
		})
	}
}

func TestClose(t *testing.T) {
	for name, pipe := range ends() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := pipe()
				send(t, a, "on", "way")
				send(t, b, "lost")
				var blocked error
				done := make(chan struct{})
				go func() {
					defer close(done)
					_, blocked = a.Recv(t.Context())
					for blocked == nil {
						_, blocked = a.Recv(t.Context())
					}
				}()
				synctest.Wait()
				must(t, a.Close())
				must(t, a.Close())
				<-done
				if !errors.Is(blocked, ErrClosed) {
					t.Fatalf("Recv on this end: %v", blocked)
				}
				if err := a.Send(t.Context(), nil); !errors.Is(err, ErrClosed) {
					t.Fatalf("Send on this end: %v", err)
				}
				if got, want := recv(t, b), "on way closed"; got != want {
					t.Fatalf("other end received %q, want %q", got, want)
				}
				if err := b.Send(t.Context(), nil); !errors.Is(err, ErrClosed) {
					t.Fatalf("Send on the other end: %v", err)
				}
			})
		})
	}
}

func TestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := NewNetwork(Plan{Latency: 100 * time.Millisecond, Rate: 1000}, NetworkConfig{}).Pipe()
		start := time.Now()
		for range 3 {
			must(t, a.Send(t.Context(), make([]byte, 500)))
		}
		for i := range 3 {
			if _, err := b.Recv(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := 100*time.Millisecond + time.Duration(i+1)*500*time.Millisecond
			if got := time.Since(start); got != want {
				t.Fatalf("frame %d after %v, want %v", i, got, want)
			}
		}
	})
}

// TestFaults runs a plan over a link on which five frames go up and two down.
func TestFaults(t *testing.T) {
	for _, tc := range []struct{ plan, node, device string }{
		{"", "f1 f2 f3 f4 f5 -", "r1 r2 -"},
		{"lose@2:up", "f1 f3 f4 f5 -", "r1 r2 -"},
		{"double@5:up double@1:down", "f1 f2 f3 f4 f5 f5 -", "r1 r1 r2 -"},
		{"swap@2:up", "f1 f3 f2 f4 f5 -", "r1 r2 -"},
		{"swap@5:up", "f1 f2 f3 f4 -", "r1 r2 -"},
		{"corrupt@3:up/0", "f1 f2 g3 f4 f5 -", "r1 r2 -"},
		{"corrupt@3:up/24", "f1 f2 f2 f4 f5 -", "r1 r2 -"}, // bit 8 of 16
		{"dead@3:up", "f1 f2 -", "r1 r2 -"},
		{"stall@3:up", "-", "r1 r2 -"},
		{"stall@3:up/900ms", "f1 f2 f3 f4 f5 -", "r1 r2 -"},
		{"stall@3:up/1500ms", "-", "r1 r2 -"},
		{"cut@5:up", "cut", "cut"},
		{"after@2:up", "f1 f2 cut", "cut"},
		{"after@2:down", "f1 f2 f3 f4 f5 -", "r1 r2 cut"},
		{"lose@2:up lose@2:up lose@2:up", "f1 f3 f4 f5 -", "r1 r2 -"}, // all three strike frame 2
	} {
		t.Run(strings.NewReplacer("@", "-", ":", "-", " ", "-", "/", "-").Replace("x"+tc.plan), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				plan, err := ParsePlan(tc.plan)
				must(t, err)
				n := NewNetwork(plan, NetworkConfig{})
				device, node := n.Pipe()
				for i := range 7 {
					if i < 5 {
						device.Send(t.Context(), fmt.Append(nil, "f", i+1))
					} else {
						node.Send(t.Context(), fmt.Append(nil, "r", i-4))
					}
				}
				if got := recv(t, node); got != tc.node {
					t.Errorf("node received %q, want %q", got, tc.node)
				}
				if got := recv(t, device); got != tc.device {
					t.Errorf("device received %q, want %q", got, tc.device)
				}
				if got := n.Fired(); !slices.Equal(got, plan.Faults) {
					t.Errorf("fired %v, want %v", got, plan.Faults)
				}
			})
		})
	}
}

// TestHalfOpen: nobody learns of a close through a dead or frozen direction.
func TestHalfOpen(t *testing.T) {
	for _, plan := range []string{"dead@1:up", "stall@1:up"} {
		synctest.Test(t, func(t *testing.T) {
			p, err := ParsePlan(plan)
			must(t, err)
			device, node := NewNetwork(p, NetworkConfig{}).Pipe()
			send(t, device, "x")
			must(t, device.Close())
			if got := recv(t, node); got != "-" {
				t.Fatalf("%s: received %q, want silence", plan, got)
			}
			must(t, node.Close())
			if got := recv(t, node); got != "closed" {
				t.Fatalf("%s: received %q after close", plan, got)
			}
		})
	}
}

// TestRedial: counting goes on over links, a fault strikes once, and frames can carry their own numbers.
func TestRedial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan, err := ParsePlan("latency=10ms refuse@2 cut@3:up after@4:up")
		must(t, err)
		n := NewNetwork(plan, NetworkConfig{Number: func(f []byte) uint64 {
			if f[0] < '0' || f[0] > '9' {
				return 0
			}
			return uint64(f[0] - '0')
		}})
		accepted := make(chan Link, 1)
		dial := n.Dialer(func(l Link) { accepted <- l })
		connect := func() (Link, Link) {
			t.Helper()
			start := time.Now()
			d, err := dial(t.Context())
			must(t, err)
			if took := time.Since(start); took != 20*time.Millisecond {
				t.Fatalf("dial took %v, want a round trip", took)
			}
			return d, <-accepted
		}
		d, s := connect()
		send(t, d, "hello", "1", "ping", "2", "ping")
		if err := d.Send(t.Context(), []byte("3")); err != ErrCut {
			t.Fatalf("error %v, want ErrCut", err)
		}
		if got := recv(t, s); got != "cut" {
			t.Fatalf("received %q", got)
		}
		if _, err := dial(t.Context()); err == nil {
			t.Fatal("second dial succeeds")
		}
		d, s = connect()
		send(t, d, "hello", "2", "3", "ping", "4", "5")
		if got, want := recv(t, s), "hello 2 3 ping 4 cut"; got != want {
			t.Fatalf("received %q, want %q", got, want)
		}
		n.Down(true)
		if _, err := dial(t.Context()); err == nil {
			t.Fatal("dial succeeds while the node is down")
		}
		n.Down(false)
		d, s = connect()
		send(t, d, "3")
		if got, want := recv(t, s), "3 -"; got != want {
			t.Fatalf("received %q, want %q", got, want)
		}
		n.Cut()
		if got := recv(t, d) + " " + recv(t, s); got != "cut cut" {
			t.Fatalf("received %q", got)
		}
		if got := n.Frames(Up); got != 13 {
			t.Fatalf("counted %d frames, want 13", got)
		}
	})
}

func TestPlanText(t *testing.T) {
	const text = "latency=20ms rate=50000 cut@17:down after@3:up stall@3:up/200ms stall@4:down dead@1:up lose@9:up " +
		"corrupt@5:down/1234 double@2:up swap@7:down refuse@2"
	p, err := ParsePlan(text)
	must(t, err)
	if got := p.String(); got != text {
		t.Fatalf("got %q, want %q", got, text)
	}
	for _, name := range Profiles() {
		if _, err := ParsePlan(name + ",cut@1:up"); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"cut", "cut@", "cut@0:up", "cut@1", "cut@1:left", "cut@1:up/3", "burn@1:up", "latency=x", "latency=-1s",
		"rate=0", "rate=x", "stall@1:up/x", "corrupt@1:up/-1", "refuse@1:up", "cut@99999999999999999999:up"} {
		if _, err := ParsePlan(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestRandomPlan(t *testing.T) {
	kinds := map[Kind]int{}
	for seed := range uint64(500) {
		p := RandomPlan(seed, Chaos{Frames: 50, Faults: 2})
		if got := RandomPlan(seed, Chaos{Frames: 50, Faults: 2}).String(); got != p.String() {
			t.Fatalf("seed %d gives %q and %q", seed, p, got)
		}
		q, err := ParsePlan(p.String())
		must(t, err)
		if q.String() != p.String() || len(p.Faults) != 2 {
			t.Fatalf("plan %q is read as %q", p, q)
		}
		for _, f := range p.Faults {
			kinds[f.Kind]++
			if f.At == 0 || f.At > 50 {
				t.Fatalf("fault %v", f)
			}
		}
	}
	if len(kinds) != int(Refuse) {
		t.Fatalf("kinds drawn: %v", kinds)
	}
}

func FuzzParsePlan(f *testing.F) {
	f.Add("latency=20ms rate=50000 cut@17:down stall@3:up/200ms corrupt@5:down/1234 refuse@2")
	f.Add("wifi, swap@1:up")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePlan(s)
		if err != nil {
			return
		}
		q, err := ParsePlan(p.String())
		if err != nil || q.String() != p.String() {
			t.Fatalf("%q is read as %q, %v", p, q, err)
		}
	})
}

func BenchmarkPipe(b *testing.B) {
	for _, size := range []int{64, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			x, y := Pipe(0)
			go func() {
				for {
					f, err := y.Recv(context.Background())
					if err != nil || y.Send(context.Background(), f) != nil {
						return
					}
				}
			}()
			frame := bytes.Repeat([]byte{1}, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				x.Send(context.Background(), frame)
				x.Recv(context.Background())
			}
			x.Close()
		})
	}
}
