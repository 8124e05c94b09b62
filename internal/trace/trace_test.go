package trace_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clonecloud/clonecloud/internal/trace"
)

// disk is a file that a test looks at, and that may become full.
type disk struct {
	mu    sync.Mutex
	b     bytes.Buffer
	room  int // 0: any
	tried int // writes after it was full
}

var errFull = errors.New("no space left on device")

func (d *disk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.room > 0 && d.b.Len()+len(p) > d.room {
		d.tried++
		n, _ := d.b.Write(p[:d.room-d.b.Len()])
		return n, errFull
	}
	return d.b.Write(p)
}

func (d *disk) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.b.String()
}

func writer(t testing.TB, w io.Writer, fault func(error)) *trace.Writer {
	t.Helper()
	tw, err := trace.NewWriter(w, trace.Header{Software: "test", Created: "2026-01-02T03:04:05Z"}, fault)
	if err != nil {
		t.Fatal(err)
	}
	return tw
}

// full is an event with something in each field.
func full(t *testing.T) trace.Event {
	t.Helper()
	var e trace.Event
	v := reflect.ValueOf(&e).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("json") == "-" {
			continue
		}
		switch f := v.Field(i); f.Kind() {
		case reflect.Int, reflect.Int64:
			f.SetInt(int64(1000 + i))
		case reflect.Uint64:
			f.SetUint(math.MaxUint64 - uint64(i))
		case reflect.Float64:
			f.SetFloat(1.5)
		case reflect.String:
			f.SetString(fmt.Sprintf("text %d\nwith \"all\" <kinds> of \x1b[2J signs \u2028", i))
		case reflect.Bool:
			f.SetBool(true)
		default:
			t.Fatalf("field %s: this test knows no %v", v.Type().Field(i).Name, f.Kind())
		}
	}
	return e
}

func TestRoundTrip(t *testing.T) {
	want := []trace.Event{{Kind: trace.Begin, Module: "ab"}, full(t), {At: 5, Kind: "of a later version"}, {At: 9, Kind: trace.End, Text: "returned"}}
	var b bytes.Buffer
	w := writer(t, &b, nil)
	for _, e := range want {
		w.Emit(e)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.Emit(trace.Event{Kind: trace.Lost}) // too late
	if err := w.Close(); err == nil {
		t.Error("a trace is closed twice")
	}
	got, err := trace.Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Events, want) || got.Truncated {
		t.Errorf("read %+v, want %+v", got.Events, want)
	}
	if h := got.Header; h.Format != trace.Format || h.Version != 1 || h.Software != "test" || h.Created != "2026-01-02T03:04:05Z" {
		t.Errorf("header %+v", h)
	}
}

// TestNames: the name of a file is told to who listens, and stands in no trace.
func TestNames(t *testing.T) {
	e := trace.Event{Kind: trace.Stay, Text: "read what stays", Name: "/diary\n"}
	if s := e.String(); !strings.HasSuffix(s, ": read what stays: /diary ") {
		t.Errorf("%q", s)
	}
	var b bytes.Buffer
	w := writer(t, &b, nil)
	w.Emit(e)
	if err := w.Close(); err != nil || strings.Contains(b.String(), "diary") || !strings.Contains(b.String(), "what stays") {
		t.Errorf("%v, the trace is %s", err, &b)
	}
}

// TestFlush: what was told stands in the file a second later, so that a killed run leaves it.
func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		w := writer(t, d, nil)
		synctest.Wait()
		if got := strings.Count(d.String(), "\n"); got != 1 {
			t.Errorf("%d lines at once, want the header", got)
		}
		w.Emit(trace.Event{Kind: trace.Ready})
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if got := strings.Count(d.String(), "\n"); got != 2 {
			t.Errorf("%d lines after a second, want 2", got)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestFullDisk: the trace ends, its writer is told so once, and who emits notices nothing.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{room: 10_000}
		var faults []error
		w := writer(t, d, func(err error) { faults = append(faults, err) })
		for range 20 {
			for i := range 100 {
				w.Emit(trace.Event{Kind: trace.Local, Function: fmt.Sprint("f", i)})
			}
			time.Sleep(time.Second)
		}
		err := w.Close()
		if !errors.Is(err, errFull) || len(faults) != 1 || !errors.Is(faults[0], errFull) || !strings.Contains(faults[0].Error(), "the run goes on") {
			t.Errorf("closed with %v, told of %v", err, faults)
		}
		if d.tried != 1 {
			t.Errorf("%d writes after the disk was full", d.tried)
		}
		got, err := trace.Read(strings.NewReader(d.String()))
		if err != nil || !got.Truncated || len(got.Events) == 0 {
			t.Errorf("what is there reads as %d events, truncated %t: %v", len(got.Events), got.Truncated, err)
		}
	})
}

