// Package conformance runs programs on a device alone and again with their functions forced onto clones, over links
// that are broken on purpose, and compares all that can be seen of the runs: output, end and files.
package conformance

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clonecloud/clonecloud/internal/analysis"
	"github.com/clonecloud/clonecloud/internal/clone"
	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/engines"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/reconcile"
	"github.com/clonecloud/clonecloud/internal/replica/origin"
	"github.com/clonecloud/clonecloud/internal/runner"
	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// The engines, by the names that a Way uses.
const (
	Compiler    = engines.Compiler
	Interpreter = engines.Interpreter
	Wasmtime    = engines.Wasmtime // in binaries that have it
	Several     = "several"        // of a clone: all that the binary has, of which its node chooses
)

// Lab keeps engines and nodes that many runs share. Safe for concurrent use.
type Lab struct {
	CacheDir string // of compiled code, "" for none
	// Dial reaches a node elsewhere, in place of those of the lab; Way.Clone then only says that there is one.
	Dial link.Dialer
	// Sites is a folder for nodes in processes of their own, which then have the clones of all ways without faults;
	// "": clones are in this process.
	Sites string

	parent *Lab                      // has the engines; nil: this one does
	tamper func(link.Link) link.Link // with a device's end of a link: an injected bug

	mu      sync.Mutex
	engines map[string]engine.Engine // guarded by mu
	hosts   map[string]*clone.Host   // guarded by mu
	sites   map[string]*Site         // guarded by mu; by engine
}

// Case is one execution of a program.
type Case struct {
	Name   string
	Module []byte
	Args   []string // the program's name first
	Env    []string
	Stdin  []byte
	// Mounts are directories that exist already; the run changes them.
	Mounts []Mount
	// Hosts makes the embedder's functions for one run; they tell of each of their calls. Optional.
	Hosts func(told func(format string, args ...any)) migrate.Hosts `json:"-"`
}

// Mount is a directory of the host under the guest's name for it.
type Mount struct{ Host, Guest string }

// Way is how a case is run. The zero Way runs it on a compiler alone.
type Way struct {
	Device string // engine; default Compiler
	Clone  string // engine; "" runs all of it on the device
	// Canonical makes NaNs canonical; it must be the same for runs that are compared.
	Canonical bool
	// Deep keeps the functions that the host calls (_start) on the device, so that what they call moves, often.
	Deep bool
	// All makes every function that may move a candidate.
	All    bool
	First  int     // see device.NewForced
	Sample float64 // see device.NewForced
	Skip   float64 // see device.Forced
	Depth  int     // see device.Forced
	Seed   uint64
	// Faults breaks the link; KillAt, if not 0, ends all clones when so many frames have gone to the node.
	Faults  link.Plan
	KillAt  int
	Grace   time.Duration // how long a conversation outlives its link; default 150 ms with faults
	Tracker linmem.Tracker
	// Files has the mounts follow the process in place of being called home for; Conflicts says what becomes of files that
	// were changed on both sides.
	Files     bool
	Conflicts reconcile.Policy
	// Trace has the run's events in its Outcome; Direct repeats a run that was traced, in place of Faults and KillAt.
	Trace  bool
	Direct *Director

	only   func(name string) bool // the candidates that may move; nil: all
	hear   func(trace.Event)      // the run's events, as they come
	settle func(*origin.Config)   // changes how the mounts follow
	key    [32]byte               // that the node keeps files with; zero: a random one
	node   func(*clone.Host)      // changes the node, which is of this run alone
	// tamper gets the device's end of each link, and what ends all clones.
	tamper func(l link.Link, kill func()) link.Link
}

// String is what replays the way, in the form that a failed case prints.
func (w Way) String() string {
	s := fmt.Sprintf("device=%s clone=%s canonical=%t deep=%t all=%t first=%d sample=%g skip=%g depth=%d seed=%d",
		w.Device, w.Clone, w.Canonical, w.Deep, w.All, w.First, w.Sample, w.Skip, w.Depth, w.Seed)
	if w.Files {
		s += fmt.Sprintf(" files=true conflicts=%d", w.Conflicts)
	}
	if w.KillAt > 0 {
		s += fmt.Sprintf(" kill=%d", w.KillAt)
	}
	if p := w.Faults.String(); p != "" {
		s += fmt.Sprintf(" faults=%q", p)
	}
	return s
}

// alone tells whether the way's clones are on a node of their own, so that they can be ended.
func (w *Way) alone() bool {
	return w.KillAt > 0 || w.Direct != nil || w.tamper != nil || w.node != nil
}

// broken tells whether something happens to the link or the node.
func (w *Way) broken() bool { return len(w.Faults.Faults) > 0 || w.KillAt > 0 || w.tamper != nil }

// With returns a lab with the engines of this one, whose nodes are behind dial.
func (l *Lab) With(dial link.Dialer) *Lab { return &Lab{CacheDir: l.CacheDir, Dial: dial, parent: l} }

