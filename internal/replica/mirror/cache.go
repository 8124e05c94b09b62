package mirror

import (
	"sync"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// cache holds objects in memory, those used longest ago go first, and decoded directories.
type cache struct {
	most int

	mu      sync.Mutex
	objects map[tree.ID]*cached // guarded by mu
	bytes   int                 // guarded by mu
	// Guarded by mu: a list of all, from the latest used to the first to go.
	first, last *cached
	nodes       map[tree.ID]*tree.Node    // guarded by mu
	nodeBytes   int                       // guarded by mu
	loading     map[tree.ID]chan struct{} // guarded by mu
}

type cached struct {
	id         tree.ID
	data       []byte
	prev, next *cached
}

// maxLoading bounds what is read from the store at once ahead of need.
const maxLoading = 8

// nodeLimit bounds the bytes of nodes that are kept decoded.
const nodeLimit = 64 << 20

func (c *cache) get(id tree.ID) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if wait := c.loading[id]; wait != nil {
		c.mu.Unlock()
		<-wait
		c.mu.Lock()
	}
	x := c.objects[id]
	if x == nil {
		return nil
	}
	c.unlink(x)
	c.push(x)
	return x.data
}

func (c *cache) has(id tree.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.objects[id] != nil || c.loading[id] != nil
}

func (c *cache) put(id tree.ID, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.objects == nil {
		c.objects = map[tree.ID]*cached{}
	}
	if c.objects[id] != nil || len(b) > c.most/4 {
		return
	}
	x := &cached{id: id, data: b}
	c.objects[id] = x
	c.push(x)
	c.bytes += len(b)
	for c.bytes > c.most && c.last != nil {
		old := c.last
		c.unlink(old)
		delete(c.objects, old.id)
		c.bytes -= len(old.data)
	}
}

// load says that an object is about to be read; false: it is there, or enough is being read.
func (c *cache) load(id tree.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.objects[id] != nil || c.loading[id] != nil || len(c.loading) >= maxLoading {
		return false
	}
	if c.loading == nil {
		c.loading = map[tree.ID]chan struct{}{}
	}
	c.loading[id] = make(chan struct{})
	return true
}

func (c *cache) loaded(id tree.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.loading[id])
	delete(c.loading, id)
}

func (c *cache) push(x *cached) {
	x.prev, x.next = nil, c.first
	if c.first != nil {
		c.first.prev = x
	}
	c.first = x
	if c.last == nil {
		c.last = x
	}
}

func (c *cache) unlink(x *cached) {
	if x.prev != nil {
		x.prev.next = x.next
	} else {
		c.first = x.next
	}
	if x.next != nil {
		x.next.prev = x.prev
	} else {
		c.last = x.prev
	}
}

func (c *cache) node(id tree.ID) *tree.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id]
}

func (c *cache) putNode(id tree.ID, n *tree.Node, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nodeBytes += size; c.nodes == nil || c.nodeBytes > nodeLimit {
		c.nodes, c.nodeBytes = map[tree.ID]*tree.Node{}, size
	}
	c.nodes[id] = n
}
