//go:build linux

package linmem

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapOver maps the beginning of a file over area, readable and writable, writes private.
func mapOver(area []byte, fd int) error {
	_, err := unix.MmapPtr(fd, 0, unsafe.Pointer(&area[0]), uintptr(len(area)), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_NORESERVE|unix.MAP_FIXED)
	return err
}

// mappedPages adds the pages of area that have an entry in the page tables: present, or in swap.
func mappedPages(set *PageSet, area []byte) (err error) {
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if len(area) == 0 {
		return nil
	}
	host := uint64(os.Getpagesize())
	start := uint64(uintptr(unsafe.Pointer(&area[0])))
	const size = 8 // of an entry
	var buf [512 * size]byte
	for at := uint64(0); at < uint64(len(area)); {
		n := min(uint64(len(buf)), (uint64(len(area))-at)/host*size)
		if _, err := f.ReadAt(buf[:n], int64((start+at)/host*size)); err != nil && err != io.EOF {
			return err
		}
		for i := uint64(0); i < n; i += size {
			if binary.NativeEndian.Uint64(buf[i:])>>62 != 0 {
				set.AddRange(uint32(at/PageSize), uint32((at+host)/PageSize))
			}
			at += host
		}
	}
	return nil
}
