package overlay

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/clonecloud/clonecloud/internal/overlay/readahead"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
)

// forest is a large tree: dirs directories in each of tops, with files files of size bytes each, and one file beside each.
type forest struct {
	*image
	paths []string // of all files, as a walk by name meets them
	first []string // the same, files of a directory before what is in its directories
	size  uint64
}

func newForest(t testing.TB, tops, dirs, files int, size uint64, hashed bool) *forest {
	t.Helper()
	f := &forest{image: newImage(), size: size}
	ino := uint64(100)
	next := func() uint64 { ino++; return ino }
	file := func(name string) tree.Entry {
		e := tree.Entry{Name: name, Kind: tree.KindFile, Ino: next(), Nlink: 1, Flags: rwx, Size: size, Mtime: 1e18}
		var chunks []tree.Chunk
		for at := uint64(0); at < size; at += 64 << 10 {
			c := tree.Chunk{ID: tree.IDOf(fmt.Appendf(nil, "%d %d", e.Ino, at)), Size: min(64<<10, size-at)}
			chunks = append(chunks, c)
			f.chunks[c.ID] = make([]byte, c.Size)
		}
		f.contents[e.Ino] = chunks
		if hashed {
			e.Flags |= tree.Hashed
			if e.Chunks = chunks; len(chunks) > tree.MaxInline {
				b := tree.EncodeList(chunks)
				e.Chunks, e.List = nil, tree.IDOf(b)
				f.objects[e.List] = b
			}
		}
		return e
	}
	dir := func(name string, list []tree.Entry) tree.Entry {
		return tree.Entry{Name: name, Kind: tree.KindDir, Ino: next(), Nlink: 2, Flags: rwx, Size: 4096, Dir: f.put(t, list)}
	}
	var top []tree.Entry
	for i := range tops {
		var list []tree.Entry
		var inner, beside []string
		for j := range dirs {
			var leaf []tree.Entry
			name := fmt.Sprintf("t%03d/d%03d", i, j)
			for k := range files {
				leaf = append(leaf, file(fmt.Sprintf("f%03d", k)))
				inner = append(inner, fmt.Sprintf("%s/f%03d", name, k))
				f.paths = append(f.paths, inner[len(inner)-1])
			}
			list = append(list, dir(fmt.Sprintf("d%03d", j), leaf), file(fmt.Sprintf("d%03dx", j)))
			beside = append(beside, name+"x")
			f.paths = append(f.paths, name+"x")
		}
		f.first = append(append(f.first, beside...), inner...)
		top = append(top, dir(fmt.Sprintf("t%03d", i), list))
	}
	f.root = tree.Entry{Kind: tree.KindDir, Ino: 7, Nlink: 2, Flags: rwx, Size: 4096, Dir: f.put(t, top)}
	return f
}

// wanted adds up the bytes of contents that were wanted, and checks that nothing was wanted twice.
func (f *forest) wanted(t testing.TB) (sum uint64) {
	t.Helper()
	type key struct {
		ino, off uint64
		node     tree.ID
		content  bool
	}
	seen := map[key]bool{}
	for _, w := range f.wants {
		k := key{w.Ino, w.Off, w.Node, w.Content}
		if seen[k] {
			t.Fatalf("%+v is wanted twice", w)
		}
		seen[k] = true
		sum += w.Bytes
		if w.Node == (tree.ID{}) {
			sum += w.Chunk.Size
		}
	}
	return sum
}

