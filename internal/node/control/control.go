// Package control is what a node's daemon and its workers have between them: the lines that they say to each other, the
// connections that they pass, and the small state machines on both ends of that.
//
// The daemon says Orders and the worker Reports, one JSON object to a line of at most 64 KiB. What a worker reports is
// checked like what a stranger sends.
package control

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// maxLine bounds a line of control.
const maxLine = 64 << 10

// ModuleID names a module: the SHA-256 of its bytes.
type ModuleID [32]byte

// MarshalText implements encoding.TextMarshaler.
func (m ModuleID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, m[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *ModuleID) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(m) {
		return fmt.Errorf("module id of %d digits", len(text))
	}
	_, err := hex.Decode(m[:], text)
	return err
}

func (m ModuleID) String() string { return hex.EncodeToString(m[:4]) }

// Order is a line from the daemon to a worker: the first that is not nil counts. The end of the lines is the end of the
// worker.
type Order struct {
	Setup  *Setup        `json:"setup,omitempty"`
	Assign *Assignment   `json:"assign,omitempty"`
	Chain  [][]byte      `json:"chain,omitempty"` // a newer certificate
	Deny   []Denied      `json:"deny,omitempty"`
	Drain  time.Duration `json:"drain,omitempty"` // take nothing new, finish within that, and end
}

// Setup is what every worker is told first.
type Setup struct {
	Engine string `json:"engine"`
	Dir    string `json:"dir"`   // private to the worker
	Relay  bool   `json:"relay"` // connections come to a listener, not as descriptors
}

// Assignment makes a worker that of one route.
type Assignment struct {
	Route   []byte   `json:"route"`
	Token   []byte   `json:"token"` // its SHA-256
	Chain   [][]byte `json:"chain"` // of certificates, the worker's first
	Modules string   `json:"modules"`
	Code    string   `json:"code"`
	Files   string   `json:"files"` // a folder, or the address of an object store
	// Measures is the folder for what is measured of engines.
	Measures string        `json:"measures"`
	MAC      []byte        `json:"mac"` // the key that compiled code is sealed with
	Grace    time.Duration `json:"grace"`
	Speed    float64       `json:"speed"` // of the machine
	Limits   Limits        `json:"limits"`
}

// Report is a line from a worker to the daemon: the first that is not nil counts.
type Report struct {
	Ready  *Readiness `json:"ready,omitempty"`
	Begin  *Beginning `json:"begin,omitempty"`
	End    uint64     `json:"end,omitempty"`
	Stuck  *Beginning `json:"stuck,omitempty"` // work that goes on though it was told to stop
	Stats  *Stats     `json:"stats,omitempty"`
	Failed string     `json:"failed,omitempty"` // why the worker cannot serve, its last word
}

type Readiness struct {
	Key     []byte   `json:"key"`     // public, PKIX
	Engines []string `json:"engines"` // their names, the preferred one first
	Arch    string   `json:"arch"`
	Listen  string   `json:"listen,omitempty"` // where it takes relayed connections
	Secret  []byte   `json:"secret,omitempty"` // with which they begin
}

// sensible tells whether it is within what a worker may say.
func (r *Readiness) sensible() bool {
	long := func(name string) bool { return len(name) > 64 }
	return len(r.Key) <= 1<<10 && len(r.Engines) > 0 && len(r.Engines) <= maxEngines && !slices.ContainsFunc(r.Engines, long) &&
		len(r.Arch) <= 32 && len(r.Listen) <= 64 && len(r.Secret) <= 64
}

// maxEngines bounds the engines of a worker.
const maxEngines = 8

type Beginning struct {
	N      uint64        `json:"n"`
	What   string        `json:"what"`
	Module ModuleID      `json:"module"`
	Limit  time.Duration `json:"limit"`
	Same   bool          `json:"same,omitempty"` // it goes on
}

// Stats is what a worker is doing.
type Stats struct {
	Seen    uint64            `json:"seen"`   // connections taken over
	Open    int               `json:"open"`   // of them, not ended yet
	Served  uint64            `json:"served"` // that became links, so far
	Links   int               `json:"links"`
	Clones  int               `json:"clones"`
	Running int               `json:"running"`
	Refused map[string]uint64 `json:"refused,omitempty"` // by reason
}

// Same tells whether nothing has changed.
func (s Stats) Same(o Stats) bool {
	if len(s.Refused) != len(o.Refused) {
		return false
	}
	for k, v := range s.Refused {
		if o.Refused[k] != v {
			return false
		}
	}
	return s.Seen == o.Seen && s.Served == o.Served && s.Open == o.Open && s.Links == o.Links && s.Clones == o.Clones && s.Running == o.Running
}

// Idle tells whether nothing goes on that a device could miss.
func (s Stats) Idle() bool { return s.Open == 0 && s.Links == 0 && s.Clones == 0 && s.Running == 0 }

// EncodeLine makes a line of a message.
func EncodeLine(m any) ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if len(b) >= maxLine {
		return nil, fmt.Errorf("line of %d bytes", len(b))
	}
	return append(b, '\n'), nil
}

// Lines reads messages, and bounds what it reads.
type Lines struct{ scan *bufio.Scanner }

func NewLines(r io.Reader) *Lines {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 1<<10), maxLine)
	return &Lines{s}
}

// Next reads one message into m; io.EOF after the last.
func (l *Lines) Next(m any) error {
	if !l.scan.Scan() {
		if err := l.scan.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	return json.Unmarshal(l.scan.Bytes(), m)
}

// ReadReport reads what a worker says and checks it: the code that the worker runs may have taken it over.
func (l *Lines) ReadReport() (*Report, error) {
	var r Report
	if err := l.Next(&r); err != nil {
		return nil, err
	}
	if b := r.Begin; b != nil && (b.N == 0 || b.Limit <= 0 || len(b.What) > 16) {
		return nil, errors.New("announcement makes no sense")
	}
	if s := r.Stats; s != nil && (s.Open < 0 || s.Links < 0 || s.Clones < 0 || s.Running < 0 || len(s.Refused) > len(Reasons)) {
		return nil, errors.New("statistics make no sense")
	}
	if r := r.Ready; r != nil && !r.sensible() {
		return nil, errors.New("first word makes no sense")
	}
	return &r, nil
}
