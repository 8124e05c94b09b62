package reconcile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"

	"github.com/clonecloud/clonecloud/internal/reconcile/disk"
	"github.com/clonecloud/clonecloud/internal/reconcile/plan"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// writeBatch is how many files are noted at once before they are changed.
const writeBatch = 64

const block = 1 << 20

// versionName is the name in the staging folder of a whole version of a file that a write was to change: 'c' the clone's that is
// to be laid aside, 'r' the clone's that gets the name, 'd' the device's to be laid aside, 'p' half of one.
func versionName(sort byte, i int) string { return string(sort) + strconv.Itoa(i) }

// writeAll changes contents in place. Before a file is changed a note says so: after a crash its state may be anything between
// the two.
func (x *executor) writeAll() error {
	bulk := disk.HasSyncAll && len(x.Writes) > many
	for lo := 0; lo < len(x.Writes); lo += writeBatch {
		if err := x.writeSome(lo, min(lo+writeBatch, len(x.Writes)), bulk); err != nil {
			return err
		}
	}
	if bulk {
		if err := x.top.SyncAll(); err != nil {
			return fmt.Errorf("sync %s: %w", x.Dir, err)
		}
	}
	return nil
}

func (x *executor) writeSome(lo, hi int, bulk bool) error {
	var ready []int
	var begun []byte
	for i := lo; i < hi; i++ {
		x.changed[x.Writes[i].Path] = true
		if x.Done[i] || x.Skipped[i] {
			continue
		}
		ok, err := x.examine(i)
		if err != nil {
			return fmt.Errorf("change %q: %w", x.Writes[i].Path, err)
		}
		if !ok {
			continue
		}
		ready = append(ready, i)
		if !x.Begun[i] {
			begun = plan.AppendIndex(begun, i)
		}
	}
	if len(begun) > 0 {
		if err := x.note(plan.NoteBegun, begun, true); err != nil {
			return err
		}
	}
	for _, i := range ready {
		if err := x.write(i, bulk); err != nil {
			return fmt.Errorf("change %q: %w", x.Writes[i].Path, err)
		}
	}
	return nil
}

// examine tells whether a file can be changed where it is. Else what has to be done instead is done.
func (x *executor) examine(i int) (bool, error) {
	w := &x.Writes[i]
	st, kind, err := x.standing(w)
	if err != nil {
		return false, err
	}
	if x.Begun[i] && kind == KindChanged && (w.Was.Same(&st) || x.Policy == CloneWins && st.Kind == tree.KindFile) {
		return true, nil // we have begun to change it ourselves
	}
	if kind == "" {
		return true, nil
	}
	return x.spoiled(i, kind, &st)
}

// standing tells how a file is other than it was.
func (x *executor) standing(w *plan.Write) (st disk.Stat, kind string, err error) {
	err = disk.In(x.top, w.Path, func(d disk.Folder, name string) (err error) {
		if st, err = d.Lstat(name); err != nil || !w.Was.Intact(&st) {
			return err
		}
		if !w.Written {
			return nil
		}
		f, err := d.Open(name, true)
		if err != nil {
			if disk.IsItem(err) && !errors.Is(err, fs.ErrNotExist) {
				kind = KindDenied
				return nil
			}
			return err
		}
		return f.Close()
	})
	switch {
	case err != nil && disk.IsItem(err):
		return disk.Stat{}, KindRemoved, nil
	case err != nil || kind != "":
		return st, kind, err
	case !w.Was.Intact(&st):
		return st, KindChanged, nil
	}
	return st, "", nil
}

// spoiled deals with a file that is not as it was. It may still have to be changed, when the device's version is safe.
func (x *executor) spoiled(i int, kind string, st *disk.Stat) (bool, error) {
	w := &x.Writes[i]
	c := Conflict{Path: w.Final, Kind: kind}
	switch {
	case w.Nameless:
		return false, x.skip(i) // it goes, or the device's stays: that is seen to later
	case x.Policy == CloneWins && kind == KindChanged && st.Kind == w.Was.Kind:
		if w.Written {
			if err := x.keepDevices(i); err != nil {
				return false, err
			}
		}
		return true, x.conflict(c)
	case w.Written && x.Policy != DeviceWins:
		mixed, err := x.assemble(i, kind)
		if err != nil {
			return false, err
		}
		c.Mixed = mixed
	}
	if err := x.conflict(c); err != nil {
		return false, err
	}
	return false, x.skip(i)
}

func (x *executor) skip(i int) error {
	x.Skipped[i] = true
	return x.note(plan.NoteSkipped, plan.AppendIndex(nil, i), true)
}

