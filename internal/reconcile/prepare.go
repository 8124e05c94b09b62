package reconcile

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/clonecloud/clonecloud/internal/reconcile/disk"
	"github.com/clonecloud/clonecloud/internal/reconcile/plan"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// Plans are files in the State folder: an id, and one of these.
const (
	newSuffix  = ".new"
	planSuffix = ".plan"
	noteSuffix = ".note"
)

const (
	planEnd     = "CCend"
	maxHeader   = 1 << 16
	maxMeta     = 4 << 30
	trailerSize = 8 + 8 + 32 + 5
)

// Plan is a set of changes, written down durably, that does not count yet. It is for one goroutine.
type Plan struct {
	executor
	f         disk.File
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
	if cfg.Policy >= plan.NumPolicies {
		return nil, fmt.Errorf("no policy %d", cfg.Policy)
	}
	s, err := plan.Make(d, cfg.Base, cfg.MaxBytes)
	if err != nil {
		return nil, err
	}
	dir, err := realPath(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("plan changes: %w", err)
	}
	p := &Plan{executor: executor{
		Header: plan.Header{Dir: dir, Policy: cfg.Policy, Date: cfg.Now().Format(time.DateOnly)}, Steps: s, Progress: plan.NewProgress(), log: cfg.Log,
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
	if p.foreseen, err = foresee(p.top, p.Header, p.Steps); err != nil {
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
	if p.top, err = sys.open(p.Dir); err != nil {
		return err
	}
	st, err := p.top.Stat()
	if err != nil {
		return err
	}
	p.Num = st.Ino
	names, err := p.state.Names()
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
		if h != nil && h.Dir == p.Dir && free {
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
	for i := range p.Writes {
		w := &p.Writes[i]
		e, ok := base.Lookup(w.Path)
		if !w.Written || len(w.Chunks) > 0 || !ok || e.Flags&tree.Hashed == 0 {
			continue
		}
		if st, err := disk.LstatPath(p.top, w.Path); err == nil && w.Was.Intact(&st) {
			continue
		}
		if chunks, err := c.Content(ctx, e.Ino); err == nil {
			w.Chunks = chunks
		}
	}
}

// Conflicts are those known when the plan was written.
func (p *Plan) Conflicts() []Conflict { return p.foreseen }

// stageAll writes the plan and all data.
func (p *Plan) stageAll(ctx context.Context, data func(id tree.ID) ([]byte, error)) error {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails, as its documentation says
	p.id = hex.EncodeToString(id[:])
	p.begun = true
	f, err := p.state.Create(p.id + newSuffix)
	if err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	p.f, p.data = f, f
	head := p.Header.Append(nil)
	if len(head) > maxHeader {
		return fmt.Errorf("%w: its path is too long", ErrUnfit)
	}
	for _, step := range []func() error{
		f.Lock,
		func() error { _, err := f.WriteAt(head, 0); return err },
		f.Sync,
		p.state.Sync,
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
	before, err := p.top.Stat()
	if err != nil {
		return err
	}
	name := plan.StagingPrefix + p.id
	if err := p.top.Mkdir(name, 0o700); err != nil {
		return fmt.Errorf("make staging folder: %w", err)
	}
	if p.staging, err = p.top.Enter(name); err != nil {
		return err
	}
	if err := p.top.SetTimes(".", before.Mtime, 0); err != nil && !disk.IsItem(err) {
		return err
	}
	return nil
}

// stageMade makes the new files.
func (p *Plan) stageMade(ctx context.Context, data func(id tree.ID) ([]byte, error)) error {
	bulk := disk.HasSyncAll && len(p.Made) > many
	for i := range p.Made {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.stageOne(i, bulk, data); err != nil {
			return fmt.Errorf("new file %d: %w", p.Made[i].Ino, err)
		}
	}
	if err := p.tryLimits(); err != nil {
		return err
	}
	if bulk {
		return p.top.SyncAll()
	}
	if err := p.staging.Sync(); err != nil {
		return err
	}
	return p.top.Sync()
}

func (p *Plan) stageOne(i int, bulk bool, data func(id tree.ID) ([]byte, error)) error {
	m := &p.Made[i]
	name := plan.NewName(i)
	var err error
	switch m.Kind {
	case tree.KindDir:
		err = p.staging.Mkdir(name, 0o777)
	case tree.KindSymlink:
		err = p.staging.Symlink(m.Target, name)
	default:
		err = p.stageFile(m, name, bulk, data)
	}
	if err != nil {
		return err
	}
	if m.Kind == tree.KindSymlink && (m.Mtime != 0 || m.Atime != 0) {
		if err := p.staging.SetTimes(name, m.Mtime, m.Atime); err != nil && !disk.IsItem(err) {
			return err
		}
	}
	st, err := p.staging.Lstat(name)
	m.Num = st.Ino
	return err
}

func (p *Plan) stageFile(m *plan.Made, name string, bulk bool, data func(id tree.ID) ([]byte, error)) error {
	f, err := p.staging.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	at := uint64(0)
	for _, x := range m.Pieces {
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
	if err := f.Truncate(m.Size); err != nil {
		return err
	}
	if m.Mtime != 0 || m.Atime != 0 {
		if err := p.staging.SetTimes(name, m.Mtime, m.Atime); err != nil && !disk.IsItem(err) {
			return err
		}
	}
	if bulk {
		return nil
	}
	return f.Sync()
}

func chunk(data func(id tree.ID) ([]byte, error), id tree.ID, size uint64) ([]byte, error) {
	b, err := data(id)
	if err != nil {
		return nil, fmt.Errorf("chunk %v: %w", id, err)
	}
	if uint64(len(b)) != size || tree.IDOf(b) != id {
		return nil, plan.Invalid("chunk %v is another, or of %d bytes, not %d", id, len(b), size)
	}
	return b, nil
}

// tryLimits sees, while nothing counts, whether files can be as large as they are to be, and have several names.
func (p *Plan) tryLimits() error {
	most := uint64(0)
	for i := range p.Writes {
		most = max(most, p.Writes[i].Size)
	}
	const small = 1 << 30
	if most <= small && len(p.Links) == 0 {
		return nil
	}
	const name, second = "p", "p2"
	f, err := p.staging.Create(name)
	if err != nil {
		return err
	}
	err = f.Truncate(most)
	if err == nil && len(p.Links) > 0 {
		if err = p.staging.Link(name, p.staging, second); err == nil {
			err = p.staging.Remove(second, false)
		}
	}
	if err != nil && disk.IsItem(err) {
		err = fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	return errors.Join(err, f.Close(), p.staging.Remove(name, false))
}

// writePlan adds data and steps to the plan's file, and reads the steps back.
func (p *Plan) writePlan(ctx context.Context, head []byte, data func(id tree.ID) ([]byte, error)) error {
	at := uint64(len(head))
	written := map[tree.ID]uint64{}
	for i := range p.Writes {
		for j := range p.Writes[i].Pieces {
			x := &p.Writes[i].Pieces[j]
			if x.Form != plan.FormData {
				continue
			}
			off, ok := written[x.Check]
			if !ok {
				if err := ctx.Err(); err != nil {
					return err
				}
				b, err := chunk(data, x.Check, x.Size)
				if err == nil {
					_, err = p.f.WriteAt(b, int64(at))
				}
				if err != nil {
					return fmt.Errorf("write plan: %w", err)
				}
				off, written[x.Check] = at, at
				at += x.Size
			}
			x.Off = off
		}
	}
	meta := p.Steps.Append(nil)
	if len(meta) > maxMeta {
		return fmt.Errorf("%w: a plan of %d bytes", ErrUnfit, len(meta))
	}
	steps, err := plan.DecodeSteps(meta, at)
	if err != nil {
		return fmt.Errorf("BUG: plan is not read back: %w", err)
	}
	p.Steps = steps
	_, err = p.f.WriteAt(appendTrailer(meta, head, at), int64(at))
	if err == nil {
		err = p.f.Sync()
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
