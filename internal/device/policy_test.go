package device

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// choices asks a policy n times about a candidate.
func choices(p Policy, id uint32, n int, s Situation) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "LCD"[p.Enter(id, s).Choice]
	}
	return string(b)
}

func TestNever(t *testing.T) {
	if got := choices(Never{}, 0, 3, Situation{Ready: true}); got != "DDD" {
		t.Errorf("chose %s", got)
	}
}

func TestForced(t *testing.T) {
	ready := Situation{Ready: true}
	all := NewForced(1, 3, 1)
	if got := choices(all, 7, 5, ready); got != "CCCCC" {
		t.Errorf("all: chose %s", got)
	}
	if got := choices(all, 7, 2, Situation{}); got != "LL" {
		t.Errorf("without a clone: chose %s", got)
	}
	first := NewForced(1, 0, 0)
	if got := choices(first, 1, 18, ready) + choices(first, 2, 1, ready); got != "CCCCCCCCCCCCCCCCDDC" {
		t.Errorf("first: chose %s", got)
	}
	only := NewForced(1, 1, 1)
	only.Only = map[uint32]bool{3: true}
	if got := choices(only, 3, 2, ready) + choices(only, 4, 2, ready); got != "CCDD" {
		t.Errorf("only: chose %s", got)
	}
	deep := NewForced(1, 2, 0)
	deep.Depth = 2
	if got := choices(deep, 1, 2, Situation{Ready: true, Depth: 1}) + choices(deep, 1, 3, Situation{Ready: true, Depth: 2}); got != "LLCCL" {
		t.Errorf("deep: chose %s", got)
	}
	sample := func(seed uint64) string {
		f := NewForced(seed, 10, 0.3)
		f.Skip = 0.5
		return choices(f, 1, 400, ready)
	}
	a, b, other := sample(5), sample(5), sample(6)
	if a != b || a == other {
		t.Error("the sample does not follow from the seed")
	}
	if n := len(slices.DeleteFunc([]byte(a), func(c byte) bool { return c != 'C' })); n < 80 || n > 170 {
		t.Errorf("%d of 400 were sent, want about 120", n)
	}
	if all.Overdue(1, time.Hour, 0) || len(all.Rearm(time.Hour)) > 0 {
		t.Error("feedback where none is wanted")
	}
}

const ms = time.Millisecond

// step is one thing that happens to an Auto, with what it should answer.
type step struct {
	what  string // enter (want L, C or D), left, done, failed, overdue (want y or n), rearm (want the ids)
	at    time.Duration
	took  time.Duration // of left; elapsed of overdue; exec of done
	total time.Duration // of done and failed; wait of overdue
	want  string
	up    uint64
	away  bool // no clone
}

