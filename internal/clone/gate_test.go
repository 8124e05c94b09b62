package clone

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestGate lets guests run and poll while others want rest.
func TestGate(t *testing.T) {
	var g gate
	var inside, rests atomic.Int64
	var asked atomic.Bool
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				g.enter()
				inside.Add(1)
				for range 100 {
					if asked.Load() {
						inside.Add(-1)
						g.pass()
						inside.Add(1)
					}
				}
				inside.Add(-1)
				g.leave()
			}
		})
	}
	for range 200 {
		ok := g.rest(func() {
			rests.Add(1)
			if n := inside.Load(); n != 0 {
				t.Errorf("%d guests run at rest", n)
			}
		}, func() { asked.Store(true) }, 10*time.Second)
		asked.Store(false)
		if !ok {
			t.Error("no rest")
		}
	}
	close(stop)
	wg.Wait()
	if rests.Load() != 200 {
		t.Errorf("%d rests, want 200", rests.Load())
	}
}

func TestGateImpatient(t *testing.T) {
	var g gate
	g.enter()
	if g.rest(func() { t.Error("called while a guest runs") }, func() {}, 5*time.Millisecond) {
		t.Error("rest while a guest runs")
	}
	g.leave()
	called := false
	if !g.rest(func() { called = true }, func() {}, time.Second) || !called {
		t.Error("no rest while none runs")
	}
	g.enter() // it is open again
	g.leave()
}
