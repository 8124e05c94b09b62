package inspect

import (
	"slices"
	"time"

	"github.com/clonecloud/clonecloud/internal/trace"
)

// Lanes of the timeline.
const (
	laneDevice = iota
	laneLink
	laneClone
	numLanes
)

var laneNames = [numLanes]string{"device", "link", "clone"}

// span is something that took time, for the timeline.
type span struct {
	lane       int
	kind       string // start, local, replay, wait, offload, failed, capture, send, run, home, output, receive, merge, sync, upload, compile, outage
	name       string
	text       string // in more words
	offload    uint64
	start, end time.Duration
	depth      int // in its lane
}

func (s *span) took() time.Duration { return s.end - s.start }

// loss is a moment at which a clone or a link was lost.
type loss struct {
	at   time.Duration
	text string
}

// mostFallbacks is how many of them a summary lists.
const mostFallbacks = 100

// builder takes the events of a trace one by one.
type builder struct {
	s         *Summary
	functions map[string]*Function
	begun     bool
	ended     bool
	last      time.Duration
	offloads  time.Duration // all of them, good or bad
	connected time.Duration
	uploading bool
	preparing time.Duration
	prepares  bool
	sent      time.Duration // of the offload that is away
	away      uint64
	frames    Link
}

// ofTrace takes a trace.
func ofTrace(t *trace.Trace) *Summary {
	b := &builder{s: &Summary{Version: Version, Source: "trace", Functions: []*Function{}}, functions: map[string]*Function{}}
	for i := range t.Events {
		b.take(&t.Events[i])
	}
	b.finish()
	b.s.Complete = b.ended && !t.Truncated
	return b.s
}

// function returns what is known of a function.
func (b *builder) function(name string) *Function {
	f := b.functions[name]
	if f == nil {
		f = &Function{Name: name, Kept: map[string]int{}, Fallbacks: map[string]int{}}
		b.functions[name] = f
		b.s.Functions = append(b.s.Functions, f)
	}
	return f
}

// span notes what an event has just ended. Where the event stands for many there is nothing to draw.
func (b *builder) span(e *trace.Event, lane int, kind, name string) {
	if e.Count == 0 {
		b.spanFrom(e, lane, kind, name, e.At-e.Took)
	}
}

func (b *builder) spanFrom(e *trace.Event, lane int, kind, name string, from time.Duration) {
	b.s.spans = append(b.s.spans, span{
		lane: lane, kind: kind, name: name, text: e.String(), offload: e.Offload, start: max(min(from, e.At), 0), end: e.At,
	})
}

func (b *builder) take(e *trace.Event) {
	b.last = max(b.last, e.At)
	if e.Count > 0 {
		b.s.counts = append(b.s.counts, *e)
	}
	switch e.Kind {
	case trace.Begin, trace.End, trace.Stay:
		b.run(e)
	case trace.Decide, trace.Local, trace.Replayed, trace.Waited:
		b.here(e)
	case trace.Connected, trace.Upload, trace.Prepare, trace.Ready, trace.Lost, trace.LinkLost, trace.LinkBack, trace.FrameSent, trace.FrameReceived:
		b.way(e)
	case trace.Depart, trace.Sent, trace.HomeCall, trace.Output, trace.Back, trace.Received, trace.Merge, trace.Synced, trace.Pinned, trace.FilesGiven:
		b.inside(e)
	case trace.Offloaded, trace.Fallback:
		b.offload(e)
	}
}

// run takes what is of the run as a whole.
func (b *builder) run(e *trace.Event) {
	s := b.s
	switch e.Kind {
	case trace.Begin:
		s.Module, s.Engine, s.Time.Start, b.begun = e.Module, e.Text, e.Took, true
		b.span(e, laneDevice, "start", "start-up")
	case trace.End:
		b.ended = true
		s.End, s.Wall, s.Time.Device, s.Link.Up, s.Link.Down = e.Text, e.Took, e.Here, e.Up, e.Down
		if all := e.Exec + e.Here; all > 0 {
			s.Share = float64(e.Exec) / float64(all)
		}
	case trace.Stay:
		s.Stay = e.Text
	}
}

// here takes what happens on the device.
func (b *builder) here(e *trace.Event) {
	f := b.function(e.Function)
	switch e.Kind {
	case trace.Decide:
		f.Calls += e.Number()
		switch e.Choice {
		case "clone":
			f.EstClone += e.EstClone
		case "disarm":
			f.Kept["disarmed"] += e.Number()
		default:
			f.Kept[e.Reason] += e.Number()
		}
	case trace.Local:
		f.Device += e.Took
		b.span(e, laneDevice, "local", e.Function)
	case trace.Replayed:
		f.Device += e.Took
		b.span(e, laneDevice, "replay", e.Function+", in place of the clone")
	case trace.Waited:
		b.s.Time.Waited += e.Took
		b.span(e, laneDevice, "wait", "waits for a clone")
	}
}

// way takes what happens on the way to the clone.
func (b *builder) way(e *trace.Event) {
	l := &b.s.Link
	if e.RTT > 0 {
		l.RTT = e.RTT
	}
	if e.Rate > 0 {
		l.Rate = e.Rate
	}
	switch e.Kind {
	case trace.FrameSent:
		b.frames.FramesUp += e.Number()
		b.frames.Up += e.Up
	case trace.FrameReceived:
		b.frames.FramesDown += e.Number()
		b.frames.Down += e.Down
	case trace.Connected:
		b.connected, b.uploading = e.At, false
		b.span(e, laneLink, "connect", "connects")
	case trace.Upload:
		b.uploading = true
	case trace.Prepare:
		if b.uploading && e.Count == 0 {
			b.spanFrom(e, laneLink, "upload", "uploads the module", b.connected)
		}
		b.preparing, b.prepares = e.At, true
	case trace.Ready:
		b.s.Cloud = e.Text
		if b.prepares && e.Count == 0 {
			b.spanFrom(e, laneClone, "compile", "makes the code ready", b.preparing)
		}
		b.prepares = false
	case trace.Lost:
		b.lost(e)
	case trace.LinkLost:
		l.Lost += e.Number()
		b.lost(e)
	case trace.LinkBack:
		l.Resumed += e.Number()
		l.Away += e.Took
		b.span(e, laneLink, "outage", "no link")
	}
}

