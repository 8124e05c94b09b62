package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/clonecloud/clonecloud/examples"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// tree is a directory for the virus scanner: its own small input, with malware in it, and the files of a treeSpec beside that.
type tree struct {
	dir   string
	files int // that the scanner looks at
	bytes int64
	found []string // lines that the scanner must print
}

// full are the sizes of the tree.
const (
	fullFiles = 10_000
	fullBytes = 1_000_000_000
)

// scaled is a share of the full tree.
func (o *options) scaled(share float64) treeSpec {
	share *= o.size
	return treeSpec{files: max(int(fullFiles*share), 20), bytes: max(int64(fullBytes*share), 100_000), seed: o.seed}
}

// tree makes a tree, once.
func (o *options) tree(ctx context.Context, s treeSpec) (*tree, error) {
	if t := o.trees[s]; t != nil {
		return t, nil
	}
	t := &tree{dir: filepath.Join(o.scratch, fmt.Sprintf("tree-%d-%d", s.files, s.bytes))}
	scanner, err := examples.Lookup("virusscan")
	if err != nil {
		return nil, err
	}
	if err := scanner.Generate(t.dir, examples.Small, s.seed); err != nil {
		return nil, err
	}
	if _, err := s.generate(ctx, filepath.Join(t.dir, "files")); err != nil {
		return nil, fmt.Errorf("make a tree: %w", err)
	}
	err = filepath.WalkDir(t.dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		t.bytes += fi.Size()
		if strings.HasPrefix(name, filepath.Join(t.dir, "files")) {
			t.files++
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	expected, err := os.ReadFile(filepath.Join(t.dir, examples.Expected))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(expected)) {
		if strings.Contains(line, "FOUND") {
			t.found = append(t.found, line)
		}
	}
	if len(t.found) == 0 {
		return nil, errors.New("the scanner's input has nothing to be found")
	}
	settle(ctx)
	if o.trees == nil {
		o.trees = map[treeSpec]*tree{}
	}
	o.trees[s] = t
	return t, ctx.Err()
}

// settle has the system write what it has not, so that it does not do so beside what is measured.
func settle(ctx context.Context) {
	_ = exec.CommandContext(ctx, "sync").Run() // where there is none nothing is lost but quiet
}

// check says what is wrong with the scanner's output.
func (t *tree) check(out string) error {
	for _, line := range t.found {
		if !strings.Contains(out, line) {
			return fmt.Errorf("the scanner did not print %q", line)
		}
	}
	if want := fmt.Sprintf(" %d files, ", t.files); !strings.Contains(out, want) {
		return fmt.Errorf("the scanner did not look at all of%s: %q", want, out[max(len(out)-200, 0):])
	}
	if want := fmt.Sprintf(" %d infected\n", len(t.found)); !strings.HasSuffix(out, want) {
		return fmt.Errorf("the scanner did not find%s: %q", want, out[max(len(out)-200, 0):])
	}
	return nil
}

// change makes the first of the files that s has brought another one.
func (t *tree) change(s treeSpec, round int) error {
	name := filepath.Join(t.dir, "files", s.path(0))
	before, err := os.Stat(name)
	if err != nil {
		return err
	}
	if err := change(name, round); err != nil {
		return err
	}
	after, err := os.Stat(name)
	if err != nil {
		return err
	}
	t.bytes += after.Size() - before.Size()
	return nil
}

// program is a module to run, and the function of it that moves.
type program struct {
	wasm []byte
	args []string
	exit uint32
	move string
}

// scanner builds the virus scanner.
func (o *options) scanner(ctx context.Context) (*program, error) {
	e, err := examples.Lookup("virusscan")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(o.scratch, "virusscan.wasm")
	c := exec.CommandContext(ctx, "go", "build", "-o", file, "./"+e.Source)
	c.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build %s (from the root of the sources): %w: %s", e.Source, err, text)
	}
	p := &program{args: e.Args, exit: e.Exit}
	if p.wasm, err = os.ReadFile(file); err != nil {
		return nil, err
	}
	m, err := wasm.Decode(p.wasm)
	if err != nil {
		return nil, err
	}
	start := m.Export("_start")
	if start == nil || start.Kind != wasm.ExternFunc {
		return nil, errors.New("the scanner has no _start")
	}
	p.move = fmt.Sprintf("#%d", start.Index)
	return p, nil
}
