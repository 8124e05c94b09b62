package linmem

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestPageSetAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sets [2]PageSet
		models := [2]map[uint32]bool{{}, {}}
		page := rapid.OneOf(rapid.Uint32Range(0, 200), rapid.Uint32Range(0, MaxPages-1), rapid.Just(uint32(MaxPages-1)))
		which := rapid.IntRange(0, 1)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				i, p := which.Draw(t, "set"), page.Draw(t, "page")
				sets[i].Add(p)
				models[i][p] = true
			},
			"range": func(t *rapid.T) {
				i, first := which.Draw(t, "set"), page.Draw(t, "first")
				end := min(first+rapid.Uint32Range(0, 300).Draw(t, "count"), MaxPages)
				sets[i].AddRange(first, end)
				for p := first; p < end; p++ {
					models[i][p] = true
				}
			},
			"or": func(t *rapid.T) {
				i := which.Draw(t, "set")
				sets[i].Or(&sets[1-i])
				maps.Copy(models[i], models[1-i])
			},
			"andnot": func(t *rapid.T) {
				i := which.Draw(t, "set")
				sets[i].AndNot(&sets[1-i])
				for p := range models[1-i] {
					delete(models[i], p)
				}
			},
			"clear": func(t *rapid.T) {
				i := which.Draw(t, "set")
				sets[i].Clear()
				clear(models[i])
			},
			"clone": func(t *rapid.T) {
				i := which.Draw(t, "set")
				sets[1-i] = *sets[i].Clone()
				models[1-i] = maps.Clone(models[i])
			},
			"": func(t *rapid.T) {
				for i := range sets {
					comparePageSet(t, &sets[i], models[i], page.Draw(t, "probe"))
				}
			},
		})
	})
}

func comparePageSet(t *rapid.T, s *PageSet, model map[uint32]bool, probe uint32) {
	want := slices.Sorted(maps.Keys(model))
	if d := cmp.Diff(want, slices.Collect(s.All())); d != "" {
		t.Fatalf("pages (-want +got):\n%s", d)
	}
	var runs []uint32
	last := int64(-1)
	for first, end := range s.Ranges() {
		if int64(first) <= last || first >= end {
			t.Fatalf("run [%d,%d) after %d", first, end, last)
		}
		last = int64(end)
		for p := first; p < end; p++ {
			runs = append(runs, p)
		}
	}
	if d := cmp.Diff(want, runs); d != "" {
		t.Fatalf("pages in runs (-want +got):\n%s", d)
	}
	top, ok := s.Max()
	if ok != (len(want) > 0) || ok && top != want[len(want)-1] {
		t.Fatalf("max %d %v of %v", top, ok, want)
	}
	if s.Len() != len(want) || s.Empty() != (len(want) == 0) || s.Has(probe) != model[probe] {
		t.Fatalf("len %d, empty %v, has %v; want %d pages, %v", s.Len(), s.Empty(), s.Has(probe), len(want), model[probe])
	}
}

func TestPageSetStopsEarly(t *testing.T) {
	var s PageSet
	s.AddRange(10, 400)
	n := 0
	for range s.All() {
		if n++; n == 3 {
			break
		}
	}
	for first, end := range s.Ranges() {
		if first != 10 || end != 400 {
			t.Errorf("run [%d,%d)", first, end)
		}
		break
	}
	s.AddRange(5, 5)
	s.AddRange(7, 3)
	if s.Has(5) || s.Has(3) || s.Has(4e9) {
		t.Error("has a page that was not added")
	}
}

func TestPageSetRefusesFarPages(t *testing.T) {
	for _, add := range []func(*PageSet){
		func(s *PageSet) { s.Add(MaxPages) },
		func(s *PageSet) { s.AddRange(0, MaxPages+1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("a page beyond the address space was added")
				}
			}()
			add(new(PageSet))
		}()
	}
}
