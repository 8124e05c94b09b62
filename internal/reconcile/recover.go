package reconcile

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// Recover goes through the plans in a folder: those that do not count are dropped, those that do are carried out. only is the
// one directory to be looked at, "": all. Plans that a living process has in hand are left alone. Of several errors it
// returns all, and goes on after each.
func Recover(ctx context.Context, state, only string, log func(format string, args ...any)) ([]*Result, error) {
	return real.recover(ctx, state, only, log)
}

func (sys system) recover(ctx context.Context, state, only string, log func(format string, args ...any)) ([]*Result, error) {
	if log == nil {
		log = func(string, ...any) {}
	}
	if only != "" {
		if real, err := realPath(only); err == nil {
			only = real
		}
	}
	d, err := sys.open(state)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("folder for plans: %w", err)
	}
	defer d.close()
	names, err := d.names()
	if err != nil {
		return nil, fmt.Errorf("folder for plans: %w", err)
	}
	slices.Sort(names)
	var all []*Result
	var errs []error
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			errs = append(errs, err)
			break
		}
		r := recovery{sys: sys, state: d, only: only, log: log}
		res, err := r.one(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("plan %s: %w", name, err))
		}
		if res != nil {
			all = append(all, res)
		}
	}
	return all, errors.Join(errs...)
}

// Pending lists the directories that have plans which count and are not carried out yet, or are just being.
func Pending(state string) ([]string, error) {
	d, err := real.open(state)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("folder for plans: %w", err)
	}
	defer d.close()
	names, err := d.names()
	if err != nil {
		return nil, fmt.Errorf("folder for plans: %w", err)
	}
	var dirs []string
	for _, name := range names {
		if !strings.HasSuffix(name, planSuffix) {
			continue
		}
		h, _, err := peek(d, name)
		if err != nil {
			return nil, fmt.Errorf("plan %s: %w", name, err)
		}
		if h != nil {
			dirs = append(dirs, h.dir)
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs), nil
}

// peek reads what directory a plan is for, and tells whether nobody has it in hand. nil: there is none, or none that can be read.
func peek(state folder, name string) (h *header, free bool, err error) {
	f, err := state.open(name, true)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	h, _, err = readHeader(f)
	if errors.Is(err, ErrDamaged) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	switch err := f.lock(); {
	case errors.Is(err, errInUse):
		return h, false, nil
	case err != nil:
		return nil, false, err
	}
	return h, true, nil
}

func readHeader(f file) (*header, int, error) {
	b := make([]byte, maxHeader)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	return decodeHeader(b[:n])
}

type recovery struct {
	sys   system
	state folder
	only  string
	log   func(format string, args ...any)
}

func (r *recovery) one(name string) (*Result, error) {
	id, sort, ok := strings.Cut(name, ".")
	if !ok {
		return nil, nil
	}
	switch "." + sort {
	case newSuffix, planSuffix:
	case noteSuffix:
		return nil, r.orphan(id, name)
	default:
		return nil, nil
	}
	f, err := r.state.open(name, true)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // another has been here
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.lock(); err != nil {
		if errors.Is(err, errInUse) {
			return nil, nil
		}
		return nil, err
	}
	h, n, err := readHeader(f)
	if "."+sort == newSuffix {
		return nil, r.drop(id, name, h, err)
	}
	if err != nil {
		return nil, err
	}
	if r.only != "" && h.dir != r.only {
		return nil, nil
	}
	if _, err := r.state.lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil, nil // another has finished it before the lock was ours
	}
	return r.finish(id, h, n, f)
}

// orphan removes notes whose plan is gone.
func (r *recovery) orphan(id, name string) error {
	if _, err := r.state.lstat(id + planSuffix); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return gone(r.state.remove(name, false))
}

// gone is an error of removing something, unless it is gone.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// drop ends a plan that does not count. One whose header is not whole has done nothing else yet.
func (r *recovery) drop(id, name string, h *header, err error) error {
	if err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	if err == nil {
		if r.only != "" && h.dir != r.only {
			return nil
		}
		top, err := r.sys.open(h.dir)
		if err != nil && !isItem(err) {
			return err
		}
		if err == nil {
			defer top.close()
			if err := dropStaging(top, id); err != nil {
				return fmt.Errorf("drop it: %w", err)
			}
		}
		r.log("changes of %s by a run that was cut off did not count, and are dropped", h.dir)
	}
	return gone(r.state.remove(name, false))
}

