package scan

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// TestPinDuringChanges pins while others move and remove directories and write files, and reads the versions at the same
// time. What a Pin sees meanwhile is of no single moment, but can be read, and the first one afterwards sees everything.
func TestPinDuringChanges(t *testing.T) {
	for _, watch := range []bool{false, true} {
		t.Run(fmt.Sprintf("watch_%v", watch), func(t *testing.T) {
			dir := t.TempDir()
			makeTree(t, dir, 12, 4)
			mkdir(t, dir, "other", "deep")
			x := openTree(t, dir, Options{Watch: watch})
			root, err := os.OpenRoot(dir)
			must(t, err)
			defer root.Close()
			var stop atomic.Bool
			var done sync.WaitGroup
			for seed := range 3 {
				done.Go(func() { churn(root, seed, &stop) })
			}
			for range 25 {
				v := pin(t, x)
				for path, e := range describe(t, v) {
					if e.Kind != tree.KindFile {
						continue
					}
					// A number may stand for two files, if one was removed and the other made meanwhile.
					first, _ := v.Path(e.Ino)
					if b, err := contents(t, v, path); err == nil && uint64(len(b)) != lookup(t, v, first).Size {
						t.Errorf("%s: %d bytes, want %d", path, len(b), e.Size)
					} else if err != nil && !errors.Is(err, ErrChanged) && !errors.Is(err, os.ErrNotExist) {
						t.Error(err)
					}
				}
			}
			stop.Store(true)
			done.Wait()
			want := describe(t, pin(t, openTree(t, dir, Options{})))
			if d := cmp.Diff(want, describe(t, pin(t, x))); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

// churn changes the tree until it is stopped. What fails is as good as if it were not tried.
func churn(root *os.Root, seed int, stop *atomic.Bool) {
	rng := rand.New(rand.NewPCG(uint64(seed), 1))
	place := func() string {
		return []string{"group-00/", "other/", "other/deep/", ""}[rng.IntN(4)] + fmt.Sprintf("dir-%04d", rng.IntN(12))
	}
	for n := 1; !stop.Load(); n++ {
		switch rng.IntN(8) {
		case 0:
			_ = root.RemoveAll(place())
		case 1, 2, 3:
			_ = root.Rename(place(), place())
		case 4:
			_ = root.Rename("other/deep", place()+"/deep")
			_ = root.MkdirAll("other/deep", 0o755)
		default:
			at := place()
			_ = root.MkdirAll(at, 0o755)
			_ = root.WriteFile(at+"/file", make([]byte, n%5000), 0o644)
		}
	}
}

// meddler is a context that does something when it is asked whether it is over: whenever a file is read from.
type meddler struct {
	context.Context
	fn func()
}

func (m meddler) Err() error {
	m.fn()
	return nil
}

func TestFileChangesWhileItIsHashed(t *testing.T) {
	for _, c := range []struct {
		name  string
		times int
		want  error
	}{{"once", 1, nil}, {"twice", 2, nil}, {"always", 1 << 30, ErrChanged}} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, "beginning", dir, "file")
			x := settled(openTree(t, dir, Options{}))
			pin(t, x)
			changes := 0
			ctx := meddler{t.Context(), func() {
				if changes < c.times {
					changes++
					f, err := os.OpenFile(filepath.Join(dir, "file"), os.O_WRONLY|os.O_APPEND, 0)
					must(t, err)
					_, err = f.WriteString(" and more")
					must(t, errors.Join(err, f.Close()))
				}
			}}
			h, err := x.hash(ctx, "file", nil)
			if !errors.Is(err, c.want) || err != nil && c.want == nil {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if c.want != nil {
				return
			}
			data, err := os.ReadFile(filepath.Join(dir, "file"))
			must(t, err)
			if want := (tree.Chunk{ID: tree.IDOf(data), Size: uint64(len(data))}); len(h.content.chunks) != 1 || h.content.chunks[0] != want {
				t.Errorf("got %v, want %v", h.content.chunks, want)
			}
		})
	}
}

func TestFileChangesWhileItsVersionIsHashed(t *testing.T) {
	dir := t.TempDir()
	write(t, "beginning", dir, "file")
	v := pin(t, openTree(t, dir, Options{}))
	ctx := meddler{t.Context(), func() { write(t, "another one", dir, "file") }}
	if c, err := v.Content(ctx, lookup(t, v, "file").Ino); !errors.Is(err, ErrChanged) {
		t.Errorf("got %v, %v, want ErrChanged", c, err)
	}
}

func TestHashCancelled(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, 3, 20)
	x := openTree(t, dir, Options{})
	pin(t, x)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the offload begins")
	cancel(why)
	if err := x.Hash(ctx, nil); !errors.Is(err, why) {
		t.Errorf("got %v, want the cause", err)
	}
	v := pin(t, x)
	if _, err := v.Content(ctx, lookup(t, v, "group-00/dir-0000/file-0000.txt").Ino); !errors.Is(err, why) {
		t.Errorf("got %v, want the cause", err)
	}
}

func TestClosed(t *testing.T) {
	dir := t.TempDir()
	write(t, "x", dir, "file")
	x := openTree(t, dir, Options{})
	v := pin(t, x)
	e := lookup(t, v, "file")
	chunks, err := v.Content(t.Context(), e.Ino)
	must(t, err)
	must(t, x.Close())
	if _, err := x.Pin(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Pin: got %v, want ErrClosed", err)
	}
	if _, err := v.ReadChunk(t.Context(), e.Ino, 0, chunks[0]); !errors.Is(err, os.ErrClosed) {
		t.Errorf("ReadChunk: got %v, want ErrClosed", err)
	}
	if _, err := v.Unchanged("file"); err == nil {
		t.Error("Unchanged: no error")
	}
	lookup(t, v, "file")
}
