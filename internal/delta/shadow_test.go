package delta

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestShadow(t *testing.T) {
	mem := make([]byte, 16*PageSize)
	set := func(p int, v byte) { mem[p*PageSize] = v }
	held := func(s *Shadow) (pages []uint32) {
		for p := range uint32(16) {
			if s.Base(p) != nil {
				pages = append(pages, p)
			}
		}
		return pages
	}
	s := NewShadow(3 * PageSize)
	step := func(want []uint32, changed ...uint32) {
		t.Helper()
		s.Update(mem, slices.Values(changed))
		if got := held(s); !slices.Equal(got, want) {
			t.Fatalf("held %v, want %v", got, want)
		}
	}
	set(1, 7)
	step(nil, 1, 2)               // once is not often
	step([]uint32{1}, 1, 3)       // twice is
	step([]uint32{1, 2, 3}, 2, 3) // full
	if b := s.Base(1); b[0] != 7 {
		t.Fatalf("copy of page 1 begins with %d", b[0])
	}
	set(3, 9)
	step([]uint32{1, 2, 3}, 3, 4) // contents follow
	if b := s.Base(3); b[0] != 9 {
		t.Fatalf("copy of page 3 begins with %d", b[0])
	}
	step([]uint32{2, 3, 4}, 4)          // 1 travelled longest ago
	step([]uint32{2, 3, 4}, 99)         // no such page
	step([]uint32{2, 3, 4}, 5, 6, 7, 8) // once
	step([]uint32{5, 6, 7}, 5, 6, 7, 8) // the last one does not push out its equals
	s.Drop(slices.Values([]uint32{6, 9}))
	step([]uint32{5, 7})
	if got := s.Bytes(); got < 3*PageSize || got > 4*PageSize {
		t.Fatalf("Bytes() = %d", got)
	}
	s.Reset()
	step(nil)
	step([]uint32{7}, 7) // travelled before
}

// TestShadowFollows keeps two shadows in step with a changing memory: every copy is the page, and both hold the same.
func TestShadowFollows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const pages = 12
		mem := make([]byte, pages*PageSize)
		limit := rapid.IntRange(0, 8).Draw(t, "limit")
		a, b := NewShadow(limit*PageSize), NewShadow(limit*PageSize)
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			changed := rapid.SliceOfNDistinct(rapid.Uint32Range(0, pages-1), 0, pages, rapid.ID).Draw(t, "changed")
			slices.Sort(changed)
			for _, p := range changed {
				mem[p*PageSize] = rapid.Byte().Draw(t, "byte")
			}
			a.Update(mem, slices.Values(changed))
			b.Update(mem, slices.Values(changed))
			held := 0
			for p := range uint32(pages) {
				pa, pb := a.Base(p), b.Base(p)
				if (pa == nil) != (pb == nil) {
					t.Fatalf("page %d held by one of two", p)
				}
				if pa == nil {
					continue
				}
				held++
				if want := mem[p*PageSize:][:PageSize]; !bytes.Equal(pa, want) || !bytes.Equal(pb, want) {
					t.Fatalf("copy of page %d is stale", p)
				}
			}
			if held > limit {
				t.Fatalf("holds %d pages, limit %d", held, limit)
			}
		}
	})
}
