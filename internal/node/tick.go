package node

import (
	"fmt"
	"time"

	"github.com/clonecloud/clonecloud/internal/node/control"
	"github.com/clonecloud/clonecloud/internal/trust"
)

// How often the daemon looks after its workers.
const (
	tickTime  = 250 * time.Millisecond
	tickSlow  = 4  // each so many ticks: what is not urgent
	tickChain = 40 // each so many ticks: certificates
)

// tick looks after the workers until the node ends.
func (n *Node) tick() {
	t := time.NewTicker(tickTime)
	defer t.Stop()
	last := time.Now()
	for round := 0; ; round++ {
		select {
		case <-t.C:
		case <-n.ctx.Done():
			return
		}
		now := time.Now()
		if gap := now.Sub(last); gap > asleep {
			n.woke(last, now)
		}
		last = now
		n.mu.Lock()
		procs := n.processes()
		n.mu.Unlock()
		for _, p := range procs {
			n.look(p, round%tickSlow == 0, round%tickChain == 0)
		}
		if round%tickSlow == 0 {
			n.sweep()
		}
	}
}

// silentAt tells whether a worker has said nothing for too long. One that serves nobody has nothing to say. Preconditions:
// p.mu is held.
func (p *process) silentAt(now time.Time) bool {
	return p.serving && !p.asked && now.Sub(p.heard) > silentTime
}

// asleep is from which pause between two ticks on this process, or the machine, is taken to have been stopped.
const asleep = 20 * tickTime

// woke takes a pause in which nothing ran out of what the workers are held to: they were stopped, too, or could not be
// heard. One that was heard since it ended is held to what it always is.
func (n *Node) woke(from, to time.Time) {
	n.mu.Lock()
	procs := n.processes()
	n.mu.Unlock()
	for _, p := range procs {
		p.mu.Lock()
		p.heard = afterPause(p.heard, from, to)
		p.mu.Unlock()
	}
}

// afterPause is the moment as long before the end of a pause as heard was before its beginning.
func afterPause(heard, from, to time.Time) time.Time {
	if heard.After(from) {
		return to
	}
	return heard.Add(to.Sub(from))
}

// look looks after one worker.
func (n *Node) look(p *process, slow, chain bool) {
	now := time.Now()
	p.mu.Lock()
	late, over := p.watch.Overdue(n.cfg.Limits.Longest, now)
	at := p.watch.Open()
	silent := !at && p.silentAt(now)
	old := chain && p.serving && !p.silent && now.Sub(p.chained) >= halfLife
	p.mu.Unlock()
	switch {
	case over:
		n.hang(p, late)
		return
	case silent:
		n.kill(p, fmt.Sprintf("it has said nothing for %v", silentTime))
		return
	}
	if slow || at {
		if rss, ok := residentMemory(p.cmd.Process.Pid); ok {
			p.mu.Lock()
			p.rss = rss
			p.mu.Unlock()
			if most := n.cfg.Limits.WorkerMemory; rss > most {
				p.mu.Lock()
				// The clones of a device, and what it left behind, must not be held against a module that others have, too.
				p.greedy = p.stats.Clones <= 1 && rss > p.before && rss-p.before > most/2
				p.mu.Unlock()
				n.kill(p, fmt.Sprintf("it has %d MiB of memory resident, and may have %d", rss>>20, most>>20))
				return
			}
		}
	}
	if old {
		n.renew(p, now)
	}
}

// renew gives a worker a certificate for another while.
func (n *Node) renew(p *process, now time.Time) {
	p.mu.Lock()
	key, route := p.ready.Key, p.route
	p.chained = now
	p.mu.Unlock()
	chain, err := n.names.sign(key, trust.SNI(n.token, route))
	if err != nil {
		n.log("worker %d: renew its certificate: %v", p.id, err)
		return
	}
	n.tellDenied(p, nil, p.order(control.Order{Chain: chain}))
}

// sweep ends workers that nobody needs any more, and says what was left unsaid.
func (n *Node) sweep() {
	now := time.Now()
	n.mu.Lock()
	for _, id := range n.pool.sweep(now) {
		n.retireLocked(id, "its device has been away for long")
	}
	n.mu.Unlock()
	for _, line := range n.refused.Rest(now) {
		n.log("%s", line)
	}
}

// drainProcess tells a worker to finish.
func (n *Node) drainProcess(p *process) {
	p.mu.Lock()
	tell := p.serving && !p.silent
	p.asked = true
	p.mu.Unlock()
	if tell {
		n.tellDenied(p, nil, p.order(control.Order{Drain: n.cfg.Drain}))
	}
}
