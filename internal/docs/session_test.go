package docs

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds the commands of one page.
const patience = 5 * time.Minute

// result is what a command has printed, and how it ended.
type result struct {
	output []string
	exit   int
}

// build makes the command, once.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "clonecloud-docs-")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", filepath.Join(dir, binary), "./"+filepath.ToSlash(filepath.Join(root, "cmd", "clonecloud"))).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build clonecloud: %w\n%s", err, out)
	}
	return dir, nil
})

// binDir is the folder with the command.
func binDir(t *testing.T) string {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// session is a shell in a folder and with a home of its own.
type session struct {
	home string
	env  []string
}

func newSession(t *testing.T, bin string) *session {
	t.Helper()
	home := filepath.Join(t.TempDir(), "you")
	for _, d := range []string{home, filepath.Join(home, "work"), filepath.Join(home, "tmp")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s := &session{home: home}
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "XDG_") && !strings.HasPrefix(name, "CLONECLOUD_") {
			s.env = append(s.env, v)
		}
	}
	s.env = append(s.env, "HOME="+home, "TMPDIR="+filepath.Join(home, "tmp"), "LC_ALL=C.UTF-8", "TERM=dumb",
		// Debian's compilers first: the pages name its packages.
		"PATH="+strings.Join([]string{bin, "/usr/bin", os.Getenv("PATH")}, string(os.PathListSeparator)))
	// What Go has built and fetched is used, so that a page needs no network.
	out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOPATH").Output()
	if err != nil {
		t.Fatal(err)
	}
	values := strings.Split(strings.TrimSpace(string(out)), "\n")
	for i, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH"} {
		s.env = append(s.env, name+"="+values[i])
	}
	return s
}

// run runs commands in order in one shell, which does not read the terminal. What they leave running is ended.
func (s *session) run(t *testing.T, commands []*command) []result {
	t.Helper()
	checkout, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	mark := "end-" + rand.Text()
	var script strings.Builder
	// The shell waits for what it has ended: a machine's first process may not, and then it would seem to be there still.
	script.WriteString("exec 2>&1\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n")
	for _, c := range commands {
		if _, ok := c.block.marks["checkout"]; ok && c == c.block.commands[0] {
			fmt.Fprintf(&script, "cd '%s'\n", checkout)
		}
		fmt.Fprintf(&script, "%s\nprintf '\\n%s %%d\\n' $?\n", c.text, mark)
	}
	file := filepath.Join(s.home, ".script")
	if err := os.WriteFile(file, []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	// A file, not a pipe: what runs in the background would hold a pipe open.
	out, err := os.Create(filepath.Join(s.home, ".output"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	cmd := exec.CommandContext(ctx, "bash", "--noprofile", "--norc", file)
	cmd.Dir, cmd.Env = filepath.Join(s.home, "work"), s.env
	cmd.Stdout, cmd.Stderr = out, out
	end := group(cmd)
	runErr := cmd.Run()
	end()
	b, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	text := string(bytes.ReplaceAll(b, []byte(s.home), []byte("/home/you")))
	var results []result
	for {
		printed, rest, ok := strings.Cut(text, "\n"+mark+" ")
		if !ok {
			break
		}
		code, rest, _ := strings.Cut(rest, "\n")
		n, err := strconv.Atoi(code)
		if err != nil {
			t.Fatalf("the shell gives no exit code: %v", err)
		}
		results = append(results, result{outputLines(printed), n})
		text = rest
	}
	if len(results) < len(commands) {
		t.Fatalf("%s: the shell ended here (%v, %v):\n%s", commands[len(results)].at(), runErr, ctx.Err(), text)
	}
	return results
}

func outputLines(text string) []string {
	text = strings.TrimSuffix(text, "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
