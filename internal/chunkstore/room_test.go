package chunkstore

import (
	"errors"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/chunkstore/place"
	"github.com/clonecloud/clonecloud/internal/tree"
)

func TestQuotaEvictsWhatWasUsedLongestAgo(t *testing.T) {
	c := newClock()
	o := options(t, testKey, c)
	size := uint64(1017 + 1)
	o.Quota = 10 * size
	s := closed(t, openStore(t, place.NewMemoryAt(c.now), o))
	var all []tree.Object
	for i := range 10 {
		all = append(all, object(uint64(i), 1001))
		put(t, s, all[i])
	}
	flush(t, s)
	want(t, s, all...)
	want(t, s, all[0], all[3]) // used last
	fresh := object(100, 1001)
	put(t, s, fresh)
	flush(t, s)
	st := s.Stats()
	if st.Bytes > o.Quota || st.Evicted == 0 || st.Evicted > 3 || st.EvictedBytes != st.Evicted*size {
		t.Errorf("got %+v", st)
	}
	want(t, s, all[0], all[3], fresh)
	wantAbsent(t, s, all[1])
	// Never more than the quota, whatever comes.
	for i := range 50 {
		x := object(uint64(200+i), 1+i*100)
		put(t, s, x)
		want(t, s, x)
		flush(t, s)
		if st := s.Stats(); st.Bytes > o.Quota {
			t.Fatalf("got %+v, want at most %d bytes", st, o.Quota)
		}
	}
	if err := s.Put(t.Context(), object(9, 20_000).ID, object(9, 20_000).Data); !errors.Is(err, ErrQuota) {
		t.Errorf("larger than the quota: got %v, want ErrQuota", err)
	}
}

func TestQuotaOfPinned(t *testing.T) {
	c := newClock()
	a := newSample(t, 1, 4)
	o := options(t, testKey, c)
	for _, x := range a.objects {
		o.Quota += uint64(len(x.Data) + tagSize + 1)
	}
	o.Quota += 500
	m := place.NewMemoryAt(c.now)
	s := closed(t, openStore(t, m, o))
	pinRoot(t, s, "all", a.root)
	for _, x := range a.objects { // chunks first: nothing tells yet that the root reaches them
		put(t, s, x)
	}
	flush(t, s)
	want(t, s, a.objects...)
	x := object(500, 1000)
	for range 3 {
		if err := s.Put(t.Context(), x.ID, x.Data); !errors.Is(err, ErrQuota) {
			t.Fatalf("got %v, want ErrQuota", err)
		}
		c.pass(refusalLasts / 2)
	}
	want(t, s, a.objects...)
	// Another root makes room, here or from another process.
	b := object(501, 10)
	pinRoot(t, s, "all", b.ID)
	put(t, s, x)
	flush(t, s)
	want(t, s, x)
}

// TestQuotaAfterRootsOfLongAgo: what nobody has pinned for a month gives way.
func TestQuotaAfterRootsOfLongAgo(t *testing.T) {
	if testing.Short() {
		t.Skip("once in twenty under the race detector room is found before the month is over; it is not known yet why")
	}
	c := newClock()
	a := newSample(t, 1, 4)
	o := options(t, testKey, c)
	var logged int
	o.Log = func(string, ...any) { logged++ }
	for _, x := range a.objects {
		o.Quota += uint64(len(x.Data) + tagSize + 1)
	}
	s := closed(t, openStore(t, place.NewMemoryAt(c.now), o))
	<-s.loaded // what is there is known from then on
	put(t, s, a.objects...)
	flush(t, s)
	pinRoot(t, s, "old", a.root)
	x := object(500, 1000)
	c.pass(29 * 24 * time.Hour)
	if err := s.Put(t.Context(), x.ID, x.Data); !errors.Is(err, ErrQuota) {
		t.Fatalf("got %v, want ErrQuota", err)
	}
	c.pass(2 * 24 * time.Hour)
	put(t, s, x)
	if logged != 1 {
		t.Errorf("%d logged, want 1", logged)
	}
}

// TestQuotaCountsWhatOthersStore has two processes fill one namespace.
func TestQuotaCountsWhatOthersStore(t *testing.T) {
	c := newClock()
	m := place.NewMemoryAt(c.now)
	o := options(t, testKey, c)
	o.Quota = 20_000
	s1, s2 := closed(t, openStore(t, m, o)), closed(t, openStore(t, m, o))
	for i := range 60 {
		put(t, s1, object(uint64(i), 500))
		put(t, s2, object(uint64(1000+i), 500))
		flush(t, s1)
		flush(t, s2)
	}
	var bytes uint64
	if err := m.List(t.Context(), "", func(i Info) error {
		if _, ok := parseName(i.Name); ok {
			bytes += uint64(i.Size)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	// Each knows of the other's from its last listing only.
	if bytes > 2*o.Quota {
		t.Errorf("%d bytes, more than twice the quota of %d", bytes, o.Quota)
	}
}
