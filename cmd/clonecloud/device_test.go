//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud"
)

// TestDeviceCommand has the command keep a directory in a node, change with it, and end by a signal.
func TestDeviceCommand(t *testing.T) {
	settings(t)
	_, address := startNode(t, clonecloud.NodeConfig{})
	dir := t.TempDir()
	put := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("one")
	cmd := exec.Command(builtBinary(t), "device", "--cloud", address, "--json", "--interval", "50ms", "--busy", "--on-battery", "--metered", dir)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	said := bufio.NewScanner(stderr)
	for said.Scan() {
		var l struct {
			Version int
			Message string
		}
		if err := json.Unmarshal(said.Bytes(), &l); err != nil || l.Version != nodeVersion {
			t.Fatalf("log line %q: %v", said.Text(), err)
		}
		if strings.Contains(l.Message, "1 of 1 files are in the cloud") {
			break
		}
		t.Logf("it says %q", l.Message)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for said.Scan() {
		t.Errorf("after the end: %q", said.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("got %v", err)
	}
	if got := onBinary(t, nil, "sync", "--cloud", address, "--json", dir); got.code != 0 || !strings.Contains(got.stdout, `"done": true`) {
		t.Errorf("sync: got %+v", got)
	}
}

// TestSyncInterrupted ends sync by ctrl-C: it says how to go on, and a repetition does.
func TestSyncInterrupted(t *testing.T) {
	settings(t)
	n, address := startNode(t, clonecloud.NodeConfig{})
	dir := t.TempDir()
	b := make([]byte, 4<<20)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	if err := os.WriteFile(filepath.Join(dir, "large"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	c := startCommand(t, nil, "sync", "--cloud", address, "--rate", "1kB", dir)
	deadline := time.Now().Add(30 * time.Second)
	for n.Status().Clones == 0 { // its conversation
		if time.Now().After(deadline) {
			t.Fatalf("it brings nothing: %+v", n.Status())
		}
		time.Sleep(10 * time.Millisecond)
	}
	if code := c.end(t, syscall.SIGINT); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	if text := c.text.String(); text != "clonecloud: it was ended; a repetition goes on from there\n" {
		t.Errorf("stderr %q", text)
	}
	if got := onBinary(t, nil, "sync", "--cloud", address, dir); got.code != 0 || !strings.HasSuffix(got.stdout, "all is there\n") {
		t.Errorf("again: got %+v", got)
	}
}
