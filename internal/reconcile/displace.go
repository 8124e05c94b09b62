package reconcile

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/clonecloud/clonecloud/internal/reconcile/disk"
	"github.com/clonecloud/clonecloud/internal/reconcile/plan"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// displacing is the phase that takes away the names that go, from the deepest on. Conflicts name paths of the end: what a
// directory holds goes where it goes.
type displacing struct {
	*executor
	places map[string]bool   // paths that something gets
	ends   map[string]string // where directories that are displaced go
	kept   map[string]bool   // paths of the end that the device's version keeps
}

func (x *executor) displaceAll() error {
	d := &displacing{x, map[string]bool{}, map[string]string{}, map[string]bool{}}
	from := map[string]string{}
	for i := range x.Places {
		d.places[x.Places[i].Path] = true
		from[x.Places[i].From] = x.Places[i].Path
	}
	for path, i := range x.inside {
		if to, ok := from[plan.OldName(i)]; ok {
			d.ends[path] = to
		}
	}
	for _, c := range x.Conflicts {
		d.kept[c.Path], d.kept[c.Aside] = true, true
	}
	for i := range x.Displaced {
		if err := d.one(i); err != nil {
			return fmt.Errorf("take away %q: %w", x.Displaced[i].Path, err)
		}
	}
	if err := x.staging.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", x.Dir, err)
	}
	return x.syncTouched(x.was)
}

// end is where a name will be if it stays in its directory.
func (d *displacing) end(path string) string {
	for at, _ := disk.Split(path); at != ""; at, _ = disk.Split(at) {
		if to, ok := d.ends[at]; ok {
			return to + path[len(at):]
		}
	}
	return path
}

func (d *displacing) one(i int) error {
	s := &d.Displaced[i]
	parent, name := disk.Split(s.Path)
	at, err := d.was(parent)
	var cur disk.Stat
	if err == nil {
		defer at.Close()
		cur, err = at.Lstat(name)
	}
	if err != nil && !disk.IsItem(err) {
		return err
	}
	there := err == nil
	if d.resumed {
		if _, serr := d.staging.Lstat(plan.OldName(i)); serr == nil {
			return d.twin(i, at, name, there, &cur)
		}
	}
	end := d.end(s.Path)
	v := plan.Judge(s, there, &cur, plan.Circumstances{
		Placed: d.places[end], Spoiled: s.Write >= 0 && d.Skipped[s.Write], Among: d.among[s.Was.Ino], Fresh: !d.resumed,
	})
	if v == plan.Away && s.Gone && s.Was.Kind == tree.KindDir {
		found, err := d.look(at, s.Path, name)
		if err != nil {
			return err
		}
		switch found {
		case strangers:
			d.kept[end] = true
			return d.conflict(Conflict{Path: end, Kind: KindKept})
		case onlyKept:
			d.kept[end] = true
			return nil
		}
	}
	return d.carry(i, v, at, name)
}

// twin ends a move that a crash has left with both names.
func (d *displacing) twin(i int, at disk.Folder, name string, there bool, cur *disk.Stat) error {
	d.touch(d.Displaced[i].Path)
	st, err := d.staging.Lstat(plan.OldName(i))
	if err != nil {
		return err
	}
	if there && st.Ino == cur.Ino && st.Dev == cur.Dev && st.Kind != tree.KindDir {
		return at.Remove(name, false)
	}
	return nil
}

// carry does what was found right for a displacement.
func (d *displacing) carry(i int, v plan.Verdict, at disk.Folder, name string) error {
	path := d.Displaced[i].Path
	end := d.end(path)
	switch v {
	case plan.Nothing:
		return nil
	case plan.Lost:
		return d.conflict(Conflict{Path: end, Kind: KindRemoved})
	case plan.Stays:
		return d.keep(path, end, at, name)
	}
	err := at.Move(name, d.staging, plan.OldName(i))
	if err != nil && disk.IsItem(err) {
		d.kept[end] = true
		return d.conflict(Conflict{Path: end, Kind: KindDenied})
	}
	if err == nil {
		d.touch(path)
	}
	return err
}

// keep lets the device's version have its name, or another.
func (d *displacing) keep(path, end string, at disk.Folder, name string) error {
	c := Conflict{Path: end, Kind: KindKept}
	if d.places[end] {
		c.Kind = KindChanged
	}
	d.kept[end] = true
	if d.Policy == CloneWins {
		aside, err := d.layAside(at, path, name)
		if err != nil && !disk.IsItem(err) {
			return err
		}
		if aside != "" {
			delete(d.kept, end)
			c.Aside = d.end(aside)
			d.kept[c.Aside] = true
		}
	}
	return d.conflict(c)
}

// What is found in a directory that is to go.
const (
	noStrangers = iota
	onlyKept
	strangers
)

func (d *displacing) look(at disk.Folder, path, name string) (int, error) {
	dir, err := at.Enter(name)
	if err != nil {
		if disk.IsItem(err) {
			return strangers, nil // it cannot be looked into
		}
		return 0, err
	}
	defer dir.Close()
	list, err := dir.Names()
	if err != nil {
		return 0, err
	}
	found := noStrangers
	for _, n := range list {
		if !d.kept[d.end(disk.Join(path, n))] {
			return strangers, nil
		}
		found = onlyKept
	}
	return found, nil
}

// layAside gives the device's version at a name another beside it.
func (x *executor) layAside(at disk.Folder, path, name string) (string, error) {
	dir, _ := disk.Split(path)
	for n := 1; ; n++ {
		aside := asideName(name, ofDevice, x.Date, n)
		err := at.Move(name, at, aside)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		x.touch(path)
		x.touch(disk.Join(dir, aside))
		return disk.Join(dir, aside), nil
	}
}
