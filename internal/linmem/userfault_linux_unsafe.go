//go:build linux

package linmem

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The parts of linux/userfaultfd.h and linux/fs.h that x/sys/unix lacks.
const (
	uffdUserModeOnly = 1
	uffdAPI          = 0xaa

	uffdFeaturePagefaultWP   = 1 << 0
	uffdFeatureWPShmem       = 1 << 12
	uffdFeatureWPUnpopulated = 1 << 13
	uffdFeatureWPAsync       = 1 << 15 // since Linux 6.7, as is PAGEMAP_SCAN
	uffdFeatures             = uffdFeaturePagefaultWP | uffdFeatureWPShmem | uffdFeatureWPUnpopulated | uffdFeatureWPAsync

	uffdioAPI              = 0xc018aa3f
	uffdioRegister         = 0xc020aa00
	uffdioWriteProtect     = 0xc018aa06
	uffdRegisterModeWP     = 1 << 1
	uffdWriteProtectModeWP = 1 << 0

	pagemapScan        = 0xc0606610
	pageIsWritten      = 1 << 1
	pageIsFile         = 1 << 2
	pageIsPresent      = 1 << 3
	pageIsSwapped      = 1 << 4
	pageIsZeroPage     = 1 << 5
	pmScanWPMatching   = 1 << 0
	pmScanCheckWPAsync = 1 << 1
)

// scanRegions is how many runs of pages one call may return. The kernel works in steps of 512 pages.
const scanRegions = 1024

type uffdAPIArg struct{ api, features, ioctls uint64 }

type uffdRegisterArg struct{ start, len, mode, ioctls uint64 }

type uffdWriteProtectArg struct{ start, len, mode uint64 }

type pmScanArg struct {
	size, flags, start, end, walkEnd, vec, vecLen, maxPages       uint64
	categoryInverted, categoryMask, categoryAnyofMask, returnMask uint64
}

type pageRegion struct{ start, end, categories uint64 }

// userfault is the tracker that lets the kernel note writes in the page tables.
//
// Every page of a region is write-protected once, also those that are not there yet, by a marker in the page
// table; from then on an entry without protection means a write. That includes the empty entry which a written page
// of a shared file leaves when it is swapped out, and which a filter for present pages would lose. The first
// protection is UFFDIO_WRITEPROTECT's, because PAGEMAP_SCAN passes over areas that have no page table yet.
//
// Protecting, and looking through page tables, costs time for each page, there or not. So a region in which nothing was
// written is left cold: without protection and without page tables.
//   - Of a memfd: the file holds nothing there. Whether it still does not it tells in one system call; once it holds
//     something, what is not zero there was written.
//   - Of private memory, a view or anonymous: there is no page of its own there, only pages of the file, the zero page or
//     nothing. Once there is one it was written, whatever it holds.
//
// Then the region is protected as the others are.
type userfault struct {
	m       *Memory
	uffd    int
	pagemap *os.File // shared
	file    *memfd   // tells what cold regions hold; nil: private memory
	warm    PageSet  // protected regions, by number
	regions []pageRegion
}

// regionPages is how many pages make a region: as many as one page table has.
const regionPages = 512

var (
	probeOnce sync.Once
	probed    bool // guarded by probeOnce
)

// userfaultWorks tells whether tracking by userfaultfd does what it should on this system, by trying it once.
func userfaultWorks() bool {
	probeOnce.Do(func() { probed = probe() })
	return probed
}

func probe() bool {
	m, err := New(4*Unit, 4*Unit, Options{Tracker: Userfault})
	if err != nil {
		return false
	}
	m.Bytes()[Unit], m.Bytes()[3*Unit] = 1, 1
	ok := false
	if v, err := m.View(); err == nil {
		ok = noticed(v)
		ok = v.Close() == nil && ok && noticed(m)
	}
	return m.Close() == nil && ok
}

// noticed tells whether writes are noticed, and reads are not.
func noticed(m *Memory) bool {
	if m.Track() != nil {
		return false
	}
	b := m.Bytes()
	for _, more := range [...]byte{1, b[Unit]} { // in regions that were not protected, and that are
		var set PageSet
		b[0], b[3*Unit] = b[2*Unit]+more, b[3*Unit]+more
		if m.Collect(&set) != nil || !set.Has(0) || !set.Has(3*Unit/PageSize) || set.Len() > 2*os.Getpagesize()/PageSize {
			return false
		}
	}
	return true
}

