package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/clonecloud/clonecloud"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// environ is the environment before TestMain changes it: where Go keeps its own cache depends on it.
var environ = os.Environ()

// builtOnce is the command, built once for all tests of a run.
var builtOnce = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "clonecloud-cmd-test-")
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "clonecloud")
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	build := exec.Command("go", "build", "-o", name, ".")
	build.Env = environ
	if text, err := build.CombinedOutput(); err != nil {
		return "", errors.New(string(text))
	}
	return name, nil
})

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		os.Exit(clonecloud.RunWorker()) // of a node that a test started
	}
	// Tests share compiled code with each other, and with nothing else.
	cache, err := os.MkdirTemp("", "clonecloud-cmd-cache-")
	if err != nil {
		panic(err)
	}
	os.Setenv("XDG_CACHE_HOME", cache)
	os.Setenv("XDG_CONFIG_HOME", filepath.Join(cache, "config"))
	code := m.Run()
	if name, err := builtOnce(); err == nil {
		os.RemoveAll(filepath.Dir(name))
	}
	os.RemoveAll(cache)
	os.Exit(code)
}

func builtBinary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a build")
	}
	name, err := builtOnce()
	if err != nil {
		t.Fatalf("build the command: %v", err)
	}
	return name
}

// result is what became of a command line.
type result struct {
	code           int
	stdout, stderr string
}

// inProcess runs a command line in this process.
func inProcess(_ *testing.T, stdin io.Reader, args ...string) result {
	var stdout, stderr bytes.Buffer
	code := execute(context.Background(), args, stdin, &stdout, &stderr)
	return result{code & 0xff, stdout.String(), stderr.String()}
}

// onBinary runs a command line on the built binary.
func onBinary(t *testing.T, stdin io.Reader, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(builtBinary(t), args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode() & 0xff, stdout.String(), stderr.String()}
}

// eachWay runs a test in process and on the built binary.
func eachWay(t *testing.T, test func(t *testing.T, run func(*testing.T, io.Reader, ...string) result)) {
	t.Run("process", func(t *testing.T) { test(t, inProcess) })
	t.Run("binary", func(t *testing.T) {
		builtBinary(t)
		test(t, onBinary)
	})
}

const guest = "testdata/guest.wasm"

