// Package mirror is a node's end of the files that follow a process: it keeps what a conversation has been told of the
// device's directories, opens them for an attempt, and fetches what is lacking from the tenant's store or the device.
package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/overlay"
	"github.com/clonecloud/clonecloud/internal/replica"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// Store keeps a tenant's objects. Safe for concurrent use.
type Store interface {
	// Get returns an object that has this id, or an error that matches fs.ErrNotExist.
	Get(ctx context.Context, id tree.ID) ([]byte, error)
	// Has tells which of some objects seem to be there.
	Has(ids []tree.ID) []bool
	Put(ctx context.Context, id tree.ID, data []byte) error
	// Flush makes what was put durable.
	Flush(ctx context.Context) error
	// Pin keeps what the root reaches, under a name.
	Pin(ctx context.Context, name string, root tree.ID) error
}

// Config is what the files of a conversation need.
type Config struct {
	Store Store
	// Spool is a folder for what guests write; Memory and Limit bound the bytes in memory and in all.
	Spool         string
	Memory, Limit uint64
	// Want sends a Want message; ErrIdle if no attempt runs that it could be of.
	Want func(data []byte) error
	// Waiting is called when the guest begins to wait for the device, and what it returns when it goes on.
	Waiting func() (end func())
	// Fault is called when the device has broken a rule, before the guest learns of it; then the files end. Optional.
	Fault func(err error)
	// Log is told what a person may want to know.
	Log func(format string, args ...any)
}

// maxQueue is how many bytes a device may send without being asked, at most.
const maxQueue = 256 << 20

// ErrFlood marks a device that sends more than was asked for.
var ErrFlood = errors.New("more files were sent than asked for")

// ErrIdle tells that nothing runs that files could be asked for.
var ErrIdle = errors.New("no offload runs")

// Files are those of one conversation.
type Files struct {
	cfg      Config
	cache    cache
	unpacker replica.Unpacker // of the goroutine that works

	mu      sync.Mutex
	numbers map[uint32]*local.Numbers // guarded by mu; by mount
	flights map[key]*flight           // guarded by mu
	later   []*flight                 // guarded by mu; to be asked for when there is room
	way     way                       // guarded by mu
	queue   []message                 // guarded by mu; Give messages to take in
	queued  int                       // guarded by mu; their bytes
	working bool                      // guarded by mu
	attempt int                       // guarded by mu; counts attempts that have begun
	idle    chan struct{}             // guarded by mu; closed when working ends; nil: nobody waits
	ended   error                     // guarded by mu
	cold    int                       // guarded by mu; below 0: files seem to be here
	news    map[tree.ID]bool          // guarded by mu; what came first, and was not here
	started bool                      // guarded by mu; a Start was read
	// Fetched counts the bytes of objects that came from the device, Found those that were here.
	fetched, found uint64 // guarded by mu
}

// key names something that is on its way.
type key struct {
	id    tree.ID // zero: contents
	mount uint32
	ino   uint64
}

// flight is something that was asked for.
type flight struct {
	done chan struct{}
	data []byte
	list []tree.Chunk
	err  error
	want replica.Want
	sent bool // it was asked for, or is announced
	told bool // it is announced: it comes with something else
	at   time.Time
}

// over tells whether it has ended.
func (x *flight) over() bool {
	select {
	case <-x.done:
		return true
	default:
		return false
	}
}

// size is about how many bytes will come.
func (x *flight) size() int {
	const unknown = 16 << 10
	if x.want.Size == 0 || x.want.Size > tree.MaxChunk {
		return unknown
	}
	return int(x.want.Size)
}

// New returns the files of a conversation. Close them at its end.
func New(cfg Config) *Files {
	if cfg.Waiting == nil {
		cfg.Waiting = func() func() { return func() {} }
	}
	if cfg.Log == nil {
		cfg.Log = func(string, ...any) {}
	}
	return &Files{cfg: cfg, numbers: map[uint32]*local.Numbers{}, flights: map[key]*flight{}, news: map[tree.ID]bool{}, cache: cache{most: cacheBytes}, cold: -1}
}

// cacheBytes bounds the objects at hand in memory.
const cacheBytes = 64 << 20

// message is one that is to be taken in.
type message struct {
	data    []byte
	packed  bool
	attempt int // in which it came
}

// Take takes a Give message in, packed if it is part of the compressed stream. It does not wait. The error is the device's
// fault.
func (f *Files) Take(data []byte, packed bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.queued += len(data); f.queued > maxQueue {
		return ErrFlood
	}
	f.queue = append(f.queue, message{data, packed, f.attempt})
	if !f.working {
		f.working = true
		go f.work()
	}
	return nil
}

