package reconcile

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/clonecloud/clonecloud/internal/reconcile/disk"
	"github.com/clonecloud/clonecloud/internal/reconcile/plan"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// many files or folders are made durable all at once, where the system can do that.
var many = 16

// executor carries out a plan that counts. Every step looks whether it has been done.
type executor struct {
	plan.Header
	*plan.Steps
	*plan.Progress
	id      string
	state   disk.Folder
	top     disk.Folder // the directory
	staging disk.Folder
	data    disk.File // the plan's
	notes   *notes
	log     func(format string, args ...any)
	dry     bool // nothing is changed: all but data is tried on a shadow
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
	x.spare, x.among = x.Spares()
	for i := range x.Displaced {
		if x.Displaced[i].Was.Kind == tree.KindDir {
			x.inside[x.Displaced[i].Path] = i
		}
	}
}

func (x *executor) run() error {
	for _, p := range []struct {
		phase int
		steps int
		do    func() error
	}{
		{plan.PhaseWrite, len(x.Writes), x.writeAll},
		{plan.PhaseDisplace, len(x.Displaced), x.displaceAll},
		{plan.PhasePlace, 1, x.placeAll},
	} {
		if x.Phase > p.phase || p.steps == 0 {
			continue
		}
		if err := p.do(); err != nil {
			return err
		}
		if p.phase == plan.PhasePlace {
			break
		}
		if err := x.note(plan.NotePhase, []byte{byte(p.phase + 1)}, true); err != nil {
			return err
		}
		x.Phase = p.phase + 1
	}
	if err := x.removeAll(); err != nil {
		return err
	}
	if err := x.finish(); err != nil {
		return err
	}
	for i := range x.Conflicts {
		if c := &x.Conflicts[i]; c.Aside != "" && !x.exists(c.Aside) {
			c.Aside = x.resolve(c.Aside) // what it is in has got another name itself
		}
	}
	x.res.Conflicts = x.Conflicts
	x.res.Changed = slices.Sorted(maps.Keys(x.changed))
	return nil
}

// note writes down what must be known after a crash. With now it is durable on return.
func (x *executor) note(kind uint8, payload []byte, now bool) error {
	if x.dry {
		return nil
	}
	if x.notes == nil {
		n, _, err := openNotes(x.state, x.id+noteSuffix)
		if err != nil {
			return fmt.Errorf("write notes of a plan: %w", err)
		}
		x.notes = n
	}
	err := x.notes.append(kind, payload)
	if err == nil && now {
		err = x.notes.f.Sync()
	}
	if err != nil {
		return fmt.Errorf("write notes of a plan: %w", err)
	}
	return nil
}

func (x *executor) conflict(c Conflict) error {
	before := len(x.Conflicts)
	i, known := x.ByPath[c.Path]
	var old Conflict
	if known {
		old = x.Conflicts[i]
	}
	now := x.Add(c)
	if known && old == now {
		return nil
	}
	if len(x.Conflicts) > before || c.Aside != "" {
		x.log("%s", now.String())
	}
	return x.note(plan.NoteConflict, c.Append(nil), true)
}

// resolve is where a path of the plan stands that something on it did not get.
func (x *executor) resolve(path string) string {
	if len(x.Moved) == 0 {
		return path
	}
	for at := path; at != ""; at, _ = disk.Split(at) {
		if to, ok := x.Moved[at]; ok {
			return to + path[len(at):]
		}
	}
	return path
}

func (x *executor) redirect(from, to string) error {
	if from == to || x.Moved[from] == to {
		return nil
	}
	x.Moved[from] = to
	return x.note(plan.NoteMoved, plan.AppendString(plan.AppendString(nil, from), to), true)
}

// touch remembers a path whose name has come or gone.
func (x *executor) touch(path string) {
	dir, _ := disk.Split(path)
	x.touched[dir] = true
	x.changed[path] = true
}

// syncTouched makes names durable that have changed in folders; find says where a folder is now.
func (x *executor) syncTouched(find func(path string) (disk.Folder, error)) error {
	list := slices.Sorted(maps.Keys(x.touched))
	clear(x.touched)
	if disk.HasSyncAll && len(list) > many {
		return x.top.SyncAll()
	}
	for _, path := range list {
		d, err := find(path)
		if err != nil {
			if disk.IsItem(err) {
				continue // it has gone since
			}
			return err
		}
		err = d.Sync()
		_ = d.Close() // was read only
		if err != nil {
			return err
		}
	}
	return nil
}

func (x *executor) find(path string) (disk.Folder, error) { return disk.Walk(x.top, path) }

// was finds what stood at a path before displacement, also inside of what is displaced already.
func (x *executor) was(path string) (disk.Folder, error) {
	d, err := disk.Walk(x.top, path)
	if err == nil || !disk.IsItem(err) {
		return d, err
	}
	for at := path; at != ""; at, _ = disk.Split(at) {
		i, ok := x.inside[at]
		if !ok {
			continue
		}
		if _, serr := x.staging.Lstat(plan.OldName(i)); serr == nil {
			return disk.Walk(x.staging, plan.OldName(i)+path[len(at):])
		}
	}
	return nil, err
}

