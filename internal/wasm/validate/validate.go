package validate

import (
	"fmt"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// Error says why a module is invalid though it is well-formed.
type Error struct {
	Where  string // "function 7", "global 0", …
	Offset int    // in the input; 0 if it is not known
	Reason string
}

func (e *Error) Error() string {
	if e.Offset == 0 {
		return fmt.Sprintf("validate %s: %s", e.Where, e.Reason)
	}
	return fmt.Sprintf("validate %s at offset %d: %s", e.Where, e.Offset, e.Reason)
}

// maxPages is the most pages of 64 KiB that a memory may have.
const maxPages = 1 << 16

// Env holds what the validation of bodies needs to know of the module around them. It reads the module, which
// must not change its types, imports and declarations while the validator is used; bodies may change.
type Env struct {
	m        *wasm.Module
	canon    []uint32 // for each type the first one that is equal to it
	funcs    []uint32
	tables   []wasm.TableType
	memories []wasm.Limits
	globals  []wasm.GlobalType
	tags     []uint32
	declared []bool // functions that ref.func may name in a body
}

// New prepares the validation of the module's bodies. It fails if a declaration names a type that is not there.
func New(m *wasm.Module) (*Env, error) {
	e := &Env{m: m, funcs: m.FuncTypeIndices(), tables: m.TableTypes(), memories: m.MemoryTypes(),
		globals: m.GlobalTypes(), tags: m.TagTypes()}
	if err := e.types(); err != nil {
		return nil, err
	}
	for i, t := range e.funcs {
		if int64(t) >= int64(len(m.Types)) {
			return nil, invalid("function", i, "unknown type %d", t)
		}
	}
	for i, t := range e.tags {
		if int64(t) >= int64(len(m.Types)) {
			return nil, invalid("tag", i, "unknown type %d", t)
		}
		if len(m.Types[t].Results) > 0 {
			return nil, invalid("tag", i, "non-empty tag result type")
		}
	}
	for i, t := range e.tables {
		if !e.known(t.Elem) {
			return nil, invalid("table", i, "unknown type %d", t.Elem.Heap)
		}
	}
	for i, g := range e.globals {
		if !e.known(g.Type) {
			return nil, invalid("global", i, "unknown type %d", g.Type.Heap)
		}
	}
	e.declare()
	return e, nil
}

func invalid(what string, index int, format string, args ...any) error {
	return &Error{Where: fmt.Sprintf("%s %d", what, index), Reason: fmt.Sprintf(format, args...)}
}

// types finds equal types. A type may name those before it, and one of a group the others of its group.
func (e *Env) types() error {
	all := e.m.Types
	e.canon = make([]uint32, len(all))
	seen := make(map[string]uint32, len(all))
	groups := e.m.RecGroups
	var key []byte
	for first := 0; first < len(all); {
		size, end := 1, first // end: the types that may be named
		if len(groups) > 0 && int(groups[0].First) == first {
			size, groups = int(groups[0].Size), groups[1:]
			if size < 1 || size > len(all)-first {
				return invalid("type", first, "group of %d types out of bounds", size)
			}
			end += size
		}
		key = key[:0]
		for i := first; i < first+size; i++ {
			for _, list := range [2][]wasm.ValType{all[i].Params, all[i].Results} {
				key = wasm.AppendUint32(key, uint32(len(list)))
				for _, t := range list {
					if indexed(t) && t.Heap >= int64(end) {
						return invalid("type", i, "unknown type %d", t.Heap)
					}
					if indexed(t) && t.Heap < int64(first) {
						t.Heap = int64(e.canon[t.Heap])
					} else if indexed(t) {
						t.Heap += int64(len(all) - first) // relative to the group
					}
					key = wasm.AppendValType(key, t)
				}
			}
		}
		same, ok := seen[string(key)]
		if !ok {
			same = uint32(first)
			seen[string(key)] = same
		}
		for i := range size {
			e.canon[first+i] = same + uint32(i)
		}
		first += size
	}
	return nil
}

// indexed reports whether t names a type by its index.
func indexed(t wasm.ValType) bool {
	return (t.Kind == wasm.Ref || t.Kind == wasm.RefNull) && t.Heap >= 0
}

// known reports whether the type index in t, if it has one, exists.
func (e *Env) known(t wasm.ValType) bool {
	return !indexed(t) || t.Heap < int64(len(e.m.Types))
}

// matches reports whether a value of type got may stand where want is expected.
func (e *Env) matches(got, want wasm.ValType) bool {
	if got == want || got.Kind == 0 {
		return true
	}
	if !got.IsRef() || !want.IsRef() || got.Nullable() && !want.Nullable() {
		return false
	}
	g, w := got.HeapType(), want.HeapType()
	switch {
	case g == w || g == heapBottom:
		return true
	case g >= 0 && w >= 0:
		return e.canon[g] == e.canon[w]
	}
	return g >= 0 && w == wasm.HeapFunc
}

// elemType is the type of a segment's elements as validation sees them: function indices are never null.
func elemType(s *wasm.Elem) wasm.ValType {
	if s.Exprs == nil {
		return wasm.RefTo(wasm.HeapFunc, false)
	}
	return s.Type
}

// declare collects the functions that occur outside of bodies, the start function aside.
func (e *Env) declare() {
	e.declared = make([]bool, len(e.funcs))
	mark := func(i uint32) {
		if int64(i) < int64(len(e.declared)) {
			e.declared[i] = true
		}
	}
	expr := func(x wasm.Expr) {
		r := wasm.NewReader(x)
		for in := (wasm.Instr{}); r.Next(&in); {
			if in.Op == wasm.OpRefFunc {
				mark(in.Index)
			}
		}
	}
	for i := range e.m.Exports {
		if x := &e.m.Exports[i]; x.Kind == wasm.ExternFunc {
			mark(x.Index)
		}
	}
	for i := range e.m.Globals {
		expr(e.m.Globals[i].Init)
	}
	for i := range e.m.Tables {
		expr(e.m.Tables[i].Init)
	}
	for i := range e.m.Elems {
		for _, f := range e.m.Elems[i].Funcs {
			mark(f)
		}
		for _, x := range e.m.Elems[i].Exprs {
			expr(x)
		}
	}
}

// Module checks a module and all its bodies. The error is a *wasm.FormatError or an *Error.
func Module(m *wasm.Module) error {
	e, err := New(m)
	if err != nil {
		return err
	}
	t := e.Tracker()
	if err := e.declarations(t); err != nil {
		return err
	}
	if err := e.segments(t); err != nil {
		return err
	}
	imported := len(e.funcs) - len(m.Funcs)
	for i := range m.Funcs {
		f := &m.Funcs[i]
		t.Start(f.Type, &f.Body)
		for t.Next() {
		}
		if t.err != nil {
			if e, ok := t.err.(*Error); ok {
				e.Where = fmt.Sprintf("function %d", imported+i)
			}
			return t.err
		}
	}
	return nil
}

// constExpr checks a constant expression that may read the first globals.
func (e *Env) constExpr(t *Tracker, x wasm.Expr, want wasm.ValType, globals int, what string, index int) error {
	t.startConst(x, want, globals)
	for t.Next() {
	}
	if e, ok := t.err.(*Error); ok {
		e.Where, e.Offset = fmt.Sprintf("%s %d", what, index), 0
	}
	return t.err
}

func checkLimits(l wasm.Limits, most uint64, what string, index int) error {
	if l.HasMax && l.Min > l.Max {
		return invalid(what, index, "size minimum must not be greater than maximum")
	}
	if l.Min > most || l.HasMax && l.Max > most {
		return invalid(what, index, "size must be at most %d", most)
	}
	if l.Shared && !l.HasMax {
		return invalid(what, index, "shared memory must have maximum")
	}
	return nil
}

// declarations checks what the module declares apart from segments and bodies.
func (e *Env) declarations(t *Tracker) error {
	m := e.m
	for i, tt := range e.tables {
		if err := checkLimits(tt.Limits, 1<<32-1, "table", i); err != nil {
			return err
		}
	}
	for i := range m.Tables {
		index, tt := len(e.tables)-len(m.Tables)+i, &m.Tables[i]
		if tt.Init == nil && tt.Elem.Kind == wasm.Ref {
			return invalid("table", index, "type mismatch: non-null elements without an initial value")
		}
		if tt.Init != nil {
			if err := e.constExpr(t, tt.Init, tt.Elem, len(e.globals), "table", index); err != nil {
				return err
			}
		}
	}
	if len(e.memories) > 1 {
		return invalid("memory", 1, "multiple memories are not supported")
	}
	for i, l := range e.memories {
		if err := checkLimits(l, maxPages, "memory", i); err != nil {
			return err
		}
	}
	for i := range m.Globals {
		index := len(e.globals) - len(m.Globals) + i
		if err := e.constExpr(t, m.Globals[i].Init, m.Globals[i].Type, index, "global", index); err != nil {
			return err
		}
	}
	sizes := [...]int{len(e.funcs), len(e.tables), len(e.memories), len(e.globals), len(e.tags)}
	names := make(map[string]bool, len(m.Exports))
	for i := range m.Exports {
		x := &m.Exports[i]
		if int(x.Kind) >= len(sizes) || int64(x.Index) >= int64(sizes[x.Kind]) {
			return invalid("export", i, "unknown index %d", x.Index)
		}
		if names[x.Name] {
			return invalid("export", i, "duplicate export name %q", x.Name)
		}
		names[x.Name] = true
	}
	if m.Start != nil {
		f, ok := m.FuncType(*m.Start)
		if !ok || len(f.Params)+len(f.Results) > 0 {
			return &Error{Where: "start function", Reason: "unknown function, or one with parameters or results"}
		}
	}
	return nil
}

// segments checks element and data segments.
func (e *Env) segments(t *Tracker) error {
	m := e.m
	i32 := wasm.ValType{Kind: wasm.I32}
	for i := range m.Elems {
		s := &m.Elems[i]
		if !e.known(s.Type) {
			return invalid("element segment", i, "unknown type %d", s.Type.Heap)
		}
		if s.Mode == wasm.Active {
			if int64(s.Table) >= int64(len(e.tables)) {
				return invalid("element segment", i, "unknown table %d", s.Table)
			}
			if want := e.tables[s.Table].Elem; !e.matches(elemType(s), want) {
				return invalid("element segment", i, "type mismatch: have %s, want %s", elemType(s), want)
			}
			if err := e.constExpr(t, s.Offset, i32, len(e.globals), "element segment", i); err != nil {
				return err
			}
		}
		for _, f := range s.Funcs {
			if int64(f) >= int64(len(e.funcs)) {
				return invalid("element segment", i, "unknown function %d", f)
			}
		}
		for _, x := range s.Exprs {
			if err := e.constExpr(t, x, s.Type, len(e.globals), "element segment", i); err != nil {
				return err
			}
		}
	}
	for i := range m.Data {
		d := &m.Data[i]
		if d.Mode != wasm.Active {
			continue
		}
		if int64(d.Memory) >= int64(len(e.memories)) {
			return invalid("data segment", i, "unknown memory %d", d.Memory)
		}
		if err := e.constExpr(t, d.Offset, i32, len(e.globals), "data segment", i); err != nil {
			return err
		}
	}
	return nil
}
