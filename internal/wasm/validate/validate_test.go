package validate_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wasm/validate"
)

var (
	i32 = wasm.ValType{Kind: wasm.I32}
	i64 = wasm.ValType{Kind: wasm.I64}
	f32 = wasm.ValType{Kind: wasm.F32}
)

// build makes a module of one function (i32, i64) -> i32 with two f32 locals, and one imported () -> (i32, i64).
func build(code []byte) *wasm.Module {
	return &wasm.Module{
		Types: []wasm.FuncType{{Params: []wasm.ValType{i32, i64}, Results: []wasm.ValType{i32}},
			{Results: []wasm.ValType{i32, i64}}},
		Imports: []wasm.Import{{Module: "m", Name: "f", Kind: wasm.ExternFunc, Type: 1}},
		Funcs: []wasm.Func{{Body: wasm.Body{Locals: []wasm.LocalRun{{Count: 2, Type: f32}}, Offset: 50,
			Code: append(code, byte(wasm.OpEnd))}}},
	}
}

// trace steps through the only body and writes each instruction with the state before it.
func trace(t *testing.T, m *wasm.Module) (lines []string, err error) {
	t.Helper()
	env, err := validate.New(m)
	if err != nil {
		t.Fatal(err)
	}
	tr := env.Tracker()
	for range 2 { // the second time over the memory of the first
		lines = nil
		tr.Start(m.Funcs[0].Type, &m.Funcs[0].Body)
		for tr.Next() {
			s := fmt.Sprintf("%d %s", tr.Depth(), tr.Instr().Op)
			for _, v := range tr.Stack() {
				s += " " + v.String()
			}
			if tr.Unreachable() {
				s += " unreachable"
			}
			if n := len(tr.Stack()); n > 0 && !tr.Unreachable() && n > tr.Frames()[tr.Depth()].Height && tr.Operand(0) != tr.Stack()[n-1] {
				t.Errorf("%s: topmost operand %s", s, tr.Operand(0))
			}
			lines = append(lines, s)
		}
	}
	return lines, tr.Err()
}

