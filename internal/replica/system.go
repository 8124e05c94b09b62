package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/clonecloud/clonecloud/internal/overlay"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// Config says how the files of an attempt are served.
type Config struct {
	// Home carries out what is not of the files.
	Home wasi.System
	// Source gives what is lacking of a mount.
	Source func(index uint32) overlay.Source
	// Numbers gives those by which the guest knows the files of a mount; they must not change while the System is used.
	Numbers func(index uint32) *local.Numbers
	// Clock is the last time that the process has seen.
	Clock func() uint64
	// Spool is a folder for what is written, Memory and Limit its bytes in memory and in all.
	Spool         string
	Memory, Limit uint64
}

// System is a wasi.System that serves calls on files from pinned versions, and passes all else on. Two of them that
// begin alike and are asked the same answer the same.
type System struct {
	home   wasi.System
	files  *local.System
	mounts []Mount
	trees  []*overlay.FS
	first  uint64 // handles above it were issued here
	now    uint64
	clock  func() uint64
	given  map[uint64][]wasi.Dirent // listings that open directories began with
}

// NewSystem begins to serve what s says. ctx bounds the life of the System. Close it after use.
func NewSystem(ctx context.Context, s *Start, cfg Config) (_ *System, err error) {
	y := &System{home: cfg.Home, mounts: s.Mounts, first: s.Handles, now: s.Now, clock: cfg.Clock, given: map[uint64][]wasi.Dirent{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, y.Close())
		}
	}()
	lc := local.Config{Now: y.tick}
	for i := range s.Mounts {
		m := &s.Mounts[i]
		t := overlay.New(ctx, overlay.Config{
			Root: m.Root, Source: cfg.Source(m.Index), Now: y.tick, Spool: cfg.Spool, Memory: cfg.Memory, Limit: cfg.Limit,
		})
		y.trees = append(y.trees, t)
		lc.Mounts = append(lc.Mounts, local.Mount{FS: t, Guest: "replica", ReadOnly: m.ReadOnly})
	}
	if y.files, err = local.New(lc); err != nil {
		return nil, fmt.Errorf("open replicated directories: %w", err)
	}
	if err := y.files.Begin(s.Handles); err != nil {
		return nil, err
	}
	for i := range s.Mounts {
		m := &s.Mounts[i]
		y.files.GoOn(i, cfg.Numbers(m.Index))
		y.files.SetDev(i, m.Dev)
		for _, o := range m.Open {
			if err := y.adopt(i, o); err != nil {
				return nil, fmt.Errorf("open %q of replicated directory %d: %w", o.Path, m.Index, err)
			}
		}
	}
	return y, nil
}

// adopt opens what the device has open.
func (y *System) adopt(mount int, o Open) error {
	if o.Issued.Handle > y.first {
		return fmt.Errorf("%w: handle %d is not issued yet", ErrMalformed, o.Issued.Handle)
	}
	f, err := y.trees[mount].Open(o.Ino, o.Path, FlagsOf(o.Issued))
	if err != nil {
		return err
	}
	if o.Listing != nil {
		y.given[o.Issued.Handle] = o.Listing
	}
	return y.files.Adopt(local.Open{Issued: o.Issued, Mount: mount, File: f, Virtual: o.Virtual, Listing: o.Listing})
}

// FlagsOf are the flags to open again what was issued so.
func FlagsOf(fd wasi.FD) vfs.OpenFlags {
	if fd.Kind == wasi.KindDir {
		return vfs.OpenDirectory
	}
	var f vfs.OpenFlags
	if fd.Base&wasi.RightRead != 0 {
		f |= vfs.OpenRead
	}
	if fd.Base&(wasi.RightWrite) != 0 {
		f |= vfs.OpenWrite
	}
	return f
}

// tick is the time of a change: later than all changes before it, not before what the process has seen of the clock, and
// the same on both sides.
func (y *System) tick() uint64 {
	y.now = max(y.now+1, y.clock())
	return y.now
}

// has tells whether a handle is of the files.
func (y *System) has(h uint64) bool {
	_, ok := y.files.Issued(h)
	return ok
}

// Serves tells whether the files, and nothing else, answer a request.
func (y *System) Serves(req *wasi.Request) bool {
	hs := req.Handles()
	return len(hs) > 0 && !slices.ContainsFunc(hs, func(h uint64) bool { return !y.has(h) })
}

// Do implements wasi.System.
func (y *System) Do(ctx context.Context, req *wasi.Request, resp *wasi.Response) error {
	switch req.Op { // what all programs do most often, without a list of handles
	case wasi.OpClockTime, wasi.OpSleep, wasi.OpOutput:
		return y.home.Do(ctx, req, resp)
	case wasi.OpReadAt, wasi.OpWriteAt, wasi.OpAppend, wasi.OpOpen, wasi.OpClose, wasi.OpStat, wasi.OpStatPath, wasi.OpReadDir:
		if y.has(req.Handle) {
			return y.files.Do(ctx, req, resp)
		}
		return y.home.Do(ctx, req, resp)
	case wasi.OpPoll:
		return y.poll(ctx, req, resp)
	}
	hs := req.Handles()
	mine := 0
	for _, h := range hs {
		if y.has(h) {
			mine++
		}
	}
	switch {
	case mine == 0:
		return y.home.Do(ctx, req, resp)
	case mine == len(hs):
		return y.files.Do(ctx, req, resp)
	}
	resp.Errno = vfs.ErrnoOf(y.files.Across(req)) // a rename or a link from one mount to another
	return nil
}

