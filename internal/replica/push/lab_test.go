package push

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/clone"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/wazero"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/replica/mirror"
	"github.com/clonecloud/clonecloud/internal/scan"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// clock is a time that passes only while somebody sleeps.
type clock struct {
	mu    sync.Mutex
	now   time.Time     // guarded by mu
	slept time.Duration // guarded by mu
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now.IsZero() {
		c.now = time.Unix(1e9, 0)
	}
	return c.now
}

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	now := c.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.slept = now.Add(d), c.slept+d
	return ctx.Err()
}

// store is a mirror.Store that says what was done with it.
type store struct {
	deaf bool // it keeps nothing

	mu      sync.Mutex
	objects map[tree.ID][]byte // guarded by mu
	order   []tree.ID          // guarded by mu; as they came, those that came again too
	roots   map[string]tree.ID // guarded by mu
}

var _ mirror.Store = (*store)(nil)

func newStore() *store {
	return &store{objects: map[tree.ID][]byte{}, roots: map[string]tree.ID{}}
}

func (s *store) Get(_ context.Context, id tree.ID) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.objects[id]; b != nil {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

func (s *store) Has(ids []tree.ID) []bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	has := make([]bool, len(ids))
	for i, id := range ids {
		has[i] = s.objects[id] != nil
	}
	return has
}

func (s *store) Put(_ context.Context, id tree.ID, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order = append(s.order, id)
	if !s.deaf {
		s.objects[id] = bytes.Clone(data)
	}
	return nil
}

func (s *store) Flush(context.Context) error { return nil }

func (s *store) Pin(_ context.Context, name string, root tree.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roots[name] = root
	return nil
}

// puts returns how many objects came, and how many of these came again.
func (s *store) puts() (n, again int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[tree.ID]bool{}
	for _, id := range s.order {
		if seen[id] {
			again++
		}
		seen[id] = true
	}
	return len(s.order), again
}

// lab is a device's directory and a node.
type lab struct {
	t     *testing.T
	dir   string
	tree  *scan.Tree
	host  *clone.Host
	store *store
	net   *link.Network
	key   [32]byte

	pinned *scan.Version // of a directory that does not change; nil: it may
}

var newEngine = sync.OnceValues(func() (engine.Engine, error) { return wazero.New(wazero.Options{}) })

// shared is a directory for tests that change nothing: making it, and reading it, takes long.
var shared = struct {
	sync.Mutex
	dir  string
	tree *scan.Tree
	v    *scan.Version
}{}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.tree != nil {
		shared.tree.Close()
	}
	if shared.dir != "" {
		os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// newLab has the shared directory.
func newLab(t *testing.T, plan link.Plan) *lab {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.dir == "" {
		var err error
		if shared.dir, err = os.MkdirTemp("", "push-test-*"); err != nil {
			t.Fatal(err)
		}
		fill(t, shared.dir)
		if shared.tree, err = scan.Open(shared.dir, scan.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	l := openLab(t, plan, shared.dir)
	l.tree = shared.tree
	if shared.v == nil {
		shared.v = l.pin()
	}
	l.pinned = shared.v
	return l
}

// newOwnLab has a directory of its own.
func newOwnLab(t *testing.T, plan link.Plan) *lab {
	t.Helper()
	dir := t.TempDir()
	fill(t, dir)
	l := openLab(t, plan, dir)
	var err error
	if l.tree, err = scan.Open(dir, scan.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.tree.Close() })
	return l
}

func openLab(t *testing.T, plan link.Plan, dir string) *lab {
	t.Helper()
	e, err := newEngine()
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, dir: dir, store: newStore(), net: link.NewNetwork(plan, link.NetworkConfig{}), key: [32]byte{1, 2, 3}}
	l.host = &clone.Host{Engines: []engine.Engine{e}, Files: clone.Files{Open: func(key [32]byte) (mirror.Store, error) {
		if key != l.key {
			return nil, fmt.Errorf("another key")
		}
		return l.store, nil
	}}}
	t.Cleanup(func() { l.host.Close(context.Background()) })
	return l
}

func write(t *testing.T, dir, name string, b []byte) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
}

// noise is bytes that repeat nowhere.
func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b[:n]
}

