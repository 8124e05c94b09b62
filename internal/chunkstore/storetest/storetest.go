// Package storetest is what each place for items must pass: the conformance suite of place.Backend.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/chunkstore/place"
)

// Run tests the backends that open opens. Each call of open gives an empty place, and a second call of what it returns
// the same place again, as another process would open it, or nil if that cannot be.
func Run(t *testing.T, open func(t *testing.T) (b, second place.Backend)) {
	for name, test := range map[string]func(*testing.T, place.Backend){
		"round_trip": roundTrip, "replace": replace, "absent": absent, "delete": remove, "list": list, "list_many": listMany,
		"touch": touch, "names": names, "sizes": sizes, "buffers": buffers, "not_kept": notKept, "at_once": atOnce,
		"canceled": canceled, "stop_listing": stopListing, "stat": stat,
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := open(t)
			test(t, b)
		})
	}
	t.Run("second", func(t *testing.T) {
		b, second := open(t)
		if second == nil {
			t.Skip("what it keeps cannot be opened twice")
		}
		shared(t, b, second)
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, b place.Backend, name string, data []byte) {
	t.Helper()
	must(t, b.PutAll(t.Context(), []place.Item{{Name: name, Data: data}}))
}

func want(t *testing.T, b place.Backend, name string, data []byte) {
	t.Helper()
	got, err := b.Get(t.Context(), name, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Fatalf("%s: got %d bytes, want %d others", name, len(got), len(data))
	}
}

func wantAbsent(t *testing.T, b place.Backend, name string) {
	t.Helper()
	if got, err := b.Get(t.Context(), name, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s: got %d bytes and %v, want fs.ErrNotExist", name, len(got), err)
	}
}

// pattern is data that tells its length and seed.
func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7>>3) ^ byte(i>>8) ^ seed
	}
	return b
}

func listing(t *testing.T, b place.Backend, prefix string) map[string]place.Info {
	t.Helper()
	found := map[string]place.Info{}
	must(t, b.List(t.Context(), prefix, func(i place.Info) error {
		if _, twice := found[i.Name]; twice {
			t.Errorf("%s is listed twice", i.Name)
		}
		if i.Foreign {
			t.Errorf("%s is said to be foreign", i.Name)
		}
		found[i.Name] = i
		return nil
	}))
	return found
}

func roundTrip(t *testing.T, b place.Backend) {
	var items []place.Item
	for i, n := range []int{1, 2, 3, 4095, 4096, 4097, 64 << 10, 1<<20 + 17, 6 << 20} {
		items = append(items, place.Item{Name: fmt.Sprintf("%02x/item-%d", i%3, n), Data: pattern(n, byte(i))})
	}
	must(t, b.PutAll(t.Context(), items))
	for _, it := range items {
		want(t, b, it.Name, it.Data)
	}
	must(t, b.PutAll(t.Context(), nil))
}

func replace(t *testing.T, b place.Backend) {
	for _, n := range []int{100, 5000, 3, 1, 70_000} {
		put(t, b, "a/x", pattern(n, byte(n)))
		want(t, b, "a/x", pattern(n, byte(n)))
	}
	if all := listing(t, b, ""); len(all) != 1 {
		t.Errorf("found %d items, want 1", len(all))
	}
}

func absent(t *testing.T, b place.Backend) {
	wantAbsent(t, b, "alone")
	wantAbsent(t, b, "a/x")
	put(t, b, "a/x", []byte("1"))
	wantAbsent(t, b, "a/xx")
	wantAbsent(t, b, "a")
	put(t, b, "alone", []byte("1"))
	wantAbsent(t, b, "alone/x")
}

func remove(t *testing.T, b place.Backend) {
	must(t, b.Delete(t.Context()))
	must(t, b.Delete(t.Context(), "a/never", "never"))
	for i := range 5 {
		put(t, b, fmt.Sprintf("a/%d", i), []byte("data"))
	}
	must(t, b.Delete(t.Context(), "a/0", "a/never", "a/3"))
	if got, want := len(listing(t, b, "a/")), 3; got != want {
		t.Errorf("%d items are left, want %d", got, want)
	}
	wantAbsent(t, b, "a/0")
	wantAbsent(t, b, "a/3")
	want(t, b, "a/4", []byte("data"))
	put(t, b, "a/0", []byte("again"))
	want(t, b, "a/0", []byte("again"))
}