// TestFold: of a hot function's events the first stand one by one, the others are counted, none is lost, and the file
// stays small.
func TestFold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls, seconds = 2_000, 600
		d := &disk{}
		w := writer(t, d, nil)
		begin := time.Now()
		for range seconds {
			for range calls {
				at := time.Since(begin)
				w.Emit(trace.Event{At: at, Kind: trace.Decide, Function: "hot", Choice: "local", Reason: "policy"})
				w.Emit(trace.Event{At: at, Kind: trace.Local, Function: "hot", Took: 3})
			}
			time.Sleep(time.Second)
		}
		w.Emit(trace.Event{At: time.Since(begin), Kind: trace.Decide, Function: "cold", Choice: "clone"})
		w.Emit(trace.Event{At: time.Since(begin), Kind: trace.End})
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := trace.Read(strings.NewReader(d.String()))
		if err != nil {
			t.Fatal(err)
		}
		n, lines := map[trace.Kind]int{}, map[trace.Kind]int{}
		var took, last time.Duration
		for _, e := range got.Events {
			n[e.Kind] += e.Number()
			lines[e.Kind]++
			if e.Kind == trace.Local {
				took += e.Took
			}
			if e.Count > 0 && (e.From > e.At || e.Function != "hot") {
				t.Errorf("counted %+v", e)
			}
			if e.At < last-time.Second {
				t.Errorf("%v after %v", e.At, last)
			}
			last = max(last, e.At)
		}
		if n[trace.Decide] != calls*seconds+1 || n[trace.Local] != calls*seconds || took != 3*calls*seconds {
			t.Errorf("%v events, %v: some are lost", n, took)
		}
		if most := trace.SameEvents + 64 + 64*4; lines[trace.Local] > most || lines[trace.Local] < trace.SameEvents+10 {
			t.Errorf("%d lines of one group in %d s, want at most %d", lines[trace.Local], seconds, most)
		}
		if end := got.Events[len(got.Events)-1]; end.Kind != trace.End {
			t.Errorf("the last event is %+v", end)
		}
	})
}

