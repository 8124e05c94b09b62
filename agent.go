package clonecloud

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/ambient"
	"github.com/clonecloud/clonecloud/internal/replica/push"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// AgentConfig says which directories an agent keeps in a cloud, and when it may work, see [RunAgent].
type AgentConfig struct {
	// SyncConfig is as for SyncFiles; MaxBytes bounds what is sent of one directory each time it is looked at, and When, where
	// it is set, must agree too.
	SyncConfig
	// Interval is how often the directories are looked at. Default 10 min.
	Interval time.Duration
	// MaxBytesPerDay bounds the bytes that are sent in a day, also over restarts with the same FilesDir; 0: no bound.
	MaxBytesPerDay uint64
	// The agent works while the device is idle (others use at most half of its processors), is charged or has no battery, and
	// reaches the network over something else than a modem. Each of these has it work all the same. What the system does
	// not tell, as all but Linux, counts as good.
	Busy, OnBattery, Metered bool
}

const (
	agentInterval = 10 * time.Minute
	agentSettle   = 20 * time.Second // between two looks that have to agree, or Interval
	agentLooks    = 30               // before what goes on changing is brought all the same
	agentRefresh  = 24 * time.Hour   // after which the cloud is asked for all anew: it may have dropped some
	agentLook     = 5 * time.Second  // how long a look at the device's state is good for
	agentPause    = 15 * time.Second // between two looks while it may not work
)

// RunAgent keeps directories in a cloud until ctx ends, whose error it returns: it looks for changes, waits until these have
// settled, and brings what is new when the device can spare it. A cloud that cannot be reached is tried again later.
func RunAgent(ctx context.Context, cfg AgentConfig) error {
	watch := &ambient.Watch{}
	a := newAgent(cfg, push.System{}, watch.Now)
	return a.work(ctx)
}

// work opens the directories and keeps them in the cloud.
func (a *agent) work(ctx context.Context) error {
	var err error
	if a.syncer, err = newSyncer(a.cfg.SyncConfig, true); err != nil {
		return err
	}
	a.syncer.clock = a.clock
	err = a.run(ctx)
	return errors.Join(err, a.syncer.close())
}

// agent keeps directories in a cloud.
type agent struct {
	cfg     AgentConfig
	clock   push.Clock
	gate    *gate
	budget  *ambient.Budget // nil: there is none
	syncer  *syncer
	brought map[*syncTree]tree.ID // the roots that the cloud has
	fresh   time.Time             // when the cloud was last asked for all
	said    map[string]string     // the last words on a matter, so that they are said once

	mu    sync.Mutex
	spent uint64 // guarded by mu; of what is being brought, as the budget knows
}

func newAgent(cfg AgentConfig, clock push.Clock, look func(time.Time) ambient.State) *agent {
	if cfg.Interval <= 0 {
		cfg.Interval = agentInterval
	}
	if cfg.Log == nil {
		cfg.Log = func(string, ...any) {}
	}
	a := &agent{cfg: cfg, clock: clock, brought: map[*syncTree]tree.ID{}, said: map[string]string{}}
	a.gate = &gate{
		allow: ambient.Allow{Busy: cfg.Busy, Battery: cfg.OnBattery, Metered: cfg.Metered},
		look:  look, clock: clock, log: cfg.Log, also: cfg.When,
	}
	a.cfg.When = a.gate.wait
	if cfg.MaxBytesPerDay > 0 {
		c := Config{FilesDir: cfg.FilesDir}
		a.budget = ambient.OpenBudget(filepath.Join(c.filesDir(), "budget.json"))
		told := cfg.Progress
		a.cfg.Progress = func(p SyncProgress) {
			a.spend(p.Sent)
			if told != nil {
				told(p)
			}
		}
	}
	return a
}

// spend tells the budget of the bytes that were sent of the present directory.
func (a *agent) spend(sent uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.budget == nil || sent <= a.spent {
		return
	}
	if err := a.budget.Spend(a.clock.Now(), sent-a.spent); err != nil {
		a.say("budget", err.Error())
	}
	a.spent = sent
}

