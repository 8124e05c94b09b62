package faultproxy

import (
	"net"
	"sync"
	"time"
)

// conn is a connection of a device and the one to the node that belongs to it.
type conn struct {
	p    *Proxy
	flow [2]*flow
	over chan struct{} // closed at the end

	mu    sync.Mutex
	ended bool            // guarded by mu
	end   [2]*net.TCPConn // guarded by mu; what each flow delivers to: the node's side, nil before it is dialed, and the device's
}

func newConn(p *Proxy, device *net.TCPConn) *conn {
	c := &conn{p: p, over: make(chan struct{}), end: [2]*net.TCPConn{1: device}}
	c.flow = [2]*flow{newFlow(c, 0), newFlow(c, 1)}
	return c
}

// serve connects to the node once a dial over the network would have got there, and then carries bytes.
func (c *conn) serve(device *net.TCPConn) {
	s, accepted := c.p.shape.Load(), time.Now()
	if s == nil {
		s = &shape{}
	}
	if !c.hold(accepted.Add(s.rtt)) {
		return
	}
	// A connection that ends meanwhile does not end the dial: the node must see a reset, not an end of the stream.
	dialer := net.Dialer{Timeout: dialTimeout}
	made, err := dialer.DialContext(c.p.ctx, "tcp", c.p.targetAddr())
	if err != nil {
		c.finish(true)
		return
	}
	node := made.(*net.TCPConn)
	if !c.attach(node) {
		return
	}
	c.flow[0].src, c.flow[0].dst = device, node
	c.flow[1].src, c.flow[1].dst = node, device
	// The node gets to know of the connection with the device's third packet, half a round trip after the dial.
	c.flow[1].from = accepted.Add(s.rtt + s.rtt/2)
	for _, f := range c.flow {
		c.p.run(f.read)
		c.p.run(f.write)
	}
}

// hold waits for a time to come, and while the network is frozen. It returns false when the connection is over.
func (c *conn) hold(due time.Time) bool {
	for {
		changed := c.p.changes()
		until, frozen := c.p.frozen()
		wait := time.Until(due)
		if frozen {
			wait = max(wait, time.Until(until))
		}
		forever := frozen && until.IsZero()
		switch {
		case forever:
			wait = 0
		case wait <= early:
			return !c.isOver()
		}
		if !c.p.wait(wait, nil, changed, c.over) {
			return false
		}
	}
}

func (c *conn) attach(node *net.TCPConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		reset(node)
		return false
	}
	c.end[0] = node
	c.p.tune(node)
	return true
}

// strike lets a fault strike. Preconditions: it is not one that strikes all of the network; no flow's mu is held.
func (c *conn) strike(f Fault) {
	switch f.Kind {
	case Cut:
		c.finish(true)
		return
	case Freeze:
		c.p.freeze(f.For)
		return
	case Orphan:
		for _, x := range c.flow {
			x.vanish()
		}
		side := 0
		if f.Dir == Down {
			side = 1
		}
		c.mu.Lock()
		if x := c.end[side]; x != nil {
			reset(x)
		}
		c.mu.Unlock()
		return
	}
	for d, x := range c.flow {
		if !f.Dir.has(d) {
			continue
		}
		switch f.Kind {
		case Close:
			x.close()
		case Stall:
			x.stall(f.For)
		case Corrupt:
			x.flip(f.Bit)
		case HalfOpen:
			x.vanish()
		}
	}
}

// check ends the connection when neither direction can bring anything more.
func (c *conn) check() {
	if c.flow[0].done() && c.flow[1].done() {
		c.finish(false)
	}
}

// finish ends the connection: with a reset of both ends, or without where both know.
func (c *conn) finish(rst bool) {
	c.mu.Lock()
	first := !c.ended
	c.ended = true
	c.mu.Unlock()
	if !first {
		return
	}
	close(c.over)
	for _, x := range c.end { // which does not change any more
		switch {
		case x == nil:
		case rst:
			reset(x)
		default:
			x.Close()
		}
	}
	c.p.forget(c)
}

func (c *conn) isOver() bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

// reset closes a connection so that its peer sees a reset.
func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}
