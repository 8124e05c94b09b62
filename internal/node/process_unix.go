//go:build unix && !linux

package node

import "syscall"

// workerAttr keeps the terminal's signals from workers.
func workerAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func residentMemory(int) (uint64, bool) { return 0, false }
