package overlay

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/clonecloud/clonecloud/internal/overlay/written"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// Changes returns what differs from the pinned tree, nil if nothing does. open are the numbers of the files that stay
// open: of what has no name any more only these count. Times are those that the guest saw; one that it set to 0 is 1 ns
// instead, since 0 means none to a Delta.
//
// chunks gives the objects that the delta names, each once, and reads them as it does so; it ends with the first error.
// Nothing may be changed until it is through.
func (f *FS) Changes(ctx context.Context, open []uint64) (d *tree.Delta, chunks func(yield func(tree.Object, error) bool), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	none := func(func(tree.Object, error) bool) {}
	if f.changes == 0 {
		return nil, none, nil
	}
	c := &collector{f: f, ctx: ctx, open: map[uint64]bool{}, mentioned: map[uint64]*inode{}, seen: map[tree.ID]bool{}}
	for _, ino := range open {
		c.open[ino] = true
	}
	c.names()
	if err := c.files(); err != nil {
		return nil, nil, fmt.Errorf("collect changes of files: %w", err)
	}
	c.bases()
	if len(c.d.Dirs) == 0 && len(c.d.Files) == 0 {
		return nil, none, nil
	}
	return &c.d, c.chunks, nil
}

// collector makes a delta. Preconditions of its methods but chunks: f.mu is held.
type collector struct {
	f         *FS
	ctx       context.Context
	d         tree.Delta
	open      map[uint64]bool
	mentioned map[uint64]*inode // that were pinned
	seen      map[tree.ID]bool
	parts     []part
}

// part is where the bytes of a chunk are.
type part struct {
	in    *inode
	chunk written.Chunk
}

func byIno(a, b *inode) int { return cmp.Compare(a.ino, b.ino) }

func (in *inode) changedNames() map[string]change {
	if in.dir == nil {
		return nil
	}
	return in.dir.names
}

func (c *collector) mention(in *inode) uint64 {
	if in.base != nil {
		c.mentioned[in.ino] = in
	}
	return in.ino
}

func (c *collector) names() {
	for _, dir := range slices.SortedFunc(maps.Keys(c.f.dirs), byIno) {
		ch := tree.DirChange{Ino: c.mention(dir)}
		for _, name := range slices.Sorted(maps.Keys(dir.changedNames())) {
			n := tree.NameChange{Name: name}
			if in := dir.dir.names[name].now; in != nil {
				n.Ino = c.mention(in)
			}
			ch.Names = append(ch.Names, n)
		}
		c.d.Dirs = append(c.d.Dirs, ch)
	}
}

func (c *collector) files() error {
	var list []*inode
	for _, in := range c.f.inodes {
		// A pinned directory that is gone has its names removed, and nothing else.
		if in.dirty && (in.nlink > 0 || c.open[in.ino] && (in.base == nil || in.kind != tree.KindDir)) {
			list = append(list, in)
		}
	}
	slices.SortFunc(list, byIno)
	for _, in := range list {
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
		if err := c.file(in); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) file(in *inode) error {
	ch := tree.FileChange{Ino: in.ino, Kind: in.kind}
	isNew := in.base == nil
	if isNew {
		ch.Target = in.target
	}
	if in.hasMtime || isNew {
		ch.Mtime = max(in.mtime, 1)
	}
	if in.hasAtime {
		ch.Atime = max(in.atime, 1)
	}
	if in.kind == tree.KindFile {
		if err := c.contents(in, &ch); err != nil {
			return err
		}
	}
	if !isNew && !ch.Written && !in.hasAtime && len(in.changedNames()) == 0 && in.mtime == in.base.Mtime {
		return nil // it has other names, or is as it was
	}
	c.mention(in)
	c.d.Files = append(c.d.Files, ch)
	return nil
}

func (c *collector) bases() {
	for _, in := range slices.SortedFunc(maps.Values(c.mentioned), byIno) {
		c.d.Bases = append(c.d.Bases, tree.Base{Ino: in.ino, Path: in.place()})
	}
}

// contents says what a file consists of, if that changed.
func (c *collector) contents(in *inode, ch *tree.FileChange) error {
	x := in.file
	if in.base != nil && len(x.written.Runs()) == 0 && in.size == in.base.Size && x.keep == in.size {
		return nil
	}
	p, err := c.f.data.Cut(c.ctx, &x.written, x.keep, in.size)
	if err != nil {
		return fmt.Errorf("file %d: %w", in.ino, err)
	}
	if in.base != nil && x.layout != nil && in.size == in.base.Size && p.Whole && same(p.List, x.layout.chunks) {
		return nil
	}
	ch.Written, ch.Size, ch.Pieces = true, in.size, p.List
	for _, p := range p.Chunks {
		if !c.seen[p.ID] {
			c.seen[p.ID] = true
			c.parts = append(c.parts, part{in, p})
		}
	}
	return nil
}

// same tells whether pieces are these chunks.
func same(pieces []tree.Piece, chunks []tree.Chunk) bool {
	return slices.EqualFunc(pieces, chunks, func(p tree.Piece, c tree.Chunk) bool {
		return !p.Kept && p.Size == c.Size && p.Chunk == c.ID
	})
}

// chunks gives the objects.
func (c *collector) chunks(yield func(tree.Object, error) bool) {
	for _, p := range c.parts {
		data, err := c.read(p)
		if err != nil {
			yield(tree.Object{}, fmt.Errorf("read what was written to file %d: %w", p.in.ino, err))
			return
		}
		if !yield(tree.Object{ID: p.chunk.ID, Data: data}, nil) {
			return
		}
	}
}

func (c *collector) read(p part) ([]byte, error) {
	if c.ctx.Err() != nil {
		return nil, context.Cause(c.ctx)
	}
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	return c.f.data.Chunk(&p.in.file.written, p.chunk)
}
