package faultproxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
)

var accuracy = flag.Bool("accuracy", false, "measure all profiles at length, and print the table of the package comment")

// measured is what a profile gives to connections over it.
type measured struct {
	rtt      time.Duration // median of echoes of one byte
	up, down float64       // bytes in a second, after the start
	most     [2]float64    // with the start, in which nothing arrives: never above the rate
	tls      time.Duration // median until a TLS handshake is done
}

func measure(t testing.TB, profile link.Profile, echoes int, bulk time.Duration) (m measured) {
	t.Helper()
	p, device, far := ends(t, Config{Profile: profile, Seed: 1})
	var rtts []time.Duration
	for range echoes {
		begin := time.Now()
		send(t, device, "?")
		receive(t, far, "?")
		send(t, far, "!")
		receive(t, device, "!")
		rtts = append(rtts, time.Since(begin))
	}
	slices.Sort(rtts)
	m.rtt = rtts[len(rtts)/2]
	rate := func(from, to net.Conn, rate float64) (steady, whole float64) {
		if rate == 0 {
			rate = 1e9
		}
		// The first quarter does not count: it fills the network.
		skip, count := int64(rate*bulk.Seconds()/4), int64(rate*bulk.Seconds())
		start := time.Now()
		go func() {
			chunk := make([]byte, 64<<10)
			for left := skip + count; left > 0; left -= int64(len(chunk)) {
				if _, err := from.Write(chunk[:min(left, int64(len(chunk)))]); err != nil {
					return
				}
			}
		}()
		if _, err := io.CopyN(io.Discard, to, skip); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if _, err := io.CopyN(io.Discard, to, count); err != nil {
			t.Fatal(err)
		}
		return float64(count) / time.Since(begin).Seconds(), float64(skip+count) / time.Since(start).Seconds()
	}
	m.up, m.most[0] = rate(device, far, profile.Up)
	m.down, m.most[1] = rate(far, device, profile.Down)
	must(t, p.Close())
	return m
}

// handshake returns the median time until TLS is up for the device, dial included.
func handshake(t testing.TB, profile link.Profile, times int) time.Duration {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	cert, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)},
		&x509.Certificate{SerialNumber: big.NewInt(1)}, &key.PublicKey, key)
	must(t, err)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}})
	must(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go c.(*tls.Conn).Handshake()
		}
	}()
	p := start(t, Config{Target: l.Addr().String(), Profile: profile})
	var took []time.Duration
	for range times {
		begin := time.Now()
		c, err := tls.Dial("tcp", p.Addr(), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
		must(t, err)
		took = append(took, time.Since(begin))
		c.Close()
	}
	slices.Sort(took)
	return took[times/2]
}

// TestShape has bounds that hold on a machine that is busy with other things. Nothing may be faster than the profile.
func TestShape(t *testing.T) {
	for _, name := range link.Profiles() {
		if testing.Short() && name == "3g" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			profile, err := link.LookupProfile(name)
			must(t, err)
			echoes, bulk, shakes := 3, 200*time.Millisecond, 1
			if name == "loopback" {
				bulk /= 10
			}
			m := measure(t, profile, echoes, bulk)
			m.tls = handshake(t, profile, shakes)
			t.Logf("%+v", m)
			if least, most := profile.RTT-profile.Jitter-2*early, 2*profile.RTT+time.Second; m.rtt < least || m.rtt > most {
				t.Errorf("a round trip takes %v, want %v to %v", m.rtt, least, most)
			}
			if least, most := 2*(profile.RTT-2*early)-profile.Jitter, 4*profile.RTT+5*time.Second; m.tls < least || m.tls > most {
				t.Errorf("a TLS handshake takes %v, want %v to %v", m.tls, least, most)
			}
			for _, r := range []struct{ got, most, want float64 }{{m.up, m.most[0], profile.Up}, {m.down, m.most[1], profile.Down}} {
				if r.want > 0 && (r.got < r.want/10 || r.most > r.want*1.05) {
					t.Errorf("bytes pass at %.0f in a second, want %.0f", r.got, r.want)
				}
			}
		})
	}
}

