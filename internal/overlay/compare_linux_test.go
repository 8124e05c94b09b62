package overlay

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/vfs/vfstest"
	"pgregory.net/rapid"
)

// grow fills a directory with files at random. modes says whether some of them cannot be used by others.
func grow(t testing.TB, rng *rand.Rand, dir string, depth int, modes bool) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	mode := func(all fs.FileMode) fs.FileMode {
		if !modes || rng.IntN(3) > 0 {
			return all
		}
		low := fs.FileMode(rng.IntN(8))
		return 0o700 | low<<3 | low
	}
	var file string
	for _, n := range []string{"a", "b", "c", "d", "e", "f"} {
		path := filepath.Join(dir, n)
		switch k := rng.IntN(10); {
		case k < 3 && depth > 0:
			check(os.Mkdir(path, 0o755))
			grow(t, rng, path, depth-1, modes)
			check(os.Chmod(path, mode(0o777)))
		case k < 6:
			data := bytes.Repeat([]byte("0123456789abcdef"), rng.IntN(8))
			if rng.IntN(4) == 0 {
				data = make([]byte, rng.IntN(300<<10))
				for i := range data {
					data[i] = byte(rng.Uint32())
				}
			}
			check(os.WriteFile(path, data, 0o644))
			check(os.Chmod(path, mode(0o666)))
			file = path
		case k < 8:
			targets := []string{"a", "b", "../a", "c/d", "../../b", "./c/", "e", "..", ".", "/etc", "a/../b", "f/.", "c//d/../.."}
			check(os.Symlink(targets[rng.IntN(len(targets))], path))
		case k < 9 && file != "":
			check(os.Link(file, path))
		}
	}
	if rng.IntN(4) == 0 {
		check(os.WriteFile(filepath.Join(dir, "\xff\xfe"), []byte("x"), 0o644))
	}
	if rng.IntN(6) == 0 {
		check(syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644))
	}
}

// TestAgainstHost does the same at random on a directory and on a view of its image. All results must be equal, and the
// delta must lead from the old directory to the new one.
func TestAgainstHost(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) { against(t, r, false) })
}

// TestAgainstHostWithoutRights is the same for a user who may not do everything.
func TestAgainstHostWithoutRights(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	rapid.Check(t, func(r *rapid.T) { against(t, r, true) })
}

const nobody = 65534

func against(t *testing.T, r *rapid.T, rights bool) {
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var flags func(fs.FileInfo) tree.Flags
	if rights {
		flags = func(fi fs.FileInfo) (f tree.Flags) {
			for i, x := range []tree.Flags{tree.Searchable, tree.Writable, tree.Readable} {
				if fi.Mode().Perm()&(1<<i) != 0 {
					f |= x
				}
			}
			return f
		}
	}
	rng := draw(r)
	grow(t, rng, dir, 2, rights)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	old, m := modelOf(t, dir), imageOf(t, dir, flags)
	f := view(t, m, func(c *Config) {
		c.Memory = pick(rng, uint64(1), 100, 1<<20)
		if rights {
			c.Memory = 1 << 30 // the other user may not make a spool
		}
	})
	host, err := vfs.OpenHost(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	become := func(id int) {
		if err := syscall.Setfsgid(id); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Setfsuid(id); err != nil {
			t.Fatal(err)
		}
	}
	if rights {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		become(nobody)
		defer become(0)
	}
	run(t, r, rng, dir, host, f)
	if rights {
		become(0)
	}
	d, chunks := collect(t, f)
	if d != nil {
		if err := old.apply(d, chunks); err != nil {
			r.Fatal(err)
		}
	}
	if err := compare(old, modelOf(t, dir)); err != nil {
		r.Fatalf("delta leads elsewhere: %v", err)
	}
}

// run does operations on both trees. What needs the device is not done on the host.
func run(t *testing.T, r *rapid.T, rng *rand.Rand, dir string, host, over vfs.FS) {
	a, err := vfstest.NewShell(host)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := vfstest.NewShell(over)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	hr, _ := host.Root()
	defer hr.Close()
	or, _ := over.Root()
	var done []string
	for range 80 {
		line := (&drawer{rng, paths(dir)}).op()
		done = append(done, line)
		var x, y string
		if path, ok := strings.CutPrefix(line, "full "); ok {
			x, y = full(hr, path), full(or, path)
		} else if y = b.Do(line); y == "-> EIO" {
			continue
		} else {
			x = a.Do(line)
		}
		if x != y {
			for i := range done {
				done[i] = done[i][:min(len(done[i]), 80)]
			}
			r.Fatalf("after\n%s\nhost %.200q, view %.200q", strings.Join(done, "\n"), x, y)
		}
	}
}

// full describes a path in full: with the links of a directory, and all bytes of a file.
func full(d vfs.Dir, path string) string {
	st, err := d.StatPath(path, true)
	if err != nil {
		return vfs.ErrnoOf(err).String()
	}
	text := fmt.Sprint(st.Type, st.Nlink)
	if st.Type != vfs.TypeRegular {
		return text
	}
	f, err := d.Open(path, vfs.OpenRead|vfs.OpenFollow)
	if err != nil {
		return vfs.ErrnoOf(err).String()
	}
	defer f.Close()
	buf := make([]byte, st.Size+10)
	n, err := f.ReadAt(buf, 0)
	return fmt.Sprint(text, st.Size, n, err, tree.IDOf(buf[:n]))
}

// TestTimesAgainstHost compares which times can be set, and what comes of it.
func TestTimesAgainstHost(t *testing.T) {
	dir := t.TempDir()
	check(t, os.MkdirAll(filepath.Join(dir, "d", "e"), 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o644))
	for name, target := range map[string]string{"l": "f", "dir": "d/", "dang": "none", "loop": "loop", "out": "../x", "file": "f/"} {
		check(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	over := root(t, view(t, imageOf(t, dir, nil), nil))
	h, err := vfs.OpenHost(dir)
	check(t, err)
	defer h.Close()
	host, err := h.Root()
	check(t, err)
	defer host.Close()
	five, six, late := uint64(5e9), uint64(6e9), uint64(1<<63)
	for _, path := range []string{"f", "f/", "l", "l/", "d", "d/", "d/e/..", "d/..", "..", ".", "dir", "dir/", "dang", "dang/", "none", "none/", "none/x", "f/x", "loop", "out", "file"} {
		for _, follow := range []bool{false, true} {
			for i, tm := range []vfs.Times{{}, {Atime: &five}, {Mtime: &six}, {Atime: &six, Mtime: &five}, {Mtime: &late}, {Atime: &late}} {
				a, b := host.SetTimesPath(path, follow, tm), over.SetTimesPath(path, follow, tm)
				if vfs.ErrnoOf(a) != vfs.ErrnoOf(b) {
					t.Errorf("%q, %v, %d: host %v, view %v", path, follow, i, a, b)
				}
				x, aerr := host.StatPath(path, follow)
				y, berr := over.StatPath(path, follow)
				if vfs.ErrnoOf(aerr) != vfs.ErrnoOf(berr) || x.Mtime != y.Mtime {
					t.Errorf("%q, %v, %d: host %d, %v, view %d, %v", path, follow, i, x.Mtime, aerr, y.Mtime, berr)
				}
			}
		}
	}
}

// draw makes a generator of even choices: those of rapid are drawn to the first and the smallest.
func draw(r *rapid.T) *rand.Rand {
	var seed [32]byte
	for i := range 4 {
		binary.LittleEndian.PutUint64(seed[8*i:], rapid.Uint64().Draw(r, "seed"))
	}
	seed = sha256.Sum256(seed[:])
	return rand.New(rand.NewChaCha8(seed))
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

// paths lists what is in a directory.
func paths(dir string) (list []string) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, path); err == nil && rel != "." && utf8.ValidString(rel) {
			list = append(list, rel)
		}
		return nil
	})
	return list
}

