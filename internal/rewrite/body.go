package rewrite

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// findings is what reading code brings to light.
type findings struct {
	stay      string // why the module must stay local
	tailCalls bool
	named     bool // code names an active data segment
}

// chunkSize is how much code a worker takes at a time.
const chunkSize = 64 << 10

// bodies rewrites the bodies of in into out.Funcs, some at the same time. What a body becomes depends on that body
// and the plan alone, so the result does not depend on the number of workers.
func (b *builder) bodies() (findings, error) {
	funcs := make([]wasm.Func, len(b.in.Funcs), len(b.in.Funcs)+3*len(b.ids)+2*len(b.globals)+len(b.in.Data))
	copy(funcs, b.in.Funcs)

	var chunks []chunk
	for first := 0; first < len(funcs); {
		last, size := first, 0
		for last < len(funcs) && size < chunkSize {
			size += len(funcs[last].Body.Code)
			last++
		}
		chunks = append(chunks, chunk{first: first, last: last, size: size})
		first = last
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(chunks)) {
		wg.Go(func() {
			w := newWriter(b)
			for {
				i := int(next.Add(1)) - 1
				if i >= len(chunks) {
					return
				}
				w.chunk(&chunks[i], funcs)
			}
		})
	}
	wg.Wait()

	var all findings
	for i := range chunks {
		if err := chunks[i].err; err != nil {
			return all, err
		}
		if all.stay == "" {
			all.stay = chunks[i].stay
		}
		all.tailCalls = all.tailCalls || chunks[i].tailCalls
		all.named = all.named || chunks[i].named
	}
	b.out.Funcs = funcs
	return all, nil
}

// chunk is a run of functions and what came of it.
type chunk struct {
	first, last, size int
	findings
	err error
}

type editKind byte

const (
	editIndex   editKind = iota // arg replaces the index at pos
	editPoll                    // a poll is added
	editNaN                     // the shape arg is made canonical
	editDropped                 // global arg becomes 1
	editInit                    // memory.init is from segment arg
)

// edit is a change of a body's code: the bytes from pos to end are replaced. It is made only if it is live.
type edit struct {
	pos, end uint32
	arg      uint32
	kind     editKind
	live     bool
}

// writer rewrites bodies, one after the other.
type writer struct {
	b         *builder
	found     *findings
	in        wasm.Instr
	edits     []edit
	loops     []int32 // for each open block: the loop edit around it, or -1
	nan       nanTracker
	scratch   [numShapes]uint32 // locals, by shape
	numLocals uint32            // of the function, parameters included
	pollCode  []byte
	bounded   bool   // the function has neither loops nor calls: its time is bounded, it needs no poll
	arena     []byte // where new code goes
}

func newWriter(b *builder) *writer {
	w := &writer{b: b}
	if b.opt.Poll != PollNone {
		c := wasm.AppendIndex(nil, wasm.OpGlobalGet, b.stop)
		c = wasm.AppendI32Const(c, 1)
		c = wasm.AppendOp(c, wasm.OpI32Add)
		c = wasm.AppendIndex(c, wasm.OpGlobalSet, b.stop)
		c = wasm.AppendIndex(c, wasm.OpGlobalGet, b.stop)
		c = wasm.AppendI32Const(c, 0)
		c = wasm.AppendOp(c, wasm.OpI32GtS)
		c = wasm.AppendBlock(c, wasm.OpIf, wasm.BlockType{})
		c = wasm.AppendI32Const(c, -PollEvery)
		c = wasm.AppendIndex(c, wasm.OpGlobalSet, b.stop)
		c = wasm.AppendIndex(c, wasm.OpCall, b.poll)
		w.pollCode = wasm.AppendOp(c, wasm.OpEnd)
	}
	return w
}

func (w *writer) chunk(c *chunk, funcs []wasm.Func) {
	w.found = &c.findings
	w.arena = nil
	for i := c.first; i < c.last; i++ {
		f := w.b.imports + uint32(i)
		if err := w.scan(f, &funcs[i]); err != nil {
			c.err = fmt.Errorf("rewrite %s: %w", w.b.describe(f), err)
			return
		}
		w.write(&funcs[i].Body, c.size)
	}
}

