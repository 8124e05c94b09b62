package trace

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Format and Version stand in the header of each file.
const (
	Format  = "clonecloud trace"
	Version = 1
)

// Header is the first line of a file.
type Header struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	// Software is what wrote the trace; Created when, in UTC, as RFC 3339 has it.
	Software string `json:"software,omitempty"`
	Created  string `json:"created,omitempty"`
	// Replay is what a test needs to repeat the run; others pass over it.
	Replay json.RawMessage `json:"replay,omitempty"`
}

// Writer bounds.
const (
	flushEvery = time.Second
	flushBytes = 64 << 10 // wake the goroutine that writes
	mostBytes  = 8 << 20  // wait in memory; then events are counted
)

// Writer writes a trace. What it is told waits in memory until a goroutine of its own writes it, each second or when there
// is much, so that a slow disk holds up no run. If writing fails the trace ends there; the run goes on.
type Writer struct {
	w     io.Writer
	fault func(error)
	wake  chan struct{}
	done  chan struct{}

	mu     sync.Mutex
	buf    []byte        // guarded by mu
	fold   fold          // guarded by mu
	at     time.Duration // guarded by mu; of the newest event
	closed bool          // guarded by mu
	err    error         // guarded by mu; nothing is written any more
}

// NewWriter begins a trace in w. fault is told, once, when it cannot be written; nil: nobody is.
func NewWriter(w io.Writer, h Header, fault func(error)) (*Writer, error) {
	h.Format, h.Version = Format, Version
	line, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("write trace: header: %w", err)
	}
	t := &Writer{w: w, fault: fault, wake: make(chan struct{}, 1), done: make(chan struct{}), buf: append(line, '\n')}
	go t.keep()
	return t, nil
}

// Emit takes an event; it is a Sink.
func (t *Writer) Emit(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.err != nil {
		return
	}
	t.at = max(t.at, e.At)
	if e.Kind == End {
		t.counts(t.at, true)
	}
	if t.fold.take(&e, len(t.buf) < mostBytes) {
		t.line(&e)
	}
}

// line appends an event. Preconditions: mu is held.
func (t *Writer) line(e *Event) {
	b, err := json.Marshal(e)
	if err != nil {
		t.err = fmt.Errorf("event %s: %w", e.Kind, err) // of a rate that is no number
		return
	}
	t.buf = append(append(t.buf, b...), '\n')
	if len(t.buf) >= flushBytes {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// counts appends what was counted and is due at now, or in any case. Preconditions: mu is held.
func (t *Writer) counts(now time.Duration, anyway bool) {
	for _, e := range t.fold.due(now, anyway) {
		t.line(&e)
	}
}

// keep writes until the trace is closed or cannot be written.
func (t *Writer) keep() {
	defer close(t.done)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	var spare []byte
	var last, quiet time.Duration // of the newest event, and for how long there has been none since
	for {
		t.mu.Lock()
		if t.at != last {
			last, quiet = t.at, 0
		}
		t.counts(t.at+quiet, t.closed)
		b, closed, err := t.buf, t.closed, t.err
		t.buf = spare[:0]
		t.mu.Unlock()
		if len(b) > 0 && err == nil {
			_, err = t.w.Write(b)
		}
		spare = b
		if err != nil {
			t.fail(err)
			return
		}
		if closed {
			return
		}
		select {
		case <-tick.C:
			quiet += flushEvery
		case <-t.wake:
		}
	}
}

// fail ends the trace.
func (t *Writer) fail(err error) {
	t.mu.Lock()
	t.err, t.buf = err, nil
	t.mu.Unlock()
	if t.fault != nil {
		t.fault(fmt.Errorf("the trace ends here, the run goes on: %w", err))
	}
}

// Close writes what is left. It gives the error that ended the trace before, if one did. Later events are ignored.
func (t *Writer) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return errors.New("trace is closed")
	}
	t.closed = true
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
	<-t.done
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}
