package overlay

import (
	"bytes"
	"testing"

	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/vfs/vfstest"
)

func TestSuiteOverNothing(t *testing.T) {
	vfstest.Run(t, func(t *testing.T) vfs.FS { return view(t, empty(t), nil) })
}

// inner shows a directory of a tree as a tree.
type inner struct {
	fs   *FS
	path string
}

func (i inner) Root() (vfs.Dir, error) {
	d, err := i.fs.Root()
	if err != nil {
		return nil, err
	}
	f, err := d.Open(i.path, vfs.OpenRead|vfs.OpenDirectory)
	if err != nil {
		return nil, err
	}
	return f.(vfs.Dir), nil
}

// TestSuiteOverTree runs the suite in a directory of a pinned tree whose names were all removed.
func TestSuiteOverTree(t *testing.T) {
	vfstest.Run(t, func(t *testing.T) vfs.FS {
		m := newImage()
		names := []string{"a", "b", "c", "d", "e", "f", "l", "x", "n", "nowhere", "loop", "s"}
		var list []tree.Entry
		for i, n := range names {
			e := tree.Entry{Name: n, Ino: uint64(20 + i), Flags: rwx, Nlink: 1, Mode: 0o644, Mtime: 5}
			if i%3 == 0 {
				e.Kind, e.Nlink = tree.KindDir, 2
				e.Dir = m.put(t, nil)
			} else {
				e.Kind = tree.KindFile
				m.file(t, &e, bytes.Repeat([]byte(n), 100*i), i%2 == 0)
			}
			list = append(list, e)
		}
		sub := tree.Entry{Name: "sub", Kind: tree.KindDir, Ino: 8, Nlink: 6, Flags: rwx, Size: 4096, Dir: m.put(t, list)}
		m.root = tree.Entry{Kind: tree.KindDir, Ino: 7, Nlink: 3, Size: 4096, Flags: rwx, Dir: m.put(t, []tree.Entry{sub})}
		f := view(t, m, func(c *Config) { c.Memory = 1 })
		sh, err := vfstest.NewShell(inner{f, "sub"})
		if err != nil {
			t.Fatal(err)
		}
		defer sh.Close()
		for i, n := range names {
			op := "unlink "
			if i%3 == 0 {
				op = "rmdir "
			}
			if got := sh.Do(op + n); got != "" {
				t.Fatalf("%s%s: %s", op, n, got)
			}
		}
		return inner{f, "sub"}
	})
}
