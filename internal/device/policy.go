package device

import (
	"math/rand/v2"
	"time"
)

// Choice is what a policy answers at the entry of an armed candidate.
type Choice uint8

// The choices.
const (
	RunLocal Choice = iota // here, and tell the policy how long it took
	RunClone               // on the clone
	Disarm                 // here, and clear the flag: the candidate is too fine to be asked about
)

// String implements fmt.Stringer.
func (c Choice) String() string {
	switch c {
	case RunClone:
		return "clone"
	case Disarm:
		return "disarm"
	}
	return "local"
}

// Decision is a policy's answer, and what the call would take here and on the clone as far as it can tell; 0: it
// cannot.
type Decision struct {
	Choice       Choice
	Local, Clone time.Duration
}

// Situation is what a policy knows of the moment. All figures come from outside: a policy reads no clock.
type Situation struct {
	Now   time.Duration // since the run began
	Ready bool          // a clone is connected and its code is in place
	Depth int           // candidates that are running here around this one
	Up    uint64        // bytes that an offload would send now, estimated
	// Find finds Up more exactly, which takes time; nil: there is no better estimate.
	Find func() uint64
	RTT  time.Duration
	Rate float64 // bytes per second, both ways; 0: not known
}

// find makes Up as exact as it can be.
func (s *Situation) find() {
	if s.Find != nil {
		s.Up, s.Find = s.Find(), nil
	}
}

// Outcome is what an offload turned out to be.
type Outcome struct {
	OK        bool
	Total     time.Duration // on the device, from entry to merged
	Exec      time.Duration // on the clone
	Up, Down  uint64        // of state
	HomeCalls int
	Bytes     uint64 // of home calls and output
}

// LocalRun is what a call that ran here turned out to be.
type LocalRun struct {
	Took      time.Duration
	Pure      bool   // nothing below it was offloaded
	HomeCalls int    // that it would have made on a clone
	Bytes     uint64 // of these calls, and of output
	Looked    bool   // Wrote is known
	Wrote     uint64 // bytes of memory, as pages
}

// Policy decides for each call of an armed candidate. Implementations are plain state machines: no clock, no
// goroutine; the generator of a Forced one is seeded. One goroutine at a time.
type Policy interface {
	// Enter is asked at each entry of an armed candidate.
	Enter(id uint32, s Situation) Decision
	// Left reports the end of a RunLocal call.
	Left(id uint32, r LocalRun)
	// Offloaded reports the end of a RunClone call, good or bad.
	Offloaded(id uint32, now time.Duration, o Outcome)
	// Overdue tells whether a running offload should be overtaken by a local run; wait is the part of elapsed
	// that went into home calls.
	Overdue(id uint32, elapsed, wait time.Duration) bool
	// Rearm names candidates that were disarmed and should be asked about again.
	Rearm(now time.Duration) []uint32
}

// Patient is a policy that tells, from what it knows of a candidate, how long a call may wait for a clone that is not ready;
// from now on; false: nothing is known, and what the configuration says holds. RTT and Rate of the situation are remembered.
type Patient interface {
	Patience(id uint32, s Situation) (time.Duration, bool)
}

// Never keeps everything on the device. It is asked only when candidates are armed all the same.
type Never struct{ noFeedback }

// Enter implements Policy.
func (Never) Enter(uint32, Situation) Decision { return Decision{Choice: Disarm} }

type noFeedback struct{}

func (noFeedback) Left(uint32, LocalRun)                             {}
func (noFeedback) Offloaded(uint32, time.Duration, Outcome)          {}
func (noFeedback) Overdue(uint32, time.Duration, time.Duration) bool { return false }
func (noFeedback) Rearm(time.Duration) []uint32                      { return nil }

// Forced sends calls whether that pays or not: all of the first First calls of each candidate, and of the later
// ones a seeded sample. It is what `--offload always`, a list of functions, and the equivalence suites use.
type Forced struct {
	noFeedback
	Only   map[uint32]bool // nil: all candidates
	First  int             // calls of each candidate that are all sent; 0 means 16
	Sample float64         // share of the later ones
	// Skip is the share of the First calls that stay all the same, so that what they call moves; and the Depth
	// outermost candidates on the stack always stay.
	Skip  float64
	Depth int
	rng   *rand.Rand
	calls map[uint32]int
}

// NewForced returns a policy whose sample follows from seed.
func NewForced(seed uint64, first int, sample float64) *Forced {
	if first == 0 {
		first = 16
	}
	return &Forced{First: first, Sample: sample, rng: rand.New(rand.NewPCG(seed, 0xc10e)), calls: map[uint32]int{}}
}

// Enter implements Policy.
func (f *Forced) Enter(id uint32, s Situation) Decision { return Decision{Choice: f.choose(id, s)} }

func (f *Forced) choose(id uint32, s Situation) Choice {
	if f.Only != nil && !f.Only[id] {
		return Disarm
	}
	if !s.Ready {
		return RunLocal
	}
	if s.Depth < f.Depth {
		return RunLocal
	}
	f.calls[id]++
	if f.calls[id] <= f.First {
		if f.Skip > 0 && f.rng.Float64() < f.Skip {
			return RunLocal
		}
		return RunClone
	}
	if f.rng.Float64() < f.Sample {
		return RunClone
	}
	if f.Sample == 0 && f.Depth == 0 {
		return Disarm
	}
	return RunLocal
}
