package docs

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// foreign are flags of other programs that the pages speak of.
var foreign = strings.Fields("--target --crate-type --help --version --now --since --state-directory --stop-timeout --rounds --json --only --corpus --cpuprofile --preload --strip-debug")

// hidden are commands that help does not list and the manual has.
var hidden = []string{"man"}

// help gives the help of a command, "" for that of the program.
func help(t *testing.T, command string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(binDir(t), binary), append(strings.Fields(command), "--help")...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("clonecloud %s --help: %v", command, err)
	}
	return string(out)
}

var (
	helpCommand = regexp.MustCompile(`^  ([a-z-]+)\s+\S`)
	helpFlag    = regexp.MustCompile(`^\s+(?:(-[a-zA-Z]), |    )(--[a-z0-9-]+)`)
)

// helpSection gives the lines below a title.
func helpSection(text, title string) []string {
	_, rest, ok := strings.Cut("\n"+text, "\n"+title+":\n")
	if !ok {
		return nil
	}
	section, _, _ := strings.Cut(rest, "\n\n")
	return strings.Split(section, "\n")
}

// commandFlags gives the flags of each command but --help, long and short, by the command's name: "cloud add".
func commandFlags(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	var visit func(command string)
	visit = func(command string) {
		text := help(t, command)
		flags := []string{}
		for _, line := range helpSection(text, "Flags") {
			m := helpFlag.FindStringSubmatch(line)
			if m == nil || m[2] == "--help" {
				continue
			}
			flags = append(flags, m[2])
			if m[1] != "" {
				flags = append(flags, m[1])
			}
		}
		all[command] = flags
		for _, line := range helpSection(text, "Available Commands") {
			if m := helpCommand.FindStringSubmatch(line); m != nil && m[1] != "help" {
				visit(strings.TrimSpace(command + " " + m[1]))
			}
		}
	}
	visit("")
	for _, h := range hidden {
		visit(h)
	}
	if len(all["run"]) < 20 || all["cloud add"] == nil {
		t.Fatalf("found the commands %v, and %v of run: these are not all", slices.Sorted(maps.Keys(all)), all["run"])
	}
	return all
}

var code = regexp.MustCompile("`([^`]+)`")

// firstCells gives what stands as code in the first cells of the tables in some lines, each with its words.
func firstCells(lines []string) []string {
	var all []string
	for _, line := range lines {
		rest, ok := strings.CutPrefix(line, "| ")
		if !ok {
			continue
		}
		cell, _, _ := strings.Cut(strings.ReplaceAll(rest, `\|`, "\x00"), " |")
		for _, m := range code.FindAllStringSubmatch(cell, -1) {
			all = append(all, strings.ReplaceAll(m[1], "\x00", "|"))
		}
	}
	return all
}

// TestFlags compares the flags in the manual's tables with those of the program, both ways.
func TestFlags(t *testing.T) {
	manual := readPage(t, "docs/manual.md")
	for command, flags := range commandFlags(t) {
		if command == "" || strings.HasPrefix(command, "completion ") {
			continue // no flags; the page of completion has its shells
		}
		var listed []string
		for _, cell := range firstCells(manual.section(t, command)) {
			if name, _, _ := strings.Cut(cell, " "); strings.HasPrefix(name, "-") && len(name) > 1 {
				listed = append(listed, name)
			}
		}
		if command == "cloud" {
			listed = nil // the sections below have them
		}
		for _, d := range difference(flags, listed) {
			t.Errorf("docs/manual.md: %s: %s is not in its table", command, d)
		}
		for _, d := range difference(listed, flags) {
			t.Errorf("docs/manual.md: %s: there is no %s", command, d)
		}
	}
}

// difference gives what is in a and not in b.
func difference(a, b []string) []string {
	var d []string
	for _, v := range a {
		if !slices.Contains(b, v) {
			d = append(d, v)
		}
	}
	slices.Sort(d)
	return slices.Compact(d)
}

