package rewrite

import (
	"fmt"
	"strings"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// StayError refuses a module that must run locally as it is.
type StayError struct {
	Reason string // in words, for a user
}

func (e *StayError) Error() string { return "module stays local: " + e.Reason }

// WhyLocal says in words why no execution of m may move: because some of its state cannot be seen or carried. It
// returns "" if m may move. An exported table does not count: only another module could change it, and a process has
// one. Neither does elem.drop: only table.init could tell, which changes a table.
func WhyLocal(m *wasm.Module) string {
	if reason := whyShape(m); reason != "" {
		return reason
	}
	b := newBuilder(m, Options{})
	if err := b.check(); err != nil {
		return "it is invalid: " + err.Error()
	}
	found, err := b.bodies()
	if err != nil {
		return "it is invalid: " + err.Error()
	}
	return found.stay
}

// whyShape is the part of WhyLocal that needs no code.
func whyShape(m *wasm.Module) string {
	for i := range m.Imports {
		im := &m.Imports[i]
		what := fmt.Sprintf("%q.%q", im.Module, im.Name)
		switch {
		case im.Module == Module:
			return "it imports " + what + ", which is reserved"
		case im.Kind == wasm.ExternMemory:
			return "it imports its memory, " + what
		case im.Kind == wasm.ExternTable:
			return "it imports a table, " + what
		case im.Kind == wasm.ExternTag:
			return "it imports an exception tag, " + what
		case im.Kind == wasm.ExternGlobal && im.Global.Mutable:
			return "it imports a mutable global, " + what
		case im.Kind == wasm.ExternGlobal && im.Global.Type.IsRef():
			return "it imports a reference, " + what
		}
	}
	for i, mem := range m.Memories {
		switch {
		case i > 0:
			return "it has more than one memory"
		case mem.Shared:
			return "its memory is shared between threads"
		case mem.Is64:
			return "its memory has 64-bit addresses"
		}
	}
	globals := m.GlobalTypes()
	for i := range m.Exports {
		e := &m.Exports[i]
		if strings.HasPrefix(e.Name, Prefix) {
			return fmt.Sprintf("it exports %q, which is reserved", e.Name)
		}
		if g := int(e.Index); e.Kind == wasm.ExternGlobal && g < len(globals) && globals[g].Mutable && globals[g].Type.IsRef() {
			return fmt.Sprintf("it exports global %d, a mutable reference", g)
		}
	}
	return ""
}

// whyInstr says why an instruction makes a module stay local, or "".
func (b *builder) whyInstr(in *wasm.Instr) string {
	switch in.Op {
	case wasm.OpTableSet, wasm.OpTableGrow, wasm.OpTableFill, wasm.OpTableCopy:
		return fmt.Sprintf("table %d changes at run time (%v)", in.Index, in.Op)
	case wasm.OpTableInit:
		return fmt.Sprintf("table %d changes at run time (%v)", in.Index2, in.Op)
	case wasm.OpGlobalSet:
		if g := int(in.Index); g < len(b.globals) && b.globals[g].Type.IsRef() {
			return fmt.Sprintf("global %d, a reference, changes at run time", g)
		}
	}
	return ""
}

// Carries says whether functions of a type can be candidates: whether hosts can carry its parameters and results.
func Carries(t wasm.FuncType) bool { return whyType(t) == "" }

// maxValues is what engines allow of parameters and of results, less the status.
const maxValues = 999

func whyType(t wasm.FuncType) string {
	for _, list := range [][]wasm.ValType{t.Params, t.Results} {
		for _, v := range list {
			if v.IsRef() {
				return "its type has references"
			}
		}
		if len(flatten(list)) > maxValues {
			return "its type has too many values"
		}
	}
	return ""
}

// describe names a function for a message.
func (b *builder) describe(f uint32) string {
	if name := b.name(f); name != "" {
		return fmt.Sprintf("function %d %q", f, name)
	}
	return fmt.Sprintf("function %d", f)
}

// name is a function's name from the name section, else that of an export, else of its import.
func (b *builder) name(f uint32) string {
	if name := b.names.Func(f); name != "" {
		return name
	}
	for i := range b.in.Exports {
		if e := &b.in.Exports[i]; e.Kind == wasm.ExternFunc && e.Index == f {
			return e.Name
		}
	}
	return ""
}
