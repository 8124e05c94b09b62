package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/clonecloud/clonecloud/internal/overlay"
	"github.com/clonecloud/clonecloud/internal/replica"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// source gives an overlay what it lacks of one mount.
type source struct {
	f     *Files
	mount uint32
}

// Node implements overlay.Source.
func (s *source) Node(ctx context.Context, dir uint64, id tree.ID) (*tree.Node, error) {
	if n := s.f.cache.node(id); n != nil {
		return n, nil
	}
	b, err := s.f.object(ctx, replica.Want{Mount: s.mount, Ino: dir, ID: id})
	if err != nil {
		return nil, fmt.Errorf("fetch a directory: %w", err)
	}
	n, err := tree.DecodeNode(b)
	if err != nil {
		return nil, abort(fmt.Errorf("read a directory: %w", err))
	}
	s.f.cache.putNode(id, n, len(b))
	return n, nil
}

// Content implements overlay.Source.
func (s *source) Content(ctx context.Context, ino uint64, list tree.ID) ([]tree.Chunk, error) {
	if list != (tree.ID{}) {
		b, err := s.f.object(ctx, replica.Want{Mount: s.mount, Ino: ino, ID: list})
		if err != nil {
			return nil, fmt.Errorf("fetch what a file consists of: %w", err)
		}
		chunks, err := tree.DecodeList(b)
		if err != nil {
			return nil, abort(fmt.Errorf("read what a file consists of: %w", err))
		}
		return chunks, nil
	}
	x, err := s.f.ask(ctx, replica.Want{Mount: s.mount, Ino: ino, Size: s.f.along(firstBytes)})
	if err != nil {
		return nil, fmt.Errorf("fetch what a file consists of: %w", err)
	}
	return x.list, nil
}

// firstBytes of a file come along with the word of what it consists of, where nothing of it seems to be here.
const firstBytes = 256 << 10

// Chunk implements overlay.Source.
func (s *source) Chunk(ctx context.Context, ino, off uint64, c tree.Chunk) ([]byte, error) {
	b, err := s.f.object(ctx, replica.Want{Mount: s.mount, Ino: ino, ID: c.ID, Off: off, Size: c.Size})
	if err != nil {
		return nil, fmt.Errorf("fetch contents of a file: %w", err)
	}
	if uint64(len(b)) != c.Size {
		return nil, abort(fmt.Errorf("chunk of %d bytes in place of %d: %w", len(b), c.Size, replica.ErrMalformed))
	}
	return b, nil
}

// Ahead implements overlay.Source.
func (s *source) Ahead(ctx context.Context, wants []overlay.Want) {
	f := s.f
	var ids []tree.ID
	var todo []replica.Want
	for _, w := range wants {
		r := replica.Want{Mount: s.mount, Ino: w.Ino, Off: w.Off}
		switch {
		case w.Content:
			r.Size = f.along(w.Bytes)
		case w.Node != (tree.ID{}):
			r.ID = w.Node
		default:
			r.ID, r.Size = w.Chunk.ID, w.Chunk.Size
		}
		if r.ID != (tree.ID{}) && f.cache.has(r.ID) {
			continue
		}
		todo, ids = append(todo, r), append(ids, r.ID)
	}
	have := f.cfg.Store.Has(ids)
	for i, w := range todo {
		if w.ID != (tree.ID{}) && have[i] {
			f.preload(w.ID)
			continue
		}
		f.depart(w, false)
	}
	f.pump()
}

// along is how many bytes of a file's contents to ask for before it is known what they are: none where files that came
// before turned out to be here.
func (f *Files) along(n uint64) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cold < 0 {
		return 0
	}
	return n
}

// judge learns from what a file consists of whether the store knows files of this device.
func (f *Files) judge(list []tree.Chunk) {
	for _, c := range list {
		if c.Hole() {
			continue
		}
		here := f.cfg.Store.Has([]tree.ID{c.ID})[0]
		f.mu.Lock()
		if here {
			f.cold = max(f.cold-1, -4)
		} else {
			f.cold = min(f.cold+2, 4)
		}
		f.mu.Unlock()
		return
	}
}

