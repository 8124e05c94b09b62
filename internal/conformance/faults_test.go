//go:build unix

package conformance

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/faultproxy"
)

var faultsFlag = flag.Int("faults", 0, "how many faults TestFaults lets strike; default 120, 10,000 with -full, 30 with -short")

// faultsKey is what the node keeps the files of all runs with: workers that are killed and that are not share a store.
var faultsKey = [32]byte{0xfa}

// netWay is how one run over a real link is broken.
type netWay struct {
	seed  uint64
	way   Way
	plan  faultproxy.Plan
	kill  bool // the worker, at a random moment
	move  bool // the device gets another address
	after time.Duration
}

func drawNetWay(seed uint64) netWay {
	rng := rand.New(rand.NewPCG(seed, 0xfa017))
	w := netWay{seed: seed, way: Way{
		Device: Compiler, Clone: Compiler, Canonical: true, All: true, Seed: seed,
		First: 1 + rng.IntN(8), Skip: float64(rng.IntN(3)) * 0.4, Depth: rng.IntN(5), Sample: 0.05,
		Grace: time.Duration(1500+rng.IntN(1500)) * time.Millisecond,
	}}
	if rng.IntN(4) == 0 {
		w.way.Grace = time.Millisecond // no time to resume: fall back
	}
	if rng.IntN(6) == 0 {
		w.way.Device = Interpreter
	}
	w.way = onSite(w.way)
	w.after = time.Duration(rng.IntN(60)) * time.Millisecond
	w.way.Files, w.way.Trace, w.way.key = *filesFlag || seed%2 == 0, true, faultsKey
	switch rng.IntN(6) {
	case 0:
		w.kill = true
	case 1:
		w.move = true
	}
	w.plan = faultproxy.RandomPlan(seed, faultproxy.Chaos{Bytes: 96 << 10, Faults: 2 + rng.IntN(5), Longest: 50 * time.Millisecond})
	return w
}

func (w netWay) String() string {
	return fmt.Sprintf("seed=%d %v kill=%t switch=%t after=%v plan=%q", w.seed, w.way, w.kill, w.move, w.after, w.plan)
}

// path is a device's way to a node, through proxies that can be left for one another.
type path struct {
	proxies [2]*faultproxy.Proxy
	now     atomic.Int32
	dialed  atomic.Int32
}

func newPath(target string, w netWay) (*path, error) {
	p := &path{}
	for i := range p.proxies {
		cfg := faultproxy.Config{Target: target, Seed: w.seed}
		if i == 0 {
			cfg.Plan = w.plan
		}
		var err error
		if p.proxies[i], err = faultproxy.Start(cfg); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// dial reaches the node from the device's present address.
func (p *path) dial(ctx context.Context, _ string) (net.Conn, error) {
	n := p.now.Load()
	p.dialed.Add(1)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+n))}}
	return d.DialContext(ctx, "tcp", p.proxies[n].Addr())
}

// move gives the device another address: what is on the way to the old one vanishes.
func (p *path) move() {
	p.proxies[0].Strike(faultproxy.Fault{Kind: faultproxy.HalfOpen})
	p.now.Store(1)
}

func (p *path) close() {
	for _, x := range p.proxies {
		x.Close()
	}
}

// campaign counts what struck.
type campaign struct {
	mu                                      sync.Mutex
	t                                       tally
	follow                                  filesTally
	runs, struck, kills, restarts, switches int
	hit, resumed                            int // runs with a fault; with a conversation that went on
	kinds                                   map[string]int
	reasons                                 map[string]int
}

// faults are all that struck. Preconditions: mu is held.
func (c *campaign) faults() int { return c.struck + c.kills + c.restarts + c.switches }

