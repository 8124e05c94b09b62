package analysis

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// tracer checks, at every host call of a run, that each function on the stack was said to reach it.
type tracer struct {
	t       *testing.T
	r       *Report
	imports map[string]uint32
	stack   []uint32
	calls   int
	missed  map[[2]uint32]bool
}

func (l *tracer) NewFunctionListener(api.FunctionDefinition) experimental.FunctionListener { return l }

func (l *tracer) Before(_ context.Context, _ api.Module, def api.FunctionDefinition, _ []uint64, _ experimental.StackIterator) {
	if i, ok := l.imports[def.ModuleName()+"."+def.Name()]; ok {
		l.calls++
		for _, f := range l.stack {
			if k := [2]uint32{f, i}; !l.r.Funcs[f].Imports.Has(i) && !l.missed[k] {
				l.missed[k] = true
				l.t.Errorf("function %d (%s) reached %s", f, l.r.Funcs[f].Label(), l.r.Funcs[i].Name)
			}
		}
		l.stack = append(l.stack, i)
		return
	}
	l.stack = append(l.stack, def.Index())
}

func (l *tracer) After(context.Context, api.Module, api.FunctionDefinition, []uint64) { l.pop() }

func (l *tracer) Abort(context.Context, api.Module, api.FunctionDefinition, error) { l.pop() }

func (l *tracer) pop() { l.stack = l.stack[:len(l.stack)-1] }

// TestRunsReachNoMore runs programs and compares the host calls that they make with those that were foreseen.
func TestRunsReachNoMore(t *testing.T) {
	if testing.Short() {
		t.Skip("runs programs with a listener on every function")
	}
	prog, err := goProgram()
	if err != nil {
		t.Fatal(err)
	}
	guests := filepath.Join(wazeroDir(t), "imports/wasi_snapshot_preview1/testdata")
	for _, c := range []struct {
		name, path string
		args       []string
	}{
		{"c", "testdata/kernels.wasm", []string{"kernels", "30"}},
		{"go", prog, []string{"prog"}},
		{"rust", filepath.Join(guests, "cargo-wasi/wasi.wasm"), []string{"wasi", "ls", "."}},
		{"tinygo", filepath.Join(guests, "tinygo/wasi.wasm"), []string{"wasi", "ls", "."}},
		{"zig", filepath.Join(guests, "zig/wasi.wasm"), []string{"wasi", "ls", "."}},
		{"zig-cc", filepath.Join(guests, "zig-cc/wasi.wasm"), []string{"wasi", "ls", "."}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bin, err := os.ReadFile(c.path)
			if err != nil {
				t.Skip(err)
			}
			m, err := wasm.Decode(bin)
			if err != nil {
				t.Fatal(err)
			}
			r, err := Analyze(m, Options{Alone: true})
			if err != nil {
				t.Fatal(err)
			}
			l := &tracer{t: t, r: r, imports: map[string]uint32{}, missed: map[[2]uint32]bool{}}
			for i := range r.numImports {
				l.imports[r.Funcs[i].Name] = uint32(i)
			}
			ctx := experimental.WithFunctionListenerFactory(t.Context(), l)
			rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
			defer rt.Close(ctx)
			wasi_snapshot_preview1.MustInstantiate(ctx, rt)
			var out bytes.Buffer
			cfg := wazero.NewModuleConfig().WithArgs(c.args...).WithStdout(&out).WithStderr(&out).
				WithStdin(bytes.NewReader(bytes.Repeat([]byte("some input "), 50))).
				WithFSConfig(wazero.NewFSConfig().WithDirMount(t.TempDir(), "/"))
			_, err = rt.InstantiateWithConfig(ctx, bin, cfg)
			t.Logf("%d host calls, %d functions, %d candidates, ended with %v, output %.60q", l.calls, len(r.Funcs), len(r.Candidates), err, out.String())
			if l.calls < 3 {
				t.Errorf("only %d host calls", l.calls)
			}
		})
	}
}
