package overlay

import (
	"fmt"
	"sort"

	"github.com/clonecloud/clonecloud/internal/overlay/readahead"
	"github.com/clonecloud/clonecloud/internal/overlay/written"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
)

// maxFile is the largest size of a file on ext4 with blocks of 4 KiB.
const maxFile = 1<<44 - 4096

// content is what a regular file holds: what was written, where nothing was the bytes that were pinned, up to keep, and
// else zeros.
type content struct {
	layout  *layout // of the pinned bytes; nil: not known yet
	keep    uint64
	written written.File
	stream  readahead.Stream
}

// layout is where the chunks of a file end. It does not change.
type layout struct {
	chunks []tree.Chunk
	ends   []uint64
}

func layoutOf(chunks []tree.Chunk) *layout {
	l := &layout{chunks: chunks, ends: make([]uint64, len(chunks))}
	at := uint64(0)
	for i, c := range chunks {
		at += c.Size
		l.ends[i] = at
	}
	return l
}

// find returns the chunk that holds a byte.
func (l *layout) find(off uint64) int {
	return sort.Search(len(l.ends), func(i int) bool { return l.ends[i] > off })
}

func (l *layout) start(i int) uint64 { return l.ends[i] - l.chunks[i].Size }

// checkChunks checks that chunks are those of a file of size bytes.
func checkChunks(chunks []tree.Chunk, size uint64) error {
	if len(chunks) > tree.MaxList {
		return fmt.Errorf("%w: %d chunks", ErrMalformed, len(chunks))
	}
	sum := uint64(0)
	for _, c := range chunks {
		if c.Size == 0 || c.Size > size-sum || !c.Hole() && c.Size > tree.MaxChunk {
			return fmt.Errorf("%w: chunk of %d bytes at %d of a file of %d", ErrMalformed, c.Size, sum, size)
		}
		sum += c.Size
	}
	if sum != size {
		return fmt.Errorf("%w: chunks of %d bytes in a file of %d", ErrMalformed, sum, size)
	}
	return nil
}

// layoutOf returns where the pinned bytes of a file are, and asks the source for it if need be. Preconditions: f.mu is
// not held.
func (f *FS) layoutOf(in *inode) (*layout, error) {
	f.mu.Lock()
	l := in.file.layout
	f.mu.Unlock()
	if l != nil {
		return l, nil
	}
	chunks, err := f.cfg.Source.Content(f.ctx, in.ino, in.base.List)
	if err == nil {
		err = checkChunks(chunks, in.base.Size)
	}
	if err != nil {
		return nil, abort(fmt.Sprintf("read %q", in.place()), err)
	}
	l = layoutOf(chunks)
	f.mu.Lock()
	defer f.mu.Unlock()
	if in.file.layout == nil {
		in.file.layout = l
	}
	return in.file.layout, nil
}

// ReadAt implements vfs.File.
func (h *fileHandle) ReadAt(p []byte, off uint64) (int, error) {
	if off > 1<<63-1 {
		return 0, vfs.EINVAL
	}
	if err := h.lock(); err != nil {
		return 0, err
	}
	in := h.in
	switch {
	case len(p) == 0:
		h.fs.mu.Unlock()
		return 0, nil
	case !h.read:
		h.fs.mu.Unlock()
		return 0, vfs.EBADF
	case off >= in.size:
		h.fs.mu.Unlock()
		return 0, nil
	}
	p = p[:min(uint64(len(p)), in.size-off)]
	keep := in.file.keep
	gaps, err := h.fs.data.Read(&in.file.written, p, off)
	h.fs.mu.Unlock()
	if err != nil {
		return 0, abort("read what was written", err)
	}
	for _, g := range gaps {
		part := p[g.From-off : g.To-off]
		if g.From < keep {
			n := min(g.To, keep) - g.From
			if err := h.fs.readPinned(in, part[:n], g.From, &h.recent); err != nil {
				return 0, err
			}
			part = part[n:]
		}
		clear(part)
	}
	return len(p), nil
}

