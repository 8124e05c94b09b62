package device

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/reconcile"
	"github.com/clonecloud/clonecloud/internal/replica"
	"github.com/clonecloud/clonecloud/internal/replica/origin"
	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// firstReplicaHandle is beyond all handles that the device issues itself.
const firstReplicaHandle = 1 << 40

// pushBytes of directory nodes go along with an offload; the clone asks for more.
const pushBytes = 1 << 20

// ErrConflict marks a run that ended because the device and a clone had changed the same files, as the policy says.
var ErrConflict = errors.New("files were changed on the device and on the clone")

// files is the System of a process whose directories follow it, and what the controller keeps of them.
//
// A fallback that has to repeat what its clone had made visible runs in a shelter: over the pinned versions, so that it
// reads what the clone read. Once all is repeated the shelter's changes are merged like a clone's, and the run goes on for real.
type files struct {
	c       *Controller
	peer    *origin.Peer
	top     uint64          // the last handle that a clone has issued
	shelter *replica.System // nil: none
	trip    *origin.Trip    // that the shelter, or the fallback, is of
}

// Do implements wasi.System.
func (f *files) Do(ctx context.Context, req *wasi.Request, resp *wasi.Response) error {
	c := f.c
	switch {
	case f.shelter != nil:
		err := f.shelter.Do(ctx, req, resp)
		if err == nil && !c.replay.Replaying() {
			var opened []uint64 // which the program does not know yet
			if req.Op == wasi.OpOpen && resp.Errno == vfs.Success {
				opened = append(opened, resp.Handle)
			}
			err = f.land(ctx, opened...)
		}
		return err
	case f.trip != nil && c.replay.Replaying() && f.unrecorded(req):
		return c.out.Do(ctx, req, resp) // the clone did it on its own, so that the journal does not have it
	}
	return c.replay.Do(ctx, req, resp)
}

// unrecorded tells whether the clone has carried a request out itself.
func (f *files) unrecorded(req *wasi.Request) bool {
	hs := req.Handles()
	for _, h := range hs {
		if !f.trip.Covers(h) {
			return false
		}
	}
	return len(hs) > 0
}

// fallBack readies the files for a body that runs here after all.
func (f *files) fallBack(ctx context.Context, t *trip) error {
	f.abandon()
	if t.files == nil {
		return nil
	}
	if t.journal.Remaining() == 0 {
		return t.files.Close()
	}
	f.trip = t.files
	if t.journal.Harmless() {
		return nil // nobody has seen what the clone read
	}
	clock := func() uint64 { return f.c.proc.WASI.State.Clocks[wasi.Realtime] }
	var err error
	if f.shelter, err = t.files.Shelter(context.WithoutCancel(ctx), f.c.replay, clock); err != nil {
		return fmt.Errorf("%w: the files cannot be read as the clone has read them: %w", migrate.ErrDiverged, err)
	}
	return nil
}

// land ends a shelter: what was done in it is done for real. opened is used besides what the process has.
func (f *files) land(ctx context.Context, opened ...uint64) error {
	if f.shelter == nil {
		f.abandon()
		return nil
	}
	c := f.c
	defer f.abandon()
	if err := f.trip.Return(ctx, f.shelter, c.proc.WASI.State); err != nil {
		return fmt.Errorf("merge files: %w", err)
	}
	if err := f.trip.Prepare(ctx); err != nil {
		return fmt.Errorf("merge files: %w", conflictOf(err))
	}
	if err := f.apply(ctx, f.trip); err != nil {
		return fmt.Errorf("merge files: %w", conflictOf(err))
	}
	c.closeUnused(ctx, opened...)
	return nil
}

