package node

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/node/control"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/trust"
)

// process is a worker as the daemon sees it. Its fields are set once, but for those of mu.
type process struct {
	id     int
	dir    string
	cmd    *exec.Cmd
	stdin  *os.File
	orders chan []byte   // lines to write
	gone   chan struct{} // closed when the process has ended
	freed  chan struct{} // closed when its route may be another's

	stdout, stderr *os.File

	passing sync.Mutex
	pass    *net.UnixConn // guarded by passing, for writing; nil: relayed

	mu      sync.Mutex
	ready   *control.Readiness // guarded by mu; nil until the first word
	route   trust.Route        // guarded by mu
	serving bool               // guarded by mu; route is set
	chained time.Time          // guarded by mu; when its certificate was signed
	passed  uint64             // guarded by mu; connections that it was given
	stats   control.Stats      // guarded by mu
	rss     uint64             // guarded by mu; bytes
	before  uint64             // guarded by mu; likewise, before the compilations that go on
	watch   control.Watches    // guarded by mu
	heard   time.Time          // guarded by mu
	failed  string             // guarded by mu; its last word
	why     string             // guarded by mu; why the daemon ends it
	greedy  bool               // guarded by mu; for want of memory, which a compilation took
	asked   bool               // guarded by mu; it was told to end, so that its end is no failure
	silent  bool               // guarded by mu; orders is closed
}

// environment is what a worker inherits; the rest of the daemon's is none of its business.
var environment = []string{
	"PATH", "HOME", "LANG", "SystemRoot", "LD_LIBRARY_PATH", "ANDROID_ROOT", "ANDROID_DATA",
	"GOMAXPROCS", "GOMEMLIMIT", "GOGC", "GODEBUG", "GORACE", "GOCOVERDIR", "GOTRACEBACK",
}

// storeEnvironment is what it inherits as well where it keeps files in an object store: who it is there, and whom to trust.
var storeEnvironment = []string{
	"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE",
	"SSL_CERT_FILE", "SSL_CERT_DIR",
}

func workerEnv(dir, files string) []string {
	inherited := environment
	if strings.HasPrefix(files, "s3://") {
		inherited = slices.Concat(environment, storeEnvironment)
	}
	env := []string{"TMPDIR=" + dir, "TMP=" + dir, "TEMP=" + dir}
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); slices.Contains(inherited, name) {
			env = append(env, kv)
		}
	}
	return env
}

// startProcess starts a worker; follow goes on with it.
func (n *Node) startProcess(id int) (_ *process, err error) {
	p := &process{id: id, orders: make(chan []byte, 64), gone: make(chan struct{}), freed: make(chan struct{}), heard: time.Now()}
	p.dir = n.workerDir(id)
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make worker's folder: %w", err)
	}
	var files []*os.File // all that were opened
	keep := map[*os.File]bool{}
	defer func() {
		for _, f := range files {
			if err != nil || !keep[f] {
				f.Close()
			}
		}
		if err != nil {
			if p.pass != nil {
				p.pass.Close()
			}
			os.RemoveAll(p.dir)
		}
	}()
	pipe := func() (r, w *os.File) {
		if err == nil {
			r, w, err = os.Pipe()
			files = append(files, r, w)
		}
		return r, w
	}
	in, stdin := pipe()
	stdout, out := pipe()
	stderr, errs := pipe()
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	keep[stdin], keep[stdout], keep[stderr] = true, true, true
	p.stdin, p.stdout, p.stderr = stdin, stdout, stderr
	p.cmd = exec.Command(n.cfg.Worker[0], n.cfg.Worker[1:]...)
	p.cmd.Env, p.cmd.Dir = workerEnv(p.dir, n.cfg.Files), p.dir
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = in, out, errs
	p.cmd.SysProcAttr = workerAttr()
	if !n.cfg.Relay {
		ours, theirs, err := control.SocketPair()
		if err != nil {
			return nil, err
		}
		files = append(files, theirs)
		p.pass = ours
		p.cmd.ExtraFiles = []*os.File{theirs}
	}
	n.spawner.do(func() { err = p.cmd.Start() })
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	p.order(control.Order{Setup: &control.Setup{Engine: n.cfg.Engine, Dir: p.dir, Relay: n.cfg.Relay}})
	return p, nil
}