// modules are what the tests run besides the guest, by name.
func modules(t *testing.T) map[string]string {
	t.Helper()
	bin, err := os.ReadFile(guest)
	if err != nil {
		t.Fatal(err)
	}
	command := func(change func(*wasm.Module)) []byte {
		m := &wasm.Module{Types: []wasm.FuncType{{}}}
		change(m)
		return m.Encode()
	}
	start := func(m *wasm.Module, index uint32) {
		m.Funcs = append(m.Funcs, wasm.Func{Body: wasm.Body{Code: wasm.Expr{0x0b}}})
		m.Exports = append(m.Exports, wasm.Export{Name: "_start", Kind: wasm.ExternFunc, Index: index})
	}
	files := map[string][]byte{
		"text": []byte("no module at all\n"), "empty": {}, "truncated": bin[:len(bin)/2], "head": bin[:8], "short": bin[:6],
		"wat": []byte("\n;; text\n(module)\n"), "script": []byte("#!/bin/sh\n"), "native": []byte("\x7fELF\x02\x01\x01"),
		"component": {0, 'a', 's', 'm', 13, 0, 1, 0}, "later": {0, 'a', 's', 'm', 2, 0, 0, 0},
		"unknown": command(func(m *wasm.Module) {
			m.Imports = []wasm.Import{{Module: "gpu", Name: "draw", Kind: wasm.ExternFunc}}
			start(m, 1)
		}),
		"huge": command(func(m *wasm.Module) {
			m.Memories = []wasm.Limits{{Min: 70000}}
			start(m, 0)
		}),
		"invalid": command(func(m *wasm.Module) {
			m.Funcs = []wasm.Func{{Body: wasm.Body{Code: wasm.Expr{0x6a, 0x0b}}}} // i32.add on nothing
			m.Exports = []wasm.Export{{Name: "_start", Kind: wasm.ExternFunc}}
		}),
	}
	dir := t.TempDir()
	paths := map[string]string{}
	for name, content := range files {
		paths[name] = filepath.Join(dir, name+".wasm")
		if err := os.WriteFile(paths[name], content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return paths
}

// TestExit holds each way for a program to end to its exit code and, if the fault is not the guest's own to report, to one
// line. What is refused has TestBadInput.
func TestExit(t *testing.T) {
	clone := []string{"run", "--cloud", "local", "--offload", "always"}
	tests := []struct {
		name   string
		args   []string
		code   int
		stdout string
		line   string // that "clonecloud: …" contains; "": stderr is empty
		own    string // stderr, if the guest writes it
	}{
		{name: "ends", args: []string{"run", guest}},
		{name: "exit-0", args: []string{"run", guest, "exit", "0"}},
		{name: "exit-1", args: []string{"run", guest, "exit", "1"}, code: 1},
		{name: "exit-124", args: []string{"run", guest, "exit", "124"}, code: 124},
		{name: "exit-255", args: []string{"run", guest, "exit", "255"}, code: 255},
		{name: "exit-low-byte", args: []string{"run", guest, "exit", "300"}, code: 300 & 0xff},
		{name: "exit-clone", args: append(clone, guest, "exit", "77"), code: 77},
		{name: "arguments", args: []string{"run", guest, "args", "--dir", "-x", "--"}, stdout: "guest.wasm\nargs\n--dir\n-x\n--\n"},
		{name: "argv0", args: []string{"run", "--argv0", "me", guest, "args"}, stdout: "me\nargs\n"},
		{name: "environment", args: []string{"run", "--env", "A=b=c", guest, "env", "A"}, stdout: "b=c\n"},
		{name: "environment-is-empty", args: []string{"run", guest, "env", "PATH"}, stdout: "(unset)\n"},
		{name: "listed", args: []string{"run", "--cloud", "local", "--offload", "work,#99", guest, "work", "10"}, stdout: "820388082\n"},

		{name: "trap", args: []string{"run", guest, "trap"}, code: exitTrap, line: "wasm trap: unreachable executed"},
		{name: "trap-clone", args: append(clone, guest, "trap"), code: exitTrap, line: "wasm trap: unreachable executed"},
		{name: "recursion", args: []string{"run", guest, "deep"}, code: exitTrap, line: "call stack exhausted"},
		{name: "recursion-interpreter", args: []string{"run", "--engine", "interpreter", guest, "deep"}, code: exitTrap, line: "call stack exhausted"},
		{name: "recursion-clone", args: append(clone, guest, "deep"), code: exitTrap, line: "call stack exhausted"},
		{name: "memory", args: []string{"run", guest, "hoard"}, code: 3, own: "out of memory\n"},
		{name: "memory-clone", args: append(clone, guest, "hoard"), code: 3, own: "out of memory\n"},

		{name: "invoke", args: []string{"run", "--invoke", "add", guest, "0x10", "-20"}, stdout: "-4\n"},
		{name: "invoke-unsigned", args: []string{"run", "--invoke", "add", guest, "4294967295", "2"}, stdout: "1\n"},
		{name: "invoke-i64", args: []string{"run", "--invoke", "big", guest, "-5"}, stdout: "-10\n"},
		{name: "invoke-f64", args: []string{"run", "--invoke", "half", guest, "3"}, stdout: "1.5\n"},
		{name: "invoke-nothing", args: []string{"run", "--invoke", "quiet", guest}},
	}
	eachWay(t, func(t *testing.T, run func(*testing.T, io.Reader, ...string) result) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				got := run(t, strings.NewReader(""), tt.args...)
				if got.code != tt.code {
					t.Errorf("exit code: got %d, want %d", got.code, tt.code)
				}
				if got.stdout != tt.stdout {
					t.Errorf("stdout: got %q, want %q", got.stdout, tt.stdout)
				}
				if tt.line == "" {
					if got.stderr != tt.own {
						t.Errorf("stderr: got %q, want %q", got.stderr, tt.own)
					}
					return
				}
				if !strings.HasPrefix(got.stderr, "clonecloud: ") || !strings.HasSuffix(got.stderr, "\n") ||
					strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, tt.line) {
					t.Errorf("stderr: got %q, want one line that contains %q", got.stderr, tt.line)
				}
			})
		}
	})
}
