// Package trace has the events of a run: what was decided, what moved, what came of it. The device's side makes them; a
// person reads them as lines, programs as the records of a trace file.
//
// # The file
//
// A trace file is text, one JSON object in a line. The first is the Header, {"format":"clonecloud trace","version":1,...};
// each other one is an Event. Lines stand in the order in which events were told of, which is that of at_ns but for what
// several goroutines tell at once. A reader ignores fields and passes over kinds that it does not know. A run that
// was killed leaves a last line that is cut short; a file without an event of kind end is of such a run.
//
// Nothing in a trace is of the program's data: no argument, no variable, no name and no content of a file. Names of functions
// are, as the module gives them; and so are the texts of errors.
//
// A Writer bounds the file. The first SameEvents events of the same kind, function, choice, reason and operation stand in
// it one by one, and MostEvents in all; what comes after them is counted, and told in events with a count, one for
// each period and each such group. A period is a second, or 1/64 of the run's time so far if that is more. So a file has
// some 50 MB at most in single events, and for each group a line a second for a minute, then fewer: some 500 in a day.
package trace

import "time"

// Kind says what an event is about.
type Kind string

// The kinds. Which fields of an Event a kind uses is said here; At any has. Took always ends with At. Up is what went
// to the clone and Down what came from it, in bytes; of function and offload where they are given.
const (
	// Begin: the guest is about to run. Module, Text for the engine and architecture, Args, Took for the start-up.
	Begin Kind = "begin"
	// End: the run is over after Took in all. Reason in a word (returned, exit, trap, exception, stopped, diverged or failed) and
	// Text for how it ended; Here for the guest's time on the device, Exec for that on clones; Up, Down for all frames.
	End Kind = "end"

	// Connected: a conversation with the node has begun, Took after dialing; RTT.
	Connected Kind = "connected"
	// Upload: Done of Total bytes of the module have been handed to the link.
	Upload Kind = "upload"
	// Prepare: the node has the module and makes its code ready.
	Prepare Kind = "prepare"
	// Ready: a clone is ready; Text is its engine and architecture.
	Ready Kind = "ready"
	// Lost: there is no clone until another is ready, or none any more (Final); Text says why.
	Lost Kind = "lost"
	// LinkLost: the link of a conversation failed, which goes on if it is back in time; Text says why, RTT and Rate what the
	// link was worth.
	LinkLost Kind = "link-lost"
	// LinkBack: the conversation goes on over another link, Took after the loss; RTT and Rate.
	LinkBack Kind = "link-back"
	// FrameSent and FrameReceived: a frame of the type Op with Up or Down bytes, before compression.
	FrameSent     Kind = "frame-sent"
	FrameReceived Kind = "frame-received"

	// Decide: where a call of Function runs: Choice, Reason in a word, EstLocal and EstClone (0: not known), Up (bytes that
	// would go).
	Decide Kind = "decide"
	// Waited: a call of Function waited for Took until a clone was ready, or in vain (Final).
	Waited Kind = "waited"
	// Local: a call of Function that ran here returned after Took.
	Local Kind = "local"

	// Synced: the clone said, after a failed attempt, where it stands; Took, Pages that it has written since.
	Synced Kind = "synced"
	// Depart: the process was captured for an offload of Function, in Took: Pages, Up for their bytes.
	Depart Kind = "depart"
	// Pinned: a version of the directories that follow the process was pinned for an offload of Function, in Took.
	Pinned Kind = "pinned"
	// FilesGiven: the clone was given contents of files, in Took: Up bytes; Down is the request.
	FilesGiven Kind = "files-given"
	// Conflict: the device and the clone had changed the same file; Text says how, in a word.
	Conflict Kind = "conflict"
	// Sent: it was handed to the link, in Took: Up bytes, as encoded.
	Sent Kind = "sent"
	// HomeCall: the device carried out the operation Op for the clone, in Took; Down and Up are request and answer.
	HomeCall Kind = "home-call"
	// Output: the device wrote Down bytes for the clone, in Took.
	Output Kind = "output"
	// Note: the clone carried out Op itself and said so.
	Note Kind = "note"
	// Back: the clone has ended the call, which ran for Exec there.
	Back Kind = "back"
	// Received: what it sends back is here, Took after its word that it ended: Pages, Down bytes.
	Received Kind = "received"
	// Merge: that was merged, in Took: Pages, Down bytes.
	Merge Kind = "merge"
	// Offloaded: an offload of Function is merged. Took in all, Exec on the clone, Up and Down in bytes, HomeCalls, Text for
	// the clone's engine.
	Offloaded Kind = "offloaded"
	// Fallback: an offload of Function was given up after Took and runs here; Text says why, Reason in a word; HomeCalls, with
	// output and notes, that the run here is answered from the journal.
	Fallback Kind = "fallback"
	// Replayed: the run here in place of an offload of Function returned after Took.
	Replayed Kind = "replayed"
	// Stay: nothing leaves the device from here on; Text says why.
	Stay Kind = "stay"
	// Forgot: HomeCalls calls of clones had no effect and were not repeated by the run here.
	Forgot Kind = "forgot"
)

