package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/clonecloud/clonecloud/internal/reconcile"
	"github.com/clonecloud/clonecloud/internal/replica"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// Prepare makes all that came back ready to count: plans are written, and files that were there before are opened as the
// clone had opened them. Nothing in the directories has changed when it fails.
func (t *Trip) Prepare(ctx context.Context) error {
	if t.back == nil {
		return nil
	}
	t.early = map[uint64]vfs.File{}
	for i := range t.back.Mounts {
		m := &t.back.Mounts[i]
		at := t.at(m.Index)
		for _, o := range m.Open {
			if o.Issued.Handle <= t.start.Handles {
				continue
			}
			if o.Ino >= tree.FirstNew {
				if o.Issued.Kind == wasi.KindDir && !named(t.deltas[i], o.Ino) {
					return errors.New("a directory that was made and removed on the clone is still open")
				}
				continue
			}
			path, _ := t.versions[at].Path(o.Ino)
			f, err := t.open(at, path, o)
			if err != nil {
				return fmt.Errorf("open %q, as the clone had: %w", path, err)
			}
			t.early[o.Issued.Handle] = f
		}
		t.plans = append(t.plans, nil)
		if t.deltas[i] == nil {
			continue
		}
		p, err := reconcile.Prepare(ctx, reconcile.Config{
			Dir: t.mounts[at].Dir, State: t.files.cfg.Plans, Policy: t.files.cfg.Policy, Base: t.versions[at], MaxBytes: t.files.cfg.Limit, Log: t.files.cfg.Log,
		}, t.deltas[i], t.data.get)
		if err != nil {
			return fmt.Errorf("changes in %s: %w", t.mounts[at].Guest, err)
		}
		t.plans[i] = p
	}
	return nil
}

// named tells whether a file has a name afterwards.
func named(d *tree.Delta, ino uint64) bool {
	for i := range d.Dirs {
		for _, n := range d.Dirs[i].Names {
			if n.Ino == ino {
				return true
			}
		}
	}
	return false
}

// open opens a file of the device that the clone had opened, and sees that it is that one.
func (t *Trip) open(at int, path string, o replica.Open) (vfs.File, error) {
	f, err := t.local.Path(t.mounts[at].Index, path, replica.FlagsOf(o.Issued))
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || st.Ino != o.Ino {
		return nil, errors.Join(errDevice, err, f.Close())
	}
	return f, nil
}

// Result is what became of the files.
type Result struct {
	Conflicts []Conflict
	Changed   int // paths that were touched
}

// Conflict is a file that the device changed while the clone did.
type Conflict struct {
	Mount string // guest's name
	reconcile.Conflict
}

// Apply makes what came back count. An error before anything has changed is not an ErrBegun.
func (t *Trip) Apply(ctx context.Context) (*Result, error) {
	r := &Result{}
	if t.back == nil {
		return r, nil
	}
	results := make([]*reconcile.Result, len(t.back.Mounts))
	begun := false
	var errs []error
	for i := range t.back.Mounts {
		results[i] = &reconcile.Result{}
		if t.plans[i] == nil {
			continue
		}
		if err := t.carryOut(ctx, i, r, results); err != nil {
			if begun || errors.Is(err, reconcile.ErrUnfinished) {
				err = fmt.Errorf("%w: %w", ErrBegun, err)
			}
			errs = append(errs, err)
			break
		}
		begun = true
	}
	// Handles are taken over when all changes are done: before, the run can go on as if there had been none.
	for i := range t.back.Mounts {
		if len(errs) > 0 {
			break
		}
		m := &t.back.Mounts[i]
		if err := t.takeOver(t.at(m.Index), m, results[i]); err != nil {
			errs = append(errs, fmt.Errorf("%w: %w", ErrBegun, err))
		}
	}
	for _, res := range results {
		if res != nil {
			errs = append(errs, res.Close())
		}
	}
	return r, errors.Join(errs...)
}

// carryOut applies a plan.
func (t *Trip) carryOut(ctx context.Context, i int, r *Result, results []*reconcile.Result) error {
	m := t.mounts[t.at(t.back.Mounts[i].Index)]
	res, err := t.plans[i].Apply(ctx)
	if err != nil {
		return fmt.Errorf("changes in %s: %w", m.Guest, err)
	}
	t.plans[i], results[i] = nil, res
	m.tree.Touched(res.Changed...)
	r.Changed += len(res.Changed)
	for _, c := range res.Conflicts {
		r.Conflicts = append(r.Conflicts, Conflict{m.Guest, c})
		t.files.cfg.Log("%s: %s", m.Guest, c)
	}
	return nil
}

// ErrBegun marks an error after which files have changed, or will when the plan is finished.
var ErrBegun = errors.New("files have begun to change")

