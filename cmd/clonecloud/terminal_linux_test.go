package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// openTerminal returns both ends of a new terminal.
func openTerminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { user.Close() })
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { program.Close() })
	return user, program
}

// TestTerminal lets a guest read from a terminal, which is left as it was, also by a guest that is interrupted.
func TestTerminal(t *testing.T) {
	bin := builtBinary(t)
	for _, how := range []string{"ends", "interrupted"} {
		t.Run(how, func(t *testing.T) {
			user, program := openTerminal(t)
			before, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			flags, err := unix.FcntlInt(program.Fd(), unix.F_GETFL, 0)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(bin, "run", guest, "cat")
			cmd.Stdin = program
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			user.WriteString("typed\n")
			if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "typed\n" {
				t.Fatalf("got %q, %v", line, err)
			}
			want := 0
			if how == "ends" {
				user.WriteString("\x04")
			} else {
				cmd.Process.Signal(os.Interrupt)
				want = exitInterrupted
			}
			cmd.Wait()
			if got := endCode(cmd.ProcessState); got != want {
				t.Errorf("exit code: got %d, want %d", got, want)
			}
			after, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(before, after); d != "" {
				t.Errorf("the terminal changed:\n%s", d)
			}
			if now, _ := unix.FcntlInt(program.Fd(), unix.F_GETFL, 0); now != flags {
				t.Errorf("the terminal's flags changed: %#x, before %#x", now, flags)
			}
		})
	}
	t.Run("is-one", func(t *testing.T) {
		_, program := openTerminal(t)
		if got := onBinary(t, program, "run", guest, "tty"); got.stdout != "1\n" {
			t.Errorf("isatty: got %q", got.stdout)
		}
		if got := onBinary(t, nil, "run", guest, "tty"); got.stdout == "1\n" && got.code == 0 {
			// The null device counts as a character device, as it does for native programs' fstat.
			t.Logf("isatty of the null device: got %q", got.stdout)
		}
	})
}

// TestFullDevice writes to a device without room. A guest's write fails and the guest decides; our own output fails the command.
func TestFullDevice(t *testing.T) {
	bin := builtBinary(t)
	clone := []string{"run", "--cloud", "local", "--offload", "always"}
	for _, tt := range []struct {
		name string
		args []string
		code int
	}{
		{"guest", []string{"run", guest, "print", "5000"}, 4},
		{"guest-clone", append(clone, guest, "print", "5000"), 4},
		{"invoke", []string{"run", "--invoke", "add", guest, "1", "2"}, exitFailed},
		{"analyze", []string{"analyze", guest}, exitFailed},
		{"version", []string{"version"}, exitFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Skip(err)
			}
			defer full.Close()
			cmd := exec.Command(bin, tt.args...)
			cmd.Stdout = full
			cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != tt.code {
				t.Errorf("exit code: got %d, want %d", got, tt.code)
			}
		})
	}
}
