package device

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/clonecloud/clonecloud/internal/learned"
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
	// A clone is waited for if it should be ready before this share of what it gains is gone, and for as long as it may take,
	// with some slack. Where that is not known, the way to it is so many round trips and some work.
	patient    = 0.5
	waitSlack  = 1.5
	readyTrips = 5
	readyWork  = 100 * time.Millisecond
	worthwhile = 2 * time.Millisecond // that a call must be expected to gain for a clone to be made ready for it
)

// Auto compares, for each call, what it would take here with what it would take on the clone:
//
//	local  =  mean of the measured local runs
//	clone  =  RTT x (1 + home calls) + (state up and down + input and output)/rate + run + trip
//
// where run is the mean of the clone's measured runs, or local over the assumed speed-up; home calls, input, output and,
// where the device can tell, what comes back are those of local runs until an offload has shown its own. A candidate that nobody
// has measured is sent on a guess only while all guesses together have cost little (speculation, speculateRate):
// the loss of a wrong guess is bounded by the trip, the loss of never trying is not. That it is slower here is a guess
// too until it has run here: it does once that takes no longer than guesses may cost.
type Auto struct {
	// Speedup is the clone's speed over the device's before anything is measured.
	Speedup float64
	// Ready is how long after its start a program had a clone that was ready, in earlier runs; 0: not known.
	Ready time.Duration
	// Guest is how long the program took in earlier runs, 0: not known.
	Guest  time.Duration
	cands  map[uint32]*lesson
	wasted time.Duration
	rearm  map[uint32]time.Duration
}

// lesson is what is known of one candidate.
type lesson struct {
	learned.Function
	fresh        int // local runs measured since it was armed
	disarms      int
	ignored      bool
	tried        time.Duration // when it was last run here to be measured; 0: never
	backoffUntil time.Duration
}

// NewAuto returns the policy `auto`.
func NewAuto(speedup float64) *Auto {
	return &Auto{Speedup: math.Max(speedup, 0.1), cands: map[uint32]*lesson{}, rearm: map[uint32]time.Duration{}}
}

// Ignore keeps a candidate on the device for good.
func (a *Auto) Ignore(id uint32) { a.get(id).ignored = true }

// Prime gives a candidate the figures of an earlier run. Those of a run with other arguments weigh less than the first that
// this one measures, those with the same arguments as much as some.
func (a *Auto) Prime(id uint32, f learned.Function, same bool) {
	l := a.get(id)
	l.Function = f
	weight := 1
	if same {
		weight = fineCalls
	}
	for _, m := range []*learned.Mean{&l.Local, &l.Exec, &l.Up, &l.Down, &l.Home, &l.Bytes} {
		m.N = min(m.N, weight)
	}
	l.fresh = l.Local.N
	if l.Failures > 0 {
		l.backoffUntil = firstBackoff << min(l.Failures, 8)
	}
}

// Figures are those of a candidate, for a later run; false: there are none.
func (a *Auto) Figures(id uint32) (learned.Function, bool) {
	l := a.cands[id]
	if l == nil || l.Local.N+l.Exec.N+l.Failures == 0 {
		return learned.Function{}, false
	}
	return l.Function, true
}

func (a *Auto) get(id uint32) *lesson {
	l := a.cands[id]
	if l == nil {
		l = &lesson{}
		a.cands[id] = l
	}
	return l
}

// Enter implements Policy.
func (a *Auto) Enter(id uint32, s Situation) Decision {
	l := a.get(id)
	d := Decision{Choice: a.choose(id, l, &s), Local: time.Duration(a.local(l))}
	if s.Ready && d.Local > 0 {
		d.Clone = a.trip(l, s) + time.Duration(a.exec(l))
	}
	return d
}

func (a *Auto) choose(id uint32, l *lesson, s *Situation) Choice {
	if l.ignored {
		return Disarm
	}
	speed := a.speedup(l)
	if l.fresh >= fineCalls {
		// Even an offload that moves nothing costs a round trip.
		if gain := l.Local.V * (1 - 1/speed); gain < float64(s.RTT+tripCost) {
			l.disarms++
			a.rearm[id] = s.Now + time.Second<<min(l.disarms, 10)
			return Disarm
		}
	}
	if !s.Ready || s.Now < l.backoffUntil {
		return RunLocal
	}
	known := l.Local.N > 0 || l.Exec.N > 0
	if known && float64(s.RTT+tripCost)+a.exec(l) >= pays*a.local(l) && l.Local.N > 0 {
		return RunLocal // whatever there is to send, which takes time to find out
	}
	s.find()
	trip := a.trip(l, *s)
	switch {
	case !known:
		if speed < 1.5 || a.wasted+trip > budget(s.Now) {
			return RunLocal
		}
		return RunClone
	case l.Local.N == 0 && a.measure(l, s.Now):
		l.tried = s.Now
		return RunLocal
	case float64(trip)+a.exec(l) < pays*a.local(l):
		return RunClone
	}
	return RunLocal
}

