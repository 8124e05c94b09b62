package rewrite

import (
	"slices"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// Piece is what an active data segment puts into the memory. Data is the original module's.
type Piece struct {
	Offset uint64 `json:"offset"`
	Data   []byte `json:"data"`
}

// data makes the data segments. If the code names active ones there is one more, without bytes, for it to copy from.
func (b *builder) data(named bool) {
	if b.opt.Detach {
		b.detach(named)
	}
	if named {
		b.out.Data = append(slices.Clip(b.out.Data), wasm.Data{Mode: wasm.Passive})
	}
}

// detach takes the active data segments out of the code and lists them in the manifest. A module whose segments an engine
// might refuse, or whose memory is not its own, keeps them all. What is left of a segment is a passive one without bytes,
// and nothing behind the last one that the code may name: a program may have tens of thousands, and an engine may keep
// something of each for every instance.
func (b *builder) detach(named bool) {
	pieces, ok := image(b.in)
	if !ok || len(pieces) == 0 {
		return
	}
	b.man.Image = pieces
	b.out.Data = slices.Clone(b.in.Data)
	last := 0
	for i := range b.out.Data {
		active := b.out.Data[i].Mode == wasm.Active
		if active {
			b.out.Data[i] = wasm.Data{Mode: wasm.Passive}
		}
		if named || !active {
			last = i + 1
		}
	}
	b.out.Data = b.out.Data[:last]
}

// unit is the page in which a memory's size is declared, and maxUnits what a 32-bit memory can have of them.
const unit, maxUnits = 1 << 16, 1 << 16

// image lists what the active data segments put into the memory, in their order, if each of them surely can.
func image(m *wasm.Module) (pieces []Piece, ok bool) {
	if len(m.Memories) != 1 || m.NumImports(wasm.ExternMemory) > 0 || m.Memories[0].Min > maxUnits {
		return nil, false
	}
	size := m.Memories[0].Min * unit
	for i := range m.Data {
		d := &m.Data[i]
		if d.Mode != wasm.Active {
			continue
		}
		at, known := constant(d.Offset)
		n := uint64(len(d.Init))
		if !known || d.Memory != 0 || n > size || uint64(at) > size-n {
			return nil, false
		}
		pieces = append(pieces, Piece{Offset: uint64(at), Data: d.Init})
	}
	return pieces, true
}

// constant is the value of a constant expression of type i32 that depends on no global.
func constant(x wasm.Expr) (v uint32, ok bool) {
	var stack []uint32
	var in wasm.Instr
	r := wasm.NewReader(x)
	ended := false
	for r.Next(&in) {
		n := len(stack)
		switch {
		case ended:
			return 0, false
		case in.Op == wasm.OpI32Const:
			stack = append(stack, uint32(in.Value))
		case in.Op == wasm.OpEnd:
			ended = true
		case n < 2:
			return 0, false
		default:
			l, r := stack[n-2], stack[n-1]
			switch in.Op {
			case wasm.OpI32Add:
				l += r
			case wasm.OpI32Sub:
				l -= r
			case wasm.OpI32Mul:
				l *= r
			default:
				return 0, false
			}
			stack[n-2], stack = l, stack[:n-1]
		}
	}
	if r.Err() != nil || !ended || len(stack) != 1 {
		return 0, false
	}
	return stack[0], true
}