func newUserfault(m *Memory) (tracker, error) {
	// Asynchronous mode resolves each fault in the kernel, those of system calls too; so the unprivileged
	// form is enough.
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK|uffdUserModeOnly, 0, 0)
	if errno != 0 {
		return nil, fmt.Errorf("%w: userfaultfd: %w", ErrNoTracker, errno)
	}
	u := &userfault{m: m, uffd: int(fd), regions: make([]pageRegion, scanRegions)} // regions: on the heap, where they do not move
	if l, ok := m.area.(*linuxMapping); ok && !l.private && l.front == uint64(len(l.area)) {
		u.file = l.file
	}
	if err := u.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrNoTracker, err), u.close())
	}
	return u, nil
}

func (u *userfault) open() error {
	api := uffdAPIArg{api: uffdAPI, features: uffdFeatures}
	if _, err := ioctl(u.uffd, uffdioAPI, unsafe.Pointer(&api)); err != nil {
		return fmt.Errorf("asynchronous write protection: %w", err)
	}
	area := u.m.area.bytes()
	reg := uffdRegisterArg{start: address(area), len: uint64(len(area)), mode: uffdRegisterModeWP}
	if _, err := ioctl(u.uffd, uffdioRegister, unsafe.Pointer(&reg)); err != nil {
		return fmt.Errorf("register memory: %w", err)
	}
	var err error
	u.pagemap, err = openPagemap()
	return err
}

// arm protects the regions in which something was written, or that were protected before.
func (u *userfault) arm() error {
	if !u.warm.Empty() {
		return u.collect(&PageSet{}) // cheaper: only what was written changes
	}
	var held PageSet
	if err := u.heldIn(&held, 0, u.m.size); err != nil {
		return err
	}
	return u.warmUp(&held)
}

// warmUp protects the regions of some pages.
func (u *userfault) warmUp(pages *PageSet) error {
	for page := range pages.All() {
		r := page / regionPages
		if u.warm.Has(r) {
			continue
		}
		from := uint64(r) * regionPages * PageSize
		if err := u.protect(from, min(from+regionPages*PageSize, u.m.size)); err != nil {
			return err
		}
		u.warm.Add(r)
	}
	return nil
}

// forgetRuns is up to how many runs of pages are protected one by one.
const forgetRuns = 32

func (u *userfault) forget(set *PageSet) error {
	if err := u.warmUp(set); err != nil {
		return err
	}
	host := uint32(os.Getpagesize() / PageSize)
	runs := 0
	for range set.Ranges() {
		if runs++; runs > forgetRuns {
			return u.scan(nil)
		}
	}
	for first, end := range set.Ranges() {
		first, end = first/host*host, (end+host-1)/host*host // whole pages of the host's
		if err := u.protect(uint64(first)*PageSize, min(uint64(end)*PageSize, u.m.size)); err != nil {
			return err
		}
	}
	return nil
}

// protect write-protects [from, to).
func (u *userfault) protect(from, to uint64) error {
	if from == to {
		return nil
	}
	wp := uffdWriteProtectArg{address(u.m.area.bytes()) + from, to - from, uffdWriteProtectModeWP}
	if _, err := ioctl(u.uffd, uffdioWriteProtect, unsafe.Pointer(&wp)); err != nil {
		return fmt.Errorf("write-protect memory: %w", err)
	}
	return nil
}

// grown protects the new area as far as its region is. Should that fail, pages in it are reported that were only read,
// and no write is missed.
func (u *userfault) grown(from, to uint64) {
	const size = regionPages * PageSize
	if u.warm.Has(uint32(from / size)) {
		_ = u.protect(from, min(to, (from/size+1)*size))
	}
}