// TestFoldQuiet: what was counted before a run fell silent stands in the file before it is closed.
func TestFoldQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		w := writer(t, d, nil)
		time.Sleep(500 * time.Millisecond)
		for range 3 * trace.SameEvents {
			w.Emit(trace.Event{At: 500 * time.Millisecond, Kind: trace.Local, Function: "hot"})
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		got, err := trace.Read(strings.NewReader(d.String()))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, e := range got.Events {
			n += e.Number()
		}
		if n != 3*trace.SameEvents {
			t.Errorf("%d events stand in the file, of %d", n, 3*trace.SameEvents)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestMostEvents: however many groups there are, the file is bounded.
func TestMostEvents(t *testing.T) {
	var b bytes.Buffer
	w := writer(t, &b, nil)
	const groups, each = 3000, 100
	for i := range groups * each {
		w.Emit(trace.Event{Kind: trace.Local, Function: fmt.Sprintf("function %d", i%groups), Took: 1})
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := trace.Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range got.Events {
		n += e.Number()
	}
	if n != groups*each {
		t.Errorf("%d events, want %d", n, groups*each)
	}
	if len(got.Events) > trace.MostEvents+2000 {
		t.Errorf("%d lines", len(got.Events))
	}
}

func TestReaderRefuses(t *testing.T) {
	header := `{"format":"clonecloud trace","version":1}` + "\n"
	for name, c := range map[string]struct{ file, want string }{
		"empty":    {"", "it is empty"},
		"text":     {"hello\n", "line 1 is not"},
		"other":    {`{"format":"a log","version":1}` + "\n", "line 1 is not"},
		"later":    {`{"format":"clonecloud trace","version":2}` + "\n", "line 1: version 2; it reads up to 1"},
		"zero":     {`{"format":"clonecloud trace"}` + "\n", "version 0"},
		"no_json":  {header + `{"at_ns":1,"kind":"ready"}` + "\nx\n{}\n", "line 3"},
		"no_kind":  {header + `{"at_ns":1}` + "\n", "line 2: an event without a kind"},
		"negative": {header + `{"kind":"local","took_ns":-5}` + "\n", "line 2: took_ns is -5"},
		"count":    {header + `{"kind":"local","count":-1}` + "\n", "line 2: count is -1"},
		"type":     {header + `{"kind":"local","took_ns":"long"}` + "\n", "line 2"},
		"long":     {header + `{"kind":"` + strings.Repeat("x", trace.MaxLine) + `"}` + "\n", "line 2 has more than 1048576 bytes"},
	} {
		_, err := trace.Read(strings.NewReader(c.file))
		if !errors.Is(err, trace.ErrFormat) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

// TestTruncated: a last line that is cut short is left out, and told of.
func TestTruncated(t *testing.T) {
	file := `{"format":"clonecloud trace","version":1}` + "\n" + `{"at_ns":1,"kind":"ready"}` + "\n" + `{"at_ns":2,"kind":"decide","function":"f"}` + "\n"
	for cut := strings.Index(file, "\n") + 1; cut <= len(file); cut++ {
		got, err := trace.Read(strings.NewReader(file[:cut]))
		if err != nil {
			t.Fatalf("cut to %d bytes: %v", cut, err)
		}
		lines := strings.Split(file[:cut], "\n")[1:]
		rest := lines[len(lines)-1]
		whole := json.Valid([]byte(rest)) // only its end is missing
		want := len(lines) - 1
		if whole {
			want++
		}
		if len(got.Events) != want || got.Truncated != (rest != "" && !whole) {
			t.Errorf("%q reads as %d events, truncated %t", file[:cut], len(got.Events), got.Truncated)
		}
	}
}

func TestTee(t *testing.T) {
	if trace.Tee(nil, nil) != nil {
		t.Error("a listener where nobody listens")
	}
	var got []string
	to := func(name string) trace.Sink { return func(e trace.Event) { got = append(got, name+string(e.Kind)) } }
	trace.Tee(nil, to("a")).Emit(trace.Event{Kind: "1"})
	trace.Tee(to("a"), nil, to("b")).Emit(trace.Event{Kind: "2"})
	trace.Sink(nil).Emit(trace.Event{Kind: "3"})
	if s := strings.Join(got, " "); s != "a1 a2 b2" {
		t.Errorf("handed out %q", s)
	}
}

// TestString: names and texts of others cannot steer a terminal, and each kind has words of its own.
func TestString(t *testing.T) {
	e := full(t)
	seen := map[string]trace.Kind{}
	for _, k := range []trace.Kind{
		trace.Begin, trace.End, trace.Connected, trace.Upload, trace.Prepare, trace.Ready, trace.Lost, trace.LinkLost, trace.LinkBack, trace.FrameSent,
		trace.FrameReceived, trace.Decide, trace.Waited, trace.Local, trace.Synced, trace.Depart, trace.Sent, trace.HomeCall, trace.Output, trace.Note,
		trace.Back, trace.Received, trace.Merge, trace.Offloaded, trace.Fallback, trace.Replayed, trace.Stay, trace.Forgot, "of a later version",
	} {
		e.Kind = k
		s := e.String()
		if strings.ContainsAny(s, "\x1b\n\u2028") {
			t.Errorf("%s: %q", k, s)
		}
		if other, ok := seen[s]; ok {
			t.Errorf("%s and %s read the same: %q", k, other, s)
		}
		seen[s] = k
	}
}

func FuzzRead(f *testing.F) {
	header := `{"format":"clonecloud trace","version":1}` + "\n"
	f.Add([]byte(header + `{"at_ns":1,"kind":"local","function":"f","took_ns":5}` + "\n"))
	f.Add([]byte(header + `{"at_ns":9223372036854775807,"kind":"decide","count":7,"rate":1e308}`))
	f.Add([]byte(header + "\n\n{\"kind\":"))
	f.Add([]byte(`{"format":"clonecloud trace","version":1,"replay":{"a":1}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := trace.Read(bytes.NewReader(b))
		if err != nil {
			if !errors.Is(err, trace.ErrFormat) {
				t.Fatalf("error %v is not of the format", err)
			}
			return
		}
		// What was read can be written and read again.
		var out bytes.Buffer
		w, err := trace.NewWriter(&out, got.Header, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range got.Events {
			_ = e.String()
			w.Emit(e)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		again, err := trace.Read(&out)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Events) < trace.SameEvents && !reflect.DeepEqual(again.Events, got.Events) {
			t.Errorf("%+v became %+v", got.Events, again.Events)
		}
	})
}
