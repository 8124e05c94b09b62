// Package worker is the process that has the clones of one device: it ends TLS on the connections that the daemon gives
// it, checks who asks, and hands their links to a clone.Host. It ends when the daemon's orders do.
package worker

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/clonecloud/clonecloud/internal/clone"
	"github.com/clonecloud/clonecloud/internal/node/control"
	"github.com/clonecloud/clonecloud/internal/trust"
)

// worker is what runs in a worker's process.
type worker struct {
	engines Engines
	key     *ecdsa.PrivateKey
	setup   control.Setup
	engs    []*sealed     // the preferred one first
	conns   *net.UnixConn // what the daemon passes; nil: relayed
	relayed *relayed

	host    *clone.Host
	files   *kept // nil before the assignment
	assign  *control.Assignment
	route   trust.Route
	chain   atomic.Pointer[[][]byte]
	greet   *control.Connections // that have not shown yet who they are
	refused control.Tally
	seen    atomic.Uint64
	links   links
	drained atomic.Bool
	kick    chan struct{} // there is news for the daemon

	out       sync.Mutex
	reports   io.Writer         // guarded by out
	announcer control.Announcer // guarded by out, so that what it decides is written in that order

	mu   sync.Mutex
	deny control.DenyList // guarded by mu
}

// Main is the main function of a worker's process, started by a node: it returns the exit code.
func Main(engines Engines) int {
	// Signals of the terminal and of a service manager are for the daemon, which decides what becomes of its workers.
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	prepareScheduler()
	w := &worker{engines: engines, kick: make(chan struct{}, 1), reports: os.Stdout}
	os.Stdout = os.Stderr // what is printed by mistake must not look like a report
	if err := w.run(os.Stdin); err != nil {
		_ = w.tell(control.Report{Failed: err.Error()}) // nobody else to tell
		return 1
	}
	return 0
}

// run works until the orders end.
func (w *worker) run(stdin io.Reader) error {
	in := control.NewLines(stdin)
	var first control.Order
	if err := in.Next(&first); err != nil {
		return fmt.Errorf("read first order: %w", err)
	}
	if first.Setup == nil {
		return errors.New("first order is no setup")
	}
	w.setup = *first.Setup
	if err := w.prepare(); err != nil {
		return err
	}
	defer func() {
		if w.files != nil {
			w.files.close(closeTime)
		}
	}()
	ended := make(chan error, 1)
	for {
		next := make(chan error, 1)
		var o control.Order
		go func() { next <- in.Next(&o) }()
		select {
		case err := <-next:
			if errors.Is(err, io.EOF) {
				return nil // and all goroutines with this one
			}
			if err != nil {
				return fmt.Errorf("read order: %w", err)
			}
		case err := <-ended:
			return err
		}
		if err := w.obey(&o, ended); err != nil {
			return err
		}
	}
}

// prepare does all that can be done before the worker knows whom it serves.
func (w *worker) prepare() error {
	if err := w.makeEngines(); err != nil {
		return err
	}
	var err error
	if w.key, err = trust.NewKey(); err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	pub, err := x509.MarshalPKIXPublicKey(w.key.Public())
	if err != nil {
		return fmt.Errorf("encode key: %w", err)
	}
	r := &control.Readiness{Key: pub, Engines: w.names(), Arch: runtime.GOARCH}
	if w.setup.Relay {
		if w.relayed, err = newRelayed(); err != nil {
			return err
		}
		r.Listen, r.Secret = w.relayed.ln.Addr().String(), w.relayed.secret
	} else if w.conns, err = control.UnixConn(control.PassedFile()); err != nil {
		return fmt.Errorf("open the daemon's socket: %w", err)
	}
	return w.tell(control.Report{Ready: r})
}

