package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// commands runs commands.awk over a page.
func commands(t *testing.T, kind, page string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("awk"); err != nil {
		t.Skip("there is no awk here")
	}
	script := filepath.Join("..", "commands.awk")
	if _, err := os.ReadFile(script); err != nil { // which also tells go test when to run again
		t.Fatal(err)
	}
	out, err := exec.Command("awk", "-v", "kind="+kind, "-f", script, page).Output()
	return string(out), err
}

// TestReadme wants README's two commands to be read from README by all who run them, and repeated by nobody.
func TestReadme(t *testing.T) {
	readme := filepath.Join("..", "..", "README.md")
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(text), "on a fresh machine:\n\n    ")
	block, _, end := strings.Cut(after, "\n\n")
	if !ok || !end {
		t.Fatal("README.md has no commands for a fresh machine")
	}
	want := strings.Split(block, "\n    ")
	if len(want) != 2 || !strings.HasPrefix(want[1], "go test ") {
		t.Fatalf("README.md has the commands %q; want two, the second a test", want)
	}
	got, err := commands(t, "readme", readme)
	if err != nil || !slices.Equal(strings.Split(strings.TrimSpace(got), "\n"), want) {
		t.Errorf("commands.awk finds %q, %v; want %q", got, err, want)
	}
	for _, script := range []string{"packaging/newcomer.sh", ".ci/run"} {
		b, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(script)))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), "packaging/commands.awk") {
			t.Errorf("%s does not read README.md by commands.awk", script)
		}
		for line := range strings.Lines(string(b)) {
			if !strings.HasPrefix(line, "#") && slices.Contains(want, strings.TrimSpace(line)) {
				t.Errorf("%s repeats %q, which README.md says", script, strings.TrimSpace(line))
			}
		}
	}
}

const page = "# A page\n\n    $ not-a-command\n\n" +
	"```console\n$ cat >file <<'EOF'\n$ not this\nbut \\\nthat\nEOF\n$ cat file\nanything\n...\n```\n\n" +
	"```sh\n$ nor-this\n```\n\n" +
	"```console\n$ echo one \\\n  two \\\n> three\n$ for i in 4 5; do\n>   echo \"it's $i\"\n> done\noutput\n```\n"

func TestConsole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "page.md")
	if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	script, err := commands(t, "console", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("there is no bash here")
	}
	cmd := exec.Command("bash", "-euc", `step() { echo "[$1: $2]"; }`+"\n"+script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	want := "[6: cat >file <<'EOF']\n[11: cat file]\n$ not this\nbut \\\nthat\n" +
		"[21: echo one \\]\none two three\n[24: for i in 4 5; do]\nit's 4\nit's 5\n"
	if err != nil || string(out) != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, out, want)
	}
}

func TestConsoleUnfinished(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	for text, place := range map[string]string{
		"```console\n$ cat <<EOF\ntext\n```\n": "page.md:4: the here-document does not end: EOF is missing",
		"```console\n$ cat <<'END'\ntext\n":    "page.md: the here-document at its end does not end: END is missing",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := commands(t, "console", path)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || !strings.Contains(string(exit.Stderr), place) {
			t.Errorf("%q: got %v, want an error that says %q", text, err, place)
		}
	}
}
