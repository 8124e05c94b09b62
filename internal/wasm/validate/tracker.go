// Package validate checks that modules are valid: the types of their instructions and the indices of their
// declarations. Its Tracker shows the typed operand stack before each instruction of a body, on demand.
package validate

import (
	"fmt"
	"sort"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// Limits on what the validation of one body may hold; no compiler comes near them.
const (
	maxOperands = 1 << 22
	maxFrames   = 1 << 20
)

// Frame is an open block of a body.
type Frame struct {
	Op              wasm.Opcode // OpBlock, OpLoop, OpIf, OpElse or OpTryTable; OpBlock with Pos -1 is the function itself
	Pos             int         // of the opening instruction in the code
	Params, Results []wasm.ValType
	Height          int  // of the operand stack below the block's operands
	Unreachable     bool // the rest of the block is never reached; operands below Height+len are of any type
	inits           int  // how many entries of Tracker.inits are older than the block
}

// label is what a branch to the block takes.
func (f *Frame) label() []wasm.ValType {
	if f.Op == wasm.OpLoop {
		return f.Params
	}
	return f.Results
}

// Tracker steps through a body and shows the typed operand stack before each instruction. It validates as it goes:
// a body that it accepts to the end is valid. It can be started again for another body.
//
//	t := env.Tracker()
//	t.Start(f.Type, &f.Body)
//	for t.Next() {
//		in, stack := t.Instr(), t.Stack()
//	}
//	return t.Err()
type Tracker struct {
	env     *Env
	r       *wasm.Reader
	base    int // offset of the code in the input
	in      wasm.Instr
	pending bool // in has been shown but not applied
	err     error

	stack  []wasm.ValType
	frames []Frame

	params []wasm.ValType
	runs   []wasm.LocalRun
	ends   []uint64 // the index behind each run
	unset  bool     // some local has no default value
	isSet  map[uint32]bool
	inits  []uint32 // locals in isSet, in order

	constant bool   // a constant expression
	globals  int    // how many globals it may read
	where    string // for errors
}

// Tracker returns a tracker for bodies of the validator's module.
func (e *Env) Tracker() *Tracker { return &Tracker{env: e} }

// Start puts the tracker before the first instruction of a body whose function type has this index. The body need
// not be one of the module's.
func (t *Tracker) Start(typ uint32, b *wasm.Body) {
	t.begin(b.Reader(), int(b.Offset))
	t.where = "function body"
	if int64(typ) >= int64(len(t.env.m.Types)) {
		t.fail("unknown type %d", typ)
		return
	}
	ft := &t.env.m.Types[typ]
	t.params, t.runs = ft.Params, b.Locals
	end := uint64(len(ft.Params))
	for _, r := range b.Locals {
		if !t.env.known(r.Type) {
			t.fail("unknown type in locals")
			return
		}
		if end += uint64(r.Count); end > 1<<32-1 {
			t.fail("too many locals")
			return
		}
		t.ends = append(t.ends, end)
		t.unset = t.unset || r.Type.Kind == wasm.Ref
	}
	t.frames = append(t.frames, Frame{Op: wasm.OpBlock, Pos: -1, Results: ft.Results})
}

// startConst puts the tracker before a constant expression that must leave want.
func (t *Tracker) startConst(x wasm.Expr, want wasm.ValType, globals int) {
	t.begin(wasm.NewReader(x), 0)
	t.constant, t.globals = true, globals
	t.frames = append(t.frames, Frame{Op: wasm.OpBlock, Pos: -1, Results: single(want)})
}

func (t *Tracker) begin(r *wasm.Reader, base int) {
	t.r, t.base = r, base
	t.err, t.pending, t.constant, t.unset = nil, false, false, false
	t.stack, t.frames, t.ends, t.inits = t.stack[:0], t.frames[:0], t.ends[:0], t.inits[:0]
	t.params, t.runs = nil, nil
	clear(t.isSet)
}

// Next applies the instruction that was shown and shows the next. It returns false at the end and at an error.
func (t *Tracker) Next() bool {
	if t.err != nil {
		return false
	}
	if t.pending {
		t.pending = false
		if t.apply(); t.err != nil {
			return false
		}
	}
	if !t.r.Next(&t.in) {
		if t.err = t.r.Err(); t.err == nil && len(t.frames) > 0 {
			t.malformed(t.in.End, "END opcode expected")
		}
		return false
	}
	if len(t.frames) == 0 {
		t.malformed(t.in.Pos, "operators remaining after end of function")
		return false
	}
	t.pending = true
	return true
}

// Err is what ended the tracking: a *FormatError, an *Error, or nil.
func (t *Tracker) Err() error { return t.err }

// Instr is the instruction that Next has shown. It must not be changed.
func (t *Tracker) Instr() *wasm.Instr { return &t.in }

// Stack is the operand stack of the whole function before the instruction, bottom first, valid until Next. In
// unreachable code an entry may be the zero ValType, of any type, and there may be fewer than the instruction takes.
func (t *Tracker) Stack() []wasm.ValType { return t.stack }

// Operand is the n-th operand from the top (0: topmost), the zero ValType if unreachable code has none there.
func (t *Tracker) Operand(n int) wasm.ValType {
	if f := &t.frames[len(t.frames)-1]; n < len(t.stack)-f.Height {
		return t.stack[len(t.stack)-1-n]
	}
	return wasm.ValType{}
}

// Frames is the control stack before the instruction: the function, then the blocks around the instruction.
func (t *Tracker) Frames() []Frame { return t.frames }

// Depth is the number of blocks around the instruction.
func (t *Tracker) Depth() int { return len(t.frames) - 1 }

// Unreachable reports whether the instruction can never run.
func (t *Tracker) Unreachable() bool { return t.frames[len(t.frames)-1].Unreachable }

// Local is the type of a local of the body, parameters first.
func (t *Tracker) Local(index uint32) (wasm.ValType, bool) {
	if int64(index) < int64(len(t.params)) {
		return t.params[index], true
	}
	k := sort.Search(len(t.ends), func(k int) bool { return uint64(index) < t.ends[k] })
	if k == len(t.ends) {
		return wasm.ValType{}, false
	}
	return t.runs[k].Type, true
}

func (t *Tracker) fail(format string, args ...any) {
	if t.err == nil {
		t.err = &Error{Where: t.where, Offset: t.base + t.in.Pos, Reason: fmt.Sprintf(format, args...)}
	}
}

func (t *Tracker) malformed(pos int, reason string) {
	if t.err == nil {
		t.err = &wasm.FormatError{Section: "code", Offset: t.base + pos, Reason: reason}
	}
}

func (t *Tracker) mismatch(got, want string) {
	t.fail("%s: type mismatch: have %s, want %s", t.in.Op, got, want)
}

func (t *Tracker) top() *Frame { return &t.frames[len(t.frames)-1] }

func (t *Tracker) push(v wasm.ValType) {
	if len(t.stack) >= maxOperands {
		t.fail("more than %d operands", maxOperands)
		return
	}
	t.stack = append(t.stack, v)
}

func (t *Tracker) pushAll(vs []wasm.ValType) {
	for _, v := range vs {
		t.push(v)
	}
}

// pop takes an operand of any type.
func (t *Tracker) pop() wasm.ValType {
	n := len(t.stack) - 1
	if f := t.top(); n < f.Height {
		if !f.Unreachable {
			t.mismatch("nothing", "an operand")
		}
		return wasm.ValType{}
	}
	v := t.stack[n]
	t.stack = t.stack[:n]
	return v
}

func (t *Tracker) popType(want wasm.ValType) {
	n := len(t.stack) - 1
	if n >= t.top().Height && t.stack[n] == want {
		t.stack = t.stack[:n]
		return
	}
	if n < t.top().Height && !t.top().Unreachable {
		t.mismatch("nothing", want.String())
	} else if got := t.pop(); !t.env.matches(got, want) {
		t.mismatch(got.String(), want.String())
	}
}

func (t *Tracker) popAll(want []wasm.ValType) {
	for i := len(want) - 1; i >= 0; i-- {
		t.popType(want[i])
	}
}

// popRef takes a reference of any type; the type is unknown only in unreachable code.
func (t *Tracker) popRef() wasm.ValType {
	v := t.pop()
	if v.Kind != 0 && !v.IsRef() {
		t.mismatch(v.String(), "a reference")
	}
	return v
}

// checkTop checks that the topmost operands are of the given types and leaves them.
func (t *Tracker) checkTop(want []wasm.ValType) {
	f := t.top()
	for i := range want {
		n := len(t.stack) - len(want) + i
		switch {
		case n >= f.Height && !t.env.matches(t.stack[n], want[i]):
			t.mismatch(t.stack[n].String(), want[i].String())
		case n < f.Height && !f.Unreachable:
			t.mismatch("nothing", want[i].String())
		}
	}
}

// unreachable drops the operands of the block: what follows is never reached.
func (t *Tracker) unreachable() {
	f := t.top()
	t.stack, f.Unreachable = t.stack[:f.Height], true
}

func (t *Tracker) open(op wasm.Opcode, params, results []wasm.ValType) {
	if len(t.frames) >= maxFrames {
		t.fail("more than %d nested blocks", maxFrames)
		return
	}
	t.popAll(params)
	t.frames = append(t.frames, Frame{Op: op, Pos: t.in.Pos, Params: params, Results: results,
		Height: len(t.stack), inits: len(t.inits)})
	t.pushAll(params)
}

// close checks the results of the innermost block and forgets its operands and the locals that it set.
func (t *Tracker) close() Frame {
	f := *t.top()
	t.popAll(f.Results)
	if len(t.stack) != f.Height && t.err == nil {
		t.fail("type mismatch: %d operands remain at the end of a block", len(t.stack)-f.Height)
	}
	t.stack = t.stack[:f.Height]
	for _, l := range t.inits[f.inits:] {
		delete(t.isSet, l)
	}
	t.inits = t.inits[:f.inits]
	return f
}

// branch finds the types that a branch to a label takes.
func (t *Tracker) branch(label uint32) []wasm.ValType {
	if int64(label) >= int64(len(t.frames)) {
		t.fail("unknown label %d", label)
		return nil
	}
	return t.frames[len(t.frames)-1-int(label)].label()
}

var singles = func() (s [128][]wasm.ValType) {
	for _, k := range []byte{wasm.I32, wasm.I64, wasm.F32, wasm.F64, wasm.V128, wasm.FuncRef, wasm.ExternRef, wasm.ExnRef} {
		s[k] = []wasm.ValType{{Kind: k}}
	}
	return s
}()

// single is a list of one type; those without an index are shared.
func single(t wasm.ValType) []wasm.ValType {
	if t.Kind == wasm.Ref || t.Kind == wasm.RefNull {
		return []wasm.ValType{t}
	}
	return singles[t.Kind&0x7f]
}
