package inspect

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"time"
)

// ErrNoEvents is why a report cannot be drawn: it has sums, not events.
var ErrNoEvents = errors.New("a report has no events to draw; run with --trace for that")

// chromeEvent is an event of the Chrome trace event format.
type chromeEvent struct {
	Name  string         `json:"name"`
	Cat   string         `json:"cat,omitempty"`
	Phase string         `json:"ph"`
	TS    float64        `json:"ts"` // in microseconds
	Dur   *float64       `json:"dur,omitempty"`
	PID   int            `json:"pid"`
	TID   int            `json:"tid"`
	ID    uint64         `json:"id,omitempty"`
	Bind  string         `json:"bp,omitempty"`
	Scope string         `json:"s,omitempty"`
	Args  map[string]any `json:"args,omitempty"`
}

// Threads of the export: the clone is a process of its own.
func (s *span) thread() (pid, tid int) {
	switch s.lane {
	case laneLink:
		return 1, 2
	case laneClone:
		return 2, 1
	}
	return 1, 1
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }

// WriteChrome writes the run as a JSON array in the Chrome trace event format, which Perfetto and about:tracing show.
func (s *Summary) WriteChrome(w io.Writer) error {
	if s.Source != "trace" {
		return ErrNoEvents
	}
	c := chromeWriter{w: bufio.NewWriter(w)}
	c.header()
	for i := range s.spans {
		c.span(&s.spans[i])
	}
	for _, l := range s.losses {
		c.put(chromeEvent{Name: "lost", Cat: "lost", Phase: "i", TS: micros(l.at), PID: 1, TID: 2, Scope: "p", Args: map[string]any{"text": l.text}})
	}
	for _, e := range s.counts {
		c.put(chromeEvent{Name: "many: " + string(e.Kind), Cat: "counted", Phase: "i", TS: micros(e.At), PID: 1, TID: 1, Scope: "t", Args: map[string]any{
			"function": e.Function, "count": e.Count, "took_us": micros(e.Took), "text": e.String(),
		}})
	}
	return c.end()
}

// chromeWriter writes an array, an event in a line.
type chromeWriter struct {
	w   *bufio.Writer
	any bool
	err error
}

func (c *chromeWriter) put(e chromeEvent) {
	b, err := json.Marshal(e)
	if c.err != nil {
		return
	}
	if err != nil {
		c.err = err
		return
	}
	if c.any {
		c.w.WriteString(",\n")
	} else {
		c.w.WriteString("[\n")
	}
	c.any = true
	c.w.Write(b) // Flush tells of errors
}

func (c *chromeWriter) end() error {
	c.w.WriteString("\n]\n")
	if err := c.w.Flush(); c.err == nil {
		c.err = err
	}
	return c.err
}

func (c *chromeWriter) header() {
	name := func(what string, pid, tid int, name string) {
		c.put(chromeEvent{Name: what, Phase: "M", PID: pid, TID: tid, Args: map[string]any{"name": name}})
	}
	name("process_name", 1, 0, "device")
	name("thread_name", 1, 1, "program")
	name("thread_name", 1, 2, "link")
	name("process_name", 2, 0, "clone")
	name("thread_name", 2, 1, "program")
}

// span writes a span, and the arrows that lead to the clone and back.
func (c *chromeWriter) span(s *span) {
	pid, tid := s.thread()
	dur := micros(s.took())
	e := chromeEvent{Name: s.name, Cat: s.kind, Phase: "X", TS: micros(s.start), Dur: &dur, PID: pid, TID: tid, Args: map[string]any{"text": s.text}}
	if s.offload > 0 {
		e.Args["offload"] = s.offload
	}
	c.put(e)
	if s.offload == 0 {
		return
	}
	up, down := 2*s.offload, 2*s.offload+1
	arrow := func(phase string, at time.Duration, id uint64) {
		a := chromeEvent{Name: "offload", Cat: "offload", Phase: phase, TS: micros(at), PID: pid, TID: tid, ID: id}
		if phase == "f" {
			a.Bind = "e"
		}
		c.put(a)
	}
	switch s.kind {
	case "send":
		arrow("s", s.start, up)
	case "run":
		arrow("f", s.start, up)
		arrow("s", s.end-min(s.took()/2, time.Microsecond), down) // inside, so that viewers find the span
	case "lost":
		arrow("f", s.start, up)
	case "receive":
		arrow("f", s.start, down)
	}
}
