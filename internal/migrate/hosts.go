package migrate

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime/debug"

	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// OpHost is the operation of a function that an embedder offers and a clone calls home for: Path its module, Path2 its
// name, Size the number of results, Flags the number of parameters of one with ranges. Data has the arguments as 8
// bytes each, and behind them the bytes of the ranges that the function reads, in their order. The answer's Data has
// the results as 8 bytes each, and behind them, for each range that it writes, 4 bytes of length and the bytes.
const OpHost = wasi.OpOther

// HostCall is one call of a host function. It and all that it holds are valid until the function returns.
type HostCall struct {
	// Params are the arguments and Results, all zero at first, the results: raw slots, as WebAssembly has them. I32 and the
	// like convert them.
	Params, Results []uint64
	// Ranges are the bytes of the declared ranges, in their order: copies, which go back into the guest's memory, in the
	// same order, when the function returns. What is only written is zero at first. A function may shorten what it
	// writes: memory behind that stays as it is.
	Ranges [][]byte
	// Memory is all of the guest's memory, for a pinned function alone.
	Memory *Memory
}

// HostFunc is a function that an embedder offers to the guest.
type HostFunc struct {
	// Ranges are the parts of the guest's memory that it reads and writes; Func in them does not count.
	Ranges []wire.HostRange
	// Pinned gives it all of the memory: it and its callers stay on the device.
	Pinned bool
	// Call runs it. An error ends the guest.
	Call func(ctx context.Context, c *HostCall) error
}

// Hosts are an embedder's functions, by module and name.
type Hosts map[string]map[string]HostFunc

// Has tells whether the function is there.
func (h Hosts) Has(module, name string) bool { return h[module][name].Call != nil }

// ErrHostLimit marks a call of a host function with more bytes than Linkage.MaxHost.
var ErrHostLimit = errors.New("too many bytes for one call of a host function")

// defaultMaxHost is Linkage.MaxHost where it is not set: a guest may name the same memory in several ranges.
const defaultMaxHost = 1 << 30

// System answers OpHost from h and passes everything else to s.
func (h Hosts) System(s wasi.System) wasi.System {
	if len(h) == 0 {
		return s
	}
	return &hostSystem{h, s}
}

type hostSystem struct {
	hosts Hosts
	next  wasi.System
}

// Do implements wasi.System. What came from a clone has passed CheckHost; still nothing here relies on that.
func (s *hostSystem) Do(ctx context.Context, req *wasi.Request, resp *wasi.Response) error {
	if req.Op != OpHost {
		return s.next.Do(ctx, req, resp)
	}
	f := s.hosts[req.Path][req.Path2]
	c, ok := f.open(req)
	if !ok {
		return fmt.Errorf("call of host function %q %q: not declared, or malformed", req.Path, req.Path2)
	}
	lengths := make([]int, len(c.Ranges))
	for i, b := range c.Ranges {
		lengths[i] = len(b)
	}
	if err := call(ctx, f.Call, c, req.Path, req.Path2); err != nil {
		return err
	}
	resp.Data = resp.Data[:0]
	for _, v := range c.Results {
		resp.Data = binary.LittleEndian.AppendUint64(resp.Data, v)
	}
	for i, r := range f.Ranges {
		if r.Direction&wire.DirOut == 0 {
			continue
		}
		if len(c.Ranges) != len(lengths) || len(c.Ranges[i]) > lengths[i] {
			return fmt.Errorf("host function %s.%s made its range %d larger than the guest said", req.Path, req.Path2, i)
		}
		resp.Data = binary.LittleEndian.AppendUint32(resp.Data, uint32(len(c.Ranges[i])))
		resp.Data = append(resp.Data, c.Ranges[i]...)
	}
	return nil
}

// call calls an embedder's function; its errors say whose they are.
func call(ctx context.Context, f func(context.Context, *HostCall) error, c *HostCall, module, name string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("host function %s.%s panicked: %v\n%s", module, name, p, debug.Stack())
		}
	}()
	results := len(c.Results)
	if err := f(ctx, c); err != nil {
		return fmt.Errorf("host function %s.%s: %w", module, name, err)
	}
	if len(c.Results) != results {
		return fmt.Errorf("host function %s.%s gave %d results, the guest wants %d", module, name, len(c.Results), results)
	}
	return nil
}

