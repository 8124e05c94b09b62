//go:build !unix

package node

import "syscall"

func workerAttr() *syscall.SysProcAttr { return nil }

func residentMemory(int) (uint64, bool) { return 0, false }

func fileLimit() uint64 { return 0 }
