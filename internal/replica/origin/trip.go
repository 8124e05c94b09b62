package origin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"

	"github.com/clonecloud/clonecloud/internal/overlay"
	"github.com/clonecloud/clonecloud/internal/reconcile"
	"github.com/clonecloud/clonecloud/internal/replica"
	"github.com/clonecloud/clonecloud/internal/scan"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// Trip are the files of one attempt of an offload: pinned versions, which stay as they are while it runs.
type Trip struct {
	files     *Files
	local     *local.System
	peer      *Peer
	start     *replica.Start
	mounts    []*mount
	versions  []*scan.Version
	positions []int // in the logs of numbers
	audited   map[fileOf]bool
	home      map[uint64]bool // handles of the directories that stay here
	confined  bool            // only contents of files that were open are given

	back   *replica.Back
	deltas []*tree.Delta // by position in back
	data   *spool
	plans  []*reconcile.Plan // by position in back; nil: nothing changed
	early  map[uint64]vfs.File

	// Given counts bytes of objects that went to the clone, Taken those that came back, Wants what it asked for.
	Given, Taken, Wants uint64
}

type fileOf struct {
	mount int
	ino   uint64
}

// ErrDistrust marks what a clone says of files that cannot be.
var ErrDistrust = errors.New("what the clone says of its files cannot be")

func distrust(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDistrust, fmt.Errorf(format, args...))
}

// Start returns the Start message. Call Started when it was sent.
func (t *Trip) Start() []byte { return t.start.AppendTo(nil) }

// Started makes what the Start message says known to the peer.
func (t *Trip) Started() {
	for i, m := range t.mounts {
		t.peer.numbers[m.Index] = t.positions[i]
	}
}

// Confine gives the clone no contents but those of files that were open at the beginning: the function cannot open others.
func (t *Trip) Confine() { t.confined = true }

// mayRead tells whether the clone may have contents of a file.
func (t *Trip) mayRead(at int, ino uint64) bool {
	return !t.confined || slices.ContainsFunc(t.start.Mounts[at].Open, func(o replica.Open) bool { return o.Ino == ino })
}

// Push gives directory nodes that the clone does not have, at most about limit bytes of them.
func (t *Trip) Push(limit int, give func(data []byte) error) error {
	for i, m := range t.mounts {
		objects, _ := t.versions[i].Nodes(func(id tree.ID) bool { return t.peer.known[id] }, limit)
		var b []byte
		for _, o := range objects {
			t.peer.given(o.ID)
			t.Given += uint64(len(o.Data))
			limit -= len(o.Data)
			b = replica.AppendObject(b, o)
			if len(b) >= replica.MaxGive {
				if err := give(b); err != nil {
					return err
				}
				b = nil
			}
		}
		if len(objects) > 0 {
			t.files.cfg.Audit("%s: %d directories for the clone", m.Guest, len(objects))
		}
		if len(b) > 0 {
			if err := give(b); err != nil {
				return err
			}
		}
	}
	return nil
}

// Answer gives what a Want message asks for, in one or more Give messages.
func (t *Trip) Answer(ctx context.Context, data []byte, give func(data []byte) error) error {
	wants, err := replica.DecodeWants(data)
	if err != nil {
		return distrust("%w", err)
	}
	out := &giver{give: give}
	for i := range wants {
		w := &wants[i]
		at := t.at(w.Mount)
		if at < 0 {
			return distrust("mount %d is not replicated", w.Mount)
		}
		t.Wants++
		err := t.answer(ctx, at, w, out)
		switch {
		case out.err != nil:
			return out.err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, ErrDistrust):
			return err
		case err != nil:
			out.add(replica.AppendLack(nil, w, reason(err)))
		}
	}
	return out.flush()
}

// reason is why something cannot be had, for the clone, which is told no paths of this device: errors of the system name some.
func reason(err error) string {
	var path *fs.PathError
	switch {
	case errors.Is(err, scan.ErrChanged):
		return scan.ErrChanged.Error()
	case errors.As(err, &path):
		return path.Err.Error()
	}
	return err.Error()
}

// at is the position of a mount among those of the trip, -1: it is none of them.
func (t *Trip) at(index uint32) int {
	for i, m := range t.mounts {
		if m.Index == int(index) {
			return i
		}
	}
	return -1
}

