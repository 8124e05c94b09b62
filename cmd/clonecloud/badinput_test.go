package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// badInput is a command line that is refused. Its one line on stderr names the thing that is wrong, the place where it is
// and what to do.
type badInput struct {
	name string
	args []string
	code int
	// The line has all of these. Where the place is the command line, it is the flag or the command.
	thing, place, do string
}

// TestBadInput holds each refusal to its exit code and its line, and to an empty stdout.
func TestBadInput(t *testing.T) {
	settings(t)
	table := append(append(badModules(t), badFlags(t)...), badCommands(t)...)
	names := map[string]bool{}
	for _, tt := range table {
		if names[tt.name] {
			t.Errorf("two are called %s", tt.name)
		}
		names[tt.name] = true
	}
	eachWay(t, func(t *testing.T, run func(*testing.T, io.Reader, ...string) result) {
		for _, tt := range table {
			t.Run(tt.name, func(t *testing.T) {
				got := run(t, strings.NewReader(""), tt.args...)
				if got.code != tt.code || got.stdout != "" {
					t.Errorf("got exit code %d, stdout %q, want %d and nothing", got.code, got.stdout, tt.code)
				}
				if !strings.HasPrefix(got.stderr, "clonecloud: ") || !strings.HasSuffix(got.stderr, "\n") || strings.Count(got.stderr, "\n") != 1 {
					t.Errorf("stderr: got %q, want one line", got.stderr)
				}
				for _, want := range []string{tt.thing, tt.place, tt.do} {
					if want == "" || !strings.Contains(got.stderr, want) {
						t.Errorf("stderr: got %q, want %q in it", got.stderr, want)
					}
				}
			})
		}
	})
}

// badModules are modules that cannot be run or called.
func badModules(t *testing.T) []badInput {
	mod := modules(t)
	dir := t.TempDir()
	nowhere := filepath.Join(dir, "nowhere")
	clone := []string{"run", "--cloud", "local", "--offload", "always"}
	module := func(name, thing, do string) badInput {
		return badInput{"module-" + name, []string{"run", mod[name]}, exitCannotRun, thing, mod[name], do}
	}
	invoke := func(name, thing, do string, args ...string) badInput {
		return badInput{"invoke-" + name, append([]string{"run", "--invoke"}, args...), exitCannotRun, thing, guest, do}
	}
	return []badInput{
		module("text", `"no modul"`, "build the program for wasm32-wasi"), module("empty", "the file is empty", "build the program again"),
		module("short", "ends within its header", "build or copy it again"), module("truncated", "offset", "build it again, for wasm32-wasi"),
		module("wat", "WebAssembly text", "wat2wasm"), module("script", "a script", "a module is wanted"),
		module("native", "a native program", "the module itself is wanted"), module("component", "a component", "wasm32-wasip1"),
		module("later", "version 2 of the binary format", "version 1 can run"), module("head", "no function _start", "name one to invoke"),
		module("unknown", "gpu.draw", "build it again, for wasm32-wasi"), module("huge", "over limit of 65536 pages", "build it again"), module("invalid", "function[0]", "build it again, for wasm32-wasi"),
		{"module-unknown-clone", append(clone, mod["unknown"]), exitCannotRun, "gpu.draw", mod["unknown"], "build it again, for wasm32-wasi"},
		{"module-missing", []string{"run", nowhere}, exitNotFound, "no such module", nowhere, "no file of this name"},
		{"module-near", []string{"run", "testdata/gest.wasm"}, exitNotFound, "no such module", "testdata/gest.wasm", "do you mean testdata/guest.wasm?"},
		{"module-folder-missing", []string{"run", filepath.Join(nowhere, "x.wasm")}, exitNotFound, "no such module", nowhere, "there is no folder"},
		{"module-is-folder", []string{"run", dir}, exitCannotRun, "is a folder", dir, "name the module in it"},
		{"module-stdin-empty", []string{"run", "-"}, exitCannotRun, "empty", "standard input", "build"},
		{"analyze-text", []string{"analyze", mod["text"]}, exitCannotRun, "magic header", mod["text"], "build the program"},
		{"analyze-truncated", []string{"analyze", mod["truncated"]}, exitCannotRun, "offset", mod["truncated"], "build it again, for wasm32-wasi"},
		{"analyze-missing", []string{"analyze", nowhere}, exitNotFound, "no such module", nowhere, "no file of this name"},
		invoke("few", "add takes 2 arguments, 1 given", "it is add (i32 i32) -> (i32)", "add", guest, "1"),
		invoke("many", "add takes 2 arguments, 3 given", "it is add (i32 i32) -> (i32)", "add", guest, "1", "2", "3"),
		invoke("text", `argument 2 of add: "x" is no i32`, "invalid syntax", "add", guest, "1", "x"),
		invoke("large", `"4294967296" is no i32`, "out of range", "add", guest, "1", "4294967296"),
		invoke("unknown", `no function "frob"`, "--invoke may name", "frob", guest),
		invoke("memory", `no function "memory"`, "--invoke may name", "memory", guest),
		{"memory-limit", []string{"run", "-W", "max-memory-size=1000", guest}, exitCannotRun, "131072 bytes", guest, "1000 are allowed"},
	}
}

