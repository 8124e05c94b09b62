package migrate

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// ErrRanges marks declared ranges that the function cannot have.
var ErrRanges = errors.New("declared memory ranges do not suit the module")

// hostImport is an imported function of the embedder's, of one process.
type hostImport struct {
	module, name    string
	params, results []byte
	HostFunc
	limit uint64 // of bytes in one call
}

// link makes the embedder's functions that the program imports, and calls add for each. What it returns is Process.hosts.
func (p *Program) link(l Linkage, add func(*hostImport)) (map[[2]string]*hostImport, error) {
	hosts := map[[2]string]*hostImport{}
	limit := l.MaxHost
	if limit == 0 {
		limit = defaultMaxHost
	}
	for i := range p.Original.Imports {
		im := &p.Original.Imports[i]
		if im.Kind != wasm.ExternFunc || !l.Hosts.Has(im.Module, im.Name) {
			continue
		}
		f := &hostImport{module: im.Module, name: im.Name, HostFunc: l.Hosts[im.Module][im.Name], limit: limit}
		t := &p.Original.Types[im.Type]
		if !numbers(t.Params, &f.params) || !numbers(t.Results, &f.results) {
			continue // the engine says that it is not there
		}
		if err := CheckRanges(p.Original, t, f.Ranges); err != nil {
			return nil, fmt.Errorf("host function %s.%s: %w", im.Module, im.Name, err)
		}
		add(f)
		hosts[[2]string{im.Module, im.Name}] = f
	}
	return hosts, nil
}

// numbers takes the kinds of value types that are all numbers; false if one is not.
func numbers(types []wasm.ValType, kinds *[]byte) bool {
	for _, t := range types {
		if !engine.IsNumber(t.Kind) {
			return false
		}
		*kinds = append(*kinds, t.Kind)
	}
	return true
}

// CheckRanges tells whether a function of type t that m imports can have these ranges.
func CheckRanges(m *wasm.Module, t *wasm.FuncType, ranges []wire.HostRange) error {
	if len(ranges) == 0 {
		return nil
	}
	if len(ranges) > wire.MaxFuncRanges {
		return fmt.Errorf("%w: %d ranges, the limit is %d", ErrRanges, len(ranges), wire.MaxFuncRanges)
	}
	if len(m.MemoryTypes()) == 0 {
		return fmt.Errorf("%w: the module has no memory", ErrRanges)
	}
	for i := range ranges {
		r := &ranges[i]
		if err := r.Validate(); err != nil {
			return fmt.Errorf("%w: range %d: %w", ErrRanges, i, err)
		}
		used := []uint32{r.Pointer}
		if r.Count == 0 {
			used = append(used, r.Length)
		}
		for _, p := range used {
			if uint64(p) >= uint64(len(t.Params)) || t.Params[p].Kind != wasm.I32 {
				return fmt.Errorf("%w: range %d: parameter %d is no i32", ErrRanges, i, p)
			}
		}
	}
	return nil
}

// hostFunc is what the guest is linked with.
func (f *hostImport) hostFunc(w *wasi.Process) engine.HostFunc {
	call := func(ctx context.Context, inst engine.Instance, stack []uint64) error {
		return f.callOut(ctx, w, inst.Memory(), stack)
	}
	if f.Pinned {
		call = func(ctx context.Context, inst engine.Instance, stack []uint64) error {
			return f.callPinned(ctx, inst.Memory(), stack)
		}
	}
	return engine.HostFunc{Params: f.params, Results: f.results, Call: call}
}

// callOut carries the arguments and the ranges that go in to the System, and what comes back into the guest.
func (f *hostImport) callOut(ctx context.Context, w *wasi.Process, m *linmem.Memory, stack []uint64) error {
	var mem []byte
	if m != nil {
		mem = m.Bytes()
	}
	in, _, err := f.measure(stack, uint64(len(mem)), engineTrap)
	if err != nil {
		return err
	}
	req := wasi.Request{Op: OpHost, Path: f.module, Path2: f.name, Size: uint64(len(f.results))}
	req.Data = make([]byte, 0, in)
	for i := range f.params {
		req.Data = binary.LittleEndian.AppendUint64(req.Data, stack[i])
	}
	if len(f.Ranges) > 0 {
		req.Flags = uint64(len(f.params))
	}
	for _, r := range f.Ranges {
		if at, n := span(r, stack); r.Direction&wire.DirIn != 0 {
			req.Data = append(req.Data, mem[at:at+n]...)
		}
	}
	var resp wasi.Response
	if err := w.System.Do(ctx, &req, &resp); err != nil {
		return err
	}
	return f.takeIn(resp.Data, mem, stack)
}

