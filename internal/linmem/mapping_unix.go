//go:build unix && !linux

package linmem

import (
	"errors"
	"math"

	"golang.org/x/sys/unix"
)

// anonMapping is a reservation of anonymous memory.
type anonMapping struct {
	area  []byte // what the maximum needs
	space []byte // the whole reservation, which begins with area
}

// reserve reserves size bytes of address space, and what more makes space bytes, nothing of it usable yet.
func reserve(size, space uint64, _ bool) (mapping, error) {
	space = max(size, space)
	if space > math.MaxInt {
		return nil, unix.ENOMEM
	}
	all, err := unix.Mmap(-1, 0, int(space), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	return &anonMapping{all[:size:size], all}, nil
}

func (a *anonMapping) bytes() []byte { return a.area }

func (a *anonMapping) grow(from, to uint64) error {
	return unix.Mprotect(a.area[from:to], unix.PROT_READ|unix.PROT_WRITE)
}

func (a *anonMapping) touched(set *PageSet, size uint64) error {
	set.AddRange(0, uint32(size/PageSize))
	return nil
}

func (a *anonMapping) altered(set *PageSet, size uint64) (uint32, error) {
	return 0, a.touched(set, size)
}

func (a *anonMapping) view(_, _ uint64) (mapping, error) { return nil, errors.ErrUnsupported }

func (a *anonMapping) shares() bool { return false }

func (a *anonMapping) close() error { return unix.Munmap(a.space) }
