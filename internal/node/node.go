// Package node is a machine that has clones: a daemon with one TCP port, and workers, one for each device, in processes
// of their own.
//
// The daemon looks at the ClientHello of each connection without taking it. Where the server name shows that whoever
// connects knows the token, the untouched connection goes to the worker of that device, which ends TLS; the daemon sees
// nothing of it. All other connections the daemon serves itself, with plain HTTP: the status, and refusals that
// say why. It never runs code of a device, and all that it keeps of anybody is bounded.
//
// A worker is this program again, started before it is needed. It speaks with the daemon in lines of JSON over its standard
// streams, gets connections over a socket pair (or, where descriptors cannot be passed, over a loopback listener to
// which the daemon copies bytes), and ends when the daemon does. Before it runs what may not end it says so, and for how long;
// the daemon ends a worker that is held up for longer, or has more memory than it may. What a worker says is checked,
// since its guests may have broken out of their sandbox. Such a guest could still write to the folder of compiled code,
// for which each worker has the key.
package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/gauge"
	"github.com/clonecloud/clonecloud/internal/node/control"
	"github.com/clonecloud/clonecloud/internal/store"
	"github.com/clonecloud/clonecloud/internal/trust"
)

// Config says what a node is to be. The zero value is an ephemeral one on the usual port.
type Config struct {
	// Listen is the address of the port. Default ":7311".
	Listen string
	// State is the folder for what outlives the node: its authority and token, modules, compiled code. "": all of
	// it is made anew, and removed by Close.
	State string
	// Cache is the folder for modules and compiled code, which several nodes may share. Default: State.
	Cache string
	// Files is where files of devices are kept: a folder, or the address of an object store as package chunkstore takes it.
	// Default: in State.
	Files string
	// Advertise is the host:port that devices are told. Default: Listen, where an unspecified host becomes the address
	// of this machine's way out, or else the loopback.
	Advertise string
	// Worker is the command of a worker, which must call WorkerMain. Default: this executable with "worker".
	Worker []string
	// Warm is how many workers are kept ready. Default 1; less than 0: none.
	Warm   int
	Limits Limits
	// Grace is how long a clone outlives its link. Default 2 min.
	Grace time.Duration
	// Idle is how long a worker without conversations is kept for its device. Default 10 min.
	Idle time.Duration
	// Drain is how long Drain lets running offloads finish. Default 30 s.
	Drain time.Duration
	// Relay copies bytes to workers even where connections can be passed.
	Relay bool
	// Engine is the kind of engine, as WorkerMain's function understands it.
	Engine string
	// Log is told, in one line each, what a person may want to know; nothing in it is secret. Default: nothing.
	Log func(format string, args ...any)
}

func (c Config) withDefaults() (Config, error) {
	c.Listen = cmp.Or(c.Listen, ":7311")
	if len(c.Worker) == 0 {
		self, err := os.Executable()
		if err != nil {
			return c, fmt.Errorf("find the command of a worker: %w", err)
		}
		c.Worker = []string{self, "worker"}
	}
	if c.Warm = max(cmp.Or(c.Warm, 1), 0); c.Warm > 64 {
		return c, fmt.Errorf("keep %d workers ready: the most is 64", c.Warm)
	}
	c.Limits = c.Limits.WithDefaults()
	control.OrDefault(&c.Grace, 2*time.Minute)
	control.OrDefault(&c.Idle, 10*time.Minute)
	control.OrDefault(&c.Drain, 30*time.Second)
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	return c, nil
}

// Node is a running node. Its methods may be called by any goroutine.
type Node struct {
	cfg      Config
	started  time.Time
	speed    float64 // of the machine
	state    string  // the folder
	cache    string  // likewise, for modules and code
	unlock   func()
	auth     *trust.Authority
	token    trust.Secret
	mac      [32]byte
	ln       *net.TCPListener
	names    *names // certificates of the daemon's own
	plain    *plain
	pending  *control.Connections // that have not said yet what they want
	waiting  *control.Connections // for a worker
	refused  control.Tally
	spawner  spawner
	ctx      context.Context // ends with the node
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	closing  sync.Once
	warm     chan struct{} // closed when the first worker is ready, or has failed to be
	warmOnce sync.Once

	mu       sync.Mutex
	pool     *pool                   // guarded by mu
	procs    map[int]*process        // guarded by mu; nil: being started
	waiters  map[trust.Route]*waiter // guarded by mu
	deny     control.DenyList        // guarded by mu
	again    *time.Timer             // guarded by mu; starts workers that have to wait
	draining bool                    // guarded by mu
	over     bool                    // guarded by mu; no process is started any more
	engines  []string                // guarded by mu; of the workers, the preferred one first
	arch     string                  // guarded by mu
	firstErr error                   // guarded by mu; why a worker did not become ready
	cleaned  bool                    // guarded by mu
}

