package analysis

import (
	"fmt"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// Loops describes the loops of one function.
type Loops struct {
	Count int `json:"count"`
	Depth int `json:"depth"` // of the deepest nest
	Outer int `json:"outer"` // loops that hold another loop
}

// call is an edge of the call graph: a callee, or a class of callees, and how often one run of the caller
// is guessed to call it. It is warm unless all its sites only lead to traps.
type call struct {
	to   uint32
	freq float32
	warm bool
}

// Exceptions are tracked as sets of tags. Tags beyond the bits, and exceptions of unknown tag, share the
// last bit, which only catch_all clears.
const (
	anyTag  = 63
	allTags = ^uint64(0)
)

func tagBit(tag uint32) uint64 { return 1 << min(tag, anyTag) }

// body is what one function's instructions say.
type body struct {
	loops    Loops
	weight   float64
	throws   uint64 // tags thrown here that no try_table here catches
	indirect bool
	traps    bool // every way through it ends in a trap, as with functions that report a panic
}

// scanner reads function bodies. Its buffers are used again for each one.
type scanner struct {
	p       *program
	goStyle bool // this function follows the convention of Go programs
	events  []event
	frames  []frame
	labels  []uint32 // of all events of the function at hand
	calls   []call   // of all functions read so far
	caught  []uint64 // by call: the tags caught around all its sites; nil: none
	from    int      // calls[from:] belong to the function at hand
	last    []uint32 // last[to] > from: calls[last[to]-1] is the edge to it
	estimator
}

// kind is the kind of an event.
type kind uint8

const (
	evBlock kind = iota
	evLoop
	evTry
	evIf // the last that opens a block
	evElse
	evEnd
	evBr
	evBack // Go: a jump back to the code behind the end of block arg
	evBrIf
	evBrTable
	evReturn
	evTrap // unreachable and the throws: what leads there is rare
	evCall
	evTailCall
	evNone
)

// event is an instruction that matters to control flow or to the call graph, with the number of
// instructions since the event before it, itself included. Labels are resolved: a block is named by the
// event that opens it, the function itself by 0, the index of an event that stands for it.
type event struct {
	kind   kind
	flags  flags
	n      uint32
	arg    uint32 // br, br_if, else, end: a block; calls: index into calls
	lo, hi uint32 // labels[lo:hi] of br_table and try_table; hi of other blocks: the event of their end
	num    int32  // block: how many are open around it; br in Go code: the resume point set before, or -1
}

// frame is an open block while a body is decoded.
type frame struct {
	event  uint32
	caught uint64 // by this block and those around it
	inner  bool   // a loop that holds a loop
	depth  int    // loops around and including this
	around int    // the frame of the innermost loop, this included, or 0
}

const (
	// maxNesting and maxEvents bound what one body can make us hold. No compiler comes near.
	maxNesting = 1 << 17
	maxEvents  = 1 << 22
)

// read decodes the body of function f. The calls it finds are appended to s.calls.
func (s *scanner) read(f uint32, code *wasm.Body) (body, error) {
	var (
		b      body
		in     wasm.Instr
		r      = code.Reader()
		prev   wasm.Opcode
		value  int32  // of the last i32.const
		setAt  uint32 // the instruction that set local 0 to value
		count  uint32
		before uint32 // count at the last event
	)
	s.from = len(s.calls)
	s.labels = s.labels[:0]
	s.events = append(s.events[:0], event{kind: evBlock})
	s.frames = append(s.frames[:0], frame{})
	for len(s.frames) > 0 && r.Next(&in) {
		count++
		top := &s.frames[len(s.frames)-1]
		e := event{kind: evNone}
		var err error
		switch in.Op {
		case wasm.OpBlock:
			e.kind = evBlock
		case wasm.OpIf:
			e.kind = evIf
		case wasm.OpLoop:
			e.kind = evLoop
		case wasm.OpTryTable:
			e.kind = evTry
			e.lo, e.hi, err = s.resolve(len(in.Catches), func(i int) uint32 { return in.Catches[i].Label })
		case wasm.OpElse:
			e.kind, e.arg = evElse, top.event
		case wasm.OpEnd:
			e.kind, e.arg = evEnd, top.event
			if top.inner {
				b.loops.Outer++
			}
			if open := &s.events[top.event]; open.kind != evTry {
				open.hi = uint32(len(s.events))
			}
			s.frames = s.frames[:len(s.frames)-1]
		case wasm.OpBr:
			e.kind, e.num = evBr, -1
			if s.goStyle && setAt+1 == count {
				e.num = value
			}
			e.arg, err = s.label(in.Index)
		case wasm.OpBrIf, wasm.OpBrOnNull, wasm.OpBrOnNonNull:
			e.kind = evBrIf
			e.arg, err = s.label(in.Index)
		case wasm.OpBrTable:
			e.kind = evBrTable
			e.lo, e.hi, err = s.resolve(len(in.Labels), func(i int) uint32 { return in.Labels[i] })
		case wasm.OpReturn:
			e.kind = evReturn
		case wasm.OpUnreachable:
			e.kind = evTrap
		case wasm.OpThrow:
			e.kind = evTrap
			b.throws |= tagBit(in.Index) &^ top.caught
		case wasm.OpThrowRef:
			e.kind = evTrap
			b.throws |= tagBit(anyTag) &^ top.caught
		case wasm.OpCall, wasm.OpCallIndirect, wasm.OpCallRef:
			e.kind = evCall
			e.arg, err = s.call(&in, top.caught, &b)
		case wasm.OpReturnCall, wasm.OpReturnCallIndirect, wasm.OpReturnCallRef:
			e.kind = evTailCall
			e.arg, err = s.call(&in, 0, &b) // the frame is gone, and its handlers with it
		case wasm.OpRefFunc:
			err = s.p.take(in.Index)
		case wasm.OpGlobalSet:
			err = s.p.setGlobal(in.Index)
		case wasm.OpTableGet, wasm.OpTableSize:
			var t *table
			if t, err = s.p.table(in.Index); err == nil && t.open {
				s.edge(s.p.outsideTable(), 0)
			}
		case wasm.OpTableSet, wasm.OpTableGrow, wasm.OpTableFill, wasm.OpTableCopy:
			err = s.p.mutate(in.Index)
		case wasm.OpTableInit:
			err = s.p.mutate(in.Index2)
		case wasm.OpLocalSet:
			if in.Index == 0 && prev == wasm.OpI32Const {
				setAt = count
			}
		case wasm.OpI32Const:
			value = int32(in.Value)
		}
		if err != nil {
			return b, fmt.Errorf("function %d, at %d of its code: %w", f, in.Pos, err)
		}
		prev = in.Op
		if e.kind == evNone {
			continue
		}
		e.n, before = count-before, count
		if e.kind <= evIf {
			if len(s.frames) == maxNesting {
				return b, fmt.Errorf("function %d: more than %d nested blocks", f, maxNesting)
			}
			e.num = int32(len(s.frames))
			s.open(&in, &e, &b)
		}
		if len(s.events) == maxEvents {
			return b, fmt.Errorf("function %d: more than %d branches and calls", f, maxEvents)
		}
		s.events = append(s.events, e)
	}
	if err := r.Err(); err != nil {
		return b, fmt.Errorf("read function %d: %w", f, err)
	}
	if len(s.frames) > 0 {
		return b, fmt.Errorf("function %d: %d blocks are not closed", f, len(s.frames))
	}
	s.estimate(&b)
	return b, nil
}

// open pushes the frame of a block whose event is about to be appended.
func (s *scanner) open(in *wasm.Instr, e *event, b *body) {
	top := s.frames[len(s.frames)-1]
	fr := frame{event: uint32(len(s.events)), caught: top.caught, depth: top.depth, around: top.around}
	switch in.Op {
	case wasm.OpLoop:
		if fr.depth > 0 {
			s.frames[fr.around].inner = true
		}
		fr.around = len(s.frames)
		fr.depth++
		b.loops.Count++
		b.loops.Depth = max(b.loops.Depth, fr.depth)
	case wasm.OpTryTable:
		for _, c := range in.Catches {
			switch {
			case c.Kind == wasm.CatchAll || c.Kind == wasm.CatchAllRef:
				fr.caught = allTags
			case c.Tag < anyTag:
				fr.caught |= tagBit(c.Tag)
			}
		}
	}
	s.frames = append(s.frames, fr)
}

// label resolves a branch label to the event of its block.
func (s *scanner) label(l uint32) (uint32, error) {
	if int64(l) >= int64(len(s.frames)) {
		return 0, fmt.Errorf("label %d does not exist", l)
	}
	return s.frames[len(s.frames)-1-int(l)].event, nil
}

// resolve appends n labels to s.labels.
func (s *scanner) resolve(n int, at func(int) uint32) (lo, hi uint32, err error) {
	lo = uint32(len(s.labels))
	for i := range n {
		l, err := s.label(at(i))
		if err != nil {
			return 0, 0, err
		}
		s.labels = append(s.labels, l)
	}
	return lo, uint32(len(s.labels)), nil
}

// call makes the edge of a call instruction.
func (s *scanner) call(in *wasm.Instr, caught uint64, b *body) (uint32, error) {
	to, err := in.Index, error(nil)
	switch in.Op {
	case wasm.OpCall, wasm.OpReturnCall:
		err = s.p.function(to)
	case wasm.OpCallIndirect, wasm.OpReturnCallIndirect:
		b.indirect = true
		to, err = s.p.tableClass(in.Index, in.Index2)
	default:
		b.indirect = true
		to, err = s.p.refClass(in.Index)
	}
	if err != nil {
		return 0, err
	}
	return s.edge(to, caught), nil
}

// edge returns the index of the edge from the function at hand to another node, made when it is the first.
func (s *scanner) edge(to uint32, caught uint64) uint32 {
	if grow := int(to) + 1 - len(s.last); grow > 0 {
		s.last = append(s.last, make([]uint32, grow)...)
	}
	if i := s.last[to]; int(i) > s.from {
		if s.caught != nil {
			s.caught[i-1] &= caught
		}
		return i - 1
	}
	if caught != 0 && s.caught == nil {
		s.caught = make([]uint64, len(s.calls), 2*len(s.calls)+1)
	}
	if s.caught != nil {
		s.caught = append(s.caught, caught)
	}
	s.calls = append(s.calls, call{to: to})
	s.last[to] = uint32(len(s.calls))
	return uint32(len(s.calls)) - 1
}
