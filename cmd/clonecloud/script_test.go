package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/clonecloud/clonecloud"
)

// scriptEnv are the variables of a script that a command line run in this process takes over.
var scriptEnv = []string{
	"HOME", "PATH", "TERM", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", configVariable, "SOURCE_DATE_EPOCH", "NODE", "OTHER_NODE", "COLOUR", "WORK",
}

// TestScript runs the scripts of testdata/script, each in this process and on the built binary. Besides the commands of package
// testscript they have:
//
//	clonecloud ARGS... [<FILE]         which must succeed, or fail behind !
//	code N ARGS... [<FILE]             the same, with this exit code
//	says PATTERN                       stderr of the last one is one line of ours that matches
//	fault CODE PATTERN                 it is an error in JSON
//	json FILE KEY=VALUE...             FILE, or stdout, is JSON with these values; KEY is a path of names and indices
//	node VARIABLE [DIR]                starts a node, whose address is in the variable from then on; its state is in DIR
//	spoil PATTERN                      changes a byte in the midst of each file that the pattern matches
func TestScript(t *testing.T) {
	eachWay(t, func(t *testing.T, run func(*testing.T, io.Reader, ...string) result) {
		binary := strings.HasSuffix(t.Name(), "/binary")
		testscript.RunT(oneByOne{t}, testscript.Params{
			Dir:                "testdata/script",
			RequireUniqueNames: true,
			UpdateScripts:      *rewrite,
			Setup:              setupScript(t),
			Condition: func(cond string) (bool, error) {
				return cond == "binary" && binary, nil
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){
				"clonecloud": func(ts *testscript.TestScript, neg bool, args []string) {
					if code := scriptRun(ts, run, args); (code != 0) != neg {
						ts.Fatalf("exit code %d: %s", code, ts.ReadFile("stderr"))
					}
				},
				"code": func(ts *testscript.TestScript, _ bool, args []string) {
					if code := scriptRun(ts, run, args[1:]); strconv.Itoa(code) != args[0] {
						ts.Fatalf("exit code %d, want %s: %s", code, args[0], ts.ReadFile("stderr"))
					}
				},
				"says":  scriptSays,
				"fault": scriptFault,
				"json":  scriptJSON,
				"node": func(ts *testscript.TestScript, _ bool, args []string) {
					cfg := clonecloud.NodeConfig{Listen: "127.0.0.1:0", Worker: workerCommand()}
					if len(args) > 1 {
						cfg.StateDir = ts.MkAbs(args[1])
					}
					n, err := clonecloud.StartNode(t.Context(), cfg)
					ts.Check(err)
					ts.Defer(func() { n.Close() })
					ts.Setenv(args[0], n.Address())
				},
				"spoil": scriptSpoil,
			},
		})
	})
}

// oneByOne keeps scripts from running beside each other: in this process they change its environment and folder.
type oneByOne struct{ *testing.T }

func (oneByOne) Parallel()     {}
func (oneByOne) Verbose() bool { return testing.Verbose() }
func (t oneByOne) Run(name string, f func(testscript.T)) {
	t.T.Run(name, func(t *testing.T) { f(oneByOne{t}) })
}

// setupScript gives a script the guest, and settings of its own.
func setupScript(t *testing.T) func(*testscript.Env) error {
	guest, err := os.ReadFile(guest)
	if err != nil {
		t.Fatal(err)
	}
	return func(e *testscript.Env) error {
		e.Values[scriptTest{}] = e.T().(oneByOne).T
		e.Setenv("HOME", e.WorkDir)
		e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, ".config"))
		// Compiled code is shared by all tests, what is learned is not.
		e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, ".cache"))
		e.Setenv("exe", "")
		if runtime.GOOS == "windows" {
			e.Setenv("exe", ".exe")
		}
		return os.WriteFile(filepath.Join(e.WorkDir, "guest.wasm"), guest, 0o644)
	}
}

// scriptRun runs a command line in the script's folder and environment.
func scriptRun(ts *testscript.TestScript, run func(*testing.T, io.Reader, ...string) result, args []string) int {
	var stdin io.Reader = strings.NewReader("")
	if n := len(args); n > 0 && strings.HasPrefix(args[n-1], "<") {
		stdin, args = strings.NewReader(ts.ReadFile(args[n-1][1:])), args[:n-1]
	}
	var got result
	ts.Value(scriptTest{}).(*testing.T).Run("run", func(t *testing.T) {
		for _, name := range scriptEnv {
			t.Setenv(name, ts.Getenv(name)) // which puts it back, too
			if ts.Getenv(name) == "" {
				os.Unsetenv(name)
			}
		}
		t.Chdir(ts.MkAbs("."))
		got = run(t, stdin, args...)
	})
	ts.Stdout().Write([]byte(got.stdout))
	ts.Stderr().Write([]byte(got.stderr))
	return got.code
}

// scriptTest is the key of a script's test.
type scriptTest struct{}

// scriptSays wants one line of ours on stderr.
func scriptSays(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile("stderr")
	ok := strings.HasPrefix(text, "clonecloud: ") && strings.HasSuffix(text, "\n") && strings.Count(text, "\n") == 1 &&
		regexp.MustCompile(args[0]).MatchString(text)
	if ok == neg {
		ts.Fatalf("stderr %q, want one line with %q: %v", text, args[0], !neg)
	}
}

// scriptSpoil damages files.
func scriptSpoil(ts *testscript.TestScript, _ bool, args []string) {
	list, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(list) == 0 {
		ts.Fatalf("nothing matches %s", args[0])
	}
	for _, name := range list {
		b, err := os.ReadFile(name)
		ts.Check(err)
		b[len(b)/2] ^= 1
		ts.Check(os.WriteFile(name, b, 0o600))
	}
}

// scriptFault wants an error in JSON on stderr.
func scriptFault(ts *testscript.TestScript, _ bool, args []string) {
	var v struct {
		Version int
		Error   struct {
			Code    int
			Message string
		}
	}
	d := json.NewDecoder(strings.NewReader(ts.ReadFile("stderr")))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil || d.More() || v.Version != errorVersion {
		ts.Fatalf("no error in JSON: %v: %s", err, ts.ReadFile("stderr"))
	}
	if strconv.Itoa(v.Error.Code) != args[0] || !regexp.MustCompile(args[1]).MatchString(v.Error.Message) {
		ts.Fatalf("got %+v, want %s", v, args)
	}
}

// scriptJSON looks up values in JSON.
func scriptJSON(ts *testscript.TestScript, _ bool, args []string) {
	d := json.NewDecoder(bytes.NewReader([]byte(ts.ReadFile(args[0]))))
	d.UseNumber()
	var v any
	ts.Check(d.Decode(&v))
	if d.More() {
		ts.Fatalf("more than one value")
	}
	for _, want := range args[1:] {
		path, value, _ := strings.Cut(want, "=")
		at := v
		for name := range strings.SplitSeq(path, ".") {
			switch x := at.(type) {
			case map[string]any:
				at = x[name]
			case []any:
				i, err := strconv.Atoi(name)
				if err != nil || i >= len(x) {
					ts.Fatalf("%s: no index %s", path, name)
				}
				at = x[i]
			default:
				ts.Fatalf("%s: nothing is at %s", path, name)
			}
		}
		b, err := json.Marshal(at)
		ts.Check(err)
		if got := strings.Trim(string(b), `"`); got != value {
			ts.Fatalf("%s: got %s, want %s", path, got, value)
		}
	}
}
