package clone

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clonecloud/clonecloud/internal/wire"
)

// TestLong: what waits and what compiles does not hold up what is prepared, and its time stands still while it waits.
func TestLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		watched, stuck := map[wire.ID][]time.Duration{}, map[wire.ID]int{}
		h := &Host{
			Limits: Limits{Compile: time.Minute},
			Watch: func(what string, module wire.ID, limit time.Duration) func() {
				begin := time.Now()
				return func() {
					mu.Lock()
					defer mu.Unlock()
					watched[module] = append(watched[module], time.Since(begin))
				}
			},
			Stuck: func(_ string, module wire.ID) {
				mu.Lock()
				defer mu.Unlock()
				stuck[module]++
			},
		}
		turn := make(chan struct{}, 1)
		// prepare takes 1 s for rewriting, and for compiling what it is told, once it is its turn.
		prepare := func(module byte, compiling time.Duration) {
			p := h.preparing(wire.ID{module})
			defer p.over()
			time.Sleep(time.Second)
			if compiling == 0 {
				return
			}
			if err := Long(p.context(t.Context()), func(context.Context) error {
				turn <- struct{}{}
				return nil
			}); err != nil {
				t.Error(err)
			}
			time.Sleep(compiling)
			<-turn
		}
		begin := time.Now()
		var wg sync.WaitGroup
		var loaded time.Duration
		// Each is alone while it rewrites: time in here does not go on for who waits for a mutex.
		wg.Go(func() { prepare(1, 50*time.Second) })
		time.Sleep(time.Second + 1)
		wg.Go(func() { prepare(2, 40*time.Second) })
		time.Sleep(time.Second + 1)
		wg.Go(func() {
			prepare(3, 0)
			loaded = time.Since(begin)
		})
		wg.Wait()
		if loaded != 3*time.Second+2 {
			t.Errorf("code that is there was loaded after %v, want 1 s after it was asked for", loaded)
		}
		if all := time.Since(begin); all != 91*time.Second {
			t.Errorf("all took %v, want two compilations one after the other", all)
		}
		for module, want := range map[byte][]time.Duration{
			1: {time.Second, 50 * time.Second}, 2: {time.Second, 40 * time.Second}, 3: {time.Second},
		} {
			if got := watched[wire.ID{module}]; !slices.Equal(got, want) {
				t.Errorf("module %d: watched for %v, want %v", module, got, want)
			}
		}
		if len(stuck) != 0 {
			t.Errorf("%v are stuck", stuck)
		}
		prepare(4, 2*time.Minute)
		if stuck[wire.ID{4}] != 1 || len(stuck) != 1 {
			t.Errorf("%v are stuck, want the one that takes too long", stuck)
		}
	})
}

func TestLongFails(t *testing.T) {
	fault := errors.New("no turn")
	wait := func(context.Context) error { return fault }
	if err := Long(t.Context(), wait); !errors.Is(err, fault) { // outside a host
		t.Errorf("got %v", err)
	}
	ends := 0
	h := &Host{Watch: func(string, wire.ID, time.Duration) func() { return func() { ends++ } }, Limits: Limits{Compile: time.Hour}}
	p := h.preparing(wire.ID{1})
	if err := Long(p.context(t.Context()), wait); !errors.Is(err, fault) {
		t.Errorf("got %v", err)
	}
	p.over()
	if !h.prepare.TryLock() || ends != 2 {
		t.Errorf("%d ends of what was watched, or the next cannot be prepared", ends)
	}
}
