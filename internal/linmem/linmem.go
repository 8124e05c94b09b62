// Package linmem provides the linear memory of a WebAssembly instance, owned by the host: it never moves, grows in
// place, tells which pages were written, and can be viewed copy-on-write.
//
// # Mapping
//
// A Memory reserves address space for its maximum when it is made and makes it usable as it grows. Pages cost nothing
// before they are touched. Beyond the size nothing is accessible: an engine that fails to check a bound faults, it
// does not read. On Linux the memory is a shared mapping of a memfd whose size is sealed, so that the mapping can
// never lose pages; where memfds are refused, and on other systems, it is anonymous memory.
//
// # Dirty pages
//
// After Track, Collect reports every page of PageSize bytes whose contents changed, and no page that nobody wrote,
// whoever wrote: the guest, the host through Bytes, or the kernel on behalf of a system call (a file read straight
// into guest memory). A page that was written with what it held may or may not be reported. Pages that have only been
// read are not reported, nor is the area by which the memory grew unless something was written there. There are
// two trackers: "userfaultfd" on Linux 6.7 and later (asynchronous write protection, no handler; it notices the write
// itself, at the cost of a page fault for the first write to a page after each Collect), and "compare" everywhere
// (a shadow copy of the pages that hold something; its cost is that copy, and reading the memory at each Collect). A host
// with larger pages reports all of PageSize that make up one of its own.
//
// Track, Collect, Forget, ForgetPages and View want the guest stopped, and no system call in flight that fills its memory: a write
// that happens during the call may be missed. What one goroutine wrote before is seen.
//
// # Views
//
// See Memory.View.
package linmem

import (
	"errors"
	"fmt"
)

const (
	// PageSize is the unit in which writes are noticed. It is not the host's page size and not WebAssembly's.
	PageSize = 4096
	// Unit is the WebAssembly page: sizes are multiples of it.
	Unit = 65536
	// MaxSize bounds every memory: one Unit less than 4 GiB, so that sizes fit in 32 bits.
	MaxSize = 1<<32 - Unit
)

var (
	// ErrNotTracking is returned by Collect and Forget before Track.
	ErrNotTracking = errors.New("memory is not tracked")
	// ErrNoTracker is returned by Track when the tracker asked for is not available here.
	ErrNoTracker = errors.New("no such dirty page tracker on this system")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("memory is closed")
)

// Tracker names a way to notice writes.
type Tracker uint8

// The ways to notice writes.
const (
	Auto      Tracker = iota // Userfault where it works, else Compare
	Userfault                // userfaultfd in asynchronous write-protect mode
	Compare                  // comparison with a shadow copy
	None                     // Track fails
)

func (t Tracker) String() string {
	switch t {
	case Auto:
		return "auto"
	case Userfault:
		return "userfaultfd"
	case Compare:
		return "compare"
	case None:
		return "none"
	}
	return fmt.Sprintf("tracker %d", uint8(t))
}

// Options says how a Memory is made. The zero value is right for all but tests.
type Options struct {
	// Tracker is how writes are noticed. Default: Auto.
	Tracker Tracker
	// Limit is how many bytes the memory may grow to, less than its maximum, which stays what Max says. Default: the
	// maximum. With a limit Withheld tells growth that is only refused here from growth that is never possible.
	Limit uint64
	// Reserve is how many bytes of address space there are from the memory's base on, at least: what lies beyond the
	// size is never accessible. It costs no memory. Default: what the maximum needs.
	Reserve uint64
	// anonymous refuses the memfd, as some systems do.
	anonymous bool
}

// Memory is one linear memory. It is not safe for concurrent use. It must be closed; the garbage collector does not
// see who still uses Bytes.
type Memory struct {
	opt       Options
	kind      Tracker // opt.Tracker with Auto resolved
	area      mapping // nil when closed
	size, max uint64
	tracker   tracker // nil when not tracking
}

// mapping is reserved address space with a usable front.
type mapping interface {
	// bytes is as much of the reservation as the maximum needs; only the usable front may be touched.
	bytes() []byte
	// grow makes [from, to) usable, all zero.
	grow(from, to uint64) error
	// touched adds every page below size that may hold something other than zero, without touching any.
	touched(set *PageSet, size uint64) error
	// altered adds every page below size that may hold something other than at first, without touching any: other than
	// what the base of a view held in the first pages that it returns, than zero behind them.
	altered(set *PageSet, size uint64) (based uint32, err error)
	// view returns a copy-on-write view whose front of size bytes is usable, with at least space bytes reserved, or
	// errors.ErrUnsupported.
	view(size, space uint64) (mapping, error)
	// shares tells whether view can work.
	shares() bool
	close() error
}