// left is how many bytes may be sent now, 0: no bound; false: none.
func (a *agent) left() (uint64, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.spent = 0
	if a.budget == nil {
		return a.cfg.MaxBytes, true
	}
	n := a.budget.Left(a.clock.Now(), a.cfg.MaxBytesPerDay)
	if most := a.cfg.MaxBytes; most > 0 {
		n = min(n, most)
	}
	return n, n > 0
}

// say tells what a person should know, once until something else is said on the matter.
func (a *agent) say(matter, text string) {
	if a.said[matter] != text {
		a.said[matter] = text
		if text != "" {
			a.cfg.Log("%s", text)
		}
	}
}

func (a *agent) run(ctx context.Context) error {
	for {
		if now := a.clock.Now(); now.Sub(a.fresh) >= agentRefresh {
			a.fresh = now
			clear(a.brought)
			for _, t := range a.syncer.trees {
				t.known.Forget()
			}
		}
		for _, t := range a.syncer.trees {
			if err := a.tend(ctx, t); ctx.Err() != nil {
				return context.Cause(ctx)
			} else if err != nil {
				a.say(t.dir, fmt.Sprintf("%s: %v; it is tried again in %v", t.dir, err, a.cfg.Interval))
			}
		}
		if err := a.clock.Sleep(ctx, a.cfg.Interval); err != nil {
			return err
		}
	}
}

// tend brings a directory if it has changed.
func (a *agent) tend(ctx context.Context, t *syncTree) error {
	changed, err := a.settled(ctx, t)
	if err != nil || !changed {
		return err
	}
	most, ok := a.left()
	if !ok {
		a.say("budget", "the budget of the day is used up")
		return nil
	}
	d, v, err := a.syncer.bring(ctx, t, 0, most)
	a.spend(d.Sent)
	if a.budget != nil {
		err = errors.Join(err, a.budget.Keep())
	}
	if err != nil {
		return err
	}
	a.say(t.dir, "")
	if d.Given > 0 {
		a.cfg.Log("%s: %d bytes sent, %d of %d files are in the cloud", t.dir, d.Sent, d.Files-d.Changed, d.FilesTotal)
	}
	if !d.Over {
		a.say("budget", "")
		a.brought[t] = v.Root().Dir
	}
	return nil
}

// settled tells whether a directory is another than the one that was brought, once it has stopped changing.
func (a *agent) settled(ctx context.Context, t *syncTree) (changed bool, err error) {
	var before tree.ID
	for look := range agentLooks {
		if err := a.cfg.When(ctx); err != nil {
			return false, err
		}
		v, err := t.tree.Pin(ctx)
		if err != nil {
			return false, err
		}
		root := v.Root().Dir
		if root == a.brought[t] {
			return false, nil
		}
		if look > 0 && root == before {
			return true, nil
		}
		before = root
		if err := a.clock.Sleep(ctx, min(agentSettle, a.cfg.Interval)); err != nil {
			return false, err
		}
	}
	return true, nil
}

// gate lets work pass while the device can spare it.
type gate struct {
	allow ambient.Allow
	look  func(time.Time) ambient.State
	clock push.Clock
	log   func(format string, args ...any)
	also  func(ctx context.Context) error // nil: nobody else has a say

	mu   sync.Mutex
	at   time.Time // guarded by mu; of the last look
	why  string    // guarded by mu; what it said
	said string    // guarded by mu
}

// against is the reason not to work now, "" if there is none.
func (g *gate) against() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := g.clock.Now(); g.at.IsZero() || now.Sub(g.at) >= agentLook || now.Before(g.at) {
		g.at, g.why = now, g.look(now).Against(g.allow)
	}
	return g.why
}

// wait is a SyncConfig.When.
func (g *gate) wait(ctx context.Context) error {
	for {
		why := g.against()
		if why == "" {
			break
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		g.tell("it waits: " + why)
		if err := g.clock.Sleep(ctx, agentPause); err != nil {
			return err
		}
	}
	if g.also != nil {
		if err := g.also(ctx); err != nil {
			return err
		}
	}
	g.tell("")
	return nil
}

// tell says once what it waits for, and that it goes on.
func (g *gate) tell(text string) {
	g.mu.Lock()
	before := g.said
	g.said = text
	g.mu.Unlock()
	switch text {
	case before:
	case "":
		g.log("it goes on")
	default:
		g.log("%s", text)
	}
}
