package conformance

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/analysis"
	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Director repeats what a trace tells of, however fast the machines are this time: the same calls move, with the same
// conversation as then, and offloads whose link was lost are cut at the same host call. What else made an offload fail
// comes of itself. It is the policy of the run that it repeats.
type Director struct {
	steps []step
	cuts  map[uint64]int // by offload: after how many calls its link is lost

	names []string // of the candidates
	kill  func()   // ends all conversations

	mu      sync.Mutex
	changed chan struct{} // guarded by mu; closed and replaced with each of the following
	readies int           // guarded by mu; clones that became ready so far
	live    bool          // guarded by mu; the last of them was not lost yet
	next    int           // guarded by mu; step
	offload uint64        // guarded by mu; the present or last one
	calls   int           // guarded by mu; of it, that have come in
	strayed string        // guarded by mu; how the run left the trace first
}

// step is a decision of the policy.
type step struct {
	function, choice string
	clone            int // which of the run's clones, from 1 on; 0: none
}

// patience is how long a replay waits for what the trace says comes next.
const patience = 20 * time.Second

// NewDirector reads what is to be repeated.
func NewDirector(events []trace.Event) (*Director, error) {
	d := &Director{cuts: map[uint64]int{}, changed: make(chan struct{})}
	readies := 0
	for _, e := range events {
		switch {
		case e.Count > 0 && !e.Fine():
			return nil, fmt.Errorf("%w: it counts repeats of %s from %v on, which cannot be told apart", ErrNoRecipe, e.Kind, e.From)
		case e.Kind == trace.Ready:
			readies++
		case e.Kind == trace.Decide && (e.Reason == policyReason || e.Reason == noCloneReason):
			s := step{function: e.Function, choice: e.Choice}
			if e.Choice == device.RunClone.String() {
				s.clone = readies
			}
			d.steps = append(d.steps, s)
		case e.Kind == trace.Fallback && lostReason(e.Reason) == lostLink:
			d.cuts[e.Offload] = e.HomeCalls
		}
	}
	// What was lost before the first offload has no part in it.
	first := slices.IndexFunc(d.steps, func(s step) bool { return s.clone > 0 })
	if first >= 0 {
		for i, n := 0, d.steps[first].clone-1; i < len(d.steps); i++ {
			d.steps[i].clone = max(d.steps[i].clone-n, 0)
		}
	}
	return d, nil
}

// Strayed says how the run left the trace, "" if it did not.
func (d *Director) Strayed() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.strayed == "" && d.next < len(d.steps) {
		return fmt.Sprintf("the trace has %d decisions, the run %d", len(d.steps), d.next)
	}
	return d.strayed
}

// stray notes that the run leaves the trace. Preconditions: mu is held.
func (d *Director) stray(format string, args ...any) {
	if d.strayed == "" {
		d.strayed = fmt.Sprintf(format, args...)
	}
}

// event takes an event of the run.
func (d *Director) event(e trace.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch e.Kind {
	case trace.Ready:
		d.readies++
		d.live = true
	case trace.Lost: // there may be two in a row
		d.live = false
	default:
		return
	}
	close(d.changed)
	d.changed = make(chan struct{})
}

// await waits until what it is given is true. Preconditions: mu is held, as it is when it returns.
func (d *Director) await(what func() bool) bool {
	late := time.After(patience)
	for !what() {
		changed := d.changed
		d.mu.Unlock()
		select {
		case <-changed:
			d.mu.Lock()
		case <-late:
			d.mu.Lock()
			return what()
		}
	}
	return true
}

// policy takes the candidates that the run has.
func (d *Director) policy(_ *analysis.Report, candidates []analysis.Func) device.Policy {
	for _, c := range candidates {
		name := c.Name
		if name == "" {
			name = fmt.Sprintf("function %d", c.Index)
		}
		d.names = append(d.names, name)
	}
	return d
}

// Patience implements device.Patient: a call that moved waits until there is a clone.
func (d *Director) Patience(uint32, device.Situation) (time.Duration, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.next < len(d.steps) && d.steps[d.next].clone > 0 {
		want := d.steps[d.next].clone
		d.await(func() bool { return d.readies >= want })
		return time.Second, true // it is there already
	}
	return 0, true
}

