package control

import (
	"net"
	"sync"
)

// crowd is a bounded set of what waits, in order of arrival. When it is full, one has to go for each that comes: the
// oldest of the source that has the most in it, so that a flood from one place displaces itself.
type crowd[T any] struct {
	most    int
	next    uint64
	members map[uint64]member[T]
	sources map[string]int
}

type member[T any] struct {
	value  T
	source string
}

func newCrowd[T any](most int) *crowd[T] {
	return &crowd[T]{most: most, members: map[uint64]member[T]{}, sources: map[string]int{}}
}

// add puts v in, under the id that is returned; evicted is who had to go, if any.
func (c *crowd[T]) add(v T, source string) (id uint64, evicted T, full bool) {
	if full = len(c.members) >= c.most; full {
		evicted = c.evict()
	}
	c.next++
	c.members[c.next] = member[T]{v, source}
	c.sources[source]++
	return c.next, evicted, full
}

func (c *crowd[T]) evict() T {
	crowded := 0
	for _, n := range c.sources {
		crowded = max(crowded, n)
	}
	var oldest uint64
	for id, m := range c.members {
		if c.sources[m.source] == crowded && (oldest == 0 || id < oldest) {
			oldest = id
		}
	}
	v := c.members[oldest].value
	c.remove(oldest)
	return v
}

// remove takes one out; false: it was not in any more.
func (c *crowd[T]) remove(id uint64) bool {
	m, ok := c.members[id]
	if !ok {
		return false
	}
	delete(c.members, id)
	if c.sources[m.source]--; c.sources[m.source] == 0 {
		delete(c.sources, m.source)
	}
	return true
}

// Connections is a crowd of connections, which are closed when they have to go. Safe for concurrent use.
type Connections struct {
	evicted func()

	mu     sync.Mutex
	crowd  *crowd[net.Conn] // guarded by mu
	closed bool             // guarded by mu
}

// NewConnections returns an empty set for most connections; evicted is called for each that has to go.
func NewConnections(most int, evicted func()) *Connections {
	return &Connections{evicted: evicted, crowd: newCrowd[net.Conn](most)}
}

// Add takes c in until leave is called, which tells whether it was still in.
func (s *Connections) Add(c net.Conn) (leave func() bool) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		c.Close()
		return func() bool { return false }
	}
	id, old, full := s.crowd.add(c, sourceOf(c.RemoteAddr()))
	s.mu.Unlock()
	if full {
		old.Close()
		s.evicted()
	}
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.crowd.remove(id)
	}
}

// Len is how many there are.
func (s *Connections) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.crowd.members)
}

// Close closes all connections, and those that come later.
func (s *Connections) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, m := range s.crowd.members {
		m.value.Close()
	}
}

// sourceOf is what counts as one place: an IPv4 address, or an IPv6 network of 64 bits, which one machine has.
func sourceOf(a net.Addr) string {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return ""
	}
	if ip := t.IP.To4(); ip != nil {
		return string(ip)
	}
	return string(t.IP.Mask(net.CIDRMask(64, 128)))
}
