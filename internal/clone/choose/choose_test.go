package choose

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// world is a node's engines: how fast each makes polls, and whose code is there.
type world struct {
	m     *Module
	rates []float64 // polls in a second
	ready []bool
	ran   []int // offloads on each
}

func newWorld(rates ...float64) *world {
	w := &world{rates: rates, ready: make([]bool, len(rates)), ran: make([]int, len(rates))}
	var ids []string
	for i := range rates {
		ids = append(ids, fmt.Sprintf("engine-%d", i))
		w.ready[i] = i == 0
	}
	w.m = New(ids)
	return w
}

func (w *world) next() Choice {
	c := w.m.Next(func(i int) bool { return w.ready[i] })
	if c.Prepare >= 0 {
		w.ready[c.Prepare] = true // by the time that the next offload comes
	}
	return c
}

// work runs n offloads that make so many polls each.
func (w *world) work(n int, polls uint64) {
	for range n {
		i := w.next().Engine
		w.ran[i]++
		w.m.Ran(i, Run{Func: 7, Polls: polls, Time: time.Duration(float64(polls) / w.rates[i] * float64(time.Second))})
	}
}

// TestTakesTheFaster: engines that differ by more than the margin are told apart, after a trial of one offload.
func TestTakesTheFaster(t *testing.T) {
	for _, c := range []struct {
		name   string
		rates  []float64
		engine int
	}{
		{"first", []float64{3e6, 1e6}, 0},
		{"second", []float64{1e6, 1.1e6}, 1},
		{"margin", []float64{1e6, 1.04e6}, 0},
		{"margin_slower", []float64{1e6, 0.97e6}, 0},
		{"third", []float64{1e6, 1.2e6, 1.4e6}, 2},
		{"alone", []float64{1e6}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(c.rates...)
			w.work(500, 50_000) // some 25 s
			if got := w.m.Now(); got != c.engine {
				t.Errorf("engine %d, want %d", got, c.engine)
			}
			for i, n := range w.ran {
				if i != c.engine && i != 0 && (n == 0 || n > 60) {
					t.Errorf("engine %d has run %d offloads", i, n)
				}
			}
			if r := w.m.Faster(c.engine, 0); c.engine != 0 && (r < c.rates[c.engine]/c.rates[0]*0.99 || r > c.rates[c.engine]/c.rates[0]*1.01) {
				t.Errorf("%g times as fast", r)
			}
		})
	}
}

// TestFirstTrial comes after the module has used some time, and waits for code without anybody waiting for it.
func TestFirstTrial(t *testing.T) {
	w := newWorld(1e6, 1e6)
	ready := false
	is := func(i int) bool { return i == 0 || ready }
	for used := time.Duration(0); used < firstTrial; used += 50 * time.Millisecond {
		if c := w.m.Next(is); c != (Choice{0, -1}) {
			t.Fatalf("after %v: %+v", used, c)
		}
		w.m.Ran(0, Run{Func: 1, Polls: 50_000, Time: 50 * time.Millisecond})
	}
	for range 3 {
		if c := w.m.Next(is); c != (Choice{0, 1}) {
			t.Fatalf("without code: %+v", c)
		}
	}
	ready = true
	if c := w.m.Next(is); c != (Choice{1, -1}) {
		t.Fatalf("with code: %+v", c)
	}
}

// TestLongOffloads: a trial of an offload that takes long waits until it is small beside what was used before.
func TestLongOffloads(t *testing.T) {
	w := newWorld(1e6, 0.25e6)
	w.work(trialShare, 10e6)
	if w.ran[1] != 0 {
		t.Fatalf("%d trials", w.ran[1])
	}
	w.work(2, 10e6)
	if w.ran[1] != 1 || w.m.Now() != 0 {
		t.Errorf("%d trials, engine %d", w.ran[1], w.m.Now())
	}
}

// TestTrialsBecomeRare: an engine that was found slower is tried again, less and less often.
func TestTrialsBecomeRare(t *testing.T) {
	w := newWorld(1e6, 0.5e6)
	var counts []int
	for range 4 {
		before := w.ran[1]
		w.work(2000, 100_000) // 200 s
		counts = append(counts, w.ran[1]-before)
	}
	if counts[0] != 3 || counts[1]+counts[2]+counts[3] > 3 {
		t.Errorf("trials in each 200 s: %v", counts)
	}
	w.rates[1] = 3e6 // the program changes
	w.work(20_000, 100_000)
	if w.m.Now() != 1 {
		t.Error("what became faster is not noticed")
	}
}

