package clonecloud

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/runner"
)

// Errors of a Process, for errors.Is.
var (
	// ErrBusy: a call runs in the process.
	ErrBusy = errors.New("process is busy with a call")
	// ErrEnded: the process has ended, in a way that is wrapped: it trapped, exited, returned from its program, was cancelled in the
	// midst of a call, or was closed.
	ErrEnded = errors.New("process has ended")

	errClosed   = fmt.Errorf("%w: it was closed", ErrEnded)
	errReturned = errors.New("its program returned")
)

// Process is a running instance of a Program, whose exports an application calls as it calls a plug-in. Functions move to
// its clone as the Config of the program says.
//
// All methods may be called from any goroutine. While a call runs, others give ErrBusy at once: a process does one thing
// at a time.
//
// A call that the guest does not return from ends the process: a trap, an exit, an error of a host function, or a context
// that ends meanwhile, since the guest's callers within it are lost then. What the guest had written by then, or had
// not, is nobody's any more, and later calls give ErrEnded.
type Process struct {
	program *Program
	inst    *runner.Instance
	lessons *lessons
	whole   bool          // the program was loaded for it
	gone    chan struct{} // closed when it is released

	mu     sync.Mutex
	stop   context.CancelCauseFunc // guarded by mu; of the call that runs; nil: none does
	idle   chan struct{}           // guarded by mu; closed when that has ended
	over   error                   // guarded by mu; how it ended; nil: it has not
	closed bool                    // guarded by mu
	report Report                  // guarded by mu; once it is over
	inside time.Duration           // guarded by mu; in calls so far
}

// usable gives the reason for which the process cannot be used now. Preconditions: p.mu is held.
func (p *Process) usable() error {
	switch {
	case p.stop != nil && !p.closed:
		return ErrBusy
	case p.closed:
		return errClosed
	case p.over != nil:
		return fmt.Errorf("%w: %w", ErrEnded, p.over)
	}
	return nil
}

// Call calls an export and waits. Arguments and results are raw slots: integers as they are, floats as math.Float32bits and
// math.Float64bits have them. An export that is not there, or other arguments than it takes, give ErrInvoke and do
// nothing.
//
// When ctx ends, a call that is on a clone ends at once; one on the device ends with its next call of the host, or, if
// Config.Interruptible is set, soon. The error then wraps context.Cause and ends the process.
func (p *Process) Call(ctx context.Context, export string, args ...uint64) ([]uint64, error) {
	c := p.begin(ctx, export, args)
	if c.run != nil {
		c.run()
	}
	return c.results, c.err
}

// Go is Call on a goroutine of its own: the application goes on, and the process is busy until the call is done. A guest
// that computes on the device, and calls nothing for long, may hold up other goroutines; one on a clone does not.
func (p *Process) Go(ctx context.Context, export string, args ...uint64) *Call {
	c := p.begin(ctx, export, args)
	if c.run != nil {
		go c.run()
	}
	return c
}

// Main runs the program that a module with an export _start is. It is nil if the program returns or exits with code 0; the
// process has ended in any case.
func (p *Process) Main(ctx context.Context) error {
	c := p.occupy(ctx, p.inst.CheckMain, true, func(ctx context.Context) ([]uint64, error) { return nil, p.inst.Main(ctx) })
	if c.run != nil {
		c.run()
	}
	var exit *ExitError
	if errors.As(c.err, &exit) && exit.Code == 0 && !errors.Is(c.err, ErrEnded) {
		return nil
	}
	return c.err
}

// Call is a call that runs, or has run.
type Call struct {
	done    chan struct{}
	run     func() // nil: there is nothing to be run
	results []uint64
	err     error
}

// Done is closed when the call has ended.
func (c *Call) Done() <-chan struct{} { return c.done }

