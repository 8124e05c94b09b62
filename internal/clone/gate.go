package clone

import (
	"sync"
	"time"
)

// gate knows how many guests run code, and can hold them up.
//
// Go's garbage collector stops the world, and compiled code of a guest holds that up until it calls the host; meanwhile
// every goroutine waits, those that read links included. So a host that runs in a process of its own collects by
// appointment: it asks the guests to poll, and holds them there until the collection is done.
type gate struct {
	mu     sync.Mutex
	inside int           // guarded by mu; guests that run code
	shut   chan struct{} // guarded by mu; closed when the gate opens; nil: it is open
	empty  chan struct{} // guarded by mu; closed when nobody is inside any more; nil: nobody waits for that
}

// enter waits until guests may run, and counts one.
func (g *gate) enter() {
	for {
		g.mu.Lock()
		shut := g.shut
		if shut == nil {
			g.inside++
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		<-shut
	}
}

// leave counts a guest that does not run for now.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// pass is what a guest's poll does: it lets those through who wait for it, and tells whether anybody did.
func (g *gate) pass() bool {
	g.mu.Lock()
	shut := g.shut != nil
	g.mu.Unlock()
	if shut {
		g.leave()
		g.enter()
	}
	return shut
}

// rest calls f while no guest runs. nudge asks the guests to poll. false: one of them did not within patience, and f
// was not called.
func (g *gate) rest(f, nudge func(), patience time.Duration) bool {
	g.mu.Lock()
	if g.shut != nil {
		g.mu.Unlock()
		return false // somebody else has the appointment
	}
	g.shut = make(chan struct{})
	empty := make(chan struct{})
	if g.inside == 0 {
		close(empty)
	} else {
		g.empty = empty
	}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		close(g.shut)
		g.shut, g.empty = nil, nil
		g.mu.Unlock()
	}()
	// A guest that counts just then may overwrite a request, so it is made again.
	again := time.NewTicker(max(patience/16, time.Millisecond))
	defer again.Stop()
	over := time.NewTimer(patience)
	defer over.Stop()
	for {
		nudge()
		select {
		case <-empty:
			f()
			return true
		case <-again.C:
		case <-over.C:
			return false
		}
	}
}

// Rest calls f while no guest runs code: for a garbage collection, which guests would otherwise hold up together with
// everything else. false: a guest did not poll within patience, and f was not called.
func (h *Host) Rest(f func(), patience time.Duration) bool {
	h.init()
	return h.gate.rest(f, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		for s := range h.sessions {
			if p := s.nudged.Load(); p != nil {
				p.Nudge()
			}
		}
	}, patience)
}