// errLocked is what a second node with the same folder gets.
var errLocked = errors.New("another node uses this folder")

// waiter is a route that waits for its worker.
type waiter struct {
	users int
	done  chan struct{} // closed when one of these is set
	proc  *process
	err   error
}

// Start starts a node, and returns when it can serve devices. ctx bounds the start only.
func Start(ctx context.Context, cfg Config) (_ *Node, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("start node: %w", err)
	}
	n := &Node{
		cfg: cfg, started: time.Now(), state: cfg.State, unlock: func() {}, procs: map[int]*process{}, waiters: map[trust.Route]*waiter{},
		spawner: newSpawner(), warm: make(chan struct{}),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			n.Close()
			err = fmt.Errorf("start node: %w", err)
		}
	}()
	if !control.CanPass && !n.cfg.Relay {
		n.cfg.Relay = true
		n.log("connections cannot be passed to other processes on this platform: the node relays their bytes, which costs time")
	}
	if err := n.open(); err != nil {
		return nil, err
	}
	pending, waiting, plainMost, devices := capacity(fileLimit(), cfg.Limits.Devices, cfg.Warm)
	if devices < cfg.Limits.Devices {
		n.log("this process may have %d files open: at most %d devices are served, not %d", fileLimit(), devices, cfg.Limits.Devices)
		n.cfg.Limits.Devices = devices
	}
	crowded := func() { n.refuse(nil, control.ReasonCrowd, control.ErrCrowd) }
	n.pending, n.waiting = control.NewConnections(pending, crowded), control.NewConnections(waiting, crowded)
	n.pool = newPool(n.cfg.Warm, devices, n.cfg.Idle)
	if n.names, err = newNames(n.auth); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", n.cfg.Listen)
	if err != nil {
		return nil, err
	}
	n.ln = ln.(*net.TCPListener)
	n.speed = gauge.Speed()
	n.plain = newPlain(n, plainMost)
	n.wg.Go(n.tick)
	if err := n.warmUp(ctx); err != nil {
		return nil, err
	}
	n.wg.Go(n.accept)
	return n, nil
}

// open makes or finds the folder and what is in it, and removes what workers of an earlier node have left.
func (n *Node) open() (err error) {
	if n.state == "" {
		sweepEphemeral()
		if n.state, err = os.MkdirTemp("", ephemeralPrefix); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
		unlock, err := lockFolder(filepath.Join(n.state, "lock"))
		if err != nil {
			return fmt.Errorf("lock %s: %w", n.state, err)
		}
		n.unlock = unlock
		if n.auth, err = trust.EphemeralAuthority(); err != nil {
			return err
		}
	} else {
		if err := os.MkdirAll(n.state, 0o700); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
		unlock, err := lockFolder(filepath.Join(n.state, "lock"))
		if err != nil {
			return fmt.Errorf("open %s: %w", n.state, err)
		}
		n.unlock = unlock
		if n.auth, err = trust.OpenAuthority(n.state); err != nil {
			return err
		}
	}
	// The worker's working directory is its own, so that paths must not be relative to ours.
	if n.state, err = filepath.Abs(n.state); err != nil {
		return err
	}
	n.cache = n.state
	if n.cfg.Cache != "" {
		if n.cache, err = filepath.Abs(n.cfg.Cache); err != nil {
			return err
		}
		if err := os.MkdirAll(n.cache, 0o700); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
	}
	n.token = n.auth.Token()
	if n.mac, err = store.LoadKey(filepath.Join(n.cache, "code.key")); err != nil {
		return err
	}
	left, _ := os.ReadDir(n.workersDir())
	if err := os.RemoveAll(n.workersDir()); err != nil {
		return fmt.Errorf("remove what earlier workers left: %w", err)
	}
	if len(left) > 0 {
		n.log("removed what %d workers of an earlier node had left", len(left))
	}
	return os.Mkdir(n.workersDir(), 0o700)
}

const (
	ephemeralPrefix = "clonecloud-node-"
	// ephemeralNew is how old a folder is before its lock is looked at: its node may not have made it yet.
	ephemeralNew = time.Minute
)

