package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"
)

var epoch = time.Unix(1_000_000, 0)

func at(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }

func TestLines(t *testing.T) {
	var b bytes.Buffer
	want := []Report{
		{Ready: &Readiness{Key: []byte{1}, Engines: []string{"e", "f"}, Arch: "a"}},
		{Begin: &Beginning{N: 1, What: "compile", Module: ModuleID{7}, Limit: time.Second}},
		{End: 1}, {Stats: &Stats{Seen: 3, Refused: map[string]uint64{ReasonToken: 2}}}, {Failed: "no engine"},
	}
	for _, r := range want {
		line, err := EncodeLine(r)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(line)
	}
	in := NewLines(&b)
	for _, w := range want {
		got, err := in.ReadReport()
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprintf("%+v %+v %+v", got.Ready, got.Begin, got.Stats) != fmt.Sprintf("%+v %+v %+v", w.Ready, w.Begin, w.Stats) ||
			got.End != w.End || got.Failed != w.Failed {
			t.Errorf("got %+v, want %+v", got, w)
		}
	}
	if _, err := in.ReadReport(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last: got %v, want EOF", err)
	}
}

func TestReportRefused(t *testing.T) {
	for _, line := range []string{
		`x`, `[]`, strings.Repeat("x", maxLine+1), `{"begin":{"n":0,"what":"x","limit":1}}`, `{"begin":{"n":1,"what":"x","limit":-1}}`,
		`{"begin":{"n":1,"what":"x","module":"00","limit":1}}`, `{"stats":{"links":-1}}`, `{"end":-1}`,
		`{"ready":{"engines":["` + strings.Repeat("e", 100) + `"]}}`, `{"ready":{"engines":[]}}`, `{"ready":{"engines":["a","a","a","a","a","a","a","a","a"]}}`, `{"begin":{"n":1,"what":"` + strings.Repeat("w", 99) + `","limit":1}}`,
	} {
		if r, err := NewLines(strings.NewReader(line + "\n")).ReadReport(); err == nil {
			t.Errorf("%.40s: got %+v, want an error", line, r)
		}
	}
}

func FuzzReport(f *testing.F) {
	f.Add([]byte(`{"begin":{"n":1,"what":"compile","module":"` + strings.Repeat("00", 32) + `","limit":5}}` + "\n"))
	f.Add([]byte(`{"stats":{"seen":1,"refused":{"token":1}}}` + "\n{}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := NewLines(bytes.NewReader(b))
		for {
			r, err := in.ReadReport()
			if err != nil {
				return
			}
			if _, err := EncodeLine(r); err != nil && !strings.Contains(err.Error(), "line of") {
				t.Fatalf("cannot be written again: %v", err)
			}
		}
	})
}

func TestCrowd(t *testing.T) {
	c := newCrowd[string](3)
	ids := map[string]uint64{}
	steps := []struct{ value, source, evicted string }{
		{"a1", "a", ""}, {"b1", "b", ""}, {"b2", "b", ""},
		{"b3", "b", "b1"}, // the oldest of the place that has most
		{"a2", "a", "b2"},
		{"b4", "b", "a1"}, // a has two of three
		{"c1", "c", "b3"},
		{"c2", "c", "a2"}, // all have one: the oldest of all
	}
	for _, s := range steps {
		id, evicted, full := c.add(s.value, s.source)
		ids[s.value] = id
		if evicted != s.evicted || full != (s.evicted != "") {
			t.Fatalf("add %s: evicted %q %t, want %q", s.value, evicted, full, s.evicted)
		}
	}
	if c.remove(ids["a1"]) || !c.remove(ids["c2"]) || c.remove(ids["c2"]) {
		t.Error("remove does not know who is in")
	}
	if len(c.members) != 2 || len(c.sources) != 2 {
		t.Errorf("left: %d members of %d sources, want 2 of 2", len(c.members), len(c.sources))
	}
}

func TestCrowdKeepsOthers(t *testing.T) {
	// A device's connection stays in a flood from another place.
	c := newCrowd[string](512)
	device, _, _ := c.add("device", "home")
	for i := range 10_000 {
		if _, evicted, _ := c.add(fmt.Sprint(i), "flood"); evicted == "device" {
			t.Fatalf("evicted by number %d", i)
		}
	}
	if !c.remove(device) {
		t.Error("the device is not in any more")
	}
}

func TestSource(t *testing.T) {
	addr := func(s string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(s), Port: 1} }
	if sourceOf(addr("2001:db8::1")) != sourceOf(addr("2001:db8::ffff:2")) {
		t.Error("one network of 64 bits is two places")
	}
	if sourceOf(addr("10.0.0.1")) == sourceOf(addr("10.0.0.2")) || sourceOf(addr("10.0.0.1")) != sourceOf(addr("::ffff:10.0.0.1")) {
		t.Error("IPv4 addresses are confused")
	}
}

