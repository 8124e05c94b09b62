package node_test

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
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/node"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/trust"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// TestFlood fills the table of pending connections many times over, and a device gets in all the same.
func TestFlood(t *testing.T) {
	for _, relay := range []bool{false, true} {
		t.Run(fmt.Sprintf("relay=%t", relay), func(t *testing.T) {
			n := startNode(t, func(c *node.Config) { c.Relay = relay })
			d := newClient(n.Node)
			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			defer wg.Wait()
			defer stop()
			for i := range 4 {
				wg.Go(func() {
					var open []net.Conn
					defer func() {
						for _, c := range open {
							c.Close()
						}
					}()
					for ctx.Err() == nil {
						c, err := net.Dial("tcp", n.Addr().String())
						if err != nil {
							continue // this process has as many as it may
						}
						if i%2 == 1 {
							c.Write([]byte{22, 3, 1, 2}) // the beginning of a ClientHello
						}
						if open = append(open, c); len(open) > 400 {
							open[0].Close()
							open = open[1:]
						}
					}
				})
			}
			n.log.await("too many connections wait")
			for range 5 {
				d.insist(t).Close()
			}
			if s := n.Status(); s.Refused["crowd"] == 0 || s.Pending > 512 {
				t.Errorf("pending %d, refused %v", s.Pending, s.Refused)
			}
			if got := n.log.len(); got > 200 {
				t.Errorf("the flood made %d lines in the log", got)
			}
		})
	}
}

// TestGarbage sends what is no ClientHello, or not all of one; each connection is closed, none costs a worker.
func TestGarbage(t *testing.T) {
	t.Parallel()
	n := startNode(t, nil)
	var wg sync.WaitGroup
	for _, text := range []string{
		"GET / HTTP/1.1\r\n\r\n", "\x00", strings.Repeat("x", 20_000), "\x16\x03\x01\xff\xff", "\x16\x03\x01\x00\x04\x01\x00\xff\xff",
		"\x16\x03\x01\x00\x01\x01", "",
	} {
		wg.Go(func() {
			c, err := net.Dial("tcp", n.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			io.WriteString(c, text)
			c.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%.20q: the connection is kept", text)
			}
		})
	}
	wg.Wait()
	until(t, "all are counted", func() bool { return n.Status().Refused["hello"] == 7 })
	if s := n.Status(); s.Devices != 0 || s.Pending != 0 {
		t.Errorf("%d devices and %d pending connections, want none", s.Devices, s.Pending)
	}
}

// TestSlowLoris keeps connections of a known route that say nothing: the worker drops them, and serves its device meanwhile.
func TestSlowLoris(t *testing.T) {
	t.Parallel()
	n := startNode(t, nil)
	d := newClient(n.Node)
	for range 100 {
		c, err := d.tls(t.Context(), d.sni())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "GET /v1/link HTTP/1.1\r\n")
	}
	l, err := d.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	until(t, "the oldest are dropped", func() bool { return n.Status().Refused["crowd"] >= 36 })
	if testing.Short() {
		return
	}
	until(t, "the others have had their time", func() bool { return n.Status().Refused["request"] >= 63 })
}

// TestBadFrames breaks the protocol of frames behind a good request.
func TestBadFrames(t *testing.T) {
	t.Parallel()
	n := startNode(t, nil)
	d := newClient(n.Node)
	for _, frames := range []string{
		strings.Repeat("\xff", 100), "\x00\x00\x00\x00" + strings.Repeat("x", 24), "\x03\x00\x00\x00\x01" + strings.Repeat("\x00", 26),
	} {
		conn, err := d.tls(t.Context(), d.sni())
		if err != nil {
			t.Fatal(err)
		}
		in, err := ask(conn, append(trust.RequestHeader(d.sni(), d.addr.Token, d.id), frames...))
		if err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(io.Discard, in); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: the link is kept", frames)
		}
		conn.Close()
	}
	until(t, "they are counted", func() bool { return n.Status().Refused["greeting"] == 3 })
	// A greeting in another version is told so.
	_, _, err := peer.Dial(t.Context(), d.dial, wire.Hello{Version: wire.Version + 1, Session: wire.Token{1}}, peer.Config{})
	var r *peer.RefusedError
	if !errors.As(err, &r) || r.Code != wire.CodeVersion {
		t.Errorf("got %v, want a refusal of the version", err)
	}
}

