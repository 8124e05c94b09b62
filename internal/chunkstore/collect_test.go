package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/chunkstore/place"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// sample is a tree: a directory in a directory, a file of a few chunks, one of a list of chunks.
type sample struct {
	root    tree.ID
	objects []tree.Object // all that the root reaches; the root's own node is the last
}

func newSample(t testing.TB, seed uint64, dirs int) sample {
	t.Helper()
	var s sample
	ino := uint64(1)
	next := func() uint64 { ino++; return ino }
	chunk := func(i, size int) tree.Chunk {
		o := object(seed<<12|uint64(i), size)
		s.objects = append(s.objects, o)
		return tree.Chunk{ID: o.ID, Size: uint64(size)}
	}
	dir := func(entries ...tree.Entry) tree.ID {
		id, nodes, err := tree.EncodeDir(entries)
		if err != nil {
			t.Fatal(err)
		}
		s.objects = append(s.objects, nodes...)
		return id
	}
	var subs []tree.Entry
	for d := range dirs {
		small := tree.Entry{
			Name: "few", Kind: tree.KindFile, Flags: tree.Hashed, Ino: next(), Size: 1100,
			Chunks: []tree.Chunk{chunk(d*100, 1000), {Size: 40}, chunk(d*100+1, 60)},
		}
		var list []tree.Chunk
		for i := range 10 {
			list = append(list, chunk(d*100+10+i, 500+i))
		}
		o := tree.Object{Data: tree.EncodeList(list)}
		o.ID = tree.IDOf(o.Data)
		s.objects = append(s.objects, o)
		long := tree.Entry{Name: "many", Kind: tree.KindFile, Flags: tree.Hashed, Ino: next(), Size: 5045, List: o.ID}
		unknown := tree.Entry{Name: "unread", Kind: tree.KindFile, Ino: next(), Size: 99}
		inner := tree.Entry{Name: "dir", Kind: tree.KindDir, Ino: next(), Dir: dir(small)}
		subs = append(subs, tree.Entry{Name: fmt.Sprintf("%03d", d), Kind: tree.KindDir, Ino: next(), Dir: dir(inner, long, unknown)})
	}
	s.root = dir(subs...)
	return s
}

