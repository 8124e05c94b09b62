//go:build linux

package linmem

import (
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(entries)
}

func TestNoDescriptorLeaks(t *testing.T) {
	userfaultWorks()
	for _, tracker := range []Tracker{Auto, Userfault, Compare, None} {
		for _, anonymous := range []bool{false, true} {
			before := openFiles(t)
			for range 20 {
				m, err := New(Unit, 1<<32, Options{Tracker: tracker, anonymous: anonymous})
				if err != nil {
					t.Fatal(err)
				}
				v, err := m.View()
				if err != nil {
					t.Fatal(err)
				}
				for range 2 {
					_ = m.Track() // refused or not
					_ = v.Track()
					if err := m.Untrack(); err != nil {
						t.Fatal(err)
					}
				}
				_ = m.Track()
				var set PageSet
				if err := v.Touched(&set); err != nil {
					t.Fatal(err)
				}
				if err := m.Close(); err != nil {
					t.Fatal(err)
				}
				if err := v.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if after := openFiles(t); after != before {
				t.Errorf("%v, anonymous %v: %d files open, before %d", tracker, anonymous, after, before)
			}
		}
	}
}

// faults tells whether reading a byte beyond what Bytes offers faults.
func faults(m *Memory, at uint64) (fault bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { fault = recover() != nil }()
	sink += int(m.area.(*linuxMapping).space[at])
	return false
}

var sink int

func TestBeyondTheSizeFaults(t *testing.T) {
	conform(t, func(t *testing.T, mk makeFunc) {
		m := mk(t, Unit, 4*Unit)
		track(t, m)
		for size := uint64(Unit); size < 4*Unit; size += Unit {
			grow(t, m, size)
			if faults(m, size-1) || !faults(m, size) || !faults(m, 4*Unit-1) || !faults(m, m.Reserved()-1) {
				t.Errorf("with %d bytes: last %v, next %v, furthest %v", size, faults(m, size-1), faults(m, size), faults(m, 4*Unit-1))
			}
		}
	})
}

// TestUnmappedPageIsDirty drops a written page from the page table, as reclaim does to a page of a shared file: the
// write must still be reported.
func TestUnmappedPageIsDirty(t *testing.T) {
	conform(t, func(t *testing.T, mk makeFunc) {
		m := mk(t, 4*Unit, 4*Unit)
		if a := m.area.(*linuxMapping); a.file == nil || a.private {
			t.Skip("not a shared file")
		}
		b := m.Bytes()
		b[10*PageSize] = 1
		track(t, m)
		b[5*PageSize], b[20*PageSize] = 1, 1
		host := os.Getpagesize()
		for _, p := range []int{5, 10, 20} {
			at := p * PageSize / host * host
			if err := unix.Madvise(b[at:at+host], unix.MADV_DONTNEED); err != nil {
				t.Fatal(err)
			}
		}
		if b[20*PageSize] != 1 { // brings one back
			t.Fatal("lost a byte")
		}
		wantDirty(t, m, 5, 20)
		b[5*PageSize] = 2
		wantDirty(t, m, 5)
	})
}

// TestDiscardedPage gives a page back to the system behind the tracker's back: it reads as zero then. Comparison sees
// the change; userfaultfd, rightly, no write.
func TestDiscardedPage(t *testing.T) {
	conform(t, func(t *testing.T, mk makeFunc) {
		m := mk(t, Unit, Unit)
		a := m.area.(*linuxMapping)
		if a.file == nil || a.private {
			t.Skip("not a shared file")
		}
		host := int64(os.Getpagesize())
		m.Bytes()[host] = 1
		track(t, m)
		if err := unix.Fallocate(a.file.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, host, host); err != nil {
			t.Skip(err)
		}
		if m.TrackerName() == Compare.String() {
			wantDirty(t, m, uint32(host/PageSize))
		}
		wantDirty(t, m)
		m.Bytes()[host] = 1
		wantDirty(t, m, uint32(host/PageSize))
	})
}

// TestProbe fails where the kernel offers all that the tracker asks for, and yet it does not work: the suite would pass by
// skipping.
func TestProbe(t *testing.T) {
	m := newMemory(t, Unit, Unit, Options{Tracker: Userfault})
	u, err := newUserfault(m)
	if err != nil {
		t.Skipf("not offered: %v", err)
	}
	if err := u.close(); err != nil {
		t.Error(err)
	}
	if !userfaultWorks() {
		t.Error("userfaultfd is offered and does not work")
	}
}

// TestReclaimedPages asks the kernel to evict pages; without swap it has nowhere to put them, which is fine too.
func TestReclaimedPages(t *testing.T) {
	conform(t, func(t *testing.T, mk makeFunc) {
		m := mk(t, 4*Unit, 4*Unit)
		b := m.Bytes()
		b[10*PageSize] = 1
		track(t, m)
		b[5*PageSize] = 1
		if err := unix.Madvise(b, unix.MADV_PAGEOUT); err != nil {
			t.Skip(err)
		}
		if b[10*PageSize] != 1 {
			t.Fatal("lost a byte")
		}
		wantDirty(t, m, 5)
		b[10*PageSize] = 2
		wantDirty(t, m, 10)
	})
}

// withLimit lowers a soft limit of this process while f runs.
func withLimit(t *testing.T, resource int, value uint64, f func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(resource, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: old.Max}); err != nil {
		t.Skip(err)
	}
	defer func() {
		if err := unix.Setrlimit(resource, &old); err != nil {
			t.Error(err)
		}
	}()
	f()
}

