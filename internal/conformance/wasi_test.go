package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// guest is a run of a WASI program, in a fresh copy of what its folder holds.
type guest struct {
	name, prog string
	args, env  []string
	stdin      string
	root       string            // a folder that the guest sees as /
	files      map[string]string // what it sees there besides; a name that ends in / is a folder
	code       uint32
	stdout     *string // nil: not judged
}

// wazeroGuests are the WASI programs in wazero's test data, which several compilers made. Their output is judged by
// the tests of package wasi; here the runs are compared.
func wazeroGuests(t testing.TB) (all []guest) {
	dir := testdata(t)
	const data = "imports/wasi_snapshot_preview1/testdata/"
	files := map[string]string{"test.txt": "greet filesystem\n", "bear.txt": "pooh\n", "-": "", "ab-": "", "a-/": ""}
	add := func(prog string, code uint32, args ...string) {
		for _, a := range append(args, "") {
			if a == "" && len(args) > 0 {
				continue
			}
			all = append(all, guest{
				name: "wazero/" + strings.TrimSuffix(strings.TrimPrefix(prog, "imports/"), ".wasm") + " " + a, prog: filepath.Join(dir, prog),
				args: append([]string{"wasi"}, strings.Fields(a)...), env: []string{"A=1", "B=two"}, stdin: "x", files: files, code: code,
			})
		}
	}
	add(data+"exit_on_start.wasm", 2)
	add(data+"exit_on_start_unstable.wasm", 2)
	add(data+"print_args.wasm", 0, "hello world")
	add(data+"print_prestat_dirname.wasm", 0)
	for _, p := range []string{"exit_on_start_unstable"} {
		add("cmd/wazero/testdata/"+p+".wasm", 2)
	}
	for _, p := range []string{"wasi_arg", "wasi_env", "wasi_fd"} {
		add("cmd/wazero/testdata/"+p+".wasm", 0, "test.txt")
	}
	add("cmd/wazero/testdata/cat/cat-tinygo.wasm", 0, "test.txt")
	for _, p := range []string{"tinygo", "cargo-wasi", "zig-cc", "zig"} {
		add("imports/wasi_snapshot_preview1/example/testdata/"+p+"/cat.wasm", 0, "test.txt bear.txt")
	}
	add("examples/cli/testdata/cli.wasm", 0, "3 4")
	add(data+"cargo-wasi/wasi.wasm", 0, "ls ./a-", "ls -", "ls .", "ls . repeat", "stat")
	add(data+"zig-cc/wasi.wasm", 0, "ls ./a-", "ls -", "ls .", "ls . repeat", "stat", "poll", "poll 0 20", "sleepmillis 20",
		"open-rdonly", "open-wronly", "nonblock test.txt", "sock")
	add(data+"zig/wasi.wasm", 0, "ls ./a-", "ls .", "ls . repeat", "stat")
	add(data+"tinygo/wasi.wasm", 0, "ls ./a-", "ls .", "stat")
	return all
}

// suiteGuests are the preview 1 programs of the public WASI test suite, from -corpus.
func suiteGuests(t testing.TB) (all []guest) {
	progs, err := filepath.Glob(filepath.Join(*corpusDir, "wasi-testsuite/tests/*/testsuite/wasm32-wasip1/*.wasm"))
	if err != nil || len(progs) == 0 {
		t.Fatalf("no wasi-testsuite in the corpus: %v", err)
	}
	for _, prog := range progs {
		var spec struct {
			Args   []string
			Env    map[string]string
			Root   string
			Code   uint32 `json:"exit_code"`
			Stdout *string
			// The newer form of the same.
			Operations []struct {
				Type, Root, ID, Payload string
				Args                    []string
				Env                     map[string]string
				Code                    uint32 `json:"exit_code"`
			}
		}
		if raw, err := os.ReadFile(strings.TrimSuffix(prog, ".wasm") + ".json"); err == nil {
			if err := json.Unmarshal(raw, &spec); err != nil {
				t.Fatalf("%s: %v", prog, err)
			}
		}
		for _, op := range spec.Operations {
			switch op.Type {
			case "run":
				spec.Args, spec.Env, spec.Root = op.Args, op.Env, op.Root
			case "wait":
				spec.Code = op.Code
			case "read":
				if op.ID != "stderr" {
					spec.Stdout = &op.Payload
				}
			}
		}
		language := filepath.Base(filepath.Dir(filepath.Dir(filepath.Dir(prog))))
		base := filepath.Base(prog)
		g := guest{name: "suite/" + language + "/" + strings.TrimSuffix(base, ".wasm"), prog: prog,
			args: append([]string{base}, spec.Args...), code: spec.Code, stdout: spec.Stdout}
		for _, k := range slices.Sorted(maps.Keys(spec.Env)) {
			g.env = append(g.env, k+"="+spec.Env[k])
		}
		if spec.Root != "" {
			g.root = filepath.Join(filepath.Dir(prog), spec.Root)
			g.files = map[string]string{}
		}
		all = append(all, g)
	}
	return all
}

