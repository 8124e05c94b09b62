package chunkstore

import (
	"slices"
	"testing"

	"github.com/clonecloud/clonecloud/internal/chunkstore/place"
	"github.com/clonecloud/clonecloud/internal/tree"
)

func TestCheck(t *testing.T) {
	keys(t, func(t *testing.T, key []byte) {
		c := newClock()
		m := place.NewMemoryAt(c.now)
		o := options(t, key, c)
		s := closed(t, openStore(t, m, o))
		a := newSample(t, 1, 2)
		put(t, s, a.objects...)
		pinRoot(t, s, "good", a.root)
		pinRoot(t, s, "bad", a.root)
		check := func(s *Store, readData bool) (map[Fault][]string, CheckStats) {
			found := map[Fault][]string{}
			var last CheckStats
			st, err := s.Check(t.Context(), CheckOptions{ReadData: readData, Progress: func(st CheckStats) { last = st }, Report: func(p Problem) {
				found[p.Fault] = append(found[p.Fault], p.Name)
				if p.Removed != (s.o.Repair && (p.Fault == FaultSize || p.Fault == FaultDamaged || p.Fault == FaultRoot)) {
					t.Errorf("removed: %v of %v", p.Removed, p)
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			if last.Objects != st.Objects || last.Bytes != st.Bytes || last.Read != st.Read || last.Reached != st.Reached {
				t.Errorf("told of %+v at the end, want %+v", last, st)
			}
			return found, st
		}
		found, st := check(s, true)
		if len(found) != 0 || st.Read != len(a.objects) || st.Reached != len(a.objects) || st.Objects != len(a.objects) || st.Roots != 2 {
			t.Fatalf("got %v, %+v", found, st)
		}
		item := func(i int) string { return s.secrets.name(a.objects[i].ID).item() }
		for name, data := range map[string]string{item(0): "damaged, and of fitting size", s.secrets.rootItem("bad"): "no root", "nothing-of-ours": "x", "zz/x": "x"} {
			if err := m.PutAll(t.Context(), []Item{{Name: name, Data: []byte(data)}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Delete(t.Context(), item(1)); err != nil {
			t.Fatal(err)
		}
		if err := m.PutAll(t.Context(), []Item{{Name: item(2), Data: make([]byte, s.secrets.sealedSize(tree.MaxObject)+1)}}); err != nil {
			t.Fatal(err)
		}
		wantFound := func(found map[Fault][]string, want map[Fault][]string) {
			t.Helper()
			for f, names := range want {
				slices.Sort(names)
				slices.Sort(found[f])
				if !slices.Equal(found[f], names) {
					t.Errorf("%s: got %v, want %v", f, found[f], names)
				}
			}
			if len(found) != len(want) {
				t.Errorf("got %v", found)
			}
		}
		structure := map[Fault][]string{
			FaultForeign: {"nothing-of-ours", "zz/x"}, FaultSize: {item(2)}, FaultRoot: {s.secrets.rootItem("bad")}, FaultAbsent: {item(1)},
		}
		found, st = check(s, false)
		wantFound(found, structure)
		if st.Problems != 4 || st.Absent != 1 || st.Read != 0 || st.Removed != 0 {
			t.Errorf("got %+v", st)
		}
		o.Repair = true
		r := closed(t, openStore(t, m, o))
		structure[FaultDamaged] = []string{item(0)}
		structure[FaultAbsent] = []string{item(0), item(1), item(2)}
		found, st = check(r, true)
		wantFound(found, structure)
		if st.Removed != 3 {
			t.Errorf("got %+v", st)
		}
		put(t, r, a.objects[:3]...)
		found, _ = check(r, true)
		wantFound(found, map[Fault][]string{FaultForeign: {"nothing-of-ours", "zz/x"}})
	})
}
