package docs

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the checkout, from this folder.
var root = filepath.Join("..", "..")

// page is a file of the manual.
type page struct {
	name   string // from the checkout, with slashes
	lines  []string
	blocks []*block
}

// block is a piece of a page that is not prose: between fences, or indented by four blanks.
type block struct {
	page     *page
	line     int    // of the opening fence or the first line, counted from 1
	lang     string // "" if the fence names none
	indented bool
	text     []string
	marks    map[string]string // of the comments directly before it: <!-- needs: clang -->
	commands []*command        // of console
}

// command is one command of a console block, and what it is said to print.
type command struct {
	block *block
	line  int
	text  string // as the shell takes it
	want  []string
	exit  int

	begin, end int // the lines of the page that want and exit stand in, counted from 0, end excluded
}

func (b *block) at() string   { return fmt.Sprintf("%s:%d", b.page.name, b.line) }
func (c *command) at() string { return fmt.Sprintf("%s:%d", c.block.page.name, c.line) }

// readPages reads README.md and all of docs/.
func readPages(t *testing.T) []*page {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 8 {
		t.Fatalf("found %d pages in docs/: this is not the whole manual", len(files))
	}
	names := []string{"README.md"}
	for _, f := range files {
		names = append(names, "docs/"+filepath.Base(f))
	}
	var pages []*page
	for _, name := range names {
		pages = append(pages, readPage(t, name))
	}
	return pages
}

