package wasm_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wasm/validate"
)

var (
	i32     = wasm.ValType{Kind: wasm.I32}
	i64     = wasm.ValType{Kind: wasm.I64}
	f64     = wasm.ValType{Kind: wasm.F64}
	v128    = wasm.ValType{Kind: wasm.V128}
	funcRef = wasm.ValType{Kind: wasm.FuncRef}
)

func constant(v int32) wasm.Expr { return append(wasm.AppendI32Const(nil, v), byte(wasm.OpEnd)) }

// rich is a valid module that uses every section and most forms of their entries.
func rich() *wasm.Module {
	start := uint32(2)
	typed := wasm.RefTo(0, true)
	refFunc := wasm.AppendOp(wasm.AppendIndex(nil, wasm.OpRefFunc, 2), wasm.OpEnd)
	body := wasm.AppendBlock(nil, wasm.OpTryTable, wasm.BlockType{})
	body = append(body, 1, byte(wasm.CatchAll), 0)
	body = wasm.AppendOp(body, wasm.OpEnd)
	body = wasm.AppendIndex(body, wasm.OpDataDrop, 1)
	return &wasm.Module{
		Types: []wasm.FuncType{{}, {Params: []wasm.ValType{i32, i64}, Results: []wasm.ValType{f64, v128}},
			{Params: []wasm.ValType{wasm.RefTo(3, true)}}, {Results: []wasm.ValType{wasm.RefTo(2, false)}}, {Params: []wasm.ValType{i32}}},
		RecGroups: []wasm.RecGroup{{First: 2, Size: 2}},
		Imports: []wasm.Import{
			{Module: "env", Name: "f", Kind: wasm.ExternFunc, Type: 1},
			{Module: "env", Name: "g", Kind: wasm.ExternFunc, Type: 4},
			{Module: "env", Name: "t", Kind: wasm.ExternTable, Table: wasm.TableType{Elem: funcRef, Limits: wasm.Limits{Min: 1}}},
			{Module: "env", Name: "m", Kind: wasm.ExternMemory, Memory: wasm.Limits{Min: 1, Max: 2, HasMax: true, Shared: true}},
			{Module: "env", Name: "ü", Kind: wasm.ExternGlobal, Global: wasm.GlobalType{Type: i32}},
			{Module: "env", Name: "e", Kind: wasm.ExternTag, Type: 4},
		},
		Funcs: []wasm.Func{
			{Body: wasm.Body{Code: wasm.AppendOp(body, wasm.OpEnd), Locals: []wasm.LocalRun{{Count: 3, Type: i32}, {Count: 1, Type: typed}}}},
			{Type: 4, Body: wasm.Body{Code: wasm.AppendOp(nil, wasm.OpEnd)}},
		},
		Tables: []wasm.Table{
			{TableType: wasm.TableType{Elem: funcRef, Limits: wasm.Limits{Min: 2, Max: 9, HasMax: true}}},
			{TableType: wasm.TableType{Elem: wasm.RefTo(0, false), Limits: wasm.Limits{Min: 1}}, Init: refFunc},
		},
		Tags: []uint32{0},
		Globals: []wasm.Global{{GlobalType: wasm.GlobalType{Type: i32, Mutable: true}, Init: constant(-7)},
			{GlobalType: wasm.GlobalType{Type: typed}, Init: append(wasm.AppendInt64(wasm.AppendOp(nil, wasm.OpRefNull), 0), byte(wasm.OpEnd))}},
		Exports: []wasm.Export{{Name: "", Kind: wasm.ExternFunc, Index: 2}, {Name: "g", Kind: wasm.ExternGlobal, Index: 1}},
		Start:   &start,
		Elems: []wasm.Elem{
			{Offset: constant(0), Type: funcRef, Funcs: []uint32{0, 2}},
			{Offset: constant(0), Type: funcRef, Table: 1, Funcs: []uint32{0}},
			{Mode: wasm.Passive, Type: funcRef, Funcs: []uint32{3}},
			{Mode: wasm.Declarative, Type: funcRef, Funcs: []uint32{3}},
			{Offset: constant(0), Type: funcRef, Exprs: []wasm.Expr{refFunc}},
			{Offset: constant(0), Type: wasm.RefTo(0, false), Table: 2, Exprs: []wasm.Expr{refFunc}},
			{Mode: wasm.Passive, Type: wasm.ValType{Kind: wasm.ExternRef}, Exprs: []wasm.Expr{}},
			{Mode: wasm.Declarative, Type: typed, Exprs: []wasm.Expr{refFunc, refFunc}},
		},
		Data:         []wasm.Data{{Offset: constant(8), Init: []byte("hello")}, {Mode: wasm.Passive, Init: []byte{}}},
		HasDataCount: true,
		Customs:      []wasm.Custom{{Name: "first", Data: []byte{1}}, {Name: "late", Data: []byte{}, After: 11}, {Name: "mid", Data: []byte{}, After: 3}},
	}
}

