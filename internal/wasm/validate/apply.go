package validate

import "github.com/clonecloud/clonecloud/internal/wasm"

// apply does to the stacks what the shown instruction does.
func (t *Tracker) apply() {
	in := &t.in
	info := in.Op.Info()
	if t.constant && !t.constantOp() {
		t.fail("constant expression required: %s", in.Op)
		return
	}
	switch info.Imm {
	case wasm.ImmNone:
		if info.In == "" {
			t.applyPlain()
			return
		}
	case wasm.ImmLocal:
		t.applyLocal()
		return
	case wasm.ImmBlock, wasm.ImmTryTable, wasm.ImmLabel, wasm.ImmLabels, wasm.ImmFunc, wasm.ImmCallIndirect, wasm.ImmType, wasm.ImmTag, wasm.ImmSelect, wasm.ImmHeap:
		t.applyControl(info.Imm)
		return
	case wasm.ImmGlobal, wasm.ImmTable, wasm.ImmTableCopy, wasm.ImmTableInit, wasm.ImmElem:
		t.applyTable()
		return
	case wasm.ImmMem, wasm.ImmAtomic, wasm.ImmMemLane, wasm.ImmMemory, wasm.ImmMemoryCopy, wasm.ImmMemoryInit, wasm.ImmData:
		t.checkMemory(info.Imm)
	case wasm.ImmShuffle:
		for _, l := range in.V128 {
			if l >= 32 {
				t.fail("invalid lane index %d", l)
			}
		}
	case wasm.ImmLane:
		if int(in.Lane) >= lanes(info.Name) {
			t.fail("invalid lane index %d", in.Lane)
		}
	}
	t.simple(info)
}

// lanes is the number of lanes in the shape that begins a vector instruction's name.
func lanes(name string) int {
	switch name[3] {
	case '1': // i8x16
		return 16
	case 'x':
		return int(name[4] - '0')
	}
	return 8 // i16x8
}

// simple applies an instruction whose operands and results are in the table.
func (t *Tracker) simple(info *wasm.Info) {
	for i := len(info.In) - 1; i >= 0; i-- {
		t.popType(letter(info.In[i]))
	}
	for i := range info.Out {
		t.push(letter(info.Out[i]))
	}
}

// letter is the type that a letter of wasm.Info stands for.
func letter(c byte) wasm.ValType {
	switch c {
	case 'i':
		return wasm.ValType{Kind: wasm.I32}
	case 'l':
		return wasm.ValType{Kind: wasm.I64}
	case 'f':
		return wasm.ValType{Kind: wasm.F32}
	case 'd':
		return wasm.ValType{Kind: wasm.F64}
	}
	return wasm.ValType{Kind: wasm.V128}
}

// constantOp reports whether the instruction may stand in a constant expression.
func (t *Tracker) constantOp() bool {
	switch t.in.Op {
	case wasm.OpI32Const, wasm.OpI64Const, wasm.OpF32Const, wasm.OpF64Const, wasm.OpV128Const, wasm.OpRefNull, wasm.OpRefFunc, wasm.OpEnd,
		wasm.OpI32Add, wasm.OpI32Sub, wasm.OpI32Mul, wasm.OpI64Add, wasm.OpI64Sub, wasm.OpI64Mul:
		return true
	case wasm.OpGlobalGet:
		i := int64(t.in.Index)
		return i >= int64(len(t.env.globals)) || !t.env.globals[i].Mutable
	}
	return false
}

