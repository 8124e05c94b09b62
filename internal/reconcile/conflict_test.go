package reconcile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/reconcile/plan"
	"github.com/clonecloud/clonecloud/internal/tree"
	"pgregory.net/rapid"
)

// disturb does what another program on the device might.
func (b *bench) disturb(t *rapid.T, serial *int) {
	type at struct {
		d    *memoryDir
		name string
	}
	var dirs []*memoryDir
	var names []at
	var visit func(d *memoryDir)
	visit = func(d *memoryDir) {
		dirs = append(dirs, d)
		for _, name := range slices.Sorted(maps.Keys(d.n.names)) {
			names = append(names, at{d, name})
			if c := d.n.names[name]; c.st.Kind == tree.KindDir {
				visit(&memoryDir{b.m, c})
			}
		}
	}
	visit(b.top().(*memoryDir))
	*serial++
	fresh := []byte(fmt.Sprintf("device's %d", *serial))
	op := rapid.IntRange(0, 6).Draw(t, "device's op")
	if len(names) == 0 {
		op = 0
	}
	switch op {
	case 0:
		d := rapid.SampledFrom(dirs).Draw(t, "device's dir")
		name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e.txt"}).Draw(t, "device's name")
		if d.free(name) != nil {
			return
		}
		if rapid.Bool().Draw(t, "device's is a dir") {
			_ = d.Mkdir(name, 0o777)
			return
		}
		f, err := d.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = f.WriteAt(fresh, 0)
	case 1, 2:
		x := rapid.SampledFrom(names).Draw(t, "device's file")
		f, err := x.d.Open(x.name, true)
		if err != nil {
			return
		}
		if rapid.Bool().Draw(t, "device appends") {
			_, _ = f.WriteAt(fresh, int64(len(f.(*memoryFile).n.data)))
		} else {
			_, _ = f.WriteAt(fresh, 0)
		}
	case 3, 4:
		x := rapid.SampledFrom(names).Draw(t, "device removes")
		delete(x.d.n.names, x.name) // with all that is in it
		x.d.stamp()
		b.m.count()
	default:
		x := rapid.SampledFrom(names).Draw(t, "device moves")
		d := rapid.SampledFrom(dirs).Draw(t, "device's dir")
		name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e.txt"}).Draw(t, "device's name")
		n := x.d.n.names[x.name]
		inside := false
		var look func(c *inode)
		look = func(c *inode) {
			inside = inside || c == d.n
			for _, y := range c.names {
				look(y)
			}
		}
		look(n)
		if inside || d.free(name) != nil {
			return
		}
		_ = x.d.Move(x.name, d, name)
	}
}

// losses lists what the device or the clone had, and nobody has now.
func losses(m *model, d *tree.Delta, before, now *image, policy Policy, counts bool, conflicts []Conflict) []string {
	var lost []string
	have := map[string]bool{}
	for _, e := range now.byPath {
		if e.Kind == tree.KindFile {
			have[string(now.data[e.Ino])] = true
		}
	}
	for p, e := range before.byPath {
		if e.Kind != tree.KindFile || have[string(before.data[e.Ino])] {
			continue
		}
		was, ok := m.base.data[e.Ino]
		if !counts || !ok || !bytes.Equal(was, before.data[e.Ino]) {
			lost = append(lost, fmt.Sprintf("the device's %q: %q", p, before.data[e.Ino]))
		}
	}
	if !counts || policy == DeviceWins {
		return lost
	}
	at := m.reach()
	for _, f := range d.Files {
		paths := at[f.Ino]
		if !f.Written || len(paths) == 0 || have[string(m.nodes[f.Ino].data)] {
			continue
		}
		for p, e := range m.base.byPath {
			if e.Ino == f.Ino {
				paths = append(paths, p) // the conflict may name one that is gone
			}
		}
		mixed := slices.ContainsFunc(conflicts, func(c Conflict) bool {
			return slices.Contains(paths, c.Path) && (c.Mixed || policy == CloneWins)
		})
		if !mixed || !hasPieces(now, f, m.nodes[f.Ino].data) {
			lost = append(lost, fmt.Sprintf("the clone's %q: %q, mixed %v", paths[0], m.nodes[f.Ino].data, mixed))
		}
	}
	return lost
}

// hasPieces tells whether a file is there with all bytes that the clone wrote.
func hasPieces(now *image, f tree.FileChange, data []byte) bool {
	for _, got := range now.data {
		if len(got) != len(data) {
			continue
		}
		at, ok := uint64(0), true
		for _, p := range f.Pieces {
			ok = ok && (p.Kept || bytes.Equal(got[at:at+p.Size], data[at:at+p.Size]))
			at += p.Size
		}
		if ok {
			return true
		}
	}
	return false
}

func keys(list []Conflict) string {
	var s []string
	for _, c := range list {
		s = append(s, fmt.Sprintf("%q %q %s %v", c.Path, c.Aside, c.Kind, c.Mixed))
	}
	slices.Sort(s)
	return strings.Join(s, "\n")
}

