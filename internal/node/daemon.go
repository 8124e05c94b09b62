package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/clonecloud/clonecloud/internal/node/control"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/trust"
)

// accept takes connections until the listener is closed.
func (n *Node) accept() {
	pause := backoff{first: 5 * time.Millisecond, most: time.Second}
	for {
		conn, err := n.ln.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			// Most likely there are no descriptors left: those who wait will free some.
			pause.fail(time.Now())
			n.refuse(nil, control.ReasonCrowd, fmt.Errorf("accept: %w", err))
			select {
			case <-time.After(pause.wait(time.Now())):
			case <-n.ctx.Done():
				return
			}
			continue
		}
		pause.succeed()
		leave := n.pending.Add(conn)
		n.wg.Go(func() { n.classify(&client{TCPConn: conn}, leave) })
	}
}

// refuse counts a connection that is not served, and logs it unless too many are.
func (n *Node) refuse(from net.Addr, reason string, err error) {
	if !n.refused.Add(reason, time.Now()) {
		return
	}
	if from == nil {
		n.log("refused: %v", err)
	} else {
		n.log("refused %v: %v", from, err)
	}
}

// classify sees who a connection is for, and gives it away. leave takes it from those that are pending.
func (n *Node) classify(c *client, leave func() bool) {
	name, err := c.hello(n.cfg.Relay)
	if !leave() {
		c.Close()
		return // evicted, and counted then
	}
	if err != nil {
		c.Close()
		if n.ctx.Err() == nil {
			n.refuse(c.RemoteAddr(), control.ReasonHello, err)
		}
		return
	}
	route, ok := trust.ParseSNI(n.token, name)
	if !ok {
		n.plain.serve(c)
		return
	}
	leave = n.waiting.Add(c)
	err = n.deliver(route, c)
	if !leave() {
		c.Close()
		return
	}
	if err == nil {
		return
	}
	c.refused = control.ErrWorker
	errors.As(err, &c.refused)
	n.refuse(c.RemoteAddr(), c.refused.Reason, err)
	n.plain.serve(c)
}

// deliver hands a connection to its worker. One that has just died is followed by another.
func (n *Node) deliver(route trust.Route, c *client) error {
	for tries := 1; ; tries++ {
		p, err := n.worker(route)
		if err != nil {
			return err
		}
		if err = p.deliver(n, c); err == nil || tries == maxTries {
			return err
		}
		t := time.NewTimer(control.PassTime)
		select {
		case <-p.freed:
		case <-t.C:
		case <-n.ctx.Done():
		}
		t.Stop()
	}
}

// maxTries is how many workers are tried for one connection.
const maxTries = 4

// worker returns the worker of a route, which it waits for.
func (n *Node) worker(route trust.Route) (*process, error) {
	n.mu.Lock()
	v, id, evict, pause := n.pool.want(route, time.Now())
	if evict != 0 {
		n.retireLocked(evict, "another device needs its place")
	}
	var w *waiter
	var p *process
	switch v {
	case verdictTake, verdictAssign:
		if p = n.procs[id]; v == verdictAssign {
			n.assign(p, route)
			n.replenish()
		}
	case verdictAwait:
		if w = n.waiters[route]; w == nil {
			w = &waiter{done: make(chan struct{})}
			n.waiters[route] = w
		}
		w.users++
		n.replenish()
	}
	n.mu.Unlock()
	switch v {
	case verdictFull:
		return nil, control.ErrFull
	case verdictShut:
		return nil, control.ErrDraining
	case verdictPause:
		return nil, &control.Refusal{
			Reason: control.ReasonWorker, Code: http.StatusServiceUnavailable,
			Text: fmt.Sprintf("the workers of this device end too soon: try again in %v", pause.Round(time.Second/10)),
		}
	}
	if w == nil {
		return p, nil
	}
	t := time.NewTimer(startTime)
	defer t.Stop()
	select {
	case <-w.done:
		return w.proc, w.err
	case <-t.C:
	case <-n.ctx.Done():
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if w.users--; w.users == 0 && n.waiters[route] == w {
		delete(n.waiters, route)
		n.pool.abandon(route)
	}
	return nil, control.ErrWorker
}

func (w *waiter) fail(err error) {
	if w.proc == nil && w.err == nil {
		w.err = err
		close(w.done)
	}
}

// retireLocked ends a worker that has nothing to do. Preconditions: n.mu is held.
func (n *Node) retireLocked(id int, why string) {
	if p := n.procs[id]; p != nil {
		n.retire(p, why)
	}
}

// processes returns the workers there are. Preconditions: n.mu is held.
func (n *Node) processes() []*process {
	var list []*process
	for _, p := range n.procs {
		if p != nil {
			list = append(list, p)
		}
	}
	return list
}

// replenish starts the workers that are wanted. Preconditions: n.mu is held.
func (n *Node) replenish() {
	if n.over {
		return
	}
	ids, again := n.pool.start(time.Now())
	if again > 0 {
		if n.again != nil {
			n.again.Stop()
		}
		n.again = time.AfterFunc(again, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.replenish()
		})
	}
	for _, id := range ids {
		n.procs[id] = nil
		n.wg.Go(func() { n.spawn(id) })
	}
}

