package corpus

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// GoTest is the test of a package of Go's standard library, to be built for wasip1.
type GoTest struct {
	Package string `json:"package"`
	// Skip names tests that are left out, each with its reason.
	Skip map[string]string `json:"skip,omitempty"`
	// Slow names tests that take seconds when compiled and a minute or more when interpreted: Brief leaves them out.
	Slow []string `json:"slow,omitempty"`
	// Files lists what the tests read, below GOROOT; the package's own testdata among it.
	Files []string `json:"files,omitempty"`
}

// GoTests returns the tests, in the order of gotests.json.
func GoTests() ([]GoTest, error) {
	var list []GoTest
	if err := decode(goTestsJSON, &list); err != nil {
		return nil, fmt.Errorf("read gotests.json: %w", err)
	}
	for i := range list {
		t := &list[i]
		for name, reason := range t.Skip {
			if reason == "" {
				return nil, fmt.Errorf("read gotests.json: %s skips %s without a reason", t.Package, name)
			}
		}
		p := t.Program()
		if err := p.validate(); err != nil {
			return nil, fmt.Errorf("read gotests.json: %w", err)
		}
	}
	return list, nil
}

// Wasm is the module's file name: path separators become dots.
func (t *GoTest) Wasm() string { return strings.ReplaceAll(t.Package, "/", ".") + ".test.wasm" }

// Program describes the one run of the test's module: in the package's folder of a GOROOT that holds just what the tests read.
func (t *GoTest) Program() Program { return t.program(false) }

// Brief is Program without the slow tests.
func (t *GoTest) Brief() Program { return t.program(true) }

func (t *GoTest) program(brief bool) Program {
	args := []string{path.Base(t.Package) + ".test", "-test.v", "-test.short"}
	if skip := t.skip(brief); skip != "" {
		args = append(args, "-test.skip="+skip)
	}
	cwd := "/src/" + t.Package
	return Program{
		Name:    t.Package,
		Package: t.Package,
		Wasm:    t.Wasm(),
		Dirs:    []Dir{{Guest: "/", Files: map[string]string{"tmp/": "", cwd[1:] + "/": ""}, Goroot: t.Files}},
		Runs:    []Run{{Name: "test", Args: args, Env: []string{"PWD=" + cwd, "GOROOT=/", "TMPDIR=/tmp"}, StdoutHas: []string{"\nPASS\n"}}},
	}
}

// skip joins what is left out into one expression, sorted, so that a command line can be compared.
func (t *GoTest) skip(brief bool) string {
	names := slices.Collect(maps.Keys(t.Skip))
	if brief {
		names = append(names, t.Slow...)
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = "^" + regexp.QuoteMeta(name) + "$"
	}
	return strings.Join(names, "|")
}

// BuildGoTests builds the tests into the directory out, leaving those that are there already. It needs the go command and no network.
func BuildGoTests(ctx context.Context, out string, tests []GoTest) error {
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, t := range tests {
		at := filepath.Join(out, t.Wasm())
		if _, err := os.Stat(at); err == nil {
			continue
		}
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-trimpath", "-ldflags=-w", "-o", at, t.Package)
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build test of %s: %w\n%s", t.Package, err, text)
		}
	}
	return nil
}

var goroot = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("ask go for GOROOT: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
})
