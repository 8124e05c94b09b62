package used

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func at(s int64) time.Time { return time.Unix(s, 0) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOrder(t *testing.T) {
	dir, src := filepath.Join(t.TempDir(), "used"), t.TempDir()
	if got := List(dir, src); len(got) != 0 {
		t.Errorf("before any use: %v", got)
	}
	must(t, note(dir, src, []string{"a", "b/c", "\xff"}, at(10)))
	must(t, note(dir, src, []string{"b/c"}, at(10)))
	must(t, note(dir, src, []string{"z", "a"}, at(20)))
	must(t, note(dir, src, []string{"z"}, at(5))) // the clock was set back
	must(t, note(dir, src, []string{"z"}, at(6)))
	must(t, note(dir, src, []string{"../x", "", "/etc", "b//c"}, at(30)))
	want := []string{"z", "a", "b/c", "\xff"}
	if got := List(dir, src); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	link := filepath.Join(t.TempDir(), "link")
	if os.Symlink(src, link) == nil {
		if got := List(dir, link); len(got) != 4 {
			t.Errorf("by a link: got %q", got)
		}
	}
	if got := List(dir, t.TempDir()); len(got) != 0 {
		t.Errorf("another tree: got %q", got)
	}
	if got := List(dir, filepath.Join(src, "nothing")); got != nil {
		t.Errorf("no tree: got %q", got)
	}
}

func TestDamaged(t *testing.T) {
	dir, src := t.TempDir(), t.TempDir()
	must(t, note(dir, src, []string{"a", "b", "c"}, at(10)))
	name, err := file(dir, src)
	must(t, err)
	whole, err := os.ReadFile(name)
	must(t, err)
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 0x10
		must(t, os.WriteFile(name, b, 0o600))
		if got := List(dir, src); len(got) != 0 {
			t.Fatalf("byte %d changed: got %q", i, got)
		}
		must(t, os.WriteFile(name, whole[:i], 0o600))
		if got := List(dir, src); len(got) != 0 {
			t.Fatalf("cut at %d: got %q", i, got)
		}
	}
	must(t, note(dir, src, []string{"d"}, at(10)))
	if got := List(dir, src); !slices.Equal(got, []string{"d"}) {
		t.Errorf("after damage: got %q", got)
	}
}

func TestBounds(t *testing.T) {
	var list []use
	for i := range maxPaths + 10 {
		list = append(list, use{path: fmt.Sprintf("f%06d", i), last: uint64(i), count: 1})
	}
	got, err := decode(encode(list))
	if err != nil || len(got) != maxPaths || got[0].path != "f000010" {
		t.Errorf("got %d paths, %v", len(got), err)
	}
	long := strings.Repeat("a/", 20_000)
	list = list[:0]
	for i := range 1000 {
		list = append(list, use{path: fmt.Sprintf("%s%06d", long, i), last: uint64(i), count: 1})
	}
	b := encode(list)
	got, err = decode(b)
	if err != nil || len(b) > maxBytes || len(got) < 300 || !strings.HasSuffix(got[len(got)-1].path, "000999") {
		t.Errorf("got %d paths in %d bytes, %v", len(got), len(b), err)
	}
}

func TestTrees(t *testing.T) {
	dir := t.TempDir()
	for i := range maxTrees {
		name := filepath.Join(dir, fmt.Sprint("old", i))
		must(t, os.WriteFile(name, nil, 0o600))
		must(t, os.Chtimes(name, at(int64(1000+i)), at(int64(1000+i))))
	}
	must(t, note(dir, t.TempDir(), []string{"a"}, at(10)))
	list, err := os.ReadDir(dir)
	must(t, err)
	if _, err := os.Stat(filepath.Join(dir, "old0")); len(list) != maxTrees || err == nil {
		t.Errorf("%d records, the oldest among them: %v", len(list), err == nil)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(nil))
	f.Add(encode([]use{{"a", 1, 2}, {"b/c", 3, 4}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		// With a right checksum, so that what is behind it is reached.
		if len(b) >= len(magic)+sum {
			b = append(b[:len(b)-sum:len(b)-sum], checksum(b[:len(b)-sum])...)
		}
		list, err := decode(b)
		if err != nil {
			return
		}
		again, err := decode(encode(slices.Clone(list)))
		if err != nil || !slices.Equal(list, again) {
			t.Errorf("%v becomes %v, %v", list, again, err)
		}
	})
}
