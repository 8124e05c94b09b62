package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clonecloud/clonecloud/internal/chunkstore"
	"github.com/clonecloud/clonecloud/internal/clone"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/replica/mirror"
	"github.com/clonecloud/clonecloud/internal/replica/push"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// logged is a log.
type logged struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (l *logged) log(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// inMemory opens stores that end with the test.
func inMemory([32]byte) (*chunkstore.Store, error) {
	return chunkstore.OpenStore(chunkstore.NewMemory(), chunkstore.Options{Key: make([]byte, 32), Grace: time.Hour, Repair: true})
}

// nameOnly is an engine where nothing runs.
type nameOnly struct{ engine.Engine }

func (nameOnly) Name() string { return "none" }

func object(text string) tree.Object {
	return tree.Object{ID: tree.IDOf([]byte(text)), Data: []byte(text)}
}

// put stores objects and has them written.
func put(t *testing.T, s mirror.Store, list ...tree.Object) {
	t.Helper()
	for _, o := range list {
		if err := s.Put(t.Context(), o.ID, o.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// here tells which objects can be read, without using those that cannot.
func here(s mirror.Store, list ...tree.Object) []bool {
	var got []bool
	for _, o := range list {
		_, err := s.Get(context.Background(), o.ID)
		got = append(got, err == nil)
	}
	return got
}

// TestSweep: what nothing holds on to goes after the grace time of an hour, not while a guest runs, but within an hour even so.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var busy atomic.Bool
		var l logged
		k := newKept(inMemory, busy.Load, l.log)
		s, err := k.open([32]byte{1})
		if err != nil {
			t.Fatal(err)
		}
		_, nodes, err := tree.EncodeDir(nil)
		if err != nil || len(nodes) != 1 {
			t.Fatalf("%d nodes, %v", len(nodes), err)
		}
		old, root := object("old"), nodes[0]
		put(t, s, old, root)
		if err := s.Pin(t.Context(), "mount", root.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(sweepFirst + sweepFirst/4 + time.Second)
		if text := l.text(); text != "" {
			t.Fatalf("something is removed within its grace time: %s", text)
		}
		busy.Store(true)
		time.Sleep(sweepEvery + sweepEvery/4)
		if text := l.text(); text != "" {
			t.Fatalf("a guest is disturbed: %s", text)
		}
		busy.Store(false)
		time.Sleep(2 * sweepAgain)
		if text := l.text(); !strings.HasPrefix(text, "files: 1 of 2 objects (") {
			t.Errorf("got the log %q", text)
		}
		if got := here(s, old, root); !slices.Equal(got, []bool{false, true}) {
			t.Errorf("there are %v", got)
		}

		put(t, s, old)
		busy.Store(true)
		time.Sleep(3*sweepEvery + sweepEvery/2)
		if got := here(s, old, root); !slices.Equal(got, []bool{false, true}) {
			t.Errorf("beside a guest that runs for hours there are %v", got)
		}
		k.close(closeTime)
	})
}

// TestSweepOneAtATime: collections wait for each other, and for a check.
func TestSweepOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logged
		k := newKept(inMemory, func() bool { return false }, l.log)
		var stores []mirror.Store
		for i := range 3 {
			s, err := k.open([32]byte{byte(i)})
			if err != nil {
				t.Fatal(err)
			}
			put(t, s, object("old"))
			stores = append(stores, s)
		}
		done, err := k.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * sweepEvery)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := stores[0].(mirror.Checker).Check(ctx, true, func(mirror.Checked) {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a check beside something else: got %v", err)
		}
		if text := l.text(); text != "" {
			t.Errorf("collected beside something else: %s", text)
		}
		done()
		synctest.Wait()
		if text := l.text(); strings.Count(text, "files: 1 of 1 objects") != 3 {
			t.Errorf("got the log %q", text)
		}
		k.close(closeTime)
	})
}

// TestKeptEnds: at the end all stores are closed and take nothing more, and no more are opened.
func TestKeptEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logged
		k := newKept(inMemory, func() bool { return false }, l.log)
		s, err := k.open([32]byte{1})
		if err != nil {
			t.Fatal(err)
		}
		o := object("x")
		if err := s.Put(t.Context(), o.ID, o.Data); err != nil {
			t.Fatal(err)
		}
		k.close(closeTime)
		if err := s.Put(t.Context(), object("y").ID, []byte("y")); !errors.Is(err, chunkstore.ErrClosed) {
			t.Errorf("put: got %v", err)
		}
		if _, err := s.(mirror.Checker).Check(t.Context(), false, nil); !errors.Is(err, errEnding) {
			t.Errorf("check: got %v", err)
		}
		if _, err := k.open([32]byte{2}); !errors.Is(err, errEnding) {
			t.Errorf("open: got %v", err)
		}
		if text := l.text(); text != "" {
			t.Errorf("got the log %q", text)
		}
	})
}

