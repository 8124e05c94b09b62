package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud"
)

// narrated is what is said of events.
func narrated(events ...clonecloud.Event) []string {
	var lines []string
	n := &narrator{say: func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }}
	for _, e := range events {
		n.event(e)
	}
	n.close()
	return lines
}

func decide(f, choice string, at time.Duration) clonecloud.Event {
	return clonecloud.Event{Kind: "decide", Function: f, Choice: choice, Reason: "policy", At: at, EstLocal: 3 * time.Millisecond, EstClone: 9 * time.Millisecond}
}

func ran(f string) clonecloud.Event {
	return clonecloud.Event{Kind: "local", Function: f, Took: 2 * time.Millisecond}
}

func TestNarrate(t *testing.T) {
	offloaded := clonecloud.Event{Kind: "offloaded", Function: "f", Took: time.Second, Exec: time.Millisecond, Up: 1, Down: 2, HomeCalls: 3}
	here := "f: local, since here takes about 3ms and the clone about 9ms; ran here in 2ms"
	var many []clonecloud.Event
	for range 1003 {
		many = append(many, decide("f", "local", 0), ran("f"))
	}
	slow := append(many[:20:20], decide("f", "local", 20*time.Second), ran("f"))
	for _, tt := range []struct {
		name   string
		events []clonecloud.Event
		want   []string
	}{
		{"outcome", []clonecloud.Event{decide("f", "local", 0), ran("f"), decide("f", "clone", 0), offloaded}, []string{
			here, "f: clone, since here takes about 3ms and the clone about 9ms; offloaded in 1s, 1ms of it running, 1 bytes up, 2 down, 3 home calls",
		}},
		{"nested", []clonecloud.Event{decide("g", "local", 0), decide("f", "local", 0), ran("f"), ran("g")}, []string{
			here, strings.ReplaceAll(here, "f:", "g:"),
		}},
		{"folded", many, []string{here, here, here, "f: local, 1,000 more times, 2s in all"}},
		{"folded-until-another", append(many[:8:8], decide("f", "disarm", 0)), []string{
			here, here, here, "f: local, once more, 2ms in all", "f: disarm, since here takes about 3ms and the clone about 9ms",
		}},
		{"folded-but-not-for-long", slow, []string{here, here, here, "f: local, 8 more times, 16ms in all"}},
		{"no-return", []clonecloud.Event{decide("f", "local", 0)}, []string{
			"f: local, since here takes about 3ms and the clone about 9ms; it did not return",
		}},
		{"fallback", []clonecloud.Event{
			decide("f", "clone", 0), {Kind: "fallback", Function: "f", Took: time.Second, Reason: "lost", Text: "lost: gone"},
			{Kind: "replayed", Function: "f", Took: time.Millisecond},
		}, []string{
			"f: clone, since here takes about 3ms and the clone about 9ms; fell back after 1s: lost: gone", "f: ran here in its place in 1ms",
		}},
		{"upload", []clonecloud.Event{{Kind: "upload", Done: 1, Total: 2}, {Kind: "upload", Done: 2, Total: 2}}, []string{"the program was sent to the node: 2 bytes"}},
		{"fine", []clonecloud.Event{{Kind: "frame-sent", Op: "x"}, {Kind: "merge"}, {Kind: "begin"}, {Kind: "end"}}, nil},
		{"name", []clonecloud.Event{decide("a\x1b[1m", "disarm", 0)}, []string{"a?[1m: disarm, since here takes about 3ms and the clone about 9ms"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, narrated(tt.events...)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestNarrateBound keeps decisions whose outcome never comes from piling up.
func TestNarrateBound(t *testing.T) {
	n := &narrator{say: func(string, ...any) {}}
	for range 1000 {
		n.event(decide("f", "local", 0))
	}
	if got := len(n.functions["f"].open); got > sayDepth {
		t.Errorf("%d decisions are open, want at most %d", got, sayDepth)
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}
