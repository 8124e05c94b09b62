package docs

import (
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// systems are messages of the operating system and of Go's library, which stand in no source here.
var systems = []string{"connection refused", "i/o timeout", "no such host", "address already in use"}

// literals gives the texts in the program's source, a line each.
func literals(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		var s scanner.Scanner
		s.Init(set.AddFile(name, -1, len(text)), text, nil, 0)
		for {
			_, tok, lit := s.Scan()
			if tok == token.EOF {
				return nil
			}
			if tok == token.STRING {
				if v, err := strconv.Unquote(lit); err == nil {
					all.WriteString(v + "\n")
				}
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// TestMessages looks for the messages of troubleshooting.md in the source, in pieces between "...".
func TestMessages(t *testing.T) {
	source := literals(t) + strings.Join(systems, "\n")
	page := readPage(t, "docs/troubleshooting.md")
	looked := 0
	for _, heading := range []string{"Nothing moves", "The node does not answer", "An offload was given up", "The run ends with an error"} {
		for _, message := range firstCells(page.section(t, heading)) {
			for piece := range strings.SplitSeq(message, wild) {
				piece = strings.Trim(piece, " :;?,")
				if piece == "" || strings.HasPrefix(message, "-") {
					continue
				}
				looked++
				// A text and what is put before it are literals each: "it reaches " and "...".
				if !strings.Contains(source, piece) && !joined(source, piece) {
					t.Errorf("docs/troubleshooting.md: %s: the program never says %q", heading, piece)
				}
			}
		}
	}
	if looked < 40 {
		t.Errorf("looked for %d pieces: these are not all messages", looked)
	}
}

// joined tells whether a message is of two texts, the second behind a colon.
func joined(source, piece string) bool {
	before, after, ok := strings.Cut(piece, ": ")
	return ok && strings.Contains(source, before) && strings.Contains(source, after)
}

func TestJoined(t *testing.T) {
	for piece, good := range map[string]bool{"one: two": true, "one": false, "one: three": false, "four: two": false} {
		if joined("one\ntwo", piece) != good {
			t.Errorf("joined(%q) = %v", piece, !good)
		}
	}
}