// scan reads a body and notes the edits that it needs.
func (w *writer) scan(f uint32, fn *wasm.Func) error {
	b, in := w.b, &w.in
	w.edits, w.loops, w.bounded = w.edits[:0], w.loops[:0], true
	params := b.in.Types[fn.Type].Params
	locals := uint64(len(params)) + fn.Body.NumLocals()
	if locals > math.MaxUint32-uint64(numShapes) {
		return errors.New("it has too many locals")
	}
	w.numLocals = uint32(locals)
	for _, r := range fn.Body.Locals {
		if err := b.checkType(r.Type); err != nil {
			return err
		}
	}
	if b.opt.CanonicalNaN {
		w.nan.start(params, fn.Body.Locals, w.numLocals, &w.edits)
	}
	loop := int32(-1)
	r := fn.Body.Reader()
	for r.Next(in) {
		if b.opt.CanonicalNaN {
			w.nan.step(in)
		}
		switch in.Op {
		case wasm.OpLocalGet, wasm.OpLocalSet, wasm.OpLocalTee:
			if in.Index >= w.numLocals {
				return fmt.Errorf("local %d at offset %d does not exist", in.Index, in.Pos)
			}
		case wasm.OpCall, wasm.OpReturnCall, wasm.OpRefFunc:
			if !exists(in.Index, b.sig) {
				return fmt.Errorf("function %d at offset %d does not exist", in.Index, in.Pos)
			}
			if in.Op == wasm.OpRefFunc && !b.declared[in.Index] {
				return fmt.Errorf("function %d at offset %d is not declared as a reference", in.Index, in.Pos)
			}
			w.bounded = w.bounded && in.Op == wasm.OpRefFunc
			w.function(f)
		case wasm.OpBlock, wasm.OpIf, wasm.OpTryTable:
			w.loops = append(w.loops, loop)
			if err := b.checkBlock(in.Block); err != nil {
				return err
			}
		case wasm.OpLoop:
			w.loops = append(w.loops, loop)
			if err := b.checkBlock(in.Block); err != nil {
				return err
			}
			w.bounded = false
			if b.opt.Poll != PollNone {
				if loop >= 0 {
					w.edits[loop].live = true
				}
				loop = int32(len(w.edits))
				w.edits = append(w.edits, w.insert(editPoll, 0, b.opt.Poll == PollAllLoops))
			}
		case wasm.OpEnd:
			if n := len(w.loops) - 1; n >= 0 {
				loop, w.loops = w.loops[n], w.loops[:n]
			}
		case wasm.OpReturnCallIndirect, wasm.OpReturnCallRef:
			w.found.tailCalls = true
			fallthrough
		case wasm.OpCallIndirect, wasm.OpCallRef:
			if !exists(in.Index, b.in.Types) {
				return fmt.Errorf("type %d at offset %d does not exist", in.Index, in.Pos)
			}
			w.bounded = false
		case wasm.OpSelectT:
			if err := b.checkTypes(in.Types); err != nil {
				return err
			}
		case wasm.OpRefNull:
			if err := b.checkType(in.Ref); err != nil {
				return err
			}
		case wasm.OpGlobalGet, wasm.OpGlobalSet:
			if !exists(in.Index, b.globals) {
				return fmt.Errorf("global %d at offset %d does not exist", in.Index, in.Pos)
			}
			if in.Op == wasm.OpGlobalSet {
				w.stay(f)
			}
		case wasm.OpTableSet, wasm.OpTableGrow, wasm.OpTableFill, wasm.OpTableCopy, wasm.OpTableInit:
			w.stay(f)
		case wasm.OpDataDrop, wasm.OpMemoryInit:
			if !exists(in.Index, b.in.Data) {
				return fmt.Errorf("data segment %d at offset %d does not exist", in.Index, in.Pos)
			}
			w.data()
		}
	}
	if b.opt.CanonicalNaN {
		w.nan.finish()
	}
	return r.Err()
}

// insert is an edit behind the current instruction.
func (w *writer) insert(kind editKind, arg uint32, live bool) edit {
	return edit{pos: uint32(w.in.End), end: uint32(w.in.End), arg: arg, kind: kind, live: live}
}