// TestAccuracy prints the table of the package comment.
func TestAccuracy(t *testing.T) {
	if !*accuracy {
		t.Skip("measures for a minute; -accuracy lets it")
	}
	mb := func(rate float64) string {
		if rate == 0 {
			return "-"
		}
		return fmt.Sprintf("%.3g", rate/1e6)
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.4g", d.Seconds()*1e3) }
	fmt.Printf("%-10s %8s %8s %8s   %6s %6s   %6s %6s\n", "profile", "RTT", "got", "TLS", "up", "got", "down", "got")
	for _, name := range link.Profiles() {
		profile, err := link.LookupProfile(name)
		must(t, err)
		echoes := max(5, min(1001, int(2*time.Second/max(profile.RTT, time.Millisecond))))
		bulk := time.Second
		m := measure(t, profile, echoes, bulk)
		m.tls = handshake(t, profile, min(echoes, 9))
		fmt.Printf("%-10s %8s %8s %8s   %6s %6s   %6s %6s\n", name, ms(profile.RTT), ms(m.rtt), ms(m.tls),
			mb(profile.Up), mb(m.up), mb(profile.Down), mb(m.down))
	}
}

// TestShared sees that connections share the rate of the network, and that a queue of one does not hold up another
// for longer than it is.
func TestShared(t *testing.T) {
	n := listen(t)
	p := start(t, Config{Target: n.Addr().String(), Profile: link.Profile{RTT: time.Millisecond, Up: 2e6}})
	const each, conns = 100_000, 4
	done := make(chan error, conns)
	begin := time.Now()
	for range conns {
		c := dial(t, p.Addr())
		far := n.next(t)
		go c.Write(make([]byte, each))
		go func() {
			_, err := io.CopyN(io.Discard, far, each)
			done <- err
		}()
	}
	for range conns {
		must(t, <-done)
	}
	if took, least := time.Since(begin), 195*time.Millisecond; took < least || took > patience {
		t.Fatalf("%d bytes took %v at 2 MB/s, want at least %v", each*conns, took, least)
	}
}

// TestSetProfile makes a network faster under way: nothing is reordered, and what was slow becomes quick.
func TestSetProfile(t *testing.T) {
	p, device, far := ends(t, Config{Profile: link.Profile{RTT: 100 * time.Millisecond}})
	send(t, device, "one ")
	p.SetProfile(link.Profile{})
	send(t, device, "two ")
	p.SetProfile(link.Profile{RTT: time.Millisecond})
	send(t, device, "three ")
	receive(t, far, "one two three ")
	p.SetProfile(link.Profile{})
	send(t, far, "back")
	receive(t, device, "back")
}

func TestLane(t *testing.T) {
	l := &newShape(link.Profile{RTT: 10 * time.Millisecond, Up: 1e6}, 1).lane[0]
	t0 := time.Now()
	for _, tc := range []struct {
		n         int
		now, from time.Duration
		want      time.Duration
	}{
		{1000, 0, 0, 6 * time.Millisecond},
		{1000, 0, 0, 7 * time.Millisecond},                                          // waits for the first
		{2000, 50 * time.Millisecond, 0, 57 * time.Millisecond},                     // the line has been idle
		{0, 50 * time.Millisecond, 0, 57 * time.Millisecond},                        // an end of the stream
		{1000, 50 * time.Millisecond, 90 * time.Millisecond, 95 * time.Millisecond}, // cannot set out yet
		{1000, 50 * time.Millisecond, 0, 59 * time.Millisecond},                     // which holds nobody else up
		{1000, 90 * time.Millisecond, 20 * time.Millisecond, 96 * time.Millisecond}, // could have before
	} {
		if got := l.arrive(tc.n, t0.Add(tc.now), t0.Add(tc.from)).Sub(t0); got != tc.want {
			t.Errorf("%+v arrives at %v", tc, got)
		}
	}
	if newShape(link.Profile{Name: "loopback"}, 1) != nil {
		t.Error("a profile that shapes nothing costs something")
	}
}

func BenchmarkEcho(b *testing.B) {
	for _, through := range []string{"direct", "proxy", "planned", "lan"} {
		b.Run(through, func(b *testing.B) {
			n := listen(b)
			addr := n.Addr().String()
			config := Config{Target: addr}
			switch through {
			case "planned":
				config.Plan = plan(b, "cut@999999999999:up")
			case "lan":
				config.Profile, _ = link.LookupProfile("lan")
			}
			if through != "direct" {
				addr = start(b, config).Addr()
			}
			c := dial(b, addr)
			far := n.next(b)
			go io.Copy(struct{ io.Writer }{far}, struct{ io.Reader }{far}) // without splice
			buf := make([]byte, 64)
			for b.Loop() {
				c.Write(buf)
				if _, err := io.ReadFull(c, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBulk(b *testing.B) {
	for _, through := range []string{"direct", "proxy"} {
		b.Run(through, func(b *testing.B) {
			n := listen(b)
			addr := n.Addr().String()
			if through != "direct" {
				addr = start(b, Config{Target: addr}).Addr()
			}
			c := dial(b, addr)
			far := n.next(b)
			go io.Copy(io.Discard, struct{ io.Reader }{far})
			buf := make([]byte, 64<<10)
			b.SetBytes(int64(len(buf)))
			for b.Loop() {
				if _, err := c.Write(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