// object returns an object from memory, from the store or from the device.
func (f *Files) object(ctx context.Context, w replica.Want) ([]byte, error) {
	if b := f.cache.get(w.ID); b != nil {
		return b, nil
	}
	if f.joined(key{id: w.ID}) {
		x, err := f.ask(ctx, w)
		if err != nil {
			return nil, err
		}
		return x.data, nil
	}
	b, err := f.cfg.Store.Get(ctx, w.ID)
	switch {
	case err == nil:
		f.cache.put(w.ID, b)
		f.mu.Lock()
		f.found += uint64(len(b))
		f.mu.Unlock()
		return b, nil
	case !errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil:
		f.cfg.Log("read object %v: %v", w.ID, err) // the device has it
	}
	x, err := f.ask(ctx, w)
	if err != nil {
		return nil, err
	}
	return x.data, nil
}

// joined tells whether something is on its way, or about to be.
func (f *Files) joined(k key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flights[k] != nil
}

// depart makes a flight, or finds the one that there is. One that is only expected to be needed waits until there is room
// on the way; send says that it is to be asked for now, by the caller.
func (f *Files) depart(w replica.Want, now bool) (x *flight, send bool) {
	k := keyOf(&w)
	f.mu.Lock()
	defer f.mu.Unlock()
	if x = f.flights[k]; x == nil {
		x = &flight{done: make(chan struct{}), want: w}
		if f.ended != nil {
			x.err = f.ended
			close(x.done)
			return x, false
		}
		f.flights[k] = x
		if !now {
			f.later = append(f.later, x)
			return x, false
		}
	}
	if !now || x.sent || x.over() {
		return x, false
	}
	f.send(x)
	return x, true
}

func keyOf(w *replica.Want) key {
	if w.ID == (tree.ID{}) {
		return key{mount: w.Mount, ino: w.Ino}
	}
	return key{id: w.ID}
}

// send counts a flight as asked for. Preconditions: f.mu is held.
func (f *Files) send(x *flight) {
	x.sent, x.at = true, time.Now()
	f.way.send(x.size())
}

// pump asks for what is expected to be needed, as far as there is room on the way: what is needed at once must not wait
// for long behind it.
func (f *Files) pump() {
	f.mu.Lock()
	var ask []byte
	for len(f.later) > 0 && f.way.room() {
		x := f.later[0]
		f.later[0] = nil
		f.later = f.later[1:]
		if !x.sent && !x.over() {
			f.send(x)
			ask = x.want.AppendTo(ask)
		}
	}
	f.mu.Unlock()
	if len(ask) > 0 {
		if err := f.cfg.Want(ask); err != nil && !errors.Is(err, ErrIdle) {
			f.end(err)
		}
	}
}

// ask asks the device for something and waits for it.
func (f *Files) ask(ctx context.Context, w replica.Want) (*flight, error) {
	x, send := f.depart(w, true)
	if send {
		if err := f.cfg.Want(w.AppendTo(nil)); err != nil {
			f.end(err)
			return nil, abort(err)
		}
	}
	_, err := f.await(ctx, x)
	return x, err
}

func (f *Files) await(ctx context.Context, x *flight) ([]byte, error) {
	select {
	case <-x.done:
	default:
		end := f.cfg.Waiting()
		defer end()
		select {
		case <-x.done:
		case <-ctx.Done():
			return nil, abort(context.Cause(ctx))
		}
	}
	if x.err != nil {
		return nil, abort(x.err)
	}
	return x.data, nil
}

// preload brings an object from the store into memory, in the background.
func (f *Files) preload(id tree.ID) {
	if !f.cache.load(id) {
		return
	}
	go func() {
		defer f.cache.loaded(id)
		if b, err := f.cfg.Store.Get(context.Background(), id); err == nil {
			f.cache.put(id, b)
			f.mu.Lock()
			f.found += uint64(len(b))
			f.mu.Unlock()
		}
	}()
}