func checkWrites(t *testing.T, m *Memory) {
	t.Helper()
	track(t, m)
	m.Bytes()[PageSize] = 1
	wantDirty(t, m, 1)
}

func TestFallsBackWithoutMemfd(t *testing.T) {
	withLimit(t, unix.RLIMIT_FSIZE, 1<<20, func() {
		m := newMemory(t, Unit, 1<<32, Options{})
		if m.area.(*linuxMapping).file != nil {
			t.Error("a file beyond the limit of file sizes")
		}
		checkWrites(t, m)
	})
	withLimit(t, unix.RLIMIT_NOFILE, 0, func() {
		m := newMemory(t, Unit, 1<<32, Options{})
		if m.area.(*linuxMapping).file != nil {
			t.Error("a file beyond the limit of files")
		}
		checkWrites(t, m)
		if m.TrackerName() != Compare.String() {
			t.Errorf("tracker %s without descriptors", m.TrackerName())
		}
		if u := newMemory(t, Unit, Unit, Options{Tracker: Userfault}); u.Track() == nil {
			t.Error("userfaultfd without descriptors")
		}
	})
}

// TestTouchedIsPrecise holds where the kernel can be asked, which includes the machines that run our tests.
func TestTouchedIsPrecise(t *testing.T) {
	if _, err := os.Stat("/proc/self/pagemap"); err != nil {
		t.Skip(err)
	}
	if !pagemapTells() {
		if runtime.GOARCH == "amd64" {
			t.Error("pagemap is there and not understood")
		}
		t.Skip("another machine's pagemap")
	}
	conform(t, func(t *testing.T, mk makeFunc) {
		m := mk(t, 64*Unit, 64*Unit)
		var before PageSet
		if err := m.Touched(&before); err != nil {
			t.Fatal(err)
		}
		m.Bytes()[PageSize], m.Bytes()[600*PageSize] = 1, 1
		var got PageSet
		if err := m.Touched(&got); err != nil {
			t.Fatal(err)
		}
		if !got.Has(1) || !got.Has(600) {
			t.Error("a written page is missing")
		}
		if before.Empty() && os.Getpagesize() == PageSize && !slices.Equal(slices.Collect(got.All()), []uint32{1, 600}) {
			t.Errorf("touched %v", slices.Collect(got.All()))
		}
	})
}