func (b *builder) lost(e *trace.Event) {
	if e.Count == 0 {
		b.s.losses = append(b.s.losses, loss{e.At, e.String()})
	}
}

// inside takes what happens in the course of an offload.
func (b *builder) inside(e *trace.Event) {
	f, t := b.function(e.Function), &b.s.Time
	switch e.Kind {
	case trace.Depart:
		f.Capture += e.Took
		t.Capture += e.Took
		b.span(e, laneDevice, "capture", "capture of "+e.Function)
	case trace.Sent:
		f.Transfer += e.Took
		t.Send += e.Took
		b.span(e, laneLink, "send", e.Function+" goes up")
		b.sent, b.away = e.At, e.Offload
	case trace.Pinned:
		f.Capture += e.Took
		t.Capture += e.Took
		b.span(e, laneDevice, "pin", "pins the files")
	case trace.FilesGiven:
		t.Home += e.Took
		f.Home += e.Took
		b.span(e, laneDevice, "files", "files for the clone")
	case trace.HomeCall:
		f.HomeCalls += e.Number()
		f.Home += e.Took
		t.Home += e.Took
		b.span(e, laneDevice, "home", e.Op+" for the clone")
	case trace.Output:
		f.OutputBytes += e.Down
		b.span(e, laneDevice, "output", "output of the clone")
	case trace.Back:
		t.Run += e.Exec
		f.Clone += e.Exec
		b.onClone(e, "run", e.Function)
	case trace.Received:
		f.Transfer += e.Took
		t.Receive += e.Took
		b.span(e, laneLink, "receive", e.Function+" comes down")
	case trace.Merge:
		f.Merge += e.Took
		t.Merge += e.Took
		b.span(e, laneDevice, "merge", "merge of "+e.Function)
	case trace.Synced:
		b.span(e, laneLink, "sync", "asks the clone where it stands")
	}
}

// onClone notes the time in which an offload was at the clone.
func (b *builder) onClone(e *trace.Event, kind, name string) {
	if e.Count == 0 && b.away == e.Offload && e.Offload != 0 {
		b.spanFrom(e, laneClone, kind, name, b.sent)
		b.away = 0
	}
}

// offload takes the end of one.
func (b *builder) offload(e *trace.Event) {
	f := b.function(e.Function)
	b.offloads += e.Took
	f.Took += e.Took
	f.Up += e.Up
	f.Down += e.Down
	if e.Kind == trace.Offloaded {
		f.Offloads += e.Number()
		b.s.Offloads += e.Number()
		b.span(e, laneDevice, "offload", "offload of "+e.Function)
		return
	}
	f.Fallbacks[e.Reason] += e.Number()
	b.s.GivenUp += e.Number()
	b.s.Time.GivenUp += e.Took
	b.onClone(e, "lost", e.Function+", given up")
	b.span(e, laneDevice, "failed", "fallback of "+e.Function+": "+e.Reason)
	if len(b.s.Fallbacks) < mostFallbacks && e.Count == 0 {
		b.s.Fallbacks = append(b.s.Fallbacks, Fallback{e.At, e.Function, e.Offload, e.Took, e.Reason, e.Text})
	}
}

// finish works out what follows from all events.
func (b *builder) finish() {
	s, t := b.s, &b.s.Time
	t.Transfer = t.Send + t.Receive
	// Output is written while the clone goes on: it is no part of the sum.
	t.Rest = max(b.offloads-t.offloads(), 0)
	if !b.ended {
		s.Wall = b.last
		if b.begun {
			t.Device = max(s.Wall-t.Start-t.Waited-b.offloads, 0)
		}
		if all := t.Run + t.Device; all > 0 {
			s.Share = float64(t.Run) / float64(all)
		}
	}
	if b.frames.Up+b.frames.Down > 0 { // with greetings, and with conversations that came to nothing
		s.Link.Up, s.Link.Down = b.frames.Up, b.frames.Down
	}
	s.Link.FramesUp, s.Link.FramesDown = b.frames.FramesUp, b.frames.FramesDown
	s.order()
	nest(s.spans)
}

// nest gives each span its depth among those of its lane that lie around it.
func nest(spans []span) {
	slices.SortStableFunc(spans, func(a, b span) int {
		switch {
		case a.lane != b.lane:
			return a.lane - b.lane
		case a.start != b.start:
			return sign(a.start - b.start)
		}
		return sign(b.end - a.end)
	})
	var around []time.Duration // the ends of the spans around, outermost first
	for i := range spans {
		if i > 0 && spans[i].lane != spans[i-1].lane {
			around = around[:0]
		}
		for len(around) > 0 && around[len(around)-1] <= spans[i].start {
			around = around[:len(around)-1]
		}
		spans[i].depth = len(around)
		around = append(around, spans[i].end)
	}
}

func sign(d time.Duration) int {
	switch {
	case d < 0:
		return -1
	case d > 0:
		return 1
	}
	return 0
}