// stuck is a place that does not take anything until it is freed.
type stuck struct {
	chunkstore.Backend
	free chan struct{}
}

func (s *stuck) PutAll(ctx context.Context, items []chunkstore.Item) error {
	if len(items) == 1 && items[0].Name == "format" {
		return s.Backend.PutAll(ctx, items)
	}
	<-s.free
	return s.Backend.PutAll(ctx, items)
}

// TestCloseIsBounded: a place that does not take what waits holds the end up for no longer than is allowed.
func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logged
		b := &stuck{chunkstore.NewMemory(), make(chan struct{})}
		k := newKept(func([32]byte) (*chunkstore.Store, error) { return chunkstore.OpenStore(b, chunkstore.Options{}) },
			func() bool { return false }, l.log)
		s, err := k.open([32]byte{1})
		if err != nil {
			t.Fatal(err)
		}
		o := object("x")
		if err := s.Put(t.Context(), o.ID, o.Data); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		k.close(closeTime)
		if took := time.Since(before); took != closeTime || !strings.Contains(l.text(), "are not all kept") {
			t.Errorf("took %v, log %q", took, l.text())
		}
		close(b.free)
	})
}

// TestKeys: a device cannot have any number of stores.
func TestKeys(t *testing.T) {
	failing := errors.New("no place")
	fail := true
	k := newKept(func(key [32]byte) (*chunkstore.Store, error) {
		if fail {
			return nil, failing
		}
		return inMemory(key)
	}, func() bool { return false }, t.Logf)
	defer k.close(closeTime)
	for range 2 * maxStores {
		if _, err := k.open([32]byte{1}); !errors.Is(err, failing) {
			t.Fatalf("got %v", err)
		}
	}
	fail = false
	for i := range maxStores {
		if _, err := k.open([32]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.open([32]byte{99}); err == nil {
		t.Error("there is one more")
	}
}

// TestCheckOverLink: a device has its node check what is on disk, and is told what is damaged.
func TestCheckOverLink(t *testing.T) {
	dir := t.TempDir()
	var l logged
	k := newKept(func([32]byte) (*chunkstore.Store, error) {
		b, err := chunkstore.OpenFolder(dir)
		if err != nil {
			return nil, err
		}
		return chunkstore.OpenStore(b, chunkstore.Options{Key: make([]byte, 32), Repair: true})
	}, func() bool { return false }, l.log)
	defer k.close(closeTime)
	key := [32]byte{1}
	opened := map[[32]byte]mirror.Store{}
	host := &clone.Host{Engines: []engine.Engine{nameOnly{}}, Log: t.Logf, Files: clone.Files{Open: func(key [32]byte) (mirror.Store, error) {
		s, err := k.open(key)
		opened[key] = s
		return s, err
	}}}
	defer host.Close(context.Background())
	check := func(readData bool) push.Checked {
		t.Helper()
		got, err := push.Check(t.Context(), push.CheckConfig{Key: key, ReadData: readData, Dial: func(context.Context) (link.Link, error) {
			here, there := link.Pipe(0)
			go host.Accept(context.Background(), there)
			return here, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := check(true); got.Objects != 0 || got.Damaged != 0 {
		t.Errorf("with nothing kept: got %+v", got)
	}
	s := opened[key]
	a, b := object(strings.Repeat("a", 1000)), object(strings.Repeat("b", 1000))
	put(t, s, a)
	first := objects(t, dir)
	put(t, s, b)
	if len(first) != 1 {
		t.Fatalf("the folder has %v", first)
	}
	damage(t, first[0])
	if err := os.WriteFile(filepath.Join(dir, "note.txt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := check(false); got.Objects != 2 || got.Read != 0 || got.Damaged != 0 || got.Foreign != 1 {
		t.Errorf("without contents: got %+v", got)
	}
	if got := check(true); got.Objects != 2 || got.Read != 2 || got.Damaged != 1 || got.Removed != 1 {
		t.Errorf("with contents: got %+v", got)
	}
	if text := l.text(); !strings.Contains(text, "check of files: ") || !strings.Contains(text, "damaged") {
		t.Errorf("got the log %q", text)
	}
	if got := here(s, a, b); !slices.Equal(got, []bool{false, true}) {
		t.Errorf("there are %v", got)
	}
	if got := check(true); got.Objects != 1 || got.Damaged != 0 {
		t.Errorf("afterwards: got %+v", got)
	}
}

// objects lists the objects of a store's folder.
func objects(t *testing.T, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "[0-9a-f][0-9a-f]", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// damage changes a byte of a file.
func damage(t *testing.T, name string) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
