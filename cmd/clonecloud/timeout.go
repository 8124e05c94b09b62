package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// timeoutError is the end of a program that ran longer than it may.
type timeoutError struct{ limit time.Duration }

func (e timeoutError) Error() string {
	return fmt.Sprintf("the program was ended: it ran longer than the %v that --timeout allows", e.limit)
}

const (
	// timeoutGrace is how long the end may take: of a clone, of a call of the host that waits.
	timeoutGrace = 300 * time.Millisecond
	// timeoutHeap bounds our own heap while nothing is collected.
	timeoutHeap = 1 << 30
)

// within bounds a run. When its time is over, ctx ends; a program that is away or waits for something ends with it. One that
// computes here notices nothing: halt ends the process then. finish is to be called when the run is over; it does
// not return where halt has begun.
//
// A program that computes holds up the garbage collector, and the collector the timer. So nothing is collected meanwhile,
// and the timer has a processor to run on besides the program's.
func within(ctx context.Context, d time.Duration, halt func(error)) (_ context.Context, finish func()) {
	if d <= 0 {
		return ctx, func() {}
	}
	percent := debug.SetGCPercent(-1)
	heap := int64(0)
	if os.Getenv("GOMEMLIMIT") == "" {
		heap = debug.SetMemoryLimit(timeoutHeap)
	}
	procs := runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)

	ctx, cancel := context.WithCancelCause(ctx)
	var over atomic.Bool
	late := time.AfterFunc(d+timeoutGrace, func() {
		if over.CompareAndSwap(false, true) {
			halt(timeoutError{d})
		}
	})
	end := time.AfterFunc(d, func() { cancel(timeoutError{d}) })
	return ctx, func() {
		if !over.CompareAndSwap(false, true) {
			select {} // the process is about to end
		}
		late.Stop()
		end.Stop()
		cancel(nil)
		runtime.GOMAXPROCS(procs)
		if heap != 0 {
			debug.SetMemoryLimit(heap)
		}
		debug.SetGCPercent(percent)
	}
}