// write changes a file.
func (x *executor) write(i int, bulk bool) error {
	w := &x.Writes[i]
	var seen disk.Stat
	late := KindRemoved
	err := disk.In(x.top, w.Path, func(d disk.Folder, name string) (err error) {
		if seen, err = d.Lstat(name); err != nil {
			return err
		}
		if !w.Written {
			late = ""
			return x.setTimes(d, name, w, bulk)
		}
		late = KindChanged
		f, err := d.Open(name, true)
		if err != nil {
			return err
		}
		defer f.Close()
		now, err := f.Stat()
		if err != nil {
			return err
		}
		if now.Kind != tree.KindFile || now.Ino != seen.Ino || !x.Begun[i] && x.Policy != CloneWins && !w.Was.Intact(&now) {
			seen = now
			return nil
		}
		late = ""
		if err := x.fill(f, w); err != nil {
			return err
		}
		if w.Mtime != 0 || w.Atime != 0 {
			if err := d.SetTimes(name, w.Mtime, w.Atime); err != nil && !disk.IsItem(err) {
				return err
			}
		}
		if bulk {
			return nil
		}
		if err := f.Sync(); err != nil {
			return err
		}
		return x.note(plan.NoteDone, plan.AppendIndex(nil, i), false)
	})
	if late == "" || err != nil && !disk.IsItem(err) {
		return err
	}
	again, err := x.spoiled(i, late, &seen)
	if err != nil || !again {
		return err
	}
	return x.write(i, bulk)
}

// setTimes is a write of times alone. They are set again after a crash: no note says that it is done.
func (x *executor) setTimes(d disk.Folder, name string, w *plan.Write, bulk bool) error {
	err := d.SetTimes(name, w.Mtime, w.Atime)
	if err != nil || bulk || w.Was.Kind != tree.KindFile {
		if err != nil && disk.IsItem(err) {
			return nil
		}
		return err
	}
	f, err := d.Open(name, false)
	if err != nil {
		if disk.IsItem(err) {
			return nil // what may not be read cannot be synced
		}
		return err
	}
	defer f.Close()
	return f.Sync()
}

