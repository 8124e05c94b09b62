package clonecloud

import (
	"io"
	"runtime/debug"
	"time"

	"github.com/clonecloud/clonecloud/internal/inspect"
	"github.com/clonecloud/clonecloud/internal/trace"
)

// EventKind says what an Event is about.
type EventKind = trace.Kind

// TraceWriter writes the events of a run to a trace file, see NewTraceWriter.
type TraceWriter = trace.Writer

// Inspection is what a run came to, as its report or its trace tells it, see Inspect.
type Inspection = inspect.Summary

// Errors of Inspect and of what an Inspection writes, for errors.Is.
var (
	// ErrTrace: not a trace, or a damaged one, or one of a later version.
	ErrTrace = trace.ErrFormat
	// ErrInspect: neither a report nor a trace.
	ErrInspect = inspect.ErrInput
	// ErrNoEvents: a report has sums, not events that could be drawn.
	ErrNoEvents = inspect.ErrNoEvents
)

// NewTraceWriter begins a trace in w; its method Emit goes into Config.Events, alone or with others by JoinEvents. What it
// is told is written each second, so that a process that is killed leaves a usable trace, and by Close. If that fails
// the trace ends, fault is told once, and the run goes on; fault may be nil.
func NewTraceWriter(w io.Writer, fault func(error)) (*TraceWriter, error) {
	return trace.NewWriter(w, trace.Header{Created: time.Now().UTC().Format(time.RFC3339), Software: software()}, fault)
}

// software is this module with its version, as far as the build says.
func software() string {
	const path = "github.com/clonecloud/clonecloud"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "clonecloud"
	}
	if info.Main.Path != path { // embedded in another program
		for _, d := range info.Deps {
			if d.Path == path {
				return "clonecloud " + d.Version
			}
		}
		return "clonecloud"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && info.Main.Version == "(devel)" {
			return "clonecloud devel " + s.Value[:min(12, len(s.Value))]
		}
	}
	return "clonecloud " + info.Main.Version
}

// JoinEvents makes one listener for Config.Events out of several; those that are nil are left out.
func JoinEvents(listeners ...func(Event)) func(Event) {
	sinks := make([]trace.Sink, len(listeners))
	for i, l := range listeners {
		sinks[i] = l
	}
	return trace.Tee(sinks...)
}

// Inspect reads a report (a Report as JSON) or a trace, whichever it is.
func Inspect(r io.Reader) (*Inspection, error) { return inspect.Read(r) }