// measure tells whether to run here what only the clone has run so far. A run that did not measure it, because
// something below it was offloaded, is not repeated soon.
func (a *Auto) measure(l *lesson, now time.Duration) bool {
	cost := time.Duration(a.local(l))
	return cost <= budget(now) && (l.tried == 0 || cost <= budget(now-l.tried))
}

// budget is what guesses may have cost by now.
func budget(now time.Duration) time.Duration {
	return speculation + time.Duration(float64(now)*speculateRate)
}

// trip is what an offload costs besides running, in time.
func (a *Auto) trip(l *lesson, s Situation) time.Duration {
	bytes := float64(s.Up) + l.Down.V + l.Bytes.V
	d := float64(s.RTT)*(1+l.Home.V) + float64(tripCost)
	if s.Rate > 0 {
		d += bytes / s.Rate * float64(time.Second)
	} else {
		d += bytes / window * float64(s.RTT)
	}
	return time.Duration(math.Min(d, math.MaxInt64/4))
}

// gain is what the clone is expected to save of a call, as far as that is known.
func (a *Auto) gain(l *lesson, s Situation) time.Duration {
	if l.ignored || l.Local.N+l.Exec.N == 0 || s.Now < l.backoffUntil {
		return 0
	}
	clone := float64(a.trip(l, s)) + a.exec(l)
	if clone >= pays*a.local(l) {
		return 0
	}
	return time.Duration(a.local(l) - clone)
}

// Patience implements Patient. What was waited before is in Now.
func (a *Auto) Patience(id uint32, s Situation) (time.Duration, bool) {
	l := a.get(id)
	if l.Local.N+l.Exec.N == 0 {
		return 0, false
	}
	worth := time.Duration(float64(a.gain(l, s)) * patient)
	ready := a.due(s)
	if ready-s.Now > worth {
		return 0, true
	}
	return min(worth, max(time.Duration(float64(ready)*waitSlack)-s.Now, 0)+tripCost), true
}

// due is how long after its start a run may expect a clone to be ready.
func (a *Auto) due(s Situation) time.Duration {
	return cmp.Or(a.Ready, readyTrips*s.RTT+readyWork)
}

// Promises tells whether any candidate is known to gain by a clone that is ready in time: before the program has ended, or
// soon enough to be waited for.
func (a *Auto) Promises(s Situation) bool {
	for _, l := range a.cands {
		gain, due := a.gain(l, s), a.due(s)
		if gain > worthwhile && (a.Guest == 0 || due < a.Guest || float64(due) <= patient*float64(gain)) {
			return true
		}
	}
	return false
}

func (a *Auto) speedup(l *lesson) float64 {
	if l.Local.N > 0 && l.Exec.N > 0 && l.Exec.V > 0 {
		return math.Max(l.Local.V/l.Exec.V, 0.1)
	}
	return a.Speedup
}

func (a *Auto) local(l *lesson) float64 {
	if l.Local.N > 0 {
		return l.Local.V
	}
	return l.Exec.V * a.Speedup
}

func (a *Auto) exec(l *lesson) float64 {
	if l.Exec.N > 0 {
		return l.Exec.V
	}
	return l.Local.V / a.Speedup
}

// Left implements Policy.
func (a *Auto) Left(id uint32, r LocalRun) {
	if !r.Pure {
		return
	}
	l := a.get(id)
	l.fresh++
	l.Local.Add(float64(r.Took))
	if l.Exec.N > 0 {
		return // an offload has shown more
	}
	l.Home.Add(float64(r.HomeCalls))
	l.Bytes.Add(float64(r.Bytes))
	if r.Looked {
		l.Down.Add(float64(r.Wrote))
	}
}

// Offloaded implements Policy.
func (a *Auto) Offloaded(id uint32, now time.Duration, o Outcome) {
	l := a.get(id)
	if !o.OK {
		l.Failures++
		l.backoffUntil = now + firstBackoff<<min(l.Failures, 8)
		a.wasted += o.Total
		return
	}
	if l.Exec.N == 0 {
		l.Down, l.Home, l.Bytes = learned.Mean{}, learned.Mean{}, learned.Mean{}
	}
	l.Failures = 0
	l.Exec.Add(float64(o.Exec))
	l.Up.Add(float64(o.Up))
	l.Down.Add(float64(o.Down))
	l.Home.Add(float64(o.HomeCalls))
	l.Bytes.Add(float64(o.Bytes))
	if loss := float64(o.Total) - a.local(l); loss > 0 {
		a.wasted += time.Duration(loss)
	}
}

// Overdue implements Policy. What the clone has computed so far counts with its speed-up; when the trip has taken
// longer than computing that here would have, by half and some slack, staying on cannot win any more.
func (a *Auto) Overdue(id uint32, elapsed, wait time.Duration) bool {
	l := a.get(id)
	if l.Local.N > 0 {
		return float64(elapsed) > 2*l.Local.V+float64(overdueSlack)
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
			a.get(id).fresh = 0
		}
	}
	slices.Sort(due)
	return due
}