// removeAll deletes what was displaced and has no place, and then sets times of directories.
func (x *executor) removeAll() error {
	for i := range x.Displaced {
		if err := x.remove(i); err != nil {
			return fmt.Errorf("remove %q: %w", x.Displaced[i].Path, err)
		}
	}
	for i := range x.Made {
		if err := x.release(i); err != nil {
			return fmt.Errorf("new file %d: %w", x.Made[i].Ino, err)
		}
	}
	for i := range x.Times {
		t := &x.Times[i]
		if t.Path == "" {
			continue // at the very end
		}
		path := x.resolve(t.Path)
		err := disk.In(x.top, path, func(d disk.Folder, name string) error {
			st, err := d.Lstat(name)
			if err != nil || st.Kind != tree.KindDir {
				return err
			}
			x.changed[path] = true
			x.touched[path] = true
			return d.SetTimes(name, t.Mtime, t.Atime)
		})
		if err != nil && !disk.IsItem(err) {
			return fmt.Errorf("times of %q: %w", path, err)
		}
	}
	return x.syncTouched(x.find)
}

func (x *executor) remove(i int) error {
	d := &x.Displaced[i]
	name := plan.OldName(i)
	st, err := x.staging.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Kind == tree.KindDir {
		err := x.staging.Remove(name, true)
		if err == nil || !disk.IsNotEmpty(err) {
			return err
		}
		return x.putBack(d, name)
	}
	mine := d.Write >= 0 && !x.Skipped[d.Write]
	if st.Nlink < 2 && (!d.Gone || !mine && !d.Was.Unchanged(&st)) {
		return x.putBack(d, name)
	}
	return x.staging.Remove(name, false)
}

// putBack gives the device's version its name again: it was changed after it was looked at.
func (x *executor) putBack(d *plan.Displacement, name string) error {
	to, err := x.put(putting{path: d.Path, kind: d.Was.Kind, whose: ofDevice, how: func(dir disk.Folder, as string) error {
		return x.staging.Move(name, dir, as)
	}})
	if err != nil {
		return err
	}
	c := Conflict{Path: d.Path, Kind: KindKept}
	if to != d.Path {
		c.Aside = to
	}
	return x.conflict(c)
}

// release opens a new file that has no name, and removes it.
func (x *executor) release(i int) error {
	m := &x.Made[i]
	name := plan.NewName(i)
	if _, err := x.staging.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if m.Named && m.Kind != tree.KindDir && x.Policy != DeviceWins {
		return errors.New("BUG: it has got no name")
	}
	if !x.resumed && m.Kind != tree.KindSymlink && (!m.Named || m.Kind == tree.KindFile) {
		if err := x.keepOpen(m, name); err != nil {
			return err
		}
	}
	return x.staging.Remove(name, m.Kind == tree.KindDir)
}

// keepOpen opens what is about to be removed.
func (x *executor) keepOpen(m *plan.Made, name string) (err error) {
	if m.Kind == tree.KindDir {
		d, err := x.staging.Enter(name)
		if err != nil {
			return err
		}
		defer d.Close()
		x.res.unnamed[m.Ino], err = d.Handle()
		return err
	}
	f, err := x.staging.Open(name, true)
	if err != nil {
		return err
	}
	x.res.unnamed[m.Ino], err = disk.Detach(f)
	return err
}

// finish removes the staging folder. The times of the directory itself are then as they should be.
func (x *executor) finish() error {
	list, err := x.staging.Names()
	if err != nil {
		return err
	}
	half := map[string]bool{}
	for i := range x.Writes {
		half[versionName('p', i)] = true
	}
	for _, name := range list {
		if half[name] {
			err = x.staging.Remove(name, false)
		} else {
			err = x.foreign(name)
		}
		if err != nil {
			return err
		}
	}
	if err := x.syncTouched(x.find); err != nil {
		return err
	}
	before, err := x.top.Stat()
	if err != nil {
		return err
	}
	if err := x.top.Remove(plan.StagingPrefix+x.id, true); err != nil {
		return err
	}
	return x.timesOfTop(before.Mtime)
}

// foreign gives something a name that another has put into the staging folder.
func (x *executor) foreign(name string) error {
	st, err := x.staging.Lstat(name)
	if err != nil {
		return err
	}
	_, err = x.put(putting{path: name, kind: st.Kind, whose: ofDevice, aside: true, how: func(dir disk.Folder, as string) error {
		return x.staging.Move(name, dir, as)
	}})
	return err
}

// timesOfTop sets the times of the directory, durably: mtime if the plan has none.
func (x *executor) timesOfTop(mtime uint64) error {
	atime := uint64(0)
	for _, t := range x.Times {
		if t.Path == "" {
			x.changed[""] = true
			atime = t.Atime
			if t.Mtime != 0 {
				mtime = t.Mtime
			}
		}
	}
	if mtime != 0 || atime != 0 {
		if err := x.top.SetTimes(".", mtime, atime); err != nil && !disk.IsItem(err) {
			return err
		}
	}
	return x.top.Sync()
}
