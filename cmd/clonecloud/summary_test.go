package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud"
)

func TestSummary(t *testing.T) {
	const ms = time.Millisecond
	r := &clonecloud.Report{
		Wall: 3 * time.Second, Device: 500 * ms, Clone: 1500 * ms, Share: 0.75, Cloud: "wazero-compiler amd64", LinkUp: 250_000, LinkDown: 9000,
		Functions: []clonecloud.FunctionReport{
			{Name: "idle"},
			{Name: "measured", Calls: 12, Offloads: 10, Kept: map[string]int{"policy": 1, "no clone": 1}, Device: 400 * ms, Clone: time.Second, Up: 4096, Down: 904, PagesUp: 9, PagesDn: 1},
			{Name: "expected", Calls: 1, Offloads: 1, Clone: 300 * ms, Up: 10},
			{Name: "unknown", Calls: 2, Offloads: 1, Clone: 200 * ms, Fallbacks: map[string]int{"lost": 1}},
			{Index: 7, Calls: 1, Kept: map[string]int{"policy": 1}, Device: 100 * ms},
		},
	}
	tl := &tally{}
	feed := func(events ...clonecloud.Event) {
		for _, e := range events {
			tl.event(e)
		}
	}
	feed(clonecloud.Event{Kind: "local", Function: "measured", Took: 200 * ms}, clonecloud.Event{Kind: "local", Function: "measured", Took: 200 * ms})
	for range 10 {
		feed(clonecloud.Event{Kind: "decide", Function: "measured", Choice: "clone"}, clonecloud.Event{Kind: "offloaded", Function: "measured", Took: 120 * ms})
	}
	feed(clonecloud.Event{Kind: "decide", Function: "expected", Choice: "clone", EstLocal: time.Second}, clonecloud.Event{Kind: "offloaded", Function: "expected", Took: 1200 * ms})
	feed(clonecloud.Event{Kind: "decide", Function: "unknown", Choice: "clone"}, clonecloud.Event{Kind: "offloaded", Function: "unknown", Took: 300 * ms})
	var b strings.Builder
	if err := writeSummary(&b, r, tl); err != nil {
		t.Fatal(err)
	}
	want := `clonecloud: 3.00 s in all, 500.0 ms here, 1.50 s on the clone (75 % of the program's time)
  clone         wazero-compiler amd64
  time saved    about 600.0 ms, and unknown for 1 function
  bytes moved   250.0 kB up, 9.0 kB down: 5.0 kB of state, the rest the program, calls and output
  bytes saved   36.0 kB, which the 10 pages that moved have besides
  function    calls  offloads  here      on the clone  up      down   saved                      not offloaded
  measured    12     10        400.0 ms  1.00 s        4.1 kB  904 B  800.0 ms by 2 runs here    1 no clone, 1 policy
  expected    1      1         0 s       300.0 ms      10 B    0 B    -200.0 ms as auto expects  
  unknown     2      1         0 s       200.0 ms      0 B     0 B    unknown                    1 fell back: lost
  function 7  1      0         100.0 ms  0 s           0 B     0 B    0 s                        1 policy
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestSummaryEngines: what ran on which engine is told where there was more than one, and what kept calls here.
func TestSummaryEngines(t *testing.T) {
	r := &clonecloud.Report{
		Cloud: "wasmtime amd64, wazero-compiler amd64", Preparing: 1500 * time.Millisecond,
		Functions: []clonecloud.FunctionReport{
			{Name: "both", Calls: 1200, Offloads: 1200, Clone: time.Second, Engines: map[string]int{"wasmtime": 1100, "wazero-compiler": 100}},
			{Name: "one", Calls: 1, Offloads: 1, Clone: time.Second, Engines: map[string]int{"wasmtime": 1}},
			{Name: "none", Calls: 1, Kept: map[string]int{"no clone": 1}},
		},
	}
	for _, c := range []struct {
		spoil func()
		want  []string
		not   string
	}{
		{func() {}, []string{
			"  clone         wasmtime amd64, wazero-compiler amd64, ready after the node had made the program's code ready for 1.50 s\n",
			" 1.00 s (1,100 on wasmtime, 100 on wazero-compiler) ", " 1.00 s (1 on wasmtime) ",
		}, "()"},
		{func() { r.Functions[0].Engines = map[string]int{"wasmtime": 1200} }, []string{" 1.00 s "}, "on wasmtime"},
		{func() { r.Cloud = "" }, []string{"  clone         none was ready: the node made the program's code ready for 1.50 s\n"}, "amd64"},
	} {
		c.spoil()
		var b strings.Builder
		if err := writeSummary(&b, r, &tally{}); err != nil {
			t.Fatal(err)
		}
		for _, w := range c.want {
			if !strings.Contains(b.String(), w) {
				t.Errorf("no %q in\n%s", w, b.String())
			}
		}
		if strings.Contains(b.String(), c.not) {
			t.Errorf("%q in\n%s", c.not, b.String())
		}
	}
}