// work takes in what is queued.
func (f *Files) work() {
	for {
		f.mu.Lock()
		if len(f.queue) == 0 {
			f.working = false
			if f.idle != nil {
				close(f.idle)
				f.idle = nil
			}
			f.mu.Unlock()
			return
		}
		m := f.queue[0]
		f.queue[0] = message{}
		f.queue = f.queue[1:]
		f.mu.Unlock()
		data, err := m.data, error(nil)
		if m.packed {
			data, err = f.unpacker.Unpack(data)
		}
		if err == nil {
			err = f.takeIn(data, m.attempt)
		}
		if err != nil {
			if f.cfg.Fault != nil {
				f.cfg.Fault(err)
			}
			f.end(err)
		}
		f.mu.Lock()
		f.queued -= len(m.data)
		f.mu.Unlock()
	}
}

// takeIn verifies what came in an attempt, and hands it to those who wait.
func (f *Files) takeIn(data []byte, attempt int) error {
	list, err := replica.DecodeGive(data)
	if err != nil {
		return err
	}
	var keep []tree.Object
	for i := range list {
		g := &list[i]
		switch {
		case g.Object.Data != nil:
			if sha256.Sum256(g.Object.Data) != g.Object.ID {
				return fmt.Errorf("object %v arrived with other contents: %w", g.Object.ID, replica.ErrMalformed)
			}
			if len(g.Object.Data) < len(data)/2 {
				g.Object.Data = bytes.Clone(g.Object.Data) // it must not keep all of the message in memory
			}
			f.arrives(g.Object.ID)
			f.cache.put(g.Object.ID, g.Object.Data)
			f.land(key{id: g.Object.ID}, anyAttempt, func(x *flight) { x.data = g.Object.Data })
			keep = append(keep, g.Object)
		case g.List != nil:
			chunks, err := tree.DecodeList(g.List)
			if err != nil {
				return fmt.Errorf("%w: %w", replica.ErrMalformed, err)
			}
			if k := (key{mount: g.Mount, ino: g.Ino}); f.expected(k) {
				f.judge(chunks)
				f.announce(chunks, min(g.Follow, mostAlong), attempt)
				f.land(k, attempt, func(x *flight) { x.list = chunks })
			}
		default:
			why := fmt.Errorf("the device cannot give it: %s", g.Lack)
			k := key{id: g.ID}
			if g.ID == (tree.ID{}) {
				k = key{mount: g.Mount, ino: g.Ino}
			}
			f.land(k, attempt, func(x *flight) { x.err = why })
		}
	}
	f.pump()
	// Those who wait have it: keeping it may take longer.
	for _, o := range keep {
		f.mu.Lock()
		f.fetched += uint64(len(o.Data))
		f.mu.Unlock()
		if err := f.cfg.Store.Put(context.Background(), o.ID, o.Data); err != nil {
			f.cfg.Log("object %v is not kept: %v", o.ID, err)
		}
	}
	return nil
}

// expected tells whether something was asked for and has not come.
func (f *Files) expected(k key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	x := f.flights[k]
	return x != nil && x.sent && !x.over()
}

// mostAlong bounds the objects that can come along with the word of what a file consists of.
const mostAlong = 1 << 12

// announce makes those who need one of the objects that follow wait for it in place of asking.
func (f *Files) announce(chunks []tree.Chunk, follow, attempt int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range chunks {
		if follow == 0 || f.ended != nil || attempt != f.attempt {
			return
		}
		if c.Hole() {
			continue
		}
		follow--
		if k := (key{id: c.ID}); f.flights[k] == nil {
			x := &flight{done: make(chan struct{}), want: replica.Want{ID: c.ID, Size: c.Size}, sent: true, told: true, at: time.Now()}
			f.way.send(x.size())
			f.flights[k] = x
		}
	}
}

// anyAttempt is of what holds in all attempts. Other things that were said in one that was given up may hold no longer.
const anyAttempt = -1

// land ends a flight with what came in an attempt.
func (f *Files) land(k key, attempt int, fill func(*flight)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	x := f.flights[k]
	if x == nil || x.over() || attempt != anyAttempt && attempt != f.attempt {
		return // nobody waits, or somebody uses what came before
	}
	fill(x)
	if !x.at.IsZero() {
		now := time.Now()
		took := max(now.Sub(x.at), time.Microsecond)
		if x.told {
			took = 0
		}
		f.way.land(now, x.size(), len(x.data), took)
	}
	// Contents stay known as long as their attempt; an object is in the cache or the store now.
	if k.id != (tree.ID{}) || x.err != nil {
		delete(f.flights, k)
	}
	close(x.done)
}

// end makes all that is on its way fail, and what is asked for later.
func (f *Files) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended != nil {
		return
	}
	f.ended = err
	for k, x := range f.flights {
		if !x.over() {
			x.err = err
			close(x.done)
		}
		delete(f.flights, k)
	}
}

// Close ends the files.
func (f *Files) Close() { f.end(errors.New("the conversation has ended")) }

