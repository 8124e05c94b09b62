package link

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Network makes links in memory that behave as a plan says. Frames and dials are counted over all of its links, and
// each fault strikes once. Safe for concurrent use.
type Network struct {
	plan   Plan
	config NetworkConfig

	mu    sync.Mutex
	rest  []Fault            // guarded by mu; faults that have not struck
	fired []Fault            // guarded by mu
	count [2]uint64          // guarded by mu; frames by direction
	dials uint64             // guarded by mu
	down  bool               // guarded by mu; no dial succeeds
	links map[*pair]struct{} // guarded by mu; links that no end has closed
}

// NetworkConfig configures a network. The zero value has the defaults.
type NetworkConfig struct {
	// Capacity is how many bytes one direction holds; 0: PipeBytes, or what fits into a round trip if that is more.
	Capacity int
	// Number gives the number of a frame for Fault.At, 0 for a frame at which no fault strikes. With numbers
	// that the frames carry themselves a plan strikes at the same messages in each run, whatever else
	// passes. nil: frames are counted.
	Number func(frame []byte) uint64
}

// NewNetwork returns a network without links.
func NewNetwork(plan Plan, config NetworkConfig) *Network {
	if config.Capacity <= 0 {
		config.Capacity = max(PipeBytes, int(float64(plan.Rate)*2*plan.Latency.Seconds()))
	}
	return &Network{plan: plan, config: config, rest: slices.Clone(plan.Faults), links: map[*pair]struct{}{}}
}

// pair is one link of a network.
type pair struct {
	n  *Network
	q  [2]*queue // by direction
	mu [2]sync.Mutex
	// held is a frame that waits to be overtaken, by direction; guarded by mu of that direction.
	held [2][]byte
}

// Pipe returns a new link of the network: the device's end and the node's.
func (n *Network) Pipe() (device, node Link) {
	p := &pair{n: n}
	for d := range p.q {
		p.q[d] = newQueue(n.config.Capacity, n.plan.Latency, n.plan.Rate)
	}
	n.mu.Lock()
	n.links[p] = struct{}{}
	n.mu.Unlock()
	return &pairEnd{p, Up}, &pairEnd{p, Down}
}

// Dialer returns a dialer for devices. Each dial takes a round trip and then gives the node's end to accept, on a
// goroutine of its own.
func (n *Network) Dialer(accept func(Link)) Dialer {
	return func(ctx context.Context) (Link, error) {
		if n.plan.Latency > 0 {
			select {
			case <-time.After(2 * n.plan.Latency):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if err := n.dial(); err != nil {
			return nil, err
		}
		device, node := n.Pipe()
		go accept(node)
		return device, nil
	}
}

func (n *Network) dial() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dials++
	refuse := n.down
	for _, f := range n.take(func(f Fault) bool { return f.Kind == Refuse && f.At <= n.dials }) {
		refuse = refuse || f.Kind == Refuse
	}
	if refuse {
		return fmt.Errorf("dial %d: refused", n.dials)
	}
	return nil
}

// take removes faults from the rest and returns them. Precondition: n.mu is held.
func (n *Network) take(which func(Fault) bool) []Fault {
	var taken []Fault
	n.rest = slices.DeleteFunc(n.rest, func(f Fault) bool {
		if which(f) {
			taken = append(taken, f)
			return true
		}
		return false
	})
	n.fired = append(n.fired, taken...)
	return taken
}

// strike returns the faults that strike at a frame.
func (n *Network) strike(dir Direction, frame []byte) []Fault {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.count[dir]++
	number := n.count[dir]
	if n.config.Number != nil {
		if number = n.config.Number(frame); number == 0 {
			return nil
		}
	}
	return n.take(func(f Fault) bool { return f.Kind != Refuse && f.Dir == dir && f.At <= number })
}

// Fired returns the faults that have struck so far, in order.
func (n *Network) Fired() []Fault {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.fired)
}

// Frames returns how many frames were sent in a direction.
func (n *Network) Frames(dir Direction) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.count[dir]
}

// Cut cuts all links.
func (n *Network) Cut() {
	n.mu.Lock()
	links := n.links
	n.links = map[*pair]struct{}{}
	n.mu.Unlock()
	for p := range links {
		p.cut()
	}
}

// Down lets dials fail from now on, or succeed again. Links that exist stay.
func (n *Network) Down(down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = down
}

func (n *Network) forget(p *pair) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.links, p)
}

func (p *pair) cut() {
	p.n.forget(p)
	for _, q := range p.q {
		q.abort(ErrCut)
	}
}

// pairEnd is the end that sends in direction dir.
type pairEnd struct {
	*pair
	dir Direction
}

func (e *pairEnd) Recv(ctx context.Context) ([]byte, error) { return e.q[1-e.dir].pop(ctx) }

func (e *pairEnd) Close() error {
	e.n.forget(e.pair)
	e.q[e.dir].closeSend()
	e.q[1-e.dir].abort(ErrClosed)
	return nil
}

// Send lets the faults that strike at the frame do their work; several may strike at once.
func (e *pairEnd) Send(ctx context.Context, frame []byte) error {
	e.mu[e.dir].Lock()
	defer e.mu[e.dir].Unlock()
	return e.send(ctx, frame)
}

// TrySend sees to it that there is room for all that a fault may make of the frame.
func (e *pairEnd) TrySend(frame []byte) (bool, error) {
	if !e.mu[e.dir].TryLock() {
		return false, nil
	}
	defer e.mu[e.dir].Unlock()
	if !e.q[e.dir].free(2*len(frame) + len(e.held[e.dir])) {
		return false, nil
	}
	return true, e.send(context.Background(), frame)
}

// send is Send. Preconditions: e.mu is held for this direction.
func (e *pairEnd) send(ctx context.Context, frame []byte) error {
	q := e.q[e.dir]
	copies, swap, after := 1, false, false
	for _, f := range e.n.strike(e.dir, frame) {
		switch f.Kind {
		case Cut:
			e.cut()
		case After:
			after = true
		case Stall:
			q.stall(f.For)
		case Dead:
			q.kill()
		case Lose:
			copies = 0
		case Corrupt:
			frame = flip(frame, f.Bit)
		case Double:
			copies = 2
		case Swap:
			swap = true
		}
	}
	if swap && !after && copies > 0 && e.held[e.dir] == nil {
		e.held[e.dir] = frame
		return nil
	}
	for range copies {
		f := queued{frame: frame}
		if after {
			f.then = e.cut
		}
		if err := q.push(ctx, f); err != nil {
			return err
		}
	}
	if held := e.held[e.dir]; held != nil {
		e.held[e.dir] = nil
		if err := q.push(ctx, queued{frame: held}); err != nil {
			return err
		}
	}
	return nil
}

func flip(frame []byte, bit uint32) []byte {
	if len(frame) == 0 {
		return frame
	}
	f := slices.Clone(frame)
	at := uint64(bit) % (uint64(len(f)) * 8)
	f[at/8] ^= 1 << (at % 8)
	return f
}