func list(t *testing.T, b place.Backend) {
	if all := listing(t, b, ""); len(all) != 0 {
		t.Fatalf("an empty place lists %v", all)
	}
	names := []string{"ab/abcd", "ab/abce", "ab/b", "abc/1", "root/1", "format"}
	for i, n := range names {
		put(t, b, n, pattern(i*10+1, 0))
	}
	for prefix, want := range map[string][]string{
		"": names, "ab/": names[:3], "ab/abc": names[:2], "ab": names[:4], "root/": names[4:5], "form": names[5:], "zz/": nil, "zz": nil,
	} {
		found := listing(t, b, prefix)
		if len(found) != len(want) {
			t.Errorf("prefix %q: found %d items, want %d", prefix, len(found), len(want))
		}
		for _, n := range want {
			i, ok := found[n]
			if at := slices.Index(names, n); !ok || i.Size != int64(at*10+1) || i.Used.IsZero() {
				t.Errorf("prefix %q: item %s: got %+v", prefix, n, i)
			}
		}
	}
}

func listMany(t *testing.T, b place.Backend) {
	const n = 2300 // more than the page of an object store
	items := make([]place.Item, n)
	for i := range items {
		items[i] = place.Item{Name: fmt.Sprintf("%02x/%04d", i%7, i), Data: []byte{byte(i)}}
	}
	must(t, b.PutAll(t.Context(), items))
	if got := len(listing(t, b, "")); got != n {
		t.Errorf("found %d items, want %d", got, n)
	}
	var names []string
	for _, it := range items[:n-1] {
		names = append(names, it.Name)
	}
	must(t, b.Delete(t.Context(), names...))
	if got := listing(t, b, ""); len(got) != 1 {
		t.Errorf("%d items are left, want 1", len(got))
	}
}

func touch(t *testing.T, b place.Backend) {
	must(t, b.Touch(t.Context()))
	must(t, b.Touch(t.Context(), "a/never"))
	wantAbsent(t, b, "a/never")
	data := pattern(1000, 3)
	put(t, b, "a/x", data)
	before := listing(t, b, "a/x")["a/x"].Used
	must(t, b.Touch(t.Context(), "a/never", "a/x"))
	after := listing(t, b, "a/x")["a/x"].Used
	// Clocks that stamp may be coarse, and not be ours.
	if after.Before(before.Add(-time.Second)) {
		t.Errorf("used %v, then touched, and then used %v", before, after)
	}
	want(t, b, "a/x", data)
}

func names(t *testing.T, b place.Backend) {
	good := []string{"a", "0-9", strings.Repeat("x", 100) + "/" + strings.Repeat("y", 99)}
	for _, n := range good {
		put(t, b, n, []byte(n))
		want(t, b, n, []byte(n))
	}
	for _, n := range []string{
		"", "/", "a/", "/a", "a/b/c", "..", "a/..", "../a", ".", ".tmp", "a/.b", "A", "a b", "a\\b", "a\x00", "c:", "\xff", strings.Repeat("x", 201),
	} {
		if err := b.PutAll(t.Context(), []place.Item{{Name: n, Data: []byte("x")}}); err == nil {
			t.Errorf("put %q: no error", n)
		}
		if _, err := b.Get(t.Context(), n, nil); err == nil {
			t.Errorf("get %q: no error", n)
		}
	}
	if got := len(listing(t, b, "")); got != len(good) {
		t.Errorf("%d items, want %d", got, len(good))
	}
}

func sizes(t *testing.T, b place.Backend) {
	large := make([]byte, place.MaxItem+1)
	for _, data := range [][]byte{nil, large} {
		if err := b.PutAll(t.Context(), []place.Item{{Name: "a/good", Data: []byte("1")}, {Name: "a/bad", Data: data}}); err == nil {
			t.Errorf("%d bytes: no error", len(data))
		}
		wantAbsent(t, b, "a/bad")
	}
	put(t, b, "a/largest", large[1:])
	want(t, b, "a/largest", large[1:])
}

