package linmem

import (
	"errors"
	"fmt"
)

// Track makes the memory notice writes from now on. If it did already, it forgets those until now. With Auto, should
// the system refuse userfaultfd to this memory, comparison takes its place.
func (m *Memory) Track() error {
	if m.area == nil {
		return fmt.Errorf("track memory: %w", ErrClosed)
	}
	if m.tracker != nil {
		return m.Forget()
	}
	t, err := m.newTracker(m.kind)
	if err != nil && m.opt.Tracker == Auto && m.kind == Userfault {
		if t, err = m.newTracker(Compare); err == nil {
			m.kind = Compare
		}
	}
	if err != nil {
		return fmt.Errorf("track memory: %w", err)
	}
	m.tracker = t
	return nil
}

// newTracker returns an armed tracker.
func (m *Memory) newTracker(kind Tracker) (tracker, error) {
	var t tracker
	var err error
	switch kind {
	case Userfault:
		t, err = newUserfault(m)
	case Compare:
		t, err = newCompare(m)
	default:
		err = ErrNoTracker
	}
	if err != nil {
		return nil, err
	}
	if err := t.arm(); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

// Collect adds to set the pages written since Track, the last Collect or the last Forget, and begins anew. It never
// removes a page from set. After an error, pages that would not be reported again are in set.
func (m *Memory) Collect(set *PageSet) error {
	if m.tracker == nil {
		return fmt.Errorf("collect dirty pages: %w", ErrNotTracking)
	}
	if err := m.tracker.collect(set); err != nil {
		return fmt.Errorf("collect dirty pages: %w", err)
	}
	return nil
}

// Forget begins anew without reporting what was written until now.
func (m *Memory) Forget() error {
	if m.tracker == nil {
		return fmt.Errorf("forget dirty pages: %w", ErrNotTracking)
	}
	if err := m.tracker.arm(); err != nil {
		return fmt.Errorf("forget dirty pages: %w", err)
	}
	return nil
}

// ForgetPages is Forget where nothing but the pages of set was written: it costs what they cost, not what the memory does.
func (m *Memory) ForgetPages(set *PageSet) error {
	if m.tracker == nil {
		return fmt.Errorf("forget dirty pages: %w", ErrNotTracking)
	}
	if last, ok := set.Max(); ok && uint64(last) >= m.size/PageSize {
		return fmt.Errorf("forget dirty pages: page %d is beyond the memory", last)
	}
	if err := m.tracker.forget(set); err != nil {
		return fmt.Errorf("forget dirty pages: %w", err)
	}
	return nil
}

// Untrack ends what Track began and releases what it needed.
func (m *Memory) Untrack() error {
	if m.tracker == nil {
		return nil
	}
	err := m.tracker.close()
	m.tracker = nil
	if err != nil {
		return fmt.Errorf("end tracking: %w", err)
	}
	return nil
}

// Tracking tells whether writes are noticed.
func (m *Memory) Tracking() bool { return m.tracker != nil }

// TrackerName names the tracker that Track uses here: "userfaultfd", "compare" or "none".
func (m *Memory) TrackerName() string { return m.kind.String() }

// Overhead is the number of bytes that tracking holds at present, beyond the memory itself.
func (m *Memory) Overhead() uint64 {
	if m.tracker == nil {
		return 0
	}
	return m.tracker.overhead()
}