func collect(t *testing.T, s *Store) CollectStats {
	t.Helper()
	st, err := s.Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// pass lets time go by, once all uses so far are known to the backend.
func pass(t *testing.T, c *clock, d time.Duration, stores ...*Store) {
	t.Helper()
	for _, s := range stores {
		if err := s.passed(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c.pass(d)
}

func TestCollect(t *testing.T) {
	keys(t, func(t *testing.T, key []byte) {
		c := newClock()
		s := closed(t, openStore(t, place.NewMemoryAt(c.now), options(t, key, c)))
		a, b := newSample(t, 1, 3), newSample(t, 2, 3)
		lone := object(99, 10)
		put(t, s, a.objects...)
		put(t, s, b.objects...)
		put(t, s, lone)
		flush(t, s)
		pinRoot(t, s, "one", a.root)
		pinRoot(t, s, "two", b.root)
		if st := collect(t, s); st.Removed != 0 {
			t.Errorf("young objects are removed: %+v", st)
		}
		pass(t, c, time.Hour+time.Minute, s)
		st := collect(t, s)
		all := len(a.objects) + len(b.objects) + 1
		if st.Roots != 2 || st.Objects != all || st.Reached != all-1 || st.Removed != 1 || st.RemovedBytes != uint64(s.secrets.sealedSize(10)) || st.Absent+st.Malformed != 0 {
			t.Errorf("got %+v, want 1 of %d removed", st, all)
		}
		wantAbsent(t, s, lone)
		pinRoot(t, s, "two", a.root) // in place of b
		if st := collect(t, s); st.Removed != uint64(len(b.objects)) {
			t.Errorf("got %+v, want %d removed", st, len(b.objects))
		}
		want(t, s, a.objects...)
		wantAbsent(t, s, b.objects...)
		if err := s.Unpin(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		pass(t, c, 2*time.Hour, s)
		if st := collect(t, s); st.Roots != 1 || st.Removed != 0 {
			t.Errorf("got %+v: the other name still pins it", st)
		}
		if err := s.Unpin(t.Context(), "two"); err != nil {
			t.Fatal(err)
		}
		if st := collect(t, s); st.Removed != uint64(len(a.objects)) {
			t.Errorf("got %+v, want all removed", st)
		}
		if st := s.Stats(); st.Objects != 0 || st.Bytes != 0 {
			t.Errorf("left: %+v", st)
		}
	})
}

// TestUseIsKnownToOthers: what one process found is not collected by another.
func TestUseIsKnownToOthers(t *testing.T) {
	c := newClock()
	m := place.NewMemoryAt(c.now)
	s1, s2 := closed(t, openStore(t, m, options(t, testKey, c))), closed(t, openStore(t, m, options(t, testKey, c)))
	has, got, again, idle := object(1, 10), object(2, 10), object(3, 10), object(4, 10)
	put(t, s1, has, got, again, idle)
	flush(t, s1)
	pass(t, c, 2*time.Hour, s1)
	if !s2.Has([]tree.ID{has.ID})[0] {
		t.Fatal("not there")
	}
	want(t, s2, got)
	put(t, s2, again)
	pinRoot(t, s2, "x", object(5, 10).ID) // then the uses are known
	if st := collect(t, s1); st.Removed != 1 || st.Absent != 1 {
		t.Errorf("got %+v, want 1 removed", st)
	}
	want(t, s1, has, got, again)
	wantAbsent(t, s1, idle)
}

// meddler is a backend that does something when roots are listed.
type meddler struct {
	*place.Memory
	lists int
	act   func(n int)
}

func (m *meddler) List(ctx context.Context, prefix string, f func(Info) error) error {
	if prefix == rootPrefix {
		m.lists++
		m.act(m.lists)
	}
	return m.Memory.List(ctx, prefix, f)
}

func TestCollectSparesWhatIsPinnedMeanwhile(t *testing.T) {
	c := newClock()
	m := place.NewMemoryAt(c.now)
	other := closed(t, openStore(t, m, options(t, testKey, c)))
	a := newSample(t, 1, 2)
	put(t, other, a.objects...)
	flush(t, other)
	pass(t, c, 3*time.Hour, other)
	med := &meddler{Memory: m, act: func(int) {}}
	s := closed(t, openStore(t, med, options(t, testKey, c)))
	med.act = func(n int) {
		if n == 2 {
			item := other.secrets.rootItem("late")
			if err := m.PutAll(context.Background(), []Item{{Name: item, Data: other.secrets.sealRoot(root{"late", a.root})}}); err != nil {
				t.Error(err)
			}
		}
	}
	if st := collect(t, s); st.Removed != 0 || st.Roots != 1 || med.lists < 2 {
		t.Errorf("got %+v after %d listings", st, med.lists)
	}
	want(t, s, a.objects...)
}

func TestCollectRefusesWhatItCannotRead(t *testing.T) {
	c := newClock()
	m := place.NewMemoryAt(c.now)
	s := closed(t, openStore(t, m, options(t, testKey, c)))
	a := object(1, 10)
	put(t, s, a)
	pinRoot(t, s, "good", a.ID)
	flush(t, s)
	item := s.secrets.rootItem("good")
	b, err := m.Get(t.Context(), item, nil)
	if err != nil {
		t.Fatal(err)
	}
	pass(t, c, 2*time.Hour, s)
	for i := range b {
		bad := slices.Clone(b)
		bad[i] ^= 0x10
		if err := m.PutAll(t.Context(), []Item{{Name: item, Data: bad}}); err != nil {
			t.Fatal(err)
		}
		if st, err := s.Collect(t.Context()); !errors.Is(err, ErrDamaged) || st.Removed != 0 {
			t.Fatalf("byte %d: got %+v, %v", i, st, err)
		}
	}
	// Another root's item in its place.
	if err := m.PutAll(t.Context(), []Item{{Name: item, Data: s.secrets.sealRoot(root{"other", a.ID})}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Collect(t.Context()); !errors.Is(err, ErrDamaged) {
		t.Errorf("another root's: got %v", err)
	}
	want(t, s, a)
}

// TestCollectOfStrangeTrees: a tenant may pin anything.
func TestCollectOfStrangeTrees(t *testing.T) {
	c := newClock()
	s := closed(t, openStore(t, place.NewMemoryAt(c.now), options(t, testKey, c)))
	a := newSample(t, 1, 1)
	// One object as chunk, as list and as directory; a directory that is absent; a root that is data.
	node := a.objects[len(a.objects)-1]
	root, nodes, err := tree.EncodeDir([]tree.Entry{
		{Name: "a", Kind: tree.KindFile, Ino: 1, Flags: tree.Hashed, Size: 9, Chunks: []tree.Chunk{{ID: node.ID, Size: 9}}},
		{Name: "b", Kind: tree.KindFile, Ino: 2, Flags: tree.Hashed, Size: 9, List: node.ID},
		{Name: "c", Kind: tree.KindDir, Ino: 3, Dir: node.ID},
		{Name: "d", Kind: tree.KindDir, Ino: 4, Dir: tree.IDOf([]byte("absent"))},
	})
	if err != nil {
		t.Fatal(err)
	}
	data := object(7, 100)
	put(t, s, a.objects...)
	put(t, s, nodes...)
	put(t, s, data)
	flush(t, s)
	pinRoot(t, s, "strange", root)
	pinRoot(t, s, "data", data.ID)
	pass(t, c, 2*time.Hour, s)
	st := collect(t, s)
	if st.Removed != 0 || st.Absent != 1 || st.Malformed != 2 {
		t.Errorf("got %+v, want 1 absent, 2 malformed", st)
	}
	want(t, s, a.objects...)
}

func TestRootsAreLimited(t *testing.T) {
	c := newClock()
	s := closed(t, openStore(t, place.NewMemoryAt(c.now), options(t, nil, c)))
	for i := range maxRoots + 10 {
		pinRoot(t, s, fmt.Sprint("root ", i), object(uint64(i), 1).ID)
	}
	roots, err := s.roots(t.Context())
	if err != nil || len(roots) != maxRoots {
		t.Fatalf("%d roots, %v, want %d", len(roots), err, maxRoots)
	}
	for _, r := range roots {
		if slices.Contains([]string{"root 0", "root 9"}, r.name) {
			t.Errorf("%s is older than others and stays", r.name)
		}
	}
}

func TestPin(t *testing.T) {
	c := newClock()
	m := place.NewMemoryAt(c.now)
	s := closed(t, openStore(t, m, options(t, testKey, c)))
	a, b := object(1, 1).ID, object(2, 1).ID
	for _, bad := range []struct {
		name string
		id   tree.ID
	}{{"", a}, {"x", tree.ID{}}, {string(make([]byte, maxRootName+1)), a}} {
		if err := s.Pin(t.Context(), bad.name, bad.id); err == nil {
			t.Errorf("pin %v as %d bytes: no error", bad.id, len(bad.name))
		}
	}
	used := func() time.Time {
		i, err := m.Stat(t.Context(), s.secrets.rootItem("x"))
		if err != nil {
			t.Fatal(err)
		}
		return i.Used
	}
	pinRoot(t, s, "x", a)
	first := used()
	pinRoot(t, s, "x", a)
	if !used().Equal(first) {
		t.Error("it is written again at once")
	}
	c.pass(again)
	pinRoot(t, s, "x", a)
	if used().Equal(first) {
		t.Error("it is not known that it was pinned again")
	}
	pinRoot(t, s, "x", b)
	roots, err := s.roots(t.Context())
	if err != nil || len(roots) != 1 || roots[0].id != b || roots[0].name != "x" {
		t.Errorf("got %+v, %v", roots, err)
	}
}

// TestPinOfAnotherProcess: what one remembers to have pinned, another may have replaced or removed.
func TestPinOfAnotherProcess(t *testing.T) {
	c := newClock()
	m := place.NewMemoryAt(c.now)
	s1, s2 := closed(t, openStore(t, m, options(t, testKey, c))), closed(t, openStore(t, m, options(t, testKey, c)))
	a, b := object(1, 1).ID, object(2, 1).ID
	check := func() {
		t.Helper()
		if roots, err := s2.roots(t.Context()); err != nil || len(roots) != 1 || roots[0].id != a {
			t.Errorf("got %+v, %v, want root %v", roots, err, a)
		}
	}
	pinRoot(t, s1, "x", a)
	pinRoot(t, s2, "x", b)
	pinRoot(t, s1, "x", a)
	check()
	if err := s2.Unpin(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	pinRoot(t, s1, "x", a)
	check()
}