// badFlags are flags of run with wrong values.
func badFlags(t *testing.T) []badInput {
	dir := t.TempDir()
	nowhere := filepath.Join(dir, "nowhere")
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(name, thing, place, do string, args ...string) badInput {
		return badInput{name, append(append([]string{"run"}, args...), guest), exitFailed, thing, place, do}
	}
	return []badInput{
		run("flag-unknown", "--frob", "no flag", "clonecloud run --help", "--frob"),
		run("flag-near", "no flag --dri", "--dri", "do you mean --dir?", "--dri", "."),
		run("flag-letter", "no flag -x", "-x", "clonecloud run --help", "-x"),
		run("flag-elsewhere", "no flag --preload", "--preload", "link others into it", "--preload", "a=b"),
		run("flag-mapdir", "no flag --mapdir", "--mapdir", "--dir HOST::GUEST", "--mapdir", "a::b"),
		{"flag-without-value", []string{"run", "--dir"}, exitFailed, "--dir", "needs a value", "HOST[::GUEST]"},
		run("bool", `"maybe"`, "--verbose", "true or false", "--verbose=maybe"),
		run("dir-empty", `"::x"`, "--dir", "HOST::GUEST", "--dir", "::x"),
		run("dir-no-guest", `"x::"`, "--dir", "HOST::GUEST", "--dir", "x::"),
		run("dir-missing", nowhere, "--dir", "no such file", "--dir", nowhere),
		run("dir-is-file", file, "--dir", "is not a directory; one is wanted", "--dir", file),
		run("dir-twice", `"/x" already`, "--dir", "another name", "--dir", dir+"::/x", "--dir", dir+"::/x"),
		run("mount-empty", `":/x"`, "--mount", "HOST:GUEST", "--mount", ":/x"),
		run("mount-many", `:/x:rw"`, "--mount", "HOST:GUEST", "--mount", dir+":/x:rw"),
		run("mount-missing", nowhere, "--mount", "no such file", "--mount", nowhere+":/x:ro"),
		run("mount-and-dir", `"/x" already`, "--mount", "another name", "--dir", dir+"::/x", "--mount", dir+":/x"),
		run("env", `"=x"`, "--env", "K=V", "--env", "=x"),
		run("cloud", `"mars"`, "--cloud", "clonecloud cloud add", "--cloud", "mars"),
		run("cloud-name", `"a/b"`, "--cloud", "letters", "--cloud", "a/b"),
		run("cloud-address", "not an address", "--cloud", "clonecloud://HOST:PORT", "--cloud", "http://here"),
		run("cloud-file", nowhere, "--cloud", "no such file", "--cloud", "file://"+nowhere),
		run("cloud-variable", "NO_SUCH", "--cloud", "is not set", "--cloud", "env://NO_SUCH"),
		run("engine", `"steam"`, "--engine", "compiler, interpreter and wasmtime", "--engine", "steam"),
		run("clone-engine", `"steam"`, "--clone-engine", "compiler, interpreter and wasmtime", "--cloud", "local", "--clone-engine", "steam"),
		run("clone-engine-nowhere", "--clone-engine", "--cloud local", "a node elsewhere has chosen its own", "--clone-engine", "interpreter"),
		run("wait", `"soon"`, "--wait", "such as 500ms", "--wait", "soon"),
		run("wait-negative", "-1s", "--wait", "0 or more", "--wait", "-1s"),
		run("timeout", `"soon"`, "--timeout", "such as 500ms", "--timeout", "soon"),
		run("timeout-zero", `"0"`, "--timeout", "above 0", "--timeout", "0"),
		run("seed", `"x"`, "--seed", "a whole number", "--seed", "x"),
		run("max-upload", `"much"`, "--max-upload", "512MiB", "--max-upload", "much"),
		run("max-upload-zero", `"0"`, "--max-upload", "512MiB", "--max-upload", "0"),
		run("offload-unknown", `"frob"`, "--offload", "clonecloud analyze", "--cloud", "local", "--offload", "frob"),
		run("offload-empty", "names no function", "--offload", "never, always, auto", "--cloud", "local", "--offload", "work,"),
		run("offload-mixed", `"never,work"`, "--offload", "never stands alone", "--cloud", "local", "--offload", "never,work"),
		run("offload-nowhere", "work needs a cloud", "--offload", "--cloud local", "--offload", "work"),
		run("always-nowhere", "always needs a cloud", "--offload", "--cloud local", "--offload", "always"),
		run("keep-unknown", `"frob"`, "--keep-local", "clonecloud analyze", "--cloud", "local", "--keep-local", "frob"),
		run("keep-nothing", `"env:"`, "--keep-local", "env:NAME", "--keep-local", "env:"),
		run("keep-folder", "dir:/nowhere", "--keep-local", "--dir HOST::/nowhere", "--keep-local", "dir:/nowhere"),
		run("keep-overlap", `"/in"`, "directory", "keep both", "--cloud", "local", "--dir", dir+"::/in", "--dir", filepath.Dir(dir)+"::/all", "--keep-local", "dir:/in"),
		run("report", nowhere, "--report", "no such file", "--report", filepath.Join(nowhere, "r")),
		run("audit", nowhere, "--audit", "no such file", "--audit", filepath.Join(nowhere, "a")),
		run("trace", nowhere, "--trace", "no such file", "--trace", filepath.Join(nowhere, "t")),
		run("quiet-verbose", "--quiet", "--verbose", "one of them", "--quiet", "--verbose"),
		run("wasm-unknown", "frob", "-W", "no such option", "-W", "frob"),
		run("wasm-near", "simdd", "-W", "do you mean simd?", "--wasm", "simdd"),
		run("wasm-refused", "fuel", "-W", "--timeout bounds a run", "-Wfuel=1"),
		run("wasm-fixed", "simd=n", "-W", "always y", "-W", "timeout=1,simd=n"),
		run("wasm-value", "timeout=x", "-W", "such as 500ms", "-W", "timeout=x"),
		run("wasi-fixed", "http", "-S", "always n", "-S", "http"),
		run("wasi-value", "inherit-env=x", "-S", "y or n", "-S", "inherit-env=x"),
		run("optimize-unknown", "turbo", "-O", "no such option", "-O", "turbo"),
		run("codegen-value", "cache=x", "-C", "y or n", "-C", "cache=x"),
		run("debug-refused", "coredump=x", "-D", "no core dumps", "-D", "coredump=x"),
	}
}

