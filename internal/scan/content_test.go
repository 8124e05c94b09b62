package scan

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/tree"
)

func TestContents(t *testing.T) {
	dir := t.TempDir()
	large := bytes.Repeat([]byte("all work and no play makes jack a dull boy\n"), 60_000)
	for i := range large {
		large[i] ^= byte(i >> 9)
	}
	for name, data := range map[string][]byte{"empty": nil, "small": []byte("abc"), "zeros": make([]byte, 1<<20), "large": large} {
		write(t, string(data), dir, name)
	}
	x := settled(openTree(t, dir, Options{}))
	v := pin(t, x)
	for _, name := range []string{"empty", "small", "zeros", "large"} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		if got, err := contents(t, v, name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if e := lookup(t, v, name); e.Flags&tree.Hashed != 0 {
			t.Errorf("%s: the version has changed", name)
		}
	}
	v = pin(t, x)
	describe(t, v)
	for _, name := range []string{"empty", "small", "zeros", "large"} {
		if e := lookup(t, v, name); e.Flags&tree.Hashed == 0 {
			t.Errorf("%s is not known to be hashed", name)
		}
	}
	e := lookup(t, v, "large")
	chunks, err := v.Content(t.Context(), e.Ino)
	must(t, err)
	if len(chunks) <= tree.MaxInline || e.List != tree.IDOf(tree.EncodeList(chunks)) || len(e.Chunks) > 0 {
		t.Errorf("large: %d chunks, list %v", len(chunks), e.List)
	}
	for _, c := range []struct {
		ino, off uint64
		chunk    tree.Chunk
	}{
		{e.Ino, 1, chunks[0]},
		{e.Ino, e.Size, chunks[0]},
		{e.Ino, ^uint64(0), chunks[0]},
		{e.Ino, 0, tree.Chunk{Size: 10}},
		{e.Ino, 0, tree.Chunk{ID: chunks[0].ID}},
		{e.Ino, 0, tree.Chunk{ID: chunks[0].ID, Size: 1 << 40}},
		{v.Root().Ino, 0, chunks[0]},
		{1 << 61, 0, chunks[0]},
	} {
		if b, err := v.ReadChunk(t.Context(), c.ino, c.off, c.chunk); err == nil {
			t.Errorf("ReadChunk(%d, %d, %+v) gave %d bytes", c.ino, c.off, c.chunk, len(b))
		}
	}
}

func TestChanged(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, "secret", outside, "file")
	for name, change := range map[string]func(t *testing.T, sub, file string){
		"written": func(t *testing.T, _, file string) { must(t, os.WriteFile(file, []byte("SECRET"), 0o644)) },
		"longer":  func(t *testing.T, _, file string) { must(t, os.WriteFile(file, []byte("secret and more"), 0o644)) },
		"empty":   func(t *testing.T, _, file string) { must(t, os.Truncate(file, 0)) },
		"gone":    func(t *testing.T, _, file string) { must(t, os.Remove(file)) },
		"link": func(t *testing.T, _, file string) {
			must(t, errors.Join(os.Remove(file), os.Symlink(filepath.Join(outside, "file"), file)))
		},
		"replaced": func(t *testing.T, _, file string) {
			must(t, errors.Join(os.WriteFile(file+"+", []byte("secreT"), 0o644), os.Rename(file+"+", file)))
		},
		"parent": func(t *testing.T, sub, _ string) { must(t, errors.Join(os.RemoveAll(sub), os.Symlink(outside, sub))) },
		"dir":    func(t *testing.T, _, file string) { must(t, errors.Join(os.Remove(file), os.Mkdir(file, 0o755))) },
	} {
		t.Run(name, func(t *testing.T) {
			sub := filepath.Join(dir, name)
			file := filepath.Join(sub, "file")
			mkdir(t, sub)
			write(t, "secret", file)
			must(t, os.Chtimes(file, time.Unix(1, 0), time.Unix(1, 0))) // so that writing shows, however coarse the clock is
			write(t, "secret", sub, "other")
			v := pin(t, openTree(t, sub, Options{}))
			ino, other := lookup(t, v, "file").Ino, lookup(t, v, "other").Ino
			if name == "parent" {
				v = pin(t, openTree(t, dir, Options{}))
			}
			chunks, err := v.Content(t.Context(), other)
			must(t, err)
			change(t, sub, file)
			if c, err := v.Content(t.Context(), ino); !errors.Is(err, ErrChanged) {
				t.Errorf("Content = %v, %v, want ErrChanged", c, err)
			}
			b, err := v.ReadChunk(t.Context(), ino, 0, chunks[0])
			if name == "longer" { // its beginning is what it was
				if err != nil || string(b) != "secret" {
					t.Errorf("ReadChunk = %q, %v", b, err)
				}
			} else if !errors.Is(err, ErrChanged) {
				t.Errorf("ReadChunk = %q, %v, want ErrChanged", b, err)
			}
		})
	}
}

