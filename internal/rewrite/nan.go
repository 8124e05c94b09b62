package rewrite

import (
	"encoding/binary"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// The canonical NaNs are positive, with only the top bit of the fraction set.
const (
	canonical32 = 0x7fc00000
	canonical64 = 0x7ff8000000000000
)

// appendCanonical appends code that makes the operand on top canonical: it stays where it equals itself, and becomes
// the canonical NaN where it does not. Scalars take a branch that is never taken in practice and so, other than a
// select, adds nothing to the chain of dependent operations; ">=" is one test of the flags on x86, "==" is two.
func appendCanonical(dst []byte, s shape, scratch uint32) []byte {
	get := func() { dst = wasm.AppendIndex(dst, wasm.OpLocalGet, scratch) }
	scalar := func(kind byte, ge wasm.Opcode) {
		get()
		dst = wasm.AppendOp(dst, ge)
		dst = wasm.AppendBlock(dst, wasm.OpIf, wasm.BlockType{Result: wasm.ValType{Kind: kind}})
		get()
		dst = wasm.AppendOp(dst, wasm.OpElse)
	}
	vector := func(eq wasm.Opcode) {
		get()
		get()
		dst = wasm.AppendOp(dst, eq, wasm.OpV128Bitselect)
	}
	dst = wasm.AppendIndex(dst, wasm.OpLocalTee, scratch)
	switch s {
	case shapeF32:
		scalar(wasm.F32, wasm.OpF32Ge)
		dst = binary.LittleEndian.AppendUint32(wasm.AppendOp(dst, wasm.OpF32Const), canonical32)
		dst = wasm.AppendOp(dst, wasm.OpEnd)
	case shapeF64:
		scalar(wasm.F64, wasm.OpF64Ge)
		dst = binary.LittleEndian.AppendUint64(wasm.AppendOp(dst, wasm.OpF64Const), canonical64)
		dst = wasm.AppendOp(dst, wasm.OpEnd)
	case shapeF32x4:
		dst = wasm.AppendOp(dst, wasm.OpV128Const)
		for range 4 {
			dst = binary.LittleEndian.AppendUint32(dst, canonical32)
		}
		vector(wasm.OpF32x4Eq)
	case shapeF64x2:
		dst = wasm.AppendOp(dst, wasm.OpV128Const)
		for range 2 {
			dst = binary.LittleEndian.AppendUint64(dst, canonical64)
		}
		vector(wasm.OpF64x2Eq)
	}
	return dst
}

// origin is where an operand comes from, as far as the bits of NaNs matter: clean, or ^i for edit i that would make it
// canonical, or n+1 for node n.
type origin int32

const clean origin = 0 // bits that are the same everywhere

// node stands for values of several origins: those that a local is set to, or that a select chooses from. Locals are
// the first nodes, by index.
type node struct {
	seen  uint8 // set of shapes: what looks at the values
	first int32 // in links, or -1
}

// link is one origin of a node.
type link struct {
	from origin
	next int32
}

// nanTracker finds the results of arithmetic that must be made canonical: those that something else than arithmetic
// and comparisons may see. It follows the operand stack in straight-line code, and takes all that is on it as seen at
// the instructions where that ends. What a local holds counts as seen if any read of the local is.
type nanTracker struct {
	edits  *[]edit
	stack  []origin // the top of the operand stack; below, nothing needs to be done
	nodes  []node
	locals int // those of nodes that are locals
	links  []link
	floats []bool // by local: it may hold NaNs
	work   []int32
}

// maxTracked is the most locals that are followed in a function; a program that has more loses only time.
const maxTracked = 4096

// start begins a function.
func (t *nanTracker) start(params []wasm.ValType, declared []wasm.LocalRun, locals uint32, edits *[]edit) {
	t.edits = edits
	t.stack, t.nodes, t.links, t.floats = t.stack[:0], t.nodes[:0], t.links[:0], t.floats[:0]
	t.locals = 0
	if locals > maxTracked {
		return
	}
	t.locals = int(locals)
	add := func(v wasm.ValType) {
		t.nodes = append(t.nodes, node{first: -1})
		t.floats = append(t.floats, v.Kind == wasm.F32 || v.Kind == wasm.F64 || v.Kind == wasm.V128)
	}
	for _, v := range params {
		add(v)
	}
	for _, r := range declared {
		for range r.Count {
			add(r.Type)
		}
	}
}

// step follows one instruction and notes an edit behind it if its result may need one.
func (t *nanTracker) step(in *wasm.Instr) {
	var e *effect
	if op := in.Op; op < 0xfe0000 && op&0xffff < 0x100 {
		e = &effects[page(op)][op&0xff]
	}
	if e == nil || e.kind == effectUnknown {
		t.flush()
		return
	}
	switch e.kind {
	case effectPlain:
		for range e.pops {
			t.see(t.pop(), e.takes)
		}
		if e.pushes > 0 {
			t.stack = append(t.stack, clean)
		}
	case effectMake:
		for range e.pops {
			t.see(t.pop(), e.takes)
		}
		t.stack = append(t.stack, ^origin(len(*t.edits)))
		*t.edits = append(*t.edits, edit{pos: uint32(in.End), end: uint32(in.End), arg: uint32(e.makes), kind: editNaN})
	case effectPass:
		// The sign of the second operand of copysign shows even in numbers.
		for range e.pops - 1 {
			t.see(t.pop(), shapeNone)
		}
	case effectGet:
		o := clean
		if i := int(in.Index); i < t.locals && t.floats[i] {
			o = origin(i) + 1
		}
		t.stack = append(t.stack, o)
	case effectSet, effectTee:
		o := t.pop()
		if i := int(in.Index); i < t.locals {
			t.link(int32(i), o)
		} else {
			t.see(o, shapeNone)
		}
		if e.kind == effectTee {
			t.stack = append(t.stack, o)
		}
	case effectSelect:
		t.pop()
		a, b := t.pop(), t.pop()
		if a == b {
			t.stack = append(t.stack, a)
			return
		}
		n := int32(len(t.nodes))
		t.nodes = append(t.nodes, node{first: -1})
		t.link(n, a)
		t.link(n, b)
		t.stack = append(t.stack, origin(n)+1)
	}
}

func (t *nanTracker) pop() origin {
	n := len(t.stack) - 1
	if n < 0 {
		return clean
	}
	o := t.stack[n]
	t.stack = t.stack[:n]
	return o
}

func (t *nanTracker) link(n int32, from origin) {
	if from == clean || from == origin(n)+1 {
		return
	}
	t.links = append(t.links, link{from, t.nodes[n].first})
	t.nodes[n].first = int32(len(t.links) - 1)
}

// see notes that an operand is looked at as a shape; shapeNone: as bits.
func (t *nanTracker) see(o origin, as shape) {
	switch {
	case o == clean || as == shapeAny:
	case o < 0:
		if e := &(*t.edits)[^o]; shape(e.arg) != as {
			e.live = true
		}
	default:
		t.nodes[o-1].seen |= 1 << as
	}
}

// flush takes everything on the stack as seen.
func (t *nanTracker) flush() {
	for _, o := range t.stack {
		t.see(o, shapeNone)
	}
	t.stack = t.stack[:0]
}

// finish decides about what nodes hold: how a node is seen is how each of its origins is.
func (t *nanTracker) finish() {
	t.flush()
	if len(t.links) == 0 {
		return
	}
	t.work = t.work[:0]
	for n := range t.nodes {
		if t.nodes[n].seen != 0 && t.nodes[n].first >= 0 {
			t.work = append(t.work, int32(n))
		}
	}
	for len(t.work) > 0 {
		n := t.work[len(t.work)-1]
		t.work = t.work[:len(t.work)-1]
		seen := t.nodes[n].seen
		for i := t.nodes[n].first; i >= 0; i = t.links[i].next {
			switch o := t.links[i].from; {
			case o < 0:
				if e := &(*t.edits)[^o]; seen&^(1<<e.arg) != 0 {
					e.live = true
				}
			case t.nodes[o-1].seen|seen != t.nodes[o-1].seen:
				t.nodes[o-1].seen |= seen
				t.work = append(t.work, int32(o-1))
			}
		}
	}
}
