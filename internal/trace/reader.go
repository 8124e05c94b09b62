package trace

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// Bounds of what a Reader takes.
const (
	MaxLine   = 1 << 20 // bytes of a line
	MaxEvents = 2 << 20 // of a file
)

// ErrFormat marks what is no trace, or a damaged one.
var ErrFormat = errors.New("not a trace")

// Reader reads a trace, and checks each line of it.
type Reader struct {
	r         *bufio.Reader
	header    Header
	line      int
	truncated bool
}

// NewReader reads the header.
func NewReader(r io.Reader) (*Reader, error) {
	t := &Reader{r: bufio.NewReaderSize(r, 64<<10)}
	line, err := t.next()
	switch {
	case errors.Is(err, io.EOF) && len(line) == 0:
		return nil, fmt.Errorf("%w: it is empty", ErrFormat)
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	}
	if err := json.Unmarshal(line, &t.header); err != nil || t.header.Format != Format {
		return nil, fmt.Errorf(`%w: line 1 is not {"format":%q,...}`, ErrFormat, Format)
	}
	if v := t.header.Version; v < 1 || v > Version {
		return nil, fmt.Errorf("%w that this program can read: line 1: version %d; it reads up to %d", ErrFormat, v, Version)
	}
	return t, nil
}

// Header is the file's first line.
func (t *Reader) Header() Header { return t.header }

// Truncated tells, after the end, whether the last line was cut short and left out: the run was killed.
func (t *Reader) Truncated() bool { return t.truncated }

// Next returns the next event, io.EOF after the last.
func (t *Reader) Next() (Event, error) {
	for {
		line, err := t.next()
		last := errors.Is(err, io.EOF) && len(line) > 0
		if err != nil && !last {
			return Event{}, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			if last {
				return Event{}, io.EOF
			}
			continue
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			if last {
				t.truncated = true
				return Event{}, io.EOF
			}
			return Event{}, fmt.Errorf("%w: line %d: %w", ErrFormat, t.line, err)
		}
		if err := e.check(); err != nil {
			return Event{}, fmt.Errorf("%w: line %d: %w", ErrFormat, t.line, err)
		}
		return e, nil
	}
}

// next returns the next line, without its end. With io.EOF comes what stands behind the last one.
func (t *Reader) next() ([]byte, error) {
	var line []byte
	t.line++
	for {
		part, err := t.r.ReadSlice('\n')
		if len(line)+len(part) > MaxLine {
			return nil, fmt.Errorf("%w: line %d has more than %d bytes", ErrFormat, t.line, MaxLine)
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return line[:len(line)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return line, io.EOF
		default:
			return nil, fmt.Errorf("read trace: line %d: %w", t.line, err)
		}
	}
}

// check refuses what no run can have told.
func (e *Event) check() error {
	if e.Kind == "" {
		return errors.New("an event without a kind")
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{
		{"at_ns", e.At}, {"est_local_ns", e.EstLocal}, {"est_clone_ns", e.EstClone}, {"took_ns", e.Took}, {"exec_ns", e.Exec},
		{"here_ns", e.Here}, {"rtt_ns", e.RTT}, {"from_ns", e.From}, {"home_calls", time.Duration(e.HomeCalls)},
		{"count", time.Duration(e.Count)}, {"args", time.Duration(e.Args)},
	} {
		if d.d < 0 {
			return fmt.Errorf("%s is %d, which cannot be less than 0", d.name, int64(d.d))
		}
	}
	if e.Rate < 0 || math.IsInf(e.Rate, 0) || math.IsNaN(e.Rate) {
		return fmt.Errorf("rate is %v", e.Rate)
	}
	return nil
}

// Trace is a whole file.
type Trace struct {
	Header    Header
	Events    []Event
	Truncated bool // see Reader.Truncated
}

// Read reads a whole file.
func Read(r io.Reader) (*Trace, error) {
	t, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	all := &Trace{Header: t.Header()}
	for {
		e, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			all.Truncated = t.Truncated()
			return all, nil
		case err != nil:
			return nil, err
		case len(all.Events) == MaxEvents:
			return nil, fmt.Errorf("%w that this program can read: more than %d events", ErrFormat, MaxEvents)
		}
		all.Events = append(all.Events, e)
	}
}
