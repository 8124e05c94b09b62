//go:build linux || darwin

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/reconcile/disk"
	"github.com/clonecloud/clonecloud/internal/reconcile/plan"
	"github.com/clonecloud/clonecloud/internal/tree"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// realDir is a directory of the machine, with its plans.
type realDir struct {
	t          tester
	dir, state string
}

func newReal(t *testing.T) *realDir { return &realDir{t, t.TempDir(), t.TempDir()} }

func readRealLink(d disk.Folder, name string) string {
	f, err := d.Handle()
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	buf := make([]byte, tree.MaxTarget)
	n, err := unix.Readlinkat(int(f.Fd()), name, buf)
	if err != nil {
		return err.Error()
	}
	return string(buf[:n])
}

func (r *realDir) pin() *image {
	r.t.Helper()
	top, err := disk.OpenTop(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	defer top.Close()
	return pin(r.t, top, readRealLink)
}

func (r *realDir) path(name string) string { return filepath.Join(r.dir, filepath.FromSlash(name)) }

func (r *realDir) write(name, text string) {
	r.t.Helper()
	err := os.MkdirAll(filepath.Dir(r.path(name)), 0o777)
	if err == nil {
		err = os.WriteFile(r.path(name), []byte(text), 0o666)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *realDir) config(base Base) Config {
	return Config{Dir: r.dir, State: r.state, Base: base, Log: r.t.Logf, Now: func() time.Time { return time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC) }}
}

func (r *realDir) apply(cfg Config, d *tree.Delta, chunks map[tree.ID][]byte) *Result {
	r.t.Helper()
	p, err := Prepare(context.Background(), cfg, d, source(chunks))
	if err != nil {
		r.t.Fatal(err)
	}
	res, err := p.Apply(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return res
}

func (r *realDir) clean() {
	r.t.Helper()
	for _, dir := range []string{r.dir, r.state} {
		list, err := os.ReadDir(dir)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, e := range list {
			if dir == r.state || strings.HasPrefix(e.Name(), plan.StagingPrefix) {
				r.t.Errorf("%s is left in %s", e.Name(), dir)
			}
		}
	}
}

// want compares the tree with lines of a name and what is in it.
func (r *realDir) want(lines ...string) {
	r.t.Helper()
	img := r.pin()
	var got []string
	for p, e := range img.byPath {
		switch e.Kind {
		case tree.KindFile:
			got = append(got, p+"="+string(img.data[e.Ino]))
		case tree.KindSymlink:
			got = append(got, p+"->"+e.Target)
		case tree.KindDir:
			got = append(got, p+"/")
		}
	}
	slices.Sort(got)
	lines = append(lines, "/")
	slices.Sort(lines)
	if !slices.Equal(got, lines) {
		r.t.Errorf("got\n%s\n\nwant\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
}

// TestRealTree applies random changes to random trees on the disk, and reads files without a name.
func TestRealTree(t *testing.T) {
	var unnamed int
	root := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(root, "")
		if err != nil {
			t.Fatal(err)
		}
		r := &realDir{t, filepath.Join(dir, "tree"), filepath.Join(dir, "state")}
		r.write("a/b.txt", "one")
		r.write("a/c/d", "two and more than a block of bytes")
		r.write("e.txt", strings.Repeat("three", 10))
		if err := errors.Join(os.Link(r.path("e.txt"), r.path("a/f")), os.Symlink("a/../e.txt", r.path("link")), os.Mkdir(r.path("d"), 0o777)); err != nil {
			t.Fatal(err)
		}
		base := r.pin()
		m := newModel(base)
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			m.step(t)
		}
		d, chunks := m.delta()
		res := r.apply(r.config(base), d, chunks)
		now := r.pin()
		if got, want := now.picture(false), m.picture(); got != want {
			t.Fatalf("got\n%s\n\nwant\n%s", got, want)
		}
		m.checkTimes(t, now)
		for ino := range m.open {
			if len(m.reach()[ino]) > 0 {
				continue
			}
			unnamed++
			f, err := res.OpenUnnamed(ino, os.O_RDONLY)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(f); err != nil || string(got) != string(m.nodes[ino].data) {
				t.Fatalf("got %q, %v, want %q", got, err, m.nodes[ino].data)
			}
			_ = f.Close()
		}
		if err := res.Close(); err != nil {
			t.Fatal(err)
		}
		r.clean()
	})
	if unnamed == 0 && !testing.Short() {
		t.Error("no file was without a name")
	}
}

// oneFile is a delta that replaces the contents of a file, from at on.
func oneFile(base *image, path string, at int, text string) (*tree.Delta, map[tree.ID][]byte) {
	e := base.byPath[path]
	b := []byte(text)
	f := tree.FileChange{Ino: e.Ino, Kind: tree.KindFile, Written: true, Size: uint64(at + len(b))}
	if at > 0 {
		f.Pieces = append(f.Pieces, tree.Piece{Kept: true, Size: uint64(at)})
	}
	f.Pieces = append(f.Pieces, tree.Piece{Size: uint64(len(b)), Chunk: tree.IDOf(b)})
	return &tree.Delta{Bases: []tree.Base{{Ino: e.Ino, Path: path}}, Files: []tree.FileChange{f}}, map[tree.ID][]byte{tree.IDOf(b): b}
}

func TestOpenHandlesAndHardLinksStay(t *testing.T) {
	r := newReal(t)
	r.write("log", "old lines\n")
	if err := os.Link(r.path("log"), r.path("same")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(r.path("log"), 0o640); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(r.path("log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	base := r.pin()
	d, chunks := oneFile(base, "log", len("old lines\n"), "new lines\n")
	d.Files[0].Mtime, d.Files[0].Atime = 1_600_000_000e9+7, 1_500_000_000e9
	r.apply(r.config(base), d, chunks)
	r.want("log=old lines\nnew lines\n", "same=old lines\nnew lines\n")
	if got, err := io.ReadAll(f); err != nil || string(got) != "old lines\nnew lines\n" {
		t.Errorf("the open file reads %q, %v", got, err)
	}
	if fi, _ := f.Stat(); fi.Mode().Perm() != 0o640 || fi.ModTime().UnixNano() != 1_600_000_000e9+7 {
		t.Errorf("got mode %v, time %v", fi.Mode(), fi.ModTime())
	}
	r.clean()
}

func TestHolesArePunched(t *testing.T) {
	r := newReal(t)
	text := strings.Repeat("0123456789abcdef", 1<<14) // 256 KiB
	r.write("f", text)
	base := r.pin()
	e := base.byPath["f"]
	d := &tree.Delta{Bases: []tree.Base{{Ino: e.Ino, Path: "f"}}, Files: []tree.FileChange{{
		Ino: e.Ino, Kind: tree.KindFile, Written: true, Size: 1 << 30,
		Pieces: []tree.Piece{{Kept: true, Size: 64 << 10}, {Size: 64 << 10}, {Kept: true, Size: 64 << 10}, {Size: 1<<30 - 192<<10}},
	}}}
	r.apply(r.config(base), d, nil)
	f, err := os.Open(r.path("f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, 256<<10)
	if _, err := f.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	zeros := strings.Repeat("\x00", 64<<10)
	if want := text[:64<<10] + zeros + text[128<<10:192<<10] + zeros; string(got) != want {
		t.Error("the bytes are others")
	}
	var st unix.Stat_t
	if err := unix.Stat(r.path("f"), &st); err != nil || st.Size != 1<<30 || st.Blocks*512 > 512<<10 {
		t.Errorf("%d bytes on disk of %d, %v", st.Blocks*512, st.Size, err)
	}
}

// TestPolicies has one conflict of each sort under each policy.
// TestAppendToAppended: bytes that the clone kept are known to be the same if the device only appended.
// hooked tells of each call before it is made.
// TestSymlinkSwap puts a link to the outside in the place of a directory at each call in turn: nothing outside is touched,
// and nothing of what the clone wrote is lost.
// stop makes a plan count, and leaves it where a crash would.
// TestStagingFolderOfOthers: what others put there is given a name outside.
func BenchmarkApply(b *testing.B) {
	pieceSize = 64 << 10
	defer func() { pieceSize = 8 }()
	for _, n := range []int{1, 1000} {
		for _, form := range []string{"new", "changed"} {
			b.Run(fmt.Sprintf("%s/%d", form, n), func(b *testing.B) {
				r := &realDir{b, b.TempDir(), b.TempDir()}
				text := strings.Repeat("x", 4096)
				for i := range n {
					r.write(fmt.Sprintf("d%d/f%d", i/100, i), "old"+text)
				}
				for b.Loop() {
					b.StopTimer()
					base := r.pin()
					m := newModel(base)
					text += "y"
					for i := range n {
						dir := m.nodes[base.byPath[fmt.Sprintf("d%d", i/100)].Ino]
						if form == "new" {
							dir.names[fmt.Sprintf("f%d", i)] = m.add(&node{kind: tree.KindFile, data: []byte(text)})
						} else {
							m.nodes[dir.names[fmt.Sprintf("f%d", i)]].data = []byte(text)
						}
					}
					d, chunks := m.delta()
					b.StartTimer()
					_ = r.apply(r.config(base), d, chunks).Close()
				}
			})
		}
	}
}