// Enter implements device.Policy.
func (d *Director) Enter(id uint32, s device.Situation) device.Decision {
	d.mu.Lock()
	defer d.mu.Unlock()
	here := device.Decision{Choice: device.RunLocal}
	if d.next >= len(d.steps) {
		d.stray("the run goes on after the trace's last decision, with %s", d.names[id])
		return here
	}
	step := d.steps[d.next]
	if step.function != d.names[id] {
		d.stray("decision %d is of %s, the trace's of %s", d.next+1, d.names[id], step.function)
		return here
	}
	d.next++
	switch step.choice {
	case device.RunClone.String():
		if !s.Ready {
			d.stray("decision %d: no clone, where the trace has one", d.next)
			return here
		}
		d.offload++
		d.calls = 0
		return device.Decision{Choice: device.RunClone} // prepared for by the end of the step before
	case device.Disarm.String():
		here.Choice = device.Disarm
	}
	d.prepare()
	return here
}

// prepare ends conversations until the one that the next step has is the next to begin. Preconditions: mu is held.
func (d *Director) prepare() {
	if d.next >= len(d.steps) || d.strayed != "" {
		return
	}
	for want := d.steps[d.next].clone; want > d.readies; {
		if !d.live {
			if d.readies+1 == want {
				return // Patience waits for it
			}
			if !d.await(func() bool { return d.live }) {
				d.stray("decision %d: no clone came to be ready", d.next+1)
				return
			}
			continue
		}
		d.mu.Unlock()
		d.kill()
		d.mu.Lock()
		if !d.await(func() bool { return !d.live }) {
			d.stray("decision %d: a conversation that was ended goes on", d.next+1)
			return
		}
	}
}

// Offloaded implements device.Policy.
func (d *Director) Offloaded(uint32, time.Duration, device.Outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.prepare()
}

// Left implements device.Policy.
func (d *Director) Left(uint32, device.LocalRun) {}

// Overdue implements device.Policy.
func (d *Director) Overdue(uint32, time.Duration, time.Duration) bool { return false }

// Rearm implements device.Policy.
func (d *Director) Rearm(time.Duration) []uint32 { return nil }

// direct makes a run's dialer one whose links are cut where the trace says.
func (d *Director) direct(dial link.Dialer) link.Dialer {
	return func(ctx context.Context) (link.Link, error) {
		l, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return &directed{l, d}, nil
	}
}

// directed is the device's end of a link.
type directed struct {
	link.Link
	d *Director
}

// Recv cuts the link in place of a call that the trace does not have.
func (l *directed) Recv(ctx context.Context) ([]byte, error) {
	f, err := l.Link.Recv(ctx)
	if err != nil || !l.d.cut(f) {
		return f, err
	}
	l.d.kill()
	l.Close()
	return nil, link.ErrClosed
}

// cut tells whether the link is lost with this frame, and counts the calls.
func (d *Director) cut(f []byte) bool {
	h, err := wire.ParseHeader(f)
	if err != nil {
		return false
	}
	switch h.Type {
	case wire.TypeHomeCall, wire.TypeOutput, wire.TypeNote, wire.TypeReintegrate:
	default:
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if n, ok := offloadOf(f); ok && n != d.offload {
		return false // of an attempt that has ended
	}
	if most, ok := d.cuts[d.offload]; ok && d.calls >= most {
		return true
	}
	if h.Type != wire.TypeReintegrate && h.Flags&wire.FlagMore == 0 {
		d.calls++
	}
	return false
}

// offloadOf tells which offload a frame is of, if the whole message is in it.
func offloadOf(f []byte) (uint64, bool) {
	_, m, err := wire.Decode(f)
	if err != nil {
		return 0, false
	}
	switch m := m.(type) {
	case *wire.HomeCall:
		return m.Offload, true
	case *wire.Output:
		return m.Offload, true
	case *wire.Note:
		return m.Offload, true
	case *wire.Reintegrate:
		return m.Offload, true
	}
	return 0, false
}