// Wait waits for the end of the call, and gives what [Process.Call] does. When ctx ends first, only the waiting ends.
func (c *Call) Wait(ctx context.Context) ([]uint64, error) {
	select {
	case <-c.done:
		return c.results, c.err
	default:
	}
	select {
	case <-c.done:
		return c.results, c.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// begin makes the process busy with a call of an export, or says why not.
func (p *Process) begin(ctx context.Context, export string, args []uint64) *Call {
	check := func() error { return p.inst.Check(export, len(args)) }
	return p.occupy(ctx, check, false, func(ctx context.Context) ([]uint64, error) {
		if err := p.inst.Initialize(ctx); err != nil {
			return nil, err
		}
		return p.inst.Call(ctx, export, args)
	})
}

// occupy makes the process busy with f, if check has no objection. The process ends with it if it is the last.
func (p *Process) occupy(ctx context.Context, check func() error, last bool, f func(ctx context.Context) ([]uint64, error)) *Call {
	c := &Call{done: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.err = p.usable(); c.err == nil {
		c.err = check()
	}
	if c.err == nil && ctx.Err() != nil {
		c.err = context.Cause(ctx) // nothing has begun, and nothing ends
	}
	if c.err != nil {
		close(c.done)
		return c
	}
	ctx, p.stop = context.WithCancelCause(ctx)
	p.idle = make(chan struct{})
	c.run = func() {
		begin := time.Now()
		results, err := f(ctx)
		c.results, c.err = results, p.leave(ctx, time.Since(begin), last, err)
		close(c.done)
	}
	return c
}

// leave ends a call.
func (p *Process) leave(ctx context.Context, took time.Duration, last bool, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inside += took
	if cause := context.Cause(ctx); err != nil && cause != nil && errors.Is(err, cause) && !errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("%w: %w", ctx.Err(), cause) // as where the guest was on the device
	}
	switch {
	case err != nil:
		err = p.conclude(err)
	case last:
		err = p.conclude(errReturned)
	}
	p.stop(nil)
	p.stop = nil
	close(p.idle)
	return err
}

// end ends the process's run, if a call has not, with what it came to.
func (p *Process) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		err = errClosed
	}
	if p.over == nil {
		_ = p.conclude(err)
	}
}

// conclude ends the process's run, which came to err, and keeps what was learned. It returns the error as it counts.
// Preconditions: p.mu is held, p.over is nil.
func (p *Process) conclude(err error) error {
	end := err
	if err == errReturned || err == errClosed { // alone: a call that was cut off has an error
		end = nil
	}
	p.report, end = p.inst.Finish(end)
	p.over = err
	if end != nil {
		p.over = end
	}
	if cloud := p.program.cfg.Cloud; cloud != nil {
		r := p.inst.Result()
		r.Report = p.report
		cloud.leave(r)
		if p.lessons != nil {
			wall, guest := p.inside, p.inside
			if p.whole {
				wall, guest = time.Since(p.program.begin), p.report.Wall-p.report.Start
			}
			p.lessons.leave(wall, guest, r.Ready, r.Vain)
		}
	}
	return end
}

// Report says what the process has done so far; once it has ended, what it did.
func (p *Process) Report() (*Report, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop != nil {
		return nil, ErrBusy
	}
	r := p.report
	if p.over == nil {
		r = p.inst.Report()
	}
	return &r, nil
}

// MemorySize is how many bytes the process's memory has.
func (p *Process) MemorySize() (uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.usable(); err != nil {
		return 0, err
	}
	return p.inst.Process().Memory().Size(), nil
}

// Read fills b from the process's memory at addr.
func (p *Process) Read(addr uint32, b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.usable(); err != nil {
		return err
	}
	return p.inst.Process().Memory().Read(addr, b)
}

// Write puts b into the process's memory at addr. The next offload takes it along.
func (p *Process) Write(addr uint32, b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.usable(); err != nil {
		return err
	}
	return p.inst.Process().Memory().Write(addr, b)
}

// Close ends the process and releases what it has. A call that runs is cancelled and waited for: code that computes on the
// device and cannot be interrupted is waited for as long as it takes, see [Process.Call]. A host function must not close the
// process that calls it, nor its program: they would wait for each other.
func (p *Process) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		<-p.gone
		return nil
	}
	p.closed = true
	idle := p.idle
	if p.stop != nil {
		p.stop(errClosed)
	} else {
		idle = nil
	}
	p.mu.Unlock()
	if idle != nil {
		<-idle
	}
	p.end(nil)
	p.inst.Close(context.Background())
	p.program.mu.Lock()
	delete(p.program.processes, p)
	p.program.mu.Unlock()
	close(p.gone)
	return nil
}