// spawn starts one worker.
func (n *Node) spawn(id int) {
	p, err := n.startProcess(id)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		n.log("worker %d: %v", id, err)
		delete(n.procs, id)
		n.pool.gone(id, true, time.Now())
		n.giveUp(err)
		n.replenish()
		n.notReady(err)
		return
	}
	n.procs[id] = p
	if n.over {
		p.asked = true
		_ = p.cmd.Process.Kill() // it may have ended already
	}
	p.follow(n)
}

// giveUp tells those who wait that workers do not start. Preconditions: n.mu is held.
func (n *Node) giveUp(err error) {
	if n.pool.starts.fails < 3 {
		return
	}
	for route, w := range n.waiters {
		w.fail(fmt.Errorf("%w: %w", control.ErrWorker, err))
		delete(n.waiters, route)
		n.pool.abandon(route)
	}
}

// assign makes a worker that of a route. Preconditions: n.mu is held; the worker is ready.
func (n *Node) assign(p *process, route trust.Route) {
	p.mu.Lock()
	key := p.ready.Key
	now := time.Now()
	p.route, p.serving, p.chained, p.heard = route, true, now, now
	p.mu.Unlock()
	chain, err := n.names.sign(key, trust.SNI(n.token, route))
	if err != nil {
		n.kill(p, fmt.Sprintf("its key cannot be signed: %v", err))
		return
	}
	sum := n.token.Sum()
	ok := p.order(control.Order{Assign: &control.Assignment{
		Route: route[:], Token: sum[:], Chain: chain, Modules: n.modulesDir(), Code: n.codeDir(), Files: n.filesPlace(), MAC: n.mac[:],
		Measures: n.measuresDir(),
		Grace:    n.cfg.Grace, Speed: n.speed, Limits: n.cfg.Limits,
	}})
	n.tellDenied(p, n.deny.Current(time.Now()), ok)
	n.log("worker %d serves device %x", p.id, route[:4])
}

// tellDenied tells a worker what it must not run.
func (n *Node) tellDenied(p *process, list []control.Denied, ok bool) {
	for len(list) > 0 {
		k := min(len(list), 128)
		ok = p.order(control.Order{Deny: list[:k]}) && ok
		list = list[k:]
	}
	if !ok {
		n.kill(p, "it takes no orders")
	}
}

// heard takes in what a worker says. An error is the end of it.
func (n *Node) heard(p *process, r *control.Report) error {
	now := time.Now()
	p.mu.Lock()
	p.heard = now
	var err error
	next := func(*process) {} // with n.mu, which comes before p.mu
	switch {
	case r.Ready != nil:
		switch {
		case p.ready != nil:
			err = errors.New("it is ready twice")
		case n.cfg.Relay && (r.Ready.Listen == "" || len(r.Ready.Secret) < 16):
			err = errors.New("it listens nowhere")
		}
		p.ready, next = r.Ready, n.isReady
	case r.Begin != nil:
		limit := min(r.Begin.Limit, n.cfg.Limits.Longest(r.Begin.What))
		if r.Begin.What == control.Compiling && !r.Begin.Same && len(p.watch.Compiles()) == 0 {
			p.before, _ = residentMemory(p.cmd.Process.Pid)
		}
		err = p.watch.Begin(r.Begin.N, control.Work{What: r.Begin.What, Module: r.Begin.Module, Limit: limit}, r.Begin.Same, now)
	case r.End != 0:
		p.watch.End(r.End)
	case r.Stuck != nil:
		next = func(p *process) {
			n.hang(p, control.Work{What: r.Stuck.What, Module: r.Stuck.Module, Limit: r.Stuck.Limit})
		}
	case r.Stats != nil:
		for reason, count := range r.Stats.Refused {
			if slices.Contains(control.Reasons, reason) && count > p.stats.Refused[reason] {
				n.refused.Count(reason, count-p.stats.Refused[reason])
			}
		}
		served := r.Stats.Served != p.stats.Served
		next = func(p *process) { n.isBusy(p, served) }
		p.stats = *r.Stats
		p.stats.Seen = min(p.stats.Seen, p.passed)
	case r.Failed != "":
		p.failed = peer.Printable(r.Failed)
	}
	p.mu.Unlock()
	if err == nil {
		next(p)
	}
	return err
}

