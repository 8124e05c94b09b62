package corpus

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCommandsAreOfThreeLanguages(t *testing.T) {
	list, err := Commands()
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	seen := map[string]bool{}
	for _, p := range list {
		count[p.Lang]++
		if seen[p.Name] {
			t.Errorf("program %s is there twice", p.Name)
		}
		seen[p.Name] = true
		if got := filepath.Base(p.Built("/root")); got != p.Lang {
			t.Errorf("%s is built into %q", p.Name, got)
		}
	}
	if len(list) < 10 || count["c"] < 3 || count["rust"] < 3 || count["go"] < 3 || count["c"]+count["rust"]+count["go"] != len(list) {
		t.Errorf("%d programs, by language %v; want ten and more, three and more of each of c, rust and go", len(list), count)
	}
}

// What the scripts build and what the table runs are the same programs.
func TestEachCommandIsBuilt(t *testing.T) {
	scripts := map[string]string{}
	for lang, name := range map[string]string{"c": "build.sh", "rust": "build-rust.sh", "go": "build-go.sh"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		scripts[lang] = string(data)
	}
	list, err := Commands()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		name := strings.TrimSuffix(p.Wasm, ".wasm")
		want := "\n" + name + " "
		if p.Lang == "c" {
			want = "\nprog_" + name + "()"
		}
		if !strings.Contains(scripts[p.Lang], want) {
			t.Errorf("%s is not built by the script of %s", p.Name, p.Lang)
		}
		if p.Lang == "c" {
			continue
		}
		// The version stands in both.
		fields := strings.Fields(p.Package)
		if line := want + fields[0] + " " + fields[1]; !strings.Contains(scripts[p.Lang], line) {
			t.Errorf("the script of %s lacks %q", p.Lang, strings.TrimSpace(line))
		}
	}
}

func TestCommandLine(t *testing.T) {
	p := Program{Name: "p", Dirs: []Dir{{Guest: "."}}, Runs: []Run{{Args: []string{"p.wasm", "-x", "a b"}, Env: []string{"K=V"}}}}
	got := p.CommandLine(&p.Runs[0], "/m/p.wasm")
	if d := cmp.Diff([]string{"run", "--dir", ".", "--env", "K=V", "/m/p.wasm", "-x", "a b"}, got); d != "" {
		t.Error(d)
	}
	p.Dirs[0].Guest = "/"
	if got := p.CommandLine(&p.Runs[0], "p.wasm")[:3]; got[2] != ".::/" {
		t.Errorf("got %q", got)
	}
}

func TestWorkingDirectoryIsAPlace(t *testing.T) {
	p := Program{Dirs: []Dir{{Guest: "."}}}
	if i, rest, err := p.place("a/b"); err != nil || i != 0 || rest != "a/b" {
		t.Errorf("place(a/b) = %d, %q, %v", i, rest, err)
	}
	for _, name := range []string{"/a", "../a"} {
		if _, _, err := p.place(name); err == nil {
			t.Errorf("place(%s) succeeds", name)
		}
	}
}

// A command that is a shell script stands in for one that runs WebAssembly.
func TestExecute(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no shell")
	}
	root := t.TempDir()
	tool := filepath.Join(root, "tool")
	script := "#!/bin/sh\necho \"$1 $2 $3 $4\" $(basename \"$5\") \"$6\"\ncat\ncp in.txt \"${7:-out.txt}\"\nexit 3\n"
	if err := os.WriteFile(tool, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	p := Program{Name: "p", Lang: "c", Wasm: "p.wasm", Dirs: []Dir{{Guest: ".", Files: map[string]string{"in.txt": "text:50"}}},
		Runs: []Run{{Name: "r", Args: []string{"p.wasm", "-v"}, Stdin: "text:20", Exit: 3, FileIs: map[string]string{"out.txt": "text:50"}}}}
	one, err := p.Execute(t.Context(), root, nil, []string{tool, "--flag"})
	if err != nil {
		t.Fatal(err)
	}
	in, _ := Input("", "text:20")
	if want := "run --flag --dir . p.wasm -v\n" + string(in); string(one.Stdout) != want {
		t.Errorf("stdout %q, want %q", one.Stdout, want)
	}
	if len(one.Files) != 2 || one.Files["in.txt"] != one.Files["out.txt"] {
		t.Errorf("files %v", one.Files)
	}
	if d := one.Differs(one); d != "" {
		t.Errorf("differs from itself: %s", d)
	}
	p.Runs[0].Args = append(p.Runs[0].Args, "other.txt")
	if _, err := p.Execute(t.Context(), root, nil, []string{tool, "--flag"}); err == nil {
		t.Error("a file that the program should have left is not missed")
	}
	for _, o := range []*Seen{
		{Exit: 1, Stdout: one.Stdout, Files: one.Files},
		{Exit: 3, Stdout: []byte("x"), Files: one.Files},
		{Exit: 3, Stdout: one.Stdout},
		{Exit: 3, Stdout: one.Stdout, Files: map[string]string{"in.txt": "0", "out.txt": one.Files["out.txt"]}},
	} {
		if one.Differs(o) == "" {
			t.Errorf("no difference to %+v", o)
		}
	}
}

func TestRustPackagesArePinned(t *testing.T) {
	data, err := os.ReadFile("rust.packages")
	if err != nil {
		t.Fatal(err)
	}
	pinned := map[string]string{}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) != 3 || len(f[2]) != 64 || !strings.HasPrefix(f[0], "librust-") {
			t.Fatalf("line %q is not a package, a version and a hash", line)
		}
		pinned[f[0]] = f[1]
	}
	list, err := Commands()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		crate, version, _ := strings.Cut(p.Package, " ")
		if p.Lang != "rust" || crate == "ripgrep" { // a source package
			continue
		}
		if got := pinned["librust-"+crate+"-dev"]; !strings.HasPrefix(got, version+"-") {
			t.Errorf("%s of %s is pinned as %q", crate, version, got)
		}
	}
}
