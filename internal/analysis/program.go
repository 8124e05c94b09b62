package analysis

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// program is what is gathered about a module before anything is decided. Its graph has one node for each
// function, two for what comes from outside, and one for each class of callees that an indirect call may
// reach; so its size is that of the code, not sites times targets.
type program struct {
	m          *wasm.Module
	opt        *Options
	numImports int
	numFuncs   int
	types      []uint32 // by function: type index
	keys       []uint32 // by type index: equal for types that an indirect call may take for each other
	tables     []table
	classes    []class
	classOf    map[classKey]uint32
	globals    []wasm.GlobalType
	refSet     int64  // a global of reference type that code sets, or -1
	taken      []bool // functions of which references exist
	outerRefs  bool   // references to functions may come from outside

	names    []string
	exported []bool
	// start and initialize are the functions exported as _start, the whole of a program, and _initialize, which
	// is called once before anything else; or -1.
	start, initialize int64
	goMade            bool
	goRuntime         []bool // Go: functions of the runtime and what serves it

	bodies []body // by function, imports empty
	calls  []call // calls[first[f]:first[f+1]] are the edges of f
	first  []uint32
	caught []uint64 // by call, see scanner
	full   graph    // all nodes
}

// table is what is known of a table.
type table struct {
	open    bool // others may see and change it
	mutated bool // by this module's code
	globals bool // it has elements that come from globals
	funcs   []uint32
}

// loose reports whether what the table holds is not simply what its segments list.
func (t *table) loose() bool { return t.open || t.mutated || t.globals }

// classKey names a class: the table called through, or -1 for call_ref, and the type.
type classKey struct {
	table int64
	key   uint32
}

// class is what an indirect call may reach.
type class struct {
	classKey
	members []uint32 // functions, outside nodes, a class of call_ref
}

// The nodes behind the functions.
func (p *program) outsideTable() uint32      { return uint32(p.numFuncs) }
func (p *program) outsideRef() uint32        { return uint32(p.numFuncs) + 1 }
func (p *program) classNode(i uint32) uint32 { return uint32(p.numFuncs) + 2 + i }

func newProgram(m *wasm.Module, opt *Options) (*program, error) {
	p := &program{
		m: m, opt: opt,
		types:      m.FuncTypeIndices(),
		numImports: m.NumImportedFuncs(),
		classOf:    map[classKey]uint32{},
		globals:    m.GlobalTypes(),
		refSet:     -1,
		goMade:     isGo(m),
		start:      -1,
		initialize: -1,
	}
	p.numFuncs = len(p.types)
	p.taken = make([]bool, p.numFuncs)
	p.exported = make([]bool, p.numFuncs)
	for f, t := range p.types {
		if int64(t) >= int64(len(m.Types)) {
			return nil, fmt.Errorf("function %d: type %d does not exist", f, t)
		}
	}
	p.keys = typeKeys(m.Types)
	p.tables = make([]table, m.NumImports(wasm.ExternTable)+len(m.Tables))
	for i := range m.NumImports(wasm.ExternTable) {
		p.tables[i].open = true
	}
	for i := range m.Exports {
		e := &m.Exports[i]
		switch e.Kind {
		case wasm.ExternFunc:
			if err := p.function(e.Index); err != nil {
				return nil, fmt.Errorf("export %q: %w", e.Name, err)
			}
			p.exported[e.Index] = true
			switch e.Name {
			case "_start":
				p.start = int64(e.Index)
			case "_initialize":
				p.initialize = int64(e.Index)
			}
		case wasm.ExternTable:
			t, err := p.table(e.Index)
			if err != nil {
				return nil, fmt.Errorf("export %q: %w", e.Name, err)
			}
			t.open = t.open || !opt.Alone
		}
	}
	if m.Start != nil {
		if err := p.function(*m.Start); err != nil {
			return nil, fmt.Errorf("start: %w", err)
		}
	}
	p.outerRefs = p.takesRefs()
	if err := p.segments(); err != nil {
		return nil, err
	}
	p.readNames()
	return p, nil
}

// typeKeys maps type indices to numbers that are equal for types of equal shape. References of all kinds
// count as equal: too many targets do no harm, a missing one would.
func typeKeys(types []wasm.FuncType) []uint32 {
	keys := make([]uint32, len(types))
	known := map[string]uint32{}
	var b []byte
	for i := range types {
		b = strconv.AppendInt(b[:0], int64(len(types[i].Params)), 10)
		for _, list := range [2][]wasm.ValType{types[i].Params, types[i].Results} {
			for _, t := range list {
				if t.IsRef() {
					t.Kind = wasm.FuncRef
				}
				b = append(b, t.Kind)
			}
		}
		k, ok := known[string(b)]
		if !ok {
			k = uint32(len(known))
			known[string(b)] = k
		}
		keys[i] = k
	}
	return keys
}

