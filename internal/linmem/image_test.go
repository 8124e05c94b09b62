package linmem

import (
	"bytes"
	"os"
	"sync"
	"testing"
)

// filled is a memory of which every page holds something.
func filled(t tester, size uint64) *Memory {
	t.Helper()
	m := newMemory(t, size, size, Options{Tracker: None})
	for at := uint64(0); at < size; at += PageSize {
		m.Bytes()[at+at/PageSize%PageSize] = byte(at/PageSize) | 1
	}
	return m
}

func viewWith(t tester, m *Memory, opt Options) *Memory {
	t.Helper()
	v, err := m.ViewWith(opt)
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, v)
	return v
}

// each runs a test with each tracker that works here.
func each(t *testing.T, test func(t *testing.T, tracker Tracker)) {
	t.Helper()
	for _, tracker := range []Tracker{Userfault, Compare} {
		t.Run(tracker.String(), func(t *testing.T) {
			if tracker == Userfault && !userfaultWorks() {
				t.Skip("userfaultfd does not work here")
			}
			test(t, tracker)
		})
	}
}

// TestViewOfImage: nothing that a view holds from the beginning counts as written, and all that is changed does, also what
// becomes zero and what was written before.
func TestViewOfImage(t *testing.T) {
	each(t, func(t *testing.T, tracker Tracker) {
		const size = 4 << 20
		m := filled(t, size)
		v := viewWith(t, m, Options{Tracker: tracker})
		b := v.Bytes()
		clear(b[9*PageSize : 10*PageSize])
		b[700*PageSize] = 1
		track(t, v)
		wantDirty(t, v)
		if !bytes.Equal(b[10*PageSize:600*PageSize], m.Bytes()[10*PageSize:600*PageSize]) { // reads
			t.Fatal("the view differs")
		}
		wantDirty(t, v)
		clear(b[3*PageSize : 4*PageSize])
		b[9*PageSize], b[600*PageSize] = 1, 7
		wantDirty(t, v, 3, 9, 600)
		wantDirty(t, v)
		b[3*PageSize]++
		b[601*PageSize]++
		b[700*PageSize]++
		b[size-1]++
		wantDirty(t, v, 3, 601, 700, size/PageSize-1)

		var set PageSet
		b[800*PageSize]++
		clear(b[801*PageSize : 802*PageSize])
		set.AddRange(800, 802)
		if err := v.ForgetPages(&set); err != nil {
			t.Fatal(err)
		}
		wantDirty(t, v)
		b[801*PageSize]++
		wantDirty(t, v, 801)
		if err := v.Untrack(); err != nil {
			t.Fatal(err)
		}
		b[900*PageSize]++
		track(t, v)
		wantDirty(t, v)
		b[900*PageSize]++
		b[901*PageSize]++
		wantDirty(t, v, 900, 901)
	})
}

// TestViewOverhead: what tracking a view holds goes by what is written to it.
func TestViewOverhead(t *testing.T) {
	each(t, func(t *testing.T, tracker Tracker) {
		m := filled(t, 32<<20)
		v := viewWith(t, m, Options{Tracker: tracker})
		if !m.CopyOnWrite() {
			t.Skip("views are copies here")
		}
		track(t, v)
		for p := range 20 {
			v.Bytes()[p*PageSize] = 9
		}
		var set PageSet
		if err := v.Collect(&set); err != nil {
			t.Fatal(err)
		}
		// The scratch for runs of pages is most of it.
		if held := v.Overhead(); held > 20*uint64(os.Getpagesize())+64<<10 {
			t.Errorf("tracking 20 pages of 32 MiB holds %d bytes", held)
		}
	})
}

// TestViewOptions: a view has a tracker and a limit of its own, and at least its base's address space.
func TestViewOptions(t *testing.T) {
	for _, anonymous := range []bool{false, true} {
		m := newMemory(t, 2*Unit, 6*Unit, Options{Tracker: None, Reserve: 9 * Unit, anonymous: anonymous})
		m.Bytes()[Unit] = 5
		v := viewWith(t, m, Options{Tracker: Compare, Limit: 3 * Unit})
		if v.TrackerName() != "compare" || v.Max() != 6*Unit || v.Reserved() != 9*Unit || v.Bytes()[Unit] != 5 {
			t.Errorf("tracker %s, max %d, reserved %d", v.TrackerName(), v.Max(), v.Reserved())
		}
		if v.Grow(4*Unit) || !v.Withheld(4*Unit) || !v.Grow(3*Unit) || !m.Grow(4*Unit) {
			t.Error("wrong limits")
		}
		if w := viewWith(t, m, Options{Reserve: 20 * Unit}); w.Reserved() != 20*Unit || !w.Grow(6*Unit) {
			t.Errorf("reserved %d", w.Reserved())
		}
		for _, opt := range []Options{{Limit: 3 * Unit}, {Tracker: None + 1}, {Reserve: 1 << 63}} {
			if v, err := m.ViewWith(opt); err == nil {
				t.Errorf("made a view with %+v", opt)
				v.Close()
			}
		}
	}
	if m, err := New(Unit, Unit, Options{Reserve: 1 << 63}); err == nil {
		t.Error("reserved half of all addresses")
		m.Close()
	}
	m := newMemory(t, Unit, 2*Unit, Options{})
	if m.Reserved() != 2*Unit {
		t.Errorf("reserved %d for a maximum of %d", m.Reserved(), 2*Unit)
	}
	if err := m.Close(); err != nil || m.Reserved() != 0 || m.CopyOnWrite() {
		t.Errorf("closed: %d reserved, %v", m.Reserved(), err)
	}
}

// TestViewsAtOnce: several goroutines may make views of one memory.
func TestViewsAtOnce(t *testing.T) {
	for _, anonymous := range []bool{false, true} {
		m := newMemory(t, 2*Unit, 4*Unit, Options{anonymous: anonymous})
		m.Bytes()[7] = 7
		var group sync.WaitGroup
		for i := range byte(8) {
			group.Go(func() {
				for range 20 {
					v, err := m.View()
					if err != nil {
						t.Error(err)
						return
					}
					v.Bytes()[7] += i
					if v.Bytes()[7] != 7+i {
						t.Error("views share what is written")
					}
					if err := v.Close(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
	}
}