func readPath(t testing.TB, d vfs.Dir, path string, buf []byte) int {
	t.Helper()
	file, err := d.Open(path, vfs.OpenRead|vfs.OpenFollow)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	n, err := file.ReadAt(buf, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestAheadOfEverything reads all files, in two orders: soon the window is full of files that are still to come.
func TestAheadOfEverything(t *testing.T) {
	const size = 128 << 10
	for _, hashed := range []bool{true, false} {
		f := newForest(t, 4, 8, 16, size, hashed)
		for name, paths := range map[string][]string{"by name": f.paths, "files first": f.first} {
			t.Run(fmt.Sprintf("%s, hashed %v", name, hashed), func(t *testing.T) {
				f.wants = nil
				v := view(t, f.image, nil)
				d, _ := v.Root()
				buf := make([]byte, size)
				seen, ahead := 0, map[uint64]uint64{}
				for i, p := range paths {
					readPath(t, d, p, buf)
					for ; seen < len(f.wants); seen++ {
						w := f.wants[seen]
						ahead[w.Ino] += w.Bytes + w.Chunk.Size
					}
					delete(ahead, v.inoOf(t, p))
					sum := uint64(0)
					for _, n := range ahead {
						sum += n
					}
					// At a directory that nobody has been in the read-ahead pauses until the next file.
					rest := uint64(len(paths)-i-1) * size
					if i > 60 && sum < min(readahead.MaxWindow*3/4, rest) {
						t.Fatalf("after %d files %d bytes are ahead", i+1, sum)
					}
				}
				total := uint64(len(paths)) * size
				if got := f.wanted(t); got < total*9/10 || got > total {
					t.Errorf("%d of %d bytes were asked for ahead", got, total)
				}
			})
		}
	}
}

// TestAheadOfLittle reads one file in a hundred, anywhere: hardly anything else is asked for.
func TestAheadOfLittle(t *testing.T) {
	const size = 128 << 10
	f := newForest(t, 10, 10, 20, size, true)
	v := view(t, f.image, nil)
	d, _ := v.Root()
	rng := rand.New(rand.NewPCG(3, 4))
	buf := make([]byte, size)
	read := uint64(0)
	for _, i := range rng.Perm(len(f.paths))[:len(f.paths)/100] {
		read += uint64(readPath(t, d, f.paths[i], buf))
	}
	ahead := map[tree.ID]bool{}
	extra := uint64(0)
	for _, w := range f.wants {
		if w.Node == (tree.ID{}) && f.got[w.Chunk.ID] == 0 && !ahead[w.Chunk.ID] {
			ahead[w.Chunk.ID] = true
			extra += w.Chunk.Size + w.Bytes
		}
	}
	if f.bytes != read {
		t.Errorf("%d bytes were fetched for %d", f.bytes, read)
	}
	if extra > read/10 {
		t.Errorf("%d bytes were asked for that nobody read, besides %d that were", extra, read)
	}
	if len(f.nodes) > len(f.paths)/100*2+1 {
		t.Errorf("%d nodes of directories were fetched for %d files", len(f.nodes), len(f.paths)/100)
	}
}

// TestAheadCollapses reads in order, then anywhere.
func TestAheadCollapses(t *testing.T) {
	const size = 128 << 10
	f := newForest(t, 4, 8, 16, size, true)
	v := view(t, f.image, nil)
	d, _ := v.Root()
	buf := make([]byte, size)
	for _, p := range f.paths[:40] {
		readPath(t, d, p, buf)
	}
	if got := f.wanted(t); got < readahead.MaxWindow {
		t.Fatalf("%d bytes are asked for", got)
	}
	readPath(t, d, f.paths[500], buf)
	before := len(f.wants)
	readPath(t, d, f.paths[300], buf)
	readPath(t, d, f.paths[350], buf)
	for _, w := range f.wants[before:] {
		if w.Ino != v.inoOf(t, f.paths[300]) && w.Ino != v.inoOf(t, f.paths[350]) {
			t.Errorf("%+v is wanted", w)
		}
	}
}

func (f *FS) inoOf(t testing.TB, path string) uint64 {
	t.Helper()
	d, err := f.Root()
	if err != nil {
		t.Fatal(err)
	}
	st, err := d.StatPath(path, true)
	if err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// TestAheadOfHeads reads the first bytes of each file: not much more of the next ones is asked for.
func TestAheadOfHeads(t *testing.T) {
	const size = 512 << 10
	f := newForest(t, 2, 4, 16, size, true)
	v := view(t, f.image, nil)
	d, _ := v.Root()
	for _, p := range f.paths {
		readPath(t, d, p, make([]byte, 100))
	}
	n := uint64(len(f.paths))
	if got := f.wanted(t); got > n*(64<<10)+2*size || got < n*(64<<10)*9/10 {
		t.Errorf("%d bytes of %d files were asked for", got, n)
	}
}

// TestAheadInFile reads one large file, in order, and then anywhere.
func TestAheadInFile(t *testing.T) {
	const size = 64 << 20
	f := newForest(t, 1, 1, 0, size, true)
	v := view(t, f.image, nil)
	d, _ := v.Root()
	file, err := d.Open(f.paths[0], vfs.OpenRead)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	read := func(off, n uint64) {
		t.Helper()
		if _, err := file.ReadAt(make([]byte, n), off); err != nil {
			t.Fatal(err)
		}
	}
	read(0, 4096)
	if len(f.wants) > 0 {
		t.Fatalf("after one read %v is wanted", f.wants)
	}
	for at := uint64(4096); at < size/2; at += 4096 {
		read(at, 4096)
		if at > size/4 {
			last := f.wants[len(f.wants)-1]
			if got := last.Off + last.Chunk.Size; got < at+readahead.MaxWindow-(128<<10) {
				t.Fatalf("at %d chunks up to %d are asked for", at, got)
			}
		}
	}
	if got := f.wanted(t); got > size/2+readahead.MaxWindow+64<<10 {
		t.Errorf("%d bytes were asked for ahead of %d", got, size/2)
	}
	before := len(f.wants)
	for _, at := range []uint64{60 << 20, 50 << 20, 55 << 20, 61 << 20} {
		read(at, 4096)
	}
	if len(f.wants) > before {
		t.Errorf("random reads ask for %v", f.wants[before:])
	}
}

// TestAheadOfWalk lists all directories as a walk does.
func TestAheadOfWalk(t *testing.T) {
	f := newForest(t, 20, 20, 1, 0, true)
	v := view(t, f.image, nil)
	d, _ := v.Root()
	list := func(d vfs.Dir) []vfs.DirEntry {
		t.Helper()
		l, err := d.ReadDir()
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	open := func(d vfs.Dir, name string) vfs.Dir {
		t.Helper()
		c, err := d.Open(name, vfs.OpenDirectory|vfs.OpenRead)
		if err != nil {
			t.Fatal(err)
		}
		return c.(vfs.Dir)
	}
	listed, early := 0, 0
	var walk func(d vfs.Dir)
	walk = func(d vfs.Dir) {
		for _, e := range list(d) {
			if e.Type != vfs.TypeDirectory {
				continue
			}
			f.mu.Lock()
			for _, w := range f.wants {
				if w.Ino == e.Ino && w.Node != (tree.ID{}) {
					early++
				}
			}
			f.mu.Unlock()
			c := open(d, e.Name)
			listed++
			walk(c)
			_ = c.Close()
		}
	}
	walk(d)
	f.wanted(t)
	if early < listed*9/10 {
		t.Errorf("of %d directories %d were asked for before they were listed", listed, early)
	}
}

// TestAheadNotAnywhere lists directories in no order: their neighbours are not asked for.
func TestAheadNotAnywhere(t *testing.T) {
	f := newForest(t, 20, 20, 1, 0, true)
	v := view(t, f.image, nil)
	d, _ := v.Root()
	for _, p := range []string{"t010/d010", "t002/d002", "t005/d001", "t005/d015", "t019/d003"} {
		c, err := d.Open(p, vfs.OpenDirectory|vfs.OpenRead)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.(vfs.Dir).ReadDir(); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	if len(f.wants) > 0 {
		t.Errorf("%v is wanted", f.wants)
	}
}

// TestLargeReadsAreOneFlight reads many chunks at once: all are asked for before the first is waited for.
func TestLargeReadsAreOneFlight(t *testing.T) {
	f := newForest(t, 1, 1, 0, 1<<20, true)
	v := view(t, f.image, nil)
	d, _ := v.Root()
	buf := bytes.Repeat([]byte{1}, 1<<20)
	if n := readPath(t, d, f.paths[0], buf); n != 1<<20 {
		t.Fatalf("read %d bytes", n)
	}
	if len(f.wants) != 15 {
		t.Errorf("%d of 15 chunks were asked for at once", len(f.wants))
	}
}
