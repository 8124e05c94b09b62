package reconcile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// many files or folders are made durable all at once, where the system can do that.
const many = 16

// executor carries out a plan that counts. Every step looks whether it has been done.
type executor struct {
	header
	*steps
	*progress
	id      string
	state   folder
	top     folder // the directory
	staging folder
	data    file // the plan's
	notes   *notes
	log     func(format string, args ...any)
	resumed bool // there was a crash, or an error, since the plan came to count

	res     *Result
	touched map[string]bool // folders whose names have changed
	changed map[string]bool // paths for the result
	inside  map[string]int  // displacements of directories, by path
	spare   map[uint64][]string
	among   map[uint64]bool
}

func (x *executor) init() {
	x.res = &Result{Paths: map[uint64]string{}, unnamed: map[uint64]*os.File{}}
	x.touched, x.changed, x.inside = map[string]bool{}, map[string]bool{}, map[string]int{}
	x.spare, x.among = x.spares()
	for i := range x.displaced {
		if x.displaced[i].was.kind == tree.KindDir {
			x.inside[x.displaced[i].path] = i
		}
	}
}

func (x *executor) run() error {
	for _, p := range []struct {
		phase int
		steps int
		do    func() error
	}{
		{phaseWrite, len(x.writes), x.writeAll},
		{phaseDisplace, len(x.displaced), x.displaceAll},
		{phasePlace, 1, x.placeAll},
	} {
		if x.phase > p.phase || p.steps == 0 {
			continue
		}
		if err := p.do(); err != nil {
			return err
		}
		if p.phase == phasePlace {
			break
		}
		if err := x.note(notePhase, []byte{byte(p.phase + 1)}, true); err != nil {
			return err
		}
		x.phase = p.phase + 1
	}
	if err := x.removeAll(); err != nil {
		return err
	}
	if err := x.finish(); err != nil {
		return err
	}
	x.res.Conflicts = x.conflicts
	x.res.Changed = slices.Sorted(maps.Keys(x.changed))
	return nil
}

// note writes down what must be known after a crash. With now it is durable on return.
func (x *executor) note(kind uint8, payload []byte, now bool) error {
	if x.notes == nil {
		n, _, err := openNotes(x.state, x.id+noteSuffix)
		if err != nil {
			return fmt.Errorf("write notes of a plan: %w", err)
		}
		x.notes = n
	}
	err := x.notes.append(kind, payload)
	if err == nil && now {
		err = x.notes.f.sync()
	}
	if err != nil {
		return fmt.Errorf("write notes of a plan: %w", err)
	}
	return nil
}

func (x *executor) conflict(c Conflict) error {
	before := len(x.conflicts)
	i, known := x.byPath[c.Path]
	var old Conflict
	if known {
		old = x.conflicts[i]
	}
	now := x.add(c)
	if known && old == now {
		return nil
	}
	if len(x.conflicts) > before || c.Aside != "" {
		x.log("%s", now.String())
	}
	return x.note(noteConflict, c.append(nil), true)
}

// resolve is where a path of the plan stands that something on it did not get.
func (x *executor) resolve(path string) string {
	if len(x.moved) == 0 {
		return path
	}
	for at := path; at != ""; at, _ = split(at) {
		if to, ok := x.moved[at]; ok {
			return to + path[len(at):]
		}
	}
	return path
}

func (x *executor) redirect(from, to string) error {
	if from == to || x.moved[from] == to {
		return nil
	}
	x.moved[from] = to
	return x.note(noteMoved, appendString(appendString(nil, from), to), true)
}

// touch remembers a path whose name has come or gone.
func (x *executor) touch(path string) {
	dir, _ := split(path)
	x.touched[dir] = true
	x.changed[path] = true
}

// syncTouched makes names durable that have changed in folders; find says where a folder is now.
func (x *executor) syncTouched(find func(path string) (folder, error)) error {
	list := slices.Sorted(maps.Keys(x.touched))
	clear(x.touched)
	if hasSyncAll && len(list) > many {
		return x.top.syncAll()
	}
	for _, path := range list {
		d, err := find(path)
		if err != nil {
			if isItem(err) {
				continue // it has gone since
			}
			return err
		}
		err = d.sync()
		_ = d.close() // was read only
		if err != nil {
			return err
		}
	}
	return nil
}

func (x *executor) find(path string) (folder, error) { return walk(x.top, path) }

