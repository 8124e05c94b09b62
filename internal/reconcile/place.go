package reconcile

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

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
	how   func(dir folder, as string) error
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
		case !isItem(err):
			return "", err
		case p.made && x.policy == DeviceWins && p.kind != tree.KindDir && p.whose == ofClone:
			return dropped, x.conflict(Conflict{Path: p.path, Kind: kindOf(err)})
		case errors.Is(err, fs.ErrNotExist):
			if err := x.remake(dst); err != nil {
				if isItem(err) {
					return x.putAside(p, topOf(dst), KindDenied)
				}
				return "", err
			}
		case errors.Is(err, fs.ErrExist):
			if p.made && p.kind == tree.KindDir && x.isDir(dst) {
				return dst, nil
			}
			if x.policy == CloneWins && p.whose == ofClone && !cleared {
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
	_, name := split(path)
	return name
}

func (x *executor) try(p putting, dst string) error {
	return in(x.top, dst, func(d folder, name string) error { return p.how(d, name) })
}

// putAside gives it a name beside dst.
func (x *executor) putAside(p putting, dst, kind string) (string, error) {
	dir, name := split(dst)
	for n := 1; ; n++ {
		aside := join(dir, asideName(name, p.whose, x.date, n))
		if _, err := lstatPath(x.top, aside); err == nil {
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
		case isItem(err) && dir != "":
			dir = "" // there is always the top
			n = 0
		default:
			return "", err
		}
	}
}

// clear lays aside what has a name.
func (x *executor) clear(path, dst string) error {
	return in(x.top, dst, func(d folder, name string) error {
		aside, err := x.layAside(d, dst, name)
		if err != nil {
			if isItem(err) {
				return nil // then the clone's version is laid aside
			}
			return err
		}
		return x.conflict(Conflict{Path: path, Aside: aside, Kind: KindExists})
	})
}

func (x *executor) isDir(path string) bool {
	st, err := lstatPath(x.top, path)
	return err == nil && st.kind == tree.KindDir
}

// remake makes the directories above a path again, which the device has removed.
func (x *executor) remake(path string) error {
	parent, _ := split(path)
	at, said := "", false
	for name := range strings.SplitSeq(parent, "/") {
		at = join(at, name)
		err := in(x.top, at, func(d folder, name string) error { return d.mkdir(name, 0o777) })
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		x.touch(at)
		if !said {
			said = true
			if err := x.conflict(Conflict{Path: at, Kind: KindRemoved}); err != nil {
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
	for i := range x.places {
		if err := x.place(&x.places[i]); err != nil {
			return fmt.Errorf("place %q: %w", x.places[i].path, err)
		}
	}
	for i := range x.links {
		if err := x.link(&x.links[i]); err != nil {
			return fmt.Errorf("link %q: %w", x.links[i].path, err)
		}
	}
	for i := range x.writes {
		if err := x.placeVersions(i); err != nil {
			return fmt.Errorf("lay aside a version of %q: %w", x.writes[i].path, err)
		}
	}
	if err := x.syncTouched(x.find); err != nil {
		return err
	}
	return x.staging.sync()
}

func (x *executor) place(p *placement) error {
	from, st, err := x.standsBy(p)
	if err != nil {
		return err
	}
	if from == "" {
		// It has been placed, or was never displaced.
		at := x.resolve(p.path)
		now, err := lstatPath(x.top, at)
		if err == nil && (p.made || p.kind == tree.KindDir || now.ino == p.ino) {
			x.arrived(p.ino, at)
		} else if x.among[p.ino] {
			return x.conflict(Conflict{Path: p.path, Kind: KindRemoved})
		}
		return nil
	}
	path, err := x.put(putting{path: p.path, kind: p.kind, whose: ofClone, made: p.made, how: func(dir folder, as string) error {
		if now, err := dir.lstat(as); err == nil && now.ino == st.ino && now.dev == st.dev && now.kind != tree.KindDir {
			return x.staging.remove(from, false) // a crash has left both names
		}
		return x.staging.move(from, dir, as)
	}})
	if err == nil && path != dropped {
		x.arrived(p.ino, path)
	}
	return err
}

// standsBy finds in the staging folder what is to be placed; "": there is nothing.
func (x *executor) standsBy(p *placement) (string, stat, error) {
	list := []string{p.from}
	if !p.made && x.among[p.ino] {
		if now, err := lstatPath(x.top, x.resolve(p.path)); err != nil || now.ino != p.ino {
			list = append(list, x.spare[p.ino]...)
		}
	}
	for _, from := range list {
		st, err := x.staging.lstat(from)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return from, st, err
		}
	}
	return "", stat{}, nil
}

// arrived says where a number stands. Of several names the first counts.
func (x *executor) arrived(ino uint64, path string) {
	x.changed[path] = true
	if _, ok := x.res.Paths[ino]; !ok {
		x.res.Paths[ino] = path
	}
}

func (x *executor) link(l *link) error {
	num := l.num
	if l.made >= 0 {
		num = x.made[l.made].num
	}
	src := x.resolve(l.to)
	st, err := lstatPath(x.top, src)
	if err != nil && !isItem(err) {
		return err
	}
	if err != nil || st.ino != num || st.kind == tree.KindDir {
		if l.made >= 0 {
			if _, err := x.staging.lstat(newName(l.made)); err == nil {
				return x.placeLate(l)
			}
		}
		return x.conflict(Conflict{Path: l.path, Kind: KindRemoved})
	}
	_, err = x.put(putting{path: l.path, kind: st.kind, whose: ofClone, made: true, how: func(dir folder, as string) error {
		if now, err := dir.lstat(as); err == nil && now.ino == st.ino && now.dev == st.dev {
			return nil // it is done
		}
		return in(x.top, src, func(from folder, name string) error { return from.link(name, dir, as) })
	}})
	return err
}

// placeLate gives a new file a further name as its first: the first was the device's.
func (x *executor) placeLate(l *link) error {
	m := &x.made[l.made]
	if err := x.place(&placement{path: l.path, from: newName(l.made), kind: m.kind, made: true, ino: l.ino}); err != nil {
		return err
	}
	if at, ok := x.res.Paths[l.ino]; ok {
		return x.redirect(l.to, at)
	}
	return nil
}

// placeVersions gives names to versions that a write could not leave in one file.
func (x *executor) placeVersions(i int) error {
	w := &x.writes[i]
	for _, v := range []struct {
		name, whose string
		aside       bool
	}{
		{versionName('c', i), ofClone, true}, {versionName('r', i), ofClone, false}, {versionName('d', i), ofDevice, true},
	} {
		if _, err := x.staging.lstat(v.name); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		p := putting{path: w.final, kind: tree.KindFile, whose: v.whose, aside: v.aside, how: func(dir folder, as string) error {
			return x.staging.move(v.name, dir, as)
		}}
		path, err := x.put(p)
		if err != nil {
			return err
		}
		if v.whose == ofClone {
			x.res.Paths[w.was.ino] = path
		}
		x.changed[path] = true
	}
	return nil
}
