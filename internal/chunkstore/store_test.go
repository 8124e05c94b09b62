package chunkstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/chunkstore/place"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// clock is one that tests set.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

// now moves on a little, so that no two uses are at one time.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(time.Microsecond)
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

var testKey = bytes.Repeat([]byte("k3y!"), 8)

// options are those of tests: problems end them.
func options(t testing.TB, key []byte, c *clock) Options {
	o := Options{Key: key, Log: func(format string, args ...any) { t.Helper(); t.Errorf("logged: "+format, args...) }}
	if c != nil {
		o.now = c.now
	}
	return o
}

func openStore(t testing.TB, b Backend, o Options) *Store {
	t.Helper()
	s, err := OpenStore(b, o)
	if err != nil {
		t.Fatal(err)
	}
	<-s.loaded
	return s
}

// closed closes a store at the end of a test.
func closed(t testing.TB, s *Store) *Store {
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func keys(t *testing.T, f func(t *testing.T, key []byte)) {
	t.Run("clear", func(t *testing.T) { f(t, nil) })
	t.Run("sealed", func(t *testing.T) { f(t, testKey) })
}

// object is data that follows from a number, and its id.
func object(seed uint64, size int) tree.Object {
	var k [32]byte
	k[0], k[1], k[2], k[3] = byte(seed), byte(seed>>8), byte(seed>>16), byte(seed>>24)
	b := make([]byte, size)
	_, _ = rand.NewChaCha8(k).Read(b)
	return tree.Object{ID: tree.IDOf(b), Data: b}
}

func put(t testing.TB, s *Store, objects ...tree.Object) {
	t.Helper()
	for _, o := range objects {
		if err := s.Put(context.Background(), o.ID, o.Data); err != nil {
			t.Fatal(err)
		}
	}
}

func flush(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func pinRoot(t testing.TB, s *Store, name string, id tree.ID) {
	t.Helper()
	if err := s.Pin(context.Background(), name, id); err != nil {
		t.Fatal(err)
	}
}

func want(t testing.TB, s *Store, objects ...tree.Object) {
	t.Helper()
	for _, o := range objects {
		got, err := s.Get(context.Background(), o.ID)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, o.Data) {
			t.Fatalf("object %v: got other data", o.ID)
		}
	}
}

func wantAbsent(t testing.TB, s *Store, objects ...tree.Object) {
	t.Helper()
	for _, o := range objects {
		if got, err := s.Get(context.Background(), o.ID); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("object %v: got %d bytes and %v, want fs.ErrNotExist", o.ID, len(got), err)
		}
		if s.Has([]tree.ID{o.ID})[0] {
			t.Fatalf("object %v is said to be there", o.ID)
		}
	}
}

