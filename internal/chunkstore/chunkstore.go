// Package chunkstore keeps objects of directory trees for a node: chunks of files, nodes of directories and lists of
// chunks, each under its id. A Store is one tenant's namespace; a Backend is where its items are kept: a folder, an
// S3-compatible object store, or memory.
//
// What is kept is a copy of what a device has: any object may be absent, and is then asked for again. So nothing here
// waits for the disk but Flush and Pin, what is damaged is removed and counts as absent, and a process that ends loses
// what was about to be written. An object is there whole or not at all, also after a crash.
//
// Items and their names, with a key; h is HMAC-SHA-256 and each cipher AES-256-GCM, under keys that HKDF-SHA-256 makes of
// the tenant's:
//
//	xx/<64 hex digits>    an object, named h(id), xx being the first two digits. u8 2, then the sealed bytes; the nonce
//	                      is the first 12 bytes of the name, the name is the associated data
//	root/<64 hex digits>  a pinned root, named h of a text and its name. u8 2, nonce, sealed: u16 length of the name,
//	                      name, id; the name of the item is the associated data
//	format                u8 1, h of a text: tells a store that another key made
//
// Without a key h is SHA-256, an object's name is its id, the first byte is 1, objects are in the clear, and behind a
// root follows its SHA-256.
//
// Several processes may use one namespace. Each knows what is there from a listing and from what it did itself. An
// object that nothing pinned reaches goes when a collection finds that nobody used it for the grace time, or when the
// quota is reached and it was used longest ago. The one gap: what is put to use again in the very moment of its removal
// is absent, and asked for again.
//
// Lock order: Store.gc, Store.mu, index.mu.
package chunkstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// listEvery is how old a listing may be.
const listEvery = 5 * time.Minute

// Options are those of a Store.
type Options struct {
	Key     []byte        // the tenant's, at least 16 bytes; nil: names and contents in the clear
	Quota   uint64        // bytes of all objects; 0: no bound
	Pending int64         // bytes that may wait in memory to be written; 0: 64 MiB
	Grace   time.Duration // how long what nothing pinned reaches is kept after its last use; 0: 1 h, on S3 24 h
	Stale   time.Duration // roots not pinned again for so long give way when the quota is reached; 0: 30 days
	Repair  bool          // Check removes what is damaged
	Log     func(format string, args ...any)

	now func() time.Time
}