// poll answers for files, which are always ready, and asks for the rest what is ready now.
func (y *System) poll(ctx context.Context, req *wasi.Request, resp *wasi.Response) error {
	subs, _ := wasi.ParseSubs(req.Data) // none: the home says what is wrong
	var mine, rest []int
	for i, s := range subs {
		switch {
		case s.Kind == wasi.SubClock:
		case y.has(s.Arg):
			mine = append(mine, i)
		default:
			rest = append(rest, i)
		}
	}
	switch {
	case len(mine) == 0:
		return y.home.Do(ctx, req, resp)
	case len(rest) == 0:
		return y.files.Do(ctx, req, resp)
	}
	ask := *req
	ask.Data = nil
	for _, i := range rest {
		ask.Data = wasi.AppendSub(ask.Data, subs[i])
	}
	ask.Data = wasi.AppendSub(ask.Data, wasi.Sub{Kind: wasi.SubClock, Clock: wasi.Monotonic})
	var answer wasi.Response
	if err := y.home.Do(ctx, &ask, &answer); err != nil {
		return err
	}
	resp.Errno = answer.Errno
	if answer.Errno == vfs.Success {
		return y.join(ctx, req, resp, subs, mine, rest, answer.Data)
	}
	return nil
}

// join makes one answer of what is known of files and of the rest, by number of the subscription.
func (y *System) join(ctx context.Context, req *wasi.Request, resp *wasi.Response, subs []wasi.Sub, mine, rest []int, events []byte) error {
	ready := map[int]wasi.Event{}
	for _, ev := range wasi.ParseEvents(events) {
		if int(ev.Index) < len(rest) {
			ev.Index = uint32(rest[ev.Index])
			ready[int(ev.Index)] = ev
		}
	}
	for _, i := range mine {
		one := wasi.Request{Op: wasi.OpPoll, Data: wasi.AppendSub(nil, subs[i]), Realtime: req.Realtime, Monotonic: req.Monotonic}
		var r wasi.Response
		if err := y.files.Do(ctx, &one, &r); err != nil {
			return err
		}
		for _, ev := range wasi.ParseEvents(r.Data) {
			ev.Index = uint32(i)
			ready[i] = ev
		}
	}
	for i := range subs {
		if ev, ok := ready[i]; ok {
			resp.Data = wasi.AppendEvent(resp.Data, ev)
		}
	}
	return nil
}

// Back says what became of the files, for a process that is left with the descriptors of state. The chunks that it
// names are read from what was written as they are asked for.
func (y *System) Back(ctx context.Context, state *wasi.State) (*Back, func(yield func(tree.Object, error) bool), error) {
	b := &Back{}
	used := map[uint64]bool{}
	for _, fd := range state.FDs() {
		used[fd.Handle] = true
	}
	var parts []func(func(tree.Object, error) bool)
	for i := range y.mounts {
		m := BackMount{Index: y.mounts[i].Index}
		m.Numbers, m.Last, _ = y.files.Numbers(i, 0)
		var unnamed []uint64
		for _, h := range y.files.Handles() {
			o, ok := y.files.Opened(h)
			if !ok || !used[h] || o.Mount != i {
				continue
			}
			ino, ok := y.trees[i].Ino(o.File)
			if !ok {
				return nil, nil, fmt.Errorf("BUG: handle %d has no number", h)
			}
			unnamed = append(unnamed, ino)
			was, had := y.given[h]
			if h > y.first || len(o.Listing) != len(was) || !had && o.Listing != nil || !slices.Equal(o.Listing, was) {
				m.Open = append(m.Open, Open{Issued: o.Issued, Ino: ino, Virtual: o.Virtual, Listing: o.Listing})
			}
		}
		d, chunks, err := y.trees[i].Changes(ctx, unnamed)
		if err != nil {
			return nil, nil, err
		}
		if d != nil {
			m.Delta = d.AppendTo(nil)
			parts = append(parts, chunks)
		}
		if m.Delta != nil || len(m.Numbers) > 0 || len(m.Open) > 0 {
			b.Mounts = append(b.Mounts, m)
		}
	}
	return b, func(yield func(tree.Object, error) bool) {
		for _, part := range parts {
			for o, err := range part {
				if !yield(o, err) {
					return
				}
			}
		}
	}, nil
}

// Close drops all that was written.
func (y *System) Close() error {
	var errs []error
	if y.files != nil {
		errs = append(errs, y.files.Close())
	}
	for _, t := range y.trees {
		errs = append(errs, t.Close())
	}
	return errors.Join(errs...)
}
