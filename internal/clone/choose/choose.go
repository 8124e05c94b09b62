// Package choose decides on which engine of a node the clones of a module run. It is a state machine: no clock, no
// goroutine, no file.
//
// What engines do is measured in polls of the rewritten code, of which the same work makes the same number on every engine:
// polls in a time are a speed, and two engines are compared by the functions that both have run. A module begins on the
// preferred engine, the first. When it has used some time there, another one is tried for a few offloads, as soon as its
// code is in place; from then on the faster one is used, and the slower one is tried again now and then, since programs
// change. A trial costs little beside what was used before, even if it turns out slow. An engine that refuses the module, or
// fails on it, is left.
package choose

import (
	"slices"
	"strings"
	"time"
)

// The figures of the policy. Times are of guests.
const (
	firstTrial  = 2 * time.Second        // used before the first trial of an engine
	againTrial  = time.Minute            // used between two trials, twice as much each time, and at most againMost as much
	againMost   = 64                     //
	trialShare  = 32                     // a trial waits until so many offloads of the mean length have run
	trialRuns   = 32                     // offloads of a trial, at most
	trialTime   = time.Second            // after which a trial that has shown nothing is over
	least       = 500 * time.Microsecond // an offload below this counts for nothing
	enoughTime  = 20 * time.Millisecond  // of a function on an engine, to be compared
	enoughPolls = 200                    // likewise
	margin      = 1.05                   // by which another engine must be faster to be taken
	window      = 30 * time.Second       // what was measured counts half after so much more
	mostFuncs   = 64                     // functions of a module that are told apart
)

// MostEngines is how many engines are told apart.
const MostEngines = 8

// Run is what an offload took.
type Run struct {
	Func  uint32        // by index in the original module
	Polls uint64        // made meanwhile
	Time  time.Duration // without waiting for anybody
	// Disturbed says that something else kept the machine busy: the run's figures count for nothing.
	Disturbed bool
}

// Module is what is known of the engines for one module.
type Module struct {
	engines []*engine
	now     int           // the one in use
	used    time.Duration // all in all
	runs    float64       // offloads that have used it, fewer where they are long ago
	recent  time.Duration // what these have used
}

// engine is one of them.
type engine struct {
	id      string
	refusal string // why it does not take the module; "": it does
	failed  bool   // it broke down over the module
	funcs   map[uint32]*figures
	trials  int           // begun
	at      time.Duration // of Module.used, when the last trial ended
	// The trial that runs, if any. It begins when code is asked for.
	trying  bool
	running bool          // the code is there
	tried   int           // offloads of it
	spent   time.Duration // by them
}

// figures are those of a function on an engine.
type figures struct {
	polls float64
	time  time.Duration
}

// New knows nothing yet of the engines with these ids, the preferred one first, at most MostEngines.
func New(ids []string) *Module {
	m := &Module{}
	for _, id := range ids[:min(len(ids), MostEngines)] {
		m.engines = append(m.engines, &engine{id: id, funcs: map[uint32]*figures{}})
	}
	return m
}

// Choice is what to do next.
type Choice struct {
	// Engine is to run the next offload; -1: all engines refuse the module.
	Engine int
	// Prepare is the one whose code should be made ready beside that; -1: none.
	Prepare int
}

// Peek is the engine that Next would choose if it began no trial.
func (m *Module) Peek(ready func(engine int) bool) int {
	best := m.best()
	if best < 0 || ready(best) {
		return best
	}
	for i := range m.engines {
		if m.usable(i) && ready(i) {
			return i
		}
	}
	return best
}

// Next chooses. ready tells of which engines the code is in place; where it is of none, Engine is the one to wait for.
func (m *Module) Next(ready func(engine int) bool) Choice {
	best := m.best()
	c := Choice{m.Peek(ready), -1}
	switch {
	case best < 0:
		return c
	case !ready(best):
		if c.Engine != best {
			c.Prepare = best
		}
		return c
	}
	if t := m.due(); t >= 0 {
		m.engines[t].begin(ready(t))
		if ready(t) {
			c.Engine = t
		} else {
			c.Prepare = t
		}
	}
	return c
}

// begin begins a trial, if none runs. Once the code is there, only what it shows counts: the program may have changed.
func (e *engine) begin(ready bool) {
	if !e.trying {
		e.trying, e.running, e.tried, e.spent = true, false, 0, 0
		e.trials++
	}
	if ready && !e.running {
		e.running = true
		clear(e.funcs)
	}
}

// usable tells whether an engine can be chosen. Where all that take the module have failed, none is better than another.
func (m *Module) usable(i int) bool {
	if m.engines[i].refusal != "" {
		return false
	}
	return !m.engines[i].failed || !slices.ContainsFunc(m.engines, func(e *engine) bool { return e.refusal == "" && !e.failed })
}

