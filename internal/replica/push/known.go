package push

import (
	"encoding/binary"
	"sync"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// maxKnown bounds the objects that are remembered: then they are asked for again.
const maxKnown = 1 << 20

// Known remembers objects that a node has. Eight bytes of an id stand for it: should two be alike, one of them is brought
// when it is needed. The zero value knows none. Safe for concurrent use.
type Known struct {
	mu  sync.Mutex
	ids map[uint64]struct{} // guarded by mu
}

func short(id tree.ID) uint64 { return binary.LittleEndian.Uint64(id[:]) }

// Has tells whether an object is known.
func (k *Known) Has(id tree.ID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.ids[short(id)]
	return ok
}

// Add adds an object, as far as there is room; false: it was there.
func (k *Known) Add(id tree.ID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.ids[short(id)]; ok {
		return false
	}
	if k.ids == nil {
		k.ids = map[uint64]struct{}{}
	}
	if len(k.ids) < maxKnown {
		k.ids[short(id)] = struct{}{}
	}
	return true
}

// Forget forgets all: the node may have dropped some.
func (k *Known) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ids = nil
}