// obey carries out one order. ended gets the end of a drain.
func (w *worker) obey(o *control.Order, ended chan<- error) error {
	switch {
	case o.Assign != nil:
		return w.begin(o.Assign)
	case w.assign == nil:
		return errors.New("order before the assignment")
	case o.Chain != nil:
		w.chain.Store(&o.Chain)
	case o.Deny != nil:
		w.mu.Lock()
		for _, d := range o.Deny {
			w.deny.Add(d)
		}
		w.mu.Unlock()
	case o.Drain > 0:
		if w.drained.Swap(true) {
			return nil
		}
		go func() {
			ctx, stop := context.WithTimeout(context.Background(), o.Drain)
			defer stop()
			err := w.host.Drain(ctx)
			if err != nil {
				w.log("%v", err)
			}
			// What was said last is on its way once the conversations have closed their links.
			ctx, stop = context.WithTimeout(context.Background(), time.Second)
			defer stop()
			if err := w.host.Close(ctx); err != nil {
				w.log("close: %v", err)
			}
			w.links.wait(ctx)
			ended <- nil
		}()
	}
	return nil
}

// tell reports to the daemon.
func (w *worker) tell(r control.Report) error {
	w.out.Lock()
	defer w.out.Unlock()
	return w.write(r)
}

// write writes a report. Preconditions: w.out is held.
func (w *worker) write(r control.Report) error {
	line, err := control.EncodeLine(r)
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	_, err = w.reports.Write(line)
	return err
}

// log says something for people; the daemon puts it into its log.
func (w *worker) log(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// watch is told before something runs that may not end, and what it returns after.
func (w *worker) watch(what string, module [32]byte, limit time.Duration) (end func()) {
	w.out.Lock()
	defer w.out.Unlock()
	e, tell := w.announcer.Begin(control.Work{What: what, Module: module, Limit: limit}, time.Now())
	if tell {
		b := e.Beginning(false)
		w.must(w.write(control.Report{Begin: &b}))
	}
	w.news()
	return func() {
		w.out.Lock()
		defer w.out.Unlock()
		if w.announcer.End(e, time.Now()) {
			w.must(w.write(control.Report{End: e.N}))
		}
		w.news()
	}
}

// must ends the process if the daemon cannot be told: nobody would end it then.
func (w *worker) must(err error) {
	if err != nil {
		w.log("tell the daemon: %v", err)
		os.Exit(1)
	}
}

// stuck says that something did not end when it should have; the daemon ends this process.
func (w *worker) stuck(what string, module [32]byte) {
	limit := w.assign.Limits.Longest(what)
	if what != control.Compiling {
		limit = w.assign.Limits.Exec
	}
	w.must(w.tell(control.Report{Stuck: &control.Beginning{What: what, Module: module, Limit: limit}}))
}

// news has the statistics sent soon.
func (w *worker) news() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// report tells the daemon now and then what goes on.
func (w *worker) reporting() {
	const (
		same   = 10 * time.Second // while nothing changes
		spaced = 200 * time.Millisecond
	)
	var last control.Stats
	var when time.Time
	tick := time.NewTicker(control.AnnounceTick)
	defer tick.Stop()
	for {
		kicked := false
		select {
		case <-tick.C:
		case <-w.kick:
			kicked = true
		}
		now := time.Now()
		w.out.Lock()
		begun, over := w.announcer.Tick(now)
		for _, b := range begun {
			w.must(w.write(control.Report{Begin: &b}))
		}
		for _, n := range over {
			w.must(w.write(control.Report{End: n}))
		}
		w.out.Unlock()
		if kicked && now.Sub(when) < spaced {
			continue // the next tick has it
		}
		if s := w.stats(); !s.Same(last) || now.Sub(when) >= same {
			last, when = s, now
			w.must(w.tell(control.Report{Stats: &s}))
		}
	}
}

func (w *worker) stats() control.Stats {
	h := w.host.Stats()
	open, up, served := w.links.count()
	return control.Stats{
		Seen: w.seen.Load(), Open: open, Served: served, Links: up, Clones: h.Clones, Running: h.Running, Refused: w.refused.Snapshot(),
	}
}
