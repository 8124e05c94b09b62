//go:build unix

package docs

import (
	"os/exec"
	"syscall"
)

const binary = "clonecloud"

// group has a command run in a process group of its own. The function that is returned ends what is left of it.
func group(cmd *exec.Cmd) (end func()) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = kill
	return func() {
		if cmd.Process != nil {
			_ = kill() // an error: nothing is left
		}
	}
}
