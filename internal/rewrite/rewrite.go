// Package rewrite turns a module into the variants of code that run it: with wrappers at the entries of candidate
// functions for a device, with the candidates' bodies exported for a clone, with polls, with canonical NaNs. State
// that a host cannot see otherwise becomes visible under private names. All variants of a module run the same
// process state: memory, globals and segments keep their indices and meaning.
//
// A wrapper keeps the index of its candidate f, so that calls, exports, tables and ref.func still mean f; the body
// becomes a function at the end of the index space. Calls inside a strongly connected component of the call graph go
// straight to the body. The wrapper looks at the candidate's flag, a bit of a global: 0, and it calls the body; else it
// calls a function that asks the host and follows the answer:
//
//	block $local
//	  block $clone
//	    block $plain
//	      br_table $local $clone $plain (call enter(id))
//	    end
//	    return body(arguments)
//	  end
//	  results, status = call.<id>(arguments); return the results if status is 0, else drop them
//	end
//	results = body(arguments); leave(id); return the results
//
// Where the module uses tail calls, all but the last of these calls of the body are tail calls.
//
// An active data segment is empty to memory.init, as the specification has it; some engines let code copy from it.
package rewrite

import (
	"slices"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// PollEvery is how many polls pass between two calls of ImportPoll. A poll counts the stop global up from -PollEvery
// and calls when it is above zero, so that whoever sets it to 1 is called at the next poll. The calls in between give
// an engine whose code cannot be preempted its points to let other goroutines run; they cost less than 1 ns a poll.
const PollEvery = 100_000

// PollMode says where code polls: at the heads of loops and at the entries of functions, other than functions with
// neither a loop nor a call in them, whose time is bounded. A loop that calls nothing but such functions counts as one
// that calls nothing: in PollOuterLoops it polls only if it contains loops, and else runs to its end.
type PollMode byte

// The poll modes.
const (
	PollNone       PollMode = iota
	PollOuterLoops          // at function entries and at the heads of loops that contain loops
	PollAllLoops            // at function entries and at the heads of all loops
)

// Options say which variant to make. The zero value makes state visible and moves nothing.
type Options struct {
	// Source is the SHA-256 of the original module in binary form; it goes into the digest.
	Source [32]byte
	// Candidates are the functions whose execution may move, by index in the original module, in any order.
	Candidates []uint32
	// SCC gives each function's strongly connected component in the call graph, by function index: functions of
	// equal value >= 0 are in the same one. It may be short or nil: what it leaves out stands alone.
	SCC []int
	// Wrap makes wrappers (a device's variant). Without it candidates are only exported (a clone's variant).
	Wrap bool
	Poll PollMode
	// CanonicalNaN gives every NaN that arithmetic makes the one canonical bit pattern.
	CanonicalNaN bool
	// StripDebug drops the name section too. DWARF and other sections that hold code offsets are always dropped.
	StripDebug bool
	// Detach takes the initial contents of the memory out of the code, as far as that surely makes no difference, for the
	// host to lay there before it starts: see Manifest.Image.
	Detach bool
}

// Result is a rewritten module.
type Result struct {
	Binary   []byte
	Manifest Manifest
}

// Rewrite makes the variant of m that opt asks for: the same bytes for the same m, opt and Version. It never changes
// m. A module that must stay local is refused with a *StayError, one whose code cannot be decoded with a
// *wasm.FormatError. Rewrite does not validate, but what is invalid stays invalid, for the engine to refuse.
func Rewrite(m *wasm.Module, opt Options) (*Result, error) {
	if reason := whyShape(m); reason != "" {
		return nil, &StayError{reason}
	}
	b := newBuilder(m, opt)
	if err := b.check(); err != nil {
		return nil, err
	}
	if err := b.candidates(); err != nil {
		return nil, err
	}
	b.plan()
	found, err := b.bodies()
	if err != nil {
		return nil, err
	}
	if found.stay != "" {
		return nil, &StayError{found.stay}
	}
	b.shiftSections()
	b.functions(found.tailCalls)
	b.state()
	b.data(found.named)
	b.customs()
	b.man.Version, b.man.Digest, b.man.TailCalls = Version, b.digest(), found.tailCalls
	return &Result{Binary: b.out.Encode(), Manifest: b.man}, nil
}

// builder makes one variant. Slices of out are shared with in until they are replaced, and clipped before an append.
type builder struct {
	in  *wasm.Module
	out wasm.Module
	opt Options
	man Manifest

	sig     []uint32 // type index of each function of in
	imports uint32   // functions that in imports
	shift   uint32   // functions that are added to the imports
	ids     []uint32 // the candidates, ascending
	id      []int32  // by function: its position in ids, or -1
	globals []wasm.GlobalType
	names   *wasm.Names

	declared []bool // by function: there may be references to it

	enter, leave, call uint32   // imports, if there are wrappers; call is the one of candidate 0
	poll, stop         uint32   // import and global, if there are polls
	arm                uint32   // global of the first candidates' flags, if there are wrappers
	dropped            []uint32 // by data segment: 1 + the global that says whether it was dropped; 0: it never is

	added []wasm.Naming // names of functions that were added, by new index
}

func newBuilder(m *wasm.Module, opt Options) *builder {
	b := &builder{in: m, out: *m, opt: opt, sig: m.FuncTypeIndices(), globals: m.GlobalTypes()}
	b.imports = uint32(len(b.sig) - len(m.Funcs))
	b.names, _ = m.Names() // of a malformed section what comes before the fault
	return b
}

// plan lays out what is added to the index spaces of functions and globals, and adds the imports and globals.
func (b *builder) plan() {
	b.out.Types = slices.Clip(b.in.Types)
	b.out.Imports = slices.Clip(b.in.Imports)
	b.out.Globals = slices.Clip(b.in.Globals)
	b.out.Exports = slices.Clip(b.in.Exports)

	i32 := wasm.ValType{Kind: wasm.I32}
	one := []wasm.ValType{i32}
	if b.opt.Wrap && len(b.ids) > 0 {
		b.enter = b.addImport(ImportEnter, wasm.FuncType{Params: one, Results: one})
		b.leave = b.addImport(ImportLeave, wasm.FuncType{Params: one})
		b.call = b.leave + 1
		b.arm = b.numGlobals()
		for id, f := range b.ids {
			t := b.in.Types[b.sig[f]]
			b.addImport(numbered(ImportCall, id), wasm.FuncType{
				Params: flatten(t.Params), Results: append(flatten(t.Results), i32),
			})
			if id%armBits == 0 {
				b.addFlag(numbered(exportArm, id/armBits), 0)
			}
		}
	}
	if b.opt.Poll != PollNone {
		b.poll = b.addImport(ImportPoll, wasm.FuncType{})
		b.stop = b.addFlag(exportStop, -PollEvery)
		b.man.Stop = exportStop
	}
	b.dropped = make([]uint32, len(b.in.Data))
	for i := range b.in.Data {
		if b.in.HasDataCount && b.in.Data[i].Mode == wasm.Passive {
			b.dropped[i] = 1 + b.addFlag(numbered(exportDropped, i), 0)
		}
	}
}

func (b *builder) numGlobals() uint32 {
	return uint32(len(b.globals) + len(b.out.Globals) - len(b.in.Globals))
}

func (b *builder) addImport(name string, t wasm.FuncType) (index uint32) {
	index = b.imports + b.shift
	b.shift++
	b.out.Imports = append(b.out.Imports, wasm.Import{
		Module: Module, Name: name, Kind: wasm.ExternFunc, Type: b.out.TypeIndex(t),
	})
	b.added = append(b.added, wasm.Naming{Index: index, Name: Prefix + name})
	return index
}

// addFlag adds an exported mutable i32 global.
func (b *builder) addFlag(export string, initial int32) (index uint32) {
	index = b.numGlobals()
	b.out.Globals = append(b.out.Globals, wasm.Global{
		GlobalType: wasm.GlobalType{Type: wasm.ValType{Kind: wasm.I32}, Mutable: true},
		Init:       wasm.AppendOp(wasm.AppendI32Const(nil, initial), wasm.OpEnd),
	})
	b.export(export, wasm.ExternGlobal, index)
	return index
}

func (b *builder) export(name string, kind wasm.ExternKind, index uint32) {
	b.out.Exports = append(b.out.Exports, wasm.Export{Name: name, Kind: kind, Index: index})
}

// addFunc adds a function. Preconditions: the bodies of in are done.
func (b *builder) addFunc(name string, t uint32, body wasm.Body) (index uint32) {
	index = b.imports + b.shift + uint32(len(b.out.Funcs))
	b.out.Funcs = append(b.out.Funcs, wasm.Func{Type: t, Body: body})
	b.added = append(b.added, wasm.Naming{Index: index, Name: name})
	return index
}

// moved is the new index of a function of in.
func (b *builder) moved(f uint32) uint32 {
	if f < b.imports {
		return f
	}
	return f + b.shift
}

// body is the new index of a candidate's own body: behind all functions of in if there are wrappers.
func (b *builder) body(id int) uint32 {
	if b.opt.Wrap {
		return uint32(len(b.sig)) + b.shift + uint32(id)
	}
	return b.moved(b.ids[id])
}

// target is the function that a call from one function of in to another goes to.
func (b *builder) target(caller, callee uint32) uint32 {
	if b.opt.Wrap && b.id[callee] >= 0 && b.together(caller, callee) {
		return b.body(int(b.id[callee]))
	}
	return b.moved(callee)
}

// together reports whether two functions are in one strongly connected component.
func (b *builder) together(f, g uint32) bool {
	c := b.component(f)
	return f == g || c >= 0 && c == b.component(g)
}

func (b *builder) component(f uint32) int {
	if !exists(f, b.opt.SCC) {
		return -1
	}
	return b.opt.SCC[f]
}

// shiftSections moves the function indices outside bodies, and makes the start function an export.
func (b *builder) shiftSections() {
	if start := b.in.Start; start != nil {
		b.out.Start = nil
		b.man.Start = exportStart
		b.export(exportStart, wasm.ExternFunc, *start)
	}
	if b.shift == 0 {
		return
	}
	b.out.Exports = slices.Clone(b.out.Exports)
	for i := range b.out.Exports {
		if e := &b.out.Exports[i]; e.Kind == wasm.ExternFunc {
			e.Index = b.moved(e.Index)
		}
	}
	b.out.Globals = slices.Clone(b.out.Globals)
	for i := range b.out.Globals {
		b.out.Globals[i].Init = b.shiftExpr(b.out.Globals[i].Init)
	}
	b.out.Tables = slices.Clone(b.out.Tables)
	for i := range b.out.Tables {
		b.out.Tables[i].Init = b.shiftExpr(b.out.Tables[i].Init)
	}
	b.out.Elems = slices.Clone(b.out.Elems)
	for i := range b.out.Elems {
		e := &b.out.Elems[i]
		e.Funcs, e.Exprs = slices.Clone(e.Funcs), slices.Clone(e.Exprs)
		for k, f := range e.Funcs {
			e.Funcs[k] = b.moved(f)
		}
		for k, x := range e.Exprs {
			e.Exprs[k] = b.shiftExpr(x)
		}
	}
}

// shiftExpr moves the function indices of a constant expression, which check has read before.
func (b *builder) shiftExpr(x wasm.Expr) wasm.Expr {
	var in wasm.Instr
	var out wasm.Expr
	last := 0
	for r := wasm.NewReader(x); r.Next(&in); {
		if in.Op == wasm.OpRefFunc {
			out = wasm.AppendIndex(append(out, x[last:in.Pos]...), in.Op, b.moved(in.Index))
			last = in.End
		}
	}
	if last == 0 {
		return x
	}
	return append(out, x[last:]...)
}