// readPinned reads bytes that were pinned. near keeps the chunks that were read last. Preconditions: f.mu is not held; all
// of p lies in the file as it was pinned.
func (f *FS) readPinned(in *inode, p []byte, off uint64, near *[2]recent) error {
	if n := copyRecent(p, off, near); n == len(p) {
		return nil
	}
	l, err := f.reading(in, off, uint64(len(p)))
	if err != nil {
		return err
	}
	for i := l.find(off); len(p) > 0; i++ {
		c, start := l.chunks[i], l.start(i)
		n := min(uint64(len(p)), l.ends[i]-off)
		if c.Hole() {
			clear(p[:n])
		} else {
			data, err := f.chunk(in, start, c, near)
			if err != nil {
				return err
			}
			copy(p[:n], data[off-start:])
		}
		p, off = p[n:], off+n
	}
	return nil
}

// reading tells the read-ahead, before and after it is known what the file consists of.
func (f *FS) reading(in *inode, off, n uint64) (*layout, error) {
	l, err := f.layoutOf(in)
	if err != nil {
		return nil, err
	}
	f.ahead.reading(in, l, off, n)
	return l, nil
}

// copyRecent serves a read from one chunk that is at hand; it returns len(p), or 0.
func copyRecent(p []byte, off uint64, near *[2]recent) int {
	for i := range near {
		r := &near[i]
		if off >= r.at && off-r.at < uint64(len(r.data)) && uint64(len(p)) <= uint64(len(r.data))-(off-r.at) {
			return copy(p, r.data[off-r.at:])
		}
	}
	return 0
}

func (f *FS) chunk(in *inode, at uint64, c tree.Chunk, near *[2]recent) ([]byte, error) {
	for i := range near {
		if near[i].data != nil && near[i].at == at {
			return near[i].data, nil
		}
	}
	data, err := f.cfg.Source.Chunk(f.ctx, in.ino, at, c)
	if err == nil && uint64(len(data)) != c.Size {
		err = fmt.Errorf("%w: chunk %v has %d bytes, not %d", ErrMalformed, c.ID, len(data), c.Size)
	}
	if err != nil {
		return nil, abort(fmt.Sprintf("read %q at %d", in.place(), at), err)
	}
	near[1] = near[0]
	near[0] = recent{at, data}
	return data, nil
}

// write writes into a file. It returns the blocks that have become crowded. Preconditions: f.mu is held.
func (f *FS) write(in *inode, p []byte, off uint64) (crowded []uint64, err error) {
	if f.cfg.ReadOnly {
		return nil, vfs.EROFS
	}
	if err := shared(in); err != nil {
		return nil, err
	}
	if crowded, err = f.data.Write(&in.file.written, p, off); err != nil {
		return nil, abort("write to a replicated file", err)
	}
	in.touch(f.now())
	in.size = max(in.size, off+uint64(len(p)))
	return crowded, nil
}

// resize cuts a file, or adds zeros. Preconditions: f.mu is held.
func (f *FS) resize(in *inode, size uint64) error {
	if f.cfg.ReadOnly {
		return vfs.EROFS
	}
	if err := shared(in); err != nil {
		return err
	}
	if size < in.size {
		f.data.Truncate(&in.file.written, size, in.size)
		in.file.keep = min(in.file.keep, size)
	}
	in.touch(f.now())
	in.size = size
	return nil
}

// fill completes blocks that consist of too many runs, so that keeping account of them takes no more memory than they do.
// Preconditions: f.mu is not held.
func (f *FS) fill(in *inode, crowded []uint64) error {
	for _, at := range crowded {
		buf := make([]byte, written.BlockSize)
		from := at * written.BlockSize
		f.mu.Lock()
		keep := in.file.keep
		f.mu.Unlock()
		if from < keep {
			var near [2]recent
			if err := f.readPinned(in, buf[:min(keep-from, written.BlockSize)], from, &near); err != nil {
				return err
			}
		}
		f.mu.Lock()
		err := f.data.Fill(&in.file.written, at, buf, in.file.keep, in.size)
		f.mu.Unlock()
		if err != nil {
			return abort("write to a replicated file", err)
		}
	}
	return nil
}
