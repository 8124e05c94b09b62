// Package faultproxy is a TCP proxy within the process that behaves like a network: slow, and failing by plan.
//
// Devices dial the proxy, which dials the node. A link.Profile says how slow: each direction has a rate, which all
// connections share, and what has passed at the rate arrives half a round trip and jitter later, never reordered.
// Headers of packets are not counted. A direction of a connection holds what fits into a round trip and 2 ms, at
// least 64 KiB, and then its sender has to wait; the kernel's buffers on either side, kept small, come on top.
//
// A dial of the proxy itself takes no time, so what would have passed before is made up for: the proxy dials the node
// one RTT after it was dialed, nothing that the device sends sets out before that, and nothing from the node before
// another half. So TCP and TLS 1.3 together take two round trips, and bytes of a node that speaks first arrive after
// two. A dial that the node does not take, and a refused one, succeed and are then reset.
//
// Faults strike at planned bytes (see Plan), so that a run that failed can be had again, or when Strike is called.
// The bytes before the planned one have been written to the receiver then.
//
// What the profiles asked for and gave (TestAccuracy; ms and MB/s), with ten other processes on two processors:
//
//	profile    RTT    got    TLS     up    got   down    got
//	lan        0.5   0.81   2.78    110    108    110   97.3
//	5g          20   20.9   43.4   12.5   12.3     25   22.3
//	lte         50   52.9    101   1.25   1.18   3.75   3.74
//	wifi        69   69.5    160  0.825  0.775  0.825  0.818
//	3g         680    681   1426   0.05 0.0503   0.05 0.0503
//
// The column TLS is until a dial with TLS 1.3 is done, the processors' work included. Without a profile the proxy adds
// some 20 us to an echo of 20 us.
package faultproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
)

const (
	dialTimeout = 10 * time.Second
	// After an accept that failed, for want of descriptors say, it is tried again.
	acceptPause = 10 * time.Millisecond
)

// Config configures a proxy.
type Config struct {
	Target  string       // where connections go: HOST:PORT
	Listen  string       // default "127.0.0.1:0"
	Profile link.Profile // zero: bytes pass as they come
	Plan    Plan         // faults to come
	Seed    uint64       // of the jitter
}

// Proxy is a running proxy. Safe for concurrent use.
type Proxy struct {
	listener *net.TCPListener
	seed     uint64
	shape    atomic.Pointer[shape] // nil: none
	ice      atomic.Pointer[ice]   // nil: not frozen
	armed    atomic.Bool           // some planned fault waits for a byte
	bytes    [2]atomic.Uint64      // by direction; while armed changed under mu only
	ctx      context.Context       // ends with Close
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu      sync.Mutex
	target  string        // guarded by mu
	rest    Plan          // guarded by mu; faults that have not struck
	fired   Plan          // guarded by mu
	dials   uint64        // guarded by mu
	refuse  uint64        // guarded by mu; so many connections more are refused
	conns   []*conn       // guarded by mu; open, oldest first
	changed chan struct{} // guarded by mu; closed, and made anew, when the network freezes or thaws
	ended   bool          // guarded by mu
}

// ice says that the network is frozen: until a time, or, if that is zero, for ever.
type ice struct{ until time.Time }

// Start starts a proxy.
func Start(config Config) (*Proxy, error) {
	if config.Listen == "" {
		config.Listen = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", config.Listen)
	if err != nil {
		return nil, fmt.Errorf("start fault proxy: %w", err)
	}
	p := &Proxy{
		listener: l.(*net.TCPListener), seed: config.Seed, target: config.Target, rest: slices.Clone(config.Plan),
		changed: make(chan struct{}),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.SetProfile(config.Profile)
	p.armed.Store(p.waiting())
	p.run(p.accept)
	return p, nil
}

// Addr returns where devices connect to: HOST:PORT.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// SetTarget lets connections that are made from now on go elsewhere.
func (p *Proxy) SetTarget(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = addr
}

// SetProfile changes the network for what is sent from now on.
func (p *Proxy) SetProfile(profile link.Profile) {
	p.shape.Store(newShape(profile, p.seed))
	p.mu.Lock()
	conns := slices.Clone(p.conns)
	p.mu.Unlock()
	for _, c := range conns {
		c.mu.Lock()
		for _, x := range c.end {
			if x != nil {
				p.tune(x)
			}
		}
		c.mu.Unlock()
	}
}

// Close resets all connections and waits until nothing of the proxy runs any more. It may be called again.
func (p *Proxy) Close() error {
	p.mu.Lock()
	first := !p.ended
	p.ended = true
	conns := slices.Clone(p.conns)
	p.mu.Unlock()
	if first {
		p.cancel()
		p.listener.Close()
	}
	for _, c := range conns {
		c.finish(true)
	}
	p.running.Wait()
	return nil
}

// Connections returns how many connections are open.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// Dials returns how many connections there were, refused ones included.
func (p *Proxy) Dials() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dials
}

// Traffic returns how many bytes have left the proxy in each direction. Those that vanish in a half-open connection
// count, so that faults planned behind them strike.
func (p *Proxy) Traffic() (up, down uint64) { return p.bytes[0].Load(), p.bytes[1].Load() }

func (p *Proxy) run(f func()) { p.running.Go(f) }

func (p *Proxy) targetAddr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.target
}

func (p *Proxy) accept() {
	for {
		device, err := p.listener.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			if !p.wait(acceptPause, nil, nil, p.ctx.Done()) {
				return
			}
		case p.refuses():
			reset(device)
		default:
			p.tune(device)
			c := newConn(p, device)
			if !p.add(c) {
				c.finish(true)
				return
			}
			p.run(func() { c.serve(device) })
		}
	}
}

func (p *Proxy) add(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.conns = append(p.conns, c)
	}
	return !p.ended
}

func (p *Proxy) forget(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = slices.DeleteFunc(p.conns, func(x *conn) bool { return x == c })
}

// tune keeps the kernel from holding much more than the network would.
func (p *Proxy) tune(c *net.TCPConn) {
	if s := p.shape.Load(); s != nil {
		c.SetReadBuffer(s.buffer)
		c.SetWriteBuffer(s.buffer)
	}
}

// wait waits for a time (0: for ever), or until one of the channels has something to say. It returns false when over
// is closed. Short waits are exact and cannot be interrupted.
func (p *Proxy) wait(d time.Duration, ready, changed, over <-chan struct{}) bool {
	var timer <-chan time.Time
	switch {
	case d > short:
		t := time.NewTimer(d - short*3/4)
		defer t.Stop()
		timer = t.C
	case d > 0:
		nap(d)
		select {
		case <-over:
			return false
		default:
			return true
		}
	}
	select {
	case <-timer:
	case <-ready:
	case <-changed:
	case <-over:
		return false
	}
	return true
}