func TestAuto(t *testing.T) {
	measured := func(local time.Duration) []step {
		return []step{{what: "left", took: local}, {what: "left", took: local}, {what: "left", took: local}}
	}
	for _, c := range []struct {
		name  string
		speed float64
		rtt   time.Duration
		rate  float64
		steps []step
	}{
		{"fine", 10, ms, 1e8, append(measured(100*time.Microsecond),
			step{what: "enter", at: 1 * time.Second, want: "D"},
			step{what: "rearm", at: 2 * time.Second, want: ""},
			step{what: "rearm", at: 3 * time.Second, want: "1"},
			step{what: "rearm", at: 3 * time.Second, want: ""},
			step{what: "left", took: ms / 100}, step{what: "left", took: ms / 100}, step{what: "left", took: ms / 100},
			step{what: "enter", at: 4 * time.Second, want: "D"}, // for twice as long
			step{what: "rearm", at: 7 * time.Second, want: ""},
			step{what: "rearm", at: 8 * time.Second, want: "1"})},
		{"fine_without_clone", 10, 0, 0, append(measured(ms/10), step{what: "enter", away: true, want: "D"})},
		{"not_fine_yet", 10, ms, 1e8, []step{{what: "left", took: ms / 100}, {what: "left", took: ms / 100}, {what: "enter", want: "L"}}},
		{"coarse", 10, ms, 1e8, append(measured(time.Second), step{what: "enter", want: "C"}, step{what: "enter", away: true, want: "L"})},
		{"no_faster", 1, ms, 1e8, append(measured(time.Second), step{what: "enter", want: "D"})},
		{"too_much_to_send", 10, ms, 1e6, append(measured(time.Second), step{what: "enter", up: 1 << 20, want: "L"}, step{what: "enter", up: 1 << 16, want: "C"})},
		{"rate_unknown_far", 10, 340 * ms, 0, append(measured(5*time.Second), step{what: "enter", up: 10 << 20, want: "L"}, step{what: "enter", up: 1 << 16, want: "C"})},
		{"rate_unknown_near", 10, ms / 5, 0, append(measured(time.Second), step{what: "enter", up: 10 << 20, want: "C"})},
		{"guess", 10, ms, 1e8, []step{{what: "enter", want: "C"}}},
		{"guess_too_dear", 10, ms, 1e8, []step{{what: "enter", up: 10 << 20, want: "L"}, {what: "enter", at: 4 * time.Second, up: 10 << 20, want: "C"}}},
		{"guess_unlikely", 1.2, ms, 1e8, []step{{what: "enter", want: "L"}}},
		{"guess_rate_unknown", 10, 100 * ms, 0, []step{{what: "enter", up: 1 << 20, want: "L"}}},
		{"wrong_guess", 10, ms, 1e8, []step{
			{what: "enter", want: "C"}, {what: "done", at: 30 * ms, took: ms / 1000, total: 30 * ms}, // 30 ms for what takes 10 us here
			{what: "enter", at: 30 * ms, want: "L"}, {what: "left", took: 10 * time.Microsecond},
			{what: "enter", at: 31 * ms, want: "L"}, {what: "left", took: 10 * time.Microsecond}, {what: "left", took: 10 * time.Microsecond},
			{what: "enter", at: 32 * ms, want: "D"}}},
		{"right_guess", 10, ms, 1e8, []step{
			{what: "enter", want: "C"}, {what: "done", at: 100 * ms, took: 90 * ms, total: 100 * ms},
			{what: "enter", at: 100 * ms, want: "C"}}}, // measuring it here would take 900 ms
		{"measured_here_later", 10, ms, 1e8, []step{
			{what: "enter", want: "C"}, {what: "done", at: 100 * ms, took: 90 * ms, total: 100 * ms},
			{what: "enter", at: 40 * time.Second, want: "L"},                                                      // that is affordable now
			{what: "enter", at: 41 * time.Second, want: "C"},                                                      // it was not measured, and is not tried again soon
			{what: "enter", at: 80 * time.Second, want: "L"}, {what: "left", at: 80 * time.Second, took: 50 * ms}, // slower there!
			{what: "enter", at: 81 * time.Second, want: "L"}}},
		{"failures", 10, ms, 1e8, append(measured(time.Second),
			step{what: "enter", want: "C"}, step{what: "failed", at: time.Second, total: time.Second},
			step{what: "enter", at: 2900 * ms, want: "L"}, step{what: "enter", at: 3 * time.Second, want: "C"},
			step{what: "failed", at: 4 * time.Second, total: time.Second},
			step{what: "enter", at: 7900 * ms, want: "L"}, step{what: "enter", at: 8 * time.Second, want: "C"},
			step{what: "done", at: 9 * time.Second, took: 100 * ms, total: 110 * ms},
			step{what: "failed", at: 10 * time.Second, total: time.Second},
			step{what: "enter", at: 12 * time.Second, want: "C"})},
		{"overdue", 10, ms, 1e8, append(measured(time.Second),
			step{what: "overdue", took: 2 * time.Second, want: "n"}, step{what: "overdue", took: 2300 * ms, want: "y"})},
		{"overdue_unknown", 10, ms, 1e8, []step{
			{what: "overdue", took: time.Minute, want: "n"}, // it may be computing all the time, which would be worse here
			{what: "overdue", took: time.Minute, total: 59 * time.Second, want: "y"},
			{what: "overdue", took: 200 * ms, total: 200 * ms, want: "n"}, {what: "overdue", took: 300 * ms, total: 300 * ms, want: "y"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := NewAuto(c.speed)
			for i, s := range c.steps {
				got := ""
				switch s.what {
				case "enter":
					sit := Situation{Now: s.at, Ready: !s.away, Up: s.up, RTT: c.rtt, Rate: c.rate}
					got = string("LCD"[a.Enter(1, sit).Choice])
				case "left":
					a.Left(1, LocalRun{Took: s.took, Pure: true})
				case "done":
					a.Offloaded(1, s.at, Outcome{OK: true, Total: s.total, Exec: s.took, Up: s.up})
				case "failed":
					a.Offloaded(1, s.at, Outcome{Total: s.total})
				case "overdue":
					got = "n"
					if a.Overdue(1, s.took, s.total) {
						got = "y"
					}
				case "rearm":
					for _, id := range a.Rearm(s.at) {
						got += fmt.Sprint(id)
					}
				}
				if got != s.want {
					t.Fatalf("step %d, %+v: %q", i, s, got)
				}
			}
		})
	}
}

func TestAutoIgnore(t *testing.T) {
	a := NewAuto(100)
	a.Ignore(1)
	if got := choices(a, 1, 2, Situation{Ready: true}) + choices(a, 2, 1, Situation{Ready: true}); got != "DDC" {
		t.Errorf("chose %s", got)
	}
}

// TestAutoImpure: a run below which something was offloaded measures nothing.
func TestAutoImpure(t *testing.T) {
	a := NewAuto(10)
	for range 5 {
		a.Left(1, LocalRun{Took: time.Microsecond})
	}
	if got := a.Enter(1, Situation{Ready: true, RTT: ms}).Choice; got != RunClone {
		t.Errorf("chose %d", got)
	}
}

// candidate is a function in a simulation.
type candidate struct {
	local, exec time.Duration
	up, down    uint64
	home        int
}

func (c candidate) total(s Situation) time.Duration {
	return c.exec + s.RTT*time.Duration(1+c.home) + tripCost + time.Duration(float64(c.up+c.down)/s.Rate*1e9)
}

// TestAutoLearns simulates functions of constant cost: after a while each runs where it is faster, and what it took to
// find that out is bounded.
func TestAutoLearns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		exp := func(name string, lo, hi int) float64 { // evenly by order of magnitude
			return rapid.Float64Range(1, 10).Draw(t, name) * pow10(rapid.IntRange(lo, hi-1).Draw(t, name+" magnitude"))
		}
		s := Situation{Ready: true, RTT: time.Duration(exp("rtt", 4, 8)), Rate: exp("rate", 5, 9)}
		a := NewAuto(exp("prior", 0, 2))
		cands := make([]candidate, rapid.IntRange(1, 4).Draw(t, "candidates"))
		for i := range cands {
			c := &cands[i]
			c.local = time.Duration(exp("local", 3, 9))
			c.exec = time.Duration(float64(c.local) / exp("speed", -1, 2))
			c.up, c.down = uint64(exp("up", 2, 7)), uint64(exp("down", 2, 7))
			c.home = rapid.IntRange(0, 3).Draw(t, "home")
		}
		var guesses time.Duration // what offloads of candidates never run here cost beyond a local run
		var worst time.Duration
		last := make([]Choice, len(cands))
		for range 3000 {
			for i, c := range cands {
				id := uint32(i)
				s.Up = c.up
				a.Rearm(s.Now)
				unknown := a.get(id).Local.N == 0 && a.get(id).Exec.N == 0
				last[i] = a.Enter(id, s).Choice
				switch last[i] {
				case RunClone:
					total := c.total(s)
					if sending := time.Duration(float64(c.up) / s.Rate * 1e9); unknown && a.wasted+sending > budget(s.Now) {
						t.Errorf("a guess after %v that sends for %v, with %v lost before", s.Now, sending, a.wasted)
					}
					if unknown {
						guesses += max(total-c.local, 0)
						worst = max(worst, total)
					}
					s.Now += total
					a.Offloaded(id, s.Now, Outcome{OK: true, Total: total, Exec: c.exec, Up: c.up, Down: c.down, HomeCalls: c.home})
				case RunLocal:
					s.Now += c.local
					a.Left(id, LocalRun{Took: c.local, Pure: true, HomeCalls: c.home})
				case Disarm:
					s.Now += c.local
				}
			}
		}
		if limit := budget(s.Now) + time.Duration(len(cands))*worst; guesses > limit {
			t.Errorf("guesses cost %v, the limit is %v", guesses, limit)
		}
		for i, c := range cands {
			l := a.get(uint32(i))
			if l.Local.N == 0 || l.Exec.N == 0 {
				continue // never affordable to try the other way
			}
			total := c.total(s)
			switch {
			case last[i] == RunClone && float64(total) > 1.1*float64(c.local):
				t.Errorf("candidate %+v, %v on the clone, still goes there", c, total)
			case last[i] != RunClone && float64(total) < 0.7*float64(c.local):
				t.Errorf("candidate %+v, %v on the clone, stays here", c, total)
			}
		}
	})
}