// open makes the call that a request stands for: false for one that the function cannot get.
func (f *HostFunc) open(req *wasi.Request) (*HostCall, bool) {
	n := len(req.Data) / 8
	if len(f.Ranges) > 0 {
		n = int(min(req.Flags, maxHostSlots))
	}
	if f.Call == nil || f.Pinned || 8*n > len(req.Data) || len(f.Ranges) == 0 && len(req.Data)%8 != 0 || req.Size > maxHostSlots {
		return nil, false
	}
	slots := make([]uint64, n+int(req.Size))
	for i := range n {
		slots[i] = binary.LittleEndian.Uint64(req.Data[8*i:])
	}
	c := &HostCall{Params: slots[:n:n], Results: slots[n:]}
	in, held := req.Data[8*n:], uint64(0)
	for _, r := range f.Ranges {
		if int(r.Pointer) >= n || int(r.Length) >= n {
			return nil, false
		}
		_, size := span(r, c.Params)
		if held += size; size > defaultMaxHost || held > defaultMaxHost || r.Direction&wire.DirIn != 0 && size > uint64(len(in)) {
			return nil, false
		}
		b := make([]byte, size)
		if r.Direction&wire.DirIn != 0 {
			// A copy: the request is compared with later ones.
			copy(b, in)
			in = in[size:]
		}
		c.Ranges = append(c.Ranges, b)
	}
	return c, len(f.Ranges) == 0 || len(in) == 0
}

// span is where a range of a call begins and how many bytes it has.
func span(r wire.HostRange, params []uint64) (at, n uint64) {
	count := uint64(r.Count)
	if count == 0 {
		count = uint64(uint32(params[r.Length]))
	}
	return uint64(uint32(params[r.Pointer])), count * uint64(r.Size)
}

const maxHostSlots = wire.MaxParams

// RangesOf lists the ranges of the functions that m imports, as a greeting has them.
func (h Hosts) RangesOf(m *wasm.Module) []wire.HostRange {
	var list []wire.HostRange
	index := uint32(0)
	for i := range m.Imports {
		im := &m.Imports[i]
		if im.Kind != wasm.ExternFunc {
			continue
		}
		for _, r := range h[im.Module][im.Name].Ranges {
			r.Func = index
			list = append(list, r)
		}
		index++
	}
	return list
}

// HostsOf is what a clone links m with: every function that it imports, with the ranges that its device has declared. Only
// that they are there counts, since calls go home.
func HostsOf(m *wasm.Module, ranges []wire.HostRange) (Hosts, error) {
	h := Hosts{}
	home := func(context.Context, *HostCall) error { return errors.New("BUG: host call on the clone") }
	index := uint32(0)
	for i := range m.Imports {
		im := &m.Imports[i]
		if im.Kind != wasm.ExternFunc {
			continue
		}
		f := HostFunc{Call: home}
		for len(ranges) > 0 && ranges[0].Func == index {
			f.Ranges, ranges = append(f.Ranges, ranges[0]), ranges[1:]
		}
		if t, ok := m.FuncType(index); ok {
			if err := CheckRanges(m, &t, f.Ranges); err != nil {
				return nil, fmt.Errorf("function %d: %w", index, err)
			}
		}
		if h[im.Module] == nil {
			h[im.Module] = map[string]HostFunc{}
		}
		h[im.Module][im.Name] = f
		index++
	}
	if len(ranges) > 0 {
		return nil, fmt.Errorf("%w: ranges of function %d, and the module imports %d", ErrRanges, ranges[0].Func, index)
	}
	return h, nil
}

// I32 is argument i as a signed integer.
func (c *HostCall) I32(i int) int32 { return int32(uint32(c.Params[i])) }

// I64 is argument i as a signed integer.
func (c *HostCall) I64(i int) int64 { return int64(c.Params[i]) }

// F32 is argument i as a number.
func (c *HostCall) F32(i int) float32 { return math.Float32frombits(uint32(c.Params[i])) }

// F64 is argument i as a number.
func (c *HostCall) F64(i int) float64 { return math.Float64frombits(c.Params[i]) }

// SetI32 sets result i.
func (c *HostCall) SetI32(i int, v int32) { c.Results[i] = uint64(uint32(v)) }

// SetI64 sets result i.
func (c *HostCall) SetI64(i int, v int64) { c.Results[i] = uint64(v) }

// SetF32 sets result i.
func (c *HostCall) SetF32(i int, v float32) { c.Results[i] = uint64(math.Float32bits(v)) }

// SetF64 sets result i.
func (c *HostCall) SetF64(i int, v float64) { c.Results[i] = math.Float64bits(v) }
