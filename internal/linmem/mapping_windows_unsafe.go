//go:build windows

package linmem

import (
	"errors"
	"math"
	"unsafe"

	"golang.org/x/sys/windows"
)

// winMapping is reserved address space, committed as it grows.
type winMapping struct {
	base uintptr
	area []byte
}

// reserve reserves size bytes of address space, and what more makes space bytes, nothing of it usable yet.
func reserve(size, space uint64, _ bool) (mapping, error) {
	space = max(size, space)
	if space > math.MaxInt {
		return nil, windows.ERROR_NOT_ENOUGH_MEMORY
	}
	base, err := windows.VirtualAlloc(0, uintptr(space), windows.MEM_RESERVE, windows.PAGE_NOACCESS)
	if err != nil {
		return nil, err
	}
	// The address comes from the system, not from Go: the conversion through memory says so to vet.
	start := *(*unsafe.Pointer)(unsafe.Pointer(&base))
	return &winMapping{base, unsafe.Slice((*byte)(start), size)}, nil
}

func (w *winMapping) bytes() []byte { return w.area }

func (w *winMapping) grow(from, to uint64) error {
	_, err := windows.VirtualAlloc(w.base+uintptr(from), uintptr(to-from), windows.MEM_COMMIT, windows.PAGE_READWRITE)
	return err
}

func (w *winMapping) touched(set *PageSet, size uint64) error {
	set.AddRange(0, uint32(size/PageSize))
	return nil
}

func (w *winMapping) altered(set *PageSet, size uint64) (uint32, error) {
	return 0, w.touched(set, size)
}

func (w *winMapping) view(_, _ uint64) (mapping, error) { return nil, errors.ErrUnsupported }

func (w *winMapping) shares() bool { return false }

func (w *winMapping) close() error { return windows.VirtualFree(w.base, 0, windows.MEM_RELEASE) }