// engineTrap is how a range that does not lie within the memory ends the guest.
func engineTrap(f *hostImport, i int) error {
	return &engine.Trap{Kind: engine.TrapMemoryBounds, Detail: fmt.Sprintf("range %d of host function %s.%s", i, f.module, f.name)}
}

// measure counts the bytes that go with a call and come back, numbers included. outside makes the error for a range that
// does not lie within the first size bytes.
func (f *hostImport) measure(params []uint64, size uint64, outside func(*hostImport, int) error) (in, out uint64, err error) {
	in, out = 8*uint64(len(f.params)), 8*uint64(len(f.results))
	var held uint64 // by the call itself
	for i, r := range f.Ranges {
		at, n := span(r, params)
		if n > size || at > size-n {
			return 0, 0, outside(f, i)
		}
		held += n
		if r.Direction&wire.DirIn != 0 {
			in += n
		}
		if r.Direction&wire.DirOut != 0 {
			out += n + 4
		}
	}
	if max(in, out) > f.limit || held > defaultMaxHost {
		return 0, 0, fmt.Errorf("host function %s.%s: %w: %d", f.module, f.name, ErrHostLimit, max(in, out, held))
	}
	return in, out, nil
}

// takeIn takes the results from an answer, and what was written into the memory. It comes from a device, or from here.
func (f *hostImport) takeIn(b, mem []byte, stack []uint64) error {
	bad := func() error {
		return fmt.Errorf("host function %s.%s: the answer does not suit the call", f.module, f.name)
	}
	n := 8 * len(f.results)
	if len(b) < n {
		return bad()
	}
	type piece struct{ to, from []byte }
	var pieces []piece
	rest := b[n:]
	for _, r := range f.Ranges {
		if r.Direction&wire.DirOut == 0 {
			continue
		}
		if len(rest) < 4 {
			return bad()
		}
		at, room := span(r, stack)
		got := uint64(binary.LittleEndian.Uint32(rest))
		if rest = rest[4:]; got > room || got > uint64(len(rest)) {
			return bad()
		}
		pieces = append(pieces, piece{mem[at : at+got], rest[:got]})
		rest = rest[got:]
	}
	if len(rest) > 0 {
		return bad()
	}
	for _, p := range pieces {
		copy(p.to, p.from)
	}
	for i := range f.results {
		stack[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return nil
}

// callPinned gives the function all of the memory.
func (f *hostImport) callPinned(ctx context.Context, m *linmem.Memory, stack []uint64) error {
	n := len(f.params)
	c := &HostCall{Params: append([]uint64{}, stack[:n]...), Results: make([]uint64, len(f.results)), Memory: &Memory{mem: m}}
	mem := c.Memory
	err := call(ctx, f.Call, c, f.module, f.name)
	mem.mem = nil // for those who keep it
	if err != nil {
		return err
	}
	copy(stack, c.Results)
	return nil
}

// CheckHost tells whether an OpHost that came from the other side is a call that the guest could make: of a function that
// the module imports, with arguments of its type and ranges as they are declared, which fit the memory as far as that
// may grow. Embedders rely on that.
func (p *Process) CheckHost(req *wasi.Request) error {
	f := p.hosts[[2]string{req.Path, req.Path2}]
	if f == nil || f.Pinned {
		return fmt.Errorf("no host function %q %q is imported", req.Path, req.Path2)
	}
	n, flags := len(f.params), uint64(0)
	if len(f.Ranges) > 0 {
		flags = uint64(n)
	}
	malformed := func() error {
		return fmt.Errorf("host function %q %q with %d bytes of arguments and %d results", req.Path, req.Path2, len(req.Data), req.Size)
	}
	if len(req.Data) < 8*n || req.Size != uint64(len(f.results)) || req.Flags != flags {
		return malformed()
	}
	params := make([]uint64, n)
	for i, k := range f.params {
		params[i] = binary.LittleEndian.Uint64(req.Data[8*i:])
		if (k == engine.I32 || k == engine.F32) && params[i] > math.MaxUint32 {
			return fmt.Errorf("argument %d of host function %q %q is out of its type's range", i, req.Path, req.Path2)
		}
	}
	var size uint64
	if p.Mem != nil {
		size = p.Mem.Max()
	}
	in, out, err := f.measure(params, size, func(f *hostImport, i int) error {
		return fmt.Errorf("range %d of host function %q %q lies beyond the memory", i, f.module, f.name)
	})
	switch {
	case err != nil:
		return err
	case in != uint64(len(req.Data)):
		return malformed()
	case max(in, out) > wasi.MaxIO:
		return fmt.Errorf("host function %q %q with %d bytes in and %d out, where %d travel", req.Path, req.Path2, in, out, wasi.MaxIO)
	}
	return nil
}