func (o *Options) fill(b Backend) {
	if o.Pending <= 0 {
		o.Pending = 64 << 20
	}
	if o.Grace <= 0 {
		o.Grace = time.Hour
		if _, cheap := b.(Stater); !cheap {
			o.Grace = 24 * time.Hour // each sixth of it costs a request for each object in use
		}
	}
	if o.Stale <= 0 {
		o.Stale = 30 * 24 * time.Hour
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	if o.now == nil {
		o.now = time.Now
	}
}

// Store is one tenant's namespace. Its methods may be called by many goroutines, and several processes may have the
// same namespace open.
type Store struct {
	o       Options
	b       Backend
	stat    Stater // nil where a look costs a round trip
	secrets secrets
	index   index

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	loaded chan struct{} // closed once the index holds a listing, or cannot

	gc sync.Mutex // one of us at a time marks and removes
	// Guarded by gc.
	marked  marks
	refused time.Time // when no room could be made last, zero if it could

	mu       sync.Mutex
	pending  map[tree.ID]*waiting // guarded by mu
	queue    []*waiting           // guarded by mu: the same, in order
	bytes    int64                // guarded by mu: of their data
	put      uint64               // guarded by mu: how many came
	done     uint64               // guarded by mu: how many of them, the first ones, are durable
	touch    []name               // guarded by mu: uses to be passed on
	touching bool                 // guarded by mu: some are being passed on
	writing  bool                 // guarded by mu: there is a goroutine that writes
	failed   error                // guarded by mu: of the last attempt to write
	failures uint64               // guarded by mu
	retry    time.Time            // guarded by mu: not before is a failed write tried again unasked
	changed  chan struct{}        // guarded by mu: closed and replaced when any of these changes
	closed   bool                 // guarded by mu
	listed   time.Time            // guarded by mu: when the index was brought up to date last
	pins     map[string]pin       // guarded by mu: what was pinned here
	pinned   uint64               // guarded by mu: how often
	counts   counts               // guarded by mu
}

// waiting is an object that is to be written.
type waiting struct {
	id   tree.ID
	data []byte
}

type counts struct{ damaged, evicted, evictedBytes uint64 }

// OpenStore opens the namespace that is kept in b, which is the store's from now on, to be closed by it. The error
// matches ErrKey if b holds files under another key.
func OpenStore(b Backend, o Options) (*Store, error) {
	o.fill(b)
	s := &Store{
		o: o, b: b, loaded: make(chan struct{}),
		pending: map[tree.ID]*waiting{}, changed: make(chan struct{}), pins: map[string]pin{},
	}
	s.index.known = map[name]meta{}
	s.stat, _ = b.(Stater)
	var err error
	if s.secrets, err = newSecrets(o.Key); err != nil {
		return nil, fmt.Errorf("open store of files: %w", err)
	}
	if err := s.checkFormat(context.Background()); err != nil {
		return nil, fmt.Errorf("open store of files: %w", err)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wg.Go(func() {
		defer close(s.loaded)
		if err := s.refresh(s.ctx); err != nil && s.ctx.Err() == nil {
			o.Log("list kept files: %v", err) // they count as absent until a later listing
		}
	})
	return s, nil
}

// checkFormat tells whether the namespace is ours, and marks a new one as such.
func (s *Store) checkFormat(ctx context.Context) error {
	want := s.secrets.format()
	got, err := s.b.Get(ctx, formatName, nil)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil && !errors.Is(err, ErrDamaged):
		return err
	case err == nil && len(got) == formatBytes && got[0] != formClear:
		return fmt.Errorf("version %d of its format is not known here", got[0])
	case err == nil && len(got) == formatBytes:
		if !bytes.Equal(got, want) {
			return ErrKey
		}
		return nil
	default:
		s.o.Log("item %q is damaged and written again", formatName)
	}
	return s.b.PutAll(ctx, []Item{{Name: formatName, Data: want}})
}

// refresh brings the index up to date with what others did.
func (s *Store) refresh(ctx context.Context) error {
	start := s.o.now().UnixNano()
	fresh := map[name]meta{}
	s.index.begin()
	err := s.b.List(ctx, "", func(i Info) error {
		if n, ok := parseName(i.Name); ok && !i.Foreign && i.Size <= MaxItem {
			at := i.Used.UnixNano()
			fresh[n] = meta{uint32(i.Size), at, at}
		}
		return nil
	})
	if err != nil {
		s.index.end()
		return err
	}
	s.index.replace(fresh, start)
	s.mu.Lock()
	s.listed = time.Unix(0, start)
	s.mu.Unlock()
	return nil
}

// relist brings the index up to date in the background if that was long ago, where nothing else tells what others did.
func (s *Store) relist() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.o.now()
	if s.closed || s.listed.IsZero() || now.Sub(s.listed) < listEvery {
		return
	}
	s.listed = now
	s.wg.Go(func() {
		if err := s.refresh(s.ctx); err != nil && s.ctx.Err() == nil {
			s.o.Log("list kept files: %v", err)
		}
	})
}

// Get returns an object, which is checked. The error matches fs.ErrNotExist if it is not there. The data must not be
// changed: it may be that of Put.
func (s *Store) Get(ctx context.Context, id tree.ID) ([]byte, error) {
	if b, ok := s.waits(id); ok {
		return b, nil
	}
	return s.read(ctx, id, s.secrets.name(id), nil)
}

// GetInto is Get into the caller's memory, if its capacity suffices: it needs up to 64 bytes more than the object.
func (s *Store) GetInto(ctx context.Context, id tree.ID, buf []byte) ([]byte, error) {
	if b, ok := s.waits(id); ok {
		return append(buf[:0], b...), nil
	}
	return s.read(ctx, id, s.secrets.name(id), buf)
}

func (s *Store) waits(id tree.ID) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.pending[id]
	if !ok {
		return nil, false
	}
	return w.data, true
}

