package overlay

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

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
	grow(t, rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "tree"), 0)), dir, 2, rights)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	old, m := modelOf(t, dir), imageOf(t, dir, flags)
	f := view(t, m, func(c *Config) { c.Memory = rapid.SampledFrom([]uint64{1, 100, 1 << 20}).Draw(r, "memory") })
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
		if err := f.data.open(); err != nil { // where the other user may not
			t.Fatal(err)
		}
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		become(nobody)
		defer become(0)
	}
	run(t, r, host, f)
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
func run(t *testing.T, r *rapid.T, host, over vfs.FS) {
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
	for range rapid.IntRange(1, 60).Draw(r, "steps") {
		line := drawOp(r)
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

func drawOp(r *rapid.T) string {
	part := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "a", "b", "c", "d", "e", "f", ".", "..", ""})
	path := rapid.Custom(func(r *rapid.T) string {
		p := strings.Join(rapid.SliceOfN(part, 1, 4).Draw(r, "parts"), "/")
		if p == "" || p[0] == '/' {
			p = "a" + p
		}
		return rapid.SampledFrom([]string{"", "", "", "s:"}).Draw(r, "from") + p
	})
	p := func() string { return path.Draw(r, "path") }
	flags := strings.Join(rapid.SliceOfDistinct(rapid.SampledFrom([]string{"r", "w", "c", "x", "t", "d", "f"}), rapid.ID).Draw(r, "flags"), "")
	n := func() int { return rapid.IntRange(0, 9).Draw(r, "n") }
	big := func() int {
		return rapid.SampledFrom([]int{0, 1, 5, 100, 4095, 65535, 65536, 70000, 200000}).Draw(r, "big")
	}
	h := rapid.SampledFrom([]string{"h1", "h2"}).Draw(r, "handle")
	return rapid.SampledFrom([]func() string{
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
	}).Draw(r, "op")()
}
