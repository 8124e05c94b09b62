package device_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/runner"
	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// events plays a case and returns what was told of it, in order.
func events(t *testing.T, c *lie) []trace.Event {
	t.Helper()
	var mu sync.Mutex
	var all []trace.Event
	setup := c.setup
	c.setup = func(cfg *runner.Config) {
		if setup != nil {
			setup(cfg)
		}
		cfg.Events = func(e trace.Event) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, e)
		}
	}
	play(t, c)
	mu.Lock()
	defer mu.Unlock()
	return all
}

// outline has one line for each event of the guest's goroutine.
func outline(all []trace.Event) []string {
	var lines []string
	for _, e := range all {
		switch e.Kind {
		case trace.FrameSent, trace.FrameReceived, trace.Connected, trace.Upload, trace.Prepare, trace.Ready, trace.Lost, trace.Waited:
			continue
		}
		var words []string
		for _, w := range []string{string(e.Kind), e.Function, e.Choice, e.Reason, e.Op} {
			if w != "" {
				words = append(words, w)
			}
		}
		if e.Offload > 0 {
			words = append(words, fmt.Sprintf("#%d", e.Offload))
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return lines
}

// section is what lies between the first line that begins with from and the last one that does with to.
func section(t *testing.T, lines []string, from, to string) []string {
	t.Helper()
	first := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, from) })
	last := -1
	for i, l := range lines {
		if strings.HasPrefix(l, to) {
			last = i
		}
	}
	if first < 0 || last < first {
		t.Fatalf("no %q ... %q in:\n%s", from, to, strings.Join(lines, "\n"))
	}
	return lines[first : last+1]
}

// workTrip does for work what it does, as an honest clone would.
func workTrip(s *stage, result uint64) {
	s.request(wasi.Request{Op: wasi.OpRead, Handle: hIn, Size: 8})
	s.note(wasi.Request{Op: wasi.OpClockTime, Flags: 1}, wasi.Response{Value: 1})
	s.output(2, "work done\n")
	s.back(s.answer(result))
}

