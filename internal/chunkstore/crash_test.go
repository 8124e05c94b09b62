package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/chunkstore/place"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// session is what a process does until the power goes: what it was told is durable must be there afterwards.
type session struct {
	first, second sample
	durable       []tree.Object
	roots         []tree.ID // what may be pinned
	done          bool
}

func (x *session) run(s *Store) {
	ctx := context.Background()
	keep := func(sm sample) bool {
		for i, o := range sm.objects {
			if s.Put(ctx, o.ID, o.Data) != nil {
				return false
			}
			if i%7 == 6 && s.Flush(ctx) != nil {
				return false
			}
		}
		if s.Flush(ctx) != nil {
			return false
		}
		x.durable = append(x.durable, sm.objects...)
		return true
	}
	pin := func(root tree.ID) bool {
		x.roots = append(x.roots, root)
		if s.Pin(ctx, "mount", root) != nil {
			return false
		}
		x.roots = []tree.ID{root}
		return true
	}
	x.done = keep(x.first) && pin(x.first.root) && keep(x.second) && pin(x.second.root)
}

// TestCrash takes the power away at each step of a session, and looks at what is found then: all that was durable, and
// nothing but whole objects and one of the roots.
func TestCrash(t *testing.T) {
	x := session{first: newSample(t, 1, 1), second: newSample(t, 2, 1)}
	for at := 0; ; at++ {
		d := newForgetful(at)
		x := session{first: x.first, second: x.second, roots: []tree.ID{{}}}
		runUntilCrash(t, d, &x)
		for seed := range uint64(4) {
			x.verify(t, d.after(seed), fmt.Sprintf("step %d, seed %d", at, seed))
		}
		if x.done {
			if at < 100 {
				t.Errorf("the session took %d steps: this is not all of it", at)
			}
			return
		}
		if t.Failed() {
			return
		}
	}
}

func runUntilCrash(t *testing.T, d *forgetful, x *session) {
	o := options(t, testKey, nil)
	o.Log = func(string, ...any) {}
	f, err := place.OpenFolderOn(d, ".")
	if err != nil {
		if !errors.Is(err, errPower) {
			t.Fatal(err)
		}
		return
	}
	s, err := OpenStore(f, o)
	if err != nil {
		if !errors.Is(err, errPower) {
			t.Fatal(err)
		}
		return
	}
	x.run(s)
	_ = s.Close() // what it says is known
}

func (x *session) verify(t *testing.T, d *forgetful, when string) {
	t.Helper()
	f, err := place.OpenFolderOn(d, ".")
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	s := openStore(t, f, options(t, testKey, nil))
	st, err := s.Check(t.Context(), CheckOptions{ReadData: true, Report: func(p Problem) {
		if p.Fault != FaultAbsent {
			t.Errorf("%s: %v", when, p)
		}
	}})
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	for _, o := range x.durable {
		if b, err := s.Get(t.Context(), o.ID); err != nil || tree.IDOf(b) != o.ID {
			t.Fatalf("%s: an object that was durable: %d bytes, %v", when, len(b), err)
		}
	}
	if st.Objects < len(x.durable) {
		t.Errorf("%s: %d objects, want at least %d", when, st.Objects, len(x.durable))
	}
	roots, err := s.roots(t.Context())
	if err != nil || len(roots) > 1 {
		t.Fatalf("%s: %d roots, %v", when, len(roots), err)
	}
	var pinned tree.ID
	if len(roots) == 1 {
		pinned = roots[0].id
	}
	allowed := false
	for _, r := range x.roots {
		allowed = allowed || r == pinned
	}
	if !allowed {
		t.Errorf("%s: root %v is pinned, want one of %v", when, pinned, x.roots)
	}
	// And all can be put, as if nothing had been.
	put(t, s, x.first.objects...)
	put(t, s, x.second.objects...)
	if err := s.Close(); err != nil {
		t.Errorf("%s: %v", when, err)
	}
	if s = openStore(t, f, options(t, testKey, nil)); s.Stats().Objects != len(x.first.objects)+len(x.second.objects) {
		t.Errorf("%s: %d objects at the end", when, s.Stats().Objects)
	}
	want(t, s, x.first.objects...)
	want(t, s, x.second.objects...)
	if err := s.Close(); err != nil {
		t.Errorf("%s: %v", when, err)
	}
}

// TestFullDisk fills a disk: what is there stays, what waits stays readable, and is written once there is room.
func TestFullDisk(t *testing.T) {
	d := newForgetful(-1)
	f, err := place.OpenFolderOn(d, ".")
	if err != nil {
		t.Fatal(err)
	}
	o := options(t, testKey, nil)
	o.Pending = 5000
	var logged []string
	o.Log = func(format string, args ...any) { logged = append(logged, fmt.Sprintf(format, args...)) }
	s := openStore(t, f, o)
	var all []tree.Object
	for i := range 10 {
		all = append(all, object(uint64(i), 1000))
	}
	put(t, s, all...)
	flush(t, s)
	pinRoot(t, s, "x", all[0].ID)
	d.mu.Lock()
	d.room = 1500
	d.mu.Unlock()
	var full error
	for i := range 20 {
		x := object(uint64(100+i), 1000)
		if full = s.Put(t.Context(), x.ID, x.Data); full != nil {
			break
		}
		all = append(all, x)
	}
	if !errors.Is(full, ErrFull) || !strings.Contains(full.Error(), "full") {
		t.Fatalf("got %v, want ErrFull", full)
	}
	if err := s.Flush(t.Context()); !errors.Is(err, ErrFull) {
		t.Errorf("flush: got %v, want ErrFull", err)
	}
	if err := s.Pin(t.Context(), "y", all[1].ID); err != nil && !errors.Is(err, ErrFull) {
		t.Errorf("pin: got %v", err)
	}
	want(t, s, all...)
	if left, err := d.List(".tmp"); err != nil || len(left) != 0 {
		t.Errorf("%d half-written files stay, %v", len(left), err)
	}
	if len(logged) == 0 {
		t.Error("nothing was logged")
	}
	d.mu.Lock()
	d.room = -1
	d.mu.Unlock()
	flush(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err = place.OpenFolderOn(d.after(0), ".")
	if err != nil {
		t.Fatal(err)
	}
	s = closed(t, openStore(t, f, options(t, testKey, nil)))
	want(t, s, all...)
}
