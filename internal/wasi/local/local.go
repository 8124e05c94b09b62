// Package local is the device's wasi.System: files of package vfs, stdio, clocks and polls behind handles.
package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
)

// Config says what a process may reach. The zero value is a process without files and with empty stdio.
type Config struct {
	// Stdin, Stdout and Stderr may be *os.File (file, pipe, terminal) or anything else; nil is empty, or discards.
	// They are not closed. A writer with a method OSFile() *os.File counts as that file, and is written to.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Mounts         []Mount
	// VirtualClock replaces time by a count: each reading of a clock is 1 ms after the last, sleeping takes no
	// time, and every stream counts as ready. With the same files and input two runs are then equal.
	VirtualClock bool
	// Now is what the present is to files that are given it as a time, in ns. Default: the clock.
	Now func() uint64
}

// Mount is a preopened directory.
type Mount struct {
	FS       vfs.FS
	Guest    string // name that the guest sees, not empty
	ReadOnly bool
}

// System is the device's System: it owns what handles stand for, and checks each request against what its handle
// was issued for, since the request may come from a clone that lies. Not for concurrent use.
type System struct {
	clocks  *wasi.Clocks
	handles map[uint64]*handle
	last    uint64 // last handle issued
	stdio   [3]uint64
	mounts  []mount
	now     func() uint64
}

// mount is a preopened directory; root is the handle that it was issued as, top the same for ourselves.
type mount struct {
	root     uint64
	top      vfs.Dir
	readOnly bool
	inodes   *inodes
}

// MaxHandles bounds what one process can hold open.
const MaxHandles = wasi.MaxFDs

// handle is what a number issued stands for.
type handle struct {
	issued   wasi.FD // as issued, with no offset and flags
	file     vfs.File
	dir      vfs.Dir // the same, of a KindDir
	stream   *stream
	readOnly bool
	mount    int           // that it is below, of a file or directory
	stat     wasi.Stat     // device, inode and type: virtual
	real     wasi.Stat     // as the file system has it
	listing  []wasi.Dirent // of a KindDir, since a reading from its start
}

// New opens the mounts. Close releases them.
func New(cfg Config) (*System, error) {
	l := &System{clocks: wasi.NewClocks(cfg.VirtualClock), handles: map[uint64]*handle{}, now: cfg.Now}
	for i, s := range []*stream{
		newStream(cfg.Stdin, nil), newStream(nil, cfg.Stdout), newStream(nil, cfg.Stderr),
	} {
		s.virtual = cfg.VirtualClock
		fd := wasi.FD{Kind: wasi.KindStream, Type: s.fileType(), Base: wasi.StreamRights &^ wasi.RightWrite}
		if i > 0 {
			fd.Kind, fd.Base = wasi.KindOutput, wasi.StreamRights&^wasi.RightRead
		}
		if fd.Type == vfs.TypeRegular {
			fd.Base |= wasi.RightSeek | wasi.RightTell
		}
		l.stdio[i] = l.issue(&handle{issued: fd, stream: s, stat: wasi.Stat{Ino: uint64(i) + 1, Nlink: 1, Type: fd.Type}})
	}
	for _, m := range cfg.Mounts {
		if err := l.mount(m); err != nil {
			return nil, errors.Join(fmt.Errorf("open preopened directory %q: %w", m.Guest, err), l.Close())
		}
	}
	return l, nil
}

func (l *System) mount(m Mount) error {
	if m.Guest == "" || len(m.Guest) > wasi.MaxPath {
		return vfs.EINVAL
	}
	root, err := m.FS.Root()
	if err != nil {
		return err
	}
	st, err := root.Stat()
	if err != nil {
		return errors.Join(err, root.Close())
	}
	top, err := m.FS.Root()
	if err != nil {
		return errors.Join(err, root.Close())
	}
	n := len(l.mounts)
	t := newInodes(n)
	t.top = st.Dev
	l.mounts = append(l.mounts, mount{inodes: t, top: top, readOnly: m.ReadOnly, root: l.issue(&handle{
		issued: wasi.FD{Kind: wasi.KindDir, Type: vfs.TypeDirectory, Base: wasi.DirRights, Inheriting: wasi.DirRights | wasi.FileRights,
			Preopen: m.Guest},
		file: root, dir: root, readOnly: m.ReadOnly, mount: n, stat: t.virtual(st), real: st,
	})})
	return nil
}

