package conformance

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/trace"
)

// recipeVersion is that of Recipe; another one is refused.
const recipeVersion = 1

// Recipe is all that is needed to repeat a run: it stands in the header of the run's trace.
type Recipe struct {
	Version int      `json:"version"`
	Test    string   `json:"test"`
	Case    string   `json:"case"`
	Args    []string `json:"args"`
	Module  string   `json:"module"` // SHA-256

	Device    string        `json:"device"` // engine
	Clone     string        `json:"clone"`  // engine
	Canonical bool          `json:"canonical"`
	Deep      bool          `json:"deep"`
	All       bool          `json:"all"`
	First     int           `json:"first"`
	Sample    float64       `json:"sample"`
	Skip      float64       `json:"skip"`
	Depth     int           `json:"depth"`
	Seed      uint64        `json:"seed"`
	Faults    string        `json:"faults,omitempty"` // as link.ParsePlan reads them
	KillAt    int           `json:"kill_at,omitempty"`
	Grace     time.Duration `json:"grace_ns,omitempty"`
	Tracker   int           `json:"tracker,omitempty"`
	Files     bool          `json:"files,omitempty"`

	// Difference is how the run differed from that on the device alone; "" if it did not.
	Difference string `json:"difference,omitempty"`
}

// NewRecipe says how a case was run.
func NewRecipe(test string, c Case, w Way, difference string) *Recipe {
	sum := sha256.Sum256(c.Module)
	return &Recipe{
		Version: recipeVersion, Test: test, Case: c.Name, Args: c.Args, Module: hex.EncodeToString(sum[:]),
		Device: w.Device, Clone: w.Clone, Canonical: w.Canonical, Deep: w.Deep, All: w.All, First: w.First, Sample: w.Sample, Skip: w.Skip,
		Depth: w.Depth, Seed: w.Seed, Faults: w.Faults.String(), KillAt: w.KillAt, Grace: w.Grace, Tracker: int(w.Tracker), Files: w.Files,
		Difference: difference,
	}
}

// Way is how the run was made.
func (r *Recipe) Way() (Way, error) {
	plan, err := link.ParsePlan(r.Faults)
	if err != nil {
		return Way{}, err
	}
	return Way{
		Device: r.Device, Clone: r.Clone, Canonical: r.Canonical, Deep: r.Deep, All: r.All, First: r.First, Sample: r.Sample, Skip: r.Skip,
		Depth: r.Depth, Seed: r.Seed, Faults: plan, KillAt: r.KillAt, Grace: r.Grace, Tracker: linmem.Tracker(r.Tracker), Files: r.Files, Trace: true,
	}, nil
}

// IsOf tells whether a case runs the module that the recipe is of.
func (r *Recipe) IsOf(c Case) error {
	sum := sha256.Sum256(c.Module)
	if got := hex.EncodeToString(sum[:]); got != r.Module {
		return fmt.Errorf("the trace is of module %.12s, and %s is %.12s now: check out the commit that the trace is of", r.Module, c.Name, got)
	}
	return nil
}

// WriteTrace writes a run as a trace that replays it.
func WriteTrace(w io.Writer, r *Recipe, o *Outcome) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	t, err := trace.NewWriter(w, trace.Header{Software: "internal/conformance", Replay: b}, nil)
	if err != nil {
		return err
	}
	for _, e := range o.Events {
		t.Emit(e)
	}
	return t.Close()
}

// ErrNoRecipe marks a trace that a test cannot repeat.
var ErrNoRecipe = errors.New("cannot replay trace")

// ReadRecipe reads a trace and how to repeat it.
func ReadRecipe(in io.Reader) (*Recipe, []trace.Event, error) {
	t, err := trace.Read(in)
	if err != nil {
		return nil, nil, err
	}
	if t.Header.Replay == nil {
		return nil, nil, fmt.Errorf("%w: its header has no \"replay\": it is of run --trace, and only traces of cut runs say how to repeat the run", ErrNoRecipe)
	}
	r := &Recipe{}
	d := json.NewDecoder(bytes.NewReader(t.Header.Replay))
	d.DisallowUnknownFields()
	if err := d.Decode(r); err != nil {
		return nil, nil, fmt.Errorf("%w: line 1: \"replay\": %w", ErrNoRecipe, err)
	}
	if r.Version != recipeVersion {
		return nil, nil, fmt.Errorf("%w: line 1: \"replay\" has version %d, this test reads %d", ErrNoRecipe, r.Version, recipeVersion)
	}
	return r, t.Events, nil
}

// Outline says what happened on the guest's goroutine, in a line for each event. It is the same for two runs in which the
// same calls moved and the same offloads came to nothing at the same host call. What depends on the moment is left out:
// times, the way to the clone, how much of an offload that failed was sent.
func Outline(events []trace.Event) []string {
	var lines []string
	for i := range events {
		e := &events[i]
		switch e.Kind {
		case trace.Begin, trace.Local, trace.Depart, trace.HomeCall, trace.Output, trace.Note, trace.Merge, trace.Offloaded, trace.Replayed, trace.Stay:
		case trace.Decide:
			// Without a clone nothing moves: that is as good a reason as the policy's.
			reason := e.Reason
			if reason == noCloneReason {
				reason = policyReason
			}
			lines = append(lines, fmt.Sprintf("%s %s %s %s", e.Kind, e.Function, e.Choice, reason))
			continue
		case trace.Fallback:
			lines = append(lines, fmt.Sprintf("%s %s #%d %s after %d calls", e.Kind, e.Function, e.Offload, lostReason(e.Reason), e.HomeCalls))
			continue
		case trace.End:
			lines = append(lines, fmt.Sprintf("%s %s", e.Kind, e.Text))
			continue
		default:
			continue
		}
		line := fmt.Sprintf("%s %s", e.Kind, e.Function)
		if e.Offload > 0 {
			line += fmt.Sprintf(" #%d", e.Offload)
		}
		if e.Op != "" {
			line += " " + e.Op
		}
		if e.Kind == trace.Output || e.Kind == trace.HomeCall {
			line += fmt.Sprintf(" %d bytes", e.Down)
		}
		lines = append(lines, line)
	}
	return lines
}

// Words of the device's that a replay goes by.
const (
	policyReason  = "policy"
	noCloneReason = "no clone"
	lostLink      = "link lost"
	silentClone   = "silent"
)

// lostReason makes one of the reasons that mean that nothing was heard any more.
func lostReason(reason string) string {
	if reason == silentClone {
		return lostLink
	}
	return reason
}
