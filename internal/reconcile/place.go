package reconcile

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/clonecloud/clonecloud/internal/reconcile/disk"
	"github.com/clonecloud/clonecloud/internal/reconcile/plan"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// putting is something that is to get a name.
type putting struct {
	path  string
	kind  tree.Kind
	whose string
	made  bool // it is new: where there is a directory already, a new one becomes that; DeviceWins may drop a new file
	aside bool // the path itself is another's
	mixed bool
	how   func(dir disk.Folder, as string) error
}

// dropped is in place of a path that something got: it was not put anywhere.
const dropped = "\x00"

// put gives something its name, or else one as near to that as can be. It returns the path.
func (x *executor) put(p putting) (string, error) {
	dst := x.resolve(p.path)
	if p.aside {
		return x.putAside(p, dst, KindChanged)
	}
	cleared := false
	for {
		err := x.try(p, dst)
		switch {
		case err == nil:
			x.touch(dst)
			return dst, nil
		case !disk.IsItem(err):
			return "", err
		case p.made && x.Policy == DeviceWins && p.kind != tree.KindDir && p.whose == ofClone:
			return dropped, x.conflict(Conflict{Path: p.path, Kind: kindOf(err)})
		case errors.Is(err, fs.ErrNotExist):
			if err := x.remake(p.path, dst); err != nil {
				if disk.IsItem(err) {
					return x.putAside(p, topOf(dst), KindDenied)
				}
				return "", err
			}
		case errors.Is(err, fs.ErrExist):
			if p.made && p.kind == tree.KindDir && x.isDir(dst) {
				return dst, nil
			}
			if x.Policy == CloneWins && p.whose == ofClone && !cleared {
				cleared = true
				if err := x.clear(p.path, dst); err != nil {
					return "", err
				}
				continue
			}
			return x.putAside(p, dst, KindExists)
		default:
			return x.putAside(p, topOf(dst), KindDenied)
		}
	}
}

// kindOf names the conflict that an error is about.
func kindOf(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return KindRemoved
	case errors.Is(err, fs.ErrExist):
		return KindExists
	}
	return KindDenied
}

// topOf is a path's name at the top of the directory.
func topOf(path string) string {
	_, name := disk.Split(path)
	return name
}

func (x *executor) try(p putting, dst string) error {
	return disk.In(x.top, dst, func(d disk.Folder, name string) error { return p.how(d, name) })
}

// putAside gives it a name beside dst.
func (x *executor) putAside(p putting, dst, kind string) (string, error) {
	dir, name := disk.Split(dst)
	for n := 1; ; n++ {
		aside := disk.Join(dir, asideName(name, p.whose, x.Date, n))
		if _, err := disk.LstatPath(x.top, aside); err == nil {
			continue
		}
		if !p.aside {
			if err := x.redirect(p.path, aside); err != nil {
				return "", err
			}
		}
		err := x.try(p, aside)
		switch {
		case err == nil:
			x.touch(aside)
			return aside, x.conflict(Conflict{Path: p.path, Aside: aside, Kind: kind, Mixed: p.mixed})
		case errors.Is(err, fs.ErrExist):
		case disk.IsItem(err) && dir != "":
			dir = "" // there is always the top
			n = 0
		default:
			return "", err
		}
	}
}

// clear lays aside what has a name.
func (x *executor) clear(path, dst string) error {
	return disk.In(x.top, dst, func(d disk.Folder, name string) error {
		aside, err := x.layAside(d, dst, name)
		if err != nil {
			if disk.IsItem(err) {
				return nil // then the clone's version is laid aside
			}
			return err
		}
		return x.conflict(Conflict{Path: path, Aside: aside, Kind: KindExists})
	})
}

func (x *executor) isDir(path string) bool {
	st, err := disk.LstatPath(x.top, path)
	return err == nil && st.Kind == tree.KindDir
}

// remake makes the directories above a path again, which the device has removed. In the plan the path may be another.
func (x *executor) remake(planned, path string) error {
	parent, _ := disk.Split(path)
	at, said := "", false
	for name := range strings.SplitSeq(parent, "/") {
		at = disk.Join(at, name)
		err := disk.In(x.top, at, func(d disk.Folder, name string) error { return d.Mkdir(name, 0o777) })
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		x.touch(at)
		if !said {
			said = true
			known := at
			if rest := path[len(at):]; strings.HasSuffix(planned, rest) {
				known = strings.TrimSuffix(planned, rest)
			}
			if err := x.conflict(Conflict{Path: known, Kind: KindRemoved}); err != nil {
				return err
			}
		}
	}
	if !said {
		return fmt.Errorf("put something at %q: %w", path, errVanished)
	}
	return nil
}

var errVanished = errors.New("its folder is there, and is not")

