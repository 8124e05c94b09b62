// Package docs checks the manual against the program, and has tests only. Each command that README.md and the pages in
// docs/ show is run, and its output compared; flags, keys and fields that the reference lists are those that there
// are; code is that of files and examples which are compiled; links lead somewhere.
//
// Commands stand in blocks marked console, in which a command begins with "$ " and its output follows. The blocks of a page
// are run in order, in one shell, in an empty folder. Numbers, times, addresses and hashes may differ; "..." is any text or
// any lines; a last line [exit N] is the exit code, 0 if there is none. A comment directly before a block says more:
//
//	<!-- needs: clang rustc -->     skipped where a tool is missing, unless -all is given
//	<!-- exact -->                  numbers have to be equal, too
//	<!-- not run: REASON -->        of a block marked text: commands that no test can run
//	<!-- file: PATH -->             the block is that file of the checkout, or a piece of it
//	<!-- example: NAME -->          the block is the body of that example of the root package
//	<!-- config -->                 the block is a configuration file
//	<!-- checkout -->               the commands begin in the checkout, and leave it before they write anything
//
// With -rewrite the pages are changed to what was found.
package docs

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

var (
	all     = flag.Bool("all", false, "fail where a tool that a page needs is missing")
	rewrite = flag.Bool("rewrite", false, "change the pages to what was found")
)

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if dir, err := build(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// TestCommands runs what the pages show.
func TestCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute, and the race detector does not see the command")
	}
	if _, err := exec.LookPath("bash"); err != nil || runtime.GOOS == "windows" {
		t.Skip("the pages are written for bash")
	}
	bin := binDir(t)
	var ran atomic.Int64
	// Some pages wait for a link that is lost, or for a compiler: together they take half as long.
	t.Run("pages", func(t *testing.T) {
		for _, p := range readPages(t) {
			if slices.ContainsFunc(p.blocks, func(b *block) bool { return b.commands != nil }) {
				t.Run(strings.TrimSuffix(filepath.Base(p.name), ".md"), func(t *testing.T) {
					t.Parallel()
					ran.Add(int64(p.run(t, newSession(t, bin))))
				})
			}
		}
	})
	if flag.Lookup("test.run").Value.String() == "" && ran.Load() < 30 {
		t.Errorf("%d commands were run: these are not all pages", ran.Load())
	}
}

// run runs the page's commands, and gives their number.
func (p *page) run(t *testing.T, s *session) int {
	t.Helper()
	var commands []*command
	for _, b := range p.blocks {
		if b.commands == nil {
			continue
		}
		if tool := s.missing(t, b.marks["needs"]); tool != "" {
			if *all {
				t.Errorf("%s: %s is missing", b.at(), tool)
			}
			t.Logf("%s: not run: %s is missing", b.at(), tool)
			continue
		}
		commands = append(commands, b.commands...)
	}
	results := s.run(t, commands)
	if *rewrite {
		p.rewrite(t, commands, results)
	} else {
		compare(t, commands, results)
	}
	return len(results)
}

func compare(t *testing.T, commands []*command, results []result) {
	t.Helper()
	for i, c := range commands {
		r := results[i]
		_, exact := c.block.marks["exact"]
		if r.exit == c.exit && matches(c.want, r.output, exact) {
			continue
		}
		t.Errorf("%s: %s\nexit code %d, want %d; printed:\n%s\nwant:\n%s", c.at(), c.text, r.exit, c.exit,
			strings.Join(r.output, "\n"), strings.Join(c.want, "\n"))
	}
}

// rewrite puts what commands have printed into the page, where it differs from what stands there.
func (p *page) rewrite(t *testing.T, commands []*command, results []result) {
	t.Helper()
	for i, c := range slices.Backward(commands) {
		r := results[i]
		_, exact := c.block.marks["exact"]
		if r.exit == c.exit && matches(c.want, r.output, exact) {
			continue
		}
		t.Logf("%s: rewritten", c.at())
		p.lines = slices.Replace(p.lines, c.begin, c.end, r.lines()...)
	}
	p.write(t)
}