// takesRefs reports whether references to functions may enter the module from outside.
func (p *program) takesRefs() bool {
	for i := range p.m.Imports {
		im := &p.m.Imports[i]
		switch im.Kind {
		case wasm.ExternFunc:
			if hasRefs(p.m.Types[im.Type].Results) {
				return true
			}
		case wasm.ExternGlobal:
			if im.Global.Type.IsRef() {
				return true
			}
		case wasm.ExternTable, wasm.ExternTag:
			return true
		}
	}
	if slices.ContainsFunc(p.tables, func(t table) bool { return t.open }) {
		return true
	}
	if p.opt.Alone {
		return false // the host hands over no references
	}
	for i := range p.m.Exports {
		switch e := &p.m.Exports[i]; e.Kind {
		case wasm.ExternTag:
			return true
		case wasm.ExternGlobal:
			if p.refGlobal(e.Index) && p.globals[e.Index].Mutable {
				return true
			}
		case wasm.ExternFunc:
			if hasRefs(p.m.Types[p.types[e.Index]].Params) {
				return true
			}
		}
	}
	return false
}

func hasRefs(ts []wasm.ValType) bool { return slices.ContainsFunc(ts, wasm.ValType.IsRef) }

func (p *program) function(f uint32) error {
	if int64(f) >= int64(p.numFuncs) {
		return fmt.Errorf("function %d does not exist", f)
	}
	return nil
}

func (p *program) table(t uint32) (*table, error) {
	if int64(t) >= int64(len(p.tables)) {
		return nil, fmt.Errorf("table %d does not exist", t)
	}
	return &p.tables[t], nil
}

// take notes that references to f exist.
func (p *program) take(f uint32) error {
	if err := p.function(f); err != nil {
		return err
	}
	p.taken[f] = true
	return nil
}

func (p *program) mutate(t uint32) error {
	tab, err := p.table(t)
	if err == nil {
		tab.mutated = true
	}
	return err
}

// refGlobal reports whether a global holds a reference.
func (p *program) refGlobal(g uint32) bool {
	return int64(g) < int64(len(p.globals)) && p.globals[g].Type.IsRef()
}

// setGlobal notes that code sets a global.
func (p *program) setGlobal(g uint32) error {
	if int64(g) >= int64(len(p.globals)) {
		return fmt.Errorf("global %d does not exist", g)
	}
	if p.refGlobal(g) && p.refSet < 0 {
		p.refSet = int64(g)
	}
	return nil
}

// tableClass is the node of a call of a type through a table.
func (p *program) tableClass(typ, t uint32) (uint32, error) {
	if _, err := p.table(t); err != nil {
		return 0, err
	}
	return p.class(typ, int64(t))
}

// refClass is the node of a call of a type through a reference.
func (p *program) refClass(typ uint32) (uint32, error) { return p.class(typ, -1) }

func (p *program) class(typ uint32, t int64) (uint32, error) {
	if int64(typ) >= int64(len(p.keys)) {
		return 0, fmt.Errorf("type %d does not exist", typ)
	}
	return p.classAt(classKey{t, p.keys[typ]}), nil
}

// looseClass is the node of all functions of a type key to which references exist.
func (p *program) looseClass(key uint32) uint32 { return p.classAt(classKey{-1, key}) }

func (p *program) classAt(k classKey) uint32 {
	i, ok := p.classOf[k]
	if !ok {
		i = uint32(len(p.classes))
		p.classes = append(p.classes, class{classKey: k})
		p.classOf[k] = i
	}
	return p.classNode(i)
}

// segments finds what tables hold at the start, and references that constant expressions make.
func (p *program) segments() error {
	for i := range p.m.Globals {
		var fs []uint32
		if _, err := p.constFuncs(p.m.Globals[i].Init, &fs); err != nil {
			return fmt.Errorf("global %d: %w", i, err)
		}
	}
	own := len(p.tables) - len(p.m.Tables)
	for i := range p.m.Tables {
		t := &p.tables[own+i]
		var err error
		if t.globals, err = p.constFuncs(p.m.Tables[i].Init, &t.funcs); err != nil {
			return fmt.Errorf("table %d: %w", own+i, err)
		}
	}
	for i := range p.m.Elems {
		if err := p.segment(&p.m.Elems[i]); err != nil {
			return fmt.Errorf("element segment %d: %w", i, err)
		}
	}
	return nil
}

func (p *program) segment(e *wasm.Elem) error {
	for _, f := range e.Funcs {
		if err := p.take(f); err != nil {
			return err
		}
	}
	var fs []uint32
	globals := false
	for _, x := range e.Exprs {
		g, err := p.constFuncs(x, &fs)
		if err != nil {
			return err
		}
		globals = globals || g
	}
	if e.Mode != wasm.Active {
		return nil // reaches a table by table.init only, which counts as a change
	}
	t, err := p.table(e.Table)
	if err != nil {
		return err
	}
	t.funcs = append(append(t.funcs, e.Funcs...), fs...)
	t.globals = t.globals || globals
	return nil
}

// constFuncs appends the functions that a constant expression refers to, and reports whether it reads a global.
func (p *program) constFuncs(x wasm.Expr, fs *[]uint32) (readsGlobal bool, err error) {
	if len(x) == 0 {
		return false, nil
	}
	var in wasm.Instr
	r := wasm.NewReader(x)
	for r.Next(&in) {
		switch in.Op {
		case wasm.OpRefFunc:
			if err := p.take(in.Index); err != nil {
				return false, err
			}
			*fs = append(*fs, in.Index)
		case wasm.OpGlobalGet:
			readsGlobal = true
		}
	}
	return readsGlobal, r.Err()
}
