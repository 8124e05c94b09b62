package main

import (
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// onTerminal runs a command line with its output on a terminal, and returns what that was sent.
func onTerminal(t *testing.T, args ...string) string {
	t.Helper()
	user, program := openTerminal(t)
	cmd := exec.Command(builtBinary(t), args...)
	cmd.Stdout, cmd.Stderr = program, program
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	program.Close() // so that the reading below ends with the command
	done := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(user) // ends with EIO
		done <- string(b)
	}()
	if err := cmd.Wait(); err != nil {
		t.Errorf("%q: %v", args, err)
	}
	select {
	case text := <-done:
		return strings.ReplaceAll(text, "\r\n", "\n")
	case <-time.After(10 * time.Second):
		t.Fatal("the terminal is still open")
		return ""
	}
}

// TestProgress looks at a terminal during a long offload: it is shown, and gone before the program's output.
func TestProgress(t *testing.T) {
	long := []string{"run", "--cloud", "local", "--offload", "work", guest, "work", "1500000"}
	text := onTerminal(t, long...)
	if !regexp.MustCompile(`clonecloud: work runs on the clone, \d+ s`).MatchString(text) {
		t.Errorf("no progress in %q", text)
	}
	alone := onTerminal(t, "run", guest, "work", "1500000")
	if strings.Contains(alone, "clonecloud") || strings.Contains(alone, "\r") {
		t.Errorf("got %q", alone)
	}
	if got := visibleText(text); got != alone {
		t.Errorf("on the terminal: got %q, want %q", got, alone)
	}
	if text := onTerminal(t, append([]string{"run", "--quiet"}, long[1:]...)...); text != alone {
		t.Errorf("with --quiet: got %q, want %q", text, alone)
	}
	for range 10 { // until a run is as short as it is on a machine that is not busy
		begin := time.Now()
		text := onTerminal(t, "run", "--cloud", "local", "--offload", "work", guest, "work", "10")
		if time.Since(begin) < screenDelay {
			if strings.Contains(text, "\r") {
				t.Errorf("of a short run: got %q", text)
			}
			return
		}
	}
	t.Log("no run was short")
}