func pow10(n int) float64 {
	v := 1.0
	for ; n > 0; n-- {
		v *= 10
	}
	for ; n < 0; n++ {
		v /= 10
	}
	return v
}

// TestPoliciesRepeat: the same history gives the same answers.
func TestPoliciesRepeat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := NewAuto(8), NewAuto(8)
		var now time.Duration
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			id := rapid.Uint32Range(0, 20).Draw(t, "id")
			d := time.Duration(rapid.Int64Range(0, 1e10).Draw(t, "duration"))
			now += d / 10
			switch rapid.IntRange(0, 4).Draw(t, "event") {
			case 0:
				s := Situation{Now: now, Ready: true, RTT: ms, Up: uint64(d)}
				if x, y := a.Enter(id, s), b.Enter(id, s); x != y {
					t.Fatalf("%v and %v", x, y)
				}
			case 1:
				a.Left(id, LocalRun{Took: d, Pure: true})
				b.Left(id, LocalRun{Took: d, Pure: true})
			case 2:
				o := Outcome{OK: d%3 > 0, Total: d, Exec: d / 2}
				a.Offloaded(id, now, o)
				b.Offloaded(id, now, o)
			case 3:
				if x, y := a.Overdue(id, d, d/2), b.Overdue(id, d, d/2); x != y {
					t.Fatalf("%v and %v", x, y)
				}
			default:
				if x, y := a.Rearm(now), b.Rearm(now); !slices.Equal(x, y) {
					t.Fatalf("%v and %v", x, y)
				}
			}
		}
	})
}