// issue gives h its number.
func (l *System) issue(h *handle) uint64 {
	l.last++
	h.issued.Handle = l.last
	l.handles[l.last] = h
	return l.last
}

// NewState returns the state in which a process begins: stdio as descriptors 0 to 2, then the mounts.
func (l *System) NewState(args, env []string, seed [32]byte) *wasi.State {
	s := wasi.NewState(args, env, seed)
	s.Clocks = l.clocks.Start()
	first := l.stdio[:]
	for _, m := range l.mounts {
		first = append(first, m.root)
	}
	for _, h := range first {
		if h, ok := l.handles[h]; ok {
			fd := h.issued
			_, _ = s.Insert(&fd)
		}
	}
	return s
}

// Stamp takes the time into s, as if the process had just read its clocks, so that they go on from now where the
// process moves to. Virtual clocks do not move by themselves.
func (l *System) Stamp(s *wasi.State) {
	if l.clocks.Virtual() {
		return
	}
	req := &wasi.Request{Realtime: s.Clocks[wasi.Realtime], Monotonic: s.Clocks[wasi.Monotonic]}
	for id := range s.Clocks {
		s.Clocks[id] = l.clocks.Now(id, req)
	}
}

// Issued tells what a handle was issued for, as CheckReturned asks; false if it never was or is closed.
func (l *System) Issued(handle uint64) (wasi.FD, bool) {
	h, ok := l.handles[handle]
	if !ok {
		return wasi.FD{}, false
	}
	return h.issued, true
}

// Handles returns the handles that are open, ascending.
func (l *System) Handles() []uint64 {
	hs := make([]uint64, 0, len(l.handles))
	for h := range l.handles {
		hs = append(hs, h)
	}
	slices.SortFunc(hs, cmp.Compare[uint64])
	return hs
}

// Close closes all handles, but not what Config gave for stdio.
func (l *System) Close() error {
	err := l.releaseAll()
	for _, m := range l.mounts {
		err = errors.Join(err, m.top.Close())
	}
	l.mounts = nil
	return err
}

func (l *System) releaseAll() error {
	var errs []error
	for _, h := range l.Handles() {
		errs = append(errs, l.release(h))
	}
	return errors.Join(errs...)
}

func (l *System) release(n uint64) error {
	h := l.handles[n]
	delete(l.handles, n)
	if h.file != nil {
		return h.file.Close()
	}
	return nil
}

// Do carries out one call.
func (l *System) Do(ctx context.Context, req *wasi.Request, resp *wasi.Response) error {
	if ctx.Err() != nil {
		return fmt.Errorf("carry out %v: %w", req.Op, context.Cause(ctx))
	}
	err := l.do(ctx, req, resp)
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		return fmt.Errorf("carry out %v: %w", req.Op, context.Cause(ctx))
	}
	var abort *vfs.AbortError
	if errors.As(err, &abort) {
		return fmt.Errorf("carry out %v: %w", req.Op, err)
	}
	resp.Errno = vfs.ErrnoOf(err)
	return nil
}

func asError(e wasi.Errno) error {
	if e == vfs.Success {
		return nil
	}
	return e
}

func (l *System) do(ctx context.Context, req *wasi.Request, resp *wasi.Response) error {
	switch req.Op {
	case wasi.OpClockTime, wasi.OpSleep:
		if err := l.clocks.Do(ctx, req, resp); err != nil {
			return err
		}
		return asError(resp.Errno)
	case wasi.OpPoll:
		return l.poll(ctx, req, resp)
	case wasi.OpOpen, wasi.OpStatPath, wasi.OpSetTimesPath, wasi.OpMkdir, wasi.OpRmdir, wasi.OpUnlink,
		wasi.OpRename, wasi.OpLink, wasi.OpSymlink, wasi.OpReadlink:
		return l.doPath(req, resp)
	}
	h, ok := l.handles[req.Handle]
	if !ok {
		return vfs.EBADF
	}
	if req.Op == wasi.OpClose {
		return l.release(req.Handle)
	}
	if h.stream != nil {
		return h.doStream(ctx, req, resp)
	}
	return l.doFile(h, req, resp)
}

// need refuses what a handle was not issued for.
func (h *handle) need(rights wasi.Rights, write bool) error {
	if h.issued.Base&rights != rights {
		return vfs.ENOTCAPABLE
	}
	if write && h.readOnly {
		return vfs.EROFS
	}
	return nil
}