// placeAll gives names.
func (x *executor) placeAll() error {
	for i := range x.Places {
		if err := x.place(&x.Places[i]); err != nil {
			return fmt.Errorf("place %q: %w", x.Places[i].Path, err)
		}
	}
	for i := range x.Links {
		if err := x.link(&x.Links[i]); err != nil {
			return fmt.Errorf("link %q: %w", x.Links[i].Path, err)
		}
	}
	for i := range x.Writes {
		if err := x.placeVersions(i); err != nil {
			return fmt.Errorf("lay aside a version of %q: %w", x.Writes[i].Path, err)
		}
	}
	if err := x.syncTouched(x.find); err != nil {
		return err
	}
	return x.staging.Sync()
}

func (x *executor) place(p *plan.Placement) error {
	from, st, err := x.standsBy(p)
	if err != nil {
		return err
	}
	if from == "" {
		// It has been placed, or was never displaced.
		at := x.resolve(p.Path)
		now, err := disk.LstatPath(x.top, at)
		if err == nil && (p.Made || p.Kind == tree.KindDir || now.Ino == p.Ino) {
			x.arrived(p.Ino, at)
		} else if x.among[p.Ino] {
			return x.conflict(Conflict{Path: p.Path, Kind: KindRemoved})
		}
		return nil
	}
	path, err := x.put(putting{path: p.Path, kind: p.Kind, whose: ofClone, made: p.Made, how: func(dir disk.Folder, as string) error {
		if now, err := dir.Lstat(as); err == nil && now.Ino == st.Ino && now.Dev == st.Dev && now.Kind != tree.KindDir {
			return x.staging.Remove(from, false) // a crash has left both names
		}
		return x.staging.Move(from, dir, as)
	}})
	if err == nil && path != dropped {
		x.arrived(p.Ino, path)
	}
	return err
}

// standsBy finds in the staging folder what is to be placed; "": there is nothing.
func (x *executor) standsBy(p *plan.Placement) (string, disk.Stat, error) {
	list := []string{p.From}
	if !p.Made && x.among[p.Ino] {
		if now, err := disk.LstatPath(x.top, x.resolve(p.Path)); err != nil || now.Ino != p.Ino {
			list = append(list, x.spare[p.Ino]...)
		}
	}
	for _, from := range list {
		st, err := x.staging.Lstat(from)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return from, st, err
		}
	}
	return "", disk.Stat{}, nil
}

func (x *executor) exists(path string) bool {
	_, err := disk.LstatPath(x.top, path)
	return err == nil
}

// arrived says where a number stands. Of several names the first counts.
func (x *executor) arrived(ino uint64, path string) {
	x.changed[path] = true
	if _, ok := x.res.Paths[ino]; !ok {
		x.res.Paths[ino] = path
	}
}

func (x *executor) link(l *plan.Link) error {
	num := l.Num
	if l.Made >= 0 {
		num = x.Made[l.Made].Num
	}
	src := x.resolve(l.To)
	st, err := disk.LstatPath(x.top, src)
	if err != nil && !disk.IsItem(err) {
		return err
	}
	if err != nil || st.Ino != num || st.Kind == tree.KindDir {
		if l.Made >= 0 {
			if _, err := x.staging.Lstat(plan.NewName(l.Made)); err == nil {
				return x.placeLate(l)
			}
		}
		return x.conflict(Conflict{Path: l.Path, Kind: KindRemoved})
	}
	_, err = x.put(putting{path: l.Path, kind: st.Kind, whose: ofClone, made: true, how: func(dir disk.Folder, as string) error {
		if now, err := dir.Lstat(as); err == nil && now.Ino == st.Ino && now.Dev == st.Dev {
			return nil // it is done
		}
		return disk.In(x.top, src, func(from disk.Folder, name string) error { return from.Link(name, dir, as) })
	}})
	return err
}

// placeLate gives a new file a further name as its first: the first was the device's.
func (x *executor) placeLate(l *plan.Link) error {
	m := &x.Made[l.Made]
	if err := x.place(&plan.Placement{Path: l.Path, From: plan.NewName(l.Made), Kind: m.Kind, Made: true, Ino: l.Ino}); err != nil {
		return err
	}
	if at, ok := x.res.Paths[l.Ino]; ok {
		return x.redirect(l.To, at)
	}
	return nil
}

// placeVersions gives names to versions that a write could not leave in one file.
func (x *executor) placeVersions(i int) error {
	w := &x.Writes[i]
	for _, v := range []struct {
		name, whose string
		aside       bool
	}{
		{versionName('c', i), ofClone, true}, {versionName('r', i), ofClone, false}, {versionName('d', i), ofDevice, true},
	} {
		if _, err := x.staging.Lstat(v.name); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		p := putting{path: w.Final, kind: tree.KindFile, whose: v.whose, aside: v.aside, how: func(dir disk.Folder, as string) error {
			return x.staging.Move(v.name, dir, as)
		}}
		path, err := x.put(p)
		if err != nil {
			return err
		}
		if v.whose == ofClone {
			x.res.Paths[w.Was.Ino] = path
		}
		x.changed[path] = true
	}
	return nil
}
