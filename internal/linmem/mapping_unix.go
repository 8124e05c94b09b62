//go:build unix && !linux

package linmem

import (
	"errors"
	"math"

	"golang.org/x/sys/unix"
)

// anonMapping is a reservation of anonymous memory.
type anonMapping struct{ area []byte }

// reserve reserves size bytes of address space, nothing of it usable yet.
func reserve(size uint64, _ bool) (mapping, error) {
	if size > math.MaxInt {
		return nil, unix.ENOMEM
	}
	area, err := unix.Mmap(-1, 0, int(size), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	return &anonMapping{area}, nil
}

func (a *anonMapping) bytes() []byte { return a.area }

func (a *anonMapping) grow(from, to uint64) error {
	return unix.Mprotect(a.area[from:to], unix.PROT_READ|unix.PROT_WRITE)
}

func (a *anonMapping) touched(set *PageSet, size uint64) error {
	set.AddRange(0, uint32(size/PageSize))
	return nil
}

func (a *anonMapping) view(uint64) (mapping, error) { return nil, errors.ErrUnsupported }

func (a *anonMapping) close() error { return unix.Munmap(a.area) }
