package push

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecloud/clonecloud/internal/replica"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// errImage marks an image that does not hold together.
var errImage = errors.New("the image of the directory is incomplete")

// plan is what a push consists of, in order: units, first directory nodes and then files.
type plan struct {
	nodes []tree.ID
	files []file
	sums  []uint64 // bytes of the files before each, and of all
}

type file struct {
	ino  uint64
	size uint64
}

func newPlan(ctx context.Context, cfg *Config) (*plan, error) {
	p := &plan{}
	if err := p.addNodes(ctx, cfg.Image); err != nil {
		return nil, err
	}
	seen := map[uint64]bool{}
	for _, path := range cfg.Used {
		if e, ok := cfg.Image.Lookup(path); ok {
			p.addFile(&e, seen)
		}
	}
	if !cfg.UsedOnly {
		if err := p.addAll(ctx, cfg.Image, seen); err != nil {
			return nil, err
		}
	}
	p.sums = make([]uint64, 1, len(p.files)+1)
	for i := range p.files {
		p.sums = append(p.sums, p.sums[i]+p.files[i].size)
	}
	return p, nil
}

// addNodes gathers all directory nodes, from the root down.
func (p *plan) addNodes(ctx context.Context, v Image) error {
	root := v.Root()
	p.nodes = []tree.ID{root.Dir}
	seen := map[tree.ID]bool{root.Dir: true}
	for i := 0; i < len(p.nodes); i++ {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		b, ok := v.Node(p.nodes[i])
		if !ok {
			return fmt.Errorf("%w: node %v is not there", errImage, p.nodes[i])
		}
		n, err := tree.DecodeNode(b)
		if err != nil {
			return fmt.Errorf("%w: node %v: %w", errImage, p.nodes[i], err)
		}
		add := func(id tree.ID) {
			if !seen[id] {
				seen[id] = true
				p.nodes = append(p.nodes, id)
			}
		}
		for _, l := range n.Leaves {
			add(l.ID)
		}
		for k := range n.Entries {
			if e := &n.Entries[k]; e.Kind == tree.KindDir && e.Flags&tree.Apart == 0 {
				add(e.Dir)
			}
		}
	}
	return nil
}

// addAll adds the files below the root in order of their directories.
func (p *plan) addAll(ctx context.Context, v Image, seen map[uint64]bool) error {
	dirs := []string{""}
	for len(dirs) > 0 {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		entries, ok := v.Entries(dir)
		if !ok {
			return fmt.Errorf("%w: directory %q is not there", errImage, dir)
		}
		first := len(dirs)
		for i := range entries {
			e := &entries[i]
			if e.Kind != tree.KindDir {
				p.addFile(e, seen)
			} else if e.Flags&tree.Apart == 0 {
				dirs = append(dirs, below(dir, e.Name))
			}
		}
		for a, b := first, len(dirs)-1; a < b; a, b = a+1, b-1 { // the first name is the next
			dirs[a], dirs[b] = dirs[b], dirs[a]
		}
	}
	return nil
}

func below(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// addFile adds a file that a clone could read, once whatever its names.
func (p *plan) addFile(e *tree.Entry, seen map[uint64]bool) {
	if e.Kind != tree.KindFile || e.Size == 0 || e.Flags&tree.Apart != 0 || e.Flags&tree.Readable == 0 || seen[e.Ino] {
		return
	}
	seen[e.Ino] = true
	p.files = append(p.files, file{e.Ino, e.Size})
}

func (p *plan) units() int { return len(p.nodes) + len(p.files) }

// total is the bytes of all files, before those of the files before a unit.
func (p *plan) total() uint64 { return p.sums[len(p.files)] }

func (p *plan) before(unit int) uint64 { return p.sums[max(unit-len(p.nodes), 0)] }

// item is an object that the node should have.
type item struct {
	id   tree.ID
	unit int
	off  uint64 // of a chunk, and
	size uint64 // its size; 0: a node or a list
	list []byte // of a list
}

// items returns what a unit consists of.
func (p *plan) items(ctx context.Context, v Image, unit int) ([]item, error) {
	if unit < len(p.nodes) {
		return []item{{id: p.nodes[unit], unit: unit}}, nil
	}
	chunks, err := v.Content(ctx, p.files[unit-len(p.nodes)].ino)
	if err != nil {
		return nil, err
	}
	items := make([]item, 0, len(chunks)+1)
	if len(chunks) > tree.MaxInline {
		if b := tree.EncodeList(chunks); len(b) <= replica.MaxObject {
			items = append(items, item{id: tree.IDOf(b), unit: unit, list: b})
		}
	}
	off := uint64(0)
	for _, c := range chunks {
		if !c.Hole() {
			items = append(items, item{id: c.ID, unit: unit, off: off, size: c.Size})
		}
		off += c.Size
	}
	return items, nil
}

// data reads an object; nil: it is too large to travel.
func (p *plan) data(ctx context.Context, v Image, it *item) ([]byte, error) {
	switch {
	case it.list != nil:
		return it.list, nil
	case it.size > 0:
		return v.ReadChunk(ctx, p.files[it.unit-len(p.nodes)].ino, it.off, tree.Chunk{ID: it.id, Size: it.size})
	}
	b, ok := v.Node(it.id)
	if !ok {
		return nil, fmt.Errorf("%w: node %v is gone", errImage, it.id)
	}
	if len(b) > replica.MaxObject {
		return nil, nil
	}
	return b, nil
}
