package trace

import (
	"slices"
	"time"
)

// Bounds of what stands one by one in a trace.
const (
	SameEvents = 1000    // of the same group
	MostEvents = 200_000 // in all
	mostGroups = 1024    // told apart; the rest have no function's name
)

// group is what makes events the same for counting.
type group struct {
	kind                         Kind
	function, choice, reason, op string
}

// fold lets the first events of each group pass and counts the others.
type fold struct {
	groups map[group]*tally
	order  []*tally // with events to tell of, in the order of their first
	passed int
	told   time.Duration // when counts were last told of
}

// tally counts events of a group.
type tally struct {
	seen int
	sum  Event // of those that were not told of; Count 0: none
}

// single tells which kinds are never counted: they come once or twice in a run, and bound it.
func single(k Kind) bool { return k == Begin || k == End || k == Stay }

// take tells whether an event stands for itself, and counts it if not. room tells that there is any.
func (f *fold) take(e *Event, room bool) bool {
	if single(e.Kind) || e.Count > 0 {
		return true
	}
	g := group{e.Kind, e.Function, e.Choice, e.Reason, e.Op}
	t := f.groups[g]
	if t == nil {
		if f.groups == nil {
			f.groups = map[group]*tally{}
		}
		if len(f.groups) >= mostGroups {
			g = group{kind: e.Kind}
			t = f.groups[g]
		}
		if t == nil {
			t = &tally{}
			f.groups[g] = t
		}
	}
	if room && t.seen < SameEvents && f.passed < MostEvents && t.sum.Count == 0 {
		t.seen++
		f.passed++
		return true
	}
	if t.sum.Count == 0 {
		t.sum = Event{Kind: g.kind, Function: g.function, Choice: g.choice, Reason: g.reason, Op: g.op, From: e.At}
		f.order = append(f.order, t)
	}
	t.sum.add(e)
	return false
}

// add takes an event into a sum.
func (e *Event) add(o *Event) {
	e.Count += o.Number()
	e.At = max(e.At, o.At)
	e.EstLocal += o.EstLocal
	e.EstClone += o.EstClone
	e.Took += o.Took
	e.Exec += o.Exec
	e.Up += o.Up
	e.Down += o.Down
	e.Pages += o.Pages
	e.HomeCalls += o.HomeCalls
	e.RTT, e.Rate, e.Done, e.Total = o.RTT, o.Rate, o.Done, o.Total // measures, not amounts: the last
}

// period is how long after the last counts the next are due.
func (f *fold) period(now time.Duration) time.Duration { return max(time.Second, now/64) }

// due gives the counts that are to be told of at now, or in any case.
func (f *fold) due(now time.Duration, anyway bool) []Event {
	if len(f.order) == 0 || !anyway && now-f.told < f.period(now) {
		return nil
	}
	f.told = now
	out := make([]Event, 0, len(f.order))
	for _, t := range f.order {
		out = append(out, t.sum)
		t.sum = Event{}
	}
	f.order = f.order[:0]
	slices.SortStableFunc(out, func(a, b Event) int { return int(a.At - b.At) })
	return out
}
