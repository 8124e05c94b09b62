package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestExitTable holds the manual's table of exit codes to the one that the command prints; -rewrite writes it.
func TestExitTable(t *testing.T) {
	const path, head = "../../docs/manual.md", "| code | meaning |\n|---|---|\n"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), head)
	if !ok {
		t.Fatalf("%s has no table of exit codes", path)
	}
	got, after, _ := strings.Cut(rest, "\n\n")
	var want []string
	for _, e := range exitCodes {
		want = append(want, fmt.Sprintf("| %s | %s |", e.code, e.meaning))
	}
	table := strings.Join(want, "\n")
	if *rewrite {
		if err := os.WriteFile(path, []byte(before+head+table+"\n\n"+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(table, got); d != "" {
		t.Errorf("table of exit codes in %s (-want +got):\n%s", path, d)
	}
}

func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"", []string{""}},
		{"a bc def", []string{"a bc", "def"}},
		{"longer than five", []string{"longer", "than", "five"}},
	} {
		if d := cmp.Diff(tt.want, wrap(tt.text, 5)); d != "" {
			t.Errorf("wrap %q (-want +got):\n%s", tt.text, d)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"run", "analyze", "cloud", "version"}
	for text, want := range map[string]string{
		"analise": "analyze", "rnu": "run", "clod": "cloud", "versions": "version", "frob": "", "": "", "r": "run",
	} {
		if got := nearest(text, names); got != want {
			t.Errorf("nearest to %q: got %q, want %q", text, got, want)
		}
	}
}