// hang ends a worker that has work which does not end, and remembers a module that cannot be compiled in time.
func (n *Node) hang(p *process, k control.Work) {
	if k.What == control.Compiling {
		n.kill(p, fmt.Sprintf("module %v does not compile within %v", k.Module, k.Limit))
		n.denyModule(k.Module, fmt.Sprintf("the module does not compile within %v", k.Limit))
		return
	}
	n.kill(p, fmt.Sprintf("an offload of module %v did not stop after %v", k.Module, k.Limit))
}

func (n *Node) denyModule(m control.ModuleID, reason string) {
	now := time.Now()
	n.mu.Lock()
	d := control.Denied{Module: m, Reason: reason, Until: now.Add(control.DenyFor)}
	n.deny.Add(d)
	procs := n.processes()
	n.mu.Unlock()
	n.log("module %v is refused for %v: %s", m, control.DenyFor, reason)
	for _, p := range procs {
		p.mu.Lock()
		serving := p.serving
		p.mu.Unlock()
		if serving {
			n.tellDenied(p, []control.Denied{d}, true)
		}
	}
}

// know takes in what a worker can do. Preconditions: n.mu is held.
func (n *Node) know(r *control.Readiness) {
	var engines []string
	for _, e := range r.Engines {
		engines = append(engines, peer.Printable(e))
	}
	if !slices.Equal(engines, n.engines) {
		n.log("clones run on %s", strings.Join(engines, ", "))
	}
	n.engines, n.arch = engines, peer.Printable(r.Arch)
}

// isReady takes a worker into use.
func (n *Node) isReady(p *process) {
	p.mu.Lock()
	r := p.ready
	p.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.know(r)
	n.warmOnce.Do(func() { close(n.warm) })
	route, ok := n.pool.ready(p.id, time.Now())
	if n.draining {
		n.retire(p, "")
		return
	}
	if !ok {
		return
	}
	n.assign(p, route)
	if w := n.waiters[route]; w != nil {
		w.proc = p
		close(w.done)
		delete(n.waiters, route)
	}
}

// isBusy tells the pool what a worker's statistics say; served: it has had a link since the last ones.
func (n *Node) isBusy(p *process, served bool) {
	p.mu.Lock()
	busy := !p.stats.Idle() || p.stats.Seen < p.passed
	p.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pool.busy(p.id, busy, served, time.Now())
}

// ended is told that a worker's process is no more.
func (n *Node) ended(p *process, exit error) {
	now := time.Now()
	p.mu.Lock()
	asked, why, greedy, failed, compiles := p.asked, p.why, p.greedy, p.failed, p.watch.Compiles()
	p.mu.Unlock()
	switch {
	case failed != "":
		n.log("worker %d cannot serve: %s", p.id, failed)
		exit = errors.New(failed)
	case why == "" && !asked:
		n.log("worker %d died: %v", p.id, exit)
	}
	if greedy && len(compiles) == 1 { // of several, nobody knows which; alone, the next time, it is known
		n.denyModule(compiles[0], "compiling the module takes more memory than a worker may have")
	}
	if err := os.RemoveAll(p.dir); err != nil {
		n.log("worker %d: remove its folder: %v", p.id, err)
	}
	defer close(p.freed)
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.procs, p.id)
	n.pool.gone(p.id, !asked, now)
	if exit == nil {
		exit = errors.New("it ended")
	}
	n.giveUp(exit)
	n.replenish()
	n.notReady(fmt.Errorf("worker ended before it was ready: %w", exit))
}

// notReady lets Start know that a worker did not become ready. Preconditions: n.mu is held.
func (n *Node) notReady(err error) {
	if n.firstErr == nil {
		n.firstErr = err
		n.warmOnce.Do(func() { close(n.warm) })
	}
}

// warmUp starts the warm workers, and waits for the first: a node whose workers do not start is none.
func (n *Node) warmUp(ctx context.Context) error {
	if n.cfg.Warm == 0 {
		return nil
	}
	n.mu.Lock()
	n.replenish()
	n.mu.Unlock()
	t := time.NewTimer(startTime)
	defer t.Stop()
	select {
	case <-n.warm:
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return errors.New("no worker became ready in time")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.engines) == 0 {
		return n.firstErr
	}
	return nil
}
