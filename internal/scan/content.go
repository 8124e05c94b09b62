package scan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/scan/hostdir"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// How much older than the beginning of hashing a file must be for its hash to be trusted when its attributes are seen
// again: the system's clock of files goes in steps, and what changes within one cannot be told apart (git calls it
// racily clean). Some file systems keep seconds, or have another machine's clock.
const (
	marginFine   = 100 * time.Millisecond
	marginCoarse = 3 * time.Second
	marginRemote = 15 * time.Second
)

// attempts is how often a file that changes while it is hashed is read.
const attempts = 3

// hashed is what a file was found to consist of; without content, that what it was thought to consist of is wrong.
type hashed struct {
	rec     rec
	path    string
	content *content
}

// racy tells whether a file like r may have changed again without a sign after start.
func (t *Tree) racy(r *rec, start time.Time) bool {
	margin := marginFine
	switch {
	case !t.local:
		margin = marginRemote
	case r.mtime%1e6 == 0 && r.ctime%1e6 == 0:
		margin = marginCoarse
	}
	return max(r.mtime, r.ctime)+uint64(margin) > uint64(max(start.UnixNano(), 0))
}

// openPath opens a regular file for reading.
func (t *Tree) openPath(path string) (*os.File, rec, error) {
	names := strings.Split(path, "/")
	h, err := t.descend(names[:len(names)-1])
	if err != nil {
		return nil, rec{}, err
	}
	f, s, err := h.OpenFile(names[len(names)-1])
	if err = errors.Join(err, h.Close()); err != nil {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
		return nil, rec{}, err
	}
	if s.Kind != tree.KindFile || s.Dev != t.self.Dev {
		return nil, rec{}, errors.Join(ErrChanged, f.Close())
	}
	return f, t.recOf(&s), nil
}

// hash reads the file at path as it is now. It must be want, unless that is nil, from its beginning to its end.
func (t *Tree) hash(ctx context.Context, path string, want *rec) (*hashed, error) {
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	for try := 1; ; try++ {
		h, err := t.hashOnce(ctx, path, want)
		if err == nil || want != nil || try == attempts || !errors.Is(err, ErrChanged) {
			return h, err
		}
	}
}

func (t *Tree) hashOnce(ctx context.Context, path string, want *rec) (h *hashed, err error) {
	start := t.now()
	f, before, err := t.openPath(path)
	if err != nil {
		if hostdir.IsGone(err) {
			err = fmt.Errorf("%w: %w", ErrChanged, err)
		}
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if want != nil && !want.sameContents(&before) {
		return nil, ErrChanged
	}
	c := &content{racy: t.racy(&before, start)}
	err = tree.Cut(&source{f, ctx, before.size}, before.size, func(x tree.Chunk, _ []byte) error {
		c.chunks = append(c.chunks, x)
		return nil
	})
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, ErrChanged
	}
	if err != nil {
		return nil, err
	}
	s, err := hostdir.StatFile(f)
	if err != nil {
		return nil, err
	}
	if after := t.recOf(&s); !before.sameContents(&after) {
		return nil, ErrChanged
	}
	if len(c.chunks) > tree.MaxInline {
		c.list = tree.IDOf(tree.EncodeList(c.chunks))
	}
	return &hashed{rec: before, path: path, content: c}, nil
}

// source reads a file until the context ends, and knows its holes.
type source struct {
	f    *os.File
	ctx  context.Context
	size uint64
}

func (s *source) Read(p []byte) (int, error) {
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	return s.f.Read(p)
}

func (s *source) ReadAt(p []byte, off int64) (int, error) {
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	return s.f.ReadAt(p, off)
}

func (s *source) NextData(off uint64) (uint64, error) { return hostdir.NextData(s.f, off, s.size), nil }

// keep lets the next update take over what was hashed.
func (t *Tree) keep(h *hashed) {
	t.hashMu.Lock()
	defer t.hashMu.Unlock()
	t.hashed[h.rec.ino] = h
}

func (t *Tree) kept(ino uint64, r *rec) *content {
	t.hashMu.Lock()
	defer t.hashMu.Unlock()
	if h := t.hashed[ino]; h != nil && h.rec.sameContents(r) {
		return h.content
	}
	return nil
}

func (t *Tree) takePending() map[uint64]*hashed {
	t.hashMu.Lock()
	defer t.hashMu.Unlock()
	pending := make(map[uint64]*hashed, len(t.hashed))
	for ino, h := range t.hashed {
		pending[ino] = h
	}
	return pending
}

// dropPending forgets what an update has taken over, or found to be out of date.
func (t *Tree) dropPending(pending map[uint64]*hashed) {
	t.hashMu.Lock()
	defer t.hashMu.Unlock()
	for ino, h := range pending {
		if t.hashed[ino] == h {
			delete(t.hashed, ino)
		}
	}
}

// dirsOf returns the directories that hold a file. t.mu is held.
func (t *Tree) dirsOf(ino uint64, path string) []*dir {
	if l := t.links[ino]; l != nil {
		var list []*dir
		for d := range l.dirs {
			list = append(list, d)
		}
		return list
	}
	d := t.root
	names := strings.Split(path, "/")
	for _, name := range names[:len(names)-1] {
		if d = d.child(name); d == nil {
			return nil
		}
	}
	return []*dir{d}
}

