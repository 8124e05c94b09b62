package analysis

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

const goSource = `package main

import (
	"fmt"
	"os"
	"strings"
)

//go:noinline
func nested(n int) int {
	s := 0
	for i := 0; i < n; i++ {
		for j := 0; j < i; j++ {
			s += i ^ j
		}
	}
	return s
}

//go:noinline
func straight(a, b int) int {
	if a > b {
		return nested(a)
	}
	return nested(b) + 1
}

//go:noinline
func while(n int) int {
	steps := 0
	for n != 1 {
		if n%2 == 0 {
			n /= 2
		} else {
			n = 3*n + 1
		}
		steps++
	}
	return steps
}

type tree struct{ left, right *tree }

//go:noinline
func (t *tree) size() int {
	if t == nil {
		return 0
	}
	return 1 + t.left.size() + t.right.size()
}

func main() {
	t := &tree{left: &tree{}}
	fmt.Println(straight(100, 20), while(27), t.size(), strings.Repeat("ab", 3), len(os.Args))
}
`

// goProgram builds the program above once, and gives the path of the module.
var goProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "analysis")
	if err != nil {
		return "", err
	}
	cleanup = append(cleanup, dir)
	for name, text := range map[string]string{"main.go": goSource, "go.mod": "module prog\n\ngo 1.25\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	c := exec.Command("go", "build", "-o", "prog.wasm", ".")
	c.Dir = dir
	c.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := c.CombinedOutput(); err != nil {
		return "", &buildError{string(out), err}
	}
	return filepath.Join(dir, "prog.wasm"), nil
})

type buildError struct {
	out string
	err error
}

func (e *buildError) Error() string { return e.err.Error() + "\n" + e.out }

var cleanup []string

func TestMain(m *testing.M) {
	code := m.Run()
	for _, dir := range cleanup {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

func goModule(t testing.TB) *wasm.Module {
	t.Helper()
	path, err := goProgram()
	if err != nil {
		t.Fatalf("build a Go program: %v", err)
	}
	return readModule(t, path)
}

func TestGoProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a Go program")
	}
	r, err := Analyze(goModule(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Go || r.Stay != "" {
		t.Errorf("made by Go %v, stays because %q", r.Go, r.Stay)
	}
	if n := len(r.mayNames()); n != len(r.Funcs)-r.numImports {
		t.Errorf("%d of %d functions may move", n, len(r.Funcs)-r.numImports)
	}
	first := &r.Funcs[r.Candidates[0]]
	if first.Name != "_rt0_wasm_wasip1" || !first.Exported {
		t.Errorf("the first candidate is %s", first.Name)
	}
	for _, i := range r.Candidates[1:] {
		if f := &r.Funcs[i]; goRuntime(f.Name) {
			t.Errorf("%s is a candidate", f.Name)
		}
	}
	for name, want := range map[string]Loops{
		"main.nested":       {Count: 2, Depth: 2, Outer: 1},
		"main.straight":     {},
		"main.while":        {Count: 1, Depth: 1},
		"main.__tree_.size": {},
	} {
		if got := r.byName(t, name).Loops; got != want {
			t.Errorf("%s: loops %+v, want %+v", name, got, want)
		}
	}
	candidates := r.candidateNames()
	for _, name := range []string{"main.nested", "main.main"} {
		if !slices.Contains(candidates, name) {
			t.Errorf("%s is no candidate", name)
		}
	}
	if f := r.byName(t, "main.__tree_.size"); !f.Recursive {
		t.Error("size is not recursive")
	}
	if f := r.byName(t, "main.straight"); f.Recursive {
		t.Error("straight is recursive")
	}
	r, err = Analyze(goModule(t), Options{Only: []string{"main.(*tree).size"}})
	if err != nil || len(r.Candidates) != 1 {
		t.Errorf("candidates by a name as Go writes it: %v, %v", r, err)
	}
}

func TestGoWithoutNames(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a Go program")
	}
	m := goModule(t)
	m.Customs = slices.DeleteFunc(m.Customs, func(c wasm.Custom) bool { return c.Name == wasm.NameSection })
	r, err := Analyze(m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d := r.candidateNames(); !slices.Equal(d, []string{"_start"}) {
		t.Errorf("candidates %v, want _start alone: without names the runtime cannot be told from the rest", d)
	}
}

func TestGoNames(t *testing.T) {
	for name, want := range map[string]bool{
		"runtime.mallocgc": true, "wasm_pc_f_loop": true, "internal_runtime_maps.__Map_.grow": true, "sync.__Mutex_.lockSlow": true,
		"type_.eq.main.key": true, "main.main": false, "sort.Strings": false, "compress_flate.__compressor_.deflate": false,
		"example.com_a_b.F": false, "runtime_debug.SetGCPercent": true,
	} {
		if got := goRuntime(name); got != want {
			t.Errorf("%s: of the runtime %v", name, got)
		}
	}
	if got := goMangle("example.com/a-b.(*T).Run·1"); got != "example.com_a_b.__T_.Run_1" || strings.ContainsAny(got, "()*/") {
		t.Errorf("mangled %q", got)
	}
}
