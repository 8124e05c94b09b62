//go:build unix

package node_test

import "syscall"

// stopSelf holds this process up as code does that neither calls nor polls, but more thoroughly.
func stopSelf() { _ = syscall.Kill(syscall.Getpid(), syscall.SIGSTOP) }
