package linmem

import (
	"errors"
	"sync"
	"testing"
)

func TestViewIsolation(t *testing.T) {
	conform(t, func(t *testing.T, mk makeFunc) {
		m := mk(t, 2*Unit, 8*Unit)
		m.Bytes()[0], m.Bytes()[PageSize] = 1, 2
		track(t, m)
		v := viewOf(t, m)
		if v.Size() != m.Size() || v.Max() != m.Max() || v.Tracking() {
			t.Fatalf("view of %d bytes, max %d, tracking %v", v.Size(), v.Max(), v.Tracking())
		}
		if v.Bytes()[0] != 1 || v.Bytes()[PageSize] != 2 {
			t.Error("view has other contents")
		}
		track(t, v)
		v.Bytes()[0], v.Bytes()[3*PageSize] = 3, 3
		if m.Bytes()[0] != 1 || m.Bytes()[3*PageSize] != 0 {
			t.Error("a write to the view is seen in its base")
		}
		wantDirty(t, m)
		wantDirty(t, v, 0, 3)
		m.Bytes()[0], m.Bytes()[3*PageSize] = 4, 4
		if v.Bytes()[0] != 3 || v.Bytes()[3*PageSize] != 3 {
			t.Error("a write to the base is seen where the view was written")
		}
		wantDirty(t, m, 0, 3)
		wantDirty(t, v)

		// Both grow, each into zeros of its own.
		grow(t, m, 4*Unit)
		m.Bytes()[3*Unit] = 5
		grow(t, v, 6*Unit)
		if v.Bytes()[3*Unit] != 0 {
			t.Error("the view grew into bytes of its base")
		}
		v.Bytes()[3*Unit] = 6
		if m.Bytes()[3*Unit] != 5 {
			t.Error("the base sees growth of its view")
		}
		wantDirty(t, m, 3*Unit/PageSize)
		wantDirty(t, v, 3*Unit/PageSize)

		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if b := v.Bytes(); b[0] != 3 || b[PageSize] != 2 || b[3*Unit] != 6 {
			t.Error("closing the base changed the view")
		}
	})
}

func TestViewsOfOneBase(t *testing.T) {
	conform(t, func(t *testing.T, mk makeFunc) {
		m := mk(t, Unit, Unit)
		m.Bytes()[9] = 9
		var views []*Memory
		for i := range 5 {
			v := viewOf(t, m)
			v.Bytes()[9] += byte(i)
			views = append(views, v)
		}
		for i, v := range views {
			if got := v.Bytes()[9]; got != byte(9+i) {
				t.Errorf("view %d holds %d", i, got)
			}
		}
	})
}

func TestClose(t *testing.T) {
	conform(t, func(t *testing.T, mk makeFunc) {
		m := mk(t, Unit, 2*Unit)
		track(t, m)
		for range 2 {
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if m.Bytes() != nil || m.Size() != 0 || m.Grow(0) || m.Tracking() {
			t.Error("a closed memory is alive")
		}
		_, err := m.View()
		var set PageSet
		for _, err := range []error{err, m.Track(), m.Touched(&set)} {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("after close: %v", err)
			}
		}
		if err := m.Collect(&set); !errors.Is(err, ErrNotTracking) {
			t.Errorf("collect after close: %v", err)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		lo, hi uint64
		opt    Options
	}{
		{lo: 2 * Unit, hi: Unit},
		{lo: 1 << 32, hi: 1 << 32},
		{lo: 1 << 63, hi: 1 << 63},
		{lo: 1, hi: Unit},
		{lo: 0, hi: PageSize},
		{opt: Options{Tracker: None + 1}},
	} {
		if m, err := New(c.lo, c.hi, c.opt); err == nil {
			t.Errorf("made a memory of %d to %d bytes", c.lo, c.hi)
			m.Close()
		}
	}
}

func TestTrackerChoice(t *testing.T) {
	m := newMemory(t, Unit, Unit, Options{})
	want := Compare
	if userfaultWorks() {
		want = Userfault
	}
	if m.TrackerName() != want.String() {
		t.Errorf("tracker %q, want %q", m.TrackerName(), want)
	}
	m = newMemory(t, Unit, Unit, Options{Tracker: None})
	if err := m.Track(); !errors.Is(err, ErrNoTracker) || m.TrackerName() != "none" {
		t.Errorf("tracker %q: %v", m.TrackerName(), err)
	}
}

// TestManyMemories runs memories side by side: what they share (views' files, what was found out about the system) is
// safe.
func TestManyMemories(t *testing.T) {
	conform(t, func(t *testing.T, mk makeFunc) {
		base := mk(t, Unit, Unit)
		base.Bytes()[0] = 1
		var group sync.WaitGroup
		for i := range uint32(4) {
			v := viewOf(t, base)
			group.Go(func() {
				defer v.Close()
				for round := range 20 {
					var set PageSet
					err := v.Track()
					v.Bytes()[(i+1)*PageSize] = byte(round + 1)
					if err := errors.Join(err, v.Collect(&set)); err != nil {
						t.Error(err)
						return
					}
					if !set.Has(i+1) || set.Has(0) {
						t.Errorf("memory %d reports %v", i, set.words)
					}
					if err := v.Untrack(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
	})
}