// was finds what stood at a path before displacement, also inside of what is displaced already.
func (x *executor) was(path string) (folder, error) {
	d, err := walk(x.top, path)
	if err == nil || !isItem(err) {
		return d, err
	}
	for at := path; at != ""; at, _ = split(at) {
		i, ok := x.inside[at]
		if !ok {
			continue
		}
		if _, serr := x.staging.lstat(oldName(i)); serr == nil {
			return walk(x.staging, oldName(i)+path[len(at):])
		}
	}
	return nil, err
}

// displaceAll takes away the names that go, from the deepest on.
func (x *executor) displaceAll() error {
	places := map[string]bool{}
	for i := range x.places {
		places[x.places[i].path] = true
	}
	kept := map[string]bool{}
	for _, c := range x.conflicts {
		kept[c.Path], kept[c.Aside] = true, true
	}
	for i := range x.displaced {
		if err := x.displace(i, places, kept); err != nil {
			return fmt.Errorf("take away %q: %w", x.displaced[i].path, err)
		}
	}
	if err := x.staging.sync(); err != nil {
		return fmt.Errorf("sync %s: %w", x.dir, err)
	}
	return x.syncTouched(x.was)
}

func (x *executor) displace(i int, places, kept map[string]bool) error {
	d := &x.displaced[i]
	parent, name := split(d.path)
	at, err := x.was(parent)
	var cur stat
	if err == nil {
		defer at.close()
		cur, err = at.lstat(name)
	}
	if err != nil && !isItem(err) {
		return err
	}
	there := err == nil
	if x.resumed {
		if _, serr := x.staging.lstat(oldName(i)); serr == nil {
			return x.twin(i, at, name, there, &cur)
		}
	}
	v := judge(d, there, &cur, circumstances{
		placed: places[d.path], spoiled: d.write >= 0 && x.skipped[d.write], among: x.among[d.was.ino], fresh: !x.resumed,
	})
	if v == away && d.gone && d.was.kind == tree.KindDir {
		list, err := x.strangers(at, d.path, name, kept)
		if err != nil {
			return err
		}
		if list != noStrangers {
			kept[d.path] = true
			if list == onlyKept {
				return nil
			}
			return x.conflict(Conflict{Path: d.path, Kind: KindKept})
		}
	}
	kind := KindKept
	if places[d.path] {
		kind = KindChanged
	}
	return x.carry(i, v, kind, at, name, kept)
}

// twin ends a move that a crash has left with both names.
func (x *executor) twin(i int, at folder, name string, there bool, cur *stat) error {
	d := &x.displaced[i]
	x.touch(d.path)
	st, err := x.staging.lstat(oldName(i))
	if err != nil {
		return err
	}
	if there && st.ino == cur.ino && st.dev == cur.dev && st.kind != tree.KindDir {
		return at.remove(name, false)
	}
	return nil
}

// carry does what was found right for a displacement.
func (x *executor) carry(i int, v verdict, kind string, at folder, name string, kept map[string]bool) error {
	d := &x.displaced[i]
	switch v {
	case nothing:
		return nil
	case lost:
		return x.conflict(Conflict{Path: d.path, Kind: KindRemoved})
	case stays:
		kept[d.path] = true
		if x.policy != CloneWins {
			return x.conflict(Conflict{Path: d.path, Kind: kind})
		}
		aside, err := x.layAside(at, d.path, name)
		if err != nil && !isItem(err) {
			return err
		}
		if aside != "" {
			delete(kept, d.path)
			kept[aside] = true
		}
		return x.conflict(Conflict{Path: d.path, Kind: kind, Aside: aside})
	}
	err := at.move(name, x.staging, oldName(i))
	if err != nil && isItem(err) {
		kept[d.path] = true
		return x.conflict(Conflict{Path: d.path, Kind: KindDenied})
	}
	if err == nil {
		x.touch(d.path)
	}
	return err
}

// What is found in a directory that is to go.
const (
	noStrangers = iota
	onlyKept
	strangers
)

func (x *executor) strangers(at folder, path, name string, kept map[string]bool) (int, error) {
	d, err := at.enter(name)
	if err != nil {
		if isItem(err) {
			return strangers, nil // it cannot be looked into
		}
		return 0, err
	}
	defer d.close()
	list, err := d.names()
	if err != nil {
		return 0, err
	}
	return strangersOf(path, list, func(p string) bool { return kept[p] }), nil
}

func strangersOf(path string, names []string, kept func(string) bool) int {
	found := noStrangers
	for _, n := range names {
		if !kept(join(path, n)) {
			return strangers
		}
		found = onlyKept
	}
	return found
}

