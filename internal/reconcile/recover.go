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

	"github.com/clonecloud/clonecloud/internal/reconcile/disk"
	"github.com/clonecloud/clonecloud/internal/reconcile/plan"
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
	defer d.Close()
	names, err := d.Names()
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
	defer d.Close()
	names, err := d.Names()
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
			dirs = append(dirs, h.Dir)
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs), nil
}

// peek reads what directory a plan is for, and tells whether nobody has it in hand. nil: there is none, or none that can be read.
func peek(state disk.Folder, name string) (h *plan.Header, free bool, err error) {
	f, err := state.Open(name, true)
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
	switch err := f.Lock(); {
	case errors.Is(err, disk.ErrInUse):
		return h, false, nil
	case err != nil:
		return nil, false, err
	}
	return h, true, nil
}

func readHeader(f disk.File) (*plan.Header, int, error) {
	b := make([]byte, maxHeader)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	return plan.DecodeHeader(b[:n])
}

type recovery struct {
	sys   system
	state disk.Folder
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
	f, err := r.state.Open(name, true)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // another has been here
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Lock(); err != nil {
		if errors.Is(err, disk.ErrInUse) {
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
	if r.only != "" && h.Dir != r.only {
		return nil, nil
	}
	if _, err := r.state.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil, nil // another has finished it before the lock was ours
	}
	return r.finish(id, h, n, f)
}

// orphan removes notes whose plan is gone.
func (r *recovery) orphan(id, name string) error {
	if _, err := r.state.Lstat(id + planSuffix); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return gone(r.state.Remove(name, false))
}

// gone is an error of removing something, unless it is gone.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// drop ends a plan that does not count. One whose header is not whole has done nothing else yet.
func (r *recovery) drop(id, name string, h *plan.Header, err error) error {
	if err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	if err == nil {
		if r.only != "" && h.Dir != r.only {
			return nil
		}
		top, err := r.sys.open(h.Dir)
		if err != nil && !disk.IsItem(err) {
			return err
		}
		if err == nil {
			defer top.Close()
			if err := dropStaging(top, id); err != nil {
				return fmt.Errorf("drop it: %w", err)
			}
		}
		r.log("changes of %s by a run that was cut off did not count, and are dropped", h.Dir)
	}
	return gone(r.state.Remove(name, false))
}

// finish carries out a plan that counts.
func (r *recovery) finish(id string, h *plan.Header, n int, f disk.File) (*Result, error) {
	s, err := readSteps(f, h, n)
	if err != nil {
		return nil, fmt.Errorf("%w: what it had taken out of %s stands in %s%s there", err, h.Dir, plan.StagingPrefix, id)
	}
	x := &executor{Header: *h, Steps: s, id: id, state: r.state, data: f, log: r.log, resumed: true}
	if x.top, err = r.sys.open(h.Dir); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	defer func() {
		x.state, x.data = nil, nil // they are closed elsewhere
		_ = x.close()              // nothing is written through the others any more
	}()
	st, err := x.top.Stat()
	if err == nil && st.Ino != h.Num {
		err = fmt.Errorf("%s is another directory now", h.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	x.init()
	x.staging, err = x.top.Enter(plan.StagingPrefix + id)
	if errors.Is(err, fs.ErrNotExist) {
		if err := x.timesOfTop(0); err != nil { // all else was done
			return nil, fmt.Errorf("%w: in %s: %w", ErrUnfinished, h.Dir, err)
		}
		return nil, x.forget()
	}
	if err == nil {
		x.notes, x.Progress, err = openNotes(r.state, id+noteSuffix)
	}
	if err == nil {
		err = x.checkData()
	}
	if err == nil {
		err = x.run()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: in %s: %w", ErrUnfinished, h.Dir, err)
	}
	r.log("changes of %s that a run had begun are finished", h.Dir)
	return x.res, x.forget()
}

// checkData sees that all data is there, before any of it is used.
func (x *executor) checkData() error {
	if x.Phase > plan.PhaseWrite {
		return nil
	}
	for i := range x.Writes {
		for _, p := range x.Writes[i].Pieces {
			if p.Form != plan.FormData {
				continue
			}
			buf := make([]byte, p.Size)
			if err := disk.ReadFull(x.data, buf, p.Off); err != nil {
				return fmt.Errorf("read plan: %w", err)
			}
			if tree.IDOf(buf) != p.Check {
				return fmt.Errorf("%w: data of %d bytes at %d", ErrDamaged, p.Size, p.Off)
			}
		}
	}
	return nil
}

// readSteps reads the end of a plan.
func readSteps(f disk.File, h *plan.Header, headSize int) (*plan.Steps, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size < uint64(headSize+trailerSize) {
		return nil, fmt.Errorf("%w: it is cut off", ErrDamaged)
	}
	t := make([]byte, trailerSize)
	end := st.Size - trailerSize
	if err := disk.ReadFull(f, t, end); err != nil {
		return nil, err
	}
	off, n := binary.LittleEndian.Uint64(t), binary.LittleEndian.Uint64(t[8:])
	if string(t[48:]) != planEnd || off < uint64(headSize) || off > end || n != end-off || n > maxMeta {
		return nil, fmt.Errorf("%w: it is cut off", ErrDamaged)
	}
	meta := make([]byte, n)
	if err := disk.ReadFull(f, meta, off); err != nil {
		return nil, err
	}
	if sum := sumOf(h.Append(nil), meta); string(sum[:]) != string(t[16:48]) {
		return nil, fmt.Errorf("%w: its checksum is another", ErrDamaged)
	}
	return plan.DecodeSteps(meta, off)
}

// OpenUnnamed opens a new file of the Delta that has no name: it is gone when nobody has it open any more. flags are those of
// os.OpenFile; they may be ignored for another opening of the same file, which can read and write.
func (r *Result) OpenUnnamed(ino uint64, flags int) (*os.File, error) {
	f, ok := r.unnamed[ino]
	if !ok {
		return nil, fmt.Errorf("new file %d: %w", ino, fs.ErrNotExist)
	}
	g, err := disk.Reopen(f, flags)
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
