//go:build unix

package main

import (
	"syscall"

	"github.com/tetratelabs/wazero/experimental"
)

// memory is mapped whole at once: times do not compare when a memory is copied at each growth or cleared by the collector.
type memory []byte

func reserve(_, most uint64) experimental.LinearMemory {
	m, err := syscall.Mmap(-1, 0, int(min(most, 1<<30)), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return memory(nil)
	}
	return memory(m)
}

func (m memory) Reallocate(size uint64) []byte {
	if size > uint64(len(m)) {
		return nil
	}
	return m[:size:size]
}

func (m memory) Free() {
	if m != nil {
		_ = syscall.Munmap(m)
	}
}
