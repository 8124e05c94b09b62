package device

import (
	"math"
	"slices"
	"time"
)

// What Auto assumes and how far it lets a wrong guess go.
const (
	tripCost      = 150 * time.Microsecond // capture and merge of next to nothing
	speculation   = 20 * time.Millisecond  // that guesses about unknown candidates may cost at the start …
	speculateRate = 0.03                   // … and this share of the run after
	pays          = 0.85                   // an offload must promise at most this share of the local time
	fineCalls     = 3                      // measured calls before a candidate may be called too fine
	firstBackoff  = time.Second
	overdueSlack  = 250 * time.Millisecond
	window        = 64 << 10 // bytes in a round trip on a link of unknown rate
)

// Auto compares, for each call, what it would take here with what it would take on the clone:
//
//	local  =  mean of the measured local runs
//	clone  =  RTT + up/rate + run + down/rate + home calls x RTT + trip
//
// where run is the mean of the clone's measured runs, or local over the assumed speed-up. A candidate that nobody
// has measured is sent on a guess only while all guesses together have cost little (speculation, speculateRate):
// the loss of a wrong guess is bounded by the trip, the loss of never trying is not. That it is slower here is a guess
// too until it has run here: it does once that takes no longer than guesses may cost.
type Auto struct {
	// Speedup is the clone's speed over the device's before anything is measured.
	Speedup float64
	cands   map[uint32]*learned
	wasted  time.Duration
	rearm   map[uint32]time.Duration
}

type learned struct {
	local, exec    mean
	up, down, home mean
	disarms        int
	ignored        bool
	tried          time.Duration // when it was last run here to be measured; 0: never
	failures       int
	backoffUntil   time.Duration
}

// mean is an exponentially weighted mean: the plain mean of the first values, then a quarter of each new one.
type mean struct {
	v float64
	n int
}

func (m *mean) add(x float64) {
	m.n++
	m.v += (x - m.v) / math.Min(float64(m.n), 4)
}

// NewAuto returns the policy `auto`.
func NewAuto(speedup float64) *Auto {
	return &Auto{Speedup: math.Max(speedup, 0.1), cands: map[uint32]*learned{}, rearm: map[uint32]time.Duration{}}
}

// Ignore keeps a candidate on the device for good.
func (a *Auto) Ignore(id uint32) { a.get(id).ignored = true }

func (a *Auto) get(id uint32) *learned {
	l := a.cands[id]
	if l == nil {
		l = &learned{}
		a.cands[id] = l
	}
	return l
}

// Enter implements Policy.
func (a *Auto) Enter(id uint32, s Situation) Decision {
	l := a.get(id)
	d := Decision{Choice: a.choose(id, l, s), Local: time.Duration(a.local(l))}
	if s.Ready && d.Local > 0 {
		d.Clone = a.trip(l, s) + time.Duration(a.exec(l))
	}
	return d
}

func (a *Auto) choose(id uint32, l *learned, s Situation) Choice {
	if l.ignored {
		return Disarm
	}
	speed := a.speedup(l)
	if l.local.n >= fineCalls {
		// Even an offload that moves nothing costs a round trip.
		if gain := l.local.v * (1 - 1/speed); gain < float64(s.RTT+tripCost) {
			l.disarms++
			a.rearm[id] = s.Now + time.Second<<min(l.disarms, 10)
			return Disarm
		}
	}
	if !s.Ready || s.Now < l.backoffUntil {
		return RunLocal
	}
	trip := a.trip(l, s)
	switch {
	case l.local.n == 0 && l.exec.n == 0:
		if speed < 1.5 || a.wasted+trip > budget(s.Now) {
			return RunLocal
		}
		return RunClone
	case l.local.n == 0 && a.measure(l, s.Now):
		l.tried = s.Now
		return RunLocal
	case float64(trip)+a.exec(l) < pays*a.local(l):
		return RunClone
	}
	return RunLocal
}

// measure tells whether to run here what only the clone has run so far. A run that did not measure it, because
// something below it was offloaded, is not repeated soon.
func (a *Auto) measure(l *learned, now time.Duration) bool {
	cost := time.Duration(a.local(l))
	return cost <= budget(now) && (l.tried == 0 || cost <= budget(now-l.tried))
}

// budget is what guesses may have cost by now.
func budget(now time.Duration) time.Duration {
	return speculation + time.Duration(float64(now)*speculateRate)
}

// trip is what an offload costs besides running, in time.
func (a *Auto) trip(l *learned, s Situation) time.Duration {
	bytes := math.Max(float64(s.Up), 0) + l.down.v
	d := float64(s.RTT)*(1+l.home.v) + float64(tripCost)
	if s.Rate > 0 {
		d += bytes / s.Rate * float64(time.Second)
	} else {
		d += bytes / window * float64(s.RTT)
	}
	return time.Duration(d)
}

func (a *Auto) speedup(l *learned) float64 {
	if l.local.n > 0 && l.exec.n > 0 && l.exec.v > 0 {
		return math.Max(l.local.v/l.exec.v, 0.1)
	}
	return a.Speedup
}

func (a *Auto) local(l *learned) float64 {
	if l.local.n > 0 {
		return l.local.v
	}
	return l.exec.v * a.Speedup
}

func (a *Auto) exec(l *learned) float64 {
	if l.exec.n > 0 {
		return l.exec.v
	}
	return l.local.v / a.Speedup
}

// Left implements Policy.
func (a *Auto) Left(id uint32, took time.Duration, pure bool) {
	if pure {
		a.get(id).local.add(float64(took))
	}
}

// Offloaded implements Policy.
func (a *Auto) Offloaded(id uint32, now time.Duration, o Outcome) {
	l := a.get(id)
	if !o.OK {
		l.failures++
		l.backoffUntil = now + firstBackoff<<min(l.failures, 8)
		a.wasted += o.Total
		return
	}
	l.failures = 0
	l.exec.add(float64(o.Exec))
	l.up.add(float64(o.Up))
	l.down.add(float64(o.Down))
	l.home.add(float64(o.HomeCalls))
	if loss := float64(o.Total) - a.local(l); loss > 0 {
		a.wasted += time.Duration(loss)
	}
}

// Overdue implements Policy. What the clone has computed so far counts with its speed-up; when the trip has taken
// longer than computing that here would have, by half and some slack, staying on cannot win any more.
func (a *Auto) Overdue(id uint32, elapsed, wait time.Duration) bool {
	l := a.get(id)
	if l.local.n > 0 {
		return float64(elapsed) > 2*l.local.v+float64(overdueSlack)
	}
	here := float64(max(elapsed-wait, 0)) * a.speedup(l)
	return float64(elapsed) > 1.5*here+float64(overdueSlack)
}

// Rearm implements Policy.
func (a *Auto) Rearm(now time.Duration) []uint32 {
	var due []uint32
	for id, at := range a.rearm {
		if now >= at {
			due = append(due, id)
			delete(a.rearm, id)
			a.get(id).local = mean{}
		}
	}
	slices.Sort(due)
	return due
}