func TestTracker(t *testing.T) {
	code := wasm.AppendIndex(nil, wasm.OpCall, 0)
	code = wasm.AppendOp(code, wasm.OpDrop)
	code = wasm.AppendBlock(code, wasm.OpBlock, wasm.BlockType{Result: i32})
	code = wasm.AppendIndex(code, wasm.OpLocalGet, 2)
	code = wasm.AppendIndex(code, wasm.OpLocalGet, 1)
	code = wasm.AppendIndex(code, wasm.OpLocalGet, 0)
	code = wasm.AppendBlock(code, wasm.OpIf, wasm.BlockType{})
	code = wasm.AppendI32Const(code, 1)
	code = wasm.AppendIndex(code, wasm.OpBr, 1)
	code = wasm.AppendOp(code, wasm.OpI64Add, wasm.OpDrop, wasm.OpElse, wasm.OpNop, wasm.OpEnd)
	code = wasm.AppendOp(code, wasm.OpDrop, wasm.OpDrop)
	code = wasm.AppendIndex(code, wasm.OpLocalGet, 0)
	code = wasm.AppendOp(code, wasm.OpEnd, wasm.OpI32Add)
	got, err := trace(t, build(code))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"0 call",
		"0 drop i32 i64",
		"0 block i32",
		"1 local.get i32",
		"1 local.get i32 f32",
		"1 local.get i32 f32 i64",
		"1 if i32 f32 i64 i32",
		"2 i32.const i32 f32 i64",
		"2 br i32 f32 i64 i32",
		"2 i64.add i32 f32 i64 unreachable",
		"2 drop i32 f32 i64 i64 unreachable",
		"2 else i32 f32 i64 unreachable",
		"2 nop i32 f32 i64",
		"2 end i32 f32 i64",
		"1 drop i32 f32 i64",
		"1 drop i32 f32",
		"1 local.get i32",
		"1 end i32 i32",
		"0 i32.add i32 i32",
		"0 end i32",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestInvalidBodies(t *testing.T) {
	op := func(ops ...wasm.Opcode) []byte { return wasm.AppendOp(nil, ops...) }
	for _, c := range []struct {
		name string
		code []byte
		want string
	}{
		{"missing-result", nil, "validate function 1 at offset 50: end: type mismatch: have nothing, want i32"},
		{"surplus", wasm.AppendI32Const(wasm.AppendI32Const(nil, 1), 2),
			"validate function 1 at offset 54: type mismatch: 1 operands remain at the end of a block"},
		{"operand", wasm.AppendOp(wasm.AppendIndex(nil, wasm.OpLocalGet, 1), wasm.OpI32Eqz),
			"validate function 1 at offset 52: i32.eqz: type mismatch: have i64, want i32"},
		{"local", wasm.AppendIndex(nil, wasm.OpLocalGet, 4), "validate function 1 at offset 50: unknown local 4"},
		{"label", wasm.AppendIndex(nil, wasm.OpBr, 1), "validate function 1 at offset 50: unknown label 1"},
		{"function", wasm.AppendIndex(nil, wasm.OpCall, 2), "validate function 1 at offset 50: unknown function 2"},
		{"global", wasm.AppendIndex(nil, wasm.OpGlobalGet, 0), "validate function 1 at offset 50: unknown global 0"},
		{"memory", append(op(wasm.OpUnreachable), 0x28, 0, 0), "validate function 1 at offset 51: unknown memory 0"},
		{"lane", append(op(wasm.OpUnreachable), 0xfd, 0x1d, 2), "validate function 1 at offset 51: invalid lane index 2"},
		{"undeclared", wasm.AppendIndex(nil, wasm.OpRefFunc, 0), "validate function 1 at offset 50: undeclared function reference 0"},
		{"else", op(wasm.OpElse), "decode code section at offset 50: unexpected else"},
		{"after-end", op(wasm.OpUnreachable, wasm.OpEnd), "decode code section at offset 52: operators remaining after end of function"},
		{"data", wasm.AppendIndex(nil, wasm.OpDataDrop, 0), "decode code section at offset 50: data count section required"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := validate.Module(build(c.code)); err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// TestHugeLocals: declared locals cost no memory.
func TestHugeLocals(t *testing.T) {
	m := build(wasm.AppendIndex(wasm.AppendIndex(nil, wasm.OpLocalGet, 1<<32-10), wasm.OpLocalGet, 0))
	m.Funcs[0].Body.Locals = []wasm.LocalRun{{Count: 0, Type: i32}, {Count: 1<<32 - 100, Type: i64}, {Count: 95, Type: f32}}
	lines, err := trace(t, m)
	if want := []string{"0 local.get", "0 local.get f32", "0 end f32 i32"}; !cmp.Equal(lines, want) || err == nil {
		t.Errorf("got %q, %v", lines, err)
	}
	m.Funcs[0].Body.Locals[2].Count = 99
	if err := validate.Module(m); err == nil || !strings.Contains(err.Error(), "too many locals") {
		t.Errorf("got %v", err)
	}
}

func TestInvalidModules(t *testing.T) {
	bad := uint32(7)
	for _, c := range []struct {
		name   string
		change func(m *wasm.Module)
		want   string
	}{
		{"type", func(m *wasm.Module) { m.Imports[0].Type = 9 }, "validate function 0: unknown type 9"},
		{"forward-type", func(m *wasm.Module) { m.Types[0].Params[0] = wasm.RefTo(1, true) }, "validate type 0: unknown type 1"},
		{"group", func(m *wasm.Module) { m.RecGroups = []wasm.RecGroup{{First: 1, Size: 2}} }, "validate type 1: group of 2 types out of bounds"},
		{"start", func(m *wasm.Module) { m.Start = &bad }, "validate start function: unknown function, or one with parameters or results"},
		{"export", func(m *wasm.Module) { m.Exports = []wasm.Export{{Kind: wasm.ExternMemory}} }, "validate export 0: unknown index 0"},
		{"exports", func(m *wasm.Module) { m.Exports = []wasm.Export{{Name: "a"}, {Name: "a"}} }, `validate export 1: duplicate export name "a"`},
		{"memory", func(m *wasm.Module) { m.Memories = []wasm.Limits{{Min: 1<<16 + 1}} }, "validate memory 0: size must be at most 65536"},
		{"shared", func(m *wasm.Module) { m.Memories = []wasm.Limits{{Shared: true}} }, "validate memory 0: shared memory must have maximum"},
		{"memories", func(m *wasm.Module) { m.Memories = make([]wasm.Limits, 2) }, "validate memory 1: multiple memories are not supported"},
		{"tag", func(m *wasm.Module) { m.Tags = []uint32{1} }, "validate tag 0: non-empty tag result type"},
		{"data", func(m *wasm.Module) { m.Data = make([]wasm.Data, 1) }, "validate data segment 0: unknown memory 0"},
		{"global", func(m *wasm.Module) {
			m.Globals = []wasm.Global{{GlobalType: wasm.GlobalType{Type: i32}, Init: wasm.AppendOp(wasm.AppendI64Const(nil, 1), wasm.OpEnd)}}
		}, "validate global 0: end: type mismatch: have i64, want i32"},
		{"constant", func(m *wasm.Module) {
			m.Globals = []wasm.Global{{GlobalType: wasm.GlobalType{Type: i32}, Init: wasm.AppendOp(nil, wasm.OpNop, wasm.OpEnd)}}
		}, "validate global 0: constant expression required: nop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := build(wasm.AppendI32Const(nil, 0))
			if err := validate.Module(m); err != nil {
				t.Fatal(err)
			}
			c.change(m)
			err := validate.Module(m)
			if e := (*validate.Error)(nil); !errors.As(err, &e) || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// engineDiffers lists the modules of the corpus on which the engine decides otherwise, and why we follow the
// specification's tests instead.
var engineDiffers = map[string]string{
	"extended-const/testdata/global.19.wasm":          "it allows a mutable global in a constant expression",
	"typed-function-references/testdata/elem.86.wasm": "it allows a mutable global in a constant expression",
	"typed-function-references/testdata/elem.89.wasm": "it allows a mutable global in a constant expression",
	"v2/testdata/data.57.wasm":                        "it allows a mutable global in a constant expression",
	"v2/testdata/data.60.wasm":                        "it allows a mutable global in a constant expression",
	"v2/testdata/elem.47.wasm":                        "it allows a mutable global in a constant expression",
	"v2/testdata/elem.50.wasm":                        "it allows a mutable global in a constant expression",
	"v2/testdata/global.22.wasm":                      "it allows a mutable global in a constant expression",
	"v1/testdata/imports.47.wasm":                     "it refuses an empty module name",
	"v1/testdata/imports.48.wasm":                     "it refuses an empty module name",
	"v2/testdata/data.9.wasm":                         "it refuses a global of the module in an offset",
	"v2/testdata/data.10.wasm":                        "it refuses a global of the module in an offset",
	"v2/testdata/global.18.wasm":                      "it refuses a global of the module in a constant expression",
	"v2/testdata/global.19.wasm":                      "it refuses a global of the module in a constant expression",
}

// TestAgainstEngine compares our verdict on every module of the corpus with that of the engine that will run it.
func TestAgainstEngine(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		t.Skipf("the wazero module is not in the module cache: %v", err)
	}
	ctx := context.Background()
	features := api.CoreFeaturesV2 | experimental.CoreFeaturesThreads | experimental.CoreFeaturesTailCall |
		experimental.CoreFeaturesExtendedConst | experimental.CoreFeaturesExceptionHandling |
		experimental.CoreFeaturesTypedFunctionReferences
	engine := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features))
	defer engine.Close(ctx)
	var valid, invalid, differ int
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".wasm") {
			return err
		}
		bin, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		m, ours := wasm.Decode(bin)
		if ours == nil {
			ours = validate.Module(m)
		}
		compiled, theirs := engine.CompileModule(ctx, bin)
		if theirs == nil {
			compiled.Close(ctx)
		}
		switch _, name, _ := strings.Cut(path, "/spectest/"); {
		case (ours == nil) != (theirs == nil):
			differ++
			if engineDiffers[name] == "" {
				t.Errorf("%s: got %v, the engine %v", path, ours, theirs)
			}
		case ours == nil:
			valid++
		default:
			invalid++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d valid, %d refused by both, %d judged differently", valid, invalid, differ)
	if valid < 3000 || invalid < 4900 || differ != len(engineDiffers) {
		t.Error("fewer than there should be")
	}
}