// TestTooFewPolls: offloads that show nothing count for nothing, and a trial of such ends.
func TestTooFewPolls(t *testing.T) {
	for _, c := range []struct {
		name string
		run  Run
	}{
		{"polls", Run{Func: 1, Polls: 3, Time: 50 * time.Millisecond}},
		{"short", Run{Func: 1, Polls: 1e6, Time: 100 * time.Microsecond}},
		{"disturbed", Run{Func: 1, Polls: 1e6, Time: 50 * time.Millisecond, Disturbed: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(1, 1)
			trials := 0
			for range 100_000 {
				i := w.next().Engine
				if i == 1 {
					trials++
				}
				w.m.Ran(i, c.run)
				if w.m.used > 20*time.Second {
					break
				}
			}
			if trials == 0 || trials > trialRuns || w.m.Now() != 0 || w.m.Faster(1, 0) != 0 {
				t.Errorf("%d trials, engine %d, %g times as fast", trials, w.m.Now(), w.m.Faster(1, 0))
			}
		})
	}
}

// TestOtherFunctions: engines are compared by what both have run.
func TestOtherFunctions(t *testing.T) {
	m := New([]string{"a", "b"})
	m.Ran(0, Run{Func: 1, Polls: 1e6, Time: time.Second})
	m.Ran(1, Run{Func: 2, Polls: 9e6, Time: time.Second})
	if m.Now() != 0 {
		t.Fatal("compared by different functions")
	}
	m.Ran(1, Run{Func: 1, Polls: 2e6, Time: time.Second})
	m.Ran(0, Run{Func: 3, Polls: 1, Time: time.Second})
	if r := m.Faster(1, 0); m.Now() != 1 || r != 2 || m.Faster(0, 1) != 0.5 {
		t.Errorf("engine %d, %g times as fast", m.Now(), r)
	}
}

// TestRefusals: what refuses or fails is left; where all have failed, all are as good as before.
func TestRefusals(t *testing.T) {
	all := func(int) bool { return true }
	m := New([]string{"a", "b", "c"})
	m.Refused(0, strings.Repeat("x", 2*maxText))
	if c := m.Next(all); c != (Choice{1, -1}) || len(m.Refusal(0)) != maxText || m.Refusal(1) != "" {
		t.Errorf("after a refusal: %+v, %q", c, m.Refusal(0))
	}
	m.Failed(1)
	if c := m.Next(all); c != (Choice{2, -1}) {
		t.Errorf("after a failure: %+v", c)
	}
	m.Failed(2)
	if c := m.Next(all); c != (Choice{2, -1}) {
		t.Errorf("after failures of all: %+v", c)
	}
	m.Refused(1, "no")
	m.Refused(2, "no")
	if c := m.Next(all); c != (Choice{-1, -1}) || m.Peek(all) != -1 {
		t.Errorf("after refusals of all: %+v", c)
	}
	m.Refused(2, "")
	if c := m.Next(all); c != (Choice{2, -1}) {
		t.Errorf("after one has thought better of it: %+v", c)
	}
	for range 3 { // what comes late, or from nowhere
		m.Ran(0, Run{Func: 1, Polls: 1e9, Time: time.Second})
		m.Ran(17, Run{Time: time.Second})
		m.Ran(-1, Run{Time: time.Second})
		m.Ran(2, Run{Polls: 1, Time: -time.Second})
	}
	if m.Now() != 2 {
		t.Errorf("engine %d", m.Now())
	}
}

// TestCodeInPlace: nobody waits for code if that of another engine is there.
func TestCodeInPlace(t *testing.T) {
	m := New([]string{"a", "b"})
	only := func(is int) func(int) bool { return func(i int) bool { return i == is } }
	for _, c := range []struct {
		ready int
		want  Choice
	}{{-1, Choice{0, -1}}, {0, Choice{0, -1}}, {1, Choice{1, 0}}} {
		if got := m.Next(only(c.ready)); got != c.want || m.Peek(only(c.ready)) != c.want.Engine {
			t.Errorf("with code of %d: %+v, want %+v", c.ready, got, c.want)
		}
	}
}

// TestFunctionsBounded: many functions do not make figures without end.
func TestFunctionsBounded(t *testing.T) {
	m := New([]string{"a"})
	for f := range uint32(1000) {
		m.Ran(0, Run{Func: f, Polls: 1e6, Time: time.Second + time.Duration(f)})
	}
	if n := len(m.engines[0].funcs); n != mostFuncs {
		t.Errorf("%d functions", n)
	}
	if m.engines[0].funcs[999] == nil {
		t.Error("the one that used most is not among them")
	}
}