// TestWorkerKilled kills the worker of a device again and again while that runs.
func TestWorkerKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("finds workers by /proc")
	}
	n := startNode(t, nil)
	d := newClient(n.Node)
	for range 3 {
		l := d.insist(t)
		until(t, "the link is seen", func() bool { return n.Status().Links == 1 })
		for _, pid := range workers(t, os.Getpid()) {
			p, _ := os.FindProcess(pid)
			p.Kill()
		}
		if _, err := l.Recv(t.Context()); !errors.Is(err, link.ErrClosed) {
			t.Errorf("link of a killed worker: %v", err)
		}
		l.Close()
	}
	n.log.await("died: signal: killed")
	if out, r := run(t.Context(), t, d.dial); out != alone()(t) || merged(r) == 0 {
		t.Errorf("after the kills: %q %+v", out, r)
	}
}

// workers returns the processes that another has started as workers.
func workers(t testing.TB, parent int) (pids []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, stat := range stats {
		dir := filepath.Dir(stat)
		b, _ := os.ReadFile(stat)
		_, rest, _ := strings.Cut(string(b), ") ")
		cmd, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(parent) && strings.HasSuffix(string(cmd), "\x00worker\x00") {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestLimits has work that does not end; the worker is ended, and the device goes on alone.
func TestLimits(t *testing.T) {
	for _, c := range []struct{ kind, log string }{
		{"endless", "did not stop after"}, {"held", "did not stop after"}, {"slow", "does not compile within"}, {"greedy", "of memory resident"},
	} {
		t.Run(c.kind, func(t *testing.T) {
			t.Parallel()
			if runtime.GOOS != "linux" && c.kind == "greedy" {
				t.Skip("memory is looked at on Linux only")
			}
			n := startNode(t, func(cfg *node.Config) {
				cfg.Engine = c.kind
				switch c.kind {
				case "slow":
					cfg.Limits.Compile = 300 * time.Millisecond
				case "greedy":
					cfg.Limits.WorkerMemory = 300 << 20
				default:
					cfg.Limits.Exec, cfg.Limits.Wall = 300*time.Millisecond, 300*time.Millisecond
				}
			})
			d := newClient(n.Node)
			out, r := run(t.Context(), t, d.dial)
			if out != alone()(t) {
				t.Errorf("got %q, want %q", out, alone()(t))
			}
			if merged(r) != 0 {
				t.Errorf("%d offloads were merged", merged(r))
			}
			n.log.await(c.log)
			if c.kind != "slow" && c.kind != "greedy" {
				return
			}
			// The module is refused from now on, to other devices as well, and costs no worker any more.
			n.log.await("is refused for 1h0m0s")
			other := newClient(n.Node)
			if out, _ := run(t.Context(), t, other.dial); out != alone()(t) {
				t.Errorf("another device: got %q", out)
			}
			if s := n.Status(); s.Denied != 1 {
				t.Errorf("%d modules denied, want 1", s.Denied)
			}
		})
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	n := startNode(t, func(c *node.Config) { c.Drain = 10 * time.Second })
	d := newClient(n.Node)
	l, err := d.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	wg.Go(func() {
		for again := true; again; again = ctx.Err() == nil { // runs are short
			if got, _ := run(context.Background(), t, d.dial); got != alone()(t) {
				t.Errorf("got %q, want %q", got, alone()(t))
			}
		}
	})
	until(t, "a clone is there", func() bool { return n.Status().Clones > 0 })
	if err := n.Drain(context.Background()); err != nil {
		t.Errorf("drain: %v", err)
	}
	if _, err := net.Dial("tcp", n.Addr().String()); err == nil {
		t.Error("the port is still open")
	}
}

func TestDrainEndless(t *testing.T) {
	t.Parallel()
	n := startNode(t, func(c *node.Config) { c.Engine, c.Drain = "endless", 200*time.Millisecond })
	d := newClient(n.Node)
	out := make(chan string)
	go func() {
		o, _ := run(context.Background(), t, d.dial)
		out <- o
	}()
	until(t, "an offload runs", func() bool { return n.Status().Running > 0 })
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
	defer stop()
	begin := time.Now()
	_ = n.Drain(ctx)
	if took := time.Since(begin); took > 30*time.Second { // its program would run for ever
		t.Errorf("draining took %v", took)
	}
	if got, want := <-out, alone()(t); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestDaemonKilled kills a daemon in a process of its own: its workers end with it.
func TestDaemonKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("finds workers by /proc")
	}
	state := t.TempDir()
	cmd := exec.Command(os.Args[0], "daemon", state)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	addr, err := trust.ParseAddress(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	d := &client{addr: addr, id: trust.NewSecret()}
	l, err := d.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	pids := workers(t, cmd.Process.Pid)
	if len(pids) == 0 {
		t.Fatal("no workers")
	}
	cmd.Process.Kill()
	cmd.Wait()
	if _, err := l.Recv(t.Context()); !errors.Is(err, link.ErrClosed) {
		t.Errorf("link of a killed node: %v", err)
	}
	until(t, "its workers have ended", func() bool {
		for _, pid := range pids {
			if cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.HasSuffix(string(cmd), "\x00worker\x00") {
				return false
			}
		}
		return true
	})
	// The same folder serves the next one.
	n := startNode(t, func(c *node.Config) { c.State = state })
	if n.Address().Token != addr.Token {
		t.Error("the address has changed")
	}
	n.log.await("of an earlier node had left")
}

// TestLeaks runs devices against a node and counts what is left of it.
func TestLeaks(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("counts descriptors by /proc")
	}
	files := func() int {
		list, _ := os.ReadDir("/proc/self/fd")
		return len(list)
	}
	startNode(t, nil).Close() // what the process opens once and keeps
	for _, relay := range []bool{false, true} {
		f, g := files(), runtime.NumGoroutine()
		n := startNode(t, func(c *node.Config) { c.Relay = relay })
		idle := files() // with one worker
		for range 2 {
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					d := newClient(n.Node)
					l, err := d.dial(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					l.Close()
				})
			}
			wg.Wait()
		}
		until(t, "links and connections are gone", func() bool { return n.Status().Links == 0 })
		until(t, "each worker costs no more than it should", func() bool { return files() <= idle+n.Status().Workers*5+4 })
		n.Close()
		until(t, "files and goroutines are back", func() bool { return files() <= f && runtime.NumGoroutine() <= g })
		if left := workers(t, os.Getpid()); len(left) != 0 {
			t.Errorf("workers are left: %v", left)
		}
	}
}

// TestRelayed has a device that keeps a connection open which its worker has closed. A node that relays must not keep its
// own ends of it, nor wait for such a device when it is closed itself.
func TestRelayed(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("counts descriptors by /proc")
	}
	files := func() int {
		list, _ := os.ReadDir("/proc/self/fd")
		return len(list)
	}
	n := startNode(t, func(c *node.Config) { c.Relay = true })
	d := newClient(n.Node)
	open := func() net.Conn {
		conn, err := d.tls(t.Context(), d.sni())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	open().Close()
	until(t, "the worker has seen it", func() bool { return n.Status().Workers == 2 })
	time.Sleep(100 * time.Millisecond)
	before := files()
	for range 5 {
		conn := open()
		defer conn.Close()
		if _, err := conn.Write([]byte("nonsense\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, conn)
	}
	until(t, "only the device's own ends are open", func() bool { return files() <= before+5 })
	conn := open() // and the worker is ended while it waits for a request
	defer conn.Close()
	ended := make(chan struct{})
	go func() {
		n.Close()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the node does not close")
	}
}

// TestIdle has a worker whose device is away.
func TestIdle(t *testing.T) {
	t.Parallel()
	n := startNode(t, func(c *node.Config) { c.Idle = 300 * time.Millisecond })
	d := newClient(n.Node)
	l, err := d.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the device is known", func() bool { return n.Status().Links == 1 })
	l.Close()
	n.log.await("its device has been away")
	until(t, "its worker is gone", func() bool { s := n.Status(); return s.Devices == 0 && s.Workers == 1 })
	if l, err = d.dial(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func BenchmarkConnect(b *testing.B) {
	for _, relay := range []bool{false, true} {
		b.Run(fmt.Sprintf("relay=%t", relay), func(b *testing.B) {
			n := startNode(b, func(c *node.Config) { c.Relay = relay })
			d := newClient(n.Node)
			for b.Loop() {
				l, err := d.dial(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				l.Close()
			}
		})
	}
}