// takeOver makes the handles and numbers of a mount those that the clone had.
func (t *Trip) takeOver(at int, m *replica.BackMount, res *reconcile.Result) error {
	index := t.mounts[at].Index
	numbers := make([]local.Number, 0, len(m.Numbers))
	for _, n := range m.Numbers {
		if n.Ino >= tree.FirstNew {
			path, ok := res.Paths[n.Ino]
			if !ok || n.Virtual == 0 {
				continue // it has come and gone
			}
			st, err := t.local.StatPath(index, path)
			if err != nil {
				continue // somebody else has removed it since
			}
			n.Ino = st.Ino
		}
		numbers = append(numbers, n)
	}
	t.local.Take(index, numbers, m.Last)
	for _, o := range m.Open {
		if o.Issued.Handle <= t.start.Handles {
			t.local.List(o.Issued.Handle, o.Listing)
			continue
		}
		f, err := t.reopen(index, &o, res)
		if err != nil {
			return fmt.Errorf("open what the clone had opened: %w", err)
		}
		err = t.local.Adopt(local.Open{Issued: o.Issued, Mount: index, File: f, Virtual: o.Virtual, Listing: o.Listing})
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *Trip) reopen(index int, o *replica.Open, res *reconcile.Result) (vfs.File, error) {
	if path, ok := res.Paths[o.Ino]; ok {
		f, err := t.local.Path(index, path, replica.FlagsOf(o.Issued))
		if err != nil {
			return nil, err
		}
		if early := t.early[o.Issued.Handle]; early != nil {
			delete(t.early, o.Issued.Handle)
			_ = early.Close()
		}
		return f, nil
	}
	if f := t.early[o.Issued.Handle]; f != nil {
		delete(t.early, o.Issued.Handle)
		return f, nil
	}
	flag := os.O_RDONLY
	switch {
	case o.Issued.Base&wasi.RightWrite != 0 && o.Issued.Base&wasi.RightRead != 0:
		flag = os.O_RDWR
	case o.Issued.Base&wasi.RightWrite != 0:
		flag = os.O_WRONLY
	}
	f, err := res.OpenUnnamed(o.Ino, flag)
	if err != nil {
		return nil, err
	}
	v, err := vfs.HostFile(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return v, nil
}

// spool keeps chunks that came back in a file without a name.
type spool struct {
	dir  string
	most uint64
	file *os.File
	size uint64
	at   map[tree.ID]extent
}

type extent struct{ off, n uint64 }

func (s *spool) put(o tree.Object) error {
	if _, ok := s.at[o.ID]; ok {
		return nil
	}
	if tree.IDOf(o.Data) != o.ID {
		return distrust("chunk %v has other contents", o.ID)
	}
	if s.size+uint64(len(o.Data)) > s.most {
		return fmt.Errorf("more than %d bytes of changed files come back", s.most)
	}
	if s.file == nil {
		if s.dir != "" {
			if err := os.MkdirAll(s.dir, 0o700); err != nil {
				return fmt.Errorf("keep changed files: %w", err)
			}
		}
		f, err := os.CreateTemp(s.dir, "clonecloud-files-*")
		if err != nil {
			return fmt.Errorf("keep changed files: %w", err)
		}
		_ = os.Remove(f.Name()) // at once, where the system allows it
		s.file, s.at = f, map[tree.ID]extent{}
	}
	if _, err := s.file.WriteAt(o.Data, int64(s.size)); err != nil {
		return fmt.Errorf("keep changed files: %w", err)
	}
	s.at[o.ID] = extent{s.size, uint64(len(o.Data))}
	s.size += uint64(len(o.Data))
	return nil
}

// get returns a chunk.
func (s *spool) get(id tree.ID) ([]byte, error) {
	if s == nil || s.file == nil {
		return nil, distrust("chunk %v did not come", id)
	}
	e, ok := s.at[id]
	if !ok {
		return nil, distrust("chunk %v did not come", id)
	}
	b := make([]byte, e.n)
	if _, err := s.file.ReadAt(b, int64(e.off)); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read changed files: %w", err)
	}
	return b, nil
}

func (s *spool) close() error {
	if s.file == nil {
		return nil
	}
	name := s.file.Name()
	err := s.file.Close()
	_ = os.Remove(name)
	return err
}

// Recover finishes changes of directories that a crash has left half done, or drops them if they had not come to count.
// only is one directory, "": all.
func Recover(ctx context.Context, plans, only string, log func(format string, args ...any)) error {
	if _, err := os.Stat(plans); err != nil {
		return nil //nolint:nilerr // there are none
	}
	if only != "" {
		if abs, err := filepath.Abs(only); err == nil {
			only = abs
		}
	}
	_, err := reconcile.Recover(ctx, plans, only, log)
	return err
}