// follow runs what a process needs until it has ended.
func (p *process) follow(n *Node) {
	var reading sync.WaitGroup
	n.wg.Go(p.write)
	reading.Go(func() {
		in := control.NewLines(p.stdout)
		for {
			r, err := in.ReadReport()
			if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
			if err == nil {
				err = n.heard(p, r)
			}
			if err != nil {
				n.kill(p, fmt.Sprintf("it broke the rules: %v", err))
				return
			}
		}
	})
	reading.Go(func() {
		quiet := control.Tally{}
		logLines(p.stderr, func(line string) {
			if quiet.Add("", time.Now()) {
				n.log("worker %d: %s", p.id, peer.Printable(line))
			}
			for range quiet.Rest(time.Now()) {
				n.log("worker %d: said more than is logged", p.id)
			}
		})
	})
	n.wg.Go(func() {
		err := p.cmd.Wait()
		close(p.gone)
		// What it said last is in the pipes; nobody writes any more, but a child of its own, if it has one.
		soon := time.Now().Add(time.Second)
		_, _ = p.stdout.SetReadDeadline(soon), p.stderr.SetReadDeadline(soon)
		reading.Wait()
		_, _, _ = p.stdout.Close(), p.stderr.Close(), p.stdin.Close()
		p.passing.Lock()
		if p.pass != nil {
			p.pass.Close()
		}
		p.passing.Unlock()
		n.ended(p, err)
	})
}

// write writes the orders.
func (p *process) write() {
	for {
		select {
		case line, ok := <-p.orders:
			if !ok {
				p.stdin.Close()
				return
			}
			if _, err := p.stdin.Write(line); err != nil {
				return // it ends, which is noticed elsewhere
			}
		case <-p.gone:
			return
		}
	}
}

// order tells the worker something. A worker that does not listen loses its place: false.
func (p *process) order(o control.Order) bool {
	line, err := control.EncodeLine(o)
	if err != nil {
		panic("BUG: order cannot be encoded: " + err.Error())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent {
		return true
	}
	select {
	case p.orders <- line:
		return true
	default:
		return false
	}
}

// deliver hands a connection over: it is closed here in any case but an error.
func (p *process) deliver(n *Node, c *client) error {
	p.mu.Lock()
	ready, behind := p.ready, p.passed-p.stats.Seen
	if behind >= maxBehind {
		p.mu.Unlock()
		return &control.Refusal{Reason: control.ReasonWorker, Code: http.StatusServiceUnavailable, Text: "the worker of this device is held up"}
	}
	p.passed++
	p.mu.Unlock()
	var err error
	if p.pass == nil {
		var w *net.TCPConn
		if w, err = relayTo(ready); err == nil {
			n.wg.Go(func() { relay(c, w, p.gone) })
			return nil
		}
	} else {
		p.passing.Lock()
		err = control.Pass(p.pass, c.TCPConn)
		p.passing.Unlock()
		if err == nil {
			c.TCPConn.Close()
			return nil
		}
	}
	p.mu.Lock()
	p.passed--
	p.mu.Unlock()
	return fmt.Errorf("%w: %w", control.ErrWorker, err)
}

// maxBehind bounds the connections that a worker was given and has not taken up yet.
const maxBehind = 64

// kill ends a worker at once, and says why, once.
func (n *Node) kill(p *process, why string) {
	p.mu.Lock()
	first := p.why == ""
	if first {
		p.why = why
	}
	p.mu.Unlock()
	if first {
		n.log("worker %d is ended: %s", p.id, why)
	}
	_ = p.cmd.Process.Kill() // it may have ended already
}

// retire lets a worker end by itself, which it does when its orders end.
func (n *Node) retire(p *process, why string) {
	p.mu.Lock()
	again := p.silent
	if p.asked = true; !p.silent {
		p.silent = true
		close(p.orders)
	}
	p.mu.Unlock()
	if again {
		return
	}
	if why != "" {
		n.log("worker %d is no longer needed: %s", p.id, why)
	}
	time.AfterFunc(retireTime, func() { _ = p.cmd.Process.Kill() }) // which does nothing to one that has ended
}

// retireTime is how long a worker without work may take to end.
const retireTime = 3 * time.Second

// spawner starts processes from one thread that lives as long as it does: on Linux a child that is to die with its
// parent dies with the thread that started it.
type spawner chan func()

func newSpawner() spawner {
	s := make(spawner)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for f := range s {
			f()
		}
	}()
	return s
}

func (s spawner) do(f func()) {
	done := make(chan struct{})
	s <- func() {
		defer close(done)
		f()
	}
	<-done
}