// fill makes a directory with about 8 MB in 1,200 files.
func fill(t *testing.T, dir string) {
	t.Helper()
	for i := range 700 {
		write(t, dir, fmt.Sprintf("many/%04d", i), noise(uint64(i), 40+i))
	}
	for i := range 500 {
		write(t, dir, fmt.Sprintf("tree/%d/%d/f", i%7, i%31*100+i), noise(uint64(1000+i), 3000))
	}
	write(t, dir, "large", noise(5000, 5<<20)) // with a list
	write(t, dir, "copy/large", noise(5000, 5<<20))
	write(t, dir, "empty", nil)
	write(t, dir, "holes", append(append(noise(5001, 100_000), make([]byte, 1<<20)...), noise(5002, 100_000)...))
	write(t, dir, "\xffname", []byte("bytes"))
	if err := os.Symlink("large", filepath.Join(dir, "link")); err != nil {
		t.Skip("no symbolic links here: ", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "hollow"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// pin returns the directory as it is now, hashed.
func (l *lab) pin() *scan.Version {
	l.t.Helper()
	if l.pinned != nil {
		return l.pinned
	}
	ctx := l.t.Context()
	for {
		v, err := l.tree.Pin(ctx)
		if err != nil {
			l.t.Fatal(err)
		}
		// What has just changed is not believed to be hashed until it is a little older.
		open := 0
		if err := l.tree.Hash(ctx, func(string) bool { open++; return true }); err != nil {
			l.t.Fatal(err)
		}
		if open == 0 {
			return v
		}
	}
}

func (l *lab) config(v Image) Config {
	return Config{
		Dial: l.net.Dialer(func(x link.Link) { l.host.Accept(context.Background(), x) }), Image: v, Key: l.key, Clock: &clock{},
		Log: l.t.Logf,
		// A link in memory either works or is cut, and says so at once.
		Peer: peer.Config{Heartbeat: 100 * time.Millisecond},
	}
}

func (l *lab) push(cfg Config) Stats {
	l.t.Helper()
	s, err := Push(l.t.Context(), cfg)
	if err != nil {
		l.t.Fatalf("push: %v, after %+v", err, s)
	}
	return s
}

// whole requires that the node holds on to a root and has all that it reaches, as the directory has it.
func (l *lab) whole(v *scan.Version) {
	l.t.Helper()
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	root := v.Root()
	held := false
	for _, r := range l.store.roots {
		held = held || r == root.Dir
	}
	if !held {
		l.t.Fatalf("the root %v is not held on to: %v", root.Dir, l.store.roots)
	}
	if files := l.walk(root.Dir, ""); files < 1200 {
		l.t.Errorf("the node has %d files", files)
	}
}

// walk compares what is below a node with the real directory, and counts files. The store's lock is held.
func (l *lab) walk(id tree.ID, path string) (files int) {
	l.t.Helper()
	n, err := tree.DecodeNode(l.store.objects[id])
	if err != nil {
		l.t.Fatalf("node of %q: %v", path, err)
	}
	for _, x := range n.Leaves {
		files += l.walk(x.ID, path)
	}
	for i := range n.Entries {
		e := &n.Entries[i]
		at := filepath.Join(path, e.Name)
		switch e.Kind {
		case tree.KindDir:
			files += l.walk(e.Dir, at)
		case tree.KindFile:
			files++
			want, err := os.ReadFile(filepath.Join(l.dir, at))
			if err != nil || !bytes.Equal(want, l.contents(e, at)) {
				l.t.Fatalf("file %q differs: %v", at, err)
			}
		}
	}
	return files
}

func (l *lab) contents(e *tree.Entry, at string) []byte {
	l.t.Helper()
	chunks := e.Chunks
	if e.Flags&tree.Hashed == 0 {
		l.t.Fatalf("file %q has no contents", at)
	}
	if e.List != (tree.ID{}) {
		var err error
		if chunks, err = tree.DecodeList(l.store.objects[e.List]); err != nil {
			l.t.Fatalf("list of %q: %v", at, err)
		}
	}
	var b []byte
	for _, c := range chunks {
		if c.Hole() {
			b = append(b, make([]byte, c.Size)...)
			continue
		}
		o := l.store.objects[c.ID]
		if uint64(len(o)) != c.Size {
			l.t.Fatalf("chunk %v of %q has %d bytes in place of %d", c.ID, at, len(o), c.Size)
		}
		b = append(b, o...)
	}
	return b
}

// chunksOf are the objects of a file.
func (l *lab) chunksOf(v *scan.Version, path string) []tree.ID {
	l.t.Helper()
	e, ok := v.Lookup(path)
	if !ok {
		l.t.Fatalf("no file %q", path)
	}
	chunks, err := v.Content(l.t.Context(), e.Ino)
	if err != nil {
		l.t.Fatal(err)
	}
	var ids []tree.ID
	for _, c := range chunks {
		if !c.Hole() {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// came is when an object came, -1: never.
func (l *lab) came(id tree.ID) int {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	return slices.Index(l.store.order, id)
}