// TestConflicts lets the device change its tree while the clone changes its own, and looks for what is lost. What is foreseen
// must be what comes. Then the same with a crash at each call.
func TestConflicts(t *testing.T) {
	dir, state := newPair(t)
	var conflicts, fails, crashes int
	kinds := map[string]int{}
	check := func(t *rapid.T) {
		b := newBench(t, dir, state)
		b.grow(t)
		base := b.pin()
		m := newModel(base)
		for range rapid.IntRange(1, 10).Draw(t, "steps") {
			m.step(t)
		}
		serial := 0
		for range rapid.IntRange(1, 5).Draw(t, "device's steps") {
			b.disturb(t, &serial)
		}
		b.m.each(func(n *inode) { n.sync() })
		d, chunks := m.delta()
		policy := Policy(rapid.IntRange(0, int(plan.NumPolicies)-1).Draw(t, "policy"))
		saved := b.m.clone()
		before := b.pin()
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))

		res, foreseen := b.foretold(t, base, d, chunks, policy)
		if policy == Fail && len(foreseen) > 0 {
			fails++
			if got := b.pin().picture(true); got != before.picture(true) {
				t.Fatalf("conflicts were to change nothing: got\n%s\nwant\n%s", got, before.picture(true))
			}
			b.clean(t)
			return
		}
		// Where a version is laid aside in a directory that is laid aside itself is known in the end only.
		for i := range foreseen {
			if j := slices.IndexFunc(res.Conflicts, func(c Conflict) bool { return c.Path == foreseen[i].Path }); j >= 0 {
				foreseen[i].Aside = res.Conflicts[j].Aside
			}
		}
		if got, want := keys(res.Conflicts), keys(foreseen); got != want {
			t.Fatalf("conflicts\n%s\n\nforeseen\n%s\n\nof\n%+v\npolicy %d\nbase\n%s\nbefore\n%s\nnow\n%s", got, want, d, policy, base.picture(false), before.picture(false), b.pin().picture(false))
		}
		conflicts += len(foreseen)
		for _, c := range res.Conflicts {
			kinds[c.Kind]++
			if c.Aside == "" {
				continue
			}
			if _, ok := b.pin().byPath[c.Aside]; !ok {
				t.Fatalf("%v: there is no %q", c, c.Aside)
			}
		}
		if lost := losses(m, d, before, b.pin(), policy, true, res.Conflicts); len(lost) > 0 {
			t.Fatalf("lost:\n%s\nconflicts\n%v\nbase\n%s\nbefore\n%s\nwanted\n%s\nnow\n%s\ncalls\n%s", strings.Join(lost, "\n"), res.Conflicts, base.picture(false), before.picture(false), m.picture(), b.pin().picture(false), strings.Join(b.m.log, "\n"))
		}
		_ = res.Close()
		b.clean(t)
		for at := 1; ; at += 1 + rng.IntN(4) {
			b.m = saved.clone()
			b.m.fail = func(call int) error {
				if call == at {
					return errCrash
				}
				return nil
			}
			_, crashed, err := b.run(base, d, chunks, policy)
			if err != nil {
				t.Fatal(err)
			}
			if !crashed {
				break
			}
			crashes++
			b.m.crash(rng.IntN(numCrashes), rng)
			counts := slices.ContainsFunc(slices.Collect(maps.Keys(b.m.tops[state].names)), func(n string) bool { return strings.HasSuffix(n, planSuffix) })
			if !counts && slices.ContainsFunc(slices.Collect(maps.Keys(b.m.tops[dir].names)), func(n string) bool { return strings.HasPrefix(n, plan.StagingPrefix) }) {
				counts = false
			} else if !counts && strings.Contains(strings.Join(b.m.log, "\n"), planSuffix) {
				counts = true // it is finished and gone
			}
			if _, err := b.recoverQuietly(); err != nil {
				t.Fatalf("crash at %d: %v\ncalls\n%s", at, err, strings.Join(b.m.log, "\n"))
			}
			if lost := losses(m, d, before, b.pin(), policy, counts, res.Conflicts); len(lost) > 0 {
				t.Fatalf("crash at %d, lost:\n%s\nconflicts\n%v\nbase\n%s\nbefore\n%s\nwanted\n%s\nnow\n%s\ncalls\n%s", at, strings.Join(lost, "\n"), res.Conflicts, base.picture(false), before.picture(false), m.picture(), b.pin().picture(false), strings.Join(b.m.log, "\n"))
			}
			b.clean(t)
		}
	}
	for range 4 {
		rapid.Check(t, check)
	}
	t.Logf("%d conflicts (%v), %d stopped, %d crashes", conflicts, kinds, fails, crashes)
	if testing.Short() {
		return // so few runs need not meet everything
	}
	for _, kind := range []string{KindChanged, KindRemoved, KindExists, KindKept} {
		if kinds[kind] == 0 {
			t.Errorf("no conflict is %q", kind)
		}
	}
	if fails < 5 || crashes < 200 {
		t.Errorf("%d runs stopped, %d crashed: this tested little", fails, crashes)
	}
}

// foretold runs, and returns also what was known beforehand.
func (b *bench) foretold(t *rapid.T, base *image, d *tree.Delta, chunks map[tree.ID][]byte, policy Policy) (*Result, []Conflict) {
	p, err := b.m.system().prepare(t.Context(), Config{Dir: b.dir, State: b.state, Base: base, Policy: policy, Log: t.Logf}, d, source(chunks))
	var c *ConflictError
	if errors.As(err, &c) {
		return nil, c.Conflicts
	}
	if err != nil {
		t.Fatal(err)
	}
	foreseen := p.Conflicts()
	res, err := p.Apply(t.Context())
	if err != nil {
		t.Fatalf("%v\ncalls\n%s", err, strings.Join(b.m.log, "\n"))
	}
	return res, foreseen
}

func (b *bench) recoverQuietly() ([]*Result, error) {
	return b.m.system().recover(context.Background(), b.state, b.dir, nil)
}
