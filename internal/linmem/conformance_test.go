package linmem

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A tester is a testing.TB or a rapid.T.
type tester interface {
	Helper()
	Cleanup(func())
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
}

// A maker makes a memory, all zero, one way or another. The suite holds for each of them.
type maker struct {
	name string
	make func(t tester, lo, hi uint64, tracker Tracker) *Memory
}

// wideReserve is more than any maximum needs, and no multiple of a page.
const wideReserve = 1<<32 + 32<<20 + 1

var makers = []maker{
	{"plain", func(t tester, lo, hi uint64, tracker Tracker) *Memory {
		return newMemory(t, lo, hi, Options{Tracker: tracker})
	}},
	{"anonymous", func(t tester, lo, hi uint64, tracker Tracker) *Memory {
		return newMemory(t, lo, hi, Options{Tracker: tracker, anonymous: true})
	}},
	{"view", func(t tester, lo, hi uint64, tracker Tracker) *Memory {
		return viewOf(t, newMemory(t, lo, hi, Options{Tracker: tracker}))
	}},
	{"view-of-touched", func(t tester, lo, hi uint64, tracker Tracker) *Memory {
		m := newMemory(t, lo, hi, Options{Tracker: tracker})
		for b := m.Bytes(); len(b) > 0; b = b[PageSize:] {
			b[0] = 0
		}
		return viewOf(t, m)
	}},
	{"reserved", func(t tester, lo, hi uint64, tracker Tracker) *Memory {
		return newMemory(t, lo, hi, Options{Tracker: tracker, Reserve: wideReserve})
	}},
	{"reserved-anonymous", func(t tester, lo, hi uint64, tracker Tracker) *Memory {
		return newMemory(t, lo, hi, Options{Tracker: tracker, Reserve: wideReserve, anonymous: true})
	}},
	{"reserved-view", func(t tester, lo, hi uint64, tracker Tracker) *Memory {
		return viewOf(t, newMemory(t, lo, hi, Options{Tracker: tracker, Reserve: wideReserve}))
	}},
	{"view-with", func(t tester, lo, hi uint64, tracker Tracker) *Memory {
		v, err := newMemory(t, lo, hi, Options{Tracker: None}).ViewWith(Options{Tracker: tracker, Reserve: wideReserve})
		if err != nil {
			t.Fatal(err)
		}
		closeAfter(t, v)
		return v
	}},
	{"reserved-copy", func(t tester, lo, hi uint64, tracker Tracker) *Memory {
		return viewOf(t, newMemory(t, lo, hi, Options{Tracker: tracker, Reserve: wideReserve, anonymous: true}))
	}},
	{"copy", func(t tester, lo, hi uint64, tracker Tracker) *Memory {
		return viewOf(t, newMemory(t, lo, hi, Options{Tracker: tracker, anonymous: true}))
	}},
	{"view-of-view", func(t tester, lo, hi uint64, tracker Tracker) *Memory {
		return viewOf(t, viewOf(t, newMemory(t, lo, hi, Options{Tracker: tracker})))
	}},
}

func newMemory(t tester, lo, hi uint64, opt Options) *Memory {
	t.Helper()
	m, err := New(lo, hi, opt)
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, m)
	return m
}

func viewOf(t tester, m *Memory) *Memory {
	t.Helper()
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, v)
	return v
}

