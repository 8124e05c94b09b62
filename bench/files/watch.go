package main

import (
	"sync"
	"time"

	"github.com/clonecloud/clonecloud"
	"github.com/clonecloud/clonecloud/internal/trace"
)

// trip is what was seen of an offload on the device.
type trip struct {
	took, exec time.Duration
	follows    bool // a version of the directories was pinned for it
	// asked is how often the clone asked for something before all of the process had been sent.
	asked int
	// word is how long after the departure the clone first said something that only a running guest can be the
	// reason of; 0: it did not, until the end.
	word time.Duration
	// wants are the requests for files, given the bytes that went up for them.
	wants int
	given uint64
}

// watch gathers what goes on in the offloads of a process, one at a time.
type watch struct {
	ready chan struct{} // closed when a clone is

	mu       sync.Mutex
	once     bool          // guarded by mu; ready is closed
	done     []trip        // guarded by mu
	departed time.Duration // guarded by mu; -1: nothing is away
	sent     bool          // guarded by mu
	away     trip          // guarded by mu
}

func newWatch() *watch { return &watch{ready: make(chan struct{}), departed: -1} }

// take is told of the events of a process.
func (w *watch) take(e clonecloud.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Kind {
	case trace.Ready:
		if !w.once {
			w.once = true
			close(w.ready)
		}
	case trace.Depart:
		w.away, w.sent, w.departed = trip{}, false, e.At-e.Took
	case trace.Pinned:
		w.away.follows = true
	case trace.Sent:
		w.sent = true
	case trace.FrameReceived:
		if w.departed >= 0 && !w.sent && (e.Op == "files" || e.Op == "home-call") {
			w.away.asked++
		}
	case trace.FilesGiven:
		w.away.wants++
		w.away.given += e.Up
		w.word(e)
	case trace.HomeCall, trace.Output, trace.Note:
		w.word(e)
	case trace.Fallback:
		w.departed = -1
	case trace.Offloaded:
		w.away.took, w.away.exec = e.Took, e.Exec
		w.done = append(w.done, w.away)
		w.departed = -1
	}
}

// word takes in what the clone's guest has caused. Preconditions: w.mu is held.
func (w *watch) word(e clonecloud.Event) {
	if w.departed >= 0 && w.away.word == 0 {
		w.away.word = e.At - e.Took - w.departed
	}
}

// ended returns the offloads that were merged.
func (w *watch) ended() []trip {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]trip(nil), w.done...)
}
