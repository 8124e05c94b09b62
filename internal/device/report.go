package device

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// ReportVersion is the schema version of Report.
const ReportVersion = 1

// Report says what a run did: which functions went where, and what that took. Times are in nanoseconds in JSON.
type Report struct {
	Version int    `json:"version"`
	Module  string `json:"module"` // SHA-256 of the module
	Engine  string `json:"engine"`
	// Cloud is what the clones ran on, as engine and architecture, in order and with commas between if there was more than
	// one; empty if none was ready.
	Cloud string `json:"cloud,omitempty"`
	// Preparing is how long no call could move because the node made the program's code ready.
	Preparing time.Duration `json:"preparing_ns,omitempty"`
	// Stay says why the module stayed on the device, in words; empty if it could move.
	Stay         string `json:"stay,omitempty"`
	CanonicalNaN bool   `json:"canonical_nan"`
	Tracker      string `json:"tracker,omitempty"`

	Wall     time.Duration `json:"wall_ns"`   // of the whole run, start-up and time between calls included
	Start    time.Duration `json:"start_ns"`  // until the guest's first instruction
	Device   time.Duration `json:"device_ns"` // guest time on the device, its host calls included
	Clone    time.Duration `json:"clone_ns"`  // guest time on the clone, without waiting for the device
	Share    float64       `json:"share"`     // of the guest's time that was spent on the clone
	Overhead uint64        `json:"overhead"`  // bytes of memory that offloading needed on the device, at most
	// LinkUp and LinkDown are all bytes of frames, modules and repetitions included.
	LinkUp   uint64 `json:"link_up"`
	LinkDown uint64 `json:"link_down"`
	Resumed  int    `json:"resumed"` // conversations that went on over a new link
	// Forgot counts calls of clones without an effect that a run here did not repeat: a clone that lied made them.
	Forgot    int              `json:"forgot,omitempty"`
	Functions []FunctionReport `json:"functions"`
	// Conflicts are the files that the device changed while a clone did.
	Conflicts []Conflict `json:"conflicts,omitempty"`
}

// Conflict is a file that was changed on the device and on a clone. Nothing of either is lost.
type Conflict struct {
	Dir   string `json:"dir"`             // the guest's name of the directory
	Path  string `json:"path"`            // in it
	Aside string `json:"aside,omitempty"` // where the version stands that has not the name; empty: there is none
	Kind  string `json:"kind"`
}

// FunctionReport is what became of one candidate.
type FunctionReport struct {
	Name     string `json:"name"`
	Index    uint32 `json:"index"` // in the original module
	Calls    int    `json:"calls"` // that the controller was asked about
	Offloads int    `json:"offloads"`
	// Kept are the calls that ran on the device, by reason.
	Kept      map[string]int `json:"kept,omitempty"`
	Fallbacks map[string]int `json:"fallbacks,omitempty"` // by reason

	Device   time.Duration `json:"device_ns"`   // of local runs, nested ones included
	Clone    time.Duration `json:"clone_ns"`    // of offloaded runs, without waiting for the device
	Capture  time.Duration `json:"capture_ns"`  // until the state was read
	Transfer time.Duration `json:"transfer_ns"` // sending and receiving state
	Merge    time.Duration `json:"merge_ns"`
	Up       uint64        `json:"up"`   // bytes of state
	Down     uint64        `json:"down"` // bytes of state
	FirstUp  uint64        `json:"first_up"`
	PagesUp  uint64        `json:"pages_up"`
	PagesDn  uint64        `json:"pages_down"`

	FilesUp   uint64 `json:"files_up"`   // bytes about files that went to clones
	FilesDown uint64 `json:"files_down"` // bytes of changes of files that came back

	HomeCalls   int    `json:"home_calls"`
	OutputBytes uint64 `json:"output_bytes"`
	// Engines are the offloads by the engine of the clone that they ran on.
	Engines map[string]int `json:"engines,omitempty"`
}

// Offloads counts completed trips and fallbacks over all functions.
func (r *Report) Offloads() (done, fallbacks int) {
	for _, f := range r.Functions {
		done += f.Offloads
		for _, n := range f.Fallbacks {
			fallbacks += n
		}
	}
	return done, fallbacks
}

// Idle tells that no code of the guest was to run for a while.
func (c *Controller) Idle(d time.Duration) { c.idle += d }

// Report says what the run has done so far, as long as the guest does not run.
func (c *Controller) Report() Report {
	c.note()
	r := c.report
	r.Wall = c.now() + r.Start
	r.Functions = slices.Clone(r.Functions)
	for i := range r.Functions {
		f := &r.Functions[i]
		f.Kept, f.Fallbacks, f.Engines = maps.Clone(f.Kept), maps.Clone(f.Fallbacks), maps.Clone(f.Engines)
		r.Clone += f.Clone
	}
	r.Device = max(c.now()-c.inside-c.idle, 0)
	if total := r.Clone + r.Device; total > 0 {
		r.Share = float64(r.Clone) / float64(total)
	}
	if c.cfg.Cloud != nil {
		t := c.cfg.Cloud.totals()
		r.LinkUp, r.LinkDown, r.Resumed = t.up, t.down, t.resumed
		r.Preparing = c.cfg.Cloud.Preparing()
	}
	if len(c.clouds) > 0 {
		r.Cloud = strings.Join(c.clouds, ", ")
	}
	return r
}

// mostClouds bounds the clouds and engines that a report tells apart.
const mostClouds = 8

// ranOn takes an engine of clones into the report.
func (c *Controller) ranOn(engine, arch string) {
	if name := engine + " " + arch; !slices.Contains(c.clouds, name) && len(c.clouds) < mostClouds {
		c.clouds = append(c.clouds, name)
	}
}

// ran counts an offload that ran on an engine.
func (f *FunctionReport) ran(engine string) {
	if f.Engines == nil {
		f.Engines = map[string]int{}
	}
	if _, ok := f.Engines[engine]; !ok && len(f.Engines) >= mostClouds {
		engine = "others"
	}
	f.Engines[engine]++
}

// note takes the memory that offloading needs now into the report's maximum.
func (c *Controller) note() {
	if c.proc == nil || c.proc.Mem == nil {
		return
	}
	c.report.Overhead = max(c.report.Overhead, c.proc.Mem.Overhead()+c.shadow.Bytes())
}