func closeAfter(t tester, m *Memory) {
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// makeFunc makes the memory under test.
type makeFunc func(t tester, lo, hi uint64) *Memory

// conform runs a test with every tracker over every backing.
func conform(t *testing.T, test func(t *testing.T, mk makeFunc)) {
	t.Helper()
	for _, tracker := range []Tracker{Userfault, Compare} {
		for _, mk := range makers {
			t.Run(tracker.String()+"/"+mk.name, func(t *testing.T) {
				if tracker == Userfault && !userfaultWorks() {
					t.Skip("userfaultfd does not work here")
				}
				test(t, func(t tester, lo, hi uint64) *Memory { return mk.make(t, lo, hi, tracker) })
			})
		}
	}
}

func track(t tester, m *Memory) {
	t.Helper()
	if err := m.Track(); err != nil {
		t.Fatal(err)
	}
}

func grow(t tester, m *Memory, size uint64) {
	t.Helper()
	if !m.Grow(size) {
		t.Fatalf("grow from %d to %d refused", m.Size(), size)
	}
}

// wantDirty collects and compares; pages are given as PageSize pages and widened to the host's.
func wantDirty(t tester, m *Memory, pages ...uint32) {
	t.Helper()
	var got PageSet
	if err := m.Collect(&got); err != nil {
		t.Fatal(err)
	}
	want := append([]uint32{}, pages...)
	if m.TrackerName() != Compare.String() {
		per := uint32(os.Getpagesize() / PageSize)
		for _, p := range pages {
			for q := p / per * per; q < (p/per+1)*per; q++ {
				want = append(want, q)
			}
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	if d := cmp.Diff(want, slices.AppendSeq([]uint32{}, got.All())); d != "" {
		t.Fatalf("dirty pages (-want +got):\n%s", d)
	}
}

func TestEdgesOfPages(t *testing.T) {
	conform(t, func(t *testing.T, mk makeFunc) {
		m := mk(t, 2*Unit, 4*Unit)
		track(t, m)
		wantDirty(t, m)
		b := m.Bytes()
		for page := range uint32(2 * Unit / PageSize) {
			for i, off := range []uint32{0, PageSize - 1, 17} {
				b[page*PageSize+off] = byte(i + 1)
				wantDirty(t, m, page)
				wantDirty(t, m)
			}
		}
		b[3*PageSize-1], b[3*PageSize] = 9, 9
		b[2*Unit-1] = 9
		wantDirty(t, m, 2, 3, 2*Unit/PageSize-1)
	})
}

func TestReadsAreNotWrites(t *testing.T) {
	conform(t, func(t *testing.T, mk makeFunc) {
		m := mk(t, Unit, 8*Unit)
		m.Bytes()[5*PageSize] = 1
		track(t, m)
		grow(t, m, 4*Unit)
		sum := 0
		for i := 0; i < len(m.Bytes()); i += 512 {
			sum += int(m.Bytes()[i])
		}
		if sum != 1 {
			t.Errorf("bytes add up to %d, want 1", sum)
		}
		wantDirty(t, m)
		m.Bytes()[2*Unit] = 1
		wantDirty(t, m, 2*Unit/PageSize)
	})
}

func TestGrowth(t *testing.T) {
	conform(t, func(t *testing.T, mk makeFunc) {
		m := mk(t, Unit, 300*Unit)
		base := &m.Bytes()[0]
		m.Bytes()[0] = 7
		track(t, m)
		const perUnit = Unit / PageSize
		for size := uint64(2); size <= 300; size += 1 + size/3 {
			before := m.Size()
			grow(t, m, size*Unit)
			b := m.Bytes()
			if uint64(len(b)) != size*Unit || cap(b) != len(b) || m.Size() != size*Unit {
				t.Fatalf("len %d, cap %d, size %d after growing to %d", len(b), cap(b), m.Size(), size*Unit)
			}
			if &b[0] != base {
				t.Fatal("the memory moved")
			}
			if b[before] != 0 || b[len(b)-1] != 0 {
				t.Fatal("new memory is not zero")
			}
			b[before], b[len(b)-1] = 1, 1
			wantDirty(t, m, uint32(before/PageSize), uint32(len(b)/PageSize-1))
			b[before]++
			b[perUnit*PageSize-1]++
			wantDirty(t, m, uint32(before/PageSize), perUnit-1)
		}
		if m.Bytes()[0] != 7 {
			t.Error("growth lost a byte")
		}
	})
}

func TestGrowthRefused(t *testing.T) {
	conform(t, func(t *testing.T, mk makeFunc) {
		m := mk(t, 2*Unit, 4*Unit)
		for _, size := range []uint64{0, Unit, 2*Unit + 1, 3*Unit - PageSize, 5 * Unit, 1 << 32, 1 << 63} {
			if m.Grow(size) {
				t.Errorf("grew to %d", size)
			}
		}
		if m.Size() != 2*Unit || m.Max() != 4*Unit || len(m.Bytes()) != 2*Unit {
			t.Errorf("size %d, max %d, len %d after refusals", m.Size(), m.Max(), len(m.Bytes()))
		}
		grow(t, m, 2*Unit)
		grow(t, m, 4*Unit)
		m.Bytes()[4*Unit-1] = 1
	})
}

func TestKernelWrites(t *testing.T) {
	conform(t, func(t *testing.T, mk makeFunc) {
		data := bytes.Repeat([]byte("clone"), 10*PageSize)
		path := t.TempDir() + "/data"
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		m := mk(t, 4*Unit, 4*Unit)
		b := m.Bytes()
		b[20*PageSize] = 1
		track(t, m)

		// Into pages that nothing has touched, across borders of pages.
		if n, err := f.ReadAt(b[3*PageSize-5:6*PageSize+5], 0); err != nil || n != 3*PageSize+10 {
			t.Fatalf("read %d, %v", n, err)
		}
		wantDirty(t, m, 2, 3, 4, 5, 6)
		// Into pages that are there and protected.
		if n, err := f.ReadAt(b[3*PageSize:4*PageSize], 1); err != nil || n != PageSize {
			t.Fatalf("read %d, %v", n, err)
		}
		if n, err := f.ReadAt(b[20*PageSize:20*PageSize+1], 0); err != nil || n != 1 {
			t.Fatalf("read %d, %v", n, err)
		}
		wantDirty(t, m, 3, 20)
		if !bytes.Equal(b[3*PageSize:4*PageSize], data[1:1+PageSize]) {
			t.Error("wrong data")
		}
		// Out of memory: a write by the guest is a read of the memory.
		if err := os.WriteFile(path, b[:10*PageSize], 0o600); err != nil {
			t.Fatal(err)
		}
		wantDirty(t, m)

		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		if _, err := w.Write(data[:100]); err != nil {
			t.Fatal(err)
		}
		if n, err := r.Read(b[8*PageSize-50 : 9*PageSize]); err != nil || n != 100 {
			t.Fatalf("read %d, %v", n, err)
		}
		wantDirty(t, m, 7, 8)
	})
}

// TestManyRuns has more runs of pages than a scan returns at once.
func TestManyRuns(t *testing.T) {
	conform(t, func(t *testing.T, mk makeFunc) {
		m := mk(t, 0, 256*Unit)
		track(t, m)
		grow(t, m, 256*Unit)
		step := uint32(2 * os.Getpagesize() / PageSize)
		for round := range byte(2) {
			var want []uint32
			for p := uint32(0); p < 256*Unit/PageSize; p += step {
				m.Bytes()[p*PageSize] = round + 1
				want = append(want, p)
			}
			wantDirty(t, m, want...)
			wantDirty(t, m)
		}
	})
}

func TestCollectOnlyAdds(t *testing.T) {
	conform(t, func(t *testing.T, mk makeFunc) {
		m := mk(t, Unit, Unit)
		track(t, m)
		var set PageSet
		set.Add(70000)
		for page := range uint32(3) {
			m.Bytes()[page*PageSize] = 1
			if err := m.Collect(&set); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range []uint32{0, 1, 2, 70000} {
			if !set.Has(p) {
				t.Errorf("page %d is not in the set", p)
			}
		}
	})
}

func TestTrackForgetUntrack(t *testing.T) {
	conform(t, func(t *testing.T, mk makeFunc) {
		m := mk(t, Unit, 4*Unit)
		b := m.Bytes()
		var set PageSet
		if err := m.Collect(&set); !errors.Is(err, ErrNotTracking) {
			t.Errorf("collect before track: %v", err)
		}
		if err := m.Forget(); !errors.Is(err, ErrNotTracking) {
			t.Errorf("forget before track: %v", err)
		}
		if m.Tracking() || m.Overhead() != 0 {
			t.Error("tracked before track")
		}
		b[0] = 1
		track(t, m)
		if !m.Tracking() {
			t.Error("not tracked after track")
		}
		b[1*PageSize] = 1
		if err := m.Forget(); err != nil {
			t.Fatal(err)
		}
		b[2*PageSize] = 1
		wantDirty(t, m, 2)
		b[3*PageSize] = 1
		track(t, m) // again: as Forget
		b[4*PageSize] = 1
		wantDirty(t, m, 4)
		b[5*PageSize] = 1
		for range 2 {
			if err := m.Untrack(); err != nil {
				t.Fatal(err)
			}
		}
		if m.Overhead() != 0 {
			t.Errorf("overhead of %d bytes without tracking", m.Overhead())
		}
		b[6*PageSize] = 1
		grow(t, m, 2*Unit)
		track(t, m)
		m.Bytes()[Unit+PageSize] = 1
		b[7*PageSize] = 1
		wantDirty(t, m, 7, 17)
	})
}

func TestZeroSize(t *testing.T) {
	conform(t, func(t *testing.T, mk makeFunc) {
		empty := mk(t, 0, 0)
		if empty.Bytes() == nil || len(empty.Bytes()) != 0 || empty.Max() != 0 {
			t.Errorf("bytes %v, max %d", empty.Bytes(), empty.Max())
		}
		track(t, empty)
		wantDirty(t, empty)
		if empty.Grow(Unit) {
			t.Error("grew beyond its maximum")
		}
		grow(t, empty, 0)

		m := mk(t, 0, 2*Unit)
		track(t, m)
		if err := m.Forget(); err != nil {
			t.Fatal(err)
		}
		wantDirty(t, m)
		grow(t, m, 2*Unit)
		m.Bytes()[PageSize] = 1
		wantDirty(t, m, 1)
	})
}

func TestMaximum(t *testing.T) {
	conform(t, func(t *testing.T, mk makeFunc) {
		m := mk(t, Unit, 1<<32)
		if m.Max() != MaxSize {
			t.Errorf("max %d, want %d", m.Max(), uint64(MaxSize))
		}
		track(t, m)
		if m.Grow(1<<32) || !m.Grow(MaxSize) {
			t.Fatal("wrong limit")
		}
		b := m.Bytes()
		b[0], b[1<<31-1], b[1<<31], b[MaxSize-1] = 1, 1, 1, 1
		wantDirty(t, m, 0, 1<<19-1, 1<<19, MaxSize/PageSize-1)
		b[MaxSize-1]++
		wantDirty(t, m, MaxSize/PageSize-1)
		if err := m.Untrack(); err != nil {
			t.Fatal(err)
		}
		if v := viewOf(t, m); v.Bytes()[MaxSize-1] != 2 || v.Bytes()[1<<31] != 1 {
			t.Error("view differs")
		}
	})
}

func TestUntouchedCostsNothing(t *testing.T) {
	conform(t, func(t *testing.T, mk makeFunc) {
		m := mk(t, 16*Unit, 1<<32)
		var before, after PageSet
		if err := m.Touched(&before); err != nil {
			t.Fatal(err)
		}
		grow(t, m, 1<<30)
		b := m.Bytes()
		b[0], b[17*Unit] = 1, 1
		if err := m.Touched(&after); err != nil {
			t.Fatal(err)
		}
		if !after.Has(0) || !after.Has(17*Unit/PageSize) {
			t.Error("touched pages are missing")
		}
		known := after.Len() < 1<<30/PageSize
		track(t, m)
		b[PageSize] = 1
		wantDirty(t, m, 1)
		if !known {
			t.Skip("this system does not tell what was touched")
		}
		if after.AndNot(&before); after.Len() > 2*os.Getpagesize()/PageSize {
			t.Errorf("%d pages touched, want 2", after.Len())
		}
		if held := m.Overhead(); held > 3<<20 {
			t.Errorf("tracking 1 GiB that is not touched holds %d bytes", held)
		}
	})
}

func TestRandomContents(t *testing.T) {
	conform(t, func(t *testing.T, mk makeFunc) {
		m := mk(t, Unit, Unit)
		track(t, m)
		b := m.Bytes()
		copy(b[PageSize:], bytes.Repeat([]byte{0xa5}, PageSize))
		wantDirty(t, m, 1)
		clear(b[PageSize : 2*PageSize]) // back to zero
		wantDirty(t, m, 1)
		b[PageSize] = 1
		wantDirty(t, m, 1)
	})
}
