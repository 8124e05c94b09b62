//go:build linux || darwin

package reconcile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/tree"
)

func TestDiscardLeavesNothing(t *testing.T) {
	r := newReal(t)
	r.write("f", "text")
	old := time.Unix(1_600_000_000, 0)
	if err := os.Chtimes(r.dir, old, old); err != nil {
		t.Fatal(err)
	}
	base := r.pin()
	before := base.picture(true)
	m := newModel(base)
	m.nodes[base.byPath["f"].Ino].data = []byte("other")
	m.nodes[m.root].names["d"] = m.add(&node{kind: tree.KindDir})
	d, chunks := m.delta()
	p, err := Prepare(t.Context(), r.config(base), d, source(chunks))
	if err != nil {
		t.Fatal(err)
	}
	// A plan in somebody's hand is left alone.
	if res, err := Recover(t.Context(), r.state, "", t.Logf); err != nil || len(res) > 0 {
		t.Fatalf("got %v, %v", res, err)
	}
	if err := p.Discard(); err != nil {
		t.Fatal(err)
	}
	if err := p.Discard(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Apply(t.Context()); err == nil {
		t.Error("a plan was applied that had been discarded")
	}
	if got := r.pin().picture(true); got != before {
		t.Errorf("got\n%s\nwant\n%s", got, before)
	}
	r.clean()
}

func (r *realDir) stop(base *image, d *tree.Delta, chunks map[tree.ID][]byte) {
	r.t.Helper()
	p, err := Prepare(context.Background(), r.config(base), d, source(chunks))
	if err == nil {
		err = p.state.Move(p.id+newSuffix, p.state, p.id+planSuffix)
	}
	if err == nil {
		err = p.close()
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestRecover(t *testing.T) {
	r := newReal(t)
	r.write("f", "text")
	base := r.pin()
	d, chunks := oneFile(base, "f", 0, "other")
	r.stop(base, d, chunks)
	real, err := realPath(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Pending(r.state); err != nil || !slices.Equal(got, []string{real}) {
		t.Errorf("pending: %q, %v", got, err)
	}
	if _, err := Prepare(t.Context(), r.config(base), d, source(chunks)); !errors.Is(err, ErrUnfinished) {
		t.Errorf("got %v, want ErrUnfinished", err)
	}
	if res, err := Recover(t.Context(), r.state, t.TempDir(), t.Logf); err != nil || len(res) > 0 {
		t.Errorf("another directory's plan: %v, %v", res, err)
	}
	r.want("f=text")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(r.dir, link); err != nil {
		t.Fatal(err)
	}
	if res, err := Recover(t.Context(), r.state, link, t.Logf); err != nil || len(res) != 1 {
		t.Errorf("got %v, %v", res, err)
	}
	r.want("f=other")
	r.clean()
	if got, err := Pending(r.state); err != nil || len(got) > 0 {
		t.Errorf("pending: %q, %v", got, err)
	}
	if _, err := Pending(filepath.Join(r.state, "nowhere")); err != nil {
		t.Error(err)
	}
	if _, err := Recover(t.Context(), filepath.Join(r.state, "nowhere"), "", nil); err != nil {
		t.Error(err)
	}
}

func TestRecoverDamaged(t *testing.T) {
	r := newReal(t)
	r.write("f", "text")
	base := r.pin()
	d, chunks := oneFile(base, "f", 0, "other")
	r.stop(base, d, chunks)
	list, err := filepath.Glob(filepath.Join(r.state, "*"+planSuffix))
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	whole, err := os.ReadFile(list[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		b := slices.Clone(whole)
		b[i] ^= 0x40
		if err := os.WriteFile(list[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Recover(t.Context(), r.state, "", nil); !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d: got %v, want ErrDamaged", i, err)
		}
	}
	r.want("f=text")
	if err := os.WriteFile(list[0], whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Recover(t.Context(), r.state, "", nil); err != nil {
		t.Fatal(err)
	}
	r.want("f=other")
}

func TestRecoverAnotherDirectory(t *testing.T) {
	r := newReal(t)
	r.write("f", "text")
	base := r.pin()
	d, chunks := oneFile(base, "f", 0, "other")
	r.stop(base, d, chunks)
	away := r.dir + ".away"
	if err := errors.Join(os.Rename(r.dir, away), os.Mkdir(r.dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	r.write("f", "of another")
	if _, err := Recover(t.Context(), r.state, "", nil); !errors.Is(err, ErrUnfinished) {
		t.Errorf("got %v, want ErrUnfinished", err)
	}
	r.want("f=of another")
	if err := errors.Join(os.RemoveAll(r.dir), os.Rename(away, r.dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := Recover(t.Context(), r.state, "", nil); err != nil {
		t.Error(err)
	}
	r.want("f=other")
	r.clean()
}

func TestUnnamedDirectory(t *testing.T) {
	r := newReal(t)
	base := r.pin()
	res := r.apply(r.config(base), &tree.Delta{Files: []tree.FileChange{{Ino: tree.FirstNew, Kind: tree.KindDir}}}, nil)
	defer res.Close()
	f, err := res.OpenUnnamed(tree.FirstNew, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.IsDir() {
		t.Errorf("got %v, %v", fi, err)
	}
	if _, err := res.OpenUnnamed(tree.FirstNew+1, os.O_RDONLY); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	r.clean()
}
