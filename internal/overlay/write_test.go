package overlay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/clonecloud/clonecloud/internal/overlay/written"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
)

func TestLimit(t *testing.T) {
	f := view(t, sample(t), func(c *Config) { c.Limit = 1 << 20; c.Memory = 100 })
	d := root(t, f)
	file := open(t, d, "n", fresh)
	write(t, file, data(1<<20, 1), 0)
	write(t, file, data(1<<20, 2), 0) // over itself takes no more
	other := open(t, d, "m", fresh)
	_, err := other.WriteAt([]byte("x"), 0)
	if !isAbort(err) || !errors.Is(err, ErrLimit) {
		t.Fatalf("got %v, want ErrLimit", err)
	}
	check(t, file.SetSize(1<<19))
	write(t, other, data(1<<19, 3), 0)
	if _, _, err := other.Append([]byte("x")); !errors.Is(err, ErrLimit) {
		t.Fatalf("got %v, want ErrLimit", err)
	}
	check(t, d.Unlink("n"))
	if _, _, err := other.Append([]byte("x")); !errors.Is(err, ErrLimit) {
		t.Fatalf("a file that is open takes up no room: %v", err)
	}
	check(t, file.Close())
	if _, _, err := other.Append([]byte("x")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 1<<20)
	if n, err := other.ReadAt(got, 0); err != nil || !bytes.Equal(got[:n], append(data(1<<19, 3), 'x')) {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

// TestManySmallWrites appends and scatters: neither makes long lists.
func TestManySmallWrites(t *testing.T) {
	f := view(t, sample(t), nil)
	d := root(t, f)
	log := open(t, d, "log", fresh)
	var want []byte
	for i := range 20000 {
		line := fmt.Appendf(nil, "line %d\n", i)
		want = append(want, line...)
		if _, end, err := log.Append(line); err != nil || end != uint64(len(want)) {
			t.Fatalf("append: %d, %v", end, err)
		}
	}
	got := make([]byte, len(want)+1)
	if n, err := log.ReadAt(got, 0); err != nil || !bytes.Equal(got[:n], want) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	ino, _ := f.Ino(log)
	if runs := f.inodes[ino].file.written.Runs(); len(runs) != 1 {
		t.Errorf("%d runs", len(runs))
	}
	// Every second byte: of an old file, of a new one, behind the end of an old one.
	for path, size := range map[string]int{"g": 300 << 10, "new": 100 << 10, "f": 100 << 10} {
		file := open(t, d, path, fresh)
		all := make([]byte, size)
		n, err := file.ReadAt(all, 0)
		check(t, err)
		clear(all[n:])
		for at := 1; at < size; at += 2 {
			all[at] = byte(at)
			write(t, file, all[at:at+1], uint64(at))
		}
		ino, _ := f.Ino(file)
		if n := len(f.inodes[ino].file.written.Runs()); n > 200*(1+size/written.BlockSize) {
			t.Errorf("%s: %d runs", path, n)
		}
		got := make([]byte, size)
		if n, err := file.ReadAt(got, 0); err != nil || !bytes.Equal(got[:n], all) {
			t.Errorf("%s: read %d bytes, %v", path, n, err)
		}
		// The delta must lead there too.
		delta, chunks := collect(t, f)
		m := &model{files: map[uint64]*modelFile{ino: {kind: tree.KindFile, data: data(map[string]int{"g": 300 << 10, "f": 1000}[path], byte(ino))}}}
		delta.Bases, delta.Dirs, delta.Files = nil, nil, []tree.FileChange{*changeOf(delta, ino)}
		check(t, m.apply(delta, chunks))
		if !bytes.Equal(m.files[ino].data, all) {
			t.Errorf("%s: the delta leads elsewhere", path)
		}
		check(t, file.Close())
	}
}

// TestHugeSparseFile has a hole of terabytes.
func TestHugeSparseFile(t *testing.T) {
	f := view(t, empty(t), nil)
	file := open(t, root(t, f), "n", fresh)
	write(t, file, data(1000, 1), 0)
	write(t, file, data(1000, 2), maxFile-1000)
	if n, err := file.WriteAt(data(10, 1), maxFile-5); n != 5 || !errors.Is(err, vfs.EFBIG) {
		t.Errorf("write over the end: %d, %v", n, err)
	}
	if _, err := file.WriteAt([]byte("x"), maxFile); !errors.Is(err, vfs.EFBIG) {
		t.Errorf("write behind the end: %v", err)
	}
	if err := file.SetSize(maxFile + 1); !errors.Is(err, vfs.EFBIG) {
		t.Errorf("grow: %v", err)
	}
	got := make([]byte, 2000)
	if n, err := file.ReadAt(got, maxFile-2000); err != nil || n != 2000 || len(bytes.TrimLeft(got[:1000], "\x00")) > 0 {
		t.Errorf("read: %d, %v", n, err)
	}
	d, chunks := collect(t, f)
	if d.Files[1].Size != maxFile || len(chunks) != 2 || len(d.Files[1].Pieces) > 5 {
		t.Errorf("%d bytes in %d pieces with %d chunks", d.Files[1].Size, len(d.Files[1].Pieces), len(chunks))
	}
	check(t, file.SetSize(10))
	if f.data.Used() != 4096 {
		t.Errorf("%d bytes are used", f.data.Used())
	}
}

// TestSpoolFails has no folder for the spool: the call ends, the file is as it was.
func TestSpoolFails(t *testing.T) {
	f := view(t, sample(t), func(c *Config) { c.Memory, c.Spool = 1, c.Spool+"/none" })
	file := open(t, root(t, f), "n", fresh)
	write(t, file, data(1000, 1), 0)
	if _, err := file.WriteAt(data(written.BlockSize, 1), written.BlockSize); !isAbort(err) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkReadCached(b *testing.B) {
	const size = 256 << 10
	f := newForest(b, 1, 1, 1, size, true)
	d := root(b, view(b, f.image, func(c *Config) { c.Source = &quiet{image: f.image, known: map[tree.ID]*tree.Node{}} }))
	buf := make([]byte, 64<<10)
	b.SetBytes(size)
	for b.Loop() {
		file, err := d.Open(f.paths[0], vfs.OpenRead)
		if err != nil {
			b.Fatal(err)
		}
		for at := uint64(0); at < size; at += uint64(len(buf)) {
			if _, err := file.ReadAt(buf, at); err != nil {
				b.Fatal(err)
			}
		}
		_ = file.Close()
	}
}

// quiet is an image that caches nodes and counts nothing.
type quiet struct {
	*image
	known map[tree.ID]*tree.Node
}

func (q *quiet) Node(ctx context.Context, dir uint64, id tree.ID) (n *tree.Node, err error) {
	if n = q.known[id]; n == nil {
		n, err = q.image.Node(ctx, dir, id)
		q.known[id] = n
	}
	return n, err
}

func (q *quiet) Chunk(_ context.Context, _, _ uint64, c tree.Chunk) ([]byte, error) {
	return q.chunks[c.ID], nil
}

func (q *quiet) Ahead(context.Context, []Want) {}

func BenchmarkAppend(b *testing.B) {
	f := view(b, empty(b), nil)
	file := open(b, root(b, f), "n", fresh)
	line := data(100, 1)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if st, _ := file.Stat(); st.Size > 1<<30 {
			check(b, file.SetSize(0))
		}
		if _, _, err := file.Append(line); err != nil {
			b.Fatal(err)
		}
	}
}
