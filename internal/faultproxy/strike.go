package faultproxy

import (
	"slices"
	"time"
)

// Strike lets a fault strike now, on all open connections, and returns on how many. Refuse and Freeze, which need none,
// return 0.
func (p *Proxy) Strike(f Fault) int { return p.strike(f, false) }

// StrikeNewest lets a fault strike now, on the connection that was made last.
func (p *Proxy) StrikeNewest(f Fault) int { return p.strike(f, true) }

func (p *Proxy) strike(f Fault, newest bool) int {
	f.At = 0
	p.mu.Lock()
	var conns []*conn
	switch f.Kind {
	case Refuse:
		p.refuse += uint64(max(1, f.N))
	case Freeze:
	default:
		conns = slices.Clone(p.conns)
		if n := len(conns); newest && n > 1 {
			conns = conns[n-1:]
		}
	}
	p.mu.Unlock()
	if f.Kind == Freeze {
		p.freeze(f.For)
	}
	for _, c := range conns {
		c.strike(f)
	}
	if len(conns) > 0 || f.Kind == Refuse || f.Kind == Freeze {
		p.note(f)
	}
	return len(conns)
}

// note notes a fault once it has had its effect.
func (p *Proxy) note(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fired = append(p.fired, f)
}

// Fired returns the faults that have struck, in order, those that Strike was given included.
func (p *Proxy) Fired() []Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.fired)
}

// waiting tells whether planned faults wait for a byte. Precondition: p.mu is held, or nothing runs yet.
func (p *Proxy) waiting() bool {
	return slices.ContainsFunc(p.rest, func(f Fault) bool { return f.Kind != Refuse })
}

// take removes faults from the rest and returns them. Precondition: p.mu is held.
func (p *Proxy) take(which func(Fault) bool) []Fault {
	var taken []Fault
	p.rest = slices.DeleteFunc(p.rest, func(f Fault) bool {
		if which(f) {
			taken = append(taken, f)
			return true
		}
		return false
	})
	p.armed.Store(p.waiting())
	return taken
}

// advance lets bytes of a direction leave: n of want, and those are counted, up to the next that a fault is planned
// for; or none, and then the faults that strike now.
func (p *Proxy) advance(dir, want int) (n int, struck []Fault) {
	if !p.armed.Load() {
		p.bytes[dir].Add(uint64(want))
		return want, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	left := func(f Fault) uint64 { // what may leave before f strikes
		if f.Kind == Refuse || !f.Dir.has(dir) {
			return uint64(want)
		}
		passed := p.bytes[dir].Load()
		if f.Dir == Both {
			passed += p.bytes[1-dir].Load()
		}
		if f.At <= passed {
			return 0
		}
		return f.At - 1 - passed
	}
	least := uint64(want)
	for _, f := range p.rest {
		least = min(least, left(f))
	}
	if least > 0 {
		p.bytes[dir].Add(least)
		return int(least), nil
	}
	return 0, p.take(func(f Fault) bool { return left(f) == 0 })
}

// refuses counts a connection, and tells whether it is refused.
func (p *Proxy) refuses() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dials++
	for _, f := range p.take(func(f Fault) bool { return f.Kind == Refuse && f.At <= p.dials }) {
		p.refuse += uint64(max(1, f.N))
		p.fired = append(p.fired, f)
	}
	if p.refuse == 0 {
		return false
	}
	p.refuse--
	return true
}

// freeze lets nothing pass for a while; 0: for ever.
func (p *Proxy) freeze(d time.Duration) {
	i := &ice{}
	if d > 0 {
		i.until = time.Now().Add(d)
	}
	p.ice.Store(i)
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
}

// frozen tells whether the network is or was frozen, and until when; zero: for ever.
func (p *Proxy) frozen() (until time.Time, frozen bool) {
	i := p.ice.Load()
	if i == nil {
		return time.Time{}, false
	}
	return i.until, true
}

// changes returns a channel that is closed when the network freezes or thaws.
func (p *Proxy) changes() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}