// fill makes a file's bytes what they are to be, whatever of that was done before.
func (x *executor) fill(f disk.File, w *plan.Write) error {
	if x.dry {
		return nil
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	tail := uint64(0) // behind it there are zeros only
	at := uint64(0)
	for _, p := range w.Pieces {
		if at += p.Size; p.Form != plan.FormHole {
			tail = at
		}
	}
	if st.Size > tail {
		if err := f.Truncate(tail); err != nil {
			return err
		}
		st.Size = tail
	}
	at = 0
	for _, p := range w.Pieces {
		switch {
		case p.Form == plan.FormHole && at < st.Size:
			err = zero(f, at, min(p.Size, st.Size-at))
		case p.Form == plan.FormData:
			err = x.copyData(f, at, p)
		}
		if err != nil {
			return err
		}
		at += p.Size
	}
	return f.Truncate(w.Size)
}

// copyData writes a piece from the plan.
func (x *executor) copyData(f disk.File, at uint64, p plan.Piece) error {
	buf := make([]byte, p.Size)
	if err := disk.ReadFull(x.data, buf, p.Off); err != nil {
		return fmt.Errorf("read plan: %w", err)
	}
	if x.resumed && tree.IDOf(buf) != p.Check {
		return fmt.Errorf("%w: data of %d bytes at %d", ErrDamaged, p.Size, p.Off)
	}
	_, err := f.WriteAt(buf, int64(at))
	return err
}

// zero makes a range of zeros.
func zero(f disk.File, off, n uint64) error {
	err := f.Punch(off, n)
	if err == nil || !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	buf := make([]byte, min(n, block))
	for n > 0 {
		part := min(n, block)
		if _, err := f.WriteAt(buf[:part], int64(off)); err != nil {
			return err
		}
		off, n = off+part, n-part
	}
	return nil
}

// stage makes a whole file in the staging folder, durably, unless it is there.
func (x *executor) stage(sort byte, i int, mode uint32, mtime uint64, fill func(disk.File) error) error {
	name, half := versionName(sort, i), versionName('p', i)
	if _, err := x.staging.Lstat(name); err == nil {
		return nil
	}
	if err := x.staging.Remove(half, false); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := x.staging.Create(half)
	if err != nil {
		return err
	}
	defer f.Close()
	if !x.dry {
		if err := fill(f); err != nil {
			return err
		}
	}
	if err := f.Chmod(mode); err != nil && !disk.IsItem(err) {
		return err
	}
	if mtime != 0 {
		if err := x.staging.SetTimes(half, mtime, 0); err != nil && !disk.IsItem(err) {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := x.staging.Move(half, x.staging, name); err != nil {
		return err
	}
	return x.staging.Sync()
}

// keepDevices copies the device's version.
func (x *executor) keepDevices(i int) error {
	return x.withPresent(&x.Writes[i], func(present disk.File, st *disk.Stat) error {
		if present == nil {
			return nil // it went away: then nothing of it is overwritten
		}
		return x.stage('d', i, st.Mode, st.Mtime, func(f disk.File) error {
			if err := copyRange(f, present, 0, st.Size); err != nil {
				return err
			}
			return f.Truncate(st.Size)
		})
	})
}

// withPresent opens the file that is where one was that a write was to change. nil: there is none.
func (x *executor) withPresent(w *plan.Write, fn func(present disk.File, st *disk.Stat) error) error {
	var f disk.File
	var st disk.Stat
	err := disk.In(x.top, w.Path, func(d disk.Folder, name string) (err error) {
		if st, err = d.Lstat(name); err != nil || st.Kind != tree.KindFile {
			return err
		}
		f, err = d.Open(name, false)
		return err
	})
	if err != nil && !disk.IsItem(err) {
		return err
	}
	if f == nil {
		return fn(nil, nil)
	}
	defer f.Close()
	if st, err = f.Stat(); err != nil {
		return err
	}
	if st.Kind != tree.KindFile {
		return fn(nil, nil)
	}
	return fn(f, &st)
}

// assemble makes the clone's version of a file. It tells whether bytes that were to be kept may be other ones.
func (x *executor) assemble(i int, kind string) (mixed bool, err error) {
	w := &x.Writes[i]
	mode, was := w.Mode, w.Mode
	err = x.withPresent(w, func(present disk.File, st *disk.Stat) error {
		if present != nil {
			mode = st.Mode & (was | 0o700) // of two answers to who may read it the stricter
		}
		mixed = !keeps(w, present, st)
		sort := byte('c')
		if kind == KindRemoved && !mixed && !w.Elsewhere {
			sort = 'r'
		}
		return x.stage(sort, i, mode, w.Mtime, func(f disk.File) error {
			at := uint64(0)
			for _, p := range w.Pieces {
				var err error
				switch {
				case p.Form == plan.FormData:
					err = x.copyData(f, at, p)
				case p.Form == plan.FormKept && present != nil && at < st.Size:
					err = copyRange(f, present, at, min(p.Size, st.Size-at))
				}
				if err != nil {
					return err
				}
				at += p.Size
			}
			return f.Truncate(w.Size)
		})
	})
	return mixed, err
}

// copyRange copies bytes to the same place in another file, leaving out zeros. A source that ends early leaves the rest zero.
func copyRange(to, from disk.File, off, n uint64) error {
	buf := make([]byte, min(n, block))
	zeros := make([]byte, len(buf))
	for n > 0 {
		part := buf[:min(n, block)]
		got, err := from.ReadAt(part, int64(off))
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if got == 0 {
			return nil
		}
		if !bytes.Equal(part[:got], zeros[:got]) {
			if _, err := to.WriteAt(part[:got], int64(off)); err != nil {
				return err
			}
		}
		off, n = off+uint64(got), n-uint64(got)
	}
	return nil
}

// keeps tells whether the bytes that a write keeps are for sure still what they were.
func keeps(w *plan.Write, present disk.File, st *disk.Stat) bool {
	at, chunk, from := uint64(0), 0, uint64(0)
	for _, p := range w.Pieces {
		start := at
		at += p.Size
		if p.Form != plan.FormKept {
			continue
		}
		if present == nil {
			return false
		}
		for chunk < len(w.Chunks) && from+w.Chunks[chunk].Size <= start {
			from += w.Chunks[chunk].Size
			chunk++
		}
		for from < at {
			if chunk == len(w.Chunks) || from+w.Chunks[chunk].Size > st.Size || !holds(present, from, w.Chunks[chunk]) {
				return false
			}
			from += w.Chunks[chunk].Size
			chunk++
		}
	}
	return true
}

// holds tells whether a file has a chunk at a place.
func holds(f disk.File, off uint64, c tree.Chunk) bool {
	if !c.Hole() {
		buf := make([]byte, min(c.Size, tree.MaxChunk+1))
		return c.Size <= tree.MaxChunk && disk.ReadFull(f, buf, off) == nil && tree.IDOf(buf) == c.ID
	}
	buf := make([]byte, min(c.Size, block))
	zeros := make([]byte, len(buf))
	for n := c.Size; n > 0; {
		part := buf[:min(n, block)]
		if disk.ReadFull(f, part, off) != nil || !bytes.Equal(part, zeros[:len(part)]) {
			return false
		}
		off, n = off+uint64(len(part)), n-uint64(len(part))
	}
	return true
}
