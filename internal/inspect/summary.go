// Package inspect says what a run came to: what ran where, what it took, and where the time went. It reads the report of
// a run or its trace, and writes a page of text, JSON, a page of HTML with a timeline, or the format of Chrome's tracing
// view. Both are files that somebody else may have written: names and texts in them are shown, never trusted.
package inspect

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/trace"
)

// Version is the schema version of Summary.
const Version = 1

// Summary is what a run came to. Times are in nanoseconds in JSON; what the file does not tell is left out.
type Summary struct {
	Version int    `json:"version"`
	Source  string `json:"source"` // trace or report
	// Complete is false for the trace of a run that was killed, or that is not over yet.
	Complete bool   `json:"complete"`
	Module   string `json:"module,omitempty"`
	Engine   string `json:"engine,omitempty"`
	Cloud    string `json:"cloud,omitempty"` // what the clone ran on
	Stay     string `json:"stay,omitempty"`  // why nothing left, or from some time on
	End      string `json:"end,omitempty"`

	Wall      time.Duration `json:"wall_ns"`
	Share     float64       `json:"share"` // of the guest's time that was spent on the clone
	Offloads  int           `json:"offloads"`
	GivenUp   int           `json:"fallbacks"`
	Time      Times         `json:"time"`
	Link      Link          `json:"link"`
	Functions []*Function   `json:"functions"`
	Fallbacks []Fallback    `json:"fallback_list,omitempty"` // the first ones, of a trace

	spans  []span
	losses []loss
	counts []trace.Event // that stand for many
}

// Times says where the time of the run went.
type Times struct {
	Start   time.Duration `json:"start_ns"`
	Device  time.Duration `json:"device_ns"`         // guest here
	Waited  time.Duration `json:"waited_ns"`         // for a clone to be ready
	Capture time.Duration `json:"capture_ns"`        // until the state was read
	Send    time.Duration `json:"send_ns,omitempty"` // until the link had taken it; of a trace
	Run     time.Duration `json:"run_ns"`            // guest on the clone
	Home    time.Duration `json:"home_ns,omitempty"` // carrying out home calls; of a trace
	Receive time.Duration `json:"receive_ns,omitempty"`
	// Transfer is both ways.
	Transfer time.Duration `json:"transfer_ns"`
	Merge    time.Duration `json:"merge_ns"`
	// Rest is what is left of the offloads: messages on the way, and a clone that others kept busy. Of a report, which does
	// not tell them apart, home calls, waiting and what was given up are in it.
	Rest time.Duration `json:"rest_ns"`
	// GivenUp is what offloads took that came to nothing; its parts are in the other figures.
	GivenUp time.Duration `json:"given_up_ns,omitempty"`
}

// offloads is the time of all of them.
func (t *Times) offloads() time.Duration {
	return t.Capture + t.Transfer + t.Run + t.Home + t.Merge + t.Rest
}

// Link is what went over the link, as frames before compression.
type Link struct {
	Up         uint64        `json:"up"`
	Down       uint64        `json:"down"`
	FramesUp   int           `json:"frames_up,omitempty"`
	FramesDown int           `json:"frames_down,omitempty"`
	RTT        time.Duration `json:"rtt_ns,omitempty"` // as last told
	Rate       float64       `json:"rate,omitempty"`   // bytes per second, likewise
	Lost       int           `json:"lost,omitempty"`
	Resumed    int           `json:"resumed"`
	Away       time.Duration `json:"away_ns,omitempty"` // without a link
}

// Function is what became of one function that might move, and was called.
type Function struct {
	Name        string         `json:"name"`
	Calls       int            `json:"calls"` // that were decided on
	Offloads    int            `json:"offloads"`
	Kept        map[string]int `json:"kept,omitempty"`      // here, by reason
	Fallbacks   map[string]int `json:"fallbacks,omitempty"` // by reason
	Device      time.Duration  `json:"device_ns"`
	Clone       time.Duration  `json:"clone_ns"`
	Took        time.Duration  `json:"took_ns,omitempty"` // offloads in all; of a trace
	EstClone    time.Duration  `json:"est_clone_ns,omitempty"`
	Capture     time.Duration  `json:"capture_ns"`
	Transfer    time.Duration  `json:"transfer_ns"`
	Merge       time.Duration  `json:"merge_ns"`
	Up          uint64         `json:"up"`
	Down        uint64         `json:"down"`
	HomeCalls   int            `json:"home_calls"`
	Home        time.Duration  `json:"home_ns,omitempty"`
	OutputBytes uint64         `json:"output_bytes"`
}