func (p *page) write(t *testing.T) {
	t.Helper()
	text := strings.Join(p.lines, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(root, filepath.FromSlash(p.name)), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// probes find out whether a tool is there and can build for WebAssembly, beyond being in the path.
var probes = map[string]string{
	// Where root has them already, installing them again does nothing and needs no network.
	"debian-compilers": `test "$(id -u)" = 0 && dpkg-query -W clang lld wasi-libc libclang-rt-14-dev-wasm32 rustc libstd-rust-dev-wasm32`,
	"clang":            `echo 'int main(void) { return 0; }' | clang --target=wasm32-wasi -x c - -o /dev/null`,
	"rustc":            `test -d "$(rustc --print target-libdir --target wasm32-wasi)"`,
}

// missing gives the first tool of a list that is not there, "" if all are.
func (s *session) missing(t *testing.T, tools string) string {
	t.Helper()
	for tool := range strings.FieldsSeq(tools) {
		probe := probes[tool]
		if probe == "" {
			probe = "command -v " + tool
		}
		cmd := exec.CommandContext(t.Context(), "bash", "-c", probe)
		cmd.Env = s.env
		if cmd.Run() != nil {
			return tool
		}
	}
	return ""
}

func TestParse(t *testing.T) {
	p, err := parsePage("page.md", strings.Join([]string{
		"# A page", "", "<!-- needs: cat -->", "<!-- exact -->", "```console",
		"$ echo a \\", "  b", "a b", "$ cat <<'EOF'", "$ no command", "EOF", "...", "$ false", "[exit 1]",
		"$ for i in 1 2; do", "> echo $i", "> done", "1", "2", "```", "",
		"    indented", "", "- item", "", "    of the item", "", "```text", "x", "```", "",
	}, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.blocks) != 3 || !p.blocks[1].indented || p.blocks[2].lang != "text" {
		t.Fatalf("blocks %+v", p.blocks)
	}
	b := p.blocks[0]
	if _, exact := b.marks["exact"]; !exact || b.marks["needs"] != "cat" {
		t.Errorf("marks %v", b.marks)
	}
	if len(b.commands) != 4 {
		t.Fatalf("%d commands, want 4", len(b.commands))
	}
	for i, want := range []struct {
		text, output string
		exit         int
	}{
		{"echo a \\\n  b", "a b", 0},
		{"cat <<'EOF'\n$ no command\nEOF", "...", 0},
		{"false", "", 1},
		{"for i in 1 2; do\necho $i\ndone", "1\n2", 0},
	} {
		c := b.commands[i]
		if c.text != want.text || strings.Join(c.want, "\n") != want.output || c.exit != want.exit {
			t.Errorf("command %d: %q prints %q, exit code %d; want %+v", i, c.text, c.want, c.exit, want)
		}
	}
	for _, bad := range []string{"```console\n$ a", "```console\nno command\n```", "```console\n$ cat <<EOF\n```", "<!-- neds: clang -->\n```console\n$ a\n```"} {
		if _, err := parsePage("bad.md", bad); err == nil {
			t.Errorf("%q is taken for a page", bad)
		}
	}
}

// TestSession runs a page that was made for it: what a command prints and how it ends must be seen as it is.
func TestSession(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil || runtime.GOOS == "windows" {
		t.Skip("the pages are written for bash")
	}
	p, err := parsePage("page.md", "```console\n$ x=1; cd ..\n$ echo $x; pwd >&2; printf no-newline\n1\n/home/you\nno-newline\n"+
		"$ sleep 600 &\n$ cat\n$ (exit 3)\n[exit 3]\n$ echo 5 calls\n7 calls\n$ echo other\nthis\n```\n")
	if err != nil {
		t.Fatal(err)
	}
	commands := p.blocks[0].commands
	results := newSession(t, binDir(t)).run(t, commands)
	for i, c := range commands {
		good := results[i].exit == c.exit && matches(c.want, results[i].output, false)
		if want := c.text != "echo other"; good != want {
			t.Errorf("%s: as the page has it: %v; exit code %d, printed %q", c.text, good, results[i].exit, results[i].output)
		}
	}
	last := len(commands) - 1
	p.lines = slices.Replace(p.lines, commands[last].begin, commands[last].end, results[last].lines()...)
	if got := p.lines[len(p.lines)-2]; got != "other" {
		t.Errorf("rewritten to %q, want other", got)
	}
}

// lines are what a page shows of a result.
func (r result) lines() []string {
	if r.exit == 0 {
		return r.output
	}
	return append(slices.Clone(r.output), "[exit "+strconv.Itoa(r.exit)+"]")
}