func testFolder(t testing.TB, dir string) Backend {
	t.Helper()
	b, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStoreRoundTrip(t *testing.T) {
	keys(t, func(t *testing.T, key []byte) {
		dir := t.TempDir()
		s := openStore(t, testFolder(t, dir), options(t, key, nil))
		var all []tree.Object
		for i, n := range []int{0, 1, 100, 4096, 64 << 10, 1 << 20, tree.MaxObject} {
			all = append(all, object(uint64(i), n))
		}
		wantAbsent(t, s, all...)
		put(t, s, all...)
		put(t, s, all...)
		want(t, s, all...)
		flush(t, s)
		want(t, s, all...)
		put(t, s, all...)
		if st := s.Stats(); st.Objects != len(all) || st.Pending != 0 || st.PendingBytes != 0 {
			t.Errorf("got %+v, want %d objects", st, len(all))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = closed(t, openStore(t, testFolder(t, dir), options(t, key, nil)))
		want(t, s, all...)
		var bytes uint64
		for _, o := range all {
			bytes += uint64(s.secrets.sealedSize(len(o.Data)))
			buf := make([]byte, len(o.Data)+64)
			got, err := s.GetInto(t.Context(), o.ID, buf)
			if err != nil || tree.IDOf(got) != o.ID || len(got) > 0 && &got[0] != &buf[1] {
				t.Errorf("%d bytes: read %d into memory of my own, %v", len(o.Data), len(got), err)
			}
		}
		if st := s.Stats(); st.Objects != len(all) || st.Bytes != bytes {
			t.Errorf("got %+v, want %d objects of %d bytes", st, len(all), bytes)
		}
	})
}

func TestPutRefuses(t *testing.T) {
	s := closed(t, openStore(t, NewMemory(), options(t, testKey, nil)))
	o := object(1, 100)
	if err := s.Put(t.Context(), o.ID, o.Data[1:]); !errors.Is(err, ErrID) {
		t.Errorf("other data: got %v, want ErrID", err)
	}
	large := object(2, tree.MaxObject+1)
	if err := s.Put(t.Context(), large.ID, large.Data); !errors.Is(err, tree.ErrTooLarge) {
		t.Errorf("large: got %v, want ErrTooLarge", err)
	}
	wantAbsent(t, s, o, large)
}

// gate is a backend whose writing tests hold up or make fail.
type gate struct {
	*place.Memory
	mu   sync.Mutex
	hold chan struct{} // writing waits until it is closed
	err  error
}

func (g *gate) set(hold chan struct{}, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hold, g.err = hold, err
}

func (g *gate) PutAll(ctx context.Context, items []Item) error {
	g.mu.Lock()
	hold, err := g.hold, g.err
	g.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if err != nil {
		return err
	}
	return g.Memory.PutAll(ctx, items)
}

func TestPutIsSeenBeforeItIsWrittenAndWaitsForRoom(t *testing.T) {
	g := &gate{Memory: place.NewMemoryAt(time.Now)}
	o := options(t, testKey, nil)
	o.Pending = 250
	s := closed(t, openStore(t, g, o))
	hold := make(chan struct{})
	g.set(hold, nil)
	a, b, c := object(1, 100), object(2, 100), object(3, 100)
	put(t, s, a, b)
	want(t, s, a, b)
	if has := s.Has([]tree.ID{a.ID, c.ID, b.ID}); !has[0] || has[1] || !has[2] {
		t.Errorf("has %v", has)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Put(ctx, c.ID, c.Data); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := s.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("flush: got %v", err)
	}
	wantAbsent(t, s, c)
	result := make(chan error)
	go func() { result <- s.Put(context.Background(), c.ID, c.Data) }()
	select {
	case err := <-result:
		t.Fatalf("more than may wait: %v", err)
	default:
	}
	g.set(nil, nil)
	close(hold)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	flush(t, s)
	if st := s.Stats(); st.Pending != 0 || st.Objects != 3 {
		t.Errorf("got %+v", st)
	}
	want(t, s, a, b, c)
}

func TestBackendThatFails(t *testing.T) {
	c := newClock()
	g := &gate{Memory: place.NewMemoryAt(c.now)}
	o := options(t, testKey, c)
	var logged int
	o.Log = func(string, ...any) { logged++ }
	o.Pending = 250
	s := closed(t, openStore(t, g, o))
	broken := errors.New("broken")
	g.set(nil, fmt.Errorf("%w: %w", ErrFull, broken))
	a, b, third := object(1, 100), object(2, 100), object(3, 100)
	put(t, s, a)
	if err := s.Flush(t.Context()); !errors.Is(err, broken) || !errors.Is(err, ErrFull) {
		t.Fatalf("flush: got %v, want what the backend says", err)
	}
	put(t, s, b)
	if err := s.Put(t.Context(), third.ID, third.Data); !errors.Is(err, ErrFull) {
		t.Fatalf("put: got %v, want what the backend says", err)
	}
	want(t, s, a, b)
	wantAbsent(t, s, third)
	if logged == 0 {
		t.Error("nothing was logged")
	}
	g.set(nil, nil)
	flush(t, s)
	put(t, s, third)
	flush(t, s)
	want(t, s, a, b, third)
	if st := s.Stats(); st.Pending != 0 || st.Objects != 3 {
		t.Errorf("got %+v", st)
	}
}

// TestPutTriesAgain has a backend recover without anybody asking for Flush.
func TestPutTriesAgain(t *testing.T) {
	c := newClock()
	g := &gate{Memory: place.NewMemoryAt(c.now)}
	o := options(t, testKey, c)
	o.Log = func(string, ...any) {}
	o.Pending = 150
	s := closed(t, openStore(t, g, o))
	g.set(nil, errors.New("broken"))
	a, b := object(1, 100), object(2, 100)
	put(t, s, a)
	if err := s.Flush(t.Context()); err == nil {
		t.Fatal("no error")
	}
	g.set(nil, nil)
	if err := s.Put(t.Context(), b.ID, b.Data); err == nil {
		t.Fatal("it is tried again at once")
	}
	c.pass(2 * retryAfter)
	put(t, s, b)
	want(t, s, a, b)
}

func TestTwoStoresOfOneFolder(t *testing.T) {
	dir := t.TempDir()
	s1 := closed(t, openStore(t, testFolder(t, dir), options(t, testKey, nil)))
	s2 := closed(t, openStore(t, testFolder(t, dir), options(t, testKey, nil)))
	a, b := object(1, 5000), object(2, 6000)
	put(t, s1, a)
	flush(t, s1)
	if !s2.Has([]tree.ID{a.ID})[0] {
		t.Error("what another stored is not found")
	}
	want(t, s2, a)
	put(t, s2, b)
	flush(t, s2)
	want(t, s1, b)
	// What another has removed is absent, and can be put again.
	if err := s1.b.Delete(t.Context(), s1.secrets.name(a.ID).item()); err != nil {
		t.Fatal(err)
	}
	put(t, s2, a)
	flush(t, s2)
	want(t, s1, a)
}

func TestClosed(t *testing.T) {
	s := openStore(t, NewMemory(), options(t, nil, nil))
	a := object(1, 10)
	put(t, s, a)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b := object(2, 10)
	if err := s.Put(t.Context(), b.ID, b.Data); !errors.Is(err, ErrClosed) {
		t.Errorf("put: got %v", err)
	}
	if err := s.Flush(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("flush: got %v", err)
	}
	if err := s.Pin(t.Context(), "x", a.ID); !errors.Is(err, ErrClosed) {
		t.Errorf("pin: got %v", err)
	}
	if got, err := s.b.Get(t.Context(), s.secrets.name(a.ID).item(), nil); err != nil || !bytes.Equal(got[1:], a.Data) {
		t.Errorf("closing did not write: %v", err)
	}
}

// TestAtOnce has many use one store, for the race detector.
func TestAtOnce(t *testing.T) {
	dir := t.TempDir()
	o := options(t, testKey, nil)
	o.Pending = 100_000
	s := closed(t, openStore(t, testFolder(t, dir), o))
	var wg sync.WaitGroup
	for g := range uint64(6) {
		wg.Go(func() {
			for i := range uint64(40) {
				x := object((g/2)<<8|i, 3000) // each by two of them
				if err := s.Put(context.Background(), x.ID, x.Data); err != nil {
					t.Error(err)
				}
				if got, err := s.Get(context.Background(), x.ID); err != nil || !bytes.Equal(got, x.Data) {
					t.Errorf("got %d bytes, %v", len(got), err)
				}
				if !s.Has([]tree.ID{x.ID})[0] {
					t.Error("not there")
				}
				switch i % 10 {
				case 3:
					if err := s.Flush(context.Background()); err != nil {
						t.Error(err)
					}
				case 5:
					if err := s.Pin(context.Background(), fmt.Sprint(g), x.ID); err != nil {
						t.Error(err)
					}
				case 7:
					if _, err := s.Collect(context.Background()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	flush(t, s)
	if st := s.Stats(); st.Objects != 120 {
		t.Errorf("%d objects, want 120", st.Objects)
	}
	st, err := s.Check(t.Context(), CheckOptions{ReadData: true, Report: func(p Problem) {
		if p.Fault != FaultSort { // roots here are no directories
			t.Error(p)
		}
	}})
	if err != nil || st.Read != 120 {
		t.Errorf("got %+v, %v", st, err)
	}
}

// TestListingDoesNotBringBack: what goes while somebody lists stays gone, and what comes then stays.
func TestListingDoesNotBringBack(t *testing.T) {
	x := index{known: map[name]meta{}}
	went, came, back, kept, left := name{1}, name{2}, name{3}, name{4}, name{5}
	for _, n := range []name{went, back, kept, left} {
		x.put(n, 10, 100, 100)
	}
	x.begin()
	x.drop(went)
	x.drop(back)
	x.put(came, 10, 210, 210)
	x.put(back, 10, 220, 220)
	x.replace(map[name]meta{went: {size: 10}, back: {size: 10}, kept: {size: 10}}, 200)
	for n, want := range map[name]bool{went: false, came: true, back: true, kept: true, left: false} {
		if _, ok := x.get(n); ok != want {
			t.Errorf("object %d is there: %v, want %v", n[0], ok, want)
		}
	}
	if objects, bytes := x.totals(); objects != 3 || bytes != 30 {
		t.Errorf("%d objects of %d bytes, want 3 of 30", objects, bytes)
	}
	if x.begin(); len(x.gone) != 0 {
		t.Errorf("a later listing leaves out %v", x.gone)
	}
}
