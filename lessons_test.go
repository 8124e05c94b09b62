package clonecloud

import (
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/analysis"
	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/learned"
)

// TestLessons follows a program through its runs: its clone is never ready in time, so that from the third run on none is
// made ready at once, until one run tries again and finds it quick.
func TestLessons(t *testing.T) {
	store := learned.Store{Dir: t.TempDir()}
	const second = time.Second
	run := func(ready time.Duration, vain bool) (delayed bool) {
		l := &lessons{store: store, key: learned.Key{Args: []string{"prog"}}, speed: 30, facts: device.Situation{Ready: true, RTT: time.Millisecond}}
		prepared := false
		delay := l.recall([32]byte{1}, func() { prepared = true })
		if prepared == (delay > 0) {
			t.Fatalf("delay %v, prepared: %v", delay, prepared)
		}
		l.policy(&analysis.Report{}, []analysis.Func{{Index: 7}}).Left(0, device.LocalRun{Took: second, Pure: true})
		if delay > second { // the run has ended before
			ready, vain = 0, false
		}
		l.leave(second, second, ready, vain)
		return delay > 0
	}
	for i, want := range []bool{false, false} {
		if got := run(2*second, true); got != want {
			t.Fatalf("run %d: delayed %v", i+1, got)
		}
	}
	for i := range skips {
		if !run(2*second, true) {
			t.Fatalf("run %d is not delayed", i+3)
		}
	}
	if run(second/10, false) {
		t.Error("no run tries again")
	}
	if run(second/10, false) {
		t.Error("a run is delayed though its clone is quick")
	}
}
