package reconcile

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/clonecloud/clonecloud/internal/reconcile/disk"
	"github.com/clonecloud/clonecloud/internal/reconcile/plan"
	"github.com/clonecloud/clonecloud/internal/tree"
	"pgregory.net/rapid"
)

// bench is a directory in memory with a state folder.
type bench struct {
	t          tester
	m          *memory
	dir, state string
}

func newBench(t tester, dir, state string) *bench {
	return &bench{t, newMemory(dir, state), dir, state}
}

func (b *bench) top() disk.Folder { return &memoryDir{b.m, b.m.tops[b.dir]} }

func readMemoryLink(d disk.Folder, name string) string { return d.(*memoryDir).n.names[name].target }

func (b *bench) pin() *image { return pin(b.t, b.top(), readMemoryLink) }

// grow makes a random tree.
func (b *bench) grow(t *rapid.T) {
	many = rapid.SampledFrom([]int{0, 16}).Draw(t, "many")
	type at struct {
		d    disk.Folder
		deep int
	}
	dirs := []at{{b.top(), 0}}
	for range rapid.IntRange(0, 12).Draw(t, "size") {
		d := rapid.SampledFrom(dirs).Draw(t, "dir")
		name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e.txt"}).Draw(t, "name")
		if _, err := d.d.Lstat(name); err == nil {
			continue
		}
		var err error
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			if err = d.d.Mkdir(name, 0o777); err == nil {
				var sub disk.Folder
				sub, err = d.d.Enter(name)
				dirs = append(dirs, at{sub, d.deep + 1})
			}
		case 1:
			err = d.d.Symlink("a", name)
		case 2:
			if names, _ := dirs[0].d.Names(); len(names) > 0 {
				if st, _ := dirs[0].d.Lstat(names[0]); st.Kind == tree.KindFile {
					err = dirs[0].d.Link(names[0], d.d, name)
				}
			}
		default:
			var f disk.File
			if f, err = d.d.Create(name); err == nil {
				_, err = f.WriteAt(someBytes(t), 0)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	b.m.each(func(n *inode) { n.sync() })
}

// run prepares and applies; crashed tells whether errCrash went off.
func (b *bench) run(base *image, d *tree.Delta, chunks map[tree.ID][]byte, policy Policy) (res *Result, crashed bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			if e, ok := r.(error); !ok || !errors.Is(e, errCrash) {
				panic(r)
			}
			crashed = true
		}
	}()
	p, err := b.m.system().prepare(context.Background(), Config{Dir: b.dir, State: b.state, Base: base, Policy: policy, Log: b.t.Logf}, d, source(chunks))
	if err != nil {
		return nil, false, err
	}
	res, err = p.Apply(context.Background())
	if err != nil && !errors.Is(err, ErrUnfinished) {
		err = errors.Join(err, p.Discard())
	}
	return res, false, err
}

func (b *bench) recover() (crashed bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			if e, ok := r.(error); !ok || !errors.Is(e, errCrash) {
				panic(r)
			}
			crashed = true
		}
	}()
	res, err := b.m.system().recover(context.Background(), b.state, b.dir, b.t.Logf)
	for _, r := range res {
		if len(r.Conflicts) > 0 {
			err = errors.Join(err, fmt.Errorf("conflicts of our own making: %v", r.Conflicts))
		}
	}
	return false, err
}

// clean fails if anything is left over.
func (b *bench) clean(t *rapid.T) {
	if n := len(b.m.tops[b.state].names); n > 0 {
		t.Fatalf("%d files are left in the state folder", n)
	}
	for name := range b.m.tops[b.dir].names {
		if strings.HasPrefix(name, plan.StagingPrefix) {
			t.Fatal("the staging folder is left")
		}
	}
}

// oldOrNew fails unless the tree is that of before or that of after; it tells which.
func (b *bench) oldOrNew(t *rapid.T, old, new string) (isNew bool) {
	switch got := b.pin().picture(false); got {
	case new:
		return true
	case old:
		return false
	default:
		t.Fatalf("got\n%s\n\nold\n%s\n\nnew\n%s\n\ncalls\n%s", got, old, new, strings.Join(b.m.log, "\n"))
		return false
	}
}