// run runs the guest in a fresh folder.
func (g *guest) run(t *testing.T, l *Lab, w Way) *Outcome {
	t.Helper()
	bin, err := os.ReadFile(g.prog)
	if err != nil {
		t.Fatal(err)
	}
	c := Case{Name: g.name, Module: bin, Args: g.args, Env: g.env, Stdin: []byte(g.stdin)}
	if g.files != nil {
		dir := t.TempDir()
		if g.root != "" {
			if err := os.CopyFS(dir, os.DirFS(g.root)); err != nil {
				t.Fatal(err)
			}
		}
		for name, text := range g.files {
			at := filepath.Join(dir, name)
			if strings.HasSuffix(name, "/") {
				err = os.Mkdir(at, 0o755)
			} else {
				err = os.WriteFile(at, []byte(text), 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		c.Mounts = []Mount{{Host: dir, Guest: "/"}}
	}
	o, err := l.Run(context.Background(), c, w)
	if err != nil {
		t.Fatalf("way %v: %v", w, err)
	}
	return o
}

// TestWASI runs WASI programs on a device alone and forced onto clones: as a whole, and deep inside.
func TestWASI(t *testing.T) {
	guests := wazeroGuests(t)
	if *corpusDir != "" {
		guests = append(guests, suiteGuests(t)...)
	}
	if testing.Short() {
		guests = guests[:12]
	}
	pairs := pairingsOf(1)
	l := newLab(t)
	sums, stays := map[string]*filesTally{}, map[string]int{}
	moved := map[string]int{}
	for _, g := range guests {
		if !strings.Contains(g.name, *only) {
			continue
		}
		t.Run(strings.ReplaceAll(g.name, " ", "_"), func(t *testing.T) {
			want := g.run(t, l, Way{Canonical: true})
			code := uint32(0)
			if want.End != "returned" {
				if _, err := fmt.Sscanf(want.End, "exit status %d", &code); err != nil {
					t.Errorf("local run: %s", want.End)
				}
			}
			if code != g.code && strings.HasPrefix(g.name, "suite/") {
				t.Errorf("local run: exit code %d, want %d: %s", code, g.code, tail(want.Stderr))
			}
			if g.stdout != nil && string(want.Stdout) != *g.stdout {
				t.Errorf("local run: stdout %q, want %q", want.Stdout, *g.stdout)
			}
			for _, pair := range pairs {
				ways := deepWays(pair)
				if g.files != nil {
					ways = withFiles(ways)
				}
				for _, w := range ways {
					got := g.run(t, l, w)
					if d := Diff(want, got); d != "" {
						t.Errorf("way %v:\n%s\nlog: %v", w, d, got.Log)
					}
					key := fmt.Sprintf("%s>%s deep=%t all=%t depth=%d files=%t", pair[0], pair[1], w.Deep, w.All, w.Depth, w.Files)
					if sums[key] == nil {
						sums[key] = &filesTally{}
					}
					sums[key].add(got)
					n, _ := got.Report.Offloads()
					switch {
					case n > 0:
						moved[key]++
					case !w.Deep:
						stays[got.Report.Stay]++
						t.Logf("way %v: nothing moved: %s %v", w, got.Report.Stay, got.Report.Functions)
						if got.Report.Stay == "" {
							t.Errorf("way %v: nothing moved", w)
						}
					}
				}
			}
		})
	}
	for _, k := range slices.Sorted(maps.Keys(sums)) {
		t.Logf("%s: %d of %d runs moved: %v", k, moved[k], sums[k].runs, sums[k])
		if s := sums[k]; strings.HasSuffix(k, "files=true") && *only == "" && (s.up == 0 || s.onFiles() > s.offloads/10) {
			t.Errorf("%s: too little of the files followed to mean anything", k)
		}
	}
	t.Logf("stayed: %v", stays)
}
