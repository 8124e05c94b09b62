package clonecloud

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/runner"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// HostModule is a module of functions that the application offers to the guest, by name.
type HostModule map[string]HostFunc

// HostFunc is a function that the application offers to the guest. It runs on the device, also when a clone calls it: the
// clone waits meanwhile. What it says of itself decides what that takes:
//
//   - Params and Results alone: it gets and gives numbers.
//   - Ranges: it gets and gives parts of the guest's memory, too, which travel with the call. An offload whose calls carry more
//     than 1 MiB each way comes home for them.
//   - Pinned: it gets all of the memory. Functions of the guest that may call it never leave the device.
//
// Processes of one program call it at once, each from a goroutine of its own.
type HostFunc struct {
	// Params and Results are its type, which must be that of the import.
	Params, Results []ValueType
	Ranges          []Range
	Pinned          bool
	// Call runs it. An error ends the guest and is what the call of the guest returns, wrapped. What the clone has done
	// before the call and after it may be done again by the device, but the call itself is never repeated: its answer is.
	Call func(ctx context.Context, call *HostCall) error
}

// HostCall is one call of a HostFunc.
type HostCall = migrate.HostCall

// Memory is the memory of a guest, as a pinned function gets it.
type Memory = migrate.Memory

// ErrBounds marks a range of addresses that does not lie within a memory.
var ErrBounds = migrate.ErrBounds

// Range is a part of the guest's memory that a HostFunc gets as HostCall.Ranges: so many elements of Size bytes each from
// where the parameter Pointer points. Count says how many, or, if it is 0, the parameter Length does. Both parameters are
// positions in Params, of type I32. A range that does not lie within the memory traps, as an access by the guest does.
type Range struct {
	Pointer, Length int
	Count           uint32
	Size            uint32 // default: 1
	Direction       Direction
}

// Direction says which way the bytes of a Range go.
type Direction uint8

// The directions.
const (
	In    = Direction(wire.DirIn)    // the function reads them
	Out   = Direction(wire.DirOut)   // the function writes them, all but what it cuts off: they are zero at first
	InOut = Direction(wire.DirInOut) // both
)

// faults lists what can be seen to be wrong without the module.
func (m HostModule) faults(name string, fault func(format string, args ...any)) {
	if name == runner.ReservedModule || name == wasi.Preview1.String() || name == wasi.Unstable.String() {
		fault("host module %q has a name that is taken", name)
	}
	for _, f := range slices.Sorted(maps.Keys(m)) {
		h := m[f]
		h.faults(func(format string, args ...any) {
			fault("host function %s.%s: %s", name, f, fmt.Sprintf(format, args...))
		})
	}
}

func (h *HostFunc) faults(fault func(format string, args ...any)) {
	for _, t := range slices.Concat(h.Params, h.Results) {
		if !engine.IsNumber(byte(t)) {
			fault("%v is no type of a parameter or result: there are I32, I64, F32 and F64", t)
		}
	}
	switch {
	case h.Call == nil:
		fault("it has no Call")
	case max(len(h.Params), len(h.Results)) > maxHostValues:
		fault("%d parameters and %d results, the limit is %d", len(h.Params), len(h.Results), maxHostValues)
	case h.Pinned && len(h.Ranges) > 0:
		fault("it is pinned and has ranges: a pinned function gets all of the memory")
	case len(h.Ranges) > wire.MaxFuncRanges:
		fault("%d ranges, the limit is %d", len(h.Ranges), wire.MaxFuncRanges)
	}
	for i, r := range h.Ranges {
		parameter := func(field string, p int) {
			if p < 0 || p >= len(h.Params) || h.Params[p] != I32 {
				fault("range %d: %s names parameter %d, which is no I32", i, field, p)
			}
		}
		parameter("Pointer", r.Pointer)
		switch {
		case r.Count > 0 && r.Length != 0:
			fault("range %d: it has both Count and Length", i)
		case r.Count == 0 && r.Length == r.Pointer:
			fault("range %d: Length names the parameter that is the pointer; set Length or Count", i)
		case r.Count == 0:
			parameter("Length", r.Length)
		}
		if r.Direction == 0 || r.Direction > InOut {
			fault("range %d: no direction %d: there are In, Out and InOut", i, r.Direction)
		}
	}
}

const maxHostValues = wire.MaxParams - 1

// hosts are the functions as the parts below know them. Preconditions: they have no faults.
func (c *Config) hosts() migrate.Hosts {
	all := migrate.Hosts{}
	for module, fs := range c.Hosts {
		all[module] = map[string]migrate.HostFunc{}
		for name, f := range fs {
			h := migrate.HostFunc{Pinned: f.Pinned, Call: f.Call}
			for _, r := range f.Ranges {
				h.Ranges = append(h.Ranges, wire.HostRange{
					Pointer: uint32(r.Pointer), Length: uint32(r.Length), Count: r.Count, Size: max(r.Size, 1), Direction: wire.Direction(r.Direction),
				})
			}
			all[module][name] = h
		}
	}
	return all
}

// suits tells whether a module imports nothing but what it can get.
func (c *Config) suits(m *wasm.Module) error {
	for i := range m.Imports {
		im := &m.Imports[i]
		if im.Module == wasi.Preview1.String() || im.Module == wasi.Unstable.String() {
			continue // the engine knows them all
		}
		what := fmt.Sprintf("import %s.%s", im.Module, im.Name)
		if im.Kind != wasm.ExternFunc {
			return fmt.Errorf("%s: it is no function, and nothing else can be given", what)
		}
		if uint64(im.Type) >= uint64(len(m.Types)) {
			continue // the engine says what is wrong with it
		}
		t := &m.Types[im.Type]
		want := typeText(t.Params, t.Results)
		f, ok := c.Hosts[im.Module][im.Name]
		if !ok {
			return fmt.Errorf("%s: the module wants a function %s that nobody offers: it is no part of WASI, and not in Config.Hosts", what, want)
		}
		if got := typeText(valTypes(f.Params), valTypes(f.Results)); got != want {
			return fmt.Errorf("%s: the module wants a function %s, and Config.Hosts has one %s", what, want, got)
		}
		if len(f.Ranges) > 0 && len(m.MemoryTypes()) == 0 {
			return fmt.Errorf("%s: it is declared with memory ranges, and the module has no memory", what)
		}
	}
	return nil
}