// Event is one thing that happened in a run, or many of a kind. Fields that a kind does not use are zero. Times are in
// nanoseconds in JSON.
type Event struct {
	At       time.Duration `json:"at_ns"` // since the run began
	Kind     Kind          `json:"kind"`
	Function string        `json:"function,omitempty"`
	Offload  uint64        `json:"offload,omitempty"` // counts from 1
	Choice   string        `json:"choice,omitempty"`  // local, clone or disarm
	Reason   string        `json:"reason,omitempty"`
	Op       string        `json:"op,omitempty"`
	Text     string        `json:"text,omitempty"`
	Final    bool          `json:"final,omitempty"`
	Module   string        `json:"module,omitempty"` // its SHA-256
	// Name is that of a file or stream which is the reason of a stay or a fallback, or what that says with names in it, or the
	// file of a conflict. It is for who sits at the device, and
	// stands in no trace.
	Name string `json:"-"`
	Args int    `json:"args,omitempty"` // how many

	EstLocal  time.Duration `json:"est_local_ns,omitempty"`
	EstClone  time.Duration `json:"est_clone_ns,omitempty"`
	Took      time.Duration `json:"took_ns,omitempty"`
	Exec      time.Duration `json:"exec_ns,omitempty"`
	Here      time.Duration `json:"here_ns,omitempty"`
	RTT       time.Duration `json:"rtt_ns,omitempty"`
	Rate      float64       `json:"rate,omitempty"` // bytes per second
	Up        uint64        `json:"up,omitempty"`
	Down      uint64        `json:"down,omitempty"`
	Pages     uint64        `json:"pages,omitempty"`
	HomeCalls int           `json:"home_calls,omitempty"`
	Done      uint64        `json:"done,omitempty"`
	Total     uint64        `json:"total,omitempty"`

	// Count, if not 0, says that so many events are told of in this one, which happened from From to At: times and amounts
	// are their sums, and Offload is that of none.
	Count int           `json:"count,omitempty"`
	From  time.Duration `json:"from_ns,omitempty"`
}

// Number is how many events are told of in this one.
func (e *Event) Number() int { return max(e.Count, 1) }

// Fine tells whether the event is of the inner workings, of which there are many: frames, and what goes on inside an
// offload whose end another event tells of.
func (e *Event) Fine() bool {
	switch e.Kind {
	case FrameSent, FrameReceived, HomeCall, Output, Note, Depart, Sent, Back, Received, Merge, Synced, Connected, Pinned, FilesGiven:
		return true
	}
	return false
}

// Sink takes events. Any goroutine of a run may call it, several at once, and some hold locks of the run: it returns soon,
// and uses nothing of the run. A nil Sink is one that nobody listens to.
type Sink func(Event)

// Emit hands an event to the sink, if there is one.
func (s Sink) Emit(e Event) {
	if s != nil {
		s(e)
	}
}

// Tee returns a sink that hands events to all of the sinks that are not nil, in their order; nil if all are.
func Tee(sinks ...Sink) Sink {
	var to []Sink
	for _, s := range sinks {
		if s != nil {
			to = append(to, s)
		}
	}
	switch len(to) {
	case 0:
		return nil
	case 1:
		return to[0]
	}
	return func(e Event) {
		for _, s := range to {
			s(e)
		}
	}
}
