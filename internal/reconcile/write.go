package reconcile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"

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
	bulk := hasSyncAll && len(x.writes) > many
	for lo := 0; lo < len(x.writes); lo += writeBatch {
		if err := x.writeSome(lo, min(lo+writeBatch, len(x.writes)), bulk); err != nil {
			return err
		}
	}
	if bulk {
		if err := x.top.syncAll(); err != nil {
			return fmt.Errorf("sync %s: %w", x.dir, err)
		}
	}
	return nil
}

func (x *executor) writeSome(lo, hi int, bulk bool) error {
	var ready []int
	var begun []byte
	for i := lo; i < hi; i++ {
		x.changed[x.writes[i].path] = true
		if x.done[i] || x.skipped[i] {
			continue
		}
		ok, err := x.examine(i)
		if err != nil {
			return fmt.Errorf("change %q: %w", x.writes[i].path, err)
		}
		if !ok {
			continue
		}
		ready = append(ready, i)
		if !x.begun[i] {
			begun = appendIndex(begun, i)
		}
	}
	if len(begun) > 0 {
		if err := x.note(noteBegun, begun, true); err != nil {
			return err
		}
	}
	for _, i := range ready {
		if err := x.write(i, bulk); err != nil {
			return fmt.Errorf("change %q: %w", x.writes[i].path, err)
		}
	}
	return nil
}

// examine tells whether a file can be changed where it is. Else what has to be done instead is done.
func (x *executor) examine(i int) (bool, error) {
	w := &x.writes[i]
	st, kind, err := x.standing(w)
	if err != nil {
		return false, err
	}
	if x.begun[i] && kind == KindChanged && (w.was.same(&st) || x.policy == CloneWins && st.kind == tree.KindFile) {
		return true, nil // we have begun to change it ourselves
	}
	if kind == "" {
		return true, nil
	}
	return x.spoiled(i, kind, &st)
}

// standing tells how a file is other than it was.
func (x *executor) standing(w *write) (st stat, kind string, err error) {
	err = in(x.top, w.path, func(d folder, name string) (err error) {
		if st, err = d.lstat(name); err != nil || !w.was.intact(&st) {
			return err
		}
		if !w.written {
			return nil
		}
		f, err := d.open(name, true)
		if err != nil {
			if isItem(err) && !errors.Is(err, fs.ErrNotExist) {
				kind = KindDenied
				return nil
			}
			return err
		}
		return f.Close()
	})
	switch {
	case err != nil && isItem(err):
		return stat{}, KindRemoved, nil
	case err != nil || kind != "":
		return st, kind, err
	case !w.was.intact(&st):
		return st, KindChanged, nil
	}
	return st, "", nil
}