// drawer draws operations, most of them on what is there.
type drawer struct {
	*rand.Rand
	there []string
}

func (d *drawer) path() string {
	parts := []string{"a", "b", "c", "d", "e", "f", "a", "b", "c", "d", "e", "f", ".", "..", ""}
	p := pick(d.Rand, "a", "b", "c", "d", "e", "f")
	switch k := d.IntN(20); {
	case k < 12 && len(d.there) > 0:
		p = pick(d.Rand, d.there...)
	case k < 15 && len(d.there) > 0:
		p = pick(d.Rand, d.there...) + "/" + pick(d.Rand, parts...)
	case k < 17:
		p += "/" + pick(d.Rand, parts...) + "/" + pick(d.Rand, parts...)
	case k < 19:
		return "s:" + pick(d.Rand, parts[:13]...)
	}
	return p
}

func (d *drawer) op() string {
	p := d.path
	flags := ""
	for _, c := range "rwcxtdf" {
		if d.IntN(3) == 0 {
			flags += string(c)
		}
	}
	n := func() int { return d.IntN(10) }
	big := func() int { return pick(d.Rand, 0, 1, 5, 100, 4095, 65535, 65536, 70000, 200000) }
	h := pick(d.Rand, "h1", "h2")
	return pick(d.Rand,
		func() string { return "mkdir " + p() },
		func() string { return "rmdir " + p() },
		func() string { return "unlink " + p() },
		func() string { return "rename " + p() + " " + p() },
		func() string { return "rename " + p() + " " + p() },
		func() string { return "link " + p() + " " + p() },
		func() string { return "symlink " + strings.TrimPrefix(p(), "s:") + " " + p() },
		func() string { return "readlink " + p() },
		func() string { return "stat " + p() },
		func() string { return "lstat " + p() },
		func() string { return "ls " + p() },
		func() string { return "cat " + p() },
		func() string { return "full " + strings.TrimPrefix(p(), "s:") },
		func() string { return "full " + strings.TrimPrefix(p(), "s:") },
		func() string { return fmt.Sprint("put ", p(), " ", strings.Repeat("x", n()+1)) },
		func() string { return "try " + flags + " " + p() },
		func() string { return "sub s " + p() },
		func() string { return "open " + h + " " + flags + " " + p() },
		func() string { return "open " + h + " rwf " + p() },
		func() string { return "open " + h + " rwcf " + p() },
		func() string { return fmt.Sprint("read ", h, " ", big(), " ", n()) },
		func() string { return fmt.Sprint("read ", h, " ", 0, " ", big()) },
		func() string { return fmt.Sprint("write ", h, " ", big(), " ", n(), "text") },
		func() string { return fmt.Sprint("write ", h, " ", big(), " ", strings.Repeat("long", big()/4)) },
		func() string { return fmt.Sprint("write ", h, " 3") },
		func() string { return fmt.Sprint("append ", h, " tail", n()) },
		func() string { return fmt.Sprint("append ", h) },
		func() string { return fmt.Sprint("size ", h, " ", big()) },
		func() string { return fmt.Sprint("size ", h, " ", n()) },
		func() string { return fmt.Sprint("allocate ", h, " ", big(), " ", n()) },
		func() string { return "fstat " + h },
		func() string { return "close " + h },
	)()
}
