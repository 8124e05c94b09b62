package overlay

import (
	"github.com/clonecloud/clonecloud/internal/overlay/readahead"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
)

// prefetcher tells the read-ahead what a guest does, and the source what comes of it. All is guarded by FS.mu.
type prefetcher struct {
	f     *FS
	order readahead.Order
	walk  readahead.Walker
	asked map[tree.ID]uint64 // nodes that were asked for, and at which event
	event uint64
	wants []Want // of the present event
}

func newPrefetcher(f *FS) *prefetcher {
	return &prefetcher{f: f, asked: map[tree.ID]uint64{}}
}

// begin and end stand around an event. Preconditions: FS.mu is held; for those that follow, too.
func (p *prefetcher) begin() { p.event++ }

func (p *prefetcher) end() {
	if len(p.wants) > 0 {
		p.f.cfg.Source.Ahead(p.f.ctx, p.wants)
		p.wants = nil
	}
}

// placeOf is where a directory was pinned.
func placeOf(in *inode) *readahead.Place {
	d := &readahead.Place{Ino: in.ino, ID: in.base.Dir, Name: in.base.Name}
	if in.from != nil {
		d.Up = placeOf(in.from)
	}
	return d
}

// Look implements readahead.Looker. It reads nodes of directories that the guest has been in, and those that were asked for long
// enough ago to have come: it may have to wait for one, as the guest would soon.
func (p *prefetcher) Look(d *readahead.Place, id tree.ID, far bool) *tree.Node {
	in := p.f.inodes[d.Ino]
	if in == nil {
		at, ok := p.asked[id]
		if !ok && far {
			p.node(d.Ino, id)
		}
		if !ok || at == p.event || !far {
			return nil
		}
		in = &inode{ino: d.Ino, kind: tree.KindDir, base: &tree.Entry{Name: d.Name}}
	} else if in.kind != tree.KindDir {
		return nil
	}
	n, err := p.f.node(in, id)
	if err != nil {
		return nil // whoever needs it will be told
	}
	return n
}

// node asks for a node of a directory, once.
func (p *prefetcher) node(ino uint64, id tree.ID) {
	if _, ok := p.asked[id]; ok {
		return
	}
	if len(p.asked) >= readahead.MaxAsked {
		clear(p.asked)
	}
	p.asked[id] = p.event
	p.wants = append(p.wants, Want{Ino: ino, Node: id})
}

// leaves asks for the leaves of a directory that is about to be listed.
func (p *prefetcher) leaves(dir *inode, n *tree.Node) {
	if len(n.Leaves) == 0 {
		return
	}
	p.begin()
	for i := range n.Leaves[1:] {
		p.node(dir.ino, n.Leaves[i+1].ID)
	}
	p.end()
}

func (p *prefetcher) listed(dir *inode) {
	if dir.base == nil {
		return
	}
	p.begin()
	p.walk.List(placeOf(dir), p, func(d *readahead.Place) {
		if p.f.inodes[d.Ino] == nil {
			p.node(d.Ino, d.ID)
		}
	})
	p.end()
}

func (p *prefetcher) opened(in *inode, flags vfs.OpenFlags) {
	if in.kind != tree.KindFile || in.base == nil || flags&vfs.OpenRead == 0 || flags&vfs.OpenTruncate != 0 {
		return
	}
	p.begin()
	x := readahead.File{Dir: placeOf(in.from), Name: in.base.Name, Ino: in.ino, Size: in.base.Size}
	wants, window, asked := p.order.Open(x, p)
	p.wants = append(p.wants, wants...)
	in.file.stream.Open(window, asked)
	p.end()
}

// reading is told before pinned bytes of a file are fetched. Preconditions: FS.mu is not held.
func (p *prefetcher) reading(in *inode, l *layout, off, n uint64) {
	p.f.mu.Lock()
	wants := in.file.stream.Read(in.ino, l.chunks, l.ends, off, n)
	p.order.Read(in.ino, l.ends[l.find(off+n-1)])
	p.f.mu.Unlock()
	if len(wants) > 0 {
		p.f.cfg.Source.Ahead(p.f.ctx, wants)
	}
}
