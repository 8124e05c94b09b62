package local

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/clonecloud/clonecloud/internal/vfs"
)

// through is a writer that stands before a file.
type through struct {
	f    *os.File
	seen bytes.Buffer
}

func (w *through) OSFile() *os.File { return w.f }

func (w *through) Write(b []byte) (int, error) {
	w.seen.Write(b)
	return w.f.Write(b)
}

// TestStreamThrough holds a writer before a file to what the file is, and writes through it.
func TestStreamThrough(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := &through{f: f}
	s := newStream(nil, w)
	if got := s.fileType(); got != vfs.TypeRegular {
		t.Errorf("type %v, want that of a regular file", got)
	}
	if n, err := s.write([]byte("text")); n != 4 || err != nil || w.seen.String() != "text" {
		t.Errorf("wrote %d, %v; the writer has seen %q", n, err, w.seen.String())
	}
	if got := newStream(nil, &bytes.Buffer{}).fileType(); got != vfs.TypeUnknown {
		t.Errorf("type of a buffer: %v", got)
	}
}
