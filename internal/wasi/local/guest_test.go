package local_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// guest is a program and what it is run with.
type guest struct {
	bin         []byte
	args, env   []string
	cfg         local.Config
	wrap        func(wasi.System) wasi.System
	interpreter bool
}

// outcome is what a run left.
type outcome struct {
	code           uint32
	err            error // besides an exit
	stdout, stderr string
}

var cache = wazero.NewCompilationCache()

// run runs a program to its end on wazero, with our functions as its only imports.
func (g guest) run(t testing.TB) outcome {
	t.Helper()
	ctx := t.Context()
	var stdout, stderr bytes.Buffer
	if g.cfg.Stdout == nil {
		g.cfg.Stdout = &stdout
	}
	if g.cfg.Stderr == nil {
		g.cfg.Stderr = &stderr
	}
	sys, err := local.New(g.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sys.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	p := &wasi.Process{State: sys.NewState(g.args, g.env, [32]byte{1}), System: sys}
	if g.wrap != nil {
		p.System = g.wrap(sys)
	}
	cfg := wazero.NewRuntimeConfig()
	if g.interpreter {
		cfg = wazero.NewRuntimeConfigInterpreter()
	}
	r := wazero.NewRuntimeWithConfig(ctx, cfg.WithCompilationCache(cache))
	defer r.Close(ctx)
	for _, abi := range []wasi.ABI{wasi.Preview1, wasi.Unstable} {
		if err := export(ctx, r, p, abi); err != nil {
			t.Fatal(err)
		}
	}
	_, err = r.InstantiateWithConfig(ctx, g.bin, wazero.NewModuleConfig().WithName("").WithStartFunctions("_start"))
	o := outcome{err: err, stdout: stdout.String(), stderr: stderr.String()}
	var exit *wasi.ExitError
	if errors.As(err, &exit) {
		o.code, o.err = exit.Code, nil
	}
	return o
}

func export(ctx context.Context, r wazero.Runtime, p *wasi.Process, abi wasi.ABI) error {
	b := r.NewHostModuleBuilder(abi.String())
	for _, f := range wasi.Funcs(p, abi) {
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(
			func(ctx context.Context, m api.Module, stack []uint64) {
				var mem []byte
				if v := reflect.ValueOf(m.Memory()); v.IsValid() && !v.IsNil() { // may be a nil of a type
					mem, _ = m.Memory().Read(0, m.Memory().Size())
				}
				if err := f.Call(ctx, mem, stack); err != nil {
					panic(err)
				}
			}), f.Params, f.Results).Export(f.Name)
	}
	_, err := b.Instantiate(ctx)
	return err
}

// hostTree copies a directory into a scratch one and opens it; an empty name gives an empty directory.
func hostTree(t testing.TB, from string) vfs.FS {
	t.Helper()
	dir := t.TempDir()
	if from != "" {
		if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	h, err := vfs.OpenHost(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// memTree is hostTree in memory.
func memTree(t testing.TB, from string) vfs.FS {
	t.Helper()
	m := vfs.NewMem(vfs.MemOptions{})
	if from == "" {
		return m
	}
	d, err := m.Root()
	if err != nil {
		t.Fatal(err)
	}
	err = fs.WalkDir(os.DirFS(from), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		if e.IsDir() {
			return d.Mkdir(path)
		}
		data, err := os.ReadFile(filepath.Join(from, path))
		if err != nil {
			return err
		}
		return putFile(d, path, data)
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func putFile(d vfs.Dir, path string, data []byte) error {
	f, err := d.Open(path, vfs.OpenWrite|vfs.OpenCreate|vfs.OpenTruncate)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	return errors.Join(err, f.Close())
}

// trees are the file systems that each guest is run over.
var trees = map[string]func(t testing.TB, from string) vfs.FS{"host": hostTree, "mem": memTree}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