// Engine returns one of the lab's engines.
func (l *Lab) Engine(name string) (engine.Engine, error) {
	if l.parent != nil {
		return l.parent.Engine(name)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.engines[name]; e != nil {
		return e, nil
	}
	e, err := engines.New(name, l.CacheDir)
	if err != nil {
		return nil, err
	}
	if l.engines == nil {
		l.engines, l.hosts = map[string]engine.Engine{}, map[string]*clone.Host{}
	}
	l.engines[name] = e
	return e, nil
}

// nodeEngines are the engines of a node.
func (l *Lab) nodeEngines(name string) (list []engine.Engine, err error) {
	for _, kind := range kindsOf(name) {
		e, err := l.Engine(kind)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// kindsOf says which engines a clone's name stands for.
func kindsOf(name string) []string {
	if name == Several {
		return engines.Kinds()
	}
	return []string{name}
}

// peerConfig has short patience, since the links of tests are fast or dead.
func peerConfig(w Way) peer.Config {
	c := peer.Config{Grace: w.Grace, Heartbeat: 20 * time.Millisecond, Dead: 80 * time.Millisecond}
	if !w.broken() {
		return peer.Config{Grace: 10 * time.Second, Heartbeat: time.Second}
	}
	if c.Grace == 0 {
		c.Grace = 150 * time.Millisecond
	}
	return c
}

// host returns a node. Nodes of ways without faults are shared, so that modules stay compiled.
func (l *Lab) host(w Way) (*clone.Host, error) {
	list, err := l.nodeEngines(w.Clone)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	cfg := peerConfig(w)
	key := fmt.Sprintf("%s %v %v", w.Clone, cfg, w.Tracker)
	if w.alone() {
		key = ""
	}
	if h := l.hosts[key]; h != nil {
		return h, nil
	}
	h := &clone.Host{Engines: list, Peer: cfg, Tracker: w.Tracker}
	if key != "" {
		l.hosts[key] = h
	}
	if w.node != nil {
		w.node(h)
	}
	return h, nil
}

// Close ends nodes and engines.
func (l *Lab) Close() {
	ctx := context.Background()
	for _, h := range l.hosts {
		h.Close(ctx)
	}
	for _, s := range l.sites {
		s.Close()
	}
	for _, e := range l.engines {
		e.Close(ctx)
	}
}

// Run runs a case. An error means that the run could not be made, not that the guest failed.
func (l *Lab) Run(ctx context.Context, c Case, w Way) (*Outcome, error) {
	if w.Device == "" {
		w.Device = Compiler
	}
	eng, err := l.Engine(w.Device)
	if err != nil {
		return nil, err
	}
	o := &Outcome{}
	var stdout, stderr bytes.Buffer
	cfg := runner.Config{
		Module: c.Module, Engine: eng, Args: c.Args, Env: c.Env, CanonicalNaN: w.Canonical, Tracker: w.Tracker,
		Local: local.Config{Stdin: bytes.NewReader(c.Stdin), Stdout: &stdout, Stderr: &stderr, VirtualClock: true},
		Log:   func(f string, a ...any) { o.Log = append(o.Log, fmt.Sprintf(f, a...)) },
	}
	if w.Trace || w.Direct != nil || w.hear != nil {
		var stop func()
		cfg.Events, stop = o.listen(w)
		defer stop()
	}
	if c.Hosts != nil {
		cfg.Hosts = c.Hosts(func(format string, args ...any) { o.Called = fmt.Appendf(o.Called, format+"\n", args...) })
	}
	cfg.Seed[0] = byte(1)
	for _, m := range c.Mounts {
		dir, err := vfs.OpenHost(m.Host)
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		cfg.Local.Mounts = append(cfg.Local.Mounts, local.Mount{FS: dir, Guest: m.Guest})
	}
	if w.Files && w.Clone != "" {
		state, err := os.MkdirTemp("", "clonecloud-files-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(state)
		cfg.Files = func() *origin.Files { return follow(c.Mounts, w, state, cfg.Log) }
		if cfg.FilesKey = w.key; w.key == [32]byte{} {
			_, _ = rand.Read(cfg.FilesKey[:])
		}
	}
	var network *link.Network
	switch {
	case w.Clone == "":
	case l.Dial != nil:
		force(&cfg, w)
		cfg.Dial = l.Dial
	case l.remote(w):
		if err := l.connectSite(&cfg, w); err != nil {
			return nil, err
		}
	default:
		h, err := l.host(w)
		if err != nil {
			return nil, err
		}
		if w.alone() {
			defer h.Close(context.Background())
		}
		network = connect(&cfg, h, w)
		if l.tamper != nil {
			dial := cfg.Dial
			cfg.Dial = func(ctx context.Context) (link.Link, error) {
				to, err := dial(ctx)
				if err != nil {
					return nil, err
				}
				return l.tamper(to), nil
			}
		}
	}
	r, err := runner.Run(ctx, cfg)
	if err != nil && r == nil {
		return nil, err
	}
	if network != nil {
		o.Fired = len(network.Fired())
	}
	o.Stdout, o.Stderr, o.Report = stdout.Bytes(), stderr.Bytes(), r.Report
	o.End = end(err)
	if n := r.Report.Forgot; n > 0 {
		// A replay leaves nothing out that an honest clone did.
		o.End += fmt.Sprintf(", %d calls of the clone forgotten", n)
	}
	o.Tree = map[string]string{}
	for _, m := range c.Mounts {
		if err := tree(m.Host, m.Guest, o.Tree); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// follow makes the mounts of a case follow its process.
func follow(mounts []Mount, w Way, state string, log func(string, ...any)) *origin.Files {
	fc := origin.Config{
		Cache: filepath.Join(state, "stat.db"), Plans: filepath.Join(state, "plans"), Spool: filepath.Join(state, "spool"),
		Policy: w.Conflicts, Patience: time.Minute, Log: log,
	}
	for i, m := range mounts {
		fc.Mounts = append(fc.Mounts, origin.Mount{Index: i, Dir: m.Host, Guest: m.Guest})
	}
	if w.settle != nil {
		w.settle(&fc)
	}
	return origin.New(fc)
}

// listen returns what takes the events of the run, until stop.
func (o *Outcome) listen(w Way) (sink trace.Sink, stop func()) {
	var mu sync.Mutex
	stopped := false
	return func(e trace.Event) {
			mu.Lock()
			defer mu.Unlock()
			if stopped {
				return // a link's last words
			}
			o.Events = append(o.Events, e)
			if w.Direct != nil {
				w.Direct.event(e)
			}
			if w.hear != nil {
				w.hear(e)
			}
		}, func() {
			mu.Lock()
			defer mu.Unlock()
			stopped = true
		}
}

// remote tells whether a way's clones are in processes of their own.
func (l *Lab) remote(w Way) bool {
	return l.Sites != "" && w.Direct == nil && !w.broken() && w.Tracker == linmem.Auto
}

// connectSite gives the run a site as its cloud.
func (l *Lab) connectSite(cfg *runner.Config, w Way) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sites[w.Clone]
	if s == nil {
		s = &Site{State: filepath.Join(l.Sites, w.Clone), Engine: w.Clone}
		if err := os.MkdirAll(s.State, 0o700); err != nil {
			return err
		}
		if err := s.Start(); err != nil {
			return err
		}
		if l.sites == nil {
			l.sites = map[string]*Site{}
		}
		l.sites[w.Clone] = s
	}
	force(cfg, w)
	cfg.Dial = s.Dialer()
	return nil
}

// connect gives the run its cloud: h, over a network with the way's faults.
func connect(cfg *runner.Config, h *clone.Host, w Way) *link.Network {
	network := link.NewNetwork(w.Faults, link.NetworkConfig{Number: func(f []byte) uint64 {
		head, err := wire.ParseHeader(f)
		if err != nil {
			return 0
		}
		return head.Seq
	}})
	force(cfg, w)
	if w.Direct != nil {
		w.Direct.kill, cfg.Policy = h.Kill, w.Direct.policy
	}
	var frames atomic.Int64
	cfg.Dial = network.Dialer(func(l link.Link) {
		if w.KillAt > 0 {
			l = &killer{Link: l, at: w.KillAt, frames: &frames, kill: h.Kill}
		}
		h.Accept(context.Background(), l)
	})
	if w.Direct != nil {
		cfg.Dial = w.Direct.direct(cfg.Dial)
	}
	if dial := cfg.Dial; w.tamper != nil {
		cfg.Dial = func(ctx context.Context) (link.Link, error) {
			to, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			return w.tamper(to, h.Kill), nil
		}
	}
	return network
}

// force makes the run send what the way says.
func force(cfg *runner.Config, w Way) {
	cfg.Peer = peerConfig(w)
	cfg.Wait = time.Minute
	if cfg.Analysis = (analysis.Options{All: w.All}); w.All {
		cfg.Analysis.MaxCandidates = wire.MaxCandidates
	}
	if w.Deep {
		cfg.Analysis.Exclude = []string{"_start"}
	}
	cfg.Policy = func(_ *analysis.Report, candidates []analysis.Func) device.Policy {
		f := device.NewForced(w.Seed, w.First, w.Sample)
		f.Skip, f.Depth = w.Skip, w.Depth
		if w.only != nil {
			f.Only = map[uint32]bool{}
			for id, c := range candidates {
				f.Only[uint32(id)] = w.only(c.Name)
			}
		}
		return f
	}
}

// killer ends all clones of a host when enough frames have come in.
type killer struct {
	link.Link
	frames *atomic.Int64 // several links feed it where one follows another
	at     int
	kill   func()
}

func (k *killer) Recv(ctx context.Context) ([]byte, error) {
	f, err := k.Link.Recv(ctx)
	if k.frames.Add(1) == int64(k.at) {
		k.kill()
	}
	return f, err
}