// best is the engine to use as far as is known, -1 if there is none.
func (m *Module) best() int {
	if m.now >= len(m.engines) || !m.usable(m.now) {
		m.now = -1
		for i := range m.engines {
			if m.usable(i) {
				m.now = i
				break
			}
		}
	}
	if m.now < 0 {
		return m.first()
	}
	best, gain := m.now, margin
	for i := range m.engines {
		if r, ok := m.ratio(i, m.now); ok && m.usable(i) && r > gain {
			best, gain = i, r
		}
	}
	if best != m.now {
		old := m.engines[m.now]
		old.at, old.trials = m.used, max(old.trials, 1) // its figures are fresh
		m.engines[best].trying = false
		m.now = best
	}
	return best
}

// first makes the first engine the one in use again, for when one may be usable later.
func (m *Module) first() int {
	m.now = 0
	return -1
}

// ratio is how many times as fast as engine j engine i does the work that both have done; false: none, or too little of it.
func (m *Module) ratio(i, j int) (float64, bool) {
	if i == j {
		return 1, true
	}
	var one, other float64 // time for the same work
	for f, a := range m.engines[i].funcs {
		b := m.engines[j].funcs[f]
		if b == nil || !a.enough() || !b.enough() {
			continue
		}
		other += b.time.Seconds()
		one += b.polls / a.polls * a.time.Seconds()
	}
	if one == 0 {
		return 0, false
	}
	return other / one, true
}

func (f *figures) enough() bool { return f.time >= enoughTime && f.polls >= enoughPolls }

// due is the engine that is to be tried, -1: none.
func (m *Module) due() int {
	for i, e := range m.engines {
		if i == m.now || !m.usable(i) {
			continue
		}
		if e.trying {
			return i
		}
		if wait := max(e.wait(), trialShare*m.mean()); m.used-e.at >= wait {
			return i
		}
	}
	return -1
}

// wait is what the module has to have used since the last trial of an engine.
func (e *engine) wait() time.Duration {
	if e.trials == 0 {
		return firstTrial
	}
	return againTrial * time.Duration(min(1<<min(e.trials-1, 16), againMost))
}

// mean is what an offload takes of late.
func (m *Module) mean() time.Duration {
	if m.runs == 0 {
		return 0
	}
	return time.Duration(float64(m.recent) / m.runs)
}

// Ran takes in what an offload on an engine took. It tells whether another engine is the one to use from now on.
func (m *Module) Ran(i int, r Run) (changed bool) {
	if i < 0 || i >= len(m.engines) || r.Time < 0 {
		return false
	}
	before := m.best()
	e := m.engines[i]
	m.used += r.Time
	m.recent += r.Time
	m.runs++
	if m.recent > window {
		m.recent /= 2
		m.runs /= 2
	}
	if r.Time >= least && !r.Disturbed {
		e.take(r)
	}
	if e.trying {
		e.tried++
		e.spent += r.Time
		_, known := m.ratio(i, before)
		if known || e.tried >= trialRuns || e.spent >= trialTime {
			e.trying, e.at = false, m.used
		}
	}
	return m.best() != before
}

// take adds a run to the figures of its function.
func (e *engine) take(r Run) {
	f := e.funcs[r.Func]
	if f == nil {
		if len(e.funcs) >= mostFuncs {
			e.forget()
		}
		f = &figures{}
		e.funcs[r.Func] = f
	}
	f.polls += float64(r.Polls)
	f.time += r.Time
	if f.time > window {
		f.polls /= 2
		f.time /= 2
	}
}

// forget drops the function that has used least.
func (e *engine) forget() {
	var least uint32
	found := false
	for i, f := range e.funcs {
		if g := e.funcs[least]; !found || f.time < g.time || f.time == g.time && i < least {
			least, found = i, true
		}
	}
	delete(e.funcs, least)
}

// Refused notes that an engine does not take the module, and why, in words.
func (m *Module) Refused(i int, why string) {
	if len(why) > maxText {
		why = strings.ToValidUTF8(why[:maxText-3], "") + "..."
	}
	m.engines[i].refusal = why
	m.engines[i].trying = false
}

// Refusal is why an engine does not take the module, "" if it does as far as is known.
func (m *Module) Refusal(i int) string { return m.engines[i].refusal }

// Failed notes that an engine broke down over the module: it is left for good, if another one is left.
func (m *Module) Failed(i int) {
	m.engines[i].failed = true
	m.engines[i].trying = false
}

// Faster is how many times as fast as engine j engine i is, 0: not known.
func (m *Module) Faster(i, j int) float64 {
	r, _ := m.ratio(i, j)
	return r
}

// Now is the engine in use.
func (m *Module) Now() int { return m.best() }
