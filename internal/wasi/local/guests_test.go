package local_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// moduleDir is where the Go command keeps a module that this one needs.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		t.Skipf("source of %s is not at hand: %v", module, err)
	}
	return dir
}

// TestGuestsOfWazero runs the WASI programs in wazero's test data, which several compilers made.
func TestGuestsOfWazero(t *testing.T) {
	dir := moduleDir(t, "github.com/tetratelabs/wazero")
	const data = "imports/wasi_snapshot_preview1/testdata/"
	const stat = "stdin isatty: false\nstdout isatty: false\nstderr isatty: false\n/ isatty: false\n"
	const listing = "./-\n./a-\n./ab-\n"
	many := func(d vfs.Dir) error {
		for _, f := range []string{"-", "ab-"} {
			if err := putFile(d, f, nil); err != nil {
				return err
			}
		}
		return d.Mkdir("a-")
	}
	files := func(d vfs.Dir) error {
		return errors.Join(putFile(d, "test.txt", []byte("greet filesystem\n")), putFile(d, "bear.txt", []byte("pooh\n")))
	}
	for _, c := range []struct {
		prog, args string
		fill       func(vfs.Dir) error
		stdin      string
		code       uint32
		out        string
	}{
		{prog: data + "exit_on_start.wasm", code: 2},
		{prog: data + "exit_on_start_unstable.wasm", code: 2},
		{prog: "cmd/wazero/testdata/exit_on_start_unstable.wasm", code: 2},
		{prog: data + "print_args.wasm", args: "hello world", out: "hello\x00world\x00"},
		{prog: "cmd/wazero/testdata/wasi_arg.wasm", args: "hello world", out: "hello\x00world\x00"},
		{prog: "cmd/wazero/testdata/wasi_env.wasm", out: "A=1\x00B=two\x00"},
		{prog: data + "print_prestat_dirname.wasm", out: "/"},
		{prog: "cmd/wazero/testdata/wasi_fd.wasm", fill: files, out: "pooh\n"},
		{prog: "cmd/wazero/testdata/cat/cat-tinygo.wasm", args: "cat test.txt", fill: files, out: "greet filesystem\n"},
		{prog: "imports/wasi_snapshot_preview1/example/testdata/tinygo/cat.wasm", args: "cat test.txt", fill: files, out: "greet filesystem\n"},
		{prog: "imports/wasi_snapshot_preview1/example/testdata/cargo-wasi/cat.wasm", args: "cat test.txt", fill: files, out: "greet filesystem\n"},
		{prog: "imports/wasi_snapshot_preview1/example/testdata/zig-cc/cat.wasm", args: "cat test.txt", fill: files, out: "greet filesystem\n"},
		{prog: "imports/wasi_snapshot_preview1/example/testdata/zig/cat.wasm", args: "cat test.txt", fill: files, out: "greet filesystem\n"},
		{prog: "examples/cli/testdata/cli.wasm", args: "cli 3 4", out: "result: 7\n"},
		{prog: data + "cargo-wasi/wasi.wasm", args: "wasi ls ./a-", fill: many},
		{prog: data + "cargo-wasi/wasi.wasm", args: "wasi ls -", fill: many, out: "ENOTDIR\n"},
		{prog: data + "cargo-wasi/wasi.wasm", args: "wasi ls .", fill: many, out: listing},
		{prog: data + "cargo-wasi/wasi.wasm", args: "wasi ls . repeat", fill: many, out: listing + listing},
		{prog: data + "cargo-wasi/wasi.wasm", args: "wasi stat", out: stat},
		{prog: data + "zig-cc/wasi.wasm", args: "wasi ls ./a-", fill: many, out: "./.\n./..\n"},
		{prog: data + "zig-cc/wasi.wasm", args: "wasi ls -", fill: many, out: "ENOTDIR\n"},
		{prog: data + "zig-cc/wasi.wasm", args: "wasi ls .", fill: many, out: "./.\n./..\n" + listing},
		{prog: data + "zig-cc/wasi.wasm", args: "wasi ls . repeat", fill: many, out: strings.Repeat("./.\n./..\n"+listing, 2)},
		{prog: data + "zig-cc/wasi.wasm", args: "wasi stat", out: stat},
		{prog: data + "zig-cc/wasi.wasm", args: "wasi poll", stdin: "x", out: "STDIN\n"},
		{prog: data + "zig-cc/wasi.wasm", args: "wasi poll 0 20", stdin: "x", out: "STDIN\n"},
		{prog: data + "zig-cc/wasi.wasm", args: "wasi sleepmillis 20", out: "OK\n"},
		{prog: data + "zig-cc/wasi.wasm", args: "wasi open-rdonly", out: "OK\n"},
		{prog: data + "zig-cc/wasi.wasm", args: "wasi open-wronly", out: "OK\n"},
		{prog: data + "zig-cc/wasi.wasm", args: "wasi nonblock test.txt", fill: files, out: "\ngreet filesystem\n\n"},
		{prog: data + "zig-cc/wasi.wasm", args: "wasi sock", out: ""},
		{prog: data + "zig/wasi.wasm", args: "wasi ls ./a-", fill: many},
		{prog: data + "zig/wasi.wasm", args: "wasi ls -", fill: many, out: "ENOTDIR\n"},
		{prog: data + "zig/wasi.wasm", args: "wasi ls .", fill: many, out: listing},
		{prog: data + "zig/wasi.wasm", args: "wasi ls . repeat", fill: many, out: listing + listing},
		{prog: data + "zig/wasi.wasm", args: "wasi stat", out: stat},
		{prog: data + "zig/wasi.wasm", args: "wasi preopen", out: "0: stdin\n1: stdout\n2: stderr\n3: /\n"},
		{prog: data + "tinygo/wasi.wasm", args: "wasi stat", out: stat},
	} {
		name := strings.TrimSuffix(strings.ReplaceAll(strings.TrimPrefix(c.prog, data), "/", "_"), ".wasm")
		name += " " + strings.TrimPrefix(c.args, "wasi ")
		for tree := range trees {
			t.Run(strings.ReplaceAll(name, " ", "-")+"/"+tree, func(t *testing.T) {
				bin, err := os.ReadFile(filepath.Join(dir, c.prog))
				if err != nil {
					t.Skip(err)
				}
				fs := trees[tree](t, "")
				if c.fill != nil {
					d, err := fs.Root()
					if err != nil {
						t.Fatal(err)
					}
					if err := c.fill(d); err != nil {
						t.Fatal(err)
					}
				}
				got := guest{
					bin: bin, args: strings.Fields(c.args), env: []string{"A=1", "B=two"},
					cfg: local.Config{
						Stdin: strings.NewReader(c.stdin), Mounts: []local.Mount{{FS: fs, Guest: "/"}},
					},
				}.run(t)
				if got.err != nil || got.code != c.code || got.stdout != c.out {
					t.Errorf("got %+v (%v), want exit %d and %q", got, got.err, c.code, c.out)
				}
			})
		}
	}
}
