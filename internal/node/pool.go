package node

import (
	"slices"
	"time"

	"github.com/clonecloud/clonecloud/internal/trust"
)

// pool decides which worker serves which route, when workers are started, and when they are no longer needed. It
// reads no clock and starts nothing; whoever calls it does what it says.
type pool struct {
	warm    int           // workers kept ready
	devices int           // routes that may be served at once
	idle    time.Duration // how long a worker without conversations is kept

	last    int
	slots   map[int]*slot
	routes  map[trust.Route]*slot
	waiting []trust.Route // for a worker, the oldest first
	starts  backoff       // of workers that end before they are ready
	deaths  map[trust.Route]*backoff
	closed  bool
}

type slotState uint8

const (
	slotStarting slotState = iota
	slotReady
	slotServing
	slotEnding
)

type slot struct {
	id    int
	state slotState
	route trust.Route // while serving
	since time.Time   // of serving
	quiet time.Time   // since when nothing goes on; zero: something does
	used  bool        // a device has shown that it may use it
}

// Constants of the pool.
const (
	// unusedFor is how long a worker is kept that nobody has greeted properly: who watched a device knows its route.
	unusedFor = 30 * time.Second
	// soonDead is a life so short that its end counts towards a pause before the next worker.
	soonDead = 2 * time.Second
	// maxDeaths bounds the routes whose failures are remembered.
	maxDeaths = 4096
)

func newPool(warm, devices int, idle time.Duration) *pool {
	return &pool{
		warm: warm, devices: devices, idle: idle,
		slots: map[int]*slot{}, routes: map[trust.Route]*slot{}, deaths: map[trust.Route]*backoff{},
		starts: backoff{free: 1, first: 100 * time.Millisecond, most: 30 * time.Second},
	}
}

// verdict is what becomes of a connection.
type verdict uint8

const (
	verdictTake   verdict = iota // by the worker named
	verdictAssign                // likewise, once it has been told its route
	verdictAwait                 // until there is a worker
	verdictFull                  // refused: as many devices are here as may be
	verdictPause                 // refused: the route's workers die too soon
	verdictShut                  // refused: no new devices
)

// want has a connection for route. evict is a worker to end, to make room; 0: none.
func (p *pool) want(route trust.Route, now time.Time) (v verdict, id, evict int, wait time.Duration) {
	if s := p.routes[route]; s != nil {
		return verdictTake, s.id, 0, 0
	}
	if p.closed {
		return verdictShut, 0, 0, 0
	}
	if slices.Contains(p.waiting, route) {
		return verdictAwait, 0, 0, 0
	}
	if b := p.deaths[route]; b != nil {
		if wait := b.wait(now); wait > 0 {
			return verdictPause, 0, 0, wait
		}
	}
	if len(p.routes)+len(p.waiting) >= p.devices {
		if evict = p.longestQuiet(); evict == 0 {
			return verdictFull, 0, 0, 0
		}
		p.end(evict)
	}
	for _, s := range p.slots {
		if s.state == slotReady && (id == 0 || s.id < id) {
			id = s.id
		}
	}
	if id == 0 {
		p.waiting = append(p.waiting, route)
		return verdictAwait, 0, evict, 0
	}
	p.give(p.slots[id], route, now)
	return verdictAssign, id, evict, 0
}

func (p *pool) give(s *slot, route trust.Route, now time.Time) {
	s.state, s.route, s.since, s.quiet = slotServing, route, now, now
	p.routes[route] = s
}

func (p *pool) longestQuiet() int {
	var best *slot
	for _, s := range p.routes {
		if !s.quiet.IsZero() && s.used && (best == nil || s.quiet.Before(best.quiet)) {
			best = s
		}
	}
	if best == nil {
		return 0
	}
	return best.id
}

// end takes a worker from its route; it is to be ended. A new one may serve the route at once.
func (p *pool) end(id int) {
	if s := p.slots[id]; s != nil && s.state != slotEnding {
		if s.state == slotServing {
			delete(p.routes, s.route)
		}
		s.state = slotEnding
	}
}

// abandon says that nobody waits for a worker of route any more.
func (p *pool) abandon(route trust.Route) {
	p.waiting = slices.DeleteFunc(p.waiting, func(r trust.Route) bool { return r == route })
}

// start returns the ids of workers to start now, and when to ask again if they have to wait.
func (p *pool) start(now time.Time) (ids []int, again time.Duration) {
	if p.closed {
		return nil, 0
	}
	// No more are kept ready than devices can come.
	want := min(p.warm, max(p.devices-len(p.routes)-len(p.waiting), 0)) + len(p.waiting)
	for _, s := range p.slots {
		if s.state == slotStarting || s.state == slotReady {
			want--
		}
	}
	if want <= 0 {
		return nil, 0
	}
	if wait := p.starts.wait(now); wait > 0 {
		return nil, wait
	}
	for range want {
		p.last++
		p.slots[p.last] = &slot{id: p.last}
		ids = append(ids, p.last)
	}
	return ids, 0
}

// ready says that a worker can serve; ok: it serves route from now on.
func (p *pool) ready(id int, now time.Time) (route trust.Route, ok bool) {
	p.starts.succeed()
	s := p.slots[id]
	if s == nil || s.state != slotStarting {
		return route, false
	}
	s.state = slotReady
	if len(p.waiting) == 0 {
		return route, false
	}
	route = p.waiting[0]
	p.waiting = p.waiting[1:]
	p.give(s, route, now)
	return route, true
}

// gone says that a worker's process has ended; bad: not because it was told to.
func (p *pool) gone(id int, bad bool, now time.Time) {
	s := p.slots[id]
	if s == nil {
		return
	}
	switch {
	case s.state == slotStarting && bad:
		p.starts.fail(now)
	case s.state == slotServing:
		delete(p.routes, s.route)
		if bad {
			p.died(s.route, now.Sub(s.since) < soonDead, now)
		}
	}
	delete(p.slots, id)
}

func (p *pool) died(route trust.Route, soon bool, now time.Time) {
	if !soon {
		delete(p.deaths, route)
		return
	}
	b := p.deaths[route]
	if b == nil {
		for r, b := range p.deaths {
			if b.stale(now) || len(p.deaths) >= maxDeaths {
				delete(p.deaths, r)
			}
		}
		b = &backoff{free: 5, first: 100 * time.Millisecond, most: 30 * time.Second}
		p.deaths[route] = b
	}
	b.fail(now)
}

// busy says whether a worker has anything to do, and whether it has had since it was last asked.
func (p *pool) busy(id int, busy, served bool, now time.Time) {
	s := p.slots[id]
	if s == nil || s.state != slotServing {
		return
	}
	s.used = s.used || served
	switch {
	case busy:
		s.quiet = time.Time{}
	case served || s.quiet.IsZero():
		s.quiet = now
	}
}

// sweep returns workers that have had nothing to do for long enough; they are to be ended.
func (p *pool) sweep(now time.Time) (ids []int) {
	for _, s := range p.routes {
		keep := p.idle
		if !s.used {
			keep = min(keep, unusedFor)
		}
		if !s.quiet.IsZero() && now.Sub(s.quiet) >= keep {
			ids = append(ids, s.id)
		}
	}
	for _, id := range ids {
		p.end(id)
	}
	return ids
}

// close lets no new route in and starts no worker any more; it returns the workers without a route.
func (p *pool) close() (ids []int) {
	p.closed = true
	p.waiting = nil
	for _, s := range p.slots {
		if s.state == slotStarting || s.state == slotReady {
			ids = append(ids, s.id)
		}
	}
	return ids
}