// Traffic returns the bytes of objects that came from the device, and of those that were found here.
func (f *Files) Traffic() (fetched, found uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fetched, f.found
}

// Start takes a Start message in. Its attempt may never begin: the device takes for known what the message says. No other attempt
// may be running.
func (f *Files) Start(data []byte) (*replica.Start, error) {
	s, err := replica.DecodeStart(data)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range s.Mounts {
		m := &s.Mounts[i]
		n := f.numbers[m.Index]
		if n == nil || m.Fresh {
			n = &local.Numbers{}
			f.numbers[m.Index] = n
		}
		n.Apply(m.Numbers)
		n.Last = m.Last
		if m.Cold && f.cold == -1 && !f.before(m.Root.Dir) {
			f.cold = 1
		}
	}
	f.started, f.news = true, nil
	return s, nil
}

// before tells whether an object was here before the conversation: whoever has the top of a directory was brought its files.
// Preconditions: f.mu is held.
func (f *Files) before(id tree.ID) bool { return f.cfg.Store.Has([]tree.ID{id})[0] && !f.news[id] }

// mostNews bounds the objects that come before the first Start is read.
const mostNews = 1 << 10

// arrives notes that an object is about to be here, which may come before the word of what it is of is read.
func (f *Files) arrives(id tree.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.started && len(f.news) < mostNews && !f.cfg.Store.Has([]tree.ID{id})[0] {
		f.news[id] = true
	}
}

// Begin opens the directories of an attempt. clock is the last time that the process has seen.
func (f *Files) Begin(ctx context.Context, s *replica.Start, home wasi.System, clock func() uint64) (*replica.System, error) {
	f.mu.Lock()
	// What an attempt that was given up has asked for never comes; what files held then may have changed.
	clear(f.flights)
	f.later, f.way.flying = nil, 0
	f.attempt++
	f.mu.Unlock()
	for i := range s.Mounts {
		go f.hold(&s.Mounts[i])
	}
	return replica.NewSystem(ctx, s, replica.Config{
		Home: home, Clock: clock, Spool: f.cfg.Spool, Memory: f.cfg.Memory, Limit: f.cfg.Limit,
		Source: func(index uint32) overlay.Source { return &source{f, index} },
		Numbers: func(index uint32) *local.Numbers {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.numbers[index]
		},
	})
}

// Rest ends an attempt: what it expected to need is not asked for on account of another.
func (f *Files) Rest() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.later = nil
}

// hold keeps what a version reaches from being collected.
func (f *Files) hold(m *replica.Mount) {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	h := sha256.Sum256(fmt.Appendf(nil, "mount %d of inode %d", m.Index, m.Root.Ino))
	if err := f.cfg.Store.Pin(ctx, hex.EncodeToString(h[:16]), m.Root.Dir); err != nil {
		f.cfg.Log("files are not held on to: %v", err)
	}
}

// Hold takes a Start message of a device that brings files ahead of need: what it names is held on to.
func (f *Files) Hold(_ context.Context, data []byte) error {
	s, err := replica.DecodeStart(data)
	if err != nil {
		return err
	}
	for i := range s.Mounts {
		f.hold(&s.Mounts[i])
	}
	return nil
}

// Missing answers a Have message with a Miss.
func (f *Files) Missing(data []byte) ([]byte, error) {
	const size = len(tree.ID{})
	if len(data)%size != 0 {
		return nil, fmt.Errorf("%w: ids of %d bytes", replica.ErrMalformed, len(data))
	}
	ids := make([]tree.ID, 0, len(data)/size)
	for ; len(data) > 0; data = data[size:] {
		ids = append(ids, tree.ID(data[:size]))
	}
	miss := make([]byte, (len(ids)+7)/8)
	for i, here := range f.cfg.Store.Has(ids) {
		if !here {
			miss[i/8] |= 1 << (i % 8)
		}
	}
	return miss, nil
}

// Flush makes all that has come durable.
func (f *Files) Flush(ctx context.Context) error {
	for {
		f.mu.Lock()
		err, idle := f.ended, !f.working
		var wait chan struct{}
		if !idle {
			if f.idle == nil {
				f.idle = make(chan struct{})
			}
			wait = f.idle
		}
		f.mu.Unlock()
		switch {
		case err != nil:
			return err
		case idle:
			return f.cfg.Store.Flush(ctx)
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Keep keeps chunks of files that a guest wrote: the device will soon speak of them.
func (f *Files) Keep(o tree.Object) {
	f.cache.put(o.ID, o.Data)
	if err := f.cfg.Store.Put(context.Background(), o.ID, o.Data); err != nil {
		f.cfg.Log("object %v is not kept: %v", o.ID, err)
	}
}

// abort is what a guest's call ends with when something cannot be had.
func abort(err error) error { return &vfs.AbortError{Err: err} }
