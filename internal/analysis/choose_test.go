package analysis

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

func readModule(t testing.TB, path string) *wasm.Module {
	t.Helper()
	bin, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := wasm.Decode(bin)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// kernels.wasm is testdata/kernels.c, made by clang 14 and wasi-libc with -O2, names kept.
func TestCandidatesOfC(t *testing.T) {
	r, err := Analyze(readModule(t, "testdata/kernels.wasm"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := r.candidateNames()
	if got[0] != "_start.command_export" {
		t.Errorf("the first candidate is %s", got[0])
	}
	for _, name := range []string{"main", "matmul", "fib", "odd", "process", "qsort"} {
		if !slices.Contains(got, name) {
			t.Errorf("%s is no candidate", name)
		}
	}
	// Too fine, called only from within their component, or handing on one call.
	for _, name := range []string{"malloc", "dlmalloc", "free", "memcpy", "memset", "strlen", "hash", "cmp", "even",
		"_start", "__main_void", "__original_main", "printf", "atoi"} {
		if f := r.byName(t, name); f.Candidate || !f.May {
			t.Errorf("%s: candidate %v, may move %v", name, f.Candidate, f.May)
		}
	}
}

// heavy is code with a nest of loops.
func heavy() []byte {
	return loop(loop(ops(wasm.OpNop, wasm.OpNop, wasm.OpNop, wasm.OpNop, wasm.OpNop)))
}

func TestCandidates(t *testing.T) {
	var m module
	sensor := m.imp("phone", "sensor", nil, nil)
	inner := m.fn("inner", nil, nil, heavy())
	bound := m.fn("bound", nil, nil, calls(sensor), calls(inner))
	begin := m.fn("begin", nil, nil, heavy())
	m.Start = &begin
	setup := m.fn("setup", nil, nil, heavy())
	m.export("_initialize", wasm.ExternFunc, setup)
	tiny := m.fn("tiny", nil, nil)
	m.export("tiny", wasm.ExternFunc, tiny)
	fine := m.fn("fine", nil, nil) // exported, and called from a loop
	m.export("fine", wasm.ExternFunc, fine)
	passes := m.fn("passes", nil, nil, calls(inner))
	m.fn("never called", nil, nil, heavy())
	panics := m.fn("panics", nil, nil, heavy(), ops(wasm.OpUnreachable))
	m.table(
		m.fn("works and gives up", nil, nil, loop(calls(inner)), calls(panics), ops(wasm.OpUnreachable)),
		m.fn("gives up", nil, nil, calls(inner), calls(inner), ops(wasm.OpUnreachable)),
	)
	m.export("malloc", wasm.ExternFunc, m.fn("malloc", nil, nil, heavy()))
	hash := m.fn("runtime.hash", nil, nil, heavy())
	m.export("top", wasm.ExternFunc, m.fn("top", nil, nil, loop(calls(passes), calls(fine), calls(bound))))
	check := append(konst(1), block(wasm.OpIf, calls(panics), ops(wasm.OpUnreachable))...)
	start := m.fn("start", nil, nil, check, calls(hash), calls(passes))
	m.export("_start", wasm.ExternFunc, start)
	for _, c := range []struct {
		name string
		opt  Options
		want []string
	}{
		{"by default", Options{}, []string{"start", "tiny", "inner", "works and gives up"}},
		{"all", Options{All: true}, []string{
			"start", "inner", "passes", "works and gives up", "gives up", "malloc", "runtime.hash", "fine", "tiny", "never called", "panics",
		}},
		{"all but some", Options{All: true, Exclude: []string{"inner", "#7"}}, []string{
			"start", "works and gives up", "gives up", "malloc", "runtime.hash", "fine", "tiny", "never called", "panics",
		}},
		{"only some", Options{Only: []string{"passes", "inner", "bound"}}, []string{"inner", "passes"}},
		{"only one not excluded", Options{Only: []string{"passes", "inner"}, Exclude: []string{"inner"}}, []string{"passes"}},
		{"one", Options{MaxCandidates: 1}, []string{"start"}},
		{"two", Options{MaxCandidates: 2}, []string{"start", "inner"}},
		{"three of all", Options{All: true, MaxCandidates: 3}, []string{"start", "inner", "passes"}},
		{"heavier ones", Options{MinWeight: 1 << 40}, []string{"start", "tiny"}},
	} {
		r := m.analyze(t, c.opt)
		if d := cmp.Diff(c.want, r.candidateNames()); d != "" {
			t.Errorf("%s: candidates (-want +got):\n%s", c.name, d)
		}
		for i := range r.Funcs {
			if f := &r.Funcs[i]; f.Candidate != slices.Contains(r.Candidates, f.Index) || f.Candidate && !f.May {
				t.Errorf("%s: %s: candidate %v, may move %v", c.name, f.Name, f.Candidate, f.May)
			}
		}
	}
	for _, opt := range []Options{{Only: []string{"nobody"}}, {Exclude: []string{"nobody"}}} {
		if _, err := m.try(t, opt); err == nil {
			t.Errorf("%+v: no error", opt)
		}
	}
}

func TestMaxCandidates(t *testing.T) {
	var m module
	var code [][]byte
	for i := range 600 {
		code = append(code, calls(m.fn(fmt.Sprint("f", i), nil, nil, heavy())))
	}
	m.export("_start", wasm.ExternFunc, m.fn("main", nil, nil, code...))
	for limit, want := range map[int]int{0: 256, 10: 10, 10_000: 601} {
		r := m.analyze(t, Options{MaxCandidates: limit})
		if len(r.Candidates) != want || r.Candidates[0] != 600 {
			t.Errorf("limit %d: %d candidates, the first %d", limit, len(r.Candidates), r.Candidates[0])
		}
	}
}