// Fallback is an offload that came to nothing.
type Fallback struct {
	At       time.Duration `json:"at_ns"`
	Function string        `json:"function"`
	Offload  uint64        `json:"offload,omitempty"`
	Took     time.Duration `json:"took_ns"`
	Reason   string        `json:"reason"`
	Text     string        `json:"text,omitempty"`
}

// ErrInput marks what is neither a report nor a trace, or a damaged one.
var ErrInput = errors.New("not a report (run --report) or a trace (run --trace)")

// maxReport bounds a report's file.
const maxReport = 64 << 20

// Read reads a report or a trace, whichever it is.
func Read(r io.Reader) (*Summary, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	head, err := in.Peek(4 << 10)
	if len(bytes.TrimSpace(head)) == 0 {
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read: %w", err)
		}
		return nil, fmt.Errorf("%w: it is empty", ErrInput)
	}
	line, _, _ := bytes.Cut(head, []byte("\n"))
	if bytes.HasPrefix(bytes.ReplaceAll(line, []byte(" "), nil), []byte(`{"format":`)) {
		t, err := trace.Read(in)
		if err != nil {
			return nil, err
		}
		return ofTrace(t), nil
	}
	return readReport(in)
}

// readReport reads what run --report writes.
func readReport(in io.Reader) (*Summary, error) {
	b, err := io.ReadAll(io.LimitReader(in, maxReport+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read: %w", err)
	case len(b) > maxReport:
		return nil, fmt.Errorf("%w: more than %d bytes", ErrInput, maxReport)
	}
	var r struct {
		device.Report
		Wall *time.Duration `json:"wall_ns"`
	}
	if err := json.Unmarshal(b, &r); err != nil {
		var at *json.SyntaxError
		if errors.As(err, &at) {
			return nil, fmt.Errorf("%w: byte %d: %w", ErrInput, at.Offset, err)
		}
		return nil, fmt.Errorf("%w: %w", ErrInput, err)
	}
	switch {
	case r.Version == 0 || r.Wall == nil:
		return nil, fmt.Errorf("%w: it is JSON without the fields of a report and without the header of a trace", ErrInput)
	case r.Version > device.ReportVersion || r.Version < 0:
		return nil, fmt.Errorf("%w that this program can read: report of version %d; it reads up to %d", ErrInput, r.Version, device.ReportVersion)
	}
	r.Report.Wall, r.Share = *r.Wall, min(max(r.Share, 0), 1)
	return ofReport(&r.Report), nil
}

// ofReport takes a report.
func ofReport(r *device.Report) *Summary {
	s := &Summary{
		Version: Version, Source: "report", Complete: true, Module: r.Module, Engine: r.Engine, Cloud: r.Cloud, Stay: r.Stay,
		Wall: r.Wall, Share: r.Share, Link: Link{Up: r.LinkUp, Down: r.LinkDown, Resumed: r.Resumed}, Functions: []*Function{},
	}
	s.Offloads, s.GivenUp = r.Offloads()
	s.Time = Times{Start: r.Start, Device: r.Device}
	for _, f := range r.Functions {
		if f.Calls == 0 {
			continue // it might have moved, and was never asked about
		}
		if f.Name == "" {
			f.Name = fmt.Sprintf("function %d", f.Index)
		}
		s.Functions = append(s.Functions, &Function{
			Name: f.Name, Calls: f.Calls, Offloads: f.Offloads, Kept: f.Kept, Fallbacks: f.Fallbacks, Device: f.Device, Clone: f.Clone,
			Capture: f.Capture, Transfer: f.Transfer, Merge: f.Merge, Up: f.Up, Down: f.Down, HomeCalls: f.HomeCalls, OutputBytes: f.OutputBytes,
		})
		s.Time.Run += f.Clone
		s.Time.Capture += f.Capture
		s.Time.Transfer += f.Transfer
		s.Time.Merge += f.Merge
	}
	s.Time.Rest = max(r.Wall-r.Start-r.Device-s.Time.offloads(), 0)
	if s.Offloads+s.GivenUp == 0 {
		s.Time.Waited, s.Time.Rest = s.Time.Rest, 0
	}
	s.order()
	return s
}

// order puts the functions that took longest first.
func (s *Summary) order() {
	slices.SortStableFunc(s.Functions, func(a, b *Function) int {
		return cmp.Or(cmp.Compare(b.weight(), a.weight()), cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Name, b.Name))
	})
}

func (f *Function) weight() time.Duration {
	return max(f.Took, f.Clone+f.Capture+f.Transfer+f.Merge) + f.Device
}

// back counts the fallbacks.
func (f *Function) back() int {
	n := 0
	for k := range maps.Values(f.Fallbacks) {
		n += k
	}
	return n
}

// WriteJSON writes the summary as JSON.
func (s *Summary) WriteJSON(w io.Writer) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
