package migrate

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/clonecloud/clonecloud/internal/wasi"
)

// entry is the i-th entry of a test, with a response of n bytes.
func entry(i, n int) Entry {
	e := Entry{Op: wasi.Op(1 + i%int(wasi.NumOps-1)), Effect: i%3 == 0, Response: bytes.Repeat([]byte{byte(i)}, n)}
	e.Digest[0], e.Digest[31] = byte(i), byte(i>>8)
	return e
}

// TestJournal compares journals of all kinds of limits with a slice.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		cfg := JournalConfig{
			Memory: rapid.SampledFrom([]int64{1, 100, 1000, 1 << 20}).Draw(t, "memory"),
			Limit:  rapid.SampledFrom([]int64{50, 500, 5000, 1 << 20}).Draw(t, "limit"),
			Dir:    rapid.SampledFrom([]string{dir, filepath.Join(dir, "missing")}).Draw(t, "dir"),
		}
		j := NewJournal(cfg)
		defer j.Close()
		var want []Entry
		var size int64
		for i := range rapid.IntRange(0, 60).Draw(t, "entries") {
			e := entry(i, rapid.SampledFrom([]int{0, 1, 30, 400}).Draw(t, "size"))
			n := int64(recordHeader + len(e.Response))
			room := size+n <= cfg.Limit
			if got := j.Room(len(e.Response)); got != room {
				t.Fatalf("room for %d bytes behind %d of %d: %v", n, size, cfg.Limit, got)
			}
			if err := j.Append(e); room != (err == nil) || !room && !errors.Is(err, ErrJournalFull) {
				t.Fatalf("append %d bytes behind %d of %d: %v", n, size, cfg.Limit, err)
			}
			if room {
				want = append(want, e)
				size += n
			}
		}
		if j.Len() != len(want) || j.Size() != size || j.Remaining() != len(want) {
			t.Fatalf("length %d, size %d, remaining %d; want %d, %d", j.Len(), j.Size(), j.Remaining(), len(want), size)
		}
		if last, ok := j.Last(); ok != (len(want) > 0) || ok && cmp.Diff(want[len(want)-1], last) != "" {
			t.Fatalf("last is %v, %v", last, ok)
		}
		for i, w := range want {
			if got, any := j.Harmless(), slices.ContainsFunc(want[i:], func(e Entry) bool { return e.Effect }); got == any {
				t.Fatalf("harmless from entry %d: %v", i, got)
			}
			e, err := j.Next()
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(w, e, cmp.Comparer(func(a, b []byte) bool { return bytes.Equal(a, b) })); d != "" {
				t.Fatalf("entry %d: %s", i, d)
			}
		}
		if _, err := j.Next(); err != io.EOF || !j.Harmless() || j.Remaining() != 0 {
			t.Fatalf("end: %v, %d remaining", err, j.Remaining())
		}
	})
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestJournalDamaged takes bytes away from the file of a journal, or changes them.
func TestJournalDamaged(t *testing.T) {
	const entries, each = 20, 100
	for _, c := range []struct {
		name   string
		damage func(f *os.File) error
	}{
		{"empty", func(f *os.File) error { return f.Truncate(0) }},
		{"header", func(f *os.File) error { return f.Truncate(10) }},
		{"response", func(f *os.File) error { return f.Truncate(recordHeader + 1) }},
		{"border", func(f *os.File) error { return f.Truncate(3 * (recordHeader + each)) }},
		{"length", func(f *os.File) error { _, err := f.WriteAt([]byte{0xff, 0xff, 0xff, 0xff}, 0); return err }},
		{"longer", func(f *os.File) error { _, err := f.WriteAt([]byte{0xff, 0x03}, recordHeader+each); return err }},
		{"closed", func(f *os.File) error { return f.Close() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := NewJournal(JournalConfig{Memory: 3 * each, Dir: t.TempDir()})
			defer j.Close()
			for i := range entries {
				if err := j.Append(entry(i, each)); err != nil {
					t.Fatal(err)
				}
			}
			if j.file == nil {
				t.Fatal("nothing was spilled")
			}
			if err := c.damage(j.file); err != nil {
				t.Fatal(err)
			}
			var err error
			n := 0
			for ; err == nil && n <= entries; n++ {
				_, err = j.Next()
			}
			if !errors.Is(err, errJournalBad) || errors.Is(err, io.EOF) {
				t.Errorf("after %d entries: %v, want the file's damage", n, err)
			}
		})
	}
}