// TestMentions looks at commands and flags in text: in prose, in blocks that are not run, and in README.md.
func TestMentions(t *testing.T) {
	flags := commandFlags(t)
	known := slices.Clone(foreign)
	for _, f := range flags {
		known = append(known, f...)
	}
	for _, p := range readPages(t) {
		for i, line := range p.lines {
			for _, m := range mentions(p, i, line) {
				if why := wrong(m, flags, known); why != "" {
					t.Errorf("%s:%d: %s: %s", p.name, i+1, m, why)
				}
			}
		}
	}
}

// mentions gives the command lines and flags in a line.
func mentions(p *page, i int, line string) []string {
	if b := p.inBlock(i + 1); b != nil {
		if b.lang != "text" && !b.indented {
			return nil
		}
		return []string{line}
	}
	var all []string
	for _, m := range code.FindAllStringSubmatch(line, -1) {
		all = append(all, m[1])
	}
	return all
}

var aFlag = regexp.MustCompile(`^--[a-z]`)

// wrong says what a command line or a flag names that is not there.
func wrong(text string, flags map[string][]string, known []string) string {
	words := strings.Fields(text)
	if len(words) == 0 {
		return ""
	}
	if aFlag.MatchString(words[0]) {
		name, _, _ := strings.Cut(words[0], "=")
		if !slices.Contains(known, name) {
			return "no command has this flag"
		}
		return ""
	}
	if words[0] != "clonecloud" || len(words) == 1 || !regexp.MustCompile(`^[a-z-]+$`).MatchString(words[1]) {
		return ""
	}
	command := words[1]
	if command == "help" {
		return ""
	}
	if len(words) > 2 && flags[command+" "+words[2]] != nil {
		command += " " + words[2]
	}
	have, ok := flags[command]
	if !ok {
		return "there is no such command"
	}
	for _, w := range words {
		if strings.HasSuffix(w, ".wasm") {
			break // the rest is the program's
		}
		name, _, _ := strings.Cut(w, "=")
		if aFlag.MatchString(name) && name != "--help" && !slices.Contains(have, strings.Trim(name, "],.")) {
			return "it has no flag " + name
		}
	}
	return ""
}

func TestWrong(t *testing.T) {
	flags := map[string][]string{"run": {"--cloud"}, "cloud": {}, "cloud add": {"--json"}}
	for text, good := range map[string]bool{
		"clonecloud run --cloud home x.wasm --other": true, "clonecloud run --clod home x.wasm": false, "clonecloud cloud add --json": true,
		"clonecloud runs": false, "--cloud": true, "--cloud=x": true, "--clouds": false, "text": true, "clonecloud": true, "clonecloud prog.wasm": true,
	} {
		if why := wrong(text, flags, []string{"--cloud"}); (why == "") != good {
			t.Errorf("%s: %q", text, why)
		}
	}
}

// TestConfig has the program read the configuration files that the pages show, and compares the manual's keys with those
// that it names.
func TestConfig(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.toml")
	try := func(text string) string {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), filepath.Join(binDir(t), binary), "run", filepath.Join(dir, "none.wasm"))
		cmd.Env = append(os.Environ(), "CLONECLOUD_CONFIG="+file, "HOME="+dir, "XDG_CONFIG_HOME="+dir)
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	// Which keys there are is said where one is unlike all of them.
	_, list, ok := strings.Cut(try("xxxxxxxxxxxxxx = 1\n"), "there are ")
	if !ok {
		t.Fatalf("an unknown key gives %q", try("xxxxxxxxxxxxxx = 1\n"))
	}
	keys := strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(", \n", r) })
	listed := firstCells(readPage(t, "docs/manual.md").section(t, "Configuration file"))
	for _, d := range difference(keys, listed) {
		t.Errorf("docs/manual.md: Configuration file: %s is not in its table", d)
	}
	for _, d := range difference(listed, keys) {
		t.Errorf("docs/manual.md: Configuration file: there is no %s", d)
	}
	shown := 0
	for _, p := range readPages(t) {
		for _, b := range p.blocks {
			if _, ok := b.marks["config"]; !ok {
				continue
			}
			shown++
			if out := try(strings.Join(b.text, "\n") + "\n"); !strings.Contains(out, "none.wasm") || strings.Contains(out, file+":") {
				t.Errorf("%s: with this file: %s", b.at(), out)
			}
		}
	}
	if shown == 0 {
		t.Error("no page shows a configuration file")
	}
}
