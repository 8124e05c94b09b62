package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud"
)

// TestSyncProgress looks at a terminal during a sync: what is shown is gone at the end.
func TestSyncProgress(t *testing.T) {
	settings(t)
	_, address := startNode(t, clonecloud.NodeConfig{})
	builtBinary(t) // before the folder changes
	t.Chdir(t.TempDir())
	const dir = "d"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte(strings.Repeat("text ", 1000)), 0o644); err != nil {
		t.Fatal(err)
	}
	text := onTerminal(t, "sync", "--cloud", address, dir)
	if !regexp.MustCompile(`clonecloud: d: reading what is new: 1 files, 5\.0 kB`).MatchString(text) {
		t.Errorf("no progress in %q", text)
	}
	if got := visibleText(text); !regexp.MustCompile(`^d: 1 of 1 files, .* all is there\n$`).MatchString(got) {
		t.Errorf("in the end there is %q", got)
	}
	if text := onTerminal(t, "sync", "--cloud", address, "--json", dir); strings.Contains(text, "\r") {
		t.Errorf("with --json: got %q", text)
	}
}

func TestSyncText(t *testing.T) {
	for want, d := range map[string]clonecloud.SyncDir{
		"d: 0 of 0 files, 0 B sent, 0 pieces were there already": {Dir: "d"},
		"d: 7 of 10 files, 1.5 MB sent, 4 pieces were there already, 3 files changed meanwhile or cannot be read, 1 file stays here, 2 pieces were not kept": {
			Dir: "d", Files: 10, FilesTotal: 10, Sent: 1.5e6, Here: 4, Changed: 3, Skipped: 1, Dropped: 2,
		},
		"d?: 1 of 1 files, 0 B sent, 9 pieces were there already, all is there": {Dir: "d\x1b", Files: 1, FilesTotal: 1, Here: 9, Done: true},
	} {
		if got := syncText(&d); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got, want := progressText(clonecloud.SyncProgress{Dir: "d", Files: 1, FilesTotal: 2, Bytes: 3000, BytesTotal: 4000, Sent: 5}),
		"clonecloud: d: 1 of 2 files, 3.0 kB of 4.0 kB, 5 B sent"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
