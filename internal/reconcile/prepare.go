package reconcile

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// Plans are files in the State folder: an id, and one of these.
const (
	newSuffix  = ".new"
	planSuffix = ".plan"
	noteSuffix = ".note"
)

// Plan is a set of changes, written down durably, that does not count yet. It is for one goroutine.
type Plan struct {
	executor
	f         file
	foreseen  []Conflict
	begun     bool // a plan file or a staging folder may be there
	discarded bool
}

// Prepare checks changes against the pinned version and the directory as it is now, and writes the plan, data included,
// durably. When it fails nothing in the directory has changed. data gives the chunks that the pieces name.
func Prepare(ctx context.Context, cfg Config, d *tree.Delta, data func(id tree.ID) ([]byte, error)) (*Plan, error) {
	return real.prepare(ctx, cfg, d, data)
}

func (sys system) prepare(ctx context.Context, cfg Config, d *tree.Delta, data func(id tree.ID) ([]byte, error)) (_ *Plan, err error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = func(string, ...any) {}
	}
	if cfg.Policy >= numPolicies {
		return nil, fmt.Errorf("no policy %d", cfg.Policy)
	}
	s, err := plan(d, cfg.Base, cfg.MaxBytes)
	if err != nil {
		return nil, err
	}
	dir, err := realPath(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("plan changes: %w", err)
	}
	p := &Plan{executor: executor{
		header: header{dir: dir, policy: cfg.Policy, date: cfg.Now().Format(time.DateOnly)}, steps: s, progress: newProgress(), log: cfg.Log,
	}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("plan changes of %s: %w", dir, err), p.Discard())
		}
	}()
	if err := p.openFolders(sys, cfg.State); err != nil {
		return nil, err
	}
	p.knowChunks(ctx, cfg.Base)
	if p.foreseen, err = p.look(); err != nil {
		return nil, err
	}
	if len(p.foreseen) > 0 && cfg.Policy == Fail {
		return nil, &ConflictError{p.foreseen}
	}
	return p, p.stageAll(ctx, data)
}

func realPath(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	return filepath.Abs(real)
}

func (p *Plan) openFolders(sys system, state string) (err error) {
	if err := os.MkdirAll(state, 0o700); err != nil {
		return fmt.Errorf("folder for plans: %w", err)
	}
	if p.state, err = sys.open(state); err != nil {
		return fmt.Errorf("folder for plans: %w", err)
	}
	if p.top, err = sys.open(p.dir); err != nil {
		return err
	}
	st, err := p.top.stat()
	if err != nil {
		return err
	}
	p.num = st.ino
	names, err := p.state.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, planSuffix) {
			continue
		}
		h, free, err := peek(p.state, name)
		if err != nil {
			return err
		}
		if h != nil && h.dir == p.dir && free {
			return fmt.Errorf("%w: plan %s of an earlier run is there", ErrUnfinished, name)
		}
	}
	return nil
}

// knowChunks asks what pinned files consisted of that are no longer what they were.
func (p *Plan) knowChunks(ctx context.Context, base Base) {
	c, ok := base.(Contents)
	if !ok {
		return
	}
	for i := range p.writes {
		w := &p.writes[i]
		e, ok := base.Lookup(w.path)
		if !w.written || len(w.chunks) > 0 || !ok || e.Flags&tree.Hashed == 0 {
			continue
		}
		if st, err := lstatPath(p.top, w.path); err == nil && w.was.intact(&st) {
			continue
		}
		if chunks, err := c.Content(ctx, e.Ino); err == nil {
			w.chunks = chunks
		}
	}
}

// look returns the conflicts that there would be now.
func (p *Plan) look() ([]Conflict, error) {
	f, err := gather(p.top, p.steps)
	if err != nil {
		return nil, err
	}
	return foresee(p.steps, f, p.policy, func(i int) (kept bool) {
		err := p.withPresent(&p.writes[i], func(present file, st *stat) error {
			kept = keeps(&p.writes[i], present, st)
			return nil
		})
		return kept && err == nil
	}), nil
}

// Conflicts are those known when the plan was written.
func (p *Plan) Conflicts() []Conflict { return p.foreseen }

