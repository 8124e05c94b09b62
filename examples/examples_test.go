package examples_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/examples"
	"github.com/google/go-cmp/cmp"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// machine runs one module on the engine's own WASI: what the programs are held to without this project.
type machine struct {
	rt   wazero.Runtime
	code wazero.CompiledModule
}

func newMachine(t *testing.T, bin []byte) *machine {
	t.Helper()
	ctx := context.Background()
	rt := wazero.NewRuntime(ctx)
	t.Cleanup(func() { rt.Close(ctx) })
	wasi_snapshot_preview1.MustInstantiate(ctx, rt)
	code, err := rt.CompileModule(ctx, bin)
	if err != nil {
		t.Fatal(err)
	}
	return &machine{rt, code}
}

func (m *machine) run(t *testing.T, dir string, args []string) (exitCode uint32, stdout, stderr string) {
	t.Helper()
	var outs, errs bytes.Buffer
	config := wazero.NewModuleConfig().WithName("").WithArgs(args...).WithStdout(&outs).WithStderr(&errs).
		WithFSConfig(wazero.NewFSConfig().WithDirMount(dir, examples.Mount))
	mod, err := m.rt.InstantiateModule(context.Background(), m.code, config)
	if mod != nil {
		mod.Close(context.Background())
	}
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		exitCode = exit.ExitCode()
	} else if err != nil {
		t.Fatalf("run %s: %v\n%s", args[0], err, errs.String())
	}
	return exitCode, outs.String(), errs.String()
}

// module returns the program's module and builds it if it is in Go.
func module(t *testing.T, p examples.Program) []byte {
	t.Helper()
	if p.Wasm != nil {
		return p.Wasm
	}
	out := filepath.Join(t.TempDir(), p.Name+".wasm")
	cmd := exec.Command("go", "build", "-o", out, "./"+p.Name)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", p.Name, err, text)
	}
	bin, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

func TestProgramsFindWhatWasPlanted(t *testing.T) {
	for _, p := range examples.Programs() {
		t.Run(p.Name, func(t *testing.T) {
			m := newMachine(t, module(t, p))
			for seed := range uint64(3) {
				dir := t.TempDir()
				if err := p.Generate(dir, examples.Small, seed); err != nil {
					t.Fatal(err)
				}
				exit, out, errs := m.run(t, dir, p.Args)
				if err := examples.Check(dir, out); err != nil {
					t.Errorf("seed %d: %v; got:\n%s", seed, err, out)
				}
				if exit != p.Exit || errs != "" {
					t.Errorf("seed %d: exit code %d, want %d; standard error: %s", seed, exit, p.Exit, errs)
				}
			}
		})
	}
}

func TestGenerateIsDeterministic(t *testing.T) {
	for _, p := range examples.Programs() {
		t.Run(p.Name, func(t *testing.T) {
			var trees [3]map[string]string
			for i, seed := range []uint64{7, 7, 8} {
				dir := t.TempDir()
				if err := p.Generate(dir, examples.Small, seed); err != nil {
					t.Fatal(err)
				}
				trees[i] = tree(t, dir)
			}
			if diff := cmp.Diff(trees[0], trees[1]); diff != "" {
				t.Errorf("same seed, other input: %s", diff)
			}
			if cmp.Equal(trees[0], trees[2]) {
				t.Error("other seed, same input")
			}
		})
	}
}

func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		rel, _ := filepath.Rel(dir, name)
		files[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestSizes(t *testing.T) {
	for _, name := range []string{"small", "medium", "large"} {
		s, err := examples.ParseSize(name)
		if err != nil || s.String() != name {
			t.Errorf("ParseSize(%q) = %v, %v", name, s, err)
		}
	}
	if _, err := examples.ParseSize("huge"); err == nil {
		t.Error("ParseSize accepts huge")
	}
	p := examples.Programs()[0]
	if err := p.Generate(t.TempDir(), examples.Large+1, 1); err == nil {
		t.Error("Generate accepts a size that is not one")
	}
	if _, err := examples.Lookup("chess"); err == nil {
		t.Error("Lookup finds chess")
	}
}

// The C programs are committed built: keep them small.
func TestModulesAreSmall(t *testing.T) {
	for _, p := range examples.Programs() {
		if len(p.Wasm) > 200<<10 {
			t.Errorf("%s: %d bytes", p.Name, len(p.Wasm))
		}
	}
}

func TestBadInputIsRefused(t *testing.T) {
	for _, p := range examples.Programs() {
		if p.Wasm == nil {
			continue // has tests of its own
		}
		dir := t.TempDir()
		if err := p.Generate(dir, examples.Small, 1); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"needle.pgm", "categories.txt"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("P5\n99999999999 -4 255\nno tab"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		exit, _, errs := newMachine(t, p.Wasm).run(t, dir, p.Args)
		if exit != 1 || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: exit code %d, %q; want 1 and one line", p.Name, exit, errs)
		}
	}
}