func (u *userfault) collect(set *PageSet) error {
	var came PageSet
	if err := u.heldInCold(&came); err != nil {
		return err
	}
	// The page tables of warm regions first: what warms up below was not written after that.
	if err := u.scan(set); err != nil {
		return err
	}
	bytes := u.m.area.bytes()
	for page := range came.All() {
		if u.file == nil || !isZero(bytes[uint64(page)*PageSize:][:PageSize]) {
			set.Add(page)
		}
	}
	return u.warmUp(&came)
}

// heldInCold adds the pages that cold regions hold.
func (u *userfault) heldInCold(set *PageSet) error {
	regions := uint32((u.m.size + regionPages*PageSize - 1) / (regionPages * PageSize))
	for r := uint32(0); r < regions; r++ {
		if u.warm.Has(r) {
			continue
		}
		end := r + 1
		for end < regions && !u.warm.Has(end) {
			end++
		}
		from, to := uint64(r)*regionPages*PageSize, min(uint64(end)*regionPages*PageSize, u.m.size)
		if err := u.heldIn(set, from, to); err != nil {
			return err
		}
		r = end
	}
	return nil
}

// heldIn adds the pages of [from, to), which is cold, that were perhaps written since it began to be.
func (u *userfault) heldIn(set *PageSet, from, to uint64) error {
	if u.file != nil {
		return u.file.dataIn(set, from, to)
	}
	return u.walk(pmScanArg{
		start: from, end: to,
		categoryInverted: pageIsFile | pageIsZeroPage, categoryMask: pageIsFile | pageIsZeroPage,
		categoryAnyofMask: pageIsPresent | pageIsSwapped, returnMask: pageIsPresent | pageIsSwapped,
	}, set.AddRange)
}

// scan protects what was written in warm regions, and adds it to set if there is one. It leaves cold ones alone: markers
// there would look like pages in swap.
func (u *userfault) scan(set *PageSet) error {
	// With exactly these masks the kernel also takes empty entries for written.
	arg := pmScanArg{
		flags:        pmScanWPMatching | pmScanCheckWPAsync,
		categoryMask: pageIsWritten, returnMask: pageIsWritten,
	}
	var found func(first, end uint32)
	if set != nil {
		found = set.AddRange
	}
	for first, end := range u.warm.Ranges() {
		arg.start = uint64(first) * regionPages * PageSize
		arg.end = min(uint64(end)*regionPages*PageSize, u.m.size)
		if err := u.walk(arg, found); err != nil {
			return err
		}
	}
	return nil
}

// walk goes through the page tables of [start, end), which it makes addresses of, and calls found, if there is one, for
// each run of pages that is asked for.
func (u *userfault) walk(arg pmScanArg, found func(first, end uint32)) error {
	base := address(u.m.area.bytes())
	arg.size = uint64(unsafe.Sizeof(arg))
	arg.start, arg.end = base+arg.start, base+arg.end
	if found != nil {
		arg.vec, arg.vecLen = uint64(uintptr(unsafe.Pointer(&u.regions[0]))), uint64(len(u.regions))
	}
	for arg.start < arg.end {
		n, err := ioctl(int(u.pagemap.Fd()), pagemapScan, unsafe.Pointer(&arg))
		if err != nil {
			return fmt.Errorf("scan page tables: %w", err)
		}
		for _, r := range u.regions[:n] {
			found(uint32((r.start-base)/PageSize), uint32((r.end-base)/PageSize))
		}
		if arg.walkEnd <= arg.start {
			return fmt.Errorf("scan page tables: no progress at page %d", (arg.start-base)/PageSize)
		}
		arg.start = arg.walkEnd
	}
	runtime.KeepAlive(u)
	return nil
}

// overhead counts the page tables that protecting untouched pages makes, whether or not they would be there anyway.
func (u *userfault) overhead() uint64 {
	const entry = 8 // bytes, for each page
	pages := uint64(u.warm.Len()) * regionPages * PageSize / uint64(os.Getpagesize())
	return pages*entry + uint64(len(u.regions))*uint64(unsafe.Sizeof(pageRegion{}))
}

func (u *userfault) close() error {
	return unix.Close(u.uffd) // lifts the protection
}

func address(area []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&area[0]))) }

func ioctl(fd int, request uintptr, arg unsafe.Pointer) (int, error) {
	for {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR, unix.EAGAIN:
		default:
			return 0, errno
		}
	}
}
