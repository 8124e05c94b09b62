// Package overlay is a vfs.FS that shows a pinned tree of package tree and keeps what is changed beside it: a read-only
// view with a copy-on-write layer. It behaves as a host directory on Linux does, so that a guest cannot tell where its
// files are. What the view lacks (nodes of directories, lists, chunks) it asks of a Source when it is needed, and shortly
// before (package readahead).
//
// Two of them over equal trees, on which the same is done, give equal results: numbers, times and order are not left to
// chance. What was done comes out as a tree.Delta.
//
// A handle is for one goroutine at a time, a tree for many. One lock guards all but contents that are fetched: it is held
// while a node of a directory is fetched, never while a chunk is.
package overlay

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/clonecloud/clonecloud/internal/overlay/readahead"
	"github.com/clonecloud/clonecloud/internal/overlay/written"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
)

var (
	// ErrNeedsDevice marks what only the device can do: use what the pinned tree does not describe, change what has
	// names outside it, or decide what depends on who owns a file.
	ErrNeedsDevice = errors.New("this needs the device")
	// ErrLimit marks that more was written than Config.Limit.
	ErrLimit = written.ErrLimit
	// ErrMalformed marks a pinned tree, or a part of it, that cannot be.
	ErrMalformed = errors.New("malformed pinned tree")
)

// Source gives what a view lacks. Calls block; an error of theirs ends the call into the guest (vfs.AbortError). It is
// used by many goroutines at once. What it returns must not be changed afterwards, by neither side.
type Source interface {
	// Node returns a decoded node of the directory with number dir. The source caches.
	Node(ctx context.Context, dir uint64, id tree.ID) (*tree.Node, error)
	// Content returns the chunks of a file whose entry does not hold them: list is the id of the encoded list, zero if
	// the file was not hashed yet.
	Content(ctx context.Context, ino uint64, list tree.ID) ([]tree.Chunk, error)
	// Chunk returns the bytes of a chunk that is not a hole and lies at off in the file with number ino.
	Chunk(ctx context.Context, ino, off uint64, c tree.Chunk) ([]byte, error)
	// Ahead says what is probably needed soon, in that order. It does not wait, and need not do anything.
	Ahead(ctx context.Context, wants []Want)
}

// Want is what is probably needed soon.
type Want = readahead.Want

// Config says what a view is of. Root, Source and Now must be set.
type Config struct {
	Root   tree.Entry
	Source Source
	// Now is the time of a change, in ns since 1970. It is asked once for each operation that changes something, in order.
	Now func() uint64
	// Spool is the folder for what does not stay in memory; "" is the system's for temporary files.
	Spool string
	// Memory bounds the bytes of written data in memory, default 64 MiB.
	Memory uint64
	// Limit bounds written data in all, counted in pages of 4 KiB, default 16 GiB. Writing more is ErrLimit.
	Limit uint64
	// ReadOnly refuses changes, with EROFS.
	ReadOnly bool
}

// FS is the view.
type FS struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	root    *inode            // guarded by mu, as all inodes
	inodes  map[uint64]*inode // guarded by mu
	last    uint64            // number of the last file made; guarded by mu
	changes uint64            // operations that changed something; guarded by mu
	dirs    map[*inode]bool   // directories whose names changed; guarded by mu
	idle    []*inode          // files that nobody has open, oldest first; guarded by mu
	nodes   nodeCache         // guarded by mu
	data    *written.Store    // guarded by mu
	closed  bool              // guarded by mu
	ahead   *prefetcher
}

// New returns a view of the tree below cfg.Root. ctx bounds all that it asks of its source. Close it after use.
func New(ctx context.Context, cfg Config) *FS {
	if cfg.Memory == 0 {
		cfg.Memory = 64 << 20
	}
	if cfg.Limit == 0 {
		cfg.Limit = 16 << 30
	}
	f := &FS{cfg: cfg, inodes: map[uint64]*inode{}, last: tree.FirstNew - 1, dirs: map[*inode]bool{}}
	f.ctx, f.cancel = context.WithCancel(ctx)
	f.data = written.New(cfg.Spool, cfg.Memory, cfg.Limit)
	f.root = f.pinned(nil, "", &cfg.Root)
	f.ahead = newPrefetcher(f)
	return f
}

// Root opens the top directory.
func (f *FS) Root() (vfs.Dir, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.root.kind != tree.KindDir || f.root.flags&tree.Apart != 0 {
		return nil, abort("open the top of a pinned tree", ErrMalformed)
	}
	return f.handle(f.root, vfs.OpenRead).(vfs.Dir), nil
}

// Open opens what the device has open when it pins the tree. path, slash-separated and "" for the root, is one of its
// places in the pinned tree, and ino its number there. Access is not checked: the device has it open already.
func (f *FS) Open(ino uint64, path string, flags vfs.OpenFlags) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	in, err := f.pinnedAt(path)
	switch {
	case err != nil:
		return nil, err
	case in.ino != ino:
		return nil, abort(fmt.Sprintf("open %q", path), fmt.Errorf("%w: its number is %d, not %d", ErrMalformed, in.ino, ino))
	case in.kind != tree.KindDir && in.kind != tree.KindFile || in.flags&tree.Apart != 0:
		f.settle(in)
		return nil, abort(fmt.Sprintf("open %q", path), ErrNeedsDevice)
	}
	return f.handle(in, flags), nil
}

// pinnedAt finds a path in the pinned tree, whatever has changed since. Preconditions: f.mu is held.
func (f *FS) pinnedAt(path string) (*inode, error) {
	if !tree.ValidPath(path) {
		return nil, abort(fmt.Sprintf("find %q", path), ErrMalformed)
	}
	in := f.root
	for len(path) > 0 {
		name, rest := cutPath(path)
		if in.kind != tree.KindDir || in.flags&tree.Apart != 0 {
			return nil, abort(fmt.Sprintf("find %q below what is no directory", path), ErrMalformed)
		}
		e, err := f.lookupPinned(in, name)
		if err != nil {
			return nil, err
		}
		if e == nil {
			return nil, abort(fmt.Sprintf("find %q", path), ErrMalformed)
		}
		next, err := f.materialise(in, e)
		if err != nil {
			return nil, err
		}
		in, path = next, rest
	}
	return in, nil
}

// Ino returns the number of an open file of this view.
func (f *FS) Ino(file vfs.File) (uint64, bool) {
	h := handleOf(file)
	if h == nil || h.fs != f {
		return 0, false
	}
	return h.in.ino, true
}

// Written tells whether something was changed, if only for a time.
func (f *FS) Written() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changes > 0
}

// Close drops what was written and ends what is being fetched. Open files are of no use afterwards.
func (f *FS) Close() error {
	f.cancel()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return f.data.Close()
}

func isAbort(err error) bool {
	var a *vfs.AbortError
	return errors.As(err, &a)
}

// abort wraps what is not the guest's error.
func abort(what string, err error) error {
	if isAbort(err) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return &vfs.AbortError{Err: fmt.Errorf("%s: %w", what, err)}
}

// now is the time of a change that is about to be made. Preconditions: f.mu is held.
func (f *FS) now() uint64 {
	f.changes++
	return f.cfg.Now()
}
