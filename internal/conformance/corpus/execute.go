package corpus

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// Seen is all that can be seen of an execution: output, exit code and files.
type Seen struct {
	Stdout, Stderr []byte
	Exit           int
	Files          map[string]string // hashes by path
	Took           time.Duration
}

// Execute runs the command line of a program of Commands over a fresh directory, and checks what is known of the result. command is
// a program that runs WebAssembly (wasmtime, clonecloud), and flags that are to stand behind its run. root has the folders of
// modules by language; env is the command's, nil for this process's own.
func (p *Program) Execute(ctx context.Context, root string, env, command []string) (*Seen, error) {
	work, err := os.MkdirTemp("", "lines")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	built := p.Built(root)
	mounts, err := p.Prepare(built, work)
	if err != nil {
		return nil, err
	}
	r := &p.Runs[0]
	var stdin []byte
	if r.Stdin != "" {
		if stdin, err = Input(built, r.Stdin); err != nil {
			return nil, err
		}
	}
	module, err := filepath.Abs(filepath.Join(built, p.Module(r)))
	if err != nil {
		return nil, err
	}
	line := p.CommandLine(r, module)
	cmd := exec.CommandContext(ctx, command[0], slices.Concat(line[:1], command[1:], line[1:])...)
	cmd.Env, cmd.Dir, cmd.Stdin = env, work, bytes.NewReader(stdin)
	if len(mounts) > 0 {
		cmd.Dir = mounts[0].Host
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begin := time.Now()
	err = cmd.Run()
	s := &Seen{Took: time.Since(begin), Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		s.Exit = exit.ExitCode()
	case err != nil:
		return nil, err
	}
	if s.Files, err = hashes(cmd.Dir); err != nil {
		return nil, err
	}
	if err := p.Check(r, built, mounts, uint32(s.Exit), s.Stdout); err != nil {
		return s, fmt.Errorf("%w\n%s", err, s.Stderr)
	}
	return s, nil
}

func hashes(dir string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(at string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(at)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, at)
		sum := sha256.Sum256(data)
		files[filepath.ToSlash(name)] = hex.EncodeToString(sum[:])
		return err
	})
	return files, err
}

// Differs tells what another execution has that this one has not, in output, exit code or files; "" if nothing.
func (s *Seen) Differs(o *Seen) string {
	switch {
	case s.Exit != o.Exit:
		return fmt.Sprintf("exit code %d, want %d: %s", o.Exit, s.Exit, o.Stderr)
	case !bytes.Equal(s.Stdout, o.Stdout):
		return fmt.Sprintf("standard output of %d bytes differs from %d bytes", len(o.Stdout), len(s.Stdout))
	case len(s.Files) != len(o.Files):
		return fmt.Sprintf("%d files, want %d", len(o.Files), len(s.Files))
	}
	for name, sum := range s.Files {
		if o.Files[name] != sum {
			return fmt.Sprintf("file %s differs", name)
		}
	}
	return ""
}