func (t *Trip) answer(ctx context.Context, at int, w *replica.Want, out *giver) error {
	v := t.versions[at]
	if w.ID != (tree.ID{}) && w.Size == 0 {
		if b, ok := v.Node(w.ID); ok {
			t.peer.given(w.ID)
			t.audit(at, w.Ino, "directory")
			return t.object(out, tree.Object{ID: w.ID, Data: b})
		}
	}
	if !t.mayRead(at, w.Ino) {
		return distrust("contents of a file that is not open, from a function that opens none")
	}
	switch {
	case w.ID == (tree.ID{}):
		return t.content(ctx, at, w, out)
	case w.Size == 0:
		chunks, err := v.Content(ctx, w.Ino)
		if err != nil {
			return err
		}
		b := tree.EncodeList(chunks)
		if tree.IDOf(b) != w.ID {
			return errDevice
		}
		return t.object(out, tree.Object{ID: w.ID, Data: b})
	case w.Size > tree.MaxChunk:
		return fmt.Errorf("chunk of %d bytes", w.Size)
	}
	t.audit(at, w.Ino, contents)
	b, err := v.ReadChunk(ctx, w.Ino, w.Off, tree.Chunk{ID: w.ID, Size: w.Size})
	if err != nil {
		return err
	}
	return t.object(out, tree.Object{ID: w.ID, Data: b})
}

// content says what a file consists of, and sends the beginning of it along.
func (t *Trip) content(ctx context.Context, at int, w *replica.Want, out *giver) error {
	v := t.versions[at]
	t.audit(at, w.Ino, contents)
	chunks, err := v.Content(ctx, w.Ino)
	if err != nil {
		return err
	}
	list := tree.EncodeList(chunks)
	if len(list) > replica.MaxObject {
		return fmt.Errorf("a file of %d chunks is too large", len(chunks))
	}
	var along []tree.Object
	var off, n uint64
	for _, c := range chunks {
		if n >= min(w.Size, maxAlong) {
			break
		}
		if !c.Hole() {
			b, err := v.ReadChunk(ctx, w.Ino, off, c)
			if err != nil {
				return err
			}
			along = append(along, tree.Object{ID: c.ID, Data: b})
			n += c.Size
		}
		off += c.Size
	}
	out.add(replica.AppendContent(nil, w.Mount, w.Ino, len(along), list))
	for _, o := range along {
		if err := t.object(out, o); err != nil {
			return err
		}
	}
	return nil
}

// maxAlong bounds what goes with the word of what a file consists of.
const maxAlong = 4 << 20

func (t *Trip) object(out *giver, o tree.Object) error {
	if len(o.Data) > replica.MaxObject {
		return fmt.Errorf("an object of %d bytes is too large", len(o.Data))
	}
	t.Given += uint64(len(o.Data))
	out.add(replica.AppendObject(nil, o))
	return out.err
}

const contents = "contents"

// audit tells once of each file that a clone is given some of.
func (t *Trip) audit(at int, ino uint64, what string) {
	k := fileOf{at, ino}
	if t.audited[k] {
		return
	}
	t.audited[k] = true
	path, ok := t.versions[at].Path(ino)
	if !ok {
		return
	}
	if what == contents {
		t.mounts[at].use(path)
	}
	t.files.cfg.Audit("%s of %q for the clone", what, t.mounts[at].Guest+"/"+path)
}

// giver gathers records into messages.
type giver struct {
	give func([]byte) error
	buf  []byte
	err  error
}

func (g *giver) add(record []byte) {
	if g.err == nil && len(g.buf) > 0 && len(g.buf)+len(record) > replica.MaxGive {
		_ = g.flush()
	}
	g.buf = append(g.buf, record...)
}

func (g *giver) flush() error {
	if g.err == nil && len(g.buf) > 0 {
		g.err = g.give(g.buf)
		g.buf = nil
	}
	return g.err
}

// Owns tells whether a handle is of a directory that the trip has pinned.
func (t *Trip) Owns(h uint64) bool {
	o, ok := t.local.Opened(h)
	if !ok || t.at(uint32(o.Mount)) < 0 {
		return false
	}
	at := t.at(uint32(o.Mount))
	for _, x := range t.start.Mounts[at].Open {
		if x.Issued.Handle == h {
			return true
		}
	}
	return false
}

// Covers tells whether calls on a handle are the clone's own: it is below a directory that the trip has pinned, and was not
// one that stayed here.
func (t *Trip) Covers(h uint64) bool {
	o, ok := t.local.Opened(h)
	return ok && t.at(uint32(o.Mount)) >= 0 && !t.home[h]
}

// Opened calls f for each handle that the clone had opened, and the guest's name of its file.
func (t *Trip) Opened(f func(handle uint64, name string)) {
	if t.back == nil {
		return
	}
	for i := range t.back.Mounts {
		m := &t.back.Mounts[i]
		at := t.at(m.Index)
		for _, o := range m.Open {
			if o.Issued.Handle > t.start.Handles {
				path, _ := t.versions[at].Path(o.Ino)
				f(o.Issued.Handle, t.mounts[at].Guest+"/"+path)
			}
		}
	}
}

