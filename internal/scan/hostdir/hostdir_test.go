package hostdir

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/clonecloud/clonecloud/internal/tree"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAccessFlags(t *testing.T) {
	file := func(mode uint32) *Stat {
		return &Stat{Kind: tree.KindFile, Mode: mode, UID: 10, GID: 20}
	}
	const r, w, s = tree.Readable, tree.Writable, tree.Searchable
	for _, c := range []struct {
		name string
		a    Access
		s    *Stat
		want tree.Flags
	}{
		{"owner", Access{uid: 10}, file(0o640), r | w},
		{"owner_less_than_others", Access{uid: 10}, file(0o077), 0},
		{"group", Access{uid: 11, groups: []uint32{5, 20}}, file(0o651), r | s},
		{"group_less_than_others", Access{uid: 11, groups: []uint32{20}}, file(0o607), 0},
		{"others", Access{uid: 11, groups: []uint32{5}}, file(0o663), w | s},
		{"superuser", Access{all: true}, file(0), r | w},
		{"superuser_executable", Access{all: true}, file(0o100), r | w | s},
		{"superuser_directory", Access{all: true}, &Stat{Kind: tree.KindDir}, r | w | s},
		{"read_only_system", Access{all: true, readOnly: true}, file(0o777), r | s},
		{"no_bits", Access{system: true}, file(0), r | w | s},
		{"no_bits_sealed", Access{system: true}, &Stat{Kind: tree.KindFile, Sealed: true}, r | s},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.a.Flags(c.s); got != c.want {
				t.Errorf("got %b, want %b", got, c.want)
			}
		})
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("12345"), 0o640))
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	must(t, os.Symlink("sub", filepath.Join(dir, "link")))
	h, err := Open(dir)
	must(t, err)
	got := map[string]tree.Kind{}
	var b Buffer
	must(t, h.Read(&b, func(name []byte, ino uint64, kind tree.Kind) error {
		s, err := h.LstatRead(name)
		if err != nil {
			return err
		}
		if kind != tree.KindInvalid && kind != s.Kind || ino != s.Ino || ino == 0 {
			t.Errorf("%s: listed as %d of kind %d, is %+v", name, ino, kind, s)
		}
		got[string(name)] = s.Kind
		return nil
	}))
	if len(got) != 3 || got["file"] != tree.KindFile || got["sub"] != tree.KindDir || got["link"] != tree.KindSymlink {
		t.Errorf("got %v", got)
	}
	if s, err := h.Readlink("link"); err != nil || s != "sub" {
		t.Errorf("Readlink = %q, %v", s, err)
	}
	stop := errors.New("enough")
	other, err := h.Descend(nil)
	must(t, err)
	if err := other.Read(&b, func([]byte, uint64, tree.Kind) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want the caller's error", err)
	}
	must(t, errors.Join(other.Close(), h.Close()))
}

func TestNoLinkIsFollowed(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "file"), nil, 0o600))
	must(t, os.Symlink(outside, filepath.Join(dir, "dir")))
	must(t, os.Symlink(filepath.Join(outside, "file"), filepath.Join(dir, "file")))
	must(t, os.Mkdir(filepath.Join(dir, "real"), 0o755))
	must(t, os.Symlink("real", filepath.Join(dir, "inside")))
	h, err := Open(dir)
	must(t, err)
	defer h.Close()
	for _, name := range []string{"dir", "inside"} {
		if d, err := h.OpenDir(name); !IsGone(err) {
			t.Errorf("OpenDir(%s) = %v, %v", name, d, err)
		}
	}
	if f, _, err := h.OpenFile("file"); !IsGone(err) {
		t.Errorf("OpenFile = %v, %v", f, err)
	}
	if d, err := h.Descend([]string{"dir", "below"}); !IsGone(err) {
		t.Errorf("Descend = %v, %v", d, err)
	}
	if d, err := h.Descend([]string{"real", "missing"}); !IsGone(err) {
		t.Errorf("Descend = %v, %v", d, err)
	}
}

func TestExtents(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	must(t, err)
	defer f.Close()
	for _, at := range []int64{0, 1 << 30, 2 << 30} {
		_, err := f.WriteAt([]byte("x"), at)
		must(t, err)
	}
	extents, data, ok := Extents(f, 2<<30+1, 10)
	if !ok || extents == 0 || extents > 3 || data == 0 {
		t.Errorf("got %d, %d, %v", extents, data, ok)
	}
	if _, _, ok := Extents(f, 2<<30+1, 0); ok {
		t.Error("no extents were found")
	}
	if extents, data, ok := Extents(f, 0, 0); !ok || extents != 0 || data != 0 {
		t.Errorf("empty: got %d, %d, %v", extents, data, ok)
	}
}

// TestFiles reads from more files than are kept open, and from one that is closed while it is read.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	var o Files
	read := func(i int) (string, error) {
		name := filepath.Join(dir, string(rune('a'+i%200)))
		b, err := o.Read(FileKey{Ino: uint64(i)}, 1, 3, func() (*os.File, error) { return os.Open(name) })
		return string(b), err
	}
	for i := range 2 * MaxOpen {
		must(t, os.WriteFile(filepath.Join(dir, string(rune('a'+i))), []byte("12345"), 0o600))
	}
	for range 2 {
		for i := range 2 * MaxOpen {
			if b, err := read(i); err != nil || b != "234" {
				t.Fatalf("file %d: got %q, %v", i, b, err)
			}
		}
	}
	if n := len(o.files); n != MaxOpen {
		t.Errorf("%d files are open, want %d", n, MaxOpen)
	}
	x, err := o.take(FileKey{Ino: 1000}, func() (*os.File, error) { return os.Open(filepath.Join(dir, "a")) })
	must(t, err)
	o.Close()
	if _, err := x.f.Stat(); err != nil {
		t.Errorf("closed while it was read: %v", err)
	}
	o.give(x)
	if _, err := x.f.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	if _, err := read(1); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}