// function notes an instruction that names a function. Its opcode is one byte.
func (w *writer) function(f uint32) {
	to := w.b.moved(w.in.Index)
	if w.in.Op != wasm.OpRefFunc {
		to = w.b.target(f, w.in.Index)
	}
	if w.in.Op == wasm.OpReturnCall {
		w.found.tailCalls = true
	}
	if to != w.in.Index {
		w.edits = append(w.edits, edit{
			pos: uint32(w.in.Pos + 1), end: uint32(w.in.End), arg: to, kind: editIndex, live: true,
		})
	}
}

// data notes an instruction that names a data segment. An active one is dropped as soon as it has been applied, but not by
// every engine: code is to find a segment in its place that is empty in all of them.
func (w *writer) data() {
	i := w.in.Index
	active := w.b.in.Data[i].Mode == wasm.Active
	w.found.named = w.found.named || active
	switch {
	case w.in.Op == wasm.OpMemoryInit && active:
		w.edits = append(w.edits, edit{
			pos: uint32(w.in.Pos), end: uint32(w.in.End), arg: uint32(len(w.b.in.Data)), kind: editInit, live: true,
		})
	case w.in.Op == wasm.OpDataDrop && exists(i, w.b.dropped) && w.b.dropped[i] != 0: // nothing is planned for WhyLocal
		w.edits = append(w.edits, w.insert(editDropped, w.b.dropped[i]-1, true))
	}
}

func (w *writer) stay(f uint32) {
	if w.found.stay != "" {
		return
	}
	if why := w.b.whyInstr(&w.in); why != "" {
		w.found.stay = fmt.Sprintf("%s in %s", why, w.b.describe(f))
	}
}

// write makes the edits that scan has noted; size estimates how much code there is to come.
func (w *writer) write(body *wasm.Body, size int) {
	polls := len(w.pollCode) > 0 && !w.bounded
	if !polls && !slices.ContainsFunc(w.edits, func(e edit) bool { return e.live }) {
		return
	}
	w.locals(body)
	if cap(w.arena)-len(w.arena) < len(body.Code)+len(body.Code)/4 {
		w.arena = make([]byte, 0, max(size+size/8, 2*len(body.Code)))
	}
	out, start, last := w.arena, len(w.arena), uint32(0)
	if polls {
		out = append(out, w.pollCode...)
	}
	for i := range w.edits {
		e := &w.edits[i]
		if !e.live {
			continue
		}
		out = append(out, body.Code[last:e.pos]...)
		last = e.end
		switch e.kind {
		case editIndex:
			out = wasm.AppendUint32(out, e.arg)
		case editPoll:
			out = append(out, w.pollCode...)
		case editNaN:
			out = appendCanonical(out, shape(e.arg), w.scratch[e.arg])
		case editDropped:
			out = wasm.AppendIndex(wasm.AppendI32Const(out, 1), wasm.OpGlobalSet, e.arg)
		case editInit:
			out = wasm.AppendIndex(out, wasm.OpMemoryInit, e.arg, 0)
		}
	}
	out = append(out, body.Code[last:]...)
	body.Code, body.Offset = wasm.Expr(out[start:len(out):len(out)]), 0
	w.arena = out
}

// locals gives the body a scratch local for each type that the live edits need one of.
func (w *writer) locals(body *wasm.Body) {
	var need [numShapes]bool
	for i := range w.edits {
		if e := &w.edits[i]; e.live && e.kind == editNaN {
			need[e.arg] = true
		}
	}
	add := func(kind byte, shapes ...shape) {
		for _, s := range shapes {
			w.scratch[s] = w.numLocals
		}
		body.Locals = append(slices.Clip(body.Locals), wasm.LocalRun{Count: 1, Type: wasm.ValType{Kind: kind}})
		w.numLocals++
	}
	if need[shapeF32] {
		add(wasm.F32, shapeF32)
	}
	if need[shapeF64] {
		add(wasm.F64, shapeF64)
	}
	if need[shapeF32x4] || need[shapeF64x2] {
		add(wasm.V128, shapeF32x4, shapeF64x2)
	}
}