// apply merges what came back, and takes it into the report.
func (f *files) apply(ctx context.Context, t *origin.Trip) error {
	c := f.c
	r, err := t.Apply(context.WithoutCancel(ctx))
	for _, x := range r.Conflicts {
		c.report.Conflicts = append(c.report.Conflicts, Conflict{Dir: x.Mount, Path: x.Path, Aside: x.Aside, Kind: x.Kind})
		c.emit(trace.Event{Kind: trace.Conflict, Name: x.Mount + "/" + x.Path, Text: x.Kind})
	}
	f.top = max(f.top, t.Top())
	t.Opened(func(h uint64, name string) { c.out.open(h, name, false) })
	return err
}

// abandon drops what is left of a fallback's files.
func (f *files) abandon() {
	if f.shelter != nil {
		_ = f.shelter.Close() // temporary files
		f.shelter = nil
	}
	if f.trip != nil {
		_ = f.trip.Close()
		f.trip = nil
	}
}

// follows tells whether the file of a handle would be on the clone with the process.
func (c *Controller) follows(h uint64) bool {
	o, ok := c.cfg.Local.Opened(h)
	return ok && c.cfg.Files.Replicated(o.Mount)
}

// pathCalls are WASI's functions on paths, fileCalls those on what is open.
var (
	pathCalls = []string{
		"path_open", "path_filestat_get", "path_filestat_set_times", "path_create_directory", "path_remove_directory", "path_unlink_file",
		"path_rename", "path_link", "path_symlink", "path_readlink", "fd_readdir",
	}
	fileCalls   = []string{"fd_read", "fd_pread", "fd_write", "fd_pwrite", "fd_filestat_get", "fd_seek", "fd_filestat_set_size", "fd_filestat_set_times", "fd_allocate"}
	changeCalls = []string{
		"path_open", "fd_write", "fd_pwrite", "fd_filestat_set_size", "fd_filestat_set_times", "fd_allocate", "path_filestat_set_times",
		"path_create_directory", "path_remove_directory", "path_unlink_file", "path_rename", "path_link", "path_symlink",
	}
)

// needsFiles tells whether the candidate can do anything with files.
func (t *trip) needsFiles() bool {
	if t.reaches(pathCalls...) {
		return true
	}
	if !t.reaches(fileCalls...) {
		return false
	}
	for _, fd := range t.c.proc.WASI.State.FDs() {
		if fd.Kind == wasi.KindFile {
			return true
		}
	}
	return false
}

// departFiles pins the directories, and tells the clone.
func (t *trip) departFiles(ctx context.Context) error {
	c := t.c
	if c.cfg.Files == nil || !t.needsFiles() {
		return nil
	}
	begin := time.Now()
	now := uint64(max(begin.UnixNano(), 0))
	files, err := c.cfg.Files.Depart(ctx, c.cfg.Local, c.proc.WASI.State, c.files.peer, c.files.top, now)
	if err != nil || files == nil {
		return err
	}
	t.files = files
	if !t.reaches("path_open") {
		files.Confine()
	}
	t.emit(trace.Event{Kind: trace.Pinned, Took: time.Since(begin)})
	start := files.Start()
	if !c.mayUpload(uint64(len(start)) + t.pending) {
		return errUpload
	}
	if len(start) > wire.MaxFiles {
		return refuseFiles(fmt.Errorf("what is open takes %d bytes to describe", len(start)))
	}
	if err := t.sendFiles(ctx, wire.FilesStart, start); err != nil {
		return err
	}
	files.Started()
	return files.Push(pushBytes, t.give(ctx))
}

func (t *trip) sendFiles(ctx context.Context, kind wire.FilesKind, data []byte) error {
	t.filesUp += uint64(len(data))
	return t.send(ctx)(&wire.Files{Offload: t.attempt.Offload, Attempt: t.attempt.Number, Kind: kind, Data: data})
}

