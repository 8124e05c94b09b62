package docs

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// unfenced are pages that show commands in indented blocks, which are not run.
var unfenced = []string{"README.md"}

// tools are the words that a command begins with.
var tools = strings.Fields("$ clonecloud go cargo rustc rustup clang docker podman systemctl journalctl sudo apt apt-get dpkg curl make git cp cat cd" +
	" echo export kill mkdir mv rm sh bash source tar ufw nft pgrep ps ssh scp ulimit .ci/run")

func looksLikeCommands(text []string) bool {
	return slices.ContainsFunc(text, func(line string) bool {
		f := strings.Fields(line)
		return len(f) > 0 && slices.Contains(tools, f[0])
	})
}

// TestBlocks requires that something checks each block.
func TestBlocks(t *testing.T) {
	seen := false
	for _, p := range readPages(t) {
		for _, b := range p.blocks {
			if b.indented && slices.Contains(unfenced, p.name) {
				seen = true
				continue
			}
			if why := b.unchecked(); why != "" {
				t.Errorf("%s: %s", b.at(), why)
			}
		}
	}
	if !seen && len(unfenced) > 0 {
		t.Errorf("%v has no indented blocks any more: take it from the list", unfenced)
	}
}

// unchecked says why nothing would notice if the block were wrong, "" if something would.
func (b *block) unchecked() string {
	_, file := b.marks["file"]
	_, example := b.marks["example"]
	_, config := b.marks["config"]
	reason, notRun := b.marks["not run"]
	switch {
	case b.indented:
		return "the block is indented: put it between fences"
	case notRun && (reason == "" || b.lang != "text"):
		return "not run: a reason is wanted, and a block marked text"
	case b.lang == "console", file, example, config, b.inReadme():
		return ""
	case b.lang == "json":
		if !json.Valid([]byte(strings.Join(b.text, "\n"))) {
			return "this is no JSON"
		}
	case b.lang != "text":
		return fmt.Sprintf("nothing checks a block marked %q: mark it console, or text, or say by a comment what it is", b.lang)
	case !notRun && looksLikeCommands(b.text):
		return "these look like commands: mark the block console, so that they are run, or say by a comment why they are not"
	}
	return ""
}

// inReadme tells whether the block is code in README.md, where no comment says what it is: TestReadme runs it.
func (b *block) inReadme() bool { return b.page.name == "README.md" && b.lang == "go" }

func TestUnchecked(t *testing.T) {
	for _, c := range []struct {
		name, text string
		good       bool
	}{
		{"commands_as_text", "```text\nclonecloud run x.wasm\n```", false},
		{"commands_with_reason", "<!-- not run: it takes root -->\n```text\nsudo x\n```", true},
		{"no_reason", "<!-- not run -->\n```text\nsudo x\n```", false},
		{"shell", "```sh\nls\n```", false},
		{"unmarked", "```\nls\n```", false},
		{"drawing", "```text\ndevice --> clone\n```", true},
		{"code", "```go\nx := 1\n```", false},
		{"code_of_file", "<!-- file: x.go -->\n```go\nx := 1\n```", true},
		{"indented", "Text.\n\n    ls\n", false},
		{"bad_json", "```json\n{\n```", false},
		{"good_json", "```json\n{}\n```", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := parsePage("page.md", c.text)
			if err != nil || len(p.blocks) != 1 {
				t.Fatalf("%d blocks, %v", len(p.blocks), err)
			}
			if why := p.blocks[0].unchecked(); (why == "") != c.good {
				t.Errorf("unchecked: %q", why)
			}
		})
	}
}

// TestCopies compares blocks that are said to be a file, or an example of the root package.
func TestCopies(t *testing.T) {
	examples := readExamples(t)
	for _, p := range readPages(t) {
		changed := false
		for _, b := range slices.Backward(p.blocks) {
			var want string
			if file, ok := b.marks["file"]; ok {
				text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
				if err != nil {
					t.Errorf("%s: %v", b.at(), err)
					continue
				}
				if want = strings.TrimSuffix(string(text), "\n"); strings.Contains("\n"+want+"\n", "\n"+strings.Join(b.text, "\n")+"\n") {
					continue // a piece of it is good
				}
			} else if name, ok := b.marks["example"]; ok {
				if want, ok = examples[name]; !ok {
					t.Errorf("%s: the root package has no %s", b.at(), name)
					continue
				}
			} else {
				continue
			}
			if got := strings.Join(b.text, "\n"); got == want {
				continue
			}
			if !*rewrite {
				t.Errorf("%s: the block is not what it is said to be any more; -rewrite changes it to\n%s", b.at(), want)
				continue
			}
			p.lines = slices.Replace(p.lines, b.line, b.line+len(b.text), strings.Split(want, "\n")...)
			changed = true
		}
		if changed {
			p.write(t)
		}
	}
}

// readExamples gives the bodies of the root package's examples as a page shows them: without the indentation, and
// without the comment that has the output.
func readExamples(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Example") {
				all[fn.Name.Name] = body(string(text[set.Position(fn.Body.Lbrace).Offset+1 : set.Position(fn.Body.Rbrace).Offset]))
			}
		}
	}
	return all
}

var outputComment = regexp.MustCompile(`(?i)^\s*// (Unordered )?Output:`)

func body(text string) string {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	if i := slices.IndexFunc(lines, outputComment.MatchString); i >= 0 {
		lines = lines[:i]
	}
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "\t")
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n")
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestLinks follows links inside the checkout.
func TestLinks(t *testing.T) {
	found := 0
	for _, p := range append(readPages(t), readPage(t, "ARCHITECTURE.md"), readPage(t, "RATIONALE.md"), readPage(t, "CONTRIBUTING.md")) {
		for i, line := range p.lines {
			if b := p.inBlock(i + 1); b != nil {
				continue
			}
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				found++
				if why := p.broken(t, m[1]); why != "" {
					t.Errorf("%s:%d: %s: %s", p.name, i+1, m[1], why)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("found %d links: these are not all", found)
	}
}

// broken says why a link leads nowhere, "" if it does not.
func (p *page) broken(t *testing.T, to string) string {
	t.Helper()
	u, err := url.Parse(to)
	switch {
	case err != nil:
		return err.Error()
	case u.Scheme != "":
		return "" // not of this checkout
	}
	target := p
	if u.Path != "" {
		name := path.Join(p.dir(), u.Path)
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(name))); err != nil {
			return "no such file"
		}
		if u.Fragment == "" {
			return ""
		}
		target = readPage(t, name)
	}
	if !target.anchors()[u.Fragment] {
		return "no such heading"
	}
	return ""
}

func TestBroken(t *testing.T) {
	p, err := parsePage("docs/manual.md", "# The manual\n\n## `cloud add`, and more\n\n## cloud\n\n## cloud\n")
	if err != nil {
		t.Fatal(err)
	}
	for to, good := range map[string]bool{
		"#the-manual": true, "#cloud-add-and-more": true, "#cloud-1": true, "#cloud-2": false, "security.md": true, "../README.md": true,
		"nothing.md": false, "security.md#the-parties": true, "security.md#nothing": false, "https://example.org/": true,
	} {
		if why := p.broken(t, to); (why == "") != good {
			t.Errorf("%s: %q", to, why)
		}
	}
}
