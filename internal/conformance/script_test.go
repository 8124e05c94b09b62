package conformance

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// testdata is the folder of the module cache that holds wazero, whose test data are the specification's own tests and
// more.
func testdata(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		t.Skipf("no module cache: %v", err)
	}
	return dir
}

// script is one file of the specification's tests, in the form that wast2json gives it.
type script struct {
	file     string
	dir      string
	Source   string    `json:"source_filename"`
	Commands []command `json:"commands"`
}

func (s *script) String() string {
	return filepath.Base(filepath.Dir(s.dir)) + "/" + strings.TrimSuffix(filepath.Base(s.Source), ".wast")
}

type command struct {
	Type       string `json:"type"`
	Line       int    `json:"line"`
	Name       string `json:"name"`
	Filename   string `json:"filename"`
	As         string `json:"as"`
	Text       string `json:"text"`
	ModuleType string `json:"module_type"`
	Action     struct {
		Type   string  `json:"type"`
		Field  string  `json:"field"`
		Module string  `json:"module"`
		Args   []value `json:"args"`
	} `json:"action"`
	Expected []value `json:"expected"`
}

func scripts(t testing.TB) []*script {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(testdata(t), "internal/integration_test/spectest/*/testdata/*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	var all []*script
	for _, f := range files {
		s, err := readScript(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func readScript(file string) (*script, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	s := &script{file: file, dir: filepath.Dir(file)}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// value is an argument or an expected result.
type value struct {
	Type  string `json:"type"`
	Lane  string `json:"lane_type"`
	Value any    `json:"value"`
}

// lanes are the value's parts: one, but for vectors.
func (v value) lanes() (texts []string, width int, float bool) {
	kind := v.Type
	if v.Type == "v128" {
		kind = v.Lane
		for _, x := range v.Value.([]any) {
			texts = append(texts, x.(string))
		}
		width = 128 / len(texts)
	} else {
		s, _ := v.Value.(string)
		texts, width = []string{s}, 64
		if strings.HasSuffix(kind, "32") {
			width = 32
		}
	}
	return texts, width, strings.HasPrefix(kind, "f")
}

// slots is the value as it crosses the engine's interface, a vector as its two halves.
func (v value) slots() []uint64 {
	texts, width, _ := v.lanes()
	slots := make([]uint64, (len(texts)*width+63)/64)
	for i, s := range texts {
		u, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			n, _ := strconv.ParseInt(s, 10, 64)
			u = uint64(n)
		}
		if width < 64 {
			u &= 1<<width - 1
		}
		slots[i*width/64] |= u << (i * width % 64)
	}
	return slots
}

// match takes the value's slots off got and says whether they are as expected.
func (v value) match(got []uint64) (rest []uint64, ok bool) {
	texts, width, float := v.lanes()
	n := (len(texts)*width + 63) / 64
	if len(got) < n {
		return nil, false
	}
	want := value{Type: v.Type, Lane: v.Lane, Value: v.Value}.slots()
	for i, s := range texts {
		shift := i * width % 64
		g, w := got[i*width/64]>>shift, want[i*width/64]>>shift
		if width < 64 {
			g, w = g&(1<<width-1), w&(1<<width-1)
		}
		if float && strings.HasPrefix(s, "nan:") {
			exponent, quiet := uint64(0x7f800000), uint64(0x400000)
			if width == 64 {
				exponent, quiet = 0x7ff<<52, 1<<51
			}
			sign := uint64(1) << (width - 1)
			switch {
			case g&(exponent|quiet) != exponent|quiet:
				return nil, false
			case s == "nan:canonical" && g&^sign != exponent|quiet:
				return nil, false
			}
			continue
		}
		if g != w {
			return nil, false
		}
	}
	return got[n:], true
}

func match(expected []value, got []uint64) bool {
	for _, v := range expected {
		var ok bool
		if got, ok = v.match(got); !ok {
			return false
		}
	}
	return len(got) == 0
}

// trapOf is the kind of trap that a text of the scripts means.
func trapOf(text string) (engine.TrapKind, error) {
	for _, k := range []struct {
		text string
		kind engine.TrapKind
	}{
		{"uninitialized", engine.TrapTableBounds}, {"undefined", engine.TrapTableBounds},
		{"out of bounds table", engine.TrapTableBounds}, {"out of bounds memory", engine.TrapMemoryBounds},
		{"indirect call", engine.TrapIndirectType}, {"null", engine.TrapNullReference},
		{"integer divide", engine.TrapDivideByZero}, {"integer overflow", engine.TrapIntegerOverflow},
		{"invalid conversion", engine.TrapInvalidConversion}, {"unreachable", engine.TrapUnreachable},
		{"call stack", engine.TrapStackOverflow}, {"unaligned", engine.TrapUnaligned}, {"expected shared", engine.TrapOther},
	} {
		if strings.HasPrefix(text, k.text) {
			return k.kind, nil
		}
	}
	return 0, fmt.Errorf("no kind of trap is known as %q", text)
}

const adapted = "v128:" // before the name of an export: its adapter

// adapt adds to a module, for each exported function with vectors in its type, an export that has two i64 in the
// place of each: vectors do not cross the engine's interface. The names of the adapters come back.
func adapt(m *wasm.Module) (names []string) {
	const splat, extract, replace = wasm.OpI64x2Splat, wasm.Opcode(0xfd001d), wasm.Opcode(0xfd001e)
	lane := func(code []byte, op wasm.Opcode, lane byte) []byte { return append(wasm.AppendOp(code, op), lane) }
	var v128, i64 = wasm.ValType{Kind: wasm.V128}, wasm.ValType{Kind: wasm.I64}
	flat := func(list []wasm.ValType) (f []wasm.ValType) {
		for _, t := range list {
			if t == v128 {
				f = append(f, i64, i64)
			} else {
				f = append(f, t)
			}
		}
		return f
	}
	for _, e := range m.Exports {
		t, ok := m.FuncType(e.Index)
		if e.Kind != wasm.ExternFunc || !ok {
			continue
		}
		to := wasm.FuncType{Params: flat(t.Params), Results: flat(t.Results)}
		if len(to.Params) == len(t.Params) && len(to.Results) == len(t.Results) {
			continue
		}
		var code []byte
		at := uint32(0)
		for _, p := range t.Params {
			code = wasm.AppendIndex(code, wasm.OpLocalGet, at)
			if at++; p == v128 {
				code = wasm.AppendIndex(wasm.AppendOp(code, splat), wasm.OpLocalGet, at)
				code = lane(code, replace, 1)
				at++
			}
		}
		code = wasm.AppendIndex(code, wasm.OpCall, e.Index)
		var body wasm.Body
		for i := len(t.Results) - 1; i >= 0; i-- {
			code = wasm.AppendIndex(code, wasm.OpLocalSet, at+uint32(i))
		}
		for i, r := range t.Results {
			body.Locals = append(body.Locals, wasm.LocalRun{Count: 1, Type: r})
			code = wasm.AppendIndex(code, wasm.OpLocalGet, at+uint32(i))
			if r == v128 {
				code = wasm.AppendIndex(lane(code, extract, 0), wasm.OpLocalGet, at+uint32(i))
				code = lane(code, extract, 1)
			}
		}
		body.Code = wasm.AppendOp(code, wasm.OpEnd)
		m.Funcs = append(m.Funcs, wasm.Func{Type: m.TypeIndex(to), Body: body})
		m.Exports = append(m.Exports, wasm.Export{Name: adapted + e.Name, Kind: wasm.ExternFunc, Index: uint32(m.NumFuncs() - 1)})
		names = append(names, adapted+e.Name)
	}
	return names
}
