package chunkstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/chunkstore/place"
	"github.com/clonecloud/clonecloud/internal/tree"
)

func TestKeys(t *testing.T) {
	dir := t.TempDir()
	open := func(key []byte) error {
		s, err := OpenStore(testFolder(t, dir), options(t, key, nil))
		if err != nil {
			return err
		}
		return s.Close()
	}
	if err := open(testKey); err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string][]byte{"another": bytes.Repeat([]byte("other"), 7), "none": nil} {
		if err := open(key); !errors.Is(err, ErrKey) {
			t.Errorf("%s key: got %v, want ErrKey", name, err)
		}
	}
	if err := open([]byte("short")); err == nil {
		t.Error("short key: no error")
	}
	if err := open(testKey); err != nil {
		t.Error(err)
	}
	format := filepath.Join(dir, formatName)
	b, err := os.ReadFile(format)
	if err != nil {
		t.Fatal(err)
	}
	b[0]++
	if err := os.WriteFile(format, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(testKey); err == nil || errors.Is(err, ErrKey) {
		t.Errorf("a later version: got %v", err)
	}
}

// TestDiskSaysNothing looks for what was stored in all that is on disk.
func TestDiskSaysNothing(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, testFolder(t, dir), options(t, testKey, nil))
	secret := strings.Repeat("a secret that nobody may read ", 100)
	o := tree.Object{ID: tree.IDOf([]byte(secret)), Data: []byte(secret)}
	put(t, s, o)
	pinRoot(t, s, "the name of a root", o.ID)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b = append(b, path...)
		for _, s := range []string{"secret", "name of a root", fmt.Sprintf("%x", o.ID[:4]), string(o.ID[:4])} {
			if bytes.Contains(b, []byte(s)) {
				t.Errorf("%s holds %q", path, s)
			}
		}
		return nil
	})
	if err != nil || files != 3 {
		t.Errorf("%d files, %v, want 3", files, err)
	}
}

// TestDamage changes what is stored in each way that can be tried.
func TestDamage(t *testing.T) {
	keys(t, func(t *testing.T, key []byte) {
		dir := t.TempDir()
		o := options(t, key, nil)
		logged := 0
		o.Log = func(string, ...any) { logged++ }
		s := closed(t, openStore(t, testFolder(t, dir), o))
		a, b := object(1, 50), object(2, 50)
		put(t, s, b)
		path := func(x tree.Object) string { return filepath.Join(dir, s.secrets.name(x.ID).item()) }
		put(t, s, a)
		flush(t, s)
		whole, err := os.ReadFile(path(a))
		if err != nil {
			t.Fatal(err)
		}
		other, err := os.ReadFile(path(b))
		if err != nil {
			t.Fatal(err)
		}
		damaged := [][]byte{nil, other, append(bytes.Clone(whole), 0), make([]byte, len(whole))}
		for i := range whole {
			x := bytes.Clone(whole)
			x[i] ^= 1 << (i % 8)
			damaged = append(damaged, x, whole[:i])
		}
		for i, x := range damaged {
			if err := os.WriteFile(path(a), x, 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Get(t.Context(), a.ID); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("damage %d: got %d bytes, %v", i, len(got), err)
			}
			if _, err := os.Lstat(path(a)); !os.IsNotExist(err) {
				t.Fatalf("damage %d: still there: %v", i, err)
			}
			wantAbsent(t, s, a)
			put(t, s, a)
			flush(t, s)
			want(t, s, a)
		}
		if st := s.Stats(); st.Damaged != uint64(len(damaged)) || logged != len(damaged) {
			t.Errorf("%d counted, %d logged, want %d", st.Damaged, logged, len(damaged))
		}
		want(t, s, b)
	})
}

func FuzzOpen(f *testing.F) {
	for _, key := range [][]byte{nil, testKey} {
		s, err := newSecrets(key)
		if err != nil {
			f.Fatal(err)
		}
		o := object(1, 40)
		f.Add(s.seal(nil, s.name(o.ID), o.Data), s.name(o.ID).item())
		r := root{"name", o.ID}
		f.Add(s.sealRoot(r), s.rootItem(r.name))
	}
	f.Fuzz(func(t *testing.T, b []byte, item string) {
		n, ok := parseName(item)
		if ok && (n.item() != item || !place.ValidName(item)) {
			t.Fatalf("%q is read as %q", item, n.item())
		}
		for _, key := range [][]byte{nil, testKey} {
			s, err := newSecrets(key)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := s.open(n, bytes.Clone(b)); err != nil && !errors.Is(err, ErrDamaged) {
				t.Fatalf("object: got %v", err)
			} else if err == nil && s.name(tree.IDOf(got)) != n {
				t.Fatalf("took %d bytes for object %x", len(got), n)
			}
			if r, err := s.openRoot(item, b); err != nil && !errors.Is(err, ErrDamaged) {
				t.Fatalf("root: got %v", err)
			} else if err == nil && s.rootItem(r.name) != item {
				t.Fatalf("took it for root %q", r.name)
			}
		}
	})
}