// badCommands are commands that are not there, and wrong uses of the others.
func badCommands(t *testing.T) []badInput {
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	fails := func(name, thing, place, do string, args ...string) badInput {
		return badInput{name, args, exitFailed, thing, place, do}
	}
	return []badInput{
		fails("command", `"frob"`, "no command", "clonecloud --help", "frob"),
		fails("command-near", `"analize"`, "no command", "do you mean analyze?", "analize"),
		fails("run-nothing", "name a module", "run", "clonecloud run --help", "run"),
		fails("analyze-two", "not 2", "analyze", "name one module", "analyze", guest, guest),
		fails("analyze-keep-unknown", `"frob"`, "--keep-local", "clonecloud analyze", "analyze", "--keep-local", "frob", guest),
		fails("demo-unknown", `"frob"`, "--example", "imagesearch", "demo", "--example", "frob"),
		fails("demo-size", `"frob"`, "--size", "medium", "demo", "--size", "frob"),
		fails("demo-link", `"frob"`, "--link", "loopback", "demo", "--link", "frob"),
		fails("version-argument", "not 1", "version", "it takes no arguments", "version", "x"),
		fails("paths-argument", "not 1", "paths", "it takes no arguments", "paths", "x"),
		fails("cloud-command", `"frob"`, "cloud", "there are add, check, list", "cloud", "frob"),
		fails("cloud-add-few", "not 1", "add", "give its address", "cloud", "add", "x"),
		fails("cloud-add-address", "not an address", "cloud x", "clonecloud://HOST:PORT", "cloud", "add", "x", "http://here"),
		fails("cloud-add-name", `"a b"`, "name of a cloud", "letters, digits", "cloud", "add", "a b", "http://here"),
		fails("cloud-remove", "mars", "no such cloud", "clonecloud cloud add", "cloud", "remove", "mars"),
		fails("cloud-status", "mars", "no such cloud", "clonecloud cloud add", "cloud", "status", "mars"),
		fails("node-argument", "not 1", "node", "it takes no arguments", "node", "x"),
		fails("node-listen", `"here"`, "--listen", "host:port", "node", "--listen", "here"),
		fails("node-engine", `"steam"`, "--engine", "compiler, interpreter and wasmtime", "node", "--engine", "steam"),
		fails("node-limit", `"lots"`, "--limit-memory", "512MiB", "node", "--limit-memory", "lots"),
		fails("node-number", `"x"`, "--warm", "a whole number", "node", "--warm", "x"),
		fails("node-time", `"x"`, "--grace", "such as 500ms", "node", "--grace", "x"),
		fails("man-nothing", "not 0", "man", "name a folder", "man"),
		fails("man-file", guest, "write manual pages", "not a directory", "man", guest),
		fails("inspect-missing", nowhere, "inspect", "no such file", "inspect", nowhere),
		fails("inspect-other", "not a report", guest, "(run --report)", "inspect", guest),
		fails("completion-shell", `"tcsh"`, "completion", "there are", "completion", "tcsh"),
		fails("help-topic", `"frob"`, "help", "clonecloud --help", "help", "frob"),
	}
}
