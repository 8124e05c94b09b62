package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	_ "unsafe" // for the interpreter's limit

	"github.com/clonecloud/clonecloud/internal/conformance/corpus"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// The interpreter's ceiling of 2000 frames is too low for programs that recurse.
//
//go:linkname callStackCeiling github.com/tetratelabs/wazero/internal/engine/interpreter.callStackCeiling
var callStackCeiling int

// options say how check runs programs.
type options struct {
	engine string
	// virtual gives the guest a clock and random numbers that are the same in each run, executes everything twice, and compares.
	virtual bool
	built   string
}

// check runs programs in order and prints a line for each run: name, seconds, bytes printed. It goes on after a failure.
func check(ctx context.Context, opt options, list []corpus.Program, names []string) error {
	callStackCeiling = 60000
	config := wazero.NewRuntimeConfigCompiler()
	if opt.engine == "interpreter" {
		config = wazero.NewRuntimeConfigInterpreter()
	} else if opt.engine != "compiler" {
		return fmt.Errorf("no engine %q", opt.engine)
	}
	rt := wazero.NewRuntimeWithConfig(ctx, config)
	defer rt.Close(ctx)
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, rt); err != nil {
		return err
	}
	var faults []error
	for i := range list {
		p := &list[i]
		if len(names) > 0 && !slices.Contains(names, p.Name) {
			continue
		}
		first, err := checkProgram(ctx, rt, p, opt)
		faults = append(faults, err)
		if err != nil || !opt.virtual {
			continue
		}
		second, err := checkProgram(ctx, rt, p, opt)
		faults = append(faults, err)
		for i, r := range p.Runs {
			if err == nil && !bytes.Equal(first[i], second[i]) {
				faults = append(faults, fmt.Errorf("%s %s: output differs from run to run: %s", p.Name, r.Name, difference(first[i], second[i])))
			}
		}
	}
	return errors.Join(faults...)
}

// checkProgram returns what each run wrote to standard output and standard error, one after the other.
func checkProgram(ctx context.Context, rt wazero.Runtime, p *corpus.Program, opt options) ([][]byte, error) {
	built := opt.built
	work, err := os.MkdirTemp("", "corpus")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	mounts, err := p.Prepare(built, work)
	if err != nil {
		return nil, err
	}
	var printed [][]byte
	var faults []error
	for i := range p.Runs {
		r := &p.Runs[i]
		bin, err := os.ReadFile(filepath.Join(built, p.Module(r)))
		if err != nil {
			return nil, err
		}
		code, err := rt.CompileModule(ctx, bin)
		if err != nil {
			return nil, fmt.Errorf("compile %s: %w", p.Module(r), err)
		}
		var stdin []byte
		if r.Stdin != "" {
			if stdin, err = corpus.Input(built, r.Stdin); err != nil {
				return nil, err
			}
		}
		var stdout, stderr bytes.Buffer
		start := time.Now()
		exit, err := execute(ctx, rt, code, r, opt, mounts, stdin, &stdout, &stderr)
		took := time.Since(start)
		code.Close(ctx)
		if err == nil {
			err = p.Check(r, built, mounts, exit, stdout.Bytes())
		} else {
			err = fmt.Errorf("%s %s: %w", p.Name, r.Name, err)
		}
		fmt.Printf("%s\t%s\t%.3f\t%d\n", p.Name, r.Name, took.Seconds(), stdout.Len())
		printed = append(printed, slices.Concat(stdout.Bytes(), stderr.Bytes()))
		if err != nil {
			faults = append(faults, fmt.Errorf("%w\nstdout: %s\nstderr: %s", err, failures(stdout.String()), tail(stderr.String())))
		}
	}
	return printed, errors.Join(faults...)
}

func execute(ctx context.Context, rt wazero.Runtime, code wazero.CompiledModule, r *corpus.Run, opt options, mounts []corpus.Mount,
	stdin []byte, stdout, stderr *bytes.Buffer) (uint32, error) {
	fs := wazero.NewFSConfig()
	for _, m := range mounts {
		fs = fs.WithDirMount(m.Host, m.Guest)
	}
	config := wazero.NewModuleConfig().WithName("").WithArgs(r.Args...).WithStdin(bytes.NewReader(stdin)).WithStdout(stdout).WithStderr(stderr).
		WithFSConfig(fs)
	if !opt.virtual {
		config = config.WithSysWalltime().WithSysNanotime().WithSysNanosleep().WithRandSource(rand.Reader)
	}
	for _, kv := range r.Env {
		k, v, _ := strings.Cut(kv, "=")
		config = config.WithEnv(k, v)
	}
	mod, err := rt.InstantiateModule(experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(reserve)), code, config)
	if mod != nil {
		defer mod.Close(ctx)
	}
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// failures picks from a test's output the lines that tell what failed.
func failures(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		if strings.Contains(line, "--- FAIL") || strings.HasPrefix(line, "panic") {
			lines = append(lines, line)
		}
	}
	return tail(strings.Join(lines, "") + "\n" + tail(s))
}

// difference shows where two outputs part.
func difference(a, b []byte) string {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	return fmt.Sprintf("%d and %d bytes, from %d on: %q and %q", len(a), len(b), i, a[max(0, i-40):min(len(a), i+80)], b[max(0, i-40):min(len(b), i+80)])
}

func tail(s string) string { return s[max(0, len(s)-1500):] }
