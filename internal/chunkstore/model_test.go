package chunkstore

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/clonecloud/clonecloud/internal/chunkstore/place"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// costly is a backend without cheap looks, as an object store is.
type costly struct{ Backend }

// TestModel does random things with two stores of one namespace. What is read is always what was put; what a pinned
// root reaches stays, through collections, quotas, other processes and openings anew.
func TestModel(t *testing.T) {
	samples := []sample{newSample(t, 1, 1), newSample(t, 2, 2), newSample(t, 3, 1), newSample(t, 4, 3)}
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		m := place.NewMemoryAt(c.now)
		o := Options{now: c.now}
		if rapid.Bool().Draw(t, "key") {
			o.Key = testKey
		}
		if rapid.Bool().Draw(t, "quota") {
			o.Quota = uint64(rapid.IntRange(20_000, 80_000).Draw(t, "bytes"))
		}
		apart := rapid.Bool().Draw(t, "costly")
		open := func() *Store {
			var b Backend = m
			if apart {
				b = costly{m}
			}
			s, err := OpenStore(b, o)
			if err != nil {
				t.Fatal(err)
			}
			<-s.loaded
			return s
		}
		stores := [2]*Store{open(), open()}
		pinned := map[string]int{} // name to sample, whose objects were all durable when it was pinned
		store := func() *Store { return stores[rapid.IntRange(0, 1).Draw(t, "store")] }
		which := rapid.IntRange(0, len(samples)-1)
		get := func(s *Store, x tree.Object) bool {
			b, err := s.Get(t.Context(), x.ID)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("get: %v", err)
			}
			if err == nil && tree.IDOf(b) != x.ID {
				t.Fatal("got other data")
			}
			return err == nil
		}
		// keep puts a sample under a pinned root, and tells whether there was room.
		keep := func(s *Store, name string, i int) {
			delete(pinned, name)
			if err := s.Pin(t.Context(), name, samples[i].root); err != nil {
				t.Fatal(err)
			}
			objects := samples[i].objects
			for at := range objects { // from the root on, as they are found
				x := objects[len(objects)-1-at]
				err := s.Put(t.Context(), x.ID, x.Data)
				if errors.Is(err, ErrQuota) && o.Quota != 0 {
					return
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, x := range objects { // another's eviction may have been under way
				if !get(s, x) {
					return
				}
			}
			pinned[name] = i
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				x := object(uint64(rapid.IntRange(1000, 1040).Draw(t, "seed")), 900)
				s := store()
				switch err := s.Put(t.Context(), x.ID, x.Data); {
				case errors.Is(err, ErrQuota) && o.Quota != 0:
				case err != nil:
					t.Fatal(err)
				case !apart && !get(s, x):
					t.Fatal("not there right after it was put")
				}
			},
			"keep": func(t *rapid.T) {
				keep(store(), fmt.Sprint(rapid.IntRange(0, 1).Draw(t, "name")), which.Draw(t, "sample"))
			},
			"get":   func(t *rapid.T) { get(store(), samples[which.Draw(t, "sample")].objects[0]) },
			"flush": func(t *rapid.T) { _ = store().Flush(t.Context()) },
			"wait":  func(t *rapid.T) { c.pass(time.Duration(rapid.IntRange(1, 100).Draw(t, "minutes")) * time.Minute) },
			"unpin": func(t *rapid.T) {
				name := fmt.Sprint(rapid.IntRange(0, 1).Draw(t, "name"))
				delete(pinned, name)
				if err := store().Unpin(t.Context(), name); err != nil {
					t.Fatal(err)
				}
			},
			"collect": func(t *rapid.T) {
				if _, err := store().Collect(t.Context()); err != nil {
					t.Fatal(err)
				}
			},
			"open": func(t *rapid.T) {
				i := rapid.IntRange(0, 1).Draw(t, "store")
				if err := stores[i].Close(); err != nil {
					t.Fatal(err)
				}
				stores[i] = open()
			},
			"": func(t *rapid.T) {
				s := store()
				for name, i := range pinned {
					for _, x := range samples[i].objects {
						if _, err := s.peek(t.Context(), x.ID); err != nil { // not a use
							t.Fatalf("root %s is pinned, and object %v that it reaches is gone", name, x.ID)
						}
					}
				}
			},
		})
		for _, s := range stores {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