// checkMemory checks the immediates of a memory instruction.
func (t *Tracker) checkMemory(kind wasm.Imm) {
	in := &t.in
	if kind != wasm.ImmData && in.Op != wasm.OpAtomicFence && len(t.env.memories) == 0 {
		t.fail("unknown memory 0")
	}
	natural := in.Op.NaturalAlign()
	switch kind {
	case wasm.ImmMem, wasm.ImmMemLane:
		if in.Mem.Align > natural {
			t.fail("alignment must not be larger than natural")
		}
		if kind == wasm.ImmMemLane && int(in.Lane) >= 16>>natural {
			t.fail("invalid lane index %d", in.Lane)
		}
	case wasm.ImmAtomic:
		if in.Mem.Align != natural {
			t.fail("atomic alignment must be natural")
		}
	case wasm.ImmMemoryInit, wasm.ImmData:
		if !t.env.m.HasDataCount {
			t.malformed(in.Pos, "data count section required")
		} else if int64(in.Index) >= int64(len(t.env.m.Data)) {
			t.fail("unknown data segment %d", in.Index)
		}
	}
}

// applyPlain applies the instructions without immediates whose types depend on the stack.
func (t *Tracker) applyPlain() {
	switch t.in.Op {
	case wasm.OpUnreachable:
		t.unreachable()
	case wasm.OpElse:
		if t.top().Op != wasm.OpIf {
			t.malformed(t.in.Pos, "unexpected else")
			return
		}
		f := t.close()
		t.top().Op, t.top().Unreachable = wasm.OpElse, false
		t.pushAll(f.Params)
	case wasm.OpEnd:
		f := t.close()
		if f.Op == wasm.OpIf {
			t.checkLists(f.Params, f.Results)
		}
		t.frames = t.frames[:len(t.frames)-1]
		if len(t.frames) > 0 {
			t.pushAll(f.Results)
		}
	case wasm.OpReturn:
		t.popAll(t.frames[0].Results)
		t.unreachable()
	case wasm.OpThrowRef:
		t.popType(wasm.ValType{Kind: wasm.ExnRef})
		t.unreachable()
	case wasm.OpDrop:
		t.pop()
	case wasm.OpSelect:
		t.popType(wasm.ValType{Kind: wasm.I32})
		a, b := t.pop(), t.pop()
		if a.IsRef() || b.IsRef() || a != b && a.Kind != 0 && b.Kind != 0 {
			t.mismatch(a.String(), b.String())
		}
		if a.Kind == 0 {
			a = b
		}
		t.push(a)
	case wasm.OpRefIsNull:
		t.popRef()
		t.push(wasm.ValType{Kind: wasm.I32})
	case wasm.OpRefAsNonNull:
		t.push(nonNull(t.popRef()))
	}
}

// heapBottom is below every heap type: what is known of a reference in unreachable code.
const heapBottom int64 = -0x40

func nonNull(t wasm.ValType) wasm.ValType {
	if t.Kind == 0 {
		return wasm.ValType{Kind: wasm.Ref, Heap: heapBottom}
	}
	return wasm.ValType{Kind: wasm.Ref, Heap: t.HeapType()}
}

// checkLists checks that what is left by one side may be taken by the other.
func (t *Tracker) checkLists(got, want []wasm.ValType) {
	if len(got) != len(want) {
		t.fail("%s: type mismatch: have %d values, want %d", t.in.Op, len(got), len(want))
		return
	}
	for i := range got {
		if !t.env.matches(got[i], want[i]) {
			t.mismatch(got[i].String(), want[i].String())
		}
	}
}

func (t *Tracker) applyLocal() {
	i := t.in.Index
	typ, ok := t.Local(i)
	if !ok {
		t.fail("unknown local %d", i)
		return
	}
	late := t.unset && typ.Kind == wasm.Ref && int64(i) >= int64(len(t.params))
	switch t.in.Op {
	case wasm.OpLocalGet:
		if late && !t.isSet[i] {
			t.fail("uninitialized local %d", i)
		}
		t.push(typ)
		return
	case wasm.OpLocalSet:
		t.popType(typ)
	case wasm.OpLocalTee:
		t.popType(typ)
		t.push(typ)
	}
	if late && !t.isSet[i] {
		if t.isSet == nil {
			t.isSet = map[uint32]bool{}
		}
		t.isSet[i] = true
		t.inits = append(t.inits, i)
	}
}

