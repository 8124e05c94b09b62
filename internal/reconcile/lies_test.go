//go:build linux || darwin

package reconcile

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/reconcile/disk"
	"github.com/clonecloud/clonecloud/internal/tree"
)

type hooked struct {
	disk.Folder
	hook func()
}

func (h *hooked) wrap(f disk.Folder, err error) (disk.Folder, error) {
	if err != nil {
		return nil, err
	}
	return &hooked{f, h.hook}, nil
}

func (h *hooked) Enter(name string) (disk.Folder, error) {
	h.hook()
	return h.wrap(h.Folder.Enter(name))
}
func (h *hooked) Open(name string, write bool) (disk.File, error) {
	h.hook()
	return h.Folder.Open(name, write)
}
func (h *hooked) Create(name string) (disk.File, error) { h.hook(); return h.Folder.Create(name) }
func (h *hooked) Mkdir(name string, perm uint32) error {
	h.hook()
	return h.Folder.Mkdir(name, perm)
}
func (h *hooked) Symlink(target, name string) error { h.hook(); return h.Folder.Symlink(target, name) }
func (h *hooked) Link(name string, to disk.Folder, as string) error {
	h.hook()
	return h.Folder.Link(name, to.(*hooked).Folder, as)
}
func (h *hooked) Move(name string, to disk.Folder, as string) error {
	h.hook()
	return h.Folder.Move(name, to.(*hooked).Folder, as)
}
func (h *hooked) Remove(name string, isDir bool) error { h.hook(); return h.Folder.Remove(name, isDir) }
func (h *hooked) SetTimes(name string, mtime, atime uint64) error {
	h.hook()
	return h.Folder.SetTimes(name, mtime, atime)
}
func (h *hooked) Lstat(name string) (disk.Stat, error) { h.hook(); return h.Folder.Lstat(name) }

func TestSymlinkSwap(t *testing.T) {
	swaps := 0
	for at := 1; ; at++ {
		r := newReal(t)
		outside := &realDir{t, t.TempDir(), ""}
		r.write("d/sub/f", "old")
		r.write("d/sub/gone", "old")
		outside.write("sub/f", "outside")
		outside.write("sub/gone", "outside")
		before := outside.pin().picture(true)
		base := r.pin()
		m := newModel(base)
		sub := m.nodes[base.byPath["d/sub"].Ino]
		m.nodes[sub.names["f"]].data = []byte("the clone's")
		delete(sub.names, "gone")
		sub.names["new"] = m.add(&node{kind: tree.KindFile, data: []byte("new")})
		m.nodes[base.byPath["d/sub"].Ino].mtime = 1_600_000_000e9
		d, chunks := m.delta()
		calls := 0
		swap := func() {
			if calls++; calls == at {
				if err := errors.Join(os.Rename(r.path("d"), r.path("d.moved")), os.Symlink(outside.dir, r.path("d"))); err != nil {
					t.Fatal(err)
				}
			}
		}
		sys := system{open: func(path string) (disk.Folder, error) {
			f, err := disk.OpenTop(path)
			return (&hooked{hook: swap}).wrap(f, err)
		}}
		p, err := sys.prepare(t.Context(), r.config(base), d, source(chunks))
		if err != nil {
			t.Fatalf("call %d: %v", at, err)
		}
		res, err := p.Apply(t.Context())
		if err != nil {
			t.Fatalf("call %d: %v", at, err)
		}
		if got := outside.pin().picture(true); got != before {
			t.Fatalf("call %d: outside is\n%s\n\nwas\n%s", at, got, before)
		}
		text := r.pin().picture(false)
		for _, want := range []string{"the clone's", "new"} {
			if !strings.Contains(text, " "+hexOf(want)) {
				t.Fatalf("call %d: %q is lost: %v\n%s", at, want, res.Conflicts, text)
			}
		}
		r.clean()
		if calls < at {
			break
		}
		swaps++
	}
	if swaps < 50 {
		t.Errorf("only %d calls", swaps)
	}
}

func hexOf(s string) string {
	var b strings.Builder
	for i := range len(s) {
		const digits = "0123456789abcdef"
		b.WriteByte(digits[s[i]>>4])
		b.WriteByte(digits[s[i]&15])
	}
	return b.String()
}