func buffers(t *testing.T, b place.Backend) {
	put(t, b, "a/x", pattern(1000, 1))
	for _, size := range []int{0, 999, 1000, 5000} {
		buf := make([]byte, size)
		got, err := b.Get(t.Context(), "a/x", buf)
		must(t, err)
		if !bytes.Equal(got, pattern(1000, 1)) {
			t.Errorf("into %d bytes: got others", size)
		}
		if size >= 1000 && &got[0] != &buf[0] {
			t.Errorf("into %d bytes: not used", size)
		}
	}
}

// notKept changes what was stored and what was read: the item must stay.
func notKept(t *testing.T, b place.Backend) {
	data := pattern(5000, 9)
	put(t, b, "a/x", data)
	clear(data)
	got, err := b.Get(t.Context(), "a/x", nil)
	must(t, err)
	clear(got)
	want(t, b, "a/x", pattern(5000, 9))
}

// atOnce has many write the same and other items: each read gives one of the whole values.
func atOnce(t *testing.T, b place.Backend) {
	ctx := t.Context()
	put(t, b, "a/same", pattern(20_000, 0))
	var wg sync.WaitGroup
	for g := range byte(6) {
		wg.Go(func() {
			for i := range 6 {
				items := []place.Item{{Name: "a/same", Data: pattern(20_000, g)}, {Name: fmt.Sprintf("a/%d-%d", g, i), Data: []byte{g}}}
				if err := b.PutAll(ctx, items); err != nil {
					t.Error(err)
				}
				got, err := b.Get(ctx, "a/same", nil)
				if err != nil || len(got) != 20_000 || !bytes.Equal(got, pattern(20_000, got[0])) {
					t.Errorf("got %d bytes of more than one writer, %v", len(got), err)
				}
			}
		})
	}
	wg.Wait()
	if got := len(listing(t, b, "")); got != 37 {
		t.Errorf("%d items, want 37", got)
	}
}

func canceled(t *testing.T, b place.Backend) {
	put(t, b, "a/x", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.PutAll(ctx, []place.Item{{Name: "a/y", Data: []byte("y")}}); !errors.Is(err, context.Canceled) {
		t.Errorf("put: got %v", err)
	}
	if _, err := b.Get(ctx, "a/x", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("get: got %v", err)
	}
	if err := b.List(ctx, "", func(place.Info) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("list: got %v", err)
	}
	if err := b.Delete(ctx, "a/x"); !errors.Is(err, context.Canceled) {
		t.Errorf("delete: got %v", err)
	}
	if err := b.Touch(ctx, "a/x"); !errors.Is(err, context.Canceled) {
		t.Errorf("touch: got %v", err)
	}
	want(t, b, "a/x", []byte("x"))
	wantAbsent(t, b, "a/y")
}

func stopListing(t *testing.T, b place.Backend) {
	for _, n := range []string{"a/1", "a/2", "b/1", "c"} {
		put(t, b, n, []byte("1"))
	}
	enough, calls := errors.New("enough"), 0
	err := b.List(t.Context(), "", func(place.Info) error { calls++; return enough })
	if !errors.Is(err, enough) || calls != 1 {
		t.Errorf("got %v after %d calls", err, calls)
	}
}

func stat(t *testing.T, b place.Backend) {
	s, ok := b.(place.Stater)
	if !ok {
		t.Skip("it cannot look at little cost")
	}
	put(t, b, "a/x", pattern(77, 0))
	got, err := s.Stat(t.Context(), "a/x")
	if l := listing(t, b, "")["a/x"]; err != nil || got.Size != 77 || !got.Used.Equal(l.Used) || got.Name != "a/x" {
		t.Errorf("got %+v, %v, want %+v", got, err, l)
	}
	for _, n := range []string{"a/y", "b/x", "a", "a/x/z"} {
		if _, err := s.Stat(t.Context(), n); err == nil {
			t.Errorf("%s: no error", n)
		}
	}
}

func shared(t *testing.T, b, second place.Backend) {
	put(t, b, "a/x", []byte("first"))
	want(t, second, "a/x", []byte("first"))
	put(t, second, "a/x", []byte("second"))
	put(t, second, "b/y", []byte("other"))
	want(t, b, "a/x", []byte("second"))
	if got := len(listing(t, b, "")); got != 2 {
		t.Errorf("found %d items, want 2", got)
	}
	must(t, b.Delete(t.Context(), "b/y"))
	wantAbsent(t, second, "b/y")
	put(t, second, "b/y", []byte("again"))
	want(t, b, "b/y", []byte("again"))
}
