package atomicfile

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMakeRoom(t *testing.T) {
	dir := t.TempDir()
	begin := time.Unix(1_000_000, 0)
	for i := range 6 {
		path := filepath.Join(dir, fmt.Sprint(i, ".ours"))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		// The later the name, the older.
		if err := os.Chtimes(path, begin, begin.Add(-time.Duration(i)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "theirs"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.ours"), 0o700); err != nil {
		t.Fatal(err)
	}
	names := func() (list []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			list = append(list, e.Name())
		}
		return list
	}
	ours := func(name string) bool { return strings.HasSuffix(name, ".ours") }
	before := names()
	MakeRoom(dir, 9, 2, ours)
	if got := names(); !slices.Equal(got, before) {
		t.Errorf("fewer than most, and %q are left", got)
	}
	MakeRoom(dir, 8, 4, ours)
	if got, want := names(), []string{"0.ours", "1.ours", "2.ours", "3.ours", "folder.ours", "theirs"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	MakeRoom(dir, 1, 10, ours)
	MakeRoom(filepath.Join(dir, "absent"), 1, 0, nil)
	MakeRoom(dir, 6, 1, nil)
	if got, want := names(), []string{"folder.ours", "theirs"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
