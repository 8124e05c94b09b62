package mirror

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/overlay"
	"github.com/clonecloud/clonecloud/internal/replica"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// device answers wants as a test says.
type device struct {
	mu    sync.Mutex
	asked []replica.Want
	more  chan struct{}
}

func newDevice() *device { return &device{more: make(chan struct{}, 1000)} }

func (d *device) want(b []byte) error {
	list, err := replica.DecodeWants(b)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for range list {
		d.more <- struct{}{}
	}
	d.asked = append(d.asked, list...)
	return nil
}

// next waits until something has been asked for.
func (d *device) next() replica.Want {
	<-d.more
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.asked[0]
	d.asked = d.asked[1:]
	return w
}

func object(i, size int) tree.Object {
	b := []byte(strings.Repeat(fmt.Sprintf("object %d ", i), size/8+1))[:size]
	return tree.Object{ID: tree.IDOf(b), Data: b}
}

func newFiles(t *testing.T, d *device) *Files {
	f := New(Config{Store: NewMemory(64 << 20), Want: d.want, Log: t.Logf})
	t.Cleanup(f.Close)
	return f
}

func chunkOf(o tree.Object) tree.Chunk { return tree.Chunk{ID: o.ID, Size: uint64(len(o.Data))} }

func TestFetch(t *testing.T) {
	d := newDevice()
	f := newFiles(t, d)
	s := &source{f, 3}
	o := object(1, 1000)
	got := make(chan []byte)
	go func() {
		b, err := s.Chunk(t.Context(), 7, 50, chunkOf(o))
		if err != nil {
			t.Error(err)
		}
		got <- b
	}()
	if w := d.next(); w != (replica.Want{Mount: 3, Ino: 7, Off: 50, Size: 1000, ID: o.ID}) {
		t.Errorf("asked for %+v", w)
	}
	if err := f.Take(replica.AppendObject(nil, o), false); err != nil {
		t.Fatal(err)
	}
	if b := <-got; string(b) != string(o.Data) {
		t.Errorf("got %q", b)
	}
	// Then it is here, in a new conversation too.
	g := New(Config{Store: f.cfg.Store, Want: func([]byte) error { return errors.New("asked again") }})
	defer g.Close()
	if err := f.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*Files{f, g} {
		if b, err := (&source{f, 0}).Chunk(t.Context(), 1, 2, chunkOf(o)); err != nil || string(b) != string(o.Data) {
			t.Errorf("again: got %q, %v", b, err)
		}
	}
	if fetched, _ := f.Traffic(); fetched != 1000 {
		t.Errorf("fetched %d bytes", fetched)
	}
}

// TestNeededOvertakes: what the guest waits for is asked for at once, whatever waits for room on the way.
func TestNeededOvertakes(t *testing.T) {
	d := newDevice()
	f := newFiles(t, d)
	s := &source{f, 0}
	const n, size = 100, 64 << 10
	var wants []overlay.Want
	objects := map[tree.ID]tree.Object{}
	var last tree.Object
	for i := range n {
		o := object(i, size)
		objects[o.ID], last = o, o
		wants = append(wants, overlay.Want{Ino: 1, Off: uint64(i) * size, Chunk: chunkOf(o)})
	}
	s.Ahead(t.Context(), wants)
	d.mu.Lock()
	first := len(d.asked)
	d.mu.Unlock()
	if first == 0 || first > 10 {
		t.Fatalf("%d of %d expected chunks asked for at once", first, n)
	}
	done := make(chan error)
	go func() {
		_, err := s.Chunk(t.Context(), 1, (n-1)*size, chunkOf(last))
		done <- err
	}()
	for range first {
		if w := d.next(); w.ID == last.ID {
			t.Error("the last was among the first")
		}
	}
	if w := d.next(); w.ID != last.ID {
		t.Errorf("asked for offset %d before what is needed", w.Off)
	}
	if err := f.Take(replica.AppendObject(nil, last), false); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	// As they come, the others are asked for, each once.
	seen := map[tree.ID]bool{}
	for i, w := range wants[:n-1] {
		if i >= first {
			got := d.next()
			if seen[got.ID] || got.ID == last.ID {
				t.Fatal("asked twice")
			}
			seen[got.ID] = true
		}
		if err := f.Take(replica.AppendObject(nil, objects[w.Chunk.ID]), false); err != nil {
			t.Fatal(err)
		}
	}
}

