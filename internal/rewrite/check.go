package rewrite

import (
	"fmt"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// check refuses indices outside code that do not exist: what is added behind the last of their space would give
// them a meaning. It notes which functions are declared as references: private exports would declare more.
func (b *builder) check() error {
	m := b.in
	b.declared = make([]bool, len(b.sig))
	for i := range m.Types {
		if err := b.checkTypes(m.Types[i].Params, m.Types[i].Results); err != nil {
			return err
		}
	}
	for _, list := range [][]uint32{b.sig, m.TagTypes()} {
		for _, t := range list {
			if err := b.checkBlock(wasm.BlockType{Type: t, HasType: true}); err != nil {
				return err
			}
		}
	}
	for _, g := range b.globals {
		if err := b.checkType(g.Type); err != nil {
			return err
		}
	}
	for i := range m.Globals {
		if err := b.checkExpr(m.Globals[i].Init); err != nil {
			return fmt.Errorf("global %d: %w", len(b.globals)-len(m.Globals)+i, err)
		}
	}
	for i := range m.Tables {
		if err := b.checkExpr(m.Tables[i].Init); err != nil {
			return fmt.Errorf("table: %w", err)
		}
	}
	for _, t := range m.TableTypes() {
		if err := b.checkType(t.Elem); err != nil {
			return err
		}
	}
	for i := range m.Exports {
		e := &m.Exports[i]
		if e.Kind == wasm.ExternFunc && !b.declare(e.Index) || e.Kind == wasm.ExternGlobal && !exists(e.Index, b.globals) {
			return fmt.Errorf("export %q names index %d, which does not exist", e.Name, e.Index)
		}
	}
	if m.Start != nil {
		// As an export it could have any type.
		t, ok := m.FuncType(*m.Start)
		if !ok || len(t.Params)+len(t.Results) > 0 {
			return fmt.Errorf("start function %d does not exist or has parameters or results", *m.Start)
		}
	}
	for i := range m.Elems {
		if err := b.checkElem(&m.Elems[i]); err != nil {
			return fmt.Errorf("element segment %d: %w", i, err)
		}
	}
	for i := range m.Data {
		if err := b.checkExpr(m.Data[i].Offset); err != nil {
			return fmt.Errorf("data segment %d: %w", i, err)
		}
	}
	return nil
}

// declare notes that code may have references to a function, or reports that there is none.
func (b *builder) declare(f uint32) bool {
	if !exists(f, b.declared) {
		return false
	}
	b.declared[f] = true
	return true
}

func exists[T any](index uint32, space []T) bool { return uint64(index) < uint64(len(space)) }

func (b *builder) checkElem(e *wasm.Elem) error {
	if err := b.checkType(e.Type); err != nil {
		return err
	}
	if err := b.checkExpr(e.Offset); err != nil {
		return err
	}
	for _, f := range e.Funcs {
		if !b.declare(f) {
			return fmt.Errorf("function %d does not exist", f)
		}
	}
	for _, x := range e.Exprs {
		if err := b.checkExpr(x); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) checkExpr(x wasm.Expr) error {
	var in wasm.Instr
	r := wasm.NewReader(x)
	for r.Next(&in) {
		switch {
		case in.Op == wasm.OpRefFunc && !b.declare(in.Index):
			return fmt.Errorf("function %d does not exist", in.Index)
		case in.Op == wasm.OpGlobalGet && !exists(in.Index, b.globals):
			return fmt.Errorf("global %d does not exist", in.Index)
		case in.Op == wasm.OpRefNull:
			if err := b.checkType(in.Ref); err != nil {
				return err
			}
		}
	}
	return r.Err()
}

func (b *builder) checkTypes(lists ...[]wasm.ValType) error {
	for _, list := range lists {
		for _, t := range list {
			if err := b.checkType(t); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkType refuses a reference to a type that does not exist.
func (b *builder) checkType(t wasm.ValType) error {
	if (t.Kind == wasm.Ref || t.Kind == wasm.RefNull) && t.Heap >= int64(len(b.in.Types)) {
		return fmt.Errorf("type %d does not exist", t.Heap)
	}
	return nil
}

func (b *builder) checkBlock(t wasm.BlockType) error {
	if t.HasType && !exists(t.Type, b.in.Types) {
		return fmt.Errorf("type %d does not exist", t.Type)
	}
	return b.checkType(t.Result)
}