func TestLies(t *testing.T) {
	r := newReal(t)
	r.write("d/f", "text")
	r.write("d/sub/g", "text")
	r.write("shared", "text")
	r.write("sealed", "text")
	base := r.pin()
	set := func(path string, flags tree.Flags) {
		e := base.byPath[path]
		e.Flags = flags
		base.byPath[path] = e
		dir, name := disk.Split(path)
		i := slices.IndexFunc(base.list[dir], func(x tree.Entry) bool { return x.Name == name })
		base.list[dir][i] = e
	}
	const all = tree.Readable | tree.Writable | tree.Searchable
	set("shared", all|tree.Shared)
	set("sealed", tree.Readable)
	r.write("closed/f", "text")
	for p, e := range r.pin().byPath {
		if strings.HasPrefix(p, "closed") {
			base.byPath[p] = e
			dir, _ := disk.Split(p)
			base.list[dir] = append(base.list[dir], e)
		}
	}
	set("closed", tree.Readable|tree.Searchable)
	r.write("apart", "text")
	apart := r.pin().byPath["apart"]
	apart.Flags = all | tree.Apart
	base.byPath["apart"] = apart
	base.list[""] = append(base.list[""], apart)
	ino := func(path string) uint64 { return base.byPath[path].Ino }
	sorted := func(d tree.Delta) *tree.Delta {
		slices.SortFunc(d.Bases, func(a, b tree.Base) int { return int(a.Ino) - int(b.Ino) })
		slices.SortFunc(d.Dirs, func(a, b tree.DirChange) int { return int(a.Ino) - int(b.Ino) })
		return &d
	}
	bases := func(paths ...string) (list []tree.Base) {
		for _, p := range paths {
			list = append(list, tree.Base{Ino: ino(p), Path: p})
		}
		return list
	}
	names := func(dir uint64, n ...tree.NameChange) tree.DirChange { return tree.DirChange{Ino: dir, Names: n} }
	const fresh = tree.FirstNew
	dir := tree.FileChange{Ino: fresh, Kind: tree.KindDir}
	dir2 := tree.FileChange{Ino: fresh + 1, Kind: tree.KindDir}
	empty := tree.FileChange{Ino: fresh, Kind: tree.KindFile, Written: true}
	written := func(path string, pieces ...tree.Piece) []tree.FileChange {
		f := tree.FileChange{Ino: ino(path), Kind: tree.KindFile, Written: true, Pieces: pieces}
		for _, p := range pieces {
			f.Size += p.Size
		}
		return []tree.FileChange{f}
	}
	before := r.pin().picture(true)
	for name, c := range map[string]struct {
		d    tree.Delta
		want error
	}{
		"not valid":           {tree.Delta{Dirs: []tree.DirChange{names(7)}}, ErrInvalid},
		"no such path":        {tree.Delta{Bases: []tree.Base{{Ino: 3, Path: "nowhere"}}}, ErrInvalid},
		"another number":      {tree.Delta{Bases: []tree.Base{{Ino: ino("d/f"), Path: "d/sub"}}}, ErrInvalid},
		"climbs":              {tree.Delta{Bases: []tree.Base{{Ino: 3, Path: "../x"}}}, ErrInvalid},
		"apart":               {tree.Delta{Bases: bases("apart")}, ErrInvalid},
		"moves apart":         {tree.Delta{Bases: bases(""), Dirs: []tree.DirChange{names(ino(""), tree.NameChange{Name: "apart"})}}, ErrInvalid},
		"writes shared":       {tree.Delta{Bases: bases("shared"), Files: written("shared")}, ErrInvalid},
		"times of shared":     {tree.Delta{Bases: bases("shared"), Files: []tree.FileChange{{Ino: ino("shared"), Kind: tree.KindFile, Mtime: 1}}}, ErrInvalid},
		"links shared":        {tree.Delta{Bases: bases("shared", ""), Dirs: []tree.DirChange{names(ino(""), tree.NameChange{Name: "x", Ino: ino("shared")})}}, ErrInvalid},
		"writes sealed":       {tree.Delta{Bases: bases("sealed"), Files: written("sealed")}, ErrInvalid},
		"names in closed":     {tree.Delta{Bases: bases("closed"), Dirs: []tree.DirChange{names(ino("closed"), tree.NameChange{Name: "f"})}}, ErrInvalid},
		"names in a file":     {tree.Delta{Bases: bases("d/f"), Dirs: []tree.DirChange{names(ino("d/f"), tree.NameChange{Name: "x"})}}, ErrInvalid},
		"another kind":        {tree.Delta{Bases: bases("d/f"), Files: []tree.FileChange{{Ino: ino("d/f"), Kind: tree.KindDir, Mtime: 1}}}, ErrInvalid},
		"keeps too much":      {tree.Delta{Bases: bases("d/f"), Files: written("d/f", tree.Piece{Kept: true, Size: 5})}, ErrInvalid},
		"chunk of other size": {tree.Delta{Bases: bases("d/f"), Files: written("d/f", tree.Piece{Chunk: tree.IDOf([]byte("abc")), Size: 4})}, ErrInvalid},
		"chunk of other text": {tree.Delta{Bases: bases("d/f"), Files: written("d/f", tree.Piece{Chunk: tree.IDOf([]byte("lie")), Size: 3})}, ErrInvalid},
		"second name of directory": {tree.Delta{Bases: bases("", "d"), Dirs: []tree.DirChange{names(ino(""), tree.NameChange{Name: "x", Ino: ino("d")})}},
			ErrInvalid},
		"two names of new directory": {tree.Delta{Bases: bases(""), Dirs: []tree.DirChange{names(ino(""), tree.NameChange{Name: "x", Ino: fresh}, tree.NameChange{Name: "y", Ino: fresh})}, Files: []tree.FileChange{dir}},
			ErrInvalid},
		"names the root": {tree.Delta{Bases: bases("", "d"), Dirs: []tree.DirChange{names(ino("d"), tree.NameChange{Name: "x", Ino: ino("")})}}, ErrInvalid},
		"into itself": {tree.Delta{Bases: bases("", "d", "d/sub"), Dirs: []tree.DirChange{
			names(ino(""), tree.NameChange{Name: "d"}), names(ino("d/sub"), tree.NameChange{Name: "x", Ino: ino("d")})}}, ErrInvalid},
		"ring of new": {tree.Delta{Dirs: []tree.DirChange{names(fresh, tree.NameChange{Name: "x", Ino: fresh + 1}), names(fresh+1, tree.NameChange{Name: "x", Ino: fresh})},
			Files: []tree.FileChange{dir, dir2}}, ErrInvalid},
		"unreachable":           {tree.Delta{Dirs: []tree.DirChange{names(fresh, tree.NameChange{Name: "x", Ino: fresh + 1})}, Files: []tree.FileChange{dir, dir2}}, ErrInvalid},
		"directory not emptied": {tree.Delta{Bases: bases(""), Dirs: []tree.DirChange{names(ino(""), tree.NameChange{Name: "d"})}}, ErrInvalid},
		"into what is gone": {tree.Delta{Bases: bases("d", "d/sub"), Dirs: []tree.DirChange{names(ino("d"), tree.NameChange{Name: "sub"}),
			names(ino("d/sub"), tree.NameChange{Name: "g"}, tree.NameChange{Name: "new", Ino: fresh})}, Files: []tree.FileChange{empty}}, ErrInvalid},
		"our own name": {tree.Delta{Bases: bases(""), Dirs: []tree.DirChange{names(ino(""), tree.NameChange{Name: ".clonecloud-x", Ino: fresh})}, Files: []tree.FileChange{empty}}, ErrUnfit},
		"huge":         {tree.Delta{Bases: bases("d/f"), Files: written("d/f", tree.Piece{Size: tree.MaxFile})}, ErrUnfit},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			p, err := Prepare(t.Context(), r.config(base), sorted(c.d), source(map[tree.ID][]byte{
				tree.IDOf([]byte("abc")): []byte("abc"), tree.IDOf([]byte("lie")): []byte("xyz"),
			}))
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if err == nil {
				_ = p.Discard()
			}
			if got := r.pin().picture(true); got != before {
				t.Errorf("the tree is\n%s\nwas\n%s", got, before)
			}
			r.clean()
		})
	}
}

func TestMaxBytes(t *testing.T) {
	r := newReal(t)
	r.write("f", "text")
	base := r.pin()
	d, chunks := oneFile(base, "f", 0, "twelve bytes")
	cfg := r.config(base)
	cfg.MaxBytes = 11
	if _, err := Prepare(t.Context(), cfg, d, source(chunks)); !errors.Is(err, ErrUnfit) {
		t.Errorf("got %v, want ErrUnfit", err)
	}
	cfg.MaxBytes = 12
	r.apply(cfg, d, chunks)
	r.want("f=twelve bytes")
}
