package reconcile

import (
	"cmp"
	"maps"
	"slices"
	"strings"

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
		nums[f.Ino] = len(p.made)
		p.made = append(p.made, made{
			ino: f.Ino, kind: f.Kind, named: named, mtime: f.Mtime, atime: f.Atime, target: f.Target, size: f.Size, pieces: f.Pieces,
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
		staged[ino] = []string{newName(i)}
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
			list[i] = join(dir, n.name)
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
		w := write{
			path: o.path, was: stampOf(&o.entry), written: f.Written, mode: o.entry.Mode & 0o777, size: f.Size, pieces: make([]piece, len(f.Pieces)), mtime: f.Mtime, atime: f.Atime,
			chunks: o.entry.Chunks,
		}
		for j, x := range f.Pieces {
			w.pieces[j] = piece{size: x.Size, check: x.Chunk, form: formData}
			switch {
			case x.Kept:
				w.pieces[j].form = formKept
			case x.Chunk == tree.ID{}:
				w.pieces[j].form = formHole
			}
		}
		var err error
		if w.final, w.elsewhere, err = p.finalOf(f.Ino, o, given); err != nil {
			return err
		}
		w.nameless = w.final == ""
		p.writes = append(p.writes, w)
	}
	return nil
}

// finalOf finds a name that an old file has at the end: its own, if it keeps that. With elsewhere it has one, but all that is
// known is that the path is near to what it had.
func (p *planner) finalOf(ino uint64, o *oldFile, given map[uint64][]string) (path string, elsewhere bool, err error) {
	above, base := split(o.path)
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
		return join(dir, base), true, nil
	}
	dir, err := p.pathOf(p.byPath[above])
	if err != nil {
		return "", false, err
	}
	return join(dir, base), false, nil
}

func (p *planner) emitTimes(f *tree.FileChange) error {
	if f.Ino >= tree.FirstNew && len(p.given[f.Ino]) == 0 || len(p.taken[f.Ino]) > 0 && len(p.given[f.Ino]) == 0 {
		return nil // it has no name
	}
	path, err := p.pathOf(f.Ino)
	if err != nil {
		return err
	}
	p.times = append(p.times, dirTimes{path, f.Mtime, f.Atime})
	return nil
}

// emitDisplaced returns the names in the staging folder that each number will have.
func (p *planner) emitDisplaced(given map[uint64][]string) map[uint64][]string {
	writes := map[uint64]int{}
	for i := range p.writes {
		writes[p.writes[i].was.ino] = i
	}
	for ino, names := range p.taken {
		w, ok := writes[ino]
		if !ok {
			w = -1
		}
		for _, n := range names {
			d := displacement{path: n.path, was: n.was, sole: len(names) == 1 && w < 0, write: w}
			if len(given[ino]) == 0 {
				if d.gone = n.was.kind == tree.KindDir || int(n.link) <= len(names); !d.gone {
					d.takes = uint64(len(names))
				}
			}
			p.displaced = append(p.displaced, d)
		}
	}
	slices.SortFunc(p.displaced, func(a, b displacement) int { return cmp.Compare(b.path, a.path) }) // what is inside comes first
	staged := map[uint64][]string{}
	for i := range p.displaced {
		d := &p.displaced[i]
		staged[d.was.ino] = append(staged[d.was.ino], oldName(i))
	}
	return staged
}

func (p *planner) emitPlaces(given, staged map[uint64][]string, nums map[uint64]int) {
	for _, ino := range slices.Sorted(maps.Keys(given)) {
		paths, from := given[ino], staged[ino]
		kind, num, at := tree.KindFile, ino, -1
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
				p.places = append(p.places, placement{path: path, from: from[i], kind: kind, made: at >= 0, ino: ino})
				continue
			}
			p.links = append(p.links, link{path: path, to: canonical, num: num, made: at, ino: ino})
		}
	}
	slices.SortFunc(p.places, func(a, b placement) int {
		if c := cmp.Compare(isDirFirst(a.kind), isDirFirst(b.kind)); c != 0 {
			return c
		}
		return cmp.Compare(a.path, b.path) // what is above comes first
	})
	slices.SortFunc(p.links, byPath(func(l *link) string { return l.path }))
	slices.SortFunc(p.times, func(a, b dirTimes) int { return -strings.Compare(a.path, b.path) })
}

func isDirFirst(k tree.Kind) int {
	if k == tree.KindDir {
		return 0
	}
	return 1
}