// finish carries out a plan that counts.
func (r *recovery) finish(id string, h *header, n int, f file) (*Result, error) {
	s, err := readSteps(f, h, n)
	if err != nil {
		return nil, fmt.Errorf("%w: what it had taken out of %s stands in %s%s there", err, h.dir, stagingPrefix, id)
	}
	x := &executor{header: *h, steps: s, id: id, state: r.state, data: f, log: r.log, resumed: true}
	if x.top, err = r.sys.open(h.dir); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	defer func() {
		x.state, x.data = nil, nil // they are closed elsewhere
		_ = x.close()              // nothing is written through the others any more
	}()
	st, err := x.top.stat()
	if err == nil && st.ino != h.num {
		err = fmt.Errorf("%s is another directory now", h.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	x.init()
	x.staging, err = x.top.enter(stagingPrefix + id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, x.forget() // all was done but this
	}
	if err == nil {
		x.notes, x.progress, err = openNotes(r.state, id+noteSuffix)
	}
	if err == nil {
		err = x.checkData()
	}
	if err == nil {
		err = x.run()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: in %s: %w", ErrUnfinished, h.dir, err)
	}
	r.log("changes of %s that a run had begun are finished", h.dir)
	return x.res, x.forget()
}

// checkData sees that all data is there, before any of it is used.
func (x *executor) checkData() error {
	if x.phase > phaseWrite {
		return nil
	}
	for i := range x.writes {
		for _, p := range x.writes[i].pieces {
			if p.form != formData {
				continue
			}
			buf := make([]byte, p.size)
			if err := readFull(x.data, buf, p.off); err != nil {
				return fmt.Errorf("read plan: %w", err)
			}
			if tree.IDOf(buf) != p.check {
				return fmt.Errorf("%w: data of %d bytes at %d", ErrDamaged, p.size, p.off)
			}
		}
	}
	return nil
}

// readSteps reads the end of a plan.
func readSteps(f file, h *header, headSize int) (*steps, error) {
	st, err := f.stat()
	if err != nil {
		return nil, err
	}
	if st.size < uint64(headSize+trailerSize) {
		return nil, fmt.Errorf("%w: it is cut off", ErrDamaged)
	}
	t := make([]byte, trailerSize)
	end := st.size - trailerSize
	if err := readFull(f, t, end); err != nil {
		return nil, err
	}
	off, n := binary.LittleEndian.Uint64(t), binary.LittleEndian.Uint64(t[8:])
	if string(t[48:]) != planEnd || off < uint64(headSize) || off > end || n != end-off || n > maxMeta {
		return nil, fmt.Errorf("%w: it is cut off", ErrDamaged)
	}
	meta := make([]byte, n)
	if err := readFull(f, meta, off); err != nil {
		return nil, err
	}
	if sum := sumOf(h.append(nil), meta); string(sum[:]) != string(t[16:48]) {
		return nil, fmt.Errorf("%w: its checksum is another", ErrDamaged)
	}
	return decodeSteps(meta, off)
}

// OpenUnnamed opens a new file of the Delta that has no name: it is gone when nobody has it open any more. flags are those of
// os.OpenFile; they may be ignored for another opening of the same file, which can read and write.
func (r *Result) OpenUnnamed(ino uint64, flags int) (*os.File, error) {
	f, ok := r.unnamed[ino]
	if !ok {
		return nil, fmt.Errorf("new file %d: %w", ino, fs.ErrNotExist)
	}
	g, err := reopen(f, flags)
	if err != nil {
		return nil, fmt.Errorf("new file %d: %w", ino, err)
	}
	return g, nil
}

// Close ends the use of files without a name. Those that OpenUnnamed has opened stay open.
func (r *Result) Close() error {
	var errs []error
	for _, f := range r.unnamed {
		errs = append(errs, f.Close())
	}
	r.unnamed = nil
	return errors.Join(errs...)
}