// blockTypes is what the block of the instruction takes and leaves.
func (t *Tracker) blockTypes() (params, results []wasm.ValType) {
	b := t.in.Block
	switch {
	case b.HasType:
		if f := t.funcType(b.Type); f != nil {
			return f.Params, f.Results
		}
	case b.Result.Kind != 0:
		if !t.env.known(b.Result) {
			t.fail("unknown type in block type")
			return nil, nil
		}
		return nil, single(b.Result)
	}
	return nil, nil
}

func (t *Tracker) funcType(i uint32) *wasm.FuncType {
	if int64(i) >= int64(len(t.env.m.Types)) {
		t.fail("unknown type %d", i)
		return nil
	}
	return &t.env.m.Types[i]
}

func (t *Tracker) applyControl(kind wasm.Imm) {
	in := &t.in
	switch kind {
	case wasm.ImmBlock, wasm.ImmTryTable:
		params, results := t.blockTypes()
		if in.Op == wasm.OpIf {
			t.popType(wasm.ValType{Kind: wasm.I32})
		}
		if kind == wasm.ImmTryTable {
			t.checkCatches()
		}
		t.open(in.Op, params, results)
	case wasm.ImmLabel:
		t.applyBranch(t.branch(in.Index))
	case wasm.ImmLabels:
		t.popType(wasm.ValType{Kind: wasm.I32})
		last := t.branch(in.Labels[len(in.Labels)-1])
		for _, l := range in.Labels {
			types := t.branch(l)
			if len(types) != len(last) {
				t.fail("br_table: type mismatch: labels take different numbers of values")
			}
			if t.checkTop(types); t.err != nil {
				return
			}
		}
		t.unreachable()
	case wasm.ImmFunc:
		if int64(in.Index) >= int64(len(t.env.funcs)) {
			t.fail("unknown function %d", in.Index)
			return
		}
		typ := t.env.funcs[in.Index]
		if in.Op == wasm.OpRefFunc {
			if !t.constant && !t.env.declared[in.Index] {
				t.fail("undeclared function reference %d", in.Index)
			}
			t.push(wasm.RefTo(int64(typ), false))
			return
		}
		t.call(typ, in.Op == wasm.OpReturnCall)
	case wasm.ImmCallIndirect:
		if int64(in.Index2) >= int64(len(t.env.tables)) {
			t.fail("unknown table %d", in.Index2)
			return
		}
		if e := t.env.tables[in.Index2].Elem; !t.env.matches(e, wasm.ValType{Kind: wasm.FuncRef}) {
			t.mismatch(e.String(), "funcref")
		}
		t.popType(wasm.ValType{Kind: wasm.I32})
		t.call(in.Index, in.Op == wasm.OpReturnCallIndirect)
	case wasm.ImmType:
		if t.funcType(in.Index) != nil {
			t.popType(wasm.RefTo(int64(in.Index), true))
			t.call(in.Index, in.Op == wasm.OpReturnCallRef)
		}
	case wasm.ImmTag:
		if int64(in.Index) >= int64(len(t.env.tags)) {
			t.fail("unknown tag %d", in.Index)
			return
		}
		t.popAll(t.env.m.Types[t.env.tags[in.Index]].Params)
		t.unreachable()
	case wasm.ImmSelect:
		if len(in.Types) != 1 || !t.env.known(in.Types[0]) {
			t.fail("invalid result arity or type of select")
			return
		}
		t.popType(wasm.ValType{Kind: wasm.I32})
		t.popType(in.Types[0])
		t.popType(in.Types[0])
		t.push(in.Types[0])
	case wasm.ImmHeap:
		if !t.env.known(in.Ref) {
			t.fail("unknown type %d", in.Ref.Heap)
		}
		t.push(in.Ref)
	}
}