func TestEventsOfAnOffload(t *testing.T) {
	all := events(t, &lie{function: "work", script: func(s *stage) {
		s.ready()
		for {
			s.migrate()
			workTrip(s, 1)
		}
	}})
	lines := outline(all)
	want := []string{
		"decide work clone policy", "depart work #1", "sent work #1", "home-call work read #1", "note work clock-time #1", "output work #1",
		"back work #1", "received work #1", "merge work #1", "offloaded work #1",
	}
	i := slices.Index(lines, want[0])
	if i < 0 || !slices.Equal(lines[i:i+len(want)], want) {
		t.Errorf("events:\n%s\nwant among them:\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if lines[0] != "begin" || lines[len(lines)-1] != "end exit" {
		t.Errorf("the run begins with %q and ends with %q", lines[0], lines[len(lines)-1])
	}
	checkFigures(t, all)
}

// checkFigures holds each event to the fields that its kind is documented to have.
func checkFigures(t *testing.T, all []trace.Event) {
	t.Helper()
	seen := map[trace.Kind]int{}
	for _, e := range all {
		seen[e.Kind]++
		bad := ""
		switch e.Kind {
		case trace.Begin:
			if len(e.Module) != 64 || e.Args != 2 || !strings.HasPrefix(e.Text, "wazero-interpreter ") || e.Took <= 0 {
				bad = "module, arguments, engine or start-up"
			}
		case trace.End:
			if e.Took <= 0 || e.Here <= 0 || e.Up == 0 || e.Down == 0 || e.Text != "exit status 3" {
				bad = "times, bytes or how it ended"
			}
		case trace.Depart:
			if e.Took <= 0 || e.Up != e.Pages*4096 {
				bad = "time or pages"
			}
		case trace.HomeCall:
			if e.Down == 0 || e.Up == 0 || e.Took <= 0 {
				bad = "bytes or time"
			}
		case trace.Output:
			if e.Down != uint64(len("work done\n")) {
				bad = "bytes"
			}
		case trace.Back:
			if e.Exec != 1000 {
				bad = "time on the clone"
			}
		case trace.FrameSent:
			if e.Op == "" || e.Up < 28 || e.Down != 0 {
				bad = "type or bytes"
			}
		case trace.FrameReceived:
			if e.Op == "" || e.Down < 28 || e.Up != 0 {
				bad = "type or bytes"
			}
		case trace.Upload:
			if e.Done != e.Total || e.Total != uint64(len(guestWasm)) {
				bad = "bytes"
			}
		}
		if bad != "" {
			t.Errorf("%s: wrong %s: %+v", e.Kind, bad, e)
		}
	}
	for _, k := range []trace.Kind{trace.Begin, trace.Connected, trace.Upload, trace.Prepare, trace.Ready, trace.Decide, trace.Depart,
		trace.HomeCall, trace.Output, trace.Back, trace.FrameSent, trace.FrameReceived, trace.End} {
		if seen[k] == 0 {
			t.Errorf("no event of kind %s", k)
		}
	}
	if seen[trace.Begin] != 1 || seen[trace.End] != 1 {
		t.Errorf("%d begins, %d ends", seen[trace.Begin], seen[trace.End])
	}
}

// TestEventsOfAFallback: the attempt ends, the run here answers from the journal, and the next offload asks where the
// clone stands.
func TestEventsOfAFallback(t *testing.T) {
	all := events(t, &lie{function: "work", script: func(s *stage) {
		s.ready()
		s.migrate()
		s.request(wasi.Request{Op: wasi.OpRead, Handle: hIn, Size: 8})
		s.send(s.refuse())
		expect[*wire.Sync](s)
		s.send(s.initial())
		s.migrate()
		workTrip(s, 1)
	}})
	lines := section(t, outline(all), "decide work", "offloaded work")
	lines = slices.DeleteFunc(lines, func(l string) bool { return !strings.Contains(l, " work") })
	want := []string{
		"decide work clone policy", "depart work #1", "sent work #1", "home-call work read #1", "fallback work refused #1", "replayed work",
		"decide work clone policy", "synced work #2", "depart work #2", "sent work #2", "home-call work read #2", "note work clock-time #2", "output work #2",
		"back work #2", "received work #2", "merge work #2", "offloaded work #2",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("events:\n%s\nwant:\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	for _, e := range all {
		if e.Kind == trace.Fallback && (e.HomeCalls != 1 || e.Text == "" || e.Took <= 0) {
			t.Errorf("fallback %+v", e)
		}
	}
}

// TestEventsHoldNoData: whatever the program was given or read stands in no event.
func TestEventsHoldNoData(t *testing.T) {
	all := events(t, &lie{function: "work", script: func(s *stage) {
		s.ready()
		for {
			s.migrate()
			fd := s.request(s.open("in"))
			s.request(wasi.Request{Op: wasi.OpReadAt, Handle: fd.Handle, Size: 100})
			workTrip(s, 1)
		}
	}})
	for _, e := range all {
		text := fmt.Sprintf("%+v", e)
		for _, secret := range []string{"what is in the file", "first line", "HOME=", "/dir", "work done"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q stands in %s", secret, text)
			}
		}
	}
}

// TestEventsOfThePrivate: what a program or its clone has asked for and is to stay is named to who listens, and in no trace.
func TestEventsOfThePrivate(t *testing.T) {
	c := keep(device.Private{Dirs: []string{"/dir"}}, lie{function: "work", script: once(func(s *stage) {
		s.request(read8)
		s.refuses(s.open("in"))
	})})
	named := map[trace.Kind]string{}
	for _, e := range events(t, c) {
		if e.Name != "" {
			named[e.Kind] = e.Name
		}
		line, err := json.Marshal(e)
		if err != nil || strings.Contains(string(line), "/dir") {
			t.Errorf("%s, %v", line, err)
		}
	}
	if len(named) != 2 || named[trace.Fallback] != "/dir/in" || named[trace.Stay] != "/dir/in" {
		t.Errorf("named are %v", named)
	}
}
