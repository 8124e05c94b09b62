package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/clonecloud/clonecloud/bench/programs"
)

// harness is the main function of a native program in C: it takes the time of the program's own.
const harness = `#include <stdio.h>
#include <time.h>

int program(int argc, char **argv);

static long long now(void) {
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv) {
	long long begin = now();
	int code = program(argc, argv);
	fprintf(stderr, "%lld\n", now() - begin);
	return code;
}
`

// Debian's; a rustc of rustup's, found first, may lack the target that the modules are built for.
var rustc = []string{"/usr/bin/rustc", "rustc"}

// natives builds programs.
type natives struct {
	dir, src string
	compiler map[string]string // path by name; "" or absent: not there
}

// builder returns what builds natively, the same in one run.
func (o *options) builder() (*natives, error) {
	if o.natives != nil {
		return o.natives, nil
	}
	var err error
	o.natives, err = newNatives(o.scratch)
	return o.natives, err
}

// newNatives lays out the sources and looks for compilers.
func newNatives(scratch string) (*natives, error) {
	n := &natives{dir: filepath.Join(scratch, "native"), src: filepath.Join(scratch, "src"), compiler: map[string]string{}}
	if err := os.CopyFS(n.src, programs.Source()); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(n.src, "harness.c"), []byte(harness), 0o600); err != nil {
		return nil, err
	}
	for name, at := range map[string][]string{gcc: {gcc}, clang: {clang}, "rustc": rustc, "go": {"go"}} {
		for _, file := range at {
			if path, err := exec.LookPath(file); err == nil {
				n.compiler[name] = path
				break
			}
		}
	}
	if n.compiler[gcc] == "" {
		return nil, errors.New("there is no gcc, whose code all else is compared with")
	}
	return n, nil
}

// The C compilers.
const (
	gcc   = "gcc"
	clang = "clang"
)

// baseline is the compiler that a language's programs are compared with.
func baseline(l programs.Language) string {
	switch l {
	case programs.Rust:
		return "rustc"
	case programs.Go:
		return "go"
	}
	return gcc
}

// build makes an executable of p by the compiler of that name, once. An error that wraps fs.ErrNotExist says that the
// compiler is not there.
func (n *natives) build(ctx context.Context, p *programs.Portable, name string) (string, error) {
	path := n.compiler[name]
	if path == "" {
		return "", fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	base := strings.TrimSuffix(filepath.Base(p.Source), filepath.Ext(p.Source))
	if p.Lang == programs.Go {
		base = "gowork"
	}
	out := filepath.Join(n.dir, name+"-"+base)
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	src := filepath.Join(n.src, filepath.FromSlash(p.Source))
	var err error
	switch p.Lang {
	case programs.Rust:
		err = command(ctx, path, "--edition", "2021", "-O", "-C", "panic=abort", "-C", "codegen-units=1", "-C", "lto=fat", "-o", out, src)
	case programs.Go:
		err = command(ctx, path, "build", "-o", out, programs.GoCommand)
	default:
		// Where the processor has it, products and sums would be fused, and come out differently.
		flags := []string{"-O2", "-w", "-ffp-contract=off"}
		object := out + ".o"
		if err = command(ctx, path, append(flags, "-Dmain=program", "-c", "-o", object, src)...); err == nil {
			err = command(ctx, path, append(flags, "-o", out, object, filepath.Join(n.src, "harness.c"), "-lm")...)
		}
	}
	return out, err
}

// goModule builds the programs in Go as a module.
func (n *natives) goModule(ctx context.Context) ([]byte, error) {
	path := n.compiler["go"]
	if path == "" {
		return nil, fmt.Errorf("go: %w", fs.ErrNotExist)
	}
	out := filepath.Join(n.dir, "gowork.wasm")
	if _, err := os.Stat(out); err != nil {
		c := exec.CommandContext(ctx, path, "build", "-o", out, programs.GoCommand)
		c.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
		if err := output(c); err != nil {
			return nil, err
		}
	}
	return os.ReadFile(out)
}

func command(ctx context.Context, path string, args ...string) error {
	return output(exec.CommandContext(ctx, path, args...))
}

func output(c *exec.Cmd) error {
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(c.Args, " "), err, out)
	}
	return nil
}

// execute runs an executable: the seconds that it says it computed, and its output.
func execute(ctx context.Context, file string, args []string) (float64, []byte, error) {
	c := exec.CommandContext(ctx, file, args...)
	var out, words bytes.Buffer
	c.Stdout, c.Stderr = &out, &words
	if err := c.Run(); err != nil {
		return 0, nil, fmt.Errorf("%s: %w: %s", filepath.Base(file), err, words.Bytes())
	}
	took, err := computed(words.String())
	if err != nil {
		return 0, nil, fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	return took.Seconds(), out.Bytes(), nil
}

// computed is what a native program says last: how many nanoseconds it computed.
func computed(words string) (time.Duration, error) {
	lines := strings.Fields(words)
	if len(lines) == 0 {
		return 0, errors.New("it does not say how long it computed")
	}
	ns, err := strconv.ParseInt(lines[len(lines)-1], 10, 64)
	if err != nil || ns <= 0 {
		return 0, fmt.Errorf("it says that it computed %q ns", lines[len(lines)-1])
	}
	return time.Duration(ns), nil
}
