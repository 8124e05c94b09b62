//go:build unix

package main

import (
	"bufio"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// TestSignals ends a guest that calls nothing, here and on a clone.
func TestSignals(t *testing.T) {
	bin := builtBinary(t)
	clone := []string{"run", "--cloud", "local", "--offload", "always"}
	tests := []struct {
		name   string
		args   []string
		signal syscall.Signal
		code   int
	}{
		{"interrupt", []string{"run", guest, "forever"}, syscall.SIGINT, exitInterrupted},
		{"terminate", []string{"run", guest, "forever"}, syscall.SIGTERM, exitTerminated},
		{"interrupt-interpreter", []string{"run", "--engine", "interpreter", guest, "forever"}, syscall.SIGINT, exitInterrupted},
		{"interrupt-clone", append(clone, guest, "forever"), syscall.SIGINT, exitInterrupted},
		{"terminate-clone", append(clone, guest, "forever"), syscall.SIGTERM, exitTerminated},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command(bin, tt.args...)
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			lines := bufio.NewReader(stderr)
			if line, err := lines.ReadString('\n'); line != "begun\n" {
				t.Fatalf("got %q, %v", line, err)
			}
			begin := time.Now()
			if err := cmd.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			rest, _ := lines.ReadString(0)
			cmd.Wait()
			if rest != "" {
				t.Errorf("stderr: got %q, want nothing", rest)
			}
			if got := endCode(cmd.ProcessState); got != tt.code {
				t.Errorf("exit code: got %d, want %d", got, tt.code)
			}
			if took := time.Since(begin); took > 10*time.Second { // at once, but for a busy machine

				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestSignalWhileReading ends a guest that waits for input.
func TestSignalWhileReading(t *testing.T) {
	cmd := exec.Command(builtBinary(t), "run", guest, "cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	if _, err := stdin.Write([]byte("one\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "one\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
	if got := endCode(cmd.ProcessState); got != exitTerminated {
		t.Errorf("exit code: got %d, want %d", got, exitTerminated)
	}
}

// endCode is the code that a shell gives for how a process ended.
func endCode(s *os.ProcessState) int {
	if w := s.Sys().(syscall.WaitStatus); w.Signaled() {
		return 128 + int(w.Signal())
	}
	return s.ExitCode()
}