// stageAll writes the plan and all data.
func (p *Plan) stageAll(ctx context.Context, data func(id tree.ID) ([]byte, error)) error {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails, as its documentation says
	p.id = hex.EncodeToString(id[:])
	p.begun = true
	f, err := p.state.create(p.id + newSuffix)
	if err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	p.f, p.data = f, f
	head := p.header.append(nil)
	if len(head) > maxHeader {
		return fmt.Errorf("%w: its path is too long", ErrUnfit)
	}
	for _, step := range []func() error{
		f.lock,
		func() error { _, err := f.WriteAt(head, 0); return err },
		f.sync,
		p.state.sync,
	} {
		if err := step(); err != nil {
			return fmt.Errorf("write plan: %w", err)
		}
	}
	if err := p.makeStaging(); err != nil {
		return err
	}
	if err := p.stageMade(ctx, data); err != nil {
		return err
	}
	return p.writePlan(ctx, head, data)
}

func (p *Plan) makeStaging() error {
	before, err := p.top.stat()
	if err != nil {
		return err
	}
	name := stagingPrefix + p.id
	if err := p.top.mkdir(name, 0o700); err != nil {
		return fmt.Errorf("make staging folder: %w", err)
	}
	if p.staging, err = p.top.enter(name); err != nil {
		return err
	}
	if err := p.top.setTimes(".", before.mtime, 0); err != nil && !isItem(err) {
		return err
	}
	return nil
}

// stageMade makes the new files.
func (p *Plan) stageMade(ctx context.Context, data func(id tree.ID) ([]byte, error)) error {
	bulk := hasSyncAll && len(p.made) > many
	for i := range p.made {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.stageOne(i, bulk, data); err != nil {
			return fmt.Errorf("new file %d: %w", p.made[i].ino, err)
		}
	}
	if err := p.tryLimits(); err != nil {
		return err
	}
	if bulk {
		return p.top.syncAll()
	}
	if err := p.staging.sync(); err != nil {
		return err
	}
	return p.top.sync()
}

func (p *Plan) stageOne(i int, bulk bool, data func(id tree.ID) ([]byte, error)) error {
	m := &p.made[i]
	name := newName(i)
	var err error
	switch m.kind {
	case tree.KindDir:
		err = p.staging.mkdir(name, 0o777)
	case tree.KindSymlink:
		err = p.staging.symlink(m.target, name)
	default:
		err = p.stageFile(m, name, bulk, data)
	}
	if err != nil {
		return err
	}
	if m.kind == tree.KindSymlink && (m.mtime != 0 || m.atime != 0) {
		if err := p.staging.setTimes(name, m.mtime, m.atime); err != nil && !isItem(err) {
			return err
		}
	}
	st, err := p.staging.lstat(name)
	m.num = st.ino
	return err
}

func (p *Plan) stageFile(m *made, name string, bulk bool, data func(id tree.ID) ([]byte, error)) error {
	f, err := p.staging.create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	at := uint64(0)
	for _, x := range m.pieces {
		if x.Chunk != (tree.ID{}) {
			b, err := chunk(data, x.Chunk, x.Size)
			if err != nil {
				return err
			}
			if _, err := f.WriteAt(b, int64(at)); err != nil {
				return err
			}
		}
		at += x.Size
	}
	if err := f.truncate(m.size); err != nil {
		return err
	}
	if m.mtime != 0 || m.atime != 0 {
		if err := p.staging.setTimes(name, m.mtime, m.atime); err != nil && !isItem(err) {
			return err
		}
	}
	if bulk {
		return nil
	}
	return f.sync()
}

func chunk(data func(id tree.ID) ([]byte, error), id tree.ID, size uint64) ([]byte, error) {
	b, err := data(id)
	if err != nil {
		return nil, fmt.Errorf("chunk %v: %w", id, err)
	}
	if uint64(len(b)) != size || tree.IDOf(b) != id {
		return nil, invalid("chunk %v is another, or of %d bytes, not %d", id, len(b), size)
	}
	return b, nil
}

