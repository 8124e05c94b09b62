package conformance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clonecloud/clonecloud/internal/engine/engines"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/node"
	"github.com/clonecloud/clonecloud/internal/remote"
	"github.com/clonecloud/clonecloud/internal/trust"
)

// Site is a node as users have it: a daemon in a process of its own, with workers in processes of theirs. Both are this
// executable, whose main function must call ChildMain first.
type Site struct {
	State  string // folder of the node
	Engine string // of its clones
	Grace  time.Duration
	Idle   time.Duration // how long a worker is kept for nothing; default 30 s

	mu      sync.Mutex
	cmd     *exec.Cmd     // guarded by mu
	stdin   io.Closer     // guarded by mu; the node ends with it
	address trust.Address // guarded by mu
	devices []*remote.Node
	turn    atomic.Uint32
	log     *os.File
}

// The arguments with which this executable is a part of a site.
const (
	siteNode   = "site-node"
	siteWorker = "worker"
)

// ChildMain is the main function of a site's processes; false: this process is none.
func ChildMain() (code int, child bool) {
	switch {
	case len(os.Args) == 2 && os.Args[1] == siteWorker:
		return node.WorkerMain(node.Engines{Kinds: kindsOf, New: engines.New}), true
	case len(os.Args) == 7 && os.Args[1] == siteNode:
		if err := siteMain(os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

func siteMain(listen, state, kind, grace, idle string) error {
	g, err := time.ParseDuration(grace)
	if err != nil {
		return err
	}
	i, err := time.ParseDuration(idle)
	if err != nil {
		return err
	}
	if group := os.Getenv("CLONECLOUD_SITE_CGROUP"); group != "" {
		// Tests that slow devices down leave the node as it is.
		if err := os.WriteFile(group, []byte("0"), 0); err != nil {
			return err
		}
	}
	n, err := node.Start(context.Background(), node.Config{
		Listen: listen, State: state, Cache: filepath.Join(os.TempDir(), "clonecloud-test-node"), Engine: kind, Grace: g, Idle: i,
		Limits: node.Limits{Clones: 2048, Links: 4096}, // scripts of hundreds of modules, some at a time
		Log:    func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, n.Address().String())
	_, err = io.Copy(io.Discard, os.Stdin)
	n.Close()
	return err
}

// Start starts the node, or starts it again at the same address.
func (s *Site) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	listen := "127.0.0.1:0"
	if s.address.Host != "" {
		listen = s.address.Host
	}
	if s.Grace == 0 {
		s.Grace = 10 * time.Second
	}
	if s.Idle == 0 {
		s.Idle = 30 * time.Second
	}
	if s.log == nil {
		if s.log, err = os.Create(filepath.Join(s.State, "site.log")); err != nil {
			return err
		}
	}
	s.cmd = exec.Command(self, siteNode, listen, filepath.Join(s.State, "node"), s.Engine, s.Grace.String(), s.Idle.String())
	s.cmd.Stderr = s.log
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		s.address, err = trust.ParseAddress(strings.TrimSpace(line))
	}
	if err != nil {
		_ = s.cmd.Process.Kill() // it said nothing of use
		return fmt.Errorf("start site: %w (see %s)", errors.Join(err, s.cmd.Wait()), s.log.Name())
	}
	return nil
}

// Address is the node's.
func (s *Site) Address() trust.Address {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address
}

// Dialer returns the way of one of a few devices, in turn.
func (s *Site) Dialer() link.Dialer {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.devices) < 2 {
		s.devices = append(s.devices, &remote.Node{Address: s.address, Device: trust.NewSecret()})
	}
	return s.devices[int(s.turn.Add(1))%len(s.devices)].Connect
}

// Device returns the way of a device that is new to the node, over dial.
func (s *Site) Device(dial func(ctx context.Context, address string) (net.Conn, error)) *remote.Node {
	return &remote.Node{Address: s.Address(), Device: trust.NewSecret(), DialTCP: dial}
}

// Kill ends the daemon as a lack of power would; its workers notice.
func (s *Site) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait() // killed
	}
}

// Pid is the daemon's process.
func (s *Site) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd.Process.Pid
}

// Workers returns the processes of the workers, as far as this system tells.
func (s *Site) Workers() []int {
	s.mu.Lock()
	pid := s.cmd.Process.Pid
	s.mu.Unlock()
	var ids []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range tasks {
		b, _ := os.ReadFile(t)
		for _, f := range strings.Fields(string(b)) {
			if id, err := strconv.Atoi(f); err == nil {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// Close ends the node and its workers.
func (s *Site) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	s.stdin.Close()
	_ = s.cmd.Wait() // it may have been killed
	s.log.Close()
}
