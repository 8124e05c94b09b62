package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/clonecloud/clonecloud/internal/reconcile/disk"
	"github.com/clonecloud/clonecloud/internal/reconcile/plan"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// Apply makes the plan count and carries it out: all of it, whatever becomes of ctx once it counts. After an
// ErrUnfinished Recover has to go on; after another error nothing has changed, and the plan can be discarded.
func (p *Plan) Apply(ctx context.Context) (*Result, error) {
	if p.discarded || !p.begun {
		return nil, errors.New("plan of changes has been applied or discarded")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if p.Policy == Fail {
		now, err := foresee(p.top, p.Header, p.Steps)
		if err != nil {
			return nil, fmt.Errorf("change files in %s: %w", p.Dir, err)
		}
		if len(now) > 0 {
			return nil, &ConflictError{now}
		}
	}
	if err := p.state.Move(p.id+newSuffix, p.state, p.id+planSuffix); err != nil {
		return nil, fmt.Errorf("make changes of %s count: %w", p.Dir, err)
	}
	p.discarded = true
	p.init()
	err := p.state.Sync()
	if err == nil {
		err = p.run()
	}
	if err != nil {
		_ = p.res.Close() // nobody gets it
		return nil, errors.Join(fmt.Errorf("%w: in %s: %w", ErrUnfinished, p.Dir, err), p.close())
	}
	if err := p.forget(); err != nil {
		p.log("plan %s of %s is carried out, but stays: %v", p.id, p.Dir, err)
	}
	if err := p.close(); err != nil {
		p.log("plan %s of %s: %v", p.id, p.Dir, err)
	}
	return p.res, nil
}

// forget removes the plan's files.
func (x *executor) forget() error {
	if err := x.state.Remove(x.id+planSuffix, false); err != nil {
		return err
	}
	err := x.state.Remove(x.id+noteSuffix, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (x *executor) close() error {
	var errs []error
	if x.notes != nil {
		errs = append(errs, x.notes.f.Close())
	}
	if x.data != nil {
		errs = append(errs, x.data.Close())
	}
	for _, f := range []disk.Folder{x.staging, x.top, x.state} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	x.notes, x.data, x.staging, x.top, x.state = nil, nil, nil, nil, nil
	return errors.Join(errs...)
}

// Discard drops a plan that does not count. Of one that was applied nothing is left to drop.
func (p *Plan) Discard() error {
	if p.discarded {
		return nil
	}
	p.discarded = true
	var errs []error
	if p.begun {
		errs = append(errs, dropStaging(p.top, p.id))
		if err := p.state.Remove(p.id+newSuffix, false); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(append(errs, p.close())...); err != nil {
		return fmt.Errorf("discard plan for %s: %w", p.Dir, err)
	}
	return nil
}

// dropStaging removes the staging folder of a plan that does not count. In it are new files only.
func dropStaging(top disk.Folder, id string) error {
	name := plan.StagingPrefix + id
	d, err := top.Enter(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	before, err := top.Stat()
	if err != nil {
		return err
	}
	list, err := d.Names()
	if err != nil {
		return err
	}
	for _, n := range list {
		st, err := d.Lstat(n)
		if err == nil {
			err = d.Remove(n, st.Kind == tree.KindDir)
		}
		if err != nil {
			return err
		}
	}
	if err := top.Remove(name, true); err != nil {
		return err
	}
	if err := top.SetTimes(".", before.Mtime, 0); err != nil && !disk.IsItem(err) {
		return err
	}
	return top.Sync()
}
