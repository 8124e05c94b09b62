package conformance

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/conformance/corpus"
)

var wasmtime = flag.String("wasmtime", os.Getenv("CLONECLOUD_WASMTIME"), "a wasmtime, to compare command lines with")

// realPrograms calls test for each program of commands.json that is built.
func realPrograms(t *testing.T, test func(t *testing.T, p corpus.Program)) {
	if *corpusDir == "" {
		t.Skip("no -corpus: real programs are not built")
	}
	list, err := corpus.Commands()
	if err != nil {
		t.Fatal(err)
	}
	var ran int
	for _, p := range list {
		if !strings.Contains(p.Name, *only) {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			at := filepath.Join(p.Built(*corpusDir), p.Wasm)
			if _, err := os.Stat(at); err != nil {
				t.Skipf("not built: %v", err)
			}
			ran++
			test(t, p)
		})
	}
	if ran == 0 && *only == "" {
		t.Errorf("no program is built below %s: see corpus/build.sh, build-rust.sh and build-go.sh", *corpusDir)
	}
}

// TestRealPrograms runs real programs in three languages with everything of them forced onto clones.
func TestRealPrograms(t *testing.T) {
	l := newLab(t)
	realPrograms(t, func(t *testing.T, p corpus.Program) {
		ways := deepWays
		if p.Lang == "go" {
			ways = goWays
		}
		testProgram(t, l, p, p.Built(*corpusDir), ways, 0.9)
	})
}

// TestCommandLines runs the same programs as users do: one command line in an empty place, which differs from wasmtime's by the word
// in front, with a cloud that the configuration file names.
func TestCommandLines(t *testing.T) {
	if *corpusDir == "" {
		t.Skip("no -corpus: real programs are not built")
	}
	binary := buildCommand(t)
	home := t.TempDir()
	env := append(homeless(os.Environ()), "HOME="+home, "XDG_CACHE_HOME="+filepath.Join(home, "cache"), "XDG_CONFIG_HOME="+home, "XDG_STATE_HOME="+home,
		"XDG_DATA_HOME="+home, "USERPROFILE="+home, "LOCALAPPDATA="+home, "APPDATA="+home)
	config := filepath.Join(home, "local.toml")
	if err := os.WriteFile(config, []byte("cloud = \"local\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ways := []struct {
		name    string
		config  string
		command []string
	}{
		{"device alone", "none", []string{binary}},
		{"local cloud", "none", []string{binary, "--cloud", "local"}},
		{"all on the clone", "none", []string{binary, "--cloud", "local", "--offload", "always"}},
		{"all but files on the clone", "none", []string{binary, "--cloud", "local", "--offload", "always", "--files", "home"}},
		{"configuration file", config, []string{binary}},
		{"wasmtime", "none", []string{*wasmtime}},
	}
	realPrograms(t, func(t *testing.T, p corpus.Program) {
		var want *corpus.Seen
		for _, w := range ways {
			if w.command[0] == "" {
				continue
			}
			got, err := p.Execute(t.Context(), *corpusDir, append(env, "CLONECLOUD_CONFIG="+w.config), w.command)
			if err != nil {
				t.Errorf("%s: %v", w.name, err)
				continue
			}
			if want == nil {
				want = got
			} else if d := want.Differs(got); d != "" {
				t.Errorf("%s: %s", w.name, d)
			}
		}
	})
}

// homeless leaves out what says where settings and caches are.
func homeless(env []string) []string {
	var out []string
	for _, e := range env {
		if name, _, _ := strings.Cut(e, "="); !strings.HasPrefix(name, "XDG_") && !strings.HasPrefix(name, "CLONECLOUD_") && name != "HOME" {
			out = append(out, e)
		}
	}
	return out
}

func buildCommand(t *testing.T) string {
	binary := filepath.Join(t.TempDir(), "clonecloud")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	if text, err := exec.Command("go", "build", "-o", binary, "../../cmd/clonecloud").CombinedOutput(); err != nil {
		t.Fatalf("build the command: %v\n%s", err, text)
	}
	return binary
}
