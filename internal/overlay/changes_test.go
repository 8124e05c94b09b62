package overlay

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/vfs/vfstest"
	"pgregory.net/rapid"
)

// changeOf finds what a delta says of a file.
func changeOf(d *tree.Delta, ino uint64) *tree.FileChange {
	if d == nil {
		return nil
	}
	for i := range d.Files {
		if d.Files[i].Ino == ino {
			return &d.Files[i]
		}
	}
	return nil
}

func piecesOf(c *tree.FileChange) string {
	if c == nil {
		return "not there"
	}
	var b strings.Builder
	for _, p := range c.Pieces {
		kind := "new"
		if p.Kept {
			kind = "kept"
		} else if p.Chunk == (tree.ID{}) {
			kind = "hole"
		}
		fmt.Fprintf(&b, "%s %d, ", kind, p.Size)
	}
	return fmt.Sprintf("%v %d: %s", c.Written, c.Size, strings.TrimSuffix(b.String(), ", "))
}

func TestPieces(t *testing.T) {
	// g is 300 KiB, f 1000 bytes.
	const k = 1 << 10
	for name, c := range map[string]struct {
		ino  uint64
		path string
		do   func(f vfs.File)
		want string
	}{
		"in the middle":    {11, "g", func(f vfs.File) { write(t, f, data(100, 1), 5000) }, "true 307200: kept 5000, new 100, kept 302100"},
		"at the beginning": {11, "g", func(f vfs.File) { write(t, f, data(100, 1), 0) }, "true 307200: new 100, kept 307100"},
		"appended": {10, "f", func(f vfs.File) {
			for i := range 100 {
				if _, _, err := f.Append(data(10, byte(i))); err != nil {
					t.Fatal(err)
				}
			}
		}, "true 2000: kept 1000, new 1000"},
		"behind the end": {10, "f", func(f vfs.File) { write(t, f, data(100, 1), 5000) }, "true 5100: kept 1000, hole 4000, new 100"},
		"cut":            {10, "f", func(f vfs.File) { check(t, f.SetSize(10)) }, "true 10: kept 10"},
		"cut and grown": {10, "f", func(f vfs.File) {
			check(t, f.SetSize(10))
			check(t, f.SetSize(1000))
		}, "true 1000: kept 10, hole 990"},
		"to nothing":       {10, "f", func(f vfs.File) { check(t, f.SetSize(0)) }, "true 0: "},
		"grown":            {10, "f", func(f vfs.File) { check(t, f.Allocate(0, 4000)) }, "true 4000: kept 1000, hole 3000"},
		"zeros":            {11, "g", func(f vfs.File) { write(t, f, make([]byte, 8*k), 4*k) }, "true 307200: kept 4096, hole 8192, kept 294912"},
		"over two blocks":  {11, "g", func(f vfs.File) { write(t, f, data(10, 1), 64*k-5) }, "true 307200: kept 65531, new 10, kept 241659"},
		"the same at once": {10, "f", func(f vfs.File) { write(t, f, data(1000, 10), 0) }, "false 0: "},
		"the same, large": {11, "g", func(f vfs.File) {
			if _, err := f.ReadAt(make([]byte, 1), 0); err != nil { // so that it is known what it consists of
				t.Fatal(err)
			}
			for at := 0; at < 300*k; at += 1000 {
				write(t, f, data(300*k, 11)[at:min(at+1000, 300*k)], uint64(at))
			}
		}, "false 0: "},
	} {
		t.Run(name, func(t *testing.T) {
			f := view(t, sample(t), nil)
			file := open(t, root(t, f), c.path, rw)
			c.do(file)
			d, _ := collect(t, f)
			if got := piecesOf(changeOf(d, c.ino)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			st, _ := file.Stat()
			if ch := changeOf(d, c.ino); ch.Mtime != st.Mtime || ch.Mtime <= 1e18 || ch.Atime != 0 {
				t.Errorf("times %d, %d, want %d, 0", ch.Mtime, ch.Atime, st.Mtime)
			}
			if len(d.Dirs) > 0 || len(d.Bases) != 1 {
				t.Errorf("%d directories, bases %v", len(d.Dirs), d.Bases)
			}
		})
	}
}

// TestNewFilesAreCutAsAScanDoes writes files in small steps: their chunks are those that their contents have.
func TestNewFilesAreCutAsAScanDoes(t *testing.T) {
	sparse := data(700<<10, 5)
	clear(sparse[100<<10 : 600<<10])
	for name, c := range map[string]struct {
		path    string
		content []byte
		skip    bool // where there are zeros
	}{
		"new":         {"n", data(900<<10, 3), false},
		"over a file": {"g", data(900<<10, 4), false},
		"sparse":      {"s", sparse, true},
		"zeros":       {"z", make([]byte, 300<<10), false},
	} {
		f := view(t, sample(t), func(c *Config) { c.Memory = 100 << 10 })
		file := open(t, root(t, f), c.path, fresh)
		for at := 0; at < len(c.content); at += 3000 {
			b := c.content[at:min(at+3000, len(c.content))]
			if c.skip && len(bytes.Trim(b, "\x00")) == 0 {
				continue
			}
			write(t, file, b, uint64(at))
		}
		ino, _ := f.Ino(file)
		d, chunks := collect(t, f)
		got := changeOf(d, ino).Pieces
		err := tree.Cut(bytes.NewReader(c.content), uint64(len(c.content)), func(want tree.Chunk, b []byte) error {
			if len(got) == 0 || got[0] != (tree.Piece{Size: want.Size, Chunk: want.ID}) {
				return fmt.Errorf("piece %+v, want %+v", got[:min(len(got), 1)], want)
			}
			if !want.Hole() && !bytes.Equal(chunks[want.ID], b) {
				return errors.New("its bytes are missing")
			}
			got = got[1:]
			return nil
		})
		if err != nil || len(got) > 0 {
			t.Errorf("%s: %v, %d pieces too many", name, err, len(got))
		}
	}
}

func TestOnlyWhatDiffers(t *testing.T) {
	five, one := uint64(5), uint64(1e18)
	for name, c := range map[string]struct {
		do   string
		more func(d vfs.Dir)
		want string // the delta in short; "" nil
	}{
		"nothing":              {"cat f", nil, ""},
		"made and removed":     {"mkdir n|put n/x 1|unlink n/x|rmdir n", restore(t, one), ""},
		"moved there and back": {"rename f d/y|rename d/y f", restore(t, one), ""},
		"moved": {"rename f d/y", restore(t, one),
			"base 7 , base 10 f, base 16 d, dir 7 f=0, dir 16 y=10"},
		"link":              {"link f d/y", restore(t, one), "base 10 f, base 16 d, dir 16 y=10"},
		"one of two links":  {"unlink h1", restore(t, one), "base 7 , dir 7 h1=0"},
		"both links":        {"unlink h1|unlink h2", restore(t, one), "base 7 , dir 7 h1=0 h2=0"},
		"directory":         {"rename d e", restore(t, one), "base 7 , base 16 d, dir 7 d=0 e=16"},
		"directory is gone": {"unlink d/i|rmdir d", restore(t, one), "base 7 , base 16 d, dir 7 d=0, dir 16 i=0"},
		"what was in it": {"rename d/i k|rmdir d", restore(t, one),
			"base 7 , base 16 d, base 17 d/i, dir 7 d=0 k=17, dir 16 i=0"},
		"replaced": {"rename f g", restore(t, one), "base 7 , base 10 f, dir 7 f=0 g=10"},
		"times": {"", func(d vfs.Dir) { check(t, d.SetTimesPath("l", false, vfs.Times{Mtime: &five, Atime: &five})) },
			"base 15 l, file 15 kind 3 mtime 5 atime 5"},
		"access time": {"", func(d vfs.Dir) { check(t, d.SetTimesPath("f", false, vfs.Times{Atime: new(uint64)})) },
			"base 10 f, file 10 kind 1 mtime 0 atime 1"},
		"time of a link's target": {"", func(d vfs.Dir) { check(t, d.SetTimesPath("l", true, vfs.Times{Mtime: &five})) },
			"base 10 f, file 10 kind 1 mtime 5 atime 0"},
		"new link": {"symlink a/b n", restore(t, one), "base 7 , dir 7 n=+0, file +0 kind 3 a/b mtime T atime 0"},
		"chain": {"mkdir n|mkdir n/m|rename f n/m/f", restore(t, one),
			"base 7 , base 10 f, dir 7 f=0 n=+0, dir +0 m=+1, dir +1 f=10, file +0 kind 2 mtime T atime 0, file +1 kind 2 mtime T atime 0"},
		"names": {"unlink f", nil, "base 7 , dir 7 f=0, file 7 kind 2 mtime T atime 0"},
	} {
		t.Run(name, func(t *testing.T) {
			f := view(t, sample(t), nil)
			sh, err := vfstest.NewShell(f)
			check(t, err)
			defer sh.Close()
			for line := range strings.SplitSeq(c.do, "|") {
				if out := sh.Do(line); strings.HasPrefix(out, "->") {
					t.Fatalf("%s: %s", line, out)
				}
			}
			if c.more != nil {
				c.more(root(t, f))
			}
			d, _ := collect(t, f)
			if got := short(d); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// restore gives the directories the times that they had, so that only names are left of what was done.
func restore(t *testing.T, at uint64) func(d vfs.Dir) {
	return func(d vfs.Dir) {
		for _, p := range []string{".", "d"} {
			if err := d.SetTimesPath(p, true, vfs.Times{Mtime: &at}); err != nil && !errors.Is(err, vfs.ENOENT) {
				t.Fatal(err)
			}
		}
	}
}

func short(d *tree.Delta) string {
	if d == nil {
		return ""
	}
	number := func(n uint64) string {
		if n >= tree.FirstNew {
			return fmt.Sprintf("+%d", n-tree.FirstNew)
		}
		return fmt.Sprint(n)
	}
	stamp := func(n uint64) string {
		if n > 2e18 {
			return "T"
		}
		return fmt.Sprint(n)
	}
	var list []string
	for _, b := range d.Bases {
		list = append(list, fmt.Sprintf("base %d %s", b.Ino, b.Path))
	}
	for _, c := range d.Dirs {
		text := "dir " + number(c.Ino)
		for _, n := range c.Names {
			text += " " + n.Name + "=" + number(n.Ino)
		}
		list = append(list, text)
	}
	for _, c := range d.Files {
		if c.Kind == tree.KindDir && c.Mtime == 1e18 {
			continue // it has other names, and got back the time that it had
		}
		text := fmt.Sprintf("file %s kind %d", number(c.Ino), c.Kind)
		if c.Target != "" {
			text += " " + c.Target
		}
		list = append(list, text+fmt.Sprintf(" mtime %s atime %s", stamp(c.Mtime), stamp(c.Atime)))
	}
	return strings.Join(list, ", ")
}

// TestOpenWithoutName has files that lost their names while they are open: told only if they stay open.
func TestOpenWithoutName(t *testing.T) {
	f := view(t, sample(t), nil)
	d := root(t, f)
	made, old, read := open(t, d, "n", fresh), open(t, d, "f", rw), open(t, d, "h1", rw)
	check(t, d.Mkdir("m"))
	dir := open(t, d, "m", vfs.OpenDirectory|vfs.OpenRead)
	write(t, made, []byte("hello"), 0)
	for _, p := range []string{"n", "f", "h1", "h2"} {
		check(t, d.Unlink(p))
	}
	check(t, d.Rmdir("m"))
	write(t, old, []byte("x"), 3)
	buf := make([]byte, 1000)
	if n, err := old.ReadAt(buf, 0); err != nil || n != 1000 || buf[3] != 'x' || buf[4] != data(1000, 10)[4] {
		t.Errorf("read %d bytes of a file without a name, %v", n, err)
	}
	one := uint64(1e18)
	restore(t, one)(d)
	delta, _ := collect(t, f)
	if got := short(delta); got != "base 7 , dir 7 f=0 h1=0 h2=0" {
		t.Errorf("none stays open: got %s", got)
	}
	var open []uint64
	for _, file := range []vfs.File{made, old, read, dir} {
		ino, _ := f.Ino(file)
		open = append(open, ino)
	}
	delta, chunks := collect(t, f, open...)
	if got := short(delta); got != "base 7 , base 10 f, dir 7 f=0 h1=0 h2=0, file 10 kind 1 mtime T atime 0, file +0 kind 1 mtime T atime 0, file +1 kind 2 mtime T atime 0" {
		t.Errorf("all stay open: got %s", got)
	}
	if got := piecesOf(changeOf(delta, 10)); got != "true 1000: kept 3, new 1, kept 996" {
		t.Errorf("got %s", got)
	}
	if len(chunks) != 2 {
		t.Errorf("%d chunks", len(chunks))
	}
	for _, file := range []vfs.File{made, old, read, dir} {
		check(t, file.Close())
	}
	if f.data.Used() != 0 {
		t.Errorf("%d bytes are left of what is gone", f.data.Used())
	}
	for _, in := range f.inodes {
		if in.nlink == 0 {
			t.Errorf("number %d is left of what is gone", in.ino)
		}
	}
}

// TestLinks follows the counts of links.
func TestLinks(t *testing.T) {
	f := view(t, sample(t), nil)
	d := root(t, f)
	nlink := func(path string, want uint64) {
		t.Helper()
		st, err := d.StatPath(path, false)
		if err != nil || st.Nlink != want {
			t.Errorf("%s has %d links, %v, want %d", path, st.Nlink, err, want)
		}
	}
	nlink("h1", 2)
	check(t, d.Unlink("h1"))
	nlink("h2", 1)
	check(t, d.Link("h2", d, "d/h3"))
	nlink("d/h3", 2)
	nlink(".", 2) // as the device said, whatever is in it
	check(t, d.Mkdir("n"))
	nlink(".", 3)
	nlink("n", 2)
	check(t, d.Rename("n", d, "d/n"))
	nlink(".", 2)
	nlink("d", 3)
	check(t, d.Rmdir("d/n"))
	nlink("d", 2)
}

// TestTimes checks which operations change which times, each of them once.
func TestTimes(t *testing.T) {
	f := view(t, sample(t), nil)
	sh, err := vfstest.NewShell(f)
	check(t, err)
	defer sh.Close()
	d := root(t, f)
	now := f.cfg.Now()
	for _, s := range []struct{ op, mtime, ctime string }{
		{"put n 1", "n .", "n ."}, // makes it, cuts nothing, writes
		{"mkdir m", "m .", "m ."},
		{"rename n m/n", ". m", ". m m/n"},
		{"link f m/f", "m", "m f m/f"},
		{"symlink x s", "s .", "s ."},
		{"unlink m/f", "m", "m f"},
		{"open h rw f", "", ""},
		{"write h 0 x", "f", "f"},
		{"size h 1000", "f", "f"},
		{"allocate h 0 10", "f", "f"},
		{"allocate h 0 2000", "f", "f"},
		{"read h 0 10", "", ""},
		{"append h x", "f", "f"},
		{"close h", "", ""},
		{"rename m m2", ".", ". m2"},
	} {
		sh.Do(s.op)
		for i, list := range []string{s.mtime, s.ctime} {
			for _, p := range strings.Fields(list) {
				st, err := d.StatPath(p, false)
				if err != nil {
					t.Fatal(err)
				}
				if got := []uint64{st.Mtime, st.Ctime}[i]; got <= now {
					t.Errorf("%s: time %d of %s is %d, want more than %d", s.op, i, p, got, now)
				}
			}
		}
		changed := 0
		for _, p := range []string{".", "f", "g", "m", "m2", "n", "m/n", "m/f", "s", "d", "l"} {
			if st, err := d.StatPath(p, false); err == nil && st.Mtime > now {
				changed++
			}
		}
		if want := len(strings.Fields(s.mtime)); changed != want {
			t.Errorf("%s: %d modification times changed, want %d", s.op, changed, want)
		}
		now = f.cfg.Now()
	}
}

// TestEqualRuns does the same on two views: numbers, times and changes must be equal, whatever was held in memory.
func TestEqualRuns(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var ops []string
		for range rapid.IntRange(1, 60).Draw(r, "steps") {
			ops = append(ops, drawAny(r))
		}
		var deltas []string
		for _, memory := range []uint64{1, 1 << 30} {
			f := view(t, sample(t), func(c *Config) { c.Memory = memory })
			sh, err := vfstest.NewShell(f)
			check(t, err)
			for _, op := range ops {
				sh.Do(op)
			}
			sh.Close()
			d, _ := collect(t, f)
			if d == nil {
				d = &tree.Delta{}
			}
			deltas = append(deltas, string(d.AppendTo(nil))+fmt.Sprint(f.cfg.Now(), f.last, f.data.Used()))
		}
		if deltas[0] != deltas[1] {
			r.Fatalf("two runs differ after\n%s", strings.Join(ops, "\n"))
		}
	})
}

func drawAny(r *rapid.T) string {
	path := rapid.SampledFrom([]string{"f", "g", "h1", "h2", "l", "d", "d/i", "n", "d/n", "m", "m/n", "m/f", "shared"})
	p := func() string { return path.Draw(r, "path") }
	n := func() int { return rapid.SampledFrom([]int{0, 1, 100, 1000, 65530, 70000, 400000}).Draw(r, "n") }
	return rapid.SampledFrom([]func() string{
		func() string { return "mkdir " + p() },
		func() string { return "rmdir " + p() },
		func() string { return "unlink " + p() },
		func() string { return "rename " + p() + " " + p() },
		func() string { return "link " + p() + " " + p() },
		func() string { return "symlink " + p() + " " + p() },
		func() string { return "put " + p() + " text" },
		func() string { return "open h rwcf " + p() },
		func() string { return fmt.Sprint("write h ", n(), " ", strings.Repeat("abc", n()/3)) },
		func() string { return fmt.Sprint("append h ", strings.Repeat("tail", 1+n()/5)) },
		func() string { return fmt.Sprint("size h ", n()) },
	}).Draw(r, "op")()
}