// layAside gives the device's version at a name another beside it.
func (x *executor) layAside(at folder, path, name string) (string, error) {
	dir, _ := split(path)
	for n := 1; ; n++ {
		aside := asideName(name, ofDevice, x.date, n)
		err := at.move(name, at, aside)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		x.touch(path)
		x.touch(join(dir, aside))
		return join(dir, aside), nil
	}
}

// removeAll deletes what was displaced and has no place, and then sets times of directories.
func (x *executor) removeAll() error {
	for i := range x.displaced {
		if err := x.remove(i); err != nil {
			return fmt.Errorf("remove %q: %w", x.displaced[i].path, err)
		}
	}
	for i := range x.made {
		if err := x.release(i); err != nil {
			return fmt.Errorf("new file %d: %w", x.made[i].ino, err)
		}
	}
	for i := range x.times {
		t := &x.times[i]
		if t.path == "" {
			continue // at the very end
		}
		path := x.resolve(t.path)
		err := in(x.top, path, func(d folder, name string) error {
			st, err := d.lstat(name)
			if err != nil || st.kind != tree.KindDir {
				return err
			}
			x.changed[path] = true
			x.touched[path] = true
			return d.setTimes(name, t.mtime, t.atime)
		})
		if err != nil && !isItem(err) {
			return fmt.Errorf("times of %q: %w", path, err)
		}
	}
	return x.syncTouched(x.find)
}

func (x *executor) remove(i int) error {
	d := &x.displaced[i]
	name := oldName(i)
	st, err := x.staging.lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.kind == tree.KindDir {
		err := x.staging.remove(name, true)
		if err == nil || !isNotEmpty(err) {
			return err
		}
		return x.putBack(d, name)
	}
	mine := d.write >= 0 && !x.skipped[d.write]
	if st.nlink < 2 && (!d.gone || !mine && !d.was.unchanged(&st)) {
		return x.putBack(d, name)
	}
	return x.staging.remove(name, false)
}

// putBack gives the device's version its name again: it was changed after it was looked at.
func (x *executor) putBack(d *displacement, name string) error {
	to, err := x.put(putting{path: d.path, kind: d.was.kind, whose: ofDevice, how: func(dir folder, as string) error {
		return x.staging.move(name, dir, as)
	}})
	if err != nil {
		return err
	}
	c := Conflict{Path: d.path, Kind: KindKept}
	if to != d.path {
		c.Aside = to
	}
	return x.conflict(c)
}

// release opens a new file that has no name, and removes it.
func (x *executor) release(i int) error {
	m := &x.made[i]
	name := newName(i)
	if _, err := x.staging.lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if m.named && m.kind != tree.KindDir && x.policy != DeviceWins {
		return errors.New("BUG: it has got no name")
	}
	if !x.resumed && m.kind != tree.KindSymlink && (!m.named || m.kind == tree.KindFile) {
		if err := x.keepOpen(m, name); err != nil {
			return err
		}
	}
	return x.staging.remove(name, m.kind == tree.KindDir)
}

// keepOpen opens what is about to be removed.
func (x *executor) keepOpen(m *made, name string) (err error) {
	if m.kind == tree.KindDir {
		d, err := x.staging.enter(name)
		if err != nil {
			return err
		}
		defer d.close()
		x.res.unnamed[m.ino], err = d.handle()
		return err
	}
	f, err := x.staging.open(name, true)
	if err != nil {
		return err
	}
	x.res.unnamed[m.ino], err = detach(f)
	return err
}

// finish removes the staging folder. The times of the directory itself are then as they should be.
func (x *executor) finish() error {
	before, err := x.top.stat()
	if err != nil {
		return err
	}
	mtime, atime := before.mtime, uint64(0)
	for _, t := range x.times {
		if t.path == "" {
			mtime, atime = t.mtime, t.atime
			x.changed[""] = true
		}
	}
	list, err := x.staging.names()
	if err != nil {
		return err
	}
	for _, name := range list {
		if name[0] != 'p' { // half of a version for laying aside
			return fmt.Errorf("%q is left in %s%s of %s: move it to where it belongs", name, stagingPrefix, x.id, x.dir)
		}
		if err := x.staging.remove(name, false); err != nil {
			return err
		}
	}
	if err := x.top.remove(stagingPrefix+x.id, true); err != nil {
		return err
	}
	if err := x.top.setTimes(".", mtime, atime); err != nil && !isItem(err) {
		return err
	}
	return x.top.sync()
}

func appendIndex(b []byte, i int) []byte { return binary.AppendUvarint(b, uint64(i)) }