// spoiled deals with a file that is not as it was. It may still have to be changed, when the device's version is safe.
func (x *executor) spoiled(i int, kind string, st *stat) (bool, error) {
	w := &x.writes[i]
	c := Conflict{Path: w.final, Kind: kind}
	switch {
	case w.nameless:
		return false, x.skip(i) // it goes, or the device's stays: that is seen to later
	case x.policy == CloneWins && kind == KindChanged && st.kind == w.was.kind:
		if w.written {
			if err := x.keepDevices(i); err != nil {
				return false, err
			}
		}
		return true, x.conflict(c)
	case w.written && x.policy != DeviceWins:
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
	x.skipped[i] = true
	return x.note(noteSkipped, appendIndex(nil, i), true)
}

// write changes a file.
func (x *executor) write(i int, bulk bool) error {
	w := &x.writes[i]
	var seen stat
	late := KindRemoved
	err := in(x.top, w.path, func(d folder, name string) (err error) {
		if seen, err = d.lstat(name); err != nil {
			return err
		}
		if !w.written {
			late = ""
			return x.setTimes(d, name, w, bulk)
		}
		late = KindChanged
		f, err := d.open(name, true)
		if err != nil {
			return err
		}
		defer f.Close()
		now, err := f.stat()
		if err != nil {
			return err
		}
		if now.kind != tree.KindFile || now.ino != seen.ino || !x.begun[i] && x.policy != CloneWins && !w.was.intact(&now) {
			seen = now
			return nil
		}
		late = ""
		if err := x.fill(f, w); err != nil {
			return err
		}
		if w.mtime != 0 || w.atime != 0 {
			if err := d.setTimes(name, w.mtime, w.atime); err != nil && !isItem(err) {
				return err
			}
		}
		if bulk {
			return nil
		}
		if err := f.sync(); err != nil {
			return err
		}
		return x.note(noteDone, appendIndex(nil, i), false)
	})
	if late == "" || err != nil && !isItem(err) {
		return err
	}
	again, err := x.spoiled(i, late, &seen)
	if err != nil || !again {
		return err
	}
	return x.write(i, bulk)
}

// setTimes is a write of times alone. They are set again after a crash: no note says that it is done.
func (x *executor) setTimes(d folder, name string, w *write, bulk bool) error {
	err := d.setTimes(name, w.mtime, w.atime)
	if err != nil || bulk || w.was.kind != tree.KindFile {
		if err != nil && isItem(err) {
			return nil
		}
		return err
	}
	f, err := d.open(name, false)
	if err != nil {
		if isItem(err) {
			return nil // what may not be read cannot be synced
		}
		return err
	}
	defer f.Close()
	return f.sync()
}

// fill makes a file's bytes what they are to be, whatever of that was done before.
func (x *executor) fill(f file, w *write) error {
	st, err := f.stat()
	if err != nil {
		return err
	}
	tail := uint64(0) // behind it there are zeros only
	at := uint64(0)
	for _, p := range w.pieces {
		if at += p.size; p.form != formHole {
			tail = at
		}
	}
	if st.size > tail {
		if err := f.truncate(tail); err != nil {
			return err
		}
		st.size = tail
	}
	at = 0
	for _, p := range w.pieces {
		switch {
		case p.form == formHole && at < st.size:
			err = zero(f, at, min(p.size, st.size-at))
		case p.form == formData:
			err = x.copyData(f, at, p)
		}
		if err != nil {
			return err
		}
		at += p.size
	}
	return f.truncate(w.size)
}

// copyData writes a piece from the plan.
func (x *executor) copyData(f file, at uint64, p piece) error {
	buf := make([]byte, p.size)
	if err := readFull(x.data, buf, p.off); err != nil {
		return fmt.Errorf("read plan: %w", err)
	}
	if x.resumed && tree.IDOf(buf) != p.check {
		return fmt.Errorf("%w: data of %d bytes at %d", ErrDamaged, p.size, p.off)
	}
	_, err := f.WriteAt(buf, int64(at))
	return err
}

// zero makes a range of zeros.
func zero(f file, off, n uint64) error {
	err := f.punch(off, n)
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
func (x *executor) stage(sort byte, i int, mode uint32, mtime uint64, fill func(file) error) error {
	name, half := versionName(sort, i), versionName('p', i)
	if _, err := x.staging.lstat(name); err == nil {
		return nil
	}
	if err := x.staging.remove(half, false); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := x.staging.create(half)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := fill(f); err != nil {
		return err
	}
	if err := f.chmod(mode); err != nil && !isItem(err) {
		return err
	}
	if mtime != 0 {
		if err := x.staging.setTimes(half, mtime, 0); err != nil && !isItem(err) {
			return err
		}
	}
	if err := f.sync(); err != nil {
		return err
	}
	if err := x.staging.move(half, x.staging, name); err != nil {
		return err
	}
	return x.staging.sync()
}

// keepDevices copies the device's version.
func (x *executor) keepDevices(i int) error {
	return x.withPresent(&x.writes[i], func(present file, st *stat) error {
		if present == nil {
			return nil // it went away: then nothing of it is overwritten
		}
		return x.stage('d', i, st.mode, st.mtime, func(f file) error {
			if err := copyRange(f, present, 0, st.size); err != nil {
				return err
			}
			return f.truncate(st.size)
		})
	})
}

// withPresent opens the file that is where one was that a write was to change. nil: there is none.
func (x *executor) withPresent(w *write, fn func(present file, st *stat) error) error {
	var f file
	var st stat
	err := in(x.top, w.path, func(d folder, name string) (err error) {
		if st, err = d.lstat(name); err != nil || st.kind != tree.KindFile {
			return err
		}
		f, err = d.open(name, false)
		return err
	})
	if err != nil && !isItem(err) {
		return err
	}
	if f == nil {
		return fn(nil, nil)
	}
	defer f.Close()
	if st, err = f.stat(); err != nil {
		return err
	}
	if st.kind != tree.KindFile {
		return fn(nil, nil)
	}
	return fn(f, &st)
}

// assemble makes the clone's version of a file. It tells whether bytes that were to be kept may be other ones.
func (x *executor) assemble(i int, kind string) (mixed bool, err error) {
	w := &x.writes[i]
	mode, was := w.mode, w.mode
	err = x.withPresent(w, func(present file, st *stat) error {
		if present != nil {
			mode = st.mode & (was | 0o700) // of two answers to who may read it the stricter
		}
		mixed = !keeps(w, present, st)
		sort := byte('c')
		if kind == KindRemoved && !mixed && !w.elsewhere {
			sort = 'r'
		}
		return x.stage(sort, i, mode, w.mtime, func(f file) error {
			at := uint64(0)
			for _, p := range w.pieces {
				var err error
				switch {
				case p.form == formData:
					err = x.copyData(f, at, p)
				case p.form == formKept && present != nil && at < st.size:
					err = copyRange(f, present, at, min(p.size, st.size-at))
				}
				if err != nil {
					return err
				}
				at += p.size
			}
			return f.truncate(w.size)
		})
	})
	return mixed, err
}

// copyRange copies bytes to the same place in another file, leaving out zeros. A source that ends early leaves the rest zero.
func copyRange(to, from file, off, n uint64) error {
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
func keeps(w *write, present file, st *stat) bool {
	at, chunk, from := uint64(0), 0, uint64(0)
	for _, p := range w.pieces {
		start := at
		at += p.size
		if p.form != formKept {
			continue
		}
		if present == nil {
			return false
		}
		for chunk < len(w.chunks) && from+w.chunks[chunk].Size <= start {
			from += w.chunks[chunk].Size
			chunk++
		}
		for from < at {
			if chunk == len(w.chunks) || from+w.chunks[chunk].Size > st.size || !holds(present, from, w.chunks[chunk]) {
				return false
			}
			from += w.chunks[chunk].Size
			chunk++
		}
	}
	return true
}

// holds tells whether a file has a chunk at a place.
func holds(f file, off uint64, c tree.Chunk) bool {
	if !c.Hole() {
		buf := make([]byte, min(c.Size, tree.MaxChunk+1))
		return c.Size <= tree.MaxChunk && readFull(f, buf, off) == nil && tree.IDOf(buf) == c.ID
	}
	buf := make([]byte, min(c.Size, block))
	zeros := make([]byte, len(buf))
	for n := c.Size; n > 0; {
		part := buf[:min(n, block)]
		if readFull(f, part, off) != nil || !bytes.Equal(part, zeros[:len(part)]) {
			return false
		}
		off, n = off+uint64(len(part)), n-uint64(len(part))
	}
	return true
}
