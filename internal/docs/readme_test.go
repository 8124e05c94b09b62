package docs

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// around is the program that code in README.md is put into.
const around = `package main

import (
	"context"
	"fmt"
	"os"

	"github.com/clonecloud/clonecloud"
)

func main() {
	ctx := context.Background()
	wasm, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	cloud := clonecloud.NewLocalCloud(clonecloud.LocalCloudConfig{})
	defer cloud.Close()
	{
		_, _, _ = ctx, wasm, cloud
%s
		for _, v := range []any{%s} {
			if err, ok := v.(error); ok {
				fmt.Println(err)
				os.Exit(1)
			}
		}
	}
}
`

var declaration = regexp.MustCompile(`^([\w, ]+) := `)

// program makes a program of some lines of code, in which no error has come of them.
func program(code []string) string {
	var names []string
	for _, line := range code {
		if m := declaration.FindStringSubmatch(line); m != nil {
			names = append(names, strings.Split(m[1], ", ")...)
		}
	}
	slices.Sort(names)
	return fmt.Sprintf(around, strings.Join(code, "\n"), strings.Join(slices.Compact(names), ", "))
}

// plugin is a module that exports work, which returns what it is given.
const plugin = "\x00asm\x01\x00\x00\x00\x01\x06\x01\x60\x01\x7f\x01\x7f\x03\x02\x01\x00\x07\x08\x01\x04work\x00\x00\x0a\x06\x01\x04\x00\x20\x00\x0b"

// goRun runs a program as if it stood in the module, with a plug-in as its argument.
func goRun(t *testing.T, text string) (string, error) {
	t.Helper()
	at, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, overlay, wasm := filepath.Join(dir, "main.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "plugin.wasm")
	b, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(at, "internal", "docs", "readme", "main.go"): file}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{file: text, overlay: string(b), wasm: plugin} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", "-overlay", overlay, "./internal/docs/readme", wasm)
	cmd.Dir = at
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestReadme compiles and runs the code that README.md shows.
func TestReadme(t *testing.T) {
	found := 0
	for _, b := range readPage(t, "README.md").blocks {
		if b.lang != "go" {
			continue
		}
		found++
		if out, err := goRun(t, program(b.text)); err != nil {
			t.Errorf("%s: %v\n%s", b.at(), err, out)
		}
	}
	if found == 0 {
		t.Error("README.md shows no code")
	}
	if testing.Short() {
		return
	}
	if out, err := goRun(t, program([]string{`report, err := clonecloud.Run(ctx, clonecloud.Config{Module: wasm[:20]})`})); err == nil {
		t.Errorf("code that fails is taken for good: %s", out)
	}
}