func newPair(t testing.TB) (dir, state string) {
	dir, err := realPath(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir, t.TempDir()
}

// TestApply compares what becomes of random trees and random changes with what is to.
func TestApply(t *testing.T) {
	dir, state := newPair(t)
	changes := 0
	rapid.Check(t, func(t *rapid.T) {
		b := newBench(t, dir, state)
		b.grow(t)
		base := b.pin()
		m := newModel(base)
		for range rapid.IntRange(1, 15).Draw(t, "steps") {
			m.step(t)
		}
		d, chunks := m.delta()
		changes += len(d.Dirs) + len(d.Files)
		res, _, err := b.run(base, d, chunks, KeepBoth)
		if err != nil {
			t.Fatalf("%v\nof %+v", err, d)
		}
		now := b.pin()
		if got, want := now.picture(false), m.picture(); got != want {
			t.Fatalf("got\n%s\n\nwant\n%s\n\nof\n%s\n\ncalls\n%s", got, want, base.picture(false), strings.Join(b.m.log, "\n"))
		}
		m.checkTimes(t, now)
		if len(res.Conflicts) > 0 {
			t.Fatalf("conflicts: %v", res.Conflicts)
		}
		at := m.reach()
		for _, f := range d.Files {
			got, ok := res.Paths[f.Ino]
			switch want := at[f.Ino]; {
			case f.Ino < tree.FirstNew:
			case ok != (len(want) > 0) || ok && want[0] != got:
				t.Fatalf("new file %d stands at %q, want one of %q", f.Ino, got, want)
			case !ok && f.Kind == tree.KindFile && res.unnamed[f.Ino] == nil:
				t.Fatalf("new file %d cannot be opened", f.Ino)
			}
		}
		if err := res.Close(); err != nil {
			t.Fatal(err)
		}
		b.clean(t)
	})
	if changes < 100 && !testing.Short() {
		t.Errorf("only %d changes were made", changes)
	}
}

// TestCrash ends the process or the machine at each call, and during recovery too.
func TestCrash(t *testing.T) {
	dir, state := newPair(t)
	var crashes, again, news int
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		rng := rand.New(rand.NewPCG(seed, 1))
		b := newBench(t, dir, state)
		b.grow(t)
		base := b.pin()
		m := newModel(base)
		for range rapid.IntRange(1, 10).Draw(t, "steps") {
			m.step(t)
		}
		d, chunks := m.delta()
		old, new := base.picture(false), m.picture()
		saved := b.m.clone()
		for at := 1; ; at++ {
			b.m = saved.clone()
			b.m.fail = func(call int) error {
				if call == at {
					return errCrash
				}
				return nil
			}
			_, crashed, err := b.run(b.pin(), d, chunks, KeepBoth)
			if err != nil {
				t.Fatal(err)
			}
			if !crashed {
				break
			}
			crashes++
			b.m.crash(rng.IntN(numCrashes), rng)
			if rng.IntN(2) == 0 {
				first := b.m.calls
				next := first + 1 + rng.IntN(20)
				b.m.fail = func(call int) error {
					if call == next {
						return errCrash
					}
					return nil
				}
				if crashed, err := b.recover(); err != nil {
					t.Fatalf("crash at %d, recovery: %v\ncalls\n%s", at, err, strings.Join(b.m.log, "\n"))
				} else if crashed {
					again++
					b.m.crash(rng.IntN(numCrashes), rng)
				}
				b.m.fail = nil
			}
			if _, err := b.recover(); err != nil {
				t.Fatalf("crash at %d, recovery: %v\ncalls\n%s", at, err, strings.Join(b.m.log, "\n"))
			}
			if b.oldOrNew(t, old, new) && old != new {
				news++
				m.checkTimes(t, b.pin())
			}
			b.clean(t)
		}
	})
	t.Logf("%d crashes, %d of recoveries; %d trees are the new one", crashes, again, news)
	if crashes < 500 || again < 20 || news < 100 {
		t.Errorf("%d crashes, %d of recoveries, %d new trees: this tested little", crashes, again, news)
	}
}

// TestFullDisk refuses one call, or all from one on.
func TestFullDisk(t *testing.T) {
	dir, state := newPair(t)
	var before, after int
	rapid.Check(t, func(t *rapid.T) {
		b := newBench(t, dir, state)
		b.grow(t)
		base := b.pin()
		m := newModel(base)
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			m.step(t)
		}
		d, chunks := m.delta()
		old, new := base.picture(false), m.picture()
		saved := b.m.clone()
		for at := 1; ; at++ {
			b.m = saved.clone()
			b.m.fail = func(call int) error {
				if call == at {
					return syscall.ENOSPC
				}
				return nil
			}
			res, _, err := b.run(b.pin(), d, chunks, KeepBoth)
			if b.m.calls < at {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			b.m.fail = nil
			switch {
			case err == nil: // only when the plan was to be removed, all of it being done
				if res == nil || !b.oldOrNew(t, new, new) {
					t.Fatal("no error and no result")
				}
			case !errors.Is(err, syscall.ENOSPC):
				t.Fatalf("call %d: got %v, want ENOSPC", at, err)
			case errors.Is(err, ErrUnfinished):
				after++
			default:
				before++
				if got := b.pin().picture(false); got != old {
					t.Fatalf("call %d: %v, but the tree is\n%s\n\nold\n%s", at, err, got, old)
				}
			}
			unfinished := errors.Is(err, ErrUnfinished)
			if _, err := b.recover(); err != nil {
				t.Fatalf("call %d: recovery: %v", at, err)
			}
			if isNew := b.oldOrNew(t, old, new); old != new && isNew != (unfinished || err == nil) {
				t.Fatalf("call %d: %v, but the tree is new: %v", at, err, isNew)
			}
			b.clean(t)
		}
	})
	if before < 100 || after < 100 {
		t.Errorf("%d refusals before the plan counted, %d after: this tested little", before, after)
	}
}

// clone copies the file system, with its numbers.
func (m *memory) clone() *memory {
	c := &memory{tops: map[string]*inode{}, next: m.next, clock: m.clock}
	seen := map[*inode]*inode{}
	var copyOf func(n *inode) *inode
	copyOf = func(n *inode) *inode {
		if x, ok := seen[n]; ok {
			return x
		}
		x := &inode{st: n.st, data: append([]byte(nil), n.data...), target: n.target}
		seen[n] = x
		if n.names != nil {
			x.names = map[string]*inode{}
			for k, v := range n.names {
				x.names[k] = copyOf(v)
			}
		}
		return x
	}
	for p, n := range m.tops {
		c.tops[p] = copyOf(n)
	}
	c.each(func(n *inode) { n.sync() })
	return c
}
