package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// signalPatience is how long a process may take to end once it was told to.
const signalPatience = 2 * time.Second

// again has a signal do what it does by default.
func again(s os.Signal) {
	signal.Reset(s)
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Signal(s) // where a system cannot, there is nothing else to try
	}
}

// untilSignal returns a context that ends at ctrl-C or SIGTERM while the program is away on a clone, and what tells
// that it is. Only then is there somebody to tell, and a handler that is sure to run: a program that computes on the
// device may hold up every goroutine of this process, so that a signal keeps its default there and ends the process.
// A second signal does so in any case, and the first one does where the end is held up: by a reader of the program's
// output that does not read, say.
func untilSignal(ctx context.Context) (context.Context, func() (back func())) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, func() func() {
		c := make(chan os.Signal, 1)
		signal.Notify(c, os.Interrupt, syscall.SIGTERM)
		done, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			select {
			case s := <-c:
				signal.Stop(c)
				cancel(interrupted{s})
				time.AfterFunc(signalPatience, func() { again(s) })
			case <-done:
			}
		}()
		return func() {
			signal.Stop(c)
			close(done)
			<-ended
			select {
			case s := <-c: // it came in the last moment
				cancel(interrupted{s})
			default:
			}
		}
	}
}