// give returns what sends a Give message, if that much may leave.
func (t *trip) give(ctx context.Context) func([]byte) error {
	return func(data []byte) error {
		kind, peer := wire.FilesGive, t.c.files.peer
		if t.c.slow() && !peer.Torn() {
			var err error
			if data, err = peer.Pack(data); err != nil {
				return err
			}
			kind = wire.FilesPacked
		}
		err := errUpload
		if t.c.mayUpload(uint64(len(data)) + t.pending) {
			err = t.sendFiles(ctx, kind, data)
		}
		if err != nil && kind == wire.FilesPacked {
			peer.Tear() // it is lacking in the stream
		}
		return err
	}
}

// Links on which it takes less time to compress files than to send what that saves; nearby, while the rate is not known, it
// does not.
const (
	slowRate = 30 << 20 // bytes per second
	slowRTT  = 3 * time.Millisecond
)

// slow tells whether files are worth compressing together.
func (c *Controller) slow() bool {
	if rate := c.cfg.Cloud.Rate(); rate > 0 {
		return rate < slowRate
	}
	return c.conn.end.LeastRTT() > slowRTT
}

// handleFiles takes what a clone says of files.
func (t *trip) handleFiles(ctx context.Context, m *wire.Files) error {
	if t.files == nil {
		return distrust("files, of which it has none")
	}
	begin := time.Now()
	defer func() { t.serving += time.Since(begin) }()
	var err error
	switch m.Kind {
	case wire.FilesWant:
		before := t.filesUp
		err = t.files.Answer(ctx, m.Data, t.give(ctx))
		t.emit(trace.Event{Kind: trace.FilesGiven, Up: t.filesUp - before, Down: uint64(len(m.Data)), Took: time.Since(begin)})
	case wire.FilesBack, wire.FilesData:
		t.filesDown += uint64(len(m.Data))
		if err = t.files.Take(m.Kind == wire.FilesBack, m.Data); err != nil && !errors.Is(err, origin.ErrDistrust) {
			return refuseFiles(err) // a limit, or the device's own disk
		}
	default:
		return distrust("files of kind %d", m.Kind)
	}
	return filesFault(err)
}

// filesFault makes what a clone does wrong with files one of the rules it breaks.
func filesFault(err error) error {
	if errors.Is(err, origin.ErrDistrust) {
		return distrust("%w", err)
	}
	return err
}

// issued tells what a handle was issued for, by the device or by the clone.
func (t *trip) issued(h uint64) (wasi.FD, bool) {
	if fd, ok := t.c.cfg.Local.Issued(h); ok || t.files == nil {
		return fd, ok
	}
	return t.files.Issued(h)
}

// prepareFiles makes changes of files ready to count.
func (t *trip) prepareFiles(ctx context.Context) error {
	if t.files == nil {
		return nil
	}
	if t.files.Changes() && !t.reaches(changeCalls...) {
		return distrust("changing files is out of the candidate's reach")
	}
	err := t.files.Prepare(ctx)
	var conflict *reconcile.ConflictError
	switch {
	case err == nil, ctx.Err() != nil:
		return err
	case errors.As(err, &conflict):
		return &guestError{conflictOf(err)}
	case errors.Is(err, origin.ErrDistrust), errors.Is(err, reconcile.ErrInvalid):
		return distrust("%w", err)
	}
	return refuseFiles(err)
}

// conflictOf marks conflicts that end the run.
func conflictOf(err error) error {
	var conflict *reconcile.ConflictError
	if errors.As(err, &conflict) {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return err
}

// applyFiles merges changes of files.
func (t *trip) applyFiles(ctx context.Context) error {
	if t.files == nil {
		return nil
	}
	err := t.c.files.apply(ctx, t.files)
	var conflict *reconcile.ConflictError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, origin.ErrBegun), errors.As(err, &conflict):
		return &guestError{fmt.Errorf("merge files: %w", conflictOf(err))}
	}
	return refuseFiles(err)
}

// closeFiles ends the use of pinned versions.
func (t *trip) closeFiles() {
	if t.files != nil {
		_ = t.files.Close() // temporary files
	}
}
