package peer

import (
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
)

// TestVigil: where nothing pauses, a vigil is a timer.
func TestVigil(t *testing.T) {
	for _, d := range []time.Duration{0, time.Microsecond, time.Millisecond, 16 * time.Second, 17*time.Second + 3, 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			start, ended := time.Now(), make(chan time.Duration, 2)
			v := keepVigil(d, func() { ended <- time.Since(start) })
			if took := <-ended; took != d {
				t.Errorf("%v took %v", d, took)
			}
			v.Stop()
			time.Sleep(2 * d)
			if len(ended) > 0 {
				t.Error("it ended twice")
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		for stop := time.Duration(0); stop < 16*time.Second; stop += 700 * time.Millisecond {
			v := keepVigil(16*time.Second, func() { t.Errorf("ended though it was stopped after %v", stop) })
			time.Sleep(stop)
			v.Stop()
			v.Stop()
			time.Sleep(time.Minute)
		}
	})
}

// TestPulseAfterSleep: a process that did not run does not blame the link, one that did does.
func TestPulseAfterSleep(t *testing.T) {
	for _, c := range []struct {
		name          string
		beaten, heard time.Duration // ago
		full, lost    bool
	}{
		{"quiet", time.Second, 7 * time.Second, false, false},
		{"silent", time.Second, 8 * time.Second, false, true},
		{"silent_late", 4 * time.Second, 8 * time.Second, false, true}, // a timer may be a little late
		{"slept", 4*time.Second + 1, time.Hour, false, false},
		{"slept_long", 24 * time.Hour, 25 * time.Hour, false, false},
		{"nobody_receives", time.Second, time.Hour, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := link.Pipe(0)
				defer there.Close()
				e := newEndpoint(Config{Heartbeat: 2 * time.Second})
				if err := e.attach(here, nil); err != nil {
					t.Fatal(err)
				}
				e.mu.Lock()
				a := e.current
				now := time.Now()
				a.beaten, a.heard, a.full = now.Add(-c.beaten), now.Add(-c.heard), c.full
				e.mu.Unlock()
				e.pulse(a)
				e.mu.Lock()
				lost, heard := e.current == nil, a.heard
				e.mu.Unlock()
				if lost != c.lost {
					t.Errorf("link is lost: %t", lost)
				}
				if c.beaten > 4*time.Second && !heard.Equal(now) {
					t.Errorf("counts silence from %v ago", now.Sub(heard))
				}
				if c.lost {
					<-e.Done() // nobody dials
					if !errors.Is(e.Err(), errSilent) {
						t.Errorf("ended with %v", e.Err())
					}
				}
				e.Close()
			})
		})
	}
}

// TestRate feeds the estimate with acknowledgements.
func TestRate(t *testing.T) {
	const kB, ms = 1 << 10, time.Millisecond
	type ack struct {
		at    time.Duration
		bytes uint64
		more  bool // others are on the way
		fresh bool // nothing was on the way before what it acknowledges
	}
	for _, c := range []struct {
		name    string
		acks    []ack
		want    float64 // kB in a second
		changes int
	}{
		{"nothing", nil, 0, 0},
		{"one", []ack{{100 * ms, 1000 * kB, false, true}}, 0, 0},
		{"calls", []ack{{10 * ms, 100 * kB, false, true}, {20 * ms, 100 * kB, false, true}, {30 * ms, 100 * kB, false, true}}, 0, 0},
		{"stream", []ack{{100 * ms, 64 * kB, true, true}, {110 * ms, 64 * kB, true, false}}, 6400, 1},
		{"end", []ack{{100 * ms, 64 * kB, true, true}, {110 * ms, 64 * kB, false, false}}, 6400, 1},
		{"little", []ack{{100 * ms, 64 * kB, true, true}, {110 * ms, 31 * kB, true, false}}, 0, 0},
		{"adds_up", []ack{{100 * ms, 64 * kB, true, true}, {110 * ms, 31 * kB, true, false}, {120 * ms, 33 * kB, true, false}}, 3200, 1},
		{"quick", []ack{{100 * ms, 64 * kB, true, true}, {101 * ms, 64 * kB, true, false}}, 0, 0},
		{"quick_adds_up", []ack{{100 * ms, 64 * kB, true, true}, {101 * ms, 64 * kB, true, false}, {104 * ms, 64 * kB, true, false}}, 32000, 1},
		{"pause", []ack{{100 * ms, 64 * kB, true, true}, {110 * ms, 64 * kB, false, false}, {9000 * ms, 64 * kB, true, true}, {9010 * ms, 64 * kB, true, false}}, 6400, 2},
		{"mean", []ack{{100 * ms, 64 * kB, true, true}, {110 * ms, 64 * kB, true, false}, {130 * ms, 64 * kB, true, false}}, 5600, 2},
		{"part_of_a_burst", []ack{{100 * ms, 64 * kB, true, true}, {110 * ms, 20 * kB, false, false}, {9000 * ms, 64 * kB, true, true}, {9001 * ms, 20 * kB, true, false}}, 0, 0},
	} {
		var r rate
		start, changes := time.Now(), 0
		for _, a := range c.acks {
			r.begin(a.fresh)
			if r.acknowledged(start.Add(a.at), a.bytes, a.more) {
				changes++
			}
		}
		if math.Abs(r.perSecond/kB-c.want) > 1 || changes != c.changes {
			t.Errorf("%s: %.0f kB in a second, want %.0f; %d changes, want %d", c.name, r.perSecond/kB, c.want, changes, c.changes)
		}
	}
}
