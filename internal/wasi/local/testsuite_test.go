package local_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// expectation is the file beside a program of the public WASI test suite.
type expectation struct {
	Args   []string
	Env    map[string]string
	Root   string
	Code   uint32 `json:"exit_code"`
	Stdout string
	Stderr *string

	Operations []struct {
		Type    string
		Args    []string
		Env     map[string]string
		Root    string
		ID      string
		Payload string
		Code    uint32 `json:"exit_code"`
	}
}

// TestSuite runs the preview 1 programs of the public WASI test suite (WebAssembly/wasi-testsuite, a branch with
// built programs) from the folder that WASI_TESTSUITE names.
func TestSuite(t *testing.T) {
	dir := os.Getenv("WASI_TESTSUITE")
	if dir == "" {
		t.Skip("WASI_TESTSUITE is not set")
	}
	progs, err := filepath.Glob(filepath.Join(dir, "tests", "*", "testsuite", "wasm32-wasip1", "*.wasm"))
	if err != nil || len(progs) == 0 {
		t.Fatalf("no programs found: %v", err)
	}
	for _, prog := range progs {
		lang := filepath.Base(filepath.Dir(filepath.Dir(filepath.Dir(prog))))
		name := lang + "/" + strings.TrimSuffix(filepath.Base(prog), ".wasm")
		for tree := range trees {
			t.Run(name+"/"+tree, func(t *testing.T) { runSuiteCase(t, prog, tree) })
		}
	}
}

func runSuiteCase(t *testing.T, prog, tree string) {
	var want expectation
	spec, err := os.ReadFile(strings.TrimSuffix(prog, ".wasm") + ".json")
	if err == nil {
		if err := json.Unmarshal(spec, &want); err != nil {
			t.Fatal(err)
		}
	}
	for _, op := range want.Operations {
		switch op.Type {
		case "run":
			want.Args, want.Env, want.Root = op.Args, op.Env, op.Root
		case "wait":
			want.Code = op.Code
		case "read":
			if op.ID == "stderr" {
				want.Stderr = &op.Payload
			} else {
				want.Stdout = op.Payload
			}
		default:
			t.Skipf("operation %q is not one of preview 1", op.Type)
		}
	}
	g := guest{bin: readFile(t, prog), args: append([]string{filepath.Base(prog)}, want.Args...)}
	for k, v := range want.Env {
		g.env = append(g.env, k+"="+v)
	}
	if want.Root != "" {
		fs := trees[tree](t, filepath.Join(filepath.Dir(prog), want.Root))
		g.cfg.Mounts = []local.Mount{{FS: fs, Guest: "/"}}
	}
	got := g.run(t)
	if got.err != nil {
		t.Fatalf("ended with %v\nstderr: %s", got.err, got.stderr)
	}
	if got.code != want.Code {
		t.Errorf("exit code: got %d, want %d\nstderr: %s", got.code, want.Code, got.stderr)
	}
	if got.stderr != "" {
		t.Logf("stderr: %s", got.stderr)
	}
	if want.Stdout != "" && got.stdout != want.Stdout {
		t.Errorf("stdout: got %q, want %q", got.stdout, want.Stdout)
	}
	if want.Stderr != nil && got.stderr != *want.Stderr {
		t.Errorf("stderr: got %q, want %q", got.stderr, *want.Stderr)
	}
}