// file finds a regular file by its number.
func (v *Version) file(ino uint64) (path string, m *image, at int, err error) {
	path, ok := v.Path(ino)
	if ok && path != "" {
		m, at, ok = v.place(path)
	}
	switch {
	case !ok || m == nil || m.recs[at].kind != tree.KindFile:
		return "", nil, 0, fmt.Errorf("file %d: %w", ino, os.ErrNotExist)
	case m.recs[at].flags&tree.Apart != 0:
		return "", nil, 0, fmt.Errorf("file %s: %w", path, tree.ErrTooLarge)
	}
	return path, m, at, nil
}

// Content returns what a file consists of, and hashes it if that is not known. ErrChanged: it is no longer what was
// pinned.
func (v *Version) Content(ctx context.Context, ino uint64) ([]tree.Chunk, error) {
	path, m, at, err := v.file(ino)
	if err != nil {
		return nil, err
	}
	if c := m.content(at); c != nil {
		return c.chunks, nil
	}
	r := &m.recs[at]
	v.mu.Lock()
	c := v.found[ino]
	v.mu.Unlock()
	if c == nil {
		c = v.t.kept(ino, r)
	}
	if c == nil {
		h, err := v.t.hash(ctx, path, r)
		if err != nil {
			return nil, fmt.Errorf("hash file %s: %w", path, err)
		}
		v.t.keep(h)
		c = h.content
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.found == nil {
		v.found = map[uint64]*content{}
	}
	v.found[ino] = c
	return c.chunks, nil
}

// ReadChunk reads a chunk of a file. What it returns is what was pinned, since it has the chunk's hash; else the
// error is ErrChanged.
func (v *Version) ReadChunk(ctx context.Context, ino, off uint64, c tree.Chunk) ([]byte, error) {
	path, m, at, err := v.file(ino)
	if err != nil {
		return nil, err
	}
	size := m.recs[at].size
	if c.Hole() || c.Size == 0 || c.Size > tree.MaxChunk || off > size || c.Size > size-off {
		return nil, fmt.Errorf("read %d bytes at %d of file %s: %w", c.Size, off, path, os.ErrInvalid)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	b, err := v.t.files.Read(hostdir.FileKey{Ino: ino, Ctime: m.recs[at].ctime}, off, c.Size, func() (*os.File, error) {
		f, now, err := v.t.openPath(path)
		if err == nil && now.ino != ino {
			return nil, errors.Join(ErrChanged, f.Close())
		}
		return f, err
	})
	switch {
	case hostdir.IsGone(err), errors.Is(err, io.EOF):
		err = ErrChanged
	case err == nil && tree.IDOf(b) != c.ID:
		// The file has changed, perhaps without a sign. It is hashed again before the next version says what it is.
		v.t.keep(&hashed{rec: m.recs[at], path: path})
		err = ErrChanged
	}
	if err != nil {
		return nil, fmt.Errorf("read %d bytes at %d of file %s: %w", c.Size, off, path, err)
	}
	return b, nil
}

// Hash reads and hashes the files that have not been, of those that only accepts (nil: all). The next Pin knows of
// it. Files that do not stand still or cannot be read are passed over; the error names one of them.
func (t *Tree) Hash(ctx context.Context, only func(path string) bool) error {
	t.mu.Lock()
	v := t.last
	t.mu.Unlock()
	if v == nil {
		var err error
		if v, err = t.Pin(ctx); err != nil {
			return err
		}
	}
	b := &batch{t: t, ctx: ctx, only: only, paths: make(chan string)}
	var done sync.WaitGroup
	for range workers() {
		done.Go(b.work)
	}
	b.walk(v.top, "")
	close(b.paths)
	done.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return b.err
}

// batch is one run of Hash.
type batch struct {
	t     *Tree
	ctx   context.Context
	only  func(string) bool
	paths chan string

	mu    sync.Mutex
	files int    // guarded by mu
	bytes uint64 // guarded by mu
	err   error  // guarded by mu: the first
}

func (b *batch) walk(m *image, prefix string) {
	for i := range m.recs {
		r := &m.recs[i]
		path := prefix + m.name(i)
		switch r.kind {
		case tree.KindDir:
			b.walk(m.child(i), path+"/")
		case tree.KindFile:
			if m.content(i) != nil || r.flags&(tree.Apart|tree.Readable) != tree.Readable || b.t.kept(r.ino, r) != nil || b.only != nil && !b.only(path) {
				continue
			}
			select {
			case b.paths <- path:
			case <-b.ctx.Done():
				return
			}
		}
	}
}

func (b *batch) work() {
	for path := range b.paths {
		h, err := b.t.hash(b.ctx, path, nil)
		b.mu.Lock()
		switch {
		case err == nil:
			b.t.keep(h)
			b.files++
			b.bytes += h.rec.size
			if b.t.o.Progress != nil {
				b.t.o.Progress(b.files, b.bytes)
			}
		case b.ctx.Err() == nil && b.err == nil:
			b.err = fmt.Errorf("hash file %s: %w", path, err)
		}
		b.mu.Unlock()
	}
}
