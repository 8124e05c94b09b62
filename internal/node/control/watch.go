package control

import (
	"errors"
	"maps"
	"slices"
	"time"
)

// maxWatches bounds what a worker may announce at once.
const maxWatches = 4096

// Slack is how much longer than its limit announced work may take before its worker is ended: the worker itself ends
// what can be ended in time.
const Slack = 2 * time.Second

// Work is something that may not end.
type Work struct {
	What   string // "offload" or "compile"
	Module ModuleID
	Limit  time.Duration
}

const Compiling = "compile"

// Watches is the daemon's table of the work that one worker has announced. It reads no clock.
type Watches struct{ open map[uint64]watched }

type watched struct {
	Work
	first time.Time // when it began
	last  time.Time // when the worker last said so
}

// Begin notes that work n begins now; same: it has begun before, and its worker is still able to say that it goes on.
func (w *Watches) Begin(n uint64, k Work, same bool, now time.Time) error {
	if w.open == nil {
		w.open = map[uint64]watched{}
	}
	old, ok := w.open[n]
	switch {
	case !ok && len(w.open) >= maxWatches:
		return errors.New("too much work announced")
	case ok && same:
		w.open[n] = watched{k, old.first, now}
	default:
		w.open[n] = watched{k, now, now}
	}
	return nil
}

// End notes that work n has ended.
func (w *Watches) End(n uint64) { delete(w.open, n) }

// Open tells whether there is any.
func (w *Watches) Open() bool { return len(w.open) > 0 }

// Overdue returns work whose worker has been held up by it for longer than its limit, or that has taken longer than the
// most that all of it may take, waiting for the device included.
func (w *Watches) Overdue(most func(what string) time.Duration, now time.Time) (Work, bool) {
	for _, k := range w.open {
		if now.Sub(k.last) > k.Limit+Slack || now.Sub(k.first) > most(k.What)+Slack {
			return k.Work, true
		}
	}
	return Work{}, false
}

// Compiles returns the modules that are being compiled.
func (w *Watches) Compiles() []ModuleID {
	set := map[ModuleID]bool{}
	for _, k := range w.open {
		if k.What == Compiling {
			set[k.Module] = true
		}
	}
	return slices.Collect(maps.Keys(set))
}

// How the worker announces.
const (
	AnnounceTick  = 500 * time.Millisecond
	announceAgain = time.Second
)

// Announcer is the worker's side: it decides what the daemon must be told, which is before the work runs, since code
// may hold up the whole worker. A word takes longer than a short offload does, so offloads that follow each other
// closely share one announcement. What a tick finds at work it announces once more, which shows that the worker is not held
// up. So the daemon sees work begin at most announceAgain and a tick before it does, which slack covers. It reads no clock.
type Announcer struct {
	last    uint64
	entries []*Announced
}

type Announced struct {
	Work
	N       uint64
	active  bool
	started time.Time // of the last work
	first   time.Time // when the daemon was told of a beginning
	told    time.Time // when it was last told anything
}

// Begin starts work; tell: the daemon must be told first.
func (a *Announcer) Begin(k Work, now time.Time) (e *Announced, tell bool) {
	for _, e := range a.entries {
		if !e.active && e.Work == k {
			e.active, e.started = true, now
			if now.Sub(e.told) < announceAgain {
				return e, false
			}
			e.first, e.told = now, now
			return e, true
		}
	}
	a.last++
	e = &Announced{Work: k, N: a.last, active: true, started: now, first: now, told: now}
	a.entries = append(a.entries, e)
	return e, true
}

// End ends work; tell: the daemon is told now, else by a tick. What was being compiled when a worker had to be ended
// is held against the module, so that must be right.
func (a *Announcer) End(e *Announced, now time.Time) (tell bool) {
	e.active, e.started = false, now
	if e.What != Compiling {
		return false
	}
	a.entries = slices.DeleteFunc(a.entries, func(o *Announced) bool { return o == e })
	return true
}

// Tick returns, each AnnounceTick, what to tell: the beginnings, old and new ones, and the numbers of what has ended.
func (a *Announcer) Tick(now time.Time) (begun []Beginning, over []uint64) {
	a.entries = slices.DeleteFunc(a.entries, func(e *Announced) bool {
		same := !e.started.After(e.first)
		switch {
		case e.active && (!same || now.Sub(e.told) >= announceAgain):
			begun = append(begun, e.Beginning(same))
			if e.told = now; !same {
				e.first = now
			}
		case !e.active && now.Sub(e.started) >= AnnounceTick:
			over = append(over, e.N)
			return true
		}
		return false
	})
	return begun, over
}

func (e *Announced) Beginning(same bool) Beginning {
	return Beginning{N: e.N, What: e.What, Module: e.Module, Limit: e.Limit, Same: same}
}