func TestContentBringsChunks(t *testing.T) {
	d := newDevice()
	f := newFiles(t, d)
	s := &source{f, 1}
	f.cold = 1 // files before were not here
	a, b := object(1, 100), object(2, 200)
	list := []tree.Chunk{chunkOf(a), {Size: 4096}, chunkOf(b)}
	go func() {
		w := d.next()
		if w.ID != (tree.ID{}) || w.Ino != 5 || w.Size == 0 {
			t.Errorf("asked for %+v", w)
		}
		_ = f.Take(replica.AppendContent(nil, 1, 5, 2, tree.EncodeList(list)), false)
		_ = f.Take(replica.AppendObject(replica.AppendObject(nil, a), b), false)
	}()
	got, err := s.Content(t.Context(), 5, tree.ID{})
	if err != nil || len(got) != 3 {
		t.Fatalf("got %v, %v", got, err)
	}
	for i, o := range []tree.Object{a, b} {
		if data, err := s.Chunk(t.Context(), 5, 0, chunkOf(o)); err != nil || string(data) != string(o.Data) {
			t.Errorf("chunk %d: got %q, %v", i, data, err)
		}
	}
	if len(d.asked) > 0 {
		t.Errorf("asked for %+v, which came along", d.asked)
	}
}

// TestBadAnswers: what cannot be had, and what is not what it should be, ends the guest's call.
func TestBadAnswers(t *testing.T) {
	o := object(1, 100)
	w := replica.Want{Ino: 1, ID: o.ID}
	for name, answer := range map[string][]byte{
		"lack":          replica.AppendLack(nil, &w, "changed"),
		"wrong bytes":   replica.AppendObject(nil, tree.Object{ID: o.ID, Data: []byte("something else")}),
		"cut short":     replica.AppendObject(nil, o)[:50],
		"no such kind":  {99},
		"bad list":      replica.AppendContent(nil, 0, 1, 0, []byte("nonsense")),
		"lack, no text": replica.AppendLack(nil, &w, ""),
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			d := newDevice()
			f := newFiles(t, d)
			go func() {
				d.next()
				_ = f.Take(answer, false)
			}()
			_, err := (&source{f, 0}).Chunk(t.Context(), 1, 0, chunkOf(o))
			var abort *vfs.AbortError
			if !errors.As(err, &abort) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestFlood(t *testing.T) {
	f := newFiles(t, newDevice())
	f.working = true // nothing is taken in
	piece := make([]byte, 8<<20)
	var err error
	for range maxQueue/len(piece) + 1 {
		err = errors.Join(err, f.Take(piece, false))
	}
	if !errors.Is(err, ErrFlood) {
		t.Errorf("got %v", err)
	}
}

func TestCancelled(t *testing.T) {
	f := newFiles(t, newDevice())
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the reason")
	cancel(why)
	if _, err := (&source{f, 0}).Chunk(ctx, 1, 0, chunkOf(object(1, 10))); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

func TestWay(t *testing.T) {
	var w way
	now := time.Unix(0, 0)
	const size, rtt, rate = 64 << 10, 50 * time.Millisecond, 4 << 20
	// A link of 4 MB/s and 50 ms takes about 200 kB: there must be that much on the way, and not many times that.
	type flight struct{ sent time.Time }
	var flying []flight
	free := now
	for range 2000 {
		for w.room() {
			w.send(size)
			flying = append(flying, flight{now})
		}
		free = free.Add(time.Second * size / rate)
		if at := flying[0].sent.Add(rtt); free.Before(at) {
			free = at
		}
		now = free
		w.land(now, size, size, now.Sub(flying[0].sent))
		flying = flying[1:]
	}
	if l := w.limit(); l < rate/20 || l > 1<<20 {
		t.Errorf("%d bytes on the way of a link that takes %d", l, rate/20)
	}
}

func TestMissing(t *testing.T) {
	f := newFiles(t, newDevice())
	var have []byte
	for i := range 20 {
		o := object(i, 50)
		have = append(have, o.ID[:]...)
		if i%3 == 0 {
			if err := f.Take(replica.AppendObject(nil, o), false); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	miss, err := f.Missing(have)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if got := miss[i/8]>>(i%8)&1 == 1; got != (i%3 != 0) {
			t.Errorf("object %d: missing %t", i, got)
		}
	}
	if _, err := f.Missing(have[:33]); !errors.Is(err, replica.ErrMalformed) {
		t.Errorf("33 bytes of ids: got %v", err)
	}
}

// TestLateAnswer: what was said of a file in an attempt that was given up is not believed in the next one.
func TestLateAnswer(t *testing.T) {
	d := newDevice()
	f := newFiles(t, d)
	s := &source{f, 1}
	old, now := object(1, 100), object(2, 100)
	begin := func() {
		t.Helper()
		y, err := f.Begin(t.Context(), &replica.Start{}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = y.Close() })
	}
	begin()
	f.depart(replica.Want{Mount: 1, Ino: 5}, true)
	f.mu.Lock()
	f.working = true // something else is being taken in
	f.mu.Unlock()
	if err := f.Take(replica.AppendContent(nil, 1, 5, 1, tree.EncodeList([]tree.Chunk{chunkOf(old)})), false); err != nil {
		t.Fatal(err)
	}
	begin()
	got := make(chan []tree.Chunk, 1)
	go func() {
		list, err := s.Content(t.Context(), 5, tree.ID{})
		if err != nil {
			t.Error(err)
		}
		got <- list
	}()
	d.next()
	if err := f.Take(replica.AppendContent(nil, 1, 5, 0, tree.EncodeList([]tree.Chunk{chunkOf(now)})), false); err != nil {
		t.Fatal(err)
	}
	f.work()
	if list := <-got; len(list) != 1 || list[0].ID != now.ID {
		t.Errorf("the file consists of %v", list)
	}
	// Nor does anybody wait for what was announced then.
	go func() {
		d.next()
		_ = f.Take(replica.AppendObject(nil, old), false)
	}()
	if _, err := s.Chunk(t.Context(), 5, 0, chunkOf(old)); err != nil {
		t.Error(err)
	}
}

// TestAnswerTwice: what a guest may be using does not change under it.
func TestAnswerTwice(t *testing.T) {
	d := newDevice()
	f := newFiles(t, d)
	f.depart(replica.Want{Mount: 1, Ino: 5}, true)
	first := []tree.Chunk{{Size: 10}}
	for _, list := range [][]tree.Chunk{first, {{Size: 5}, {ID: object(1, 5).ID, Size: 5}}} {
		if err := f.Take(replica.AppendContent(nil, 1, 5, 0, tree.EncodeList(list)), false); err != nil {
			t.Fatal(err)
		}
		if err := f.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := (&source{f, 1}).Content(t.Context(), 5, tree.ID{}); err != nil || len(got) != 1 || got[0] != first[0] {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestUnasked: the word of what nobody asked for leaves nothing in memory.
func TestUnasked(t *testing.T) {
	f := newFiles(t, newDevice())
	var list []tree.Chunk
	for i := range 100 {
		list = append(list, chunkOf(object(i, 100)))
	}
	if err := f.Take(replica.AppendContent(nil, 1, 5, len(list), tree.EncodeList(list)), false); err != nil {
		t.Fatal(err)
	}
	if err := f.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(f.flights) > 0 {
		t.Errorf("%d objects are waited for", len(f.flights))
	}
}

// TestStartNotBegun: what a Start says of numbers holds, whether its attempt begins or not.
func TestStartNotBegun(t *testing.T) {
	f := newFiles(t, newDevice())
	dir := tree.Entry{Kind: tree.KindDir, Ino: 2, Nlink: 2, Dir: tree.IDOf(nil)}
	say := func(fresh bool, n local.Number) {
		t.Helper()
		s := replica.Start{Mounts: []replica.Mount{{Index: 3, Root: dir, Fresh: fresh, Numbers: []local.Number{n}, Last: n.Virtual}}}
		if _, err := f.Start(s.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
	}
	say(true, local.Number{Ino: 5, Virtual: 20})
	say(false, local.Number{Ino: 6, Virtual: 21})
	if n := f.numbers[3]; n.Last != 21 || n.Files[5] != 20 || n.Files[6] != 21 {
		t.Errorf("numbers are %+v", n)
	}
}

// TestBrought: what begins cold asks for contents to come along, unless the directory was brought in another conversation.
func TestBrought(t *testing.T) {
	dir := object(1, 100)
	s := replica.Start{Mounts: []replica.Mount{{Root: tree.Entry{Kind: tree.KindDir, Ino: 2, Nlink: 2, Dir: dir.ID}, Fresh: true, Cold: true}}}
	store := NewMemory(1 << 20)
	for _, want := range []uint64{10, 0} {
		f := New(Config{Store: store})
		if want > 0 { // it may come before the word of it is read
			if err := f.Take(replica.AppendObject(nil, dir), false); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Start(s.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
		if n := f.along(10); n != want {
			t.Errorf("%d bytes come along, want %d", n, want)
		}
		f.Close()
	}
}

// TestSmallObjects do not keep the messages in memory that they came in.
func TestSmallObjects(t *testing.T) {
	f := newFiles(t, newDevice())
	small, large := object(1, 100), object(2, 60<<10)
	data := replica.AppendObject(replica.AppendObject(nil, small), large)
	if err := f.Take(data, false); err != nil {
		t.Fatal(err)
	}
	if err := f.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b := f.cache.get(small.ID); string(b) != string(small.Data) || cap(b) > 1000 {
		t.Errorf("object of %d bytes in %d", len(b), cap(b))
	}
	clear(data)
	if b := f.cache.get(small.ID); string(b) != string(small.Data) {
		t.Error("it is a part of the message")
	}
}