// applyBranch applies the branches to one label, which takes these types.
func (t *Tracker) applyBranch(label []wasm.ValType) {
	if t.err != nil {
		return
	}
	switch t.in.Op {
	case wasm.OpBr:
		t.popAll(label)
		t.unreachable()
	case wasm.OpBrIf:
		t.popType(wasm.ValType{Kind: wasm.I32})
		t.popAll(label)
		t.pushAll(label)
	case wasm.OpBrOnNull:
		r := t.popRef()
		t.popAll(label)
		t.pushAll(label)
		t.push(nonNull(r))
	case wasm.OpBrOnNonNull:
		n := len(label) - 1
		if n < 0 || !label[n].IsRef() {
			t.fail("br_on_non_null: type mismatch: the label takes no reference")
			return
		}
		t.popType(wasm.RefTo(label[n].HeapType(), true))
		t.popAll(label[:n])
		t.pushAll(label[:n])
	}
}

func (t *Tracker) call(typ uint32, tail bool) {
	f := t.funcType(typ)
	if f == nil {
		return
	}
	t.popAll(f.Params)
	if !tail {
		t.pushAll(f.Results)
		return
	}
	t.checkLists(f.Results, t.frames[0].Results)
	t.unreachable()
}

// checkCatches checks that the labels of a try_table take what its clauses push.
func (t *Tracker) checkCatches() {
	var push []wasm.ValType
	for _, c := range t.in.Catches {
		push = push[:0]
		if c.Kind == wasm.CatchTag || c.Kind == wasm.CatchTagRef {
			if int64(c.Tag) >= int64(len(t.env.tags)) {
				t.fail("unknown tag %d", c.Tag)
				return
			}
			push = append(push, t.env.m.Types[t.env.tags[c.Tag]].Params...)
		}
		if c.Kind == wasm.CatchTagRef || c.Kind == wasm.CatchAllRef {
			push = append(push, wasm.RefTo(wasm.HeapExn, false))
		}
		if label := t.branch(c.Label); t.err == nil {
			t.checkLists(push, label)
		}
	}
}

// applyTable applies the instructions on globals and tables.
func (t *Tracker) applyTable() {
	in := &t.in
	i32 := wasm.ValType{Kind: wasm.I32}
	if in.Op == wasm.OpGlobalGet || in.Op == wasm.OpGlobalSet {
		n := len(t.env.globals)
		if t.constant {
			n = t.globals
		}
		if int64(in.Index) >= int64(n) {
			t.fail("unknown global %d", in.Index)
			return
		}
		g := t.env.globals[in.Index]
		if in.Op == wasm.OpGlobalGet {
			t.push(g.Type)
			return
		}
		if !g.Mutable {
			t.fail("global %d is immutable", in.Index)
		}
		t.popType(g.Type)
		return
	}
	table := in.Index
	if in.Op == wasm.OpTableInit {
		table = in.Index2
	}
	if in.Op == wasm.OpTableInit || in.Op == wasm.OpElemDrop {
		if int64(in.Index) >= int64(len(t.env.m.Elems)) {
			t.fail("unknown elem segment %d", in.Index)
			return
		}
		if in.Op == wasm.OpElemDrop {
			return
		}
	}
	if n := int64(len(t.env.tables)); int64(table) >= n || in.Op == wasm.OpTableCopy && int64(in.Index2) >= n {
		t.fail("unknown table")
		return
	}
	elem := t.env.tables[table].Elem
	switch in.Op {
	case wasm.OpTableGet:
		t.popType(i32)
		t.push(elem)
	case wasm.OpTableSet:
		t.popType(elem)
		t.popType(i32)
	case wasm.OpTableSize:
		t.push(i32)
	case wasm.OpTableGrow:
		t.popType(i32)
		t.popType(elem)
		t.push(i32)
	case wasm.OpTableFill:
		t.popType(i32)
		t.popType(elem)
		t.popType(i32)
	case wasm.OpTableCopy:
		if from := t.env.tables[in.Index2].Elem; !t.env.matches(from, elem) {
			t.mismatch(from.String(), elem.String())
		}
		t.simple(in.Op.Info())
	case wasm.OpTableInit:
		if from := elemType(&t.env.m.Elems[in.Index]); !t.env.matches(from, elem) {
			t.mismatch(from.String(), elem.String())
		}
		t.simple(in.Op.Info())
	}
}
