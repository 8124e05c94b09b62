//go:build wasmtime && cgo && linux && (amd64 || arm64)

package wasmtime

// #include "glue.h"
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/linmem"
)

// groups finds a group by the number that C code has of it.
var groups registry

// registry is read on every host call and written when instances come and go.
type registry struct {
	mu   sync.Mutex
	list atomic.Pointer[[]*atomic.Pointer[group]] // by number
	free []uint64                                 // guarded by mu
}

// add gives a group its number, which is never 0.
func (r *registry) add(g *group) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.free); n > 0 {
		id := r.free[n-1]
		r.free = r.free[:n-1]
		(*r.list.Load())[id].Store(g)
		return id
	}
	var list []*atomic.Pointer[group]
	if old := r.list.Load(); old != nil {
		list = *old
	} else {
		list = append(list, new(atomic.Pointer[group]))
	}
	// Readers have a shorter slice over the same array, or the array before it.
	cell := new(atomic.Pointer[group])
	cell.Store(g)
	list = append(list, cell)
	r.list.Store(&list)
	return uint64(len(list) - 1)
}

func (r *registry) get(id uint64) *group { return (*r.list.Load())[id].Load() }

func (r *registry) remove(id uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	(*r.list.Load())[id].Store(nil)
	r.free = append(r.free, id)
}

// ccHostCall calls a host function; false ends the guest.
//
//export ccHostCall
func ccHostCall(id C.uint64_t, index C.uint32_t, stack *C.uint64_t, slots C.uint32_t) (ok C.bool) {
	g := groups.get(uint64(id))
	if g.failure != nil {
		return false // the guest should have ended already
	}
	if g.stops.Load() != 0 {
		g.failure = g.stopped(g.ctx)
		return false
	}
	returned := false
	defer g.guard("host function", &returned)
	h := &g.hosts[index]
	err := h.call(g.ctx, h.in, unsafe.Slice((*uint64)(unsafe.Pointer(stack)), int(slots)))
	returned = true
	if err != nil {
		g.failure = err
		return false
	}
	return true
}

// guard is deferred around code that is not ours. The zero result of the function that a panic ends is a refusal. A
// goroutine that ends leaves C code in the middle of a call: nothing may run in this group any more, and nothing on this
// thread, which ends with a goroutine that is locked to it.
func (g *group) guard(what string, returned *bool) {
	if *returned {
		return
	}
	if r := recover(); r != nil {
		g.failure = fmt.Errorf("%s failed: %v", what, r)
		return
	}
	g.lost = true
	runtime.LockOSThread()
}

// ccNewMemory makes the memory of an instance.
//
//export ccNewMemory
func ccNewMemory(id C.uint64_t, index C.uint32_t, minimum, maximum C.size_t, out *C.cc_linear) (ok C.bool) {
	g := groups.get(uint64(id))
	returned := false
	defer g.guard("making memory", &returned)
	in := g.insts[index]
	mem, err := in.newMemory(uint64(minimum), min(uint64(maximum), linmem.MaxSize))
	returned = true
	if err != nil {
		g.failure = fmt.Errorf("make memory: %w", err)
		return false
	}
	in.mem = mem
	g.mems = append(g.mems, mem)
	out.base = (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(mem.Bytes())))
	out.size = C.size_t(mem.Size())
	out.capacity = C.size_t(mem.Max())
	return true
}

func (in *instance) newMemory(minSize, maxSize uint64) (*linmem.Memory, error) {
	if minSize > maxSize {
		return nil, fmt.Errorf("%d bytes are more than %d, which is the most", minSize, maxSize)
	}
	var mem *linmem.Memory
	var err error
	if in.make != nil {
		mem, err = in.make(minSize, maxSize, reservation)
	} else {
		mem, err = linmem.New(minSize, maxSize, linmem.Options{Reserve: reservation})
	}
	if err != nil {
		return nil, err
	}
	if mem.Size() < minSize {
		return nil, errors.Join(fmt.Errorf("%d bytes instead of %d", mem.Size(), minSize), mem.Close())
	}
	if mem.Reserved() < reservation {
		return nil, errors.Join(fmt.Errorf("%d bytes of address space instead of %d", mem.Reserved(), reservation), mem.Close())
	}
	return mem, nil
}

// ccGrowMemory grows a memory to a size.
//
//export ccGrowMemory
func ccGrowMemory(id C.uint64_t, index C.uint32_t, size C.size_t) C.bool {
	g := groups.get(uint64(id))
	mem := g.insts[index].mem
	if mem.Grow(uint64(size)) {
		return true
	}
	if !g.growing && mem.Withheld(uint64(size)) && g.failure == nil {
		// The guest gets -1, but nobody sees what it makes of that: it is ended at its next host call, or its return.
		g.failure = engine.ErrMemory
	}
	return false
}