// TestKept: a module goes on where it was, also with other engines about.
func TestKept(t *testing.T) {
	w := newWorld(1e6, 1.5e6, 2e6)
	w.work(200, 50_000)
	if w.m.Now() != 2 {
		t.Fatalf("engine %d", w.m.Now())
	}
	w.m.Refused(0, "it is too large")
	data, err := w.m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again := New([]string{"engine-0", "engine-1", "engine-2"})
	if err := again.Load(data); err != nil {
		t.Fatal(err)
	}
	if b, err := again.Encode(); err != nil || !bytes.Equal(b, data) {
		t.Errorf("read back as\n%s, want\n%s, %v", b, data, err)
	}
	if again.Now() != 2 || again.Refusal(0) != "it is too large" || again.Faster(2, 1) != w.m.Faster(2, 1) {
		t.Errorf("engine %d, %q", again.Now(), again.Refusal(0))
	}
	other := New([]string{"new", "engine-1", "engine-2-b"})
	if err := other.Load(data); err != nil {
		t.Fatal(err)
	}
	if other.Now() != 0 || other.Refusal(0) != "" || len(other.engines[1].funcs) != 1 {
		t.Errorf("with other engines: engine %d, %+v", other.Now(), other.engines[1])
	}
}

// TestTrialThatEndsTheProcess counts as begun: the next process does not try it at once.
func TestTrialThatEndsTheProcess(t *testing.T) {
	for _, ready := range []bool{false, true} { // it ends while its code is made, or while that runs
		w := newWorld(1e6, 1e6)
		w.ready[1] = ready
		var c Choice
		for c = w.m.Next(func(i int) bool { return w.ready[i] }); c == (Choice{0, -1}); c = w.m.Next(func(i int) bool { return w.ready[i] }) {
			w.m.Ran(0, Run{Func: 1, Polls: 5000, Time: 5 * time.Millisecond})
		}
		if want := (Choice{0, 1}); !ready && c != want || ready && c != (Choice{1, -1}) {
			t.Fatalf("choice %+v", c)
		}
		data, err := w.m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		next := New([]string{"engine-0", "engine-1"})
		if err := next.Load(data); err != nil {
			t.Fatal(err)
		}
		used := time.Duration(0)
		for next.Next(func(int) bool { return true }).Engine == 0 {
			next.Ran(0, Run{Func: 1, Polls: 100_000, Time: 100 * time.Millisecond})
			used += 100 * time.Millisecond
		}
		if used != againTrial {
			t.Errorf("tried again after %v, want %v", used, againTrial)
		}
	}
}

var malformed = []string{
	"", "{", "[]", "null", `{"version":2}`, `{"version":1,"used_ns":-1}`, `{"version":1,"runs":-1}`, `{"version":1,"runs":1e-9,"recent_ns":5}`, `{"version":1,"runs":1e300}`,
	`{"version":1,"engines":[{"id":"a","trials":-1}]}`, `{"version":1,"engines":[{"id":"a","at_ns":5}]}`,
	`{"version":1,"engines":[{"id":"a","functions":[{"function":1,"polls":-1}]}]}`,
	`{"version":1,"engines":[{"id":"a","functions":[{"function":1,"time_ns":-1}]}]}`,
	`{"version":1,"engines":[{"id":"a","functions":[{"function":2},{"function":2}]}]}`,
	`{"version":1,"engines":[{"id":"a","functions":[{"function":-2}]}]}`,
	`{"version":1,"engines":[{},{},{},{},{},{},{},{},{}]}`,
	`{"version":1,"engines":[{"refusal":"` + strings.Repeat("x", maxText+1) + `"}]}`,
	strings.Repeat(" ", MaxFigures) + `{"version":1}`,
}

// TestMalformed: what cannot be figures is as good as none.
func TestMalformed(t *testing.T) {
	for _, s := range malformed {
		m := New([]string{"a"})
		before, _ := m.Encode()
		if err := m.Load([]byte(s)); err == nil {
			t.Errorf("%.80q is taken", s)
		}
		if after, _ := m.Encode(); !bytes.Equal(after, before) {
			t.Errorf("%.80q: changed to %s", s, after)
		}
	}
}

// FuzzLoad: whatever is loaded can be reckoned with, and is written down again within the bound.
func FuzzLoad(f *testing.F) {
	w := newWorld(1e6, 1.5e6)
	w.work(100, 50_000)
	data, err := w.m.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	for _, s := range malformed {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := New([]string{"engine-0", "engine-1"})
		if m.Load(data) != nil {
			return
		}
		w := &world{m: m, rates: []float64{1e6, 2e6}, ready: []bool{true, false}, ran: make([]int, 2)}
		if m.Next(func(int) bool { return false }).Engine >= 0 {
			w.work(50, 100_000)
		}
		b, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := New([]string{"engine-0", "engine-1"}).Load(b); err != nil {
			t.Errorf("what was loaded from %q is written as %s: %v", data, b, err)
		}
	})
}
