//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud"
)

// command is a process of the built binary that goes on.
type command struct {
	cmd    *exec.Cmd
	stdout *bufio.Reader
	text   bytes.Buffer // of stderr; to be read once it has ended
}

func startCommand(t *testing.T, stdin io.Reader, args ...string) *command {
	t.Helper()
	c := &command{cmd: exec.Command(builtBinary(t), args...)}
	c.cmd.Stdin, c.cmd.Stderr = stdin, &c.text
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdout = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.cmd.Process.Kill() })
	return c
}

// line is the next line of its output.
func (c *command) line(t *testing.T) string {
	t.Helper()
	s, err := c.stdout.ReadString('\n')
	if err != nil {
		c.cmd.Wait()
		t.Fatalf("no line: %v: %s", err, c.text.String())
	}
	return strings.TrimSpace(s)
}

// end waits for its end after a signal.
func (c *command) end(t *testing.T, s syscall.Signal) int {
	t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	c.cmd.Wait()
	return c.cmd.ProcessState.ExitCode()
}

// running waits until a node runs an offload.
func running(t *testing.T, address string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		s, err := clonecloud.QueryNode(context.Background(), clonecloud.RemoteCloudConfig{Address: address})
		if err == nil && s.Running > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no offload runs: %+v, %v", s, err)
		}
	}
}

// TestNodeCommand starts the command and drains it by a signal, while a run goes on.
func TestNodeCommand(t *testing.T) {
	settings(t)
	node := startCommand(t, nil, "node", "--listen", "127.0.0.1:0", "--state", t.TempDir(), "--drain", "10s")
	address := node.line(t)
	t.Setenv("NODE_ADDRESS", address)
	if got := onBinary(t, nil, "run", "--cloud", "env://NODE_ADDRESS", "--offload", "always", guest, "work", "1000"); got.code != 0 || got.stderr != "" {
		t.Fatalf("run: got %+v", got)
	}
	done := make(chan result, 1)
	go func() {
		done <- onBinary(t, nil, "run", "--cloud", "env://NODE_ADDRESS", "--offload", "always", guest, "work", "2000000")
	}()
	running(t, address)
	if code := node.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("node: exit code %d: %s", code, node.text.String())
	}
	got := <-done
	alone := onBinary(t, nil, "run", guest, "work", "2000000")
	if got.code != 0 || got.stdout != alone.stdout {
		t.Errorf("run: got %+v, want %+v", got, alone)
	}
}

// TestNodeJSON reads what a node says as JSON.
func TestNodeJSON(t *testing.T) {
	settings(t)
	node := startCommand(t, nil, "node", "--json", "--listen", "127.0.0.1:0", "--drain", "1s")
	var v struct {
		Version         int
		Address, Listen string
	}
	if err := json.Unmarshal([]byte(node.line(t)), &v); err != nil || v.Version != nodeVersion || !strings.HasPrefix(v.Address, "clonecloud://"+v.Listen) {
		t.Errorf("got %+v, %v", v, err)
	}
	if code := node.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for line := range strings.Lines(node.text.String()) {
		var l struct {
			Version       int
			Time, Message string
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Version != nodeVersion || l.Message == "" {
			t.Errorf("log line %q: %v", line, err)
		}
	}
}

// TestStopped stops the device in the midst of an offload, as ctrl-Z does: it goes on where it was.
func TestStopped(t *testing.T) {
	settings(t)
	n, address := startNode(t, clonecloud.NodeConfig{})
	run := startCommand(t, nil, "run", "--cloud", address, "--offload", "always", "--verbose", guest, "work", "2000000")
	running(t, n.Address())
	run.cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(time.Second) // not a wait for a state: it is how long the device is stopped
	run.cmd.Process.Signal(syscall.SIGCONT)
	got := run.line(t)
	run.cmd.Wait()
	if want := onBinary(t, nil, "run", guest, "work", "2000000").stdout; got+"\n" != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if text := run.text.String(); !strings.Contains(text, "1 offloads, 0 fallbacks") {
		t.Errorf("stderr: %s", text)
	}
}

// TestEndTellsClone ends a device that waits for its clone. The clone ends too, at once where it polls; its code here
// does not, and is ended with its worker.
func TestEndTellsClone(t *testing.T) {
	settings(t)
	n, address := startNode(t, clonecloud.NodeConfig{})
	run := startCommand(t, nil, "run", "--cloud", address, "--offload", "always", guest, "forever")
	running(t, n.Address())
	time.Sleep(100 * time.Millisecond) // the device notices that it waits
	if code := run.end(t, syscall.SIGINT); code != exitInterrupted && code != -1 {
		t.Errorf("exit code %d: %s", code, run.text.String())
	}
	deadline := time.Now().Add(20 * time.Second)
	for n.Status().Clones > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("the clone lives on: %+v", n.Status())
		}
		time.Sleep(10 * time.Millisecond)
	}
}
