package linmem

import (
	"strings"
	"testing"
)

// TestLimit: a limit bounds growth and nothing else, and what it withholds is told from what is never possible.
func TestLimit(t *testing.T) {
	for _, mk := range []Options{{}, {anonymous: true}} {
		mk.Limit = 3 * Unit
		m := newMemory(t, Unit, 5*Unit, mk)
		if m.Max() != 5*Unit {
			t.Errorf("maximum is %d", m.Max())
		}
		for _, c := range []struct {
			size            uint64
			grown, withheld bool
		}{
			{2 * Unit, true, false}, {Unit, false, false}, {4 * Unit, false, true}, {5 * Unit, false, true}, {6 * Unit, false, false},
			{2 * Unit, true, false}, {3 * Unit, true, false}, {4 * Unit, false, true},
		} {
			before := m.Size()
			if ok := m.Grow(c.size); ok != c.grown {
				t.Errorf("grow from %d to %d: %t", before, c.size, ok)
			}
			if w := !c.grown && m.Withheld(c.size); w != c.withheld {
				t.Errorf("from %d to %d is withheld: %t", before, c.size, w)
			}
			if !c.grown && m.Size() != before {
				t.Errorf("grow to %d that was refused left %d bytes", c.size, m.Size())
			}
		}
		if v := viewOf(t, m); v.Grow(4*Unit) || !v.Withheld(4*Unit) {
			t.Error("a view has no limit")
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if m.Withheld(4 * Unit) {
			t.Error("a closed memory withholds")
		}
	}
	m := newMemory(t, Unit, 2*Unit, Options{})
	if m.Grow(3*Unit) || m.Withheld(3*Unit) || m.Withheld(2*Unit) {
		t.Error("a memory without a limit withholds")
	}
	_, err := New(4*Unit, 5*Unit, Options{Limit: 3 * Unit})
	if err == nil || !strings.Contains(err.Error(), "no room for 262144 bytes, the limit is 196608") {
		t.Errorf("began past the limit: %v", err)
	}
}