// tracker notices the writes to one Memory.
type tracker interface {
	// arm forgets the writes until now.
	arm() error
	// forget forgets the writes to the pages of set, which lie within the memory; all others were not written.
	forget(set *PageSet) error
	// collect adds the pages written since and arms again. After an error nothing is lost: what is armed
	// again is in set.
	collect(set *PageSet) error
	// grown tells that the usable front grew by [from, to).
	grown(from, to uint64)
	overhead() uint64
	close() error
}

// New makes a memory of min bytes, all zero, that can grow to max bytes. Both are multiples of Unit; max is cut to
// MaxSize. What is not touched costs no memory, whatever max is.
func New(minSize, maxSize uint64, opt Options) (*Memory, error) {
	maxSize = min(maxSize, MaxSize)
	if minSize > maxSize {
		return nil, fmt.Errorf("make memory: minimum of %d bytes exceeds maximum of %d", minSize, maxSize)
	}
	if minSize%Unit != 0 || maxSize%Unit != 0 {
		return nil, fmt.Errorf("make memory: sizes %d and %d are not multiples of %d", minSize, maxSize, Unit)
	}
	m := &Memory{opt: opt, max: maxSize}
	if err := m.choose(minSize); err != nil {
		return nil, fmt.Errorf("make memory: %w", err)
	}
	var err error
	if m.area, err = reserve(m.span(), opt.Reserve, opt.anonymous); err != nil {
		return nil, fmt.Errorf("make memory: reserve %d bytes: %w", max(maxSize, opt.Reserve), err)
	}
	if !m.Grow(minSize) {
		return nil, errors.Join(fmt.Errorf("make memory: no room for %d bytes", minSize), m.Close())
	}
	return m, nil
}

// choose checks the options for a memory of size bytes and resolves the tracker.
func (m *Memory) choose(size uint64) error {
	switch m.kind = m.opt.Tracker; {
	case m.kind > None:
		return fmt.Errorf("%w: %v", ErrNoTracker, m.kind)
	case m.kind == Auto && userfaultWorks():
		m.kind = Userfault
	case m.kind == Auto:
		m.kind = Compare
	}
	if limit := m.opt.Limit; limit > 0 && size > limit {
		return fmt.Errorf("no room for %d bytes, the limit is %d", size, limit)
	}
	return nil
}

// span is the address space that the maximum needs: one unit at least, so that an empty memory has an address too.
func (m *Memory) span() uint64 { return max(m.max, Unit) }

// Bytes is the memory: its length and capacity are the size, its address never changes. A slice from before a Grow stays
// valid for the old size. No slice is valid after Close.
func (m *Memory) Bytes() []byte {
	if m.area == nil {
		return nil
	}
	return m.area.bytes()[:m.size:m.size]
}

// Size is the present size in bytes.
func (m *Memory) Size() uint64 { return m.size }

// Max is the size in bytes to which the memory may grow.
func (m *Memory) Max() uint64 { return m.max }

// Reserved is how many bytes of address space the memory has from its base on, of which only the first Size are
// accessible; 0 after Close.
func (m *Memory) Reserved() uint64 {
	if m.area == nil {
		return 0
	}
	return max(m.span(), m.opt.Reserve)
}

// Grow makes the memory newSize bytes long, the new part zero. It reports false, and changes nothing, if newSize is
// less than the size, more than the maximum, not a multiple of Unit, or refused by the system.
func (m *Memory) Grow(newSize uint64) bool {
	if m.area == nil || newSize < m.size || newSize > m.max || newSize%Unit != 0 || m.opt.Limit > 0 && newSize > m.opt.Limit {
		return false
	}
	if newSize == m.size {
		return true
	}
	if err := m.area.grow(m.size, newSize); err != nil {
		return false
	}
	from := m.size
	m.size = newSize
	if m.tracker != nil {
		m.tracker.grown(from, newSize)
	}
	return true
}

// Withheld tells whether a Grow to newSize that was refused would be possible without Options.Limit, or on a system with
// more memory.
func (m *Memory) Withheld(newSize uint64) bool {
	return m.area != nil && m.opt.Limit > 0 && newSize > m.size && newSize <= m.max
}

// Close releases everything. It may be called again.
func (m *Memory) Close() error {
	if m.area == nil {
		return nil
	}
	err := m.Untrack()
	err = errors.Join(err, m.area.close())
	m.area, m.size, m.max = nil, 0, 0
	if err != nil {
		return fmt.Errorf("close memory: %w", err)
	}
	return nil
}

// Touched adds every page that may hold something other than zero; all others are zero. It touches no page and
// needs no tracking, so it serves for a first delta. Where the system cannot tell it adds all; so it does for a memory
// without a memfd of its own, or a view, that userfaultfd tracks.
func (m *Memory) Touched(set *PageSet) error {
	if m.area == nil {
		return fmt.Errorf("find touched pages: %w", ErrClosed)
	}
	if err := m.area.touched(set, m.size); err != nil {
		return fmt.Errorf("find touched pages: %w", err)
	}
	return nil
}