// Take takes a message of what came back: Back before any Data.
func (t *Trip) Take(back bool, data []byte) error {
	if t.data == nil {
		t.data = &spool{dir: t.files.cfg.Spool, most: t.files.cfg.Limit}
	}
	if !back {
		objects, err := replica.DecodeData(data)
		if err != nil {
			return distrust("%w", err)
		}
		for _, o := range objects {
			t.Taken += uint64(len(o.Data))
			if err := t.data.put(o); err != nil {
				return err
			}
		}
		return nil
	}
	if t.back != nil {
		return distrust("its changes come twice")
	}
	b, err := replica.DecodeBack(data)
	if err != nil {
		return distrust("%w", err)
	}
	return t.judge(b)
}

// Changes tells whether files have changed, by what came back.
func (t *Trip) Changes() bool {
	for _, d := range t.deltas {
		if d != nil {
			return true
		}
	}
	return false
}

// Issued tells what a handle that the clone issued stands for.
func (t *Trip) Issued(h uint64) (wasi.FD, bool) {
	if t.back == nil {
		return wasi.FD{}, false
	}
	for i := range t.back.Mounts {
		for _, o := range t.back.Mounts[i].Open {
			if o.Issued.Handle == h && h > t.start.Handles {
				return o.Issued, true
			}
		}
	}
	return wasi.FD{}, false
}

// Top is the last handle that the clone may have issued.
func (t *Trip) Top() uint64 {
	top := t.start.Handles
	if t.back != nil {
		for i := range t.back.Mounts {
			for _, o := range t.back.Mounts[i].Open {
				top = max(top, o.Issued.Handle)
			}
		}
	}
	return top
}

// Shelter opens the pinned versions here, for a run that repeats what the clone has done: it is to see what the clone saw.
func (t *Trip) Shelter(ctx context.Context, home wasi.System, clock func() uint64) (*replica.System, error) {
	if s := t.files.cfg.Spool; s != "" {
		if err := os.MkdirAll(s, 0o700); err != nil {
			return nil, fmt.Errorf("folder for what is written: %w", err)
		}
	}
	numbers := map[uint32]*local.Numbers{}
	for _, m := range t.mounts {
		list, last, _ := t.local.Numbers(m.Index, -1)
		n := &local.Numbers{}
		n.Apply(list)
		n.Last = last
		numbers[uint32(m.Index)] = n
	}
	return replica.NewSystem(ctx, t.start, replica.Config{
		Home: home, Clock: clock, Spool: t.files.cfg.Spool, Limit: t.files.cfg.Limit,
		Source:  func(index uint32) overlay.Source { return source{t.versions[t.at(index)]} },
		Numbers: func(index uint32) *local.Numbers { return numbers[index] },
	})
}

// Return takes what a Shelter says as if it had come back from a clone.
func (t *Trip) Return(ctx context.Context, s *replica.System, state *wasi.State) error {
	t.drop()
	b, chunks, err := s.Back(ctx, state)
	if err != nil {
		return err
	}
	if err := t.judge(b); err != nil {
		return fmt.Errorf("BUG: %w", err)
	}
	t.data = &spool{dir: t.files.cfg.Spool, most: math.MaxInt64}
	for o, err := range chunks {
		if err == nil {
			err = t.data.put(o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Close drops what came back, and plans that did not come to count.
func (t *Trip) Close() error {
	if t == nil {
		return nil
	}
	return t.drop()
}

func (t *Trip) drop() error {
	var errs []error
	for _, p := range t.plans {
		if p != nil {
			errs = append(errs, p.Discard())
		}
	}
	for _, f := range t.early {
		errs = append(errs, f.Close())
	}
	if t.data != nil {
		errs = append(errs, t.data.close())
	}
	t.plans, t.early, t.data, t.back, t.deltas = nil, nil, nil, nil, nil
	return errors.Join(errs...)
}

// source gives an overlay what a pinned version has.
type source struct{ v *scan.Version }

func (s source) Node(_ context.Context, _ uint64, id tree.ID) (*tree.Node, error) {
	b, ok := s.v.Node(id)
	if !ok {
		return nil, &vfs.AbortError{Err: fmt.Errorf("directory %v is not in the version", id)}
	}
	n, err := tree.DecodeNode(b)
	if err != nil {
		return nil, &vfs.AbortError{Err: err}
	}
	return n, nil
}

func (s source) Content(ctx context.Context, ino uint64, _ tree.ID) ([]tree.Chunk, error) {
	c, err := s.v.Content(ctx, ino)
	if err != nil {
		return nil, &vfs.AbortError{Err: err}
	}
	return c, nil
}

func (s source) Chunk(ctx context.Context, ino, off uint64, c tree.Chunk) ([]byte, error) {
	b, err := s.v.ReadChunk(ctx, ino, off, c)
	if err != nil {
		return nil, &vfs.AbortError{Err: err}
	}
	return b, nil
}

func (s source) Ahead(context.Context, []overlay.Want) {}
