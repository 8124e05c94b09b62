//go:build unix

package peer

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

const (
	vigilTime  = 480 * time.Millisecond
	vigilPause = time.Second
)

// TestVigilPaused stops a process of its own in the midst of a vigil: the pause counts for one step of it at most.
func TestVigilPaused(t *testing.T) {
	if os.Getenv("PEER_VIGIL") != "" {
		start, done := time.Now(), make(chan struct{})
		keepVigil(vigilTime, func() { close(done) })
		fmt.Println("\nbegun")
		<-done
		fmt.Println(int64(time.Since(start)))
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestVigilPaused$")
	cmd.Env = append(os.Environ(), "PEER_VIGIL=1")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "begun" {
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(vigilPause) // what is tested is the passing of time
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	var took time.Duration
	if !lines.Scan() {
		t.Fatal("it says nothing")
	}
	if _, err := fmt.Sscan(lines.Text(), (*int64)(&took)); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if least := vigilPause + vigilTime - 2*vigilTime/vigilSteps; took < least {
		t.Errorf("it took %v, less than %v", took, least)
	}
}