func TestRichModule(t *testing.T) {
	m := rich()
	if err := validate.Module(m); err != nil {
		t.Fatal(err)
	}
	bin := m.Encode()
	got, err := wasm.Decode(bin)
	if err != nil {
		t.Fatal(err)
	}
	want := rich()
	want.Customs = []wasm.Custom{want.Customs[0], want.Customs[2], want.Customs[1]} // in file order
	for i := range got.Funcs {
		b := &got.Funcs[i].Body
		if string(bin[b.Offset:int(b.Offset)+len(b.Code)]) != string(b.Code) || &bin[b.Offset] != &b.Code[0] {
			t.Errorf("body %d does not alias the input at its offset", i)
		}
		b.Offset = 0
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if string(wasm.AppendName(nil, "x")) != "\x01x" || string(m.AppendTo([]byte("pre"))) != "pre"+string(bin) {
		t.Error("AppendTo does not append")
	}
}

func TestTruncatedAndFlipped(t *testing.T) {
	bin := rich().Encode()
	whole := map[int]bool{} // a prefix that ends with a section may be a module
	for n := range bin {
		_, err := wasm.Decode(bin[:n])
		if err == nil {
			whole[n] = true
			continue
		}
		if f := (*wasm.FormatError)(nil); !errors.As(err, &f) || f.Offset > n {
			t.Errorf("first %d bytes: %v", n, err)
		}
	}
	if len(whole) > 10 {
		t.Errorf("%d prefixes were accepted", len(whole))
	}
	for i := range bin {
		for _, b := range []byte{0, 1, 0x7f, 0x80, 0xff, bin[i] ^ 1} {
			bad := append([]byte(nil), bin...)
			bad[i] = b
			walk(t, bad)
		}
	}
}

func TestMalformed(t *testing.T) {
	const head = "\x00asm\x01\x00\x00\x00"
	for _, c := range []struct{ name, bin, want string }{
		{"empty", "", "decode header section at offset 0: unexpected end"},
		{"text", "(module)", "decode header section at offset 0: magic header not detected"},
		{"component", "\x00asm\x0d\x00\x01\x00", "decode header section at offset 4: unknown binary version"},
		{"section-id", head + "\x0e\x00", "decode header section at offset 8: malformed section id 14"},
		{"section-length", head + "\x01\x7f\x00", "decode type section at offset 10: length out of bounds"},
		{"order", head + "\x03\x01\x00\x01\x01\x00", "decode type section at offset 11: section repeated or out of order"},
		{"repeated", head + "\x01\x01\x00\x01\x01\x00", "decode type section at offset 11: section repeated or out of order"},
		{"surplus", head + "\x01\x02\x00\x00", "decode type section at offset 11: section size mismatch"},
		{"four-billion-types", head + "\x01\x05\xff\xff\xff\xff\x0f", "decode type section at offset 10: vector length out of bounds"},
		{"four-billion-imports", head + "\x02\x05\xff\xff\xff\xff\x0f", "decode import section at offset 10: vector length out of bounds"},
		{"long-integer", head + "\x01\x06\x80\x80\x80\x80\x80\x00", "decode type section at offset 10: integer representation too long"},
		{"large-integer", head + "\x01\x05\xff\xff\xff\xff\x7f", "decode type section at offset 10: integer too large"},
		{"memory64", head + "\x05\x03\x01\x04\x00", "decode memory section at offset 11: 64-bit memories and tables are not supported"},
		{"custom-name", head + "\x00\x03\x02a\xff", "decode custom section at offset 11: malformed UTF-8 encoding"},
		{"no-code", head + "\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00", "decode code section at offset 18: function and code section have inconsistent lengths"},
		{"no-end", head + "\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x05\x01\x03\x00\x01\x01", "decode code section at offset 24: END opcode expected"},
		{"data-count", head + "\x0c\x01\x01", "decode data section at offset 11: data count and data section have inconsistent lengths"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := wasm.Decode([]byte(c.bin)); err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// TestNoAllocationFromCounts declares as many entries as the bytes that are left may hold, and holds none.
func TestNoAllocationFromCounts(t *testing.T) {
	const size = 1 << 20
	for id := byte(1); id <= 13; id++ {
		bin := append([]byte("\x00asm\x01\x00\x00\x00"), id)
		bin = wasm.AppendUint32(wasm.AppendUint32(bin, size+3), size/4)
		bin = append(bin, bytes.Repeat([]byte{0xff}, size)...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := wasm.Decode(bin)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 || err == nil {
			t.Errorf("section %d: %d bytes allocated for %d of input (%v)", id, got, size, err)
		}
	}
}

func TestCheckBodies(t *testing.T) {
	for _, c := range []struct {
		name string
		code string
		want string
	}{
		{"illegal", "\x06\x0b", "illegal opcode 0x6"},
		{"illegal-prefixed", "\xfc\x7f\x0b", "illegal opcode 0xfc007f"},
		{"relaxed-simd", "\xfd\x80\x02\x0b", "illegal opcode 0xfd0100"},
		{"cut", "\x41", "unexpected end"},
		{"else", "\x05\x0b", "unexpected else"},
		{"two-else", "\x04\x40\x05\x05\x0b\x0b", "unexpected else"},
		{"open", "\x02\x40\x0b", "END opcode expected"},
		{"closed", "\x0b\x01\x0b", "operators remaining after end of function"},
		{"memory-index", "\x3f\x01\x0b", "zero byte expected"},
		{"alignment", "\x28\x40\x00\x0b", "malformed memop flags"},
		{"data-count", "\xfc\x09\x00\x0b", "data count section required"},
		{"labels", "\x0e\xff\xff\xff\xff\x0f\x0b", "vector length out of bounds"},
		{"catch", "\x1f\x40\x01\x04\x00\x0b\x0b", "malformed catch clause"},
		{"block-type", "\x02\x5f\x0b\x0b", "malformed value type 0x5f"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &wasm.Module{Types: []wasm.FuncType{{}}, Funcs: []wasm.Func{{Body: wasm.Body{Code: wasm.Expr(c.code), Offset: 100}}}}
			err := m.CheckBodies()
			if f := (*wasm.FormatError)(nil); !errors.As(err, &f) || f.Reason != c.want || f.Section != "code" || f.Offset < 100 {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// TestEveryInstruction appends each instruction with immediates drawn at random and reads it back.
func TestEveryInstruction(t *testing.T) {
	var all []wasm.Opcode
	for _, prefix := range []wasm.Opcode{0, 0xfc, 0xfd, 0xfe} {
		for sub := range wasm.Opcode(0x200) {
			op := prefix<<16 | sub
			if op.Info() == nil {
				continue
			}
			if strings.HasPrefix(op.String(), "opcode") || op.IsAtomic() != (prefix == 0xfe) {
				t.Errorf("%#x is called %s", uint32(op), op)
			}
			all = append(all, op)
		}
	}
	if len(all) != 514 {
		t.Errorf("got %d instructions, want 514", len(all))
	}
	types := []wasm.ValType{i32, i64, f64, v128, funcRef, wasm.RefTo(5, true), wasm.RefTo(1<<20, false), wasm.RefTo(wasm.HeapExn, false)}
	rapid.Check(t, func(t *rapid.T) {
		u32 := rapid.Uint32()
		op := rapid.SampledFrom(all).Draw(t, "op")
		in := wasm.Instr{Op: op, Index: u32.Draw(t, "index"), Index2: u32.Draw(t, "index2"), Lane: rapid.Byte().Draw(t, "lane")}
		in.Mem = wasm.MemArg{Align: rapid.Uint32Range(0, 31).Draw(t, "align"), Offset: u32.Draw(t, "offset")}
		in.Value = rapid.Uint64().Draw(t, "value")
		switch op {
		case wasm.OpI32Const:
			in.Value = uint64(int64(int32(in.Value)))
		case wasm.OpF32Const:
			in.Value = uint64(uint32(in.Value))
		}
		switch rapid.IntRange(0, 2).Draw(t, "block") {
		case 1:
			in.Block.Result = rapid.SampledFrom(types).Draw(t, "result")
		case 2:
			in.Block = wasm.BlockType{Type: u32.Draw(t, "type"), HasType: true}
		}
		in.Ref = wasm.RefTo(rapid.SampledFrom([]int64{0, 77, wasm.HeapFunc, wasm.HeapExtern, wasm.HeapExn}).Draw(t, "heap"), true)
		in.Labels = rapid.SliceOfN(u32, 1, 5).Draw(t, "labels")
		in.Types = rapid.SliceOfN(rapid.SampledFrom(types), 0, 3).Draw(t, "types")
		for range rapid.IntRange(0, 3).Draw(t, "catches") {
			c := wasm.Catch{Kind: wasm.CatchKind(rapid.IntRange(0, 3).Draw(t, "kind")), Label: u32.Draw(t, "label")}
			if c.Kind <= wasm.CatchTagRef {
				c.Tag = u32.Draw(t, "tag")
			}
			in.Catches = append(in.Catches, c)
		}
		binary.LittleEndian.PutUint64(in.V128[4:], in.Value)

		code := wasm.AppendInstr([]byte{byte(wasm.OpNop)}, &in)
		r := wasm.NewReader(code)
		got := in // so that immediates that op does not have are equal
		if first := r.Next(&got); !first || !r.Next(&got) || got.Op != op || got.Pos != 1 || got.End != len(code) {
			t.Fatalf("%s: % x: read %+v, %v", op, code, got, r.Err())
		}
		in.Pos, in.End = got.Pos, got.End
		if d := cmp.Diff(in, got); d != "" {
			t.Fatalf("%s: % x: %s", op, code, d)
		}
		for n := 2; n < len(code); n++ {
			if r := wasm.NewReader(code[1:n]); r.Next(&got) || r.Err() == nil {
				t.Fatalf("%s: % x was read in full", op, code[1:n])
			}
		}
	})
}

func TestIntegers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, w := rapid.Int64().Draw(t, "i64"), rapid.Int32().Draw(t, "i32")
		r := wasm.NewReader(wasm.AppendI32Const(wasm.AppendI64Const(nil, v), w))
		var in wasm.Instr
		if !r.Next(&in) || int64(in.Value) != v || !r.Next(&in) || int64(in.Value) != int64(w) || r.Next(&in) || r.Err() != nil {
			t.Fatalf("%d, %d: read %d, %v", v, w, int64(in.Value), r.Err())
		}
	})
}