// tryLimits sees, while nothing counts, whether files can be as large as they are to be, and have several names.
func (p *Plan) tryLimits() error {
	most := uint64(0)
	for i := range p.writes {
		most = max(most, p.writes[i].size)
	}
	const small = 1 << 30
	if most <= small && len(p.links) == 0 {
		return nil
	}
	const name, second = "p", "p2"
	f, err := p.staging.create(name)
	if err != nil {
		return err
	}
	err = f.truncate(most)
	if err == nil && len(p.links) > 0 {
		if err = p.staging.link(name, p.staging, second); err == nil {
			err = p.staging.remove(second, false)
		}
	}
	if err != nil && isItem(err) {
		err = fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	return errors.Join(err, f.Close(), p.staging.remove(name, false))
}

// writePlan adds data and steps to the plan's file, and reads the steps back.
func (p *Plan) writePlan(ctx context.Context, head []byte, data func(id tree.ID) ([]byte, error)) error {
	at := uint64(len(head))
	written := map[tree.ID]uint64{}
	for i := range p.writes {
		for j := range p.writes[i].pieces {
			x := &p.writes[i].pieces[j]
			if x.form != formData {
				continue
			}
			off, ok := written[x.check]
			if !ok {
				if err := ctx.Err(); err != nil {
					return err
				}
				b, err := chunk(data, x.check, x.size)
				if err == nil {
					_, err = p.f.WriteAt(b, int64(at))
				}
				if err != nil {
					return fmt.Errorf("write plan: %w", err)
				}
				off, written[x.check] = at, at
				at += x.size
			}
			x.off = off
		}
	}
	meta := p.steps.append(nil)
	if len(meta) > maxMeta {
		return fmt.Errorf("%w: a plan of %d bytes", ErrUnfit, len(meta))
	}
	steps, err := decodeSteps(meta, at)
	if err != nil {
		return fmt.Errorf("BUG: plan is not read back: %w", err)
	}
	p.steps = steps
	_, err = p.f.WriteAt(appendTrailer(meta, head, at), int64(at))
	if err == nil {
		err = p.f.sync()
	}
	if err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	return nil
}

// appendTrailer ends a plan: steps begin at off.
func appendTrailer(meta, head []byte, off uint64) []byte {
	sum := sumOf(head, meta)
	n := uint64(len(meta))
	b := binary.LittleEndian.AppendUint64(meta, off)
	b = binary.LittleEndian.AppendUint64(b, n)
	return append(append(b, sum[:]...), planEnd...)
}

func sumOf(head, meta []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	h.Write(head)
	h.Write(meta)
	h.Sum(sum[:0])
	return sum
}

// Apply makes the plan count and carries it out: all of it, whatever becomes of ctx once it counts. After an
// ErrUnfinished Recover has to go on; after another error nothing has changed, and the plan can be discarded.
func (p *Plan) Apply(ctx context.Context) (*Result, error) {
	if p.discarded || !p.begun {
		return nil, errors.New("plan of changes has been applied or discarded")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if p.policy == Fail {
		now, err := p.look()
		if err != nil {
			return nil, fmt.Errorf("change files in %s: %w", p.dir, err)
		}
		if len(now) > 0 {
			return nil, &ConflictError{now}
		}
	}
	if err := p.state.move(p.id+newSuffix, p.state, p.id+planSuffix); err != nil {
		return nil, fmt.Errorf("make changes of %s count: %w", p.dir, err)
	}
	p.discarded = true
	p.init()
	err := p.state.sync()
	if err == nil {
		err = p.run()
	}
	if err != nil {
		_ = p.res.Close() // nobody gets it
		return nil, errors.Join(fmt.Errorf("%w: in %s: %w", ErrUnfinished, p.dir, err), p.close())
	}
	if err := p.forget(); err != nil {
		p.log("plan %s of %s is carried out, but stays: %v", p.id, p.dir, err)
	}
	if err := p.close(); err != nil {
		p.log("plan %s of %s: %v", p.id, p.dir, err)
	}
	return p.res, nil
}

// forget removes the plan's files.
func (x *executor) forget() error {
	if err := x.state.remove(x.id+planSuffix, false); err != nil {
		return err
	}
	err := x.state.remove(x.id+noteSuffix, false)
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
	for _, f := range []folder{x.staging, x.top, x.state} {
		if f != nil {
			errs = append(errs, f.close())
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
		if err := p.state.remove(p.id+newSuffix, false); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(append(errs, p.close())...); err != nil {
		return fmt.Errorf("discard plan for %s: %w", p.dir, err)
	}
	return nil
}

// dropStaging removes the staging folder of a plan that does not count. In it are new files only.
func dropStaging(top folder, id string) error {
	name := stagingPrefix + id
	d, err := top.enter(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.close()
	before, err := top.stat()
	if err != nil {
		return err
	}
	list, err := d.names()
	if err != nil {
		return err
	}
	for _, n := range list {
		st, err := d.lstat(n)
		if err == nil {
			err = d.remove(n, st.kind == tree.KindDir)
		}
		if err != nil {
			return err
		}
	}
	if err := top.remove(name, true); err != nil {
		return err
	}
	if err := top.setTimes(".", before.mtime, 0); err != nil && !isItem(err) {
		return err
	}
	return top.sync()
}
