package reconcile

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// facts are what of the directory, as it is now, concerns some steps.
type facts struct {
	at     map[string]fact
	inside map[string][]string // names in directories that are to go
}

type fact struct {
	stat
	there  bool
	denied bool // it cannot be opened for writing
	noDir  bool // something above it is no directory that can be entered
}

// gather looks.
func gather(top folder, s *steps) (*facts, error) {
	f := &facts{at: map[string]fact{}, inside: map[string][]string{}}
	for i := range s.writes {
		if err := f.look(top, s.writes[i].path, s.writes[i].written); err != nil {
			return nil, err
		}
	}
	for i := range s.displaced {
		d := &s.displaced[i]
		if err := f.look(top, d.path, false); err != nil {
			return nil, err
		}
		if d.gone && d.was.kind == tree.KindDir && f.at[d.path].there {
			if err := f.list(top, d.path); err != nil {
				return nil, err
			}
		}
	}
	m := newMapping(s)
	for i := range s.places {
		if err := f.lookAbove(top, m, s.places[i].path); err != nil {
			return nil, err
		}
	}
	for i := range s.writes {
		if err := f.lookAbove(top, m, s.writes[i].final); err != nil {
			return nil, err
		}
	}
	for i := range s.links {
		if err := f.lookAbove(top, m, s.links[i].path); err != nil {
			return nil, err
		}
		if to := m.now(s.links[i].to); to != "" {
			if err := f.look(top, to, false); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

func (f *facts) look(top folder, path string, write bool) error {
	if _, ok := f.at[path]; ok && !write {
		return nil
	}
	var x fact
	err := in(top, path, func(d folder, name string) (err error) {
		if x.stat, err = d.lstat(name); err != nil {
			return err
		}
		x.there = true
		if !write || x.kind != tree.KindFile {
			return nil
		}
		w, err := d.open(name, true)
		if err != nil {
			x.denied = true
			return err
		}
		return w.Close()
	})
	if err != nil && !isItem(err) {
		return err
	}
	x.noDir = err != nil && !x.there && !errors.Is(err, fs.ErrNotExist)
	f.at[path] = x
	return nil
}

// lookAbove looks at where something is to be put, and at the directories above.
func (f *facts) lookAbove(top folder, m *mapping, path string) error {
	for path != "" {
		if now := m.now(path); now != "" {
			if err := f.look(top, now, false); err != nil {
				return err
			}
		}
		path, _ = split(path)
	}
	return nil
}

func (f *facts) list(top folder, path string) error {
	d, err := walk(top, path)
	if err == nil {
		defer d.close()
		f.inside[path], err = d.names()
	}
	if err != nil && isItem(err) {
		f.inside[path] = []string{"?"} // as if there were something
		return nil
	}
	return err
}

// mapping leads from paths at the end to those of now.
type mapping struct {
	from map[string]string // of directories that are placed; "": it is new
}

func newMapping(s *steps) *mapping {
	m := &mapping{map[string]string{}}
	old := map[string]string{}
	for i := range s.displaced {
		old[oldName(i)] = s.displaced[i].path
	}
	for i := range s.places {
		if p := &s.places[i]; p.kind == tree.KindDir {
			m.from[p.path] = old[p.from]
		}
	}
	return m
}

// now returns where the name at a path of the end is now: in the same directory. "": its directory is new, and if one of that
// name is there already it is looked for under the directory's own path.
func (m *mapping) now(path string) string {
	dir, name := split(path)
	for at := dir; at != ""; at, _ = split(at) {
		if was, ok := m.from[at]; ok {
			if was == "" {
				if was = m.now(at); was == "" {
					return ""
				}
			}
			return was + dir[len(at):] + "/" + name
		}
	}
	return path
}

// foresee tells which conflicts steps will meet if nothing changes any more.
func foresee(s *steps, f *facts, policy Policy, keptBytes func(i int) bool) []Conflict {
	spare, among := s.spares()
	v := &seer{
		steps: s, facts: f, policy: policy, progress: newProgress(), kept: map[string]bool{}, m: newMapping(s), free: map[string]bool{}, made: map[string]bool{}, lost: map[string]bool{},
		dropped: map[uint64]bool{}, whole: map[int]bool{}, spare: spare, among: among,
	}
	for i := range s.writes {
		v.write(i, keptBytes)
	}
	places := map[string]bool{}
	for i := range s.places {
		places[s.places[i].path] = true
	}
	for i := range s.displaced {
		v.displace(i, places)
	}
	for i := range s.places {
		v.place(&s.places[i])
	}
	for i := range s.links {
		v.link(&s.links[i])
	}
	for i := range s.writes {
		if v.whole[i] {
			v.put(s.writes[i].final, tree.KindFile, false)
		}
	}
	return v.conflicts
}

type seer struct {
	*steps
	*facts
	*progress
	policy Policy
	m      *mapping
	kept   map[string]bool
	free   map[string]bool // paths of now that will have lost what they have
	made   map[string]bool // paths of the end that are taken, or made again
	lost   map[string]bool // what will not be in the staging folder
	// dropped are new files that have got no name so far; whole the writes whose file the device has removed, and that gets its name again.
	dropped map[uint64]bool
	whole   map[int]bool
	spare   map[uint64][]string
	among   map[uint64]bool
}

func (v *seer) write(i int, keptBytes func(i int) bool) {
	w := &v.writes[i]
	x := v.at[w.path]
	kind := ""
	switch {
	case !x.there:
		kind = KindRemoved
	case !w.was.intact(&x.stat):
		kind = KindChanged
	case w.written && x.denied:
		kind = KindDenied
	}
	if kind == "" {
		return
	}
	if v.policy != CloneWins || kind != KindChanged || x.kind != w.was.kind || w.nameless {
		v.skipped[i] = true
	}
	if w.nameless {
		return
	}
	c := Conflict{Path: w.final, Kind: kind}
	if v.skipped[i] && w.written && v.policy != DeviceWins {
		c.Mixed = !keptBytes(i)
		v.whole[i] = kind == KindRemoved && !c.Mixed && !w.elsewhere
	}
	v.add(c)
}

func (v *seer) displace(i int, places map[string]bool) {
	d := &v.displaced[i]
	x := v.at[d.path]
	switch judge(d, x.there, &x.stat, circumstances{
		placed: places[d.path], spoiled: d.write >= 0 && v.skipped[d.write], among: v.among[d.was.ino], fresh: true,
	}) {
	case nothing:
		v.lost[oldName(i)] = true
	case lost:
		v.lost[oldName(i)] = true
		v.add(Conflict{Path: d.path, Kind: KindRemoved})
	case stays:
		v.lost[oldName(i)] = true
		kind := KindKept
		if places[d.path] {
			kind = KindChanged
		}
		v.add(Conflict{Path: d.path, Kind: kind})
		if v.policy == CloneWins {
			v.free[d.path] = true // laid aside in the same folder
		}
		v.kept[d.path] = true
	case away:
		if d.gone && d.was.kind == tree.KindDir {
			switch strangersOf(d.path, v.inside[d.path], func(p string) bool { return v.kept[p] || v.free[p] }) {
			case strangers:
				v.kept[d.path] = true
				v.add(Conflict{Path: d.path, Kind: KindKept})
				return
			case onlyKept:
				if v.anyKept(d.path) {
					v.kept[d.path] = true
					return
				}
			}
		}
		v.free[d.path] = true
	}
}

// anyKept tells whether something will be left in a directory.
func (v *seer) anyKept(path string) bool {
	for _, n := range v.inside[path] {
		if v.kept[join(path, n)] {
			return true
		}
	}
	return false
}

func (v *seer) place(p *placement) {
	if v.lost[p.from] && !v.useSpare(p) {
		if x := v.at[v.m.now(p.path)]; v.among[p.ino] && !(x.there && x.ino == p.ino) {
			v.add(Conflict{Path: p.path, Kind: KindRemoved})
		}
		return
	}
	v.dropped[p.ino] = !v.put(p.path, p.kind, p.made)
}

// useSpare finds another name of the file that will be in the staging folder.
func (v *seer) useSpare(p *placement) bool {
	if p.made || !v.among[p.ino] {
		return false
	}
	for _, name := range v.spare[p.ino] {
		if !v.lost[name] {
			v.lost[name] = true
			return true
		}
	}
	return false
}

func (v *seer) link(l *link) {
	if to := v.m.now(l.to); l.made < 0 && to != "" && !v.made[l.to] {
		if x := v.at[to]; !x.there || x.ino != l.num {
			v.add(Conflict{Path: l.path, Kind: KindRemoved})
			return
		}
	}
	put := v.put(l.path, tree.KindFile, true)
	if v.dropped[l.ino] && put {
		v.dropped[l.ino] = false
	}
}

// put tells whether something gets a name, the one or another.
func (v *seer) put(path string, kind tree.Kind, made bool) bool {
	drop := made && v.policy == DeviceWins && kind != tree.KindDir
	if gone, denied := v.above(path); denied {
		v.add(Conflict{Path: path, Kind: KindDenied})
		v.made[path] = !drop
		return !drop
	} else if gone != "" {
		if drop {
			v.add(Conflict{Path: path, Kind: KindRemoved})
			return false
		}
		v.add(Conflict{Path: gone, Kind: KindRemoved})
		for at, _ := split(path); len(at) >= len(gone); at, _ = split(at) {
			v.made[at] = true
		}
	}
	now := v.m.now(path)
	x := v.at[now]
	occupied := now != "" && x.there && !v.free[now]
	if occupied && !(made && kind == tree.KindDir && x.kind == tree.KindDir) {
		v.add(Conflict{Path: path, Kind: KindExists})
	}
	if occupied && drop {
		return false
	}
	v.made[path] = true
	return true
}

// above returns the first directory above a path that is not there any more.
func (v *seer) above(path string) (gone string, denied bool) {
	parent, _ := split(path)
	known := parent
	for known != "" && !v.made[known] {
		known, _ = split(known)
	}
	at := known
	for name := range strings.SplitSeq(strings.TrimPrefix(parent[len(known):], "/"), "/") {
		if name == "" {
			break
		}
		at = join(at, name)
		now := v.m.now(at)
		x := v.at[now]
		switch {
		case now == "" || v.free[now] && !x.there, !x.there && !x.noDir:
			return at, false
		case x.noDir || x.kind != tree.KindDir:
			return "", true
		}
	}
	return "", false
}