func readPage(t *testing.T, name string) *page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := parsePage(name, string(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var (
	fence   = regexp.MustCompile("^(```+)([a-zA-Z0-9]*)\\s*$")
	comment = regexp.MustCompile(`^<!--\s*([a-z ]+?)(?::\s*(.*?))?\s*-->$`)
	item    = regexp.MustCompile(`^\s*([-*]|[0-9]+\.)\s`)
)

// marks are the comments before a block that mean something here.
var marks = []string{"needs", "exact", "file", "example", "config", "checkout", "not run"}

func parsePage(name, text string) (*page, error) {
	p := &page{name: name, lines: strings.Split(strings.TrimSuffix(text, "\n"), "\n")}
	list := false // within a list indented lines belong to it
	for i := 0; i < len(p.lines); i++ {
		line := p.lines[i]
		switch {
		case fence.MatchString(line):
			end := i + 1
			m := fence.FindStringSubmatch(line)
			for end < len(p.lines) && p.lines[end] != m[1] {
				end++
			}
			if end == len(p.lines) {
				return nil, fmt.Errorf("%s:%d: the block does not end", name, i+1)
			}
			b := &block{page: p, line: i + 1, lang: m[2], text: p.lines[i+1 : end]}
			if err := p.add(b); err != nil {
				return nil, err
			}
			i = end
		case strings.HasPrefix(line, "    ") && !list && i > 0 && p.lines[i-1] == "":
			end := i
			for end < len(p.lines) && (strings.HasPrefix(p.lines[end], "    ") || p.lines[end] == "") {
				end++
			}
			if err := p.add(&block{page: p, line: i + 1, indented: true, text: p.lines[i:end]}); err != nil {
				return nil, err
			}
			i = end - 1
		case item.MatchString(line):
			list = true
		case line != "" && !strings.HasPrefix(line, " "):
			list = false
		}
	}
	return p, nil
}

// add takes a block with the comments that stand directly before it.
func (p *page) add(b *block) error {
	b.marks = map[string]string{}
	i := b.line - 2
	if b.indented {
		i-- // a blank line stands between
	}
	for ; i >= 0; i-- {
		m := comment.FindStringSubmatch(p.lines[i])
		if m == nil {
			break
		}
		if !slices.Contains(marks, m[1]) {
			return fmt.Errorf("%s:%d: no mark %q: there are %s", p.name, i+1, m[1], strings.Join(marks, ", "))
		}
		b.marks[m[1]] = m[2]
	}
	p.blocks = append(p.blocks, b)
	if b.lang == "console" {
		return b.parse()
	}
	return nil
}

var (
	heredoc = regexp.MustCompile(`<<-?\s*(['"]?)([A-Za-z_]+)(['"]?)`)
	ends    = regexp.MustCompile(`^\[exit ([0-9]+)\]$`)
)

// parse finds the commands of a console block. A command begins with "$ "; it goes on in the next line after a
// backslash, in lines that begin with "> ", and until the end of its here-document. What follows is its output.
func (b *block) parse() error {
	for i := 0; i < len(b.text); {
		first, ok := strings.CutPrefix(b.text[i], "$ ")
		if !ok {
			return fmt.Errorf("%s:%d: a command is wanted, which begins with \"$ \"", b.page.name, b.line+1+i)
		}
		c := &command{block: b, line: b.line + 1 + i}
		lines := []string{first}
		for i++; i < len(b.text); i++ {
			more, prompted := strings.CutPrefix(b.text[i], "> ")
			if !prompted && !strings.HasSuffix(lines[len(lines)-1], `\`) {
				break
			}
			lines = append(lines, more)
		}
		for _, m := range heredoc.FindAllStringSubmatch(strings.Join(lines, "\n"), -1) {
			if slices.Contains(lines, m[2]) {
				continue // its lines were prompted for
			}
			for closed := false; !closed; i++ {
				if i == len(b.text) {
					return fmt.Errorf("%s: the here-document does not end: no line is %s", c.at(), m[2])
				}
				lines = append(lines, b.text[i])
				closed = b.text[i] == m[2]
			}
		}
		c.text = strings.Join(lines, "\n")
		c.begin = b.line + i
		for i < len(b.text) && !strings.HasPrefix(b.text[i], "$ ") {
			c.want = append(c.want, b.text[i])
			i++
		}
		c.end = b.line + i
		if n := len(c.want); n > 0 {
			if m := ends.FindStringSubmatch(c.want[n-1]); m != nil {
				fmt.Sscan(m[1], &c.exit)
				c.want = c.want[:n-1]
			}
		}
		b.commands = append(b.commands, c)
	}
	return nil
}

// anchors are the names of the page's headings, as GitHub makes them.
func (p *page) anchors() map[string]bool {
	all := map[string]bool{}
	for _, h := range p.headings() {
		name := strings.ToLower(h.text)
		name = regexp.MustCompile(`[^\p{L}\p{N}\s_-]`).ReplaceAllString(name, "")
		name = strings.ReplaceAll(name, " ", "-")
		for n, base := 1, name; all[name]; n++ {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		all[name] = true
	}
	return all
}

// heading is a line that begins with #.
type heading struct {
	line, level int
	text        string
}

func (p *page) headings() []heading {
	var all []heading
	form := regexp.MustCompile(`^(#{1,6})\s+(.*?)\s*$`)
	for i, line := range p.lines {
		if m := form.FindStringSubmatch(line); m != nil && p.inBlock(i+1) == nil {
			all = append(all, heading{i + 1, len(m[1]), m[2]})
		}
	}
	return all
}

// inBlock gives the block that a line, counted from 1, stands in.
func (p *page) inBlock(line int) *block {
	for _, b := range p.blocks {
		last := b.line + len(b.text)
		if b.indented {
			last--
		}
		if line >= b.line && line <= last {
			return b
		}
	}
	return nil
}

// section gives the lines below a heading, up to the next of its level or above.
func (p *page) section(t *testing.T, text string) []string {
	t.Helper()
	list := p.headings()
	for i, h := range list {
		if strings.Trim(h.text, "`") != text {
			continue
		}
		end := len(p.lines)
		for _, next := range list[i+1:] {
			if next.level <= h.level {
				end = next.line - 1
				break
			}
		}
		return p.lines[h.line:end]
	}
	t.Errorf("%s: there is no heading %q", p.name, text)
	return nil
}

// dir is the folder of the page.
func (p *page) dir() string { return path.Dir(p.name) }
