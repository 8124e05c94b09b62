package place_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/chunkstore/place"
	"github.com/clonecloud/clonecloud/internal/chunkstore/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) (b, second place.Backend) {
		b = place.NewMemory()
		return b, b
	})
}

func openFolder(t *testing.T, dir string) place.Backend {
	t.Helper()
	b, err := place.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestFolder(t *testing.T) {
	storetest.Run(t, func(t *testing.T) (b, second place.Backend) {
		dir := filepath.Join(t.TempDir(), "a", "b")
		return openFolder(t, dir), openFolder(t, dir)
	})
}

func TestFolderRemovesOldTemps(t *testing.T) {
	dir := t.TempDir()
	openFolder(t, dir)
	old, young := filepath.Join(dir, ".tmp", "old"), filepath.Join(dir, ".tmp", "young")
	for _, path := range []string{old, young} {
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	then := time.Now().Add(-61 * time.Minute)
	if err := os.Chtimes(old, then, then); err != nil {
		t.Fatal(err)
	}
	b := openFolder(t, dir)
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("a half-written file of an hour ago: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("a file that may be being written: %v", err)
	}
	if err := b.List(t.Context(), "", func(i place.Info) error { t.Errorf("listed: %v", i); return nil }); err != nil {
		t.Error(err)
	}
}

// What is not an item must neither hang nor be read as one, and gives way to items.
func TestFolderHoldsOtherThings(t *testing.T) {
	dir := t.TempDir()
	b := openFolder(t, dir)
	for _, d := range []string{"aa/dir/inside", "Upper", "aa/UP"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "aa", "link")); err != nil {
		t.Skip("no symbolic links here: ", err)
	}
	for _, n := range []string{"aa/dir", "aa/link"} {
		if got, err := b.Get(t.Context(), n, nil); err == nil {
			t.Errorf("%s: read %d bytes", n, len(got))
		}
	}
	foreign := 0
	if err := b.List(t.Context(), "", func(i place.Info) error {
		if !i.Foreign {
			t.Errorf("%s is listed as an item", i.Name)
		}
		foreign++
		return nil
	}); err != nil || foreign != 4 {
		t.Errorf("%d foreign things, %v, want 4", foreign, err)
	}
	for _, n := range []string{"aa/dir", "aa/link"} {
		if err := b.PutAll(t.Context(), []place.Item{{Name: n, Data: []byte("item")}}); err != nil {
			t.Fatal(err)
		}
		if got, err := b.Get(t.Context(), n, nil); err != nil || string(got) != "item" {
			t.Errorf("%s: got %q, %v", n, got, err)
		}
	}
}
