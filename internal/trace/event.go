// Package trace has the events of a run: what was decided, what moved, what came of it. The device's side makes them; a
// person reads them as lines, programs as the records of a trace file.
package trace

import (
	"fmt"
	"strings"
	"time"
)

// Kind says what an event is about.
type Kind string

// The kinds. Which fields of an Event a kind uses is said here; At, and Text for words, any may have.
const (
	// Upload: Done of Total bytes of the module have been handed to the link.
	Upload Kind = "upload"
	// Prepare: the node has the module and makes its code ready.
	Prepare Kind = "prepare"
	// Ready: a clone is ready; Text is its engine and architecture.
	Ready Kind = "ready"
	// Lost: there is no clone until another is ready, or none any more (Final); Text says why.
	Lost Kind = "lost"
	// Decide: the policy was asked at the entry of Function. Choice, EstLocal and EstClone (0: not known), Up (bytes that
	// would go).
	Decide Kind = "decide"
	// Local: a call of Function that ran here returned after Took.
	Local Kind = "local"
	// Offloaded: an offload of Function is merged. Took in all, Exec on the clone, Up and Down in bytes, HomeCalls.
	Offloaded Kind = "offloaded"
	// Fallback: an offload of Function was given up after Took and runs here; Text says why, Reason in a word.
	Fallback Kind = "fallback"
	// Stay: nothing leaves the device from here on; Text says why.
	Stay Kind = "stay"
	// Forgot: HomeCalls calls of clones had no effect and were not repeated by the run here.
	Forgot Kind = "forgot"
)

// Event is one thing that happened in a run. Fields that a kind does not use are zero. Times are in nanoseconds in JSON.
type Event struct {
	At       time.Duration `json:"at_ns"` // since the run began
	Kind     Kind          `json:"kind"`
	Function string        `json:"function,omitempty"`
	Offload  uint64        `json:"offload,omitempty"` // counts from 1
	Choice   string        `json:"choice,omitempty"`  // local, clone or disarm
	Reason   string        `json:"reason,omitempty"`
	Text     string        `json:"text,omitempty"`
	Final    bool          `json:"final,omitempty"`

	EstLocal  time.Duration `json:"est_local_ns,omitempty"`
	EstClone  time.Duration `json:"est_clone_ns,omitempty"`
	Took      time.Duration `json:"took_ns,omitempty"`
	Exec      time.Duration `json:"exec_ns,omitempty"`
	Up        uint64        `json:"up,omitempty"`
	Down      uint64        `json:"down,omitempty"`
	HomeCalls int           `json:"home_calls,omitempty"`
	Done      uint64        `json:"done,omitempty"`
	Total     uint64        `json:"total,omitempty"`
}

// Sink takes events. Any goroutine of a run may call it, several at once; it should return soon, and keep nothing of
// the run waiting. A nil Sink is one that nobody listens to.
type Sink func(Event)

// Emit hands an event to the sink, if there is one.
func (s Sink) Emit(e Event) {
	if s != nil {
		s(e)
	}
}

// String is the event in one line, for people.
func (e Event) String() string {
	var b strings.Builder
	if e.Function != "" {
		b.WriteString(e.Function + ": ")
	}
	us := func(d time.Duration) time.Duration { return d.Round(time.Microsecond) }
	switch e.Kind {
	case Decide:
		b.WriteString(e.Choice)
		if e.EstLocal > 0 || e.EstClone > 0 {
			fmt.Fprintf(&b, ", since here takes about %v and the clone about %v", us(e.EstLocal), us(e.EstClone))
		}
	case Local:
		fmt.Fprintf(&b, "ran here in %v", us(e.Took))
	case Offloaded:
		fmt.Fprintf(&b, "offloaded in %v, %v of it running, %d bytes up, %d down, %d home calls", us(e.Took), us(e.Exec), e.Up, e.Down, e.HomeCalls)
	case Fallback:
		fmt.Fprintf(&b, "fell back after %v: %s", us(e.Took), e.Text)
	case Stay:
		b.WriteString("nothing leaves the device from here on: " + e.Text)
	case Forgot:
		fmt.Fprintf(&b, "forgot %d calls of clones that had no effect and were not repeated", e.HomeCalls)
	case Upload:
		fmt.Fprintf(&b, "module: %d of %d bytes uploaded", e.Done, e.Total)
	case Prepare:
		b.WriteString("the node makes the program's code ready")
	case Ready:
		b.WriteString("a clone is ready: " + e.Text)
	case Lost:
		b.WriteString("no clone: " + e.Text)
	default:
		b.WriteString(string(e.Kind) + " " + e.Text)
	}
	return b.String()
}
