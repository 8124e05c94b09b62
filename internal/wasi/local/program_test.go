package local_test

import (
	"os"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// TestProgram runs one program, for trying out: WASI_PROGRAM is its file, WASI_ARGS its arguments and WASI_DIRS
// HOST::GUEST pairs, separated by spaces; WASI_ENV is variables. Stdio is the test's.
func TestProgram(t *testing.T) {
	prog := os.Getenv("WASI_PROGRAM")
	if prog == "" {
		t.Skip("WASI_PROGRAM is not set")
	}
	g := guest{
		bin: readFile(t, prog), args: append([]string{prog}, strings.Fields(os.Getenv("WASI_ARGS"))...),
		env: strings.Fields(os.Getenv("WASI_ENV")),
		cfg: local.Config{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr},
	}
	for _, d := range strings.Fields(os.Getenv("WASI_DIRS")) {
		host, name, _ := strings.Cut(d, "::")
		h, err := vfs.OpenHost(host)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		g.cfg.Mounts = append(g.cfg.Mounts, local.Mount{FS: h, Guest: name})
	}
	if o := g.run(t); o.code != 0 || o.err != nil {
		t.Errorf("exit code %d, %v", o.code, o.err)
	}
}
