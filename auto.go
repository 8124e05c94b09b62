package clonecloud

import (
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/analysis"
	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/learned"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// lessons is what a run with OffloadAuto knows from earlier ones and leaves to later ones.
type lessons struct {
	store  learned.Store
	key    learned.Key
	speed  float64
	facts  device.Situation // RTT and Rate of the cloud's link, as far as they are known
	before *learned.Figures // nil: nothing is known
	same   bool             // before is of runs with the same arguments
	begin  time.Time
	// delayed says that a clone is not made ready at once.
	delayed bool

	mu    sync.Mutex
	auto  *device.Auto    // guarded by mu
	cands []analysis.Func // guarded by mu
}

// Without a promise a clone is made ready only if the run takes longer than earlier ones did, by this much.
const (
	surprise      = 1.5
	surpriseSlack = 50 * time.Millisecond
	skips         = 15 // runs in a row, then one tries whether things have changed
)

// recall is runner.Config.Begin: where runs with the same arguments would not have gained by a clone, this one gets by
// without, a process of an application as long as it is like them. Otherwise prepare begins to connect.
func (l *lessons) recall(module wire.ID, prepare func()) time.Duration {
	l.key.Module = module
	l.before, l.same = l.store.Recall(l.key)
	if l.before != nil && l.same && l.before.Wall.N > 0 {
		a := device.NewAuto(l.speed)
		a.Ready, a.Guest = l.before.Ready, time.Duration(l.before.Guest.V)
		for i, f := range l.before.Functions {
			a.Prime(uint32(i), f, true)
		}
		if l.delayed = !a.Promises(l.facts) && l.before.Skipped < skips; l.delayed {
			return time.Duration(surprise*l.before.Wall.V) + surpriseSlack
		}
	}
	prepare()
	return 0
}

// policy makes the policy `auto`. Of a program by the Go compiler only exports are measured: its other functions
// return early and are entered again whenever a goroutine gives way, so that their times mean nothing.
func (l *lessons) policy(r *analysis.Report, cands []analysis.Func) device.Policy {
	a := device.NewAuto(l.speed)
	known := map[uint32]learned.Function{}
	if l.before != nil {
		a.Ready = l.before.Ready
		for _, f := range l.before.Functions {
			known[f.Index] = f
		}
	}
	for id, f := range cands {
		if k, ok := known[f.Index]; ok {
			a.Prime(uint32(id), k, l.same)
		}
		if r.Go && !f.Exported {
			a.Ignore(uint32(id))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.auto, l.cands = a, cands
	return a
}

// skipped keeps that a run did without a clone. One that took longer than those before has the next one find out why.
func (l *lessons) skipped(wall, guest time.Duration) {
	f := *l.before
	f.Runs++
	if f.Skipped++; float64(wall) > surprise*f.Wall.V+float64(surpriseSlack) {
		f.Skipped = skips
	}
	f.Wall.Add(float64(wall))
	f.Guest.Add(float64(guest))
	_ = l.store.Learn(l.key, &f, l.begin)
}

// leave keeps what the run has learned. What cannot be kept makes later runs slower and is no error of this one.
func (l *lessons) leave(wall, guest, ready time.Duration, vain bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.store.Dir == "":
		return
	case l.auto == nil && l.delayed:
		l.skipped(wall, guest)
		return
	case l.auto == nil:
		return
	}
	f := &learned.Figures{Runs: 1}
	if l.before != nil {
		f.Runs, f.Ready = l.before.Runs+1, l.before.Ready
		if l.same {
			f.Wall, f.Guest = l.before.Wall, l.before.Guest
		}
	}
	f.Wall.Add(float64(wall))
	f.Guest.Add(float64(guest))
	switch {
	case l.before != nil && l.delayed && (ready == 0 || vain):
		f.Vain, f.Skipped = l.before.Vain, l.before.Skipped+1
	case vain:
		// Once may be for code that was not in place yet.
		if f.Vain = 1; l.before != nil && l.before.Vain > 0 {
			f.Vain, f.Ready = l.before.Vain+1, ready
		}
	case ready > 0:
		f.Ready = ready
	}
	for id, c := range l.cands {
		if k, ok := l.auto.Figures(uint32(id)); ok {
			k.Index = c.Index
			f.Functions = append(f.Functions, k)
		}
	}
	_ = l.store.Learn(l.key, f, l.begin)
}
