package plan

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/clonecloud/clonecloud/internal/reconcile/disk"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// emit makes the steps, when all is checked.
func (p *planner) emit() error {
	nums := map[uint64]int{} // new files by number, positions in made
	for i := range p.delta.Files {
		f := &p.delta.Files[i]
		if f.Ino < tree.FirstNew {
			continue
		}
		named := len(p.given[f.Ino]) > 0
		if !named && f.Kind == tree.KindSymlink {
			continue // nobody can have it open
		}
		nums[f.Ino] = len(p.Made)
		p.Made = append(p.Made, Made{
			Ino: f.Ino, Kind: f.Kind, Named: named, Mtime: f.Mtime, Atime: f.Atime, Target: f.Target, Size: f.Size, Pieces: f.Pieces,
		})
	}
	given, err := p.givenPaths()
	if err != nil {
		return err
	}
	if err := p.emitWrites(given); err != nil {
		return err
	}
	staged := p.emitDisplaced(given)
	for ino, i := range nums {
		staged[ino] = []string{NewName(i)}
	}
	p.emitPlaces(given, staged, nums)
	return nil
}

// givenPaths are the names that come, by number, each sorted.
func (p *planner) givenPaths() (map[uint64][]string, error) {
	given := make(map[uint64][]string, len(p.given))
	for ino, names := range p.given {
		list := make([]string, len(names))
		for i, n := range names {
			dir, err := p.pathOf(n.dir)
			if err != nil {
				return nil, err
			}
			list[i] = disk.Join(dir, n.name)
			if err := p.room(list[i]); err != nil {
				return nil, err
			}
		}
		slices.Sort(list)
		given[ino] = list
	}
	return given, nil
}

func (p *planner) emitWrites(given map[uint64][]string) error {
	for i := range p.delta.Files {
		f := &p.delta.Files[i]
		if f.Kind == tree.KindDir && (f.Mtime != 0 || f.Atime != 0) {
			if err := p.emitTimes(f); err != nil {
				return err
			}
		}
		if f.Ino >= tree.FirstNew || f.Kind == tree.KindDir || !f.Written && f.Mtime == 0 && f.Atime == 0 {
			continue
		}
		o := p.old[f.Ino]
		w := Write{
			Path: o.path, Was: stampOf(&o.entry), Written: f.Written, Mode: o.entry.Mode & 0o777, Size: f.Size, Pieces: make([]Piece, len(f.Pieces)), Mtime: f.Mtime, Atime: f.Atime,
			Chunks: o.entry.Chunks,
		}
		for j, x := range f.Pieces {
			w.Pieces[j] = Piece{Size: x.Size, Check: x.Chunk, Form: FormData}
			switch {
			case x.Kept:
				w.Pieces[j].Form = FormKept
			case x.Chunk == tree.ID{}:
				w.Pieces[j].Form = FormHole
			}
		}
		var err error
		if w.Final, w.Elsewhere, err = p.finalOf(f.Ino, o, given); err != nil {
			return err
		}
		w.Nameless = w.Final == ""
		p.Writes = append(p.Writes, w)
	}
	return nil
}

// finalOf finds a name that an old file has at the end: its own, if it keeps that. With elsewhere it has one, but all that is
// known is that the path is near to what it had.
func (p *planner) finalOf(ino uint64, o *oldFile, given map[uint64][]string) (path string, elsewhere bool, err error) {
	above, base := disk.Split(o.path)
	if slices.ContainsFunc(p.taken[ino], func(n name) bool { return n.path == o.path }) {
		if names := given[ino]; len(names) > 0 {
			return names[0], false, nil
		}
		if int(o.entry.Nlink) <= len(p.taken[ino]) {
			return "", false, nil
		}
		dir, err := p.pathOf(p.byPath[above])
		if err != nil {
			dir = "" // it is gone
		}
		return disk.Join(dir, base), true, nil
	}
	dir, err := p.pathOf(p.byPath[above])
	if err != nil {
		return "", false, err
	}
	return disk.Join(dir, base), false, nil
}

func (p *planner) emitTimes(f *tree.FileChange) error {
	if f.Ino >= tree.FirstNew && len(p.given[f.Ino]) == 0 || len(p.taken[f.Ino]) > 0 && len(p.given[f.Ino]) == 0 {
		return nil // it has no name
	}
	path, err := p.pathOf(f.Ino)
	if err != nil {
		return err
	}
	p.Times = append(p.Times, DirTimes{path, f.Mtime, f.Atime})
	return nil
}

// emitDisplaced returns the names in the staging folder that each number will have.
func (p *planner) emitDisplaced(given map[uint64][]string) map[uint64][]string {
	writes := map[uint64]int{}
	for i := range p.Writes {
		writes[p.Writes[i].Was.Ino] = i
	}
	for ino, names := range p.taken {
		w, ok := writes[ino]
		if !ok {
			w = -1
		}
		for _, n := range names {
			d := Displacement{Path: n.path, Was: n.was, Sole: len(names) == 1 && w < 0, Write: w}
			if len(given[ino]) == 0 {
				if d.Gone = n.was.Kind == tree.KindDir || int(n.link) <= len(names); !d.Gone {
					d.Takes = uint64(len(names))
				}
			}
			p.Displaced = append(p.Displaced, d)
		}
	}
	slices.SortFunc(p.Displaced, func(a, b Displacement) int { return cmp.Compare(b.Path, a.Path) }) // what is inside comes first
	staged := map[uint64][]string{}
	for i := range p.Displaced {
		d := &p.Displaced[i]
		staged[d.Was.Ino] = append(staged[d.Was.Ino], OldName(i))
	}
	return staged
}

func (p *planner) emitPlaces(given, staged map[uint64][]string, nums map[uint64]int) {
	for _, ino := range slices.Sorted(maps.Keys(given)) {
		paths, from := given[ino], staged[ino]
		var kind tree.Kind
		num, at := ino, -1
		if f, ok := p.new[ino]; ok {
			kind, at, num = f.Kind, nums[ino], 0
		} else {
			kind = p.old[ino].entry.Kind
		}
		canonical := paths[0]
		if len(from) == 0 {
			canonical, _, _ = p.finalOf(ino, p.old[ino], nil) // its own name has not changed: none was taken
		}
		for i, path := range paths {
			if i < len(from) {
				p.Places = append(p.Places, Placement{Path: path, From: from[i], Kind: kind, Made: at >= 0, Ino: ino})
				continue
			}
			p.Links = append(p.Links, Link{Path: path, To: canonical, Num: num, Made: at, Ino: ino})
		}
	}
	slices.SortFunc(p.Places, func(a, b Placement) int {
		if c := cmp.Compare(isDirFirst(a.Kind), isDirFirst(b.Kind)); c != 0 {
			return c
		}
		return cmp.Compare(a.Path, b.Path) // what is above comes first
	})
	slices.SortFunc(p.Links, byPath(func(l *Link) string { return l.Path }))
	slices.SortFunc(p.Times, func(a, b DirTimes) int { return -strings.Compare(a.Path, b.Path) })
}

func isDirFirst(k tree.Kind) int {
	if k == tree.KindDir {
		return 0
	}
	return 1
}