// TestFaults breaks runs over TLS to a node of processes: links that are cut, stalled, corrupted and half open, workers
// and daemons killed, devices that get another address. A failure prints its seed, and -seed replays that one.
func TestFaults(t *testing.T) {
	bin, err := os.ReadFile("testdata/mix.wasm")
	if err != nil {
		t.Fatal(err)
	}
	goal := 120
	switch {
	case *faultsFlag > 0:
		goal = *faultsFlag
	case *full:
		goal = 10_000
	case testing.Short():
		goal = 30
	}
	l := newLab(t)
	want := mixAlone(t, l, bin)
	site := &Site{State: t.TempDir(), Engine: siteEngine()}
	if err := site.Start(); err != nil {
		t.Fatal(err)
	}
	defer site.Close()
	c := &campaign{kinds: map[string]int{}, reasons: map[string]int{}}
	one := func(seed uint64) error {
		arg := ""
		if seed%7 == 0 {
			arg = "trap"
		}
		return c.one(l, site, drawNetWay(seed), bin, arg, want[arg])
	}
	if *oneSeed != 0 {
		if err := one(*oneSeed); err != nil {
			t.Error(err)
		}
		return
	}
	stop := make(chan struct{})
	var daemon sync.WaitGroup
	daemon.Go(func() { c.restartNow(t, site, stop) })
	var next atomic.Uint64
	var wg sync.WaitGroup
	begin := time.Now()
	for range 8 {
		wg.Go(func() {
			for !t.Failed() {
				c.mu.Lock()
				done := c.faults() >= goal
				c.mu.Unlock()
				if done {
					return
				}
				if err := one(next.Add(1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	daemon.Wait()
	t.Logf("%d runs in %v, %d of them struck, %d of these resumed; %d faults: %d on links %v, %d workers killed, %d daemons killed, %d addresses changed; %v; fallbacks by reason %v",
		c.runs, time.Since(begin).Round(time.Second), c.hit, c.resumed, c.faults(), c.struck, c.kinds, c.kills, c.restarts, c.switches, &c.t, c.reasons)
	t.Logf("with files: %v", &c.follow)
	site.Close()
	checkStore(t, filepath.Join(site.State, "node", "files"), faultsKey)
	if f := &c.follow; !t.Failed() && (f.changed < f.runs/3 || f.up == 0 || f.onFiles() > f.offloads/5) {
		t.Error("too little of the files followed to mean anything")
	}
	if !t.Failed() && (c.resumed < c.hit/10 || c.t.fallbacks == 0 || c.t.offloads < c.runs) {
		t.Error("too little was broken to mean anything")
	}
}

// one makes one run.
func (c *campaign) one(l *Lab, site *Site, w netWay, bin []byte, arg string, want *Outcome) error {
	dir, err := os.MkdirTemp("", "fault")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cs, err := mixCase(filepath.Join(dir, "out"), bin, arg)
	if err != nil {
		return err
	}
	p, err := newPath(site.Address().Host, w)
	if err != nil {
		return err
	}
	defer p.close()
	device := site.Device(p.dial)
	lab := l.With(device.Connect)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var kills, switches atomic.Int32
	var later sync.WaitGroup
	if w.kill || w.move {
		later.Go(func() { c.disturb(ctx, site, p, w, &kills, &switches) })
	}
	got, err := lab.Run(ctx, cs, w.way)
	cancel()
	later.Wait()
	if err != nil {
		return fmt.Errorf("%v: %w", w, err)
	}
	if d := Diff(want, got); d != "" {
		return fmt.Errorf("%v:\n%s\nlog: %v", w, d, got.Log)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs++
	c.t.add(got)
	if w.way.Files {
		c.follow.add(got)
	}
	fired := p.proxies[0].Fired()
	c.struck += len(fired)
	for _, f := range fired {
		c.kinds[f.Kind.String()]++
	}
	c.kills += int(kills.Load())
	c.switches += int(switches.Load())
	if len(fired) > 0 || kills.Load()+switches.Load() > 0 {
		c.hit++
		if got.Report.Resumed > 0 {
			c.resumed++
		}
	}
	for _, f := range got.Report.Functions {
		for r, n := range f.Fallbacks {
			c.reasons[r] += n
		}
	}
	return nil
}

// disturb waits until the device has reached the node, a moment longer, and lets something happen to one of them.
func (c *campaign) disturb(ctx context.Context, site *Site, p *path, w netWay, kills, switches *atomic.Int32) {
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	for p.dialed.Load() == 0 {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
	select {
	case <-time.After(w.after):
	case <-ctx.Done():
		return
	}
	if w.move {
		p.move()
		switches.Add(1)
		return
	}
	ids := site.Workers()
	if len(ids) == 0 {
		return
	}
	slices.Sort(ids)
	id := ids[int(w.seed)%len(ids)] // whoever's it is
	if err := syscall.Kill(id, syscall.SIGKILL); err == nil {
		kills.Add(1)
	} else if !errors.Is(err, syscall.ESRCH) {
		panic(err)
	}
}

// restartNow kills the daemon every few seconds, and starts it again at its address.
func (c *campaign) restartNow(t *testing.T, site *Site, stop chan struct{}) {
	for {
		select {
		case <-time.After(2500 * time.Millisecond):
		case <-stop:
			return
		}
		site.Kill()
		c.mu.Lock()
		c.restarts++
		c.mu.Unlock()
		if err := site.Start(); err != nil {
			t.Error(err)
			return
		}
	}
}