func TestDenyList(t *testing.T) {
	var l DenyList
	l.Add(Denied{ModuleID{1}, strings.Repeat("x", 1000), at(1000)})
	if got := l.Reason(ModuleID{1}, at(999)); len(got) != denyTextForTest {
		t.Errorf("reason of %d bytes, want %d", len(got), denyTextForTest)
	}
	if got := l.Reason(ModuleID{1}, at(1000)); got != "" {
		t.Errorf("after its time: %q", got)
	}
	for i := range 2 * denyMost {
		l.Add(Denied{ModuleID{2, byte(i), byte(i >> 8)}, "slow", at(2000)})
	}
	if got := len(l.Current(at(0))); got != denyMost {
		t.Errorf("holds %d, want %d", got, denyMost)
	}
	if got := len(l.Current(at(5000))); got != 0 {
		t.Errorf("holds %d after their time", got)
	}
}

const denyTextForTest = DenyText

func TestWatches(t *testing.T) {
	most := func(string) time.Duration { return 10 * time.Second }
	var w Watches
	k := Work{"offload", ModuleID{1}, time.Second}
	if err := w.Begin(1, k, false, at(0)); err != nil {
		t.Fatal(err)
	}
	late := 1000 + int(Slack/time.Millisecond)
	if _, over := w.Overdue(most, at(late)); over {
		t.Error("over within the limit")
	}
	if got, over := w.Overdue(most, at(late+1)); !over || got != k {
		t.Errorf("got %v %t, want %v", got, over, k)
	}
	// A worker that still speaks is left to end the work itself, but not for ever.
	for ms := 1000; ms <= 12_000; ms += 1000 {
		if err := w.Begin(1, k, true, at(ms)); err != nil {
			t.Fatal(err)
		}
		if _, over := w.Overdue(most, at(ms)); over {
			t.Fatalf("over at %d ms", ms)
		}
	}
	if _, over := w.Overdue(most, at(12_001)); !over {
		t.Error("goes on for ever")
	}
	w.End(1)
	if _, over := w.Overdue(most, at(1e6)); over || w.Open() {
		t.Error("over when it has ended")
	}
	for n := range uint64(maxWatches) {
		if err := w.Begin(n, k, false, at(0)); err != nil {
			t.Fatal(err)
		}
	}
	if w.Begin(maxWatches, k, false, at(0)) == nil {
		t.Error("there is no bound")
	}
}

// TestAnnouncer runs work at random and checks what the daemon knows at each moment: whatever runs is open in its table,
// begun not long before it really did.
func TestAnnouncer(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 1))
	var a Announcer
	var w Watches
	type run struct {
		e     *Announced
		since time.Time
	}
	var running []run
	now, told := epoch, 0
	tick := now.Add(AnnounceTick)
	say := func(b Beginning) {
		told++
		if err := w.Begin(b.N, Work{b.What, b.Module, b.Limit}, b.Same, now); err != nil {
			t.Fatal(err)
		}
	}
	for step := range 200_000 {
		now = now.Add(time.Duration(rng.IntN(20)) * time.Millisecond)
		if now.After(tick) {
			begun, over := a.Tick(now)
			for _, b := range begun {
				say(b)
			}
			for _, n := range over {
				w.End(n)
			}
			tick = now.Add(AnnounceTick)
		}
		if len(running) > 0 && rng.IntN(2) == 0 {
			i := rng.IntN(len(running))
			if a.End(running[i].e, now) {
				w.End(running[i].e.N)
			}
			running[i] = running[len(running)-1]
			running = running[:len(running)-1]
		} else if len(running) < 4 {
			what := "offload"
			if rng.IntN(50) == 0 {
				what = Compiling
			}
			e, tell := a.Begin(Work{what, ModuleID{byte(rng.IntN(3))}, time.Minute}, now)
			if tell {
				say(e.Beginning(false))
			}
			running = append(running, run{e, now})
		}
		compiles := map[ModuleID]bool{}
		for _, r := range running {
			k, ok := w.open[r.e.N]
			if early := r.since.Sub(k.first); !ok || early > announceAgain+AnnounceTick {
				t.Fatalf("seed %d, step %d: work that began at %v is known %t, since %v", seed, step, r.since, ok, k.first)
			}
			if r.e.What == Compiling {
				compiles[r.e.Module] = true
			}
		}
		if got := len(w.Compiles()); got != len(compiles) {
			t.Fatalf("seed %d, step %d: the daemon knows of %d compilations, there are %d", seed, step, got, len(compiles))
		}
	}
	if told > 40_000 {
		t.Errorf("seed %d: %d lines for 200,000 steps", seed, told)
	}
}

func TestTally(t *testing.T) {
	var l Tally
	said := 0
	for range 1000 {
		if l.Add(ReasonToken, at(0)) {
			said++
		}
	}
	if said != tallySay {
		t.Errorf("said %d of 1000, want %d", said, tallySay)
	}
	if rest := l.Rest(at(9999)); len(rest) != 0 {
		t.Errorf("too early: %q", rest)
	}
	if rest := l.Rest(at(10_000)); len(rest) != 1 || !strings.Contains(rest[0], "980 more") {
		t.Errorf("got %q, want one line about 980", rest)
	}
	if !l.Add(ReasonToken, at(10_001)) || l.Snapshot()[ReasonToken] != 1001 {
		t.Error("a new window does not begin")
	}
}
