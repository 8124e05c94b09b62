package corpus

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestManifestsAreValid(t *testing.T) {
	programs, err := Programs()
	if err != nil {
		t.Fatal(err)
	}
	tests, err := GoTests()
	if err != nil {
		t.Fatal(err)
	}
	if len(programs) < 8 || len(tests) < 14 {
		t.Errorf("%d programs and %d Go tests, want at least 8 and 14", len(programs), len(tests))
	}
	seen := map[string]bool{}
	for _, p := range programs {
		if seen[p.Name] {
			t.Errorf("program %s is there twice", p.Name)
		}
		seen[p.Name] = true
	}
}

func TestValidateNamesEachFault(t *testing.T) {
	p := Program{Name: "p", Package: "p", Wasm: "../p.wasm",
		Dirs: []Dir{{Guest: "data", Files: map[string]string{"../up": "text:1", "a": "song:1"}, Goroot: []string{"/etc"}}},
		Runs: []Run{{Name: "a", Args: []string{"p"}, Stdin: "text:999999999"}, {Name: "a", FileIs: map[string]string{"/else/x": "text:1"}}}}
	err := p.validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, want := range []string{"not a plain file name", "not an absolute", "leaves its directory", `no input "song:1"`, "leaves GOROOT", `no input "text:999999999"`,
		"missing or taken", "no arguments", "no such place"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("faults lack %q:\n%v", want, err)
		}
	}
}

// Inputs must stay the same bytes: recorded figures and expected outputs rest on them.
func TestInputsStayTheSame(t *testing.T) {
	got := map[string]string{}
	for kind := range makers {
		size := "5000"
		if kind == "photo" || kind == "cnf" {
			size = "50"
		}
		data, err := Input("", kind+":"+size)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		got[kind] = hex.EncodeToString(sum[:4])
	}
	want := map[string]string{"cnf": "c0d7753c", "log": "ccde287e", "markdown": "3aa9834f", "noise": "42c90a37", "photo": "84ce18c1", "runs": "de6ab741",
		"text": "24382e2d", "xml": "d01753fc", "plainxml": "aa723e5f", "js": "011d201d", "shell": "01ffb18c", "json": "0867f8eb"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestInputRefusesUnknown(t *testing.T) {
	for _, name := range []string{"", "text", "text:", "text:-1", "text:x", "song:1", "script:none", "script:../corpus.go", "built:../x", "text:999999999999"} {
		if _, err := Input(t.TempDir(), name); err == nil {
			t.Errorf("Input(%q) succeeds", name)
		}
	}
}

func TestPrepareAndCheck(t *testing.T) {
	built := t.TempDir()
	if err := os.WriteFile(filepath.Join(built, "given"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := Program{Name: "p", Package: "p", Wasm: "p.wasm", Dirs: []Dir{
		{Guest: "/", Files: map[string]string{"a/b.txt": "text:100", "g": "built:given", "empty/": ""}, Goroot: []string{"src/container/heap"}},
		{Guest: "/db"},
	}}
	mounts, err := p.Prepare(built, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a/b.txt", "g", "empty", "src/container/heap/heap.go"} {
		if _, err := os.Stat(filepath.Join(mounts[0].Host, name)); err != nil {
			t.Error(err)
		}
	}
	if err := os.WriteFile(filepath.Join(mounts[1].Host, "out"), []byte("y"), 0o644); err != nil {
		t.Fatal(err)
	}
	text, _ := Input(built, "text:100")
	good := Run{Name: "r", Exit: 3, StdoutIs: "text:100", StdoutHas: []string{string(text[:5])}, FileIs: map[string]string{"/a/b.txt": "text:100"}}
	if err := p.Check(&good, built, mounts, 3, text); err != nil {
		t.Error(err)
	}
	bad := Run{Name: "r", StdoutIs: "text:100", StdoutHas: []string{"\x00"}, FileIs: map[string]string{"/db/out": "built:given", "/db/none": "text:1"}}
	err = p.Check(&bad, built, mounts, 1, bytes.ToUpper(text))
	for _, want := range []string{"exit code 1, want 0", "standard output:", "lacks", "/db/out", "none"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check: %v; want %q in it", err, want)
		}
	}
}

func TestGoTestCommandLine(t *testing.T) {
	g := GoTest{Package: "a/b", Skip: map[string]string{"TestX": "why"}, Slow: []string{"TestA"}}
	full, brief := g.Program(), g.Brief()
	if got, want := strings.Join(full.Runs[0].Args, " "), "b.test -test.v -test.short -test.skip=^TestX$"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := strings.Join(brief.Runs[0].Args, " "), "b.test -test.v -test.short -test.skip=^TestA$|^TestX$"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if full.Wasm != "a.b.test.wasm" {
		t.Errorf("module %q", full.Wasm)
	}
}
