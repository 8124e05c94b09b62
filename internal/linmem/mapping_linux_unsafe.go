//go:build linux

package linmem

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapOver maps the beginning of a file over area, readable and writable, writes private.
func mapOver(area []byte, fd int) error {
	_, err := unix.MmapPtr(fd, 0, unsafe.Pointer(&area[0]), uintptr(len(area)), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_NORESERVE|unix.MAP_FIXED)
	return err
}

// errNoPagemap says that the page tables cannot be seen.
var errNoPagemap = errors.New("pagemap is not usable")

var (
	pagemapOnce  sync.Once
	pagemapRight bool // guarded by pagemapOnce
)

// pagemapTells tells whether /proc/self/pagemap speaks of our addresses. Under an emulator of user space it may speak
// of others'.
func pagemapTells() bool {
	pagemapOnce.Do(func() {
		const pages = 8
		host := os.Getpagesize()
		area, err := reserveAnonymous(uint64(pages * host))
		if err != nil {
			return
		}
		defer func() { _ = unix.Munmap(area) }()
		if unix.Mprotect(area, unix.PROT_READ|unix.PROT_WRITE) != nil {
			return
		}
		var want, got PageSet
		for _, p := range []int{1, 2, 5} {
			area[p*host] = 1
			want.AddRange(uint32(p*host/PageSize), uint32((p+1)*host/PageSize))
		}
		pagemapRight = readPagemap(&got, area, false) == nil && slices.Equal(got.words, want.words)
	})
	return pagemapRight
}

// mappedPages adds the pages of area that have an entry in the page tables: present, or in swap. With own set, pages of a
// file are left out.
func mappedPages(set *PageSet, area []byte, own bool) error {
	if !pagemapTells() {
		return errNoPagemap
	}
	return readPagemap(set, area, own)
}

var (
	pagemapMu   sync.Mutex
	pagemapFile *os.File // guarded by pagemapMu
)

// openPagemap returns the page tables of this process. The file stays open, for all memories.
func openPagemap() (*os.File, error) {
	pagemapMu.Lock()
	defer pagemapMu.Unlock()
	if pagemapFile == nil {
		f, err := os.Open("/proc/self/pagemap")
		if err != nil {
			return nil, err
		}
		pagemapFile = f
	}
	return pagemapFile, nil
}

func readPagemap(set *PageSet, area []byte, own bool) error {
	if len(area) == 0 {
		return nil
	}
	f, err := openPagemap()
	if err != nil {
		return err
	}
	const entry = 8 // bytes, for each of the host's pages
	host := uint64(os.Getpagesize())
	start := address(area)
	buf := make([]byte, 4096*entry)
	for at := uint64(0); at < uint64(len(area)); {
		n := min(uint64(len(buf)), (uint64(len(area))-at)/host*entry)
		if _, err := f.ReadAt(buf[:n], int64((start+at)/host*entry)); err != nil {
			return err
		}
		for i := uint64(0); i < n; i += entry {
			e := binary.NativeEndian.Uint64(buf[i:])
			if mapped, file := e>>62 != 0, e>>61&1 != 0; mapped && !(own && file) {
				set.AddRange(uint32(at/PageSize), uint32((at+host)/PageSize))
			}
			at += host
		}
	}
	return nil
}
