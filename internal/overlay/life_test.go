package overlay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
)

func TestCloseEnds(t *testing.T) {
	f := view(t, sample(t), func(c *Config) { c.Memory = 1 })
	d := root(t, f)
	file := open(t, d, "n", fresh)
	write(t, file, data(200<<10, 1), 0)
	check(t, f.Close())
	if _, err := file.WriteAt([]byte("x"), 0); !errors.Is(err, vfs.EBADF) {
		t.Errorf("write: got %v", err)
	}
	if err := d.Mkdir("m"); !errors.Is(err, vfs.EBADF) {
		t.Errorf("make: got %v", err)
	}
	if err := errors.Join(file.Close(), d.Close()); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := file.Close(); !errors.Is(err, vfs.EBADF) {
		t.Errorf("close again: got %v", err)
	}
	left, err := os.ReadDir(f.cfg.Spool)
	if err != nil || len(left) > 0 {
		t.Errorf("left in the spool: %v, %v", left, err)
	}
	if _, _, err := f.Changes(context.Background(), nil); err == nil {
		t.Error("a view that is closed tells changes")
	}
}

// TestManyAtOnce has many goroutines use one view, each with handles of its own.
func TestManyAtOnce(t *testing.T) {
	m := sample(t)
	f := view(t, m, func(c *Config) { c.Memory = 100 << 10 })
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			d := root(t, f)
			defer d.Close()
			name := fmt.Sprintf("n%d", i)
			for j := range 20 {
				file, err := d.Open(name, fresh)
				if err != nil {
					t.Error(err)
					return
				}
				b := data(20000, byte(i))
				if _, err := file.WriteAt(b, uint64(j*10000)); err != nil {
					t.Error(err)
				}
				got := make([]byte, len(b))
				if _, err := file.ReadAt(got, uint64(j*10000)); err != nil || !bytes.Equal(got, b) {
					t.Errorf("read back: %v", err)
				}
				g, err := d.Open("g", vfs.OpenRead)
				if err != nil {
					t.Error(err)
					return
				}
				all := make([]byte, 300<<10)
				if n, err := g.ReadAt(all, 0); err != nil || !bytes.Equal(all[:n], data(300<<10, 11)) {
					t.Errorf("read g: %d, %v", n, err)
				}
				_, lerr := d.ReadDir()
				if err := errors.Join(lerr, file.Close(), g.Close()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	delta, chunks := collect(t, f)
	if len(delta.Files) != 9 || len(chunks) == 0 { // the directory too
		t.Errorf("%d files changed", len(delta.Files))
	}
}

// TestFilesAreForgotten opens many files in turn: those that did not change are not remembered for ever, those that did are.
func TestFilesAreForgotten(t *testing.T) {
	m := newImage()
	var list []tree.Entry
	for i := range 3 * maxIdle {
		list = append(list, tree.Entry{Name: fmt.Sprintf("n%06d", i), Kind: tree.KindFile, Ino: uint64(100 + i), Nlink: 1, Flags: rwx})
	}
	m.root = tree.Entry{Kind: tree.KindDir, Ino: 7, Nlink: 2, Flags: rwx, Dir: m.put(t, list)}
	f := view(t, m, nil)
	d := root(t, f)
	held := open(t, d, list[1].Name, vfs.OpenRead)
	for i, e := range list {
		file := open(t, d, e.Name, rw)
		if i%1000 == 0 {
			write(t, file, []byte("x"), 0)
		}
		check(t, file.Close())
	}
	if n := len(f.inodes); n > maxIdle+100 {
		t.Errorf("%d files are remembered", n)
	}
	if _, err := held.Stat(); err != nil || f.inodes[101] == nil {
		t.Errorf("a file that is open is forgotten, %v", err)
	}
	delta, _ := collect(t, f)
	if want := (len(list) + 999) / 1000; len(delta.Files) != want {
		t.Errorf("%d files changed, want %d", len(delta.Files), want)
	}
}

// TestOtherTrees moves between views.
func TestOtherTrees(t *testing.T) {
	a, b := root(t, view(t, sample(t), nil)), root(t, view(t, sample(t), nil))
	for path, want := range map[string]vfs.Errno{"f": vfs.EXDEV, "d/..": vfs.EBUSY, "": vfs.ENOENT} {
		if err := a.Rename(path, b, "n"); vfs.ErrnoOf(err) != want {
			t.Errorf("rename %q: got %v, want %v", path, err, want)
		}
	}
	if err := a.Link("f", vfs.Dir(nil), "n"); !errors.Is(err, vfs.EXDEV) {
		t.Errorf("link: got %v", err)
	}
}
