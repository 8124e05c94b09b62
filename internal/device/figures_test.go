package device

import (
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/learned"
)

func mean(v float64, n int) learned.Mean { return learned.Mean{V: v, N: n} }

// TestAutoPrimed: what an earlier run has learned decides from the first call on.
func TestAutoPrimed(t *testing.T) {
	wifi := Situation{Ready: true, RTT: 70 * ms, Rate: 8e5}
	second, call := float64(time.Second), float64(7*ms)
	for _, c := range []struct {
		name string
		f    learned.Function
		same bool
		want string
	}{
		{"long", learned.Function{Local: mean(second, 1)}, true, "C"},
		{"fine", learned.Function{Local: mean(call, 100)}, true, "D"},
		{"fine_with_other_arguments", learned.Function{Local: mean(call, 100)}, false, "L"},
		{"many_home_calls", learned.Function{Local: mean(second, 1), Home: mean(20, 1)}, true, "L"},
		{"much_input", learned.Function{Local: mean(second, 1), Bytes: mean(1e6, 1)}, true, "L"},
		{"much_to_come_back", learned.Function{Local: mean(second, 1), Down: mean(1e6, 1)}, true, "L"},
		{"little_to_come_back", learned.Function{Local: mean(second, 1), Down: mean(1e5, 1)}, true, "C"},
		{"only_on_clones", learned.Function{Exec: mean(second/10, 3)}, true, "C"},
		{"slow_there", learned.Function{Local: mean(second, 3), Exec: mean(second, 3)}, true, "D"},
		{"failed_before", learned.Function{Local: mean(second, 1), Failures: 2}, true, "L"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := NewAuto(10)
			a.Prime(1, c.f, c.same)
			if got := choices(a, 1, 1, wifi); got != c.want {
				t.Errorf("chose %s, want %s", got, c.want)
			}
		})
	}
}

// TestAutoLocalRuns: what a run here would have called home for, and what it wrote, counts before the first offload, and
// what that showed counts after it.
func TestAutoLocalRuns(t *testing.T) {
	a := NewAuto(10)
	s := Situation{Ready: true, RTT: 50 * ms, Rate: 1e6}
	run := LocalRun{Took: time.Second, Pure: true, HomeCalls: 30, Bytes: 5000, Looked: true, Wrote: 1 << 20}
	a.Left(1, run)
	f, ok := a.Figures(1)
	if !ok || f.Home.V != 30 || f.Bytes.V != 5000 || f.Down.V != 1<<20 || f.Local.V != float64(time.Second) {
		t.Fatalf("got %+v, %v", f, ok)
	}
	if got := choices(a, 1, 1, s); got != "L" {
		t.Errorf("chose %s before an offload", got)
	}
	a.Offloaded(1, 0, Outcome{OK: true, Exec: 20 * ms, Total: 80 * ms, Up: 10, Down: 20, HomeCalls: 0, Bytes: 1})
	a.Left(1, run)
	f, _ = a.Figures(1)
	if f.Home.V != 0 || f.Bytes.V != 1 || f.Down.V != 20 || f.Up.V != 10 || f.Exec.V != float64(20*ms) {
		t.Errorf("got %+v", f)
	}
	if got := choices(a, 1, 1, s); got != "C" {
		t.Errorf("chose %s after an offload", got)
	}
	if _, ok := a.Figures(2); ok {
		t.Error("figures of a candidate that never ran")
	}
}

// TestAutoFind: pages are looked for only where the rest would pay, and count.
func TestAutoFind(t *testing.T) {
	found := 0
	s := Situation{Ready: true, RTT: ms, Rate: 1e6, Find: func() uint64 { found++; return 2 << 20 }}
	a := NewAuto(10)
	a.Prime(1, learned.Function{Local: mean(float64(time.Second), 1)}, true)
	a.Prime(2, learned.Function{Local: mean(float64(ms), 1)}, true)
	if got := choices(a, 2, 1, s); got != "L" || found != 0 {
		t.Errorf("short: chose %s, looked %d times", got, found)
	}
	if got := choices(a, 1, 1, s); got != "L" || found == 0 {
		t.Errorf("long: chose %s, looked %d times: 2 MiB take two seconds", got, found)
	}
}

// TestPatience: a clone is waited for if it is due before half of what it gains is gone.
func TestPatience(t *testing.T) {
	for _, c := range []struct {
		name       string
		ready, now time.Duration
		local      time.Duration
		rtt        time.Duration
		known      bool
		least      time.Duration
		most       time.Duration
	}{
		{"unknown_candidate", 100 * ms, 0, 0, ms, false, 0, 0},
		{"due", 100 * ms, 0, time.Second, ms, true, 150 * ms, 151 * ms},
		{"due_soon", 100 * ms, 90 * ms, time.Second, ms, true, 60 * ms, 61 * ms},
		{"late", 100 * ms, 400 * ms, time.Second, ms, true, 0, ms},
		{"too_late", 600 * ms, 0, time.Second, ms, true, 0, 0},
		{"short_call", 100 * ms, 0, 50 * ms, ms, true, 0, 0},
		{"at_most_half_the_gain", 400 * ms, 0, time.Second, ms, true, 440 * ms, 450 * ms},
		{"never_seen_near", 0, 0, time.Second, ms, true, 157 * ms, 158 * ms},
		{"never_seen_far", 0, 0, time.Second, 100 * ms, true, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := NewAuto(10)
			a.Ready = c.ready
			if c.local > 0 {
				a.Prime(1, learned.Function{Local: mean(float64(c.local), 1)}, true)
			}
			got, known := a.Patience(1, Situation{Now: c.now, RTT: c.rtt, Rate: 1e8})
			if known != c.known || got < c.least || got > c.most {
				t.Errorf("got %v, %v, want %v to %v, %v", got, known, c.least, c.most, c.known)
			}
		})
	}
}

func TestPromises(t *testing.T) {
	a := NewAuto(10)
	s := Situation{RTT: 70 * ms, Rate: 1e6}
	a.Prime(1, learned.Function{Local: mean(float64(50*ms), 1)}, true)
	a.Prime(2, learned.Function{Local: mean(float64(time.Second), 1), Home: mean(50, 1)}, true)
	if a.Promises(s) {
		t.Error("promises where nothing pays")
	}
	s.RTT = ms
	if !a.Promises(s) {
		t.Error("promises nothing on a near link")
	}
	for _, c := range []struct {
		name         string
		ready, guest time.Duration
		want         bool
	}{
		{"ready_in_time", 500 * ms, 1100 * ms, true}, {"worth_waiting", 300 * ms, 200 * ms, true},
		{"too_late", 500 * ms, 400 * ms, false}, {"never_seen", 0, 60 * ms, true},
	} {
		if a.Ready, a.Guest = c.ready, c.guest; a.Promises(s) != c.want {
			t.Errorf("%s: got %v", c.name, !c.want)
		}
	}
	a.Ready, a.Guest = 0, 0
	a.Ignore(1)
	a.Ignore(2)
	if a.Promises(s) {
		t.Error("promises what may not move")
	}
}

func TestNetworkClass(t *testing.T) {
	last := -1
	for _, d := range []time.Duration{0, 200 * time.Microsecond, ms, 5 * ms, 30 * ms, 70 * ms, 680 * ms} {
		c := NetworkClass(d)
		if c <= last {
			t.Errorf("%v is of class %d, no other than a quicker one", d, c)
		}
		last = c
	}
	if NetworkClass(70*ms) != NetworkClass(72*ms) || NetworkClass(-1) != 0 {
		t.Error("classes are too narrow")
	}
}