func TestChunkStaysReadable(t *testing.T) {
	dir := t.TempDir()
	write(t, "as it was", dir, "file")
	x := openTree(t, dir, Options{})
	v := pin(t, x)
	ino := lookup(t, v, "file").Ino
	chunks, err := v.Content(t.Context(), ino)
	must(t, err)
	if _, err := v.ReadChunk(t.Context(), ino, 0, chunks[0]); err != nil {
		t.Fatal(err)
	}
	// The file is open now: what happens to its name is of no importance.
	must(t, os.Remove(filepath.Join(dir, "file")))
	pin(t, x)
	if b, err := v.ReadChunk(t.Context(), ino, 0, chunks[0]); err != nil || string(b) != "as it was" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestHash(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, 4, 10)
	var files int
	var sum uint64
	x := settled(openTree(t, dir, Options{Progress: func(f int, b uint64) { files, sum = f, b }}))
	must(t, x.Hash(t.Context(), func(path string) bool { return strings.HasPrefix(path, "group-00/dir-0002/") }))
	if files != 10 || sum == 0 {
		t.Errorf("progress of %d files, %d bytes", files, sum)
	}
	v := pin(t, x)
	for path, want := range map[string]bool{"group-00/dir-0002/file-0003.txt": true, "group-00/dir-0001/file-0003.txt": false} {
		if got := lookup(t, v, path).Flags&tree.Hashed != 0; got != want {
			t.Errorf("%s: hashed %v, want %v", path, got, want)
		}
	}
	must(t, x.Hash(t.Context(), nil))
	if files != 30 {
		t.Errorf("%d files were hashed the second time, want 30", files)
	}
	want := pin(t, x)
	must(t, x.Hash(t.Context(), nil))
	if got := pin(t, x); got != want {
		t.Error("another version of what did not change")
	}
}

func TestHashPassesOver(t *testing.T) {
	dir := t.TempDir()
	write(t, "a", dir, "a")
	write(t, "b", dir, "b")
	x := settled(openTree(t, dir, Options{}))
	pin(t, x)
	must(t, os.Remove(filepath.Join(dir, "a")))
	if err := x.Hash(t.Context(), nil); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "file a") {
		t.Errorf("got %v, want ErrChanged of a", err)
	}
	if lookup(t, pin(t, x), "b").Flags&tree.Hashed == 0 {
		t.Error("b was not hashed")
	}
}

// TestHealing: contents that were taken for known, but are other ones, are hashed again.
func TestHealing(t *testing.T) {
	dir := t.TempDir()
	write(t, "true", dir, "file")
	x := settled(openTree(t, dir, Options{}))
	v := pin(t, x)
	e := lookup(t, v, "file")
	r := v.top.recs[0]
	wrong := tree.Chunk{ID: tree.IDOf([]byte("fals")), Size: 4}
	x.keep(&hashed{rec: r, path: "file", content: &content{chunks: []tree.Chunk{wrong}}})
	v = pin(t, x)
	if lookup(t, v, "file").Flags&tree.Hashed == 0 {
		t.Fatal("the wrong contents were not taken over")
	}
	if _, err := v.ReadChunk(t.Context(), e.Ino, 0, wrong); !errors.Is(err, ErrChanged) {
		t.Errorf("got %v, want ErrChanged", err)
	}
	if b, err := contents(t, pin(t, x), "file"); err != nil || string(b) != "true" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestRacy(t *testing.T) {
	x := &Tree{local: true}
	now := time.Unix(1_000_000_000, 0)
	at := func(d time.Duration) uint64 { return uint64(now.Add(d).UnixNano()) }
	for _, c := range []struct {
		name  string
		local bool
		r     rec
		want  bool
	}{
		{"old", true, rec{mtime: at(-time.Hour), ctime: at(-time.Minute)}, false},
		{"fine", true, rec{mtime: at(-time.Hour), ctime: at(-time.Second) + 5}, false},
		{"just_now", true, rec{mtime: at(-time.Hour), ctime: at(-time.Millisecond) + 5}, true},
		{"mtime_just_now", true, rec{mtime: at(-time.Millisecond) + 5, ctime: at(-time.Minute)}, true},
		{"seconds", true, rec{mtime: at(-time.Hour), ctime: at(-time.Second)}, true},
		{"future", true, rec{mtime: at(time.Hour), ctime: at(-time.Minute)}, true},
		{"remote", false, rec{mtime: at(-time.Hour), ctime: at(-5*time.Second) + 5}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			x.local = c.local
			if got := x.racy(&c.r, now); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