// sweepEphemeral removes what ephemeral nodes have left that were killed: folders whose lock nobody holds.
func sweepEphemeral() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), ephemeralPrefix+"*"))
	for _, d := range dirs {
		fi, err := os.Lstat(d)
		if err != nil || !fi.IsDir() || time.Since(fi.ModTime()) < ephemeralNew {
			continue
		}
		if unlock, err := lockFolder(filepath.Join(d, "lock")); err == nil { // else it is used, or somebody else's
			unlock()
			_ = os.RemoveAll(d) // the next node tries again
		}
	}
}

func (n *Node) workersDir() string      { return filepath.Join(n.state, "workers") }
func (n *Node) workerDir(id int) string { return filepath.Join(n.workersDir(), strconv.Itoa(id)) }
func (n *Node) modulesDir() string      { return filepath.Join(n.cache, "modules") }
func (n *Node) codeDir() string         { return filepath.Join(n.cache, "code") }
func (n *Node) measuresDir() string     { return filepath.Join(n.cache, "measures") }

// filesPlace is where workers keep the files of devices.
func (n *Node) filesPlace() string {
	if strings.HasPrefix(n.cfg.Files, "s3://") {
		return n.cfg.Files
	}
	if n.cfg.Files != "" {
		if abs, err := filepath.Abs(n.cfg.Files); err == nil {
			return abs
		}
	}
	return filepath.Join(n.state, "files")
}

func (n *Node) log(format string, args ...any) { n.cfg.Log(format, args...) }

// Addr is the address that the node listens on.
func (n *Node) Addr() net.Addr { return n.ln.Addr() }

// Address is what a device needs to reach the node. It contains the token.
func (n *Node) Address() trust.Address {
	if n.cfg.Advertise != "" {
		return n.auth.Address(n.cfg.Advertise)
	}
	a := n.ln.Addr().(*net.TCPAddr)
	host := a.IP.String()
	if a.Zone != "" {
		host += "%" + a.Zone
	}
	if a.IP.IsUnspecified() {
		host = wayOut()
	}
	return n.auth.Address(net.JoinHostPort(host, strconv.Itoa(a.Port)))
}

// wayOut is the address of this machine that others most likely reach it under.
func wayOut() string {
	// Connecting a datagram socket sends nothing; it chooses a route. The address is one set aside for documentation.
	c, err := net.Dial("udp", "192.0.2.1:9")
	if err != nil {
		return "127.0.0.1"
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).IP.String()
}

// Close ends the node at once: its connections, its workers, and what they run. It returns when nothing of it is left.
func (n *Node) Close() {
	n.closing.Do(func() {
		n.cancel()
		if n.ln != nil {
			n.ln.Close()
		}
		n.mu.Lock()
		n.over = true
		if n.again != nil {
			n.again.Stop()
		}
		procs := n.processes()
		n.mu.Unlock()
		for _, p := range procs {
			p.mu.Lock()
			p.asked = true
			p.mu.Unlock()
			_ = p.cmd.Process.Kill() // it may have ended already
		}
		if n.pending != nil {
			n.pending.Close()
			n.waiting.Close()
		}
		if n.plain != nil {
			n.plain.close()
		}
	})
	n.wg.Wait()
	n.cleanup()
}

// cleanup removes what Close leaves on disk, once.
func (n *Node) cleanup() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cleaned {
		return
	}
	n.cleaned = true
	close(n.spawner)
	if n.cfg.State == "" && n.state != "" {
		if err := os.RemoveAll(n.state); err != nil {
			n.log("remove %s: %v", n.state, err)
		}
	}
	n.unlock()
}

// Drain ends the node in peace: it takes no new devices and conversations, lets offloads that run finish for as long
// as Config.Drain, and then closes. The error tells that ctx or that time ended first; the devices fall back then.
func (n *Node) Drain(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, n.cfg.Drain+drainSlack)
	defer stop()
	n.mu.Lock()
	first := !n.draining
	n.draining = true
	spare := n.pool.close()
	for _, w := range n.waiters {
		w.fail(control.ErrDraining)
	}
	procs := n.processes()
	n.mu.Unlock()
	if first {
		n.log("draining: running offloads have %v to finish", n.cfg.Drain)
	}
	for _, id := range spare {
		n.mu.Lock()
		p := n.procs[id]
		n.mu.Unlock()
		if p != nil {
			n.retire(p, "")
		}
	}
	for _, p := range procs {
		n.drainProcess(p)
	}
	var err error
	for _, p := range procs {
		select {
		case <-p.gone:
		case <-ctx.Done():
			err = fmt.Errorf("drain: work was still running: %w", ctx.Err())
		}
	}
	n.Close()
	return err
}

// drainSlack is how much longer than it was allowed to drain a worker may take to end.
const drainSlack = 3 * time.Second