// read gets an object from the backend.
func (s *Store) read(ctx context.Context, id tree.ID, n name, buf []byte) ([]byte, error) {
	if s.stat == nil {
		if ok, err := s.indexed(ctx, n); err != nil || !ok {
			return nil, cmp.Or(err, notThere(id))
		}
	}
	item := n.item()
	raw, err := s.b.Get(ctx, item, buf)
	var b []byte
	if err == nil {
		b, err = s.secrets.open(n, raw)
	}
	switch {
	case err == nil:
		s.used(n, len(raw))
		return b, nil
	case errors.Is(err, ErrDamaged):
		s.remove(item, n, err)
		return nil, fmt.Errorf("it was damaged: %w", notThere(id))
	case errors.Is(err, fs.ErrNotExist):
		s.index.drop(n)
		return nil, notThere(id)
	}
	return nil, fmt.Errorf("read object %v: %w", id, err)
}

func notThere(id tree.ID) error { return fmt.Errorf("object %v: %w", id, fs.ErrNotExist) }

// indexed tells whether the index, once it is there, has a name.
func (s *Store) indexed(ctx context.Context, n name) (bool, error) {
	select {
	case <-s.loaded:
	default:
		select {
		case <-s.loaded:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
	_, ok := s.index.get(n)
	return ok, nil
}

// remove takes a damaged object away.
func (s *Store) remove(item string, n name, why error) {
	s.o.Log("object %s is removed: %v", item, why)
	s.mu.Lock()
	s.counts.damaged++
	s.mu.Unlock()
	s.index.drop(n)
	if err := s.b.Delete(s.ctx, item); err != nil {
		s.o.Log("remove damaged object %s: %v", item, err)
	}
}

// used notes that an object is there and of use. size is that of its item.
func (s *Store) used(n name, size int) {
	now := s.o.now().UnixNano()
	if _, known := s.index.get(n); !known {
		s.index.put(n, size, now, 0)
	}
	s.pass(s.index.use(now, s.staleBefore(now), n))
}

// staleBefore is the time since when the backend should know of a use.
func (s *Store) staleBefore(now int64) int64 { return now - int64(s.o.Grace/4) }

// Has tells which objects are there, as far as that is known without asking far: one that others removed a moment ago
// may still be said to be there. They count as used.
func (s *Store) Has(ids []tree.ID) []bool {
	has := make([]bool, len(ids))
	if len(ids) == 0 {
		return has
	}
	s.mu.Lock()
	for i, id := range ids {
		_, has[i] = s.pending[id]
	}
	s.mu.Unlock()
	if s.stat == nil {
		<-s.loaded
		s.relist()
	}
	now := s.o.now().UnixNano()
	before := s.staleBefore(now)
	var stale []name
	for i, id := range ids {
		if has[i] {
			continue
		}
		n := s.secrets.name(id)
		if _, has[i] = s.index.get(n); !has[i] && s.stat != nil {
			has[i] = s.look(n)
		}
		if has[i] {
			stale = append(stale, s.index.use(now, before, n)...)
		}
	}
	s.pass(stale)
	return has
}

// look tells whether an object is there that others may have put, and notes it.
func (s *Store) look(n name) bool {
	info, err := s.stat.Stat(s.ctx, n.item())
	if err != nil || info.Size > MaxItem {
		return false
	}
	at := info.Used.UnixNano()
	s.index.put(n, int(info.Size), at, at)
	return true
}

// Stats are what a store holds and did.
type Stats struct {
	Objects               int    // that are written, as far as is known here
	Bytes                 uint64 // of them
	Quota                 uint64
	Pending               int   // objects that wait to be written
	PendingBytes          int64 // of them
	Damaged               uint64
	Evicted, EvictedBytes uint64
}

// Stats tells what the store holds and did since it was opened.
func (s *Store) Stats() Stats {
	objects, bytes := s.index.totals()
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Objects: objects, Bytes: bytes, Quota: s.o.Quota, Pending: len(s.pending), PendingBytes: s.bytes,
		Damaged: s.counts.damaged, Evicted: s.counts.evicted, EvictedBytes: s.counts.evictedBytes,
	}
}

// Close writes what waits and closes the backend. The error is that of the writing, too.
func (s *Store) Close() error {
	err := s.Flush(context.Background())
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.wake()
	s.mu.Unlock()
	if again {
		return nil
	}
	s.cancel()
	s.wg.Wait()
	if e := s.b.Close(); err == nil {
		err = e
	}
	return err
}
