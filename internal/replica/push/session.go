package push

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/replica"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// How much goes together. The node puts up with 256 MiB that it has not written yet.
const (
	firstBatch = 256      // objects of the first question, of each next twice as many
	lastBatch  = 4096     // up to this
	keepBytes  = 64 << 20 // bytes between two times that the node is to write
	keepIDs    = 64 << 10 // objects
	ahead      = 2        // questions that wait for their turn
	recordSize = len(tree.ID{}) + 10
)

// patience is how long the node may take to answer a question, in which it may have to write all that it was given.
const patience = 10 * time.Minute

// session is one conversation with the node.
type session struct {
	p   *pusher
	end *peer.Endpoint

	asking    sync.Mutex     // held while a question is sent: answers come in the same order
	questions chan *question // that have no answer yet

	// Of the goroutine that gives.
	unit int       // all before is given
	buf  []byte    // the next Give
	size int       // bytes given since the last mark
	ids  []tree.ID // given since
	mark *mark     // that the node has been asked to write, nil: none
}

// question is a message that the node answers.
type question struct {
	kind   wire.FilesKind // of the answer
	answer chan []byte
}

// batch is a run of units and what of them the node was asked about.
type batch struct {
	items    []item
	question *question // nil: there was nothing to ask
	end      int       // the unit behind
	here     int       // objects that are known to be there
	left     []leftUnit
}

// leftUnit is a file that could not be read.
type leftUnit struct {
	unit int
	err  error
}

// mark is what was given up to a point.
type mark struct {
	unit       int
	ids        []tree.ID
	kept, have *question
}

var (
	errOver  = errors.New("no more bytes to spend")
	errQuiet = errors.New("the node does not answer")
)

// greeting begins a session without a process.
func greeting(key [32]byte) wire.Hello {
	hello := wire.Hello{Version: wire.Version, FilesOnly: true, FilesKey: key, Engine: "none", Arch: runtime.GOARCH}
	_, _ = rand.Read(hello.Session[:]) // it never fails
	_, _ = rand.Read(hello.Process[:])
	return hello
}

// session gives what is missing over one conversation.
func (p *pusher) session(ctx context.Context) error {
	end, _, err := peer.Dial(ctx, p.cfg.Dial, greeting(p.cfg.Key), p.cfg.Peer)
	if err != nil {
		return err
	}
	s := &session{p: p, end: end, questions: make(chan *question, 4*ahead), unit: p.done}
	ctx, cancel := context.WithCancelCause(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer end.Close()
	defer cancel(nil)
	all.Go(func() { cancel(s.receive(ctx)) })
	batches := make(chan *batch, ahead)
	all.Go(func() {
		defer close(batches) // after the reason, if there is one
		if err := s.ask(ctx, batches); err != nil {
			cancel(err)
		}
	})
	if err := s.work(ctx, batches); err != nil {
		if errors.Is(err, context.Canceled) {
			return context.Cause(ctx)
		}
		return err
	}
	return nil
}

// work gives all, and has the node hold on to it.
func (s *session) work(ctx context.Context, batches <-chan *batch) error {
	err := s.giveAll(ctx, batches)
	if err != nil && !errors.Is(err, errOver) && !errors.Is(err, errPaused) {
		return err
	}
	for _, step := range []func(context.Context) error{s.flush, s.keep, s.settle} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if errors.Is(err, errPaused) {
		return err
	}
	start := replica.Start{Mounts: []replica.Mount{{Root: s.p.cfg.Image.Root(), Fresh: true}}}
	if err := s.end.Send(ctx, files(wire.FilesStart, start.AppendTo(nil))); err != nil {
		return err
	}
	q, err := s.question(ctx, wire.FilesKept, nil)
	if err == nil {
		_, err = q.wait(ctx)
	}
	return err
}

func files(kind wire.FilesKind, data []byte) *wire.Files {
	return &wire.Files{Offload: 1, Attempt: 1, Kind: kind, Data: data}
}

// question sends a question.
func (s *session) question(ctx context.Context, kind wire.FilesKind, data []byte) (*question, error) {
	s.asking.Lock()
	defer s.asking.Unlock()
	q := &question{kind: kind, answer: make(chan []byte, 1)}
	if kind == wire.FilesHave {
		q.kind = wire.FilesMiss
	}
	select {
	case s.questions <- q:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return q, s.end.Send(ctx, files(kind, data))
}

// have asks which of some objects are missing.
func (s *session) have(ctx context.Context, ids []tree.ID) (*question, error) {
	data := make([]byte, 0, len(ids)*len(tree.ID{}))
	for i := range ids {
		data = append(data, ids[i][:]...)
	}
	return s.question(ctx, wire.FilesHave, data)
}

// wait returns the answer.
func (q *question) wait(ctx context.Context) ([]byte, error) {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case b := <-q.answer:
		return b, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-t.C:
		return nil, errQuiet
	}
}

// missing waits for an answer about n objects.
func (q *question) missing(ctx context.Context, n int) (func(i int) bool, error) {
	b, err := q.wait(ctx)
	if err != nil {
		return nil, err
	}
	if len(b) != (n+7)/8 {
		return nil, fmt.Errorf("%d bytes about %d objects: %w", len(b), n, wire.ErrProtocol)
	}
	return func(i int) bool { return b[i/8]>>(i%8)&1 != 0 }, nil
}

// receive hands answers to their questions until the conversation ends.
func (s *session) receive(ctx context.Context) error {
	for {
		m, err := s.end.Recv(ctx)
		if err != nil {
			return err
		}
		f, ok := m.(*wire.Files)
		if !ok {
			return fmt.Errorf("%v where only files are brought: %w", m.Type(), wire.ErrProtocol)
		}
		select {
		case q := <-s.questions:
			if q.kind != f.Kind {
				return fmt.Errorf("files of kind %d in place of %d: %w", f.Kind, q.kind, wire.ErrProtocol)
			}
			q.answer <- f.Data
		default:
			return fmt.Errorf("files of kind %d, unasked: %w", f.Kind, wire.ErrProtocol)
		}
	}
}

// ask asks about all objects in turn, a little ahead of what is given.
func (s *session) ask(ctx context.Context, out chan<- *batch) error {
	p, asked, size := s.p, &Known{}, firstBatch
	b := &batch{}
	begin := p.done
	send := func(end int) (bool, error) {
		b.end = end
		if n := len(b.items); n > 0 {
			ids := make([]tree.ID, n)
			for i := range b.items {
				ids[i] = b.items[i].id
			}
			if !p.spend(n * len(tree.ID{})) {
				return false, nil
			}
			var err error
			if b.question, err = s.have(ctx, ids); err != nil {
				return false, err
			}
		}
		select {
		case out <- b:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
		b, begin, size = &batch{}, end, min(2*size, lastBatch)
		return true, nil
	}
	for unit := p.done; unit < p.plan.units(); unit++ {
		items, err := p.plan.items(ctx, p.cfg.Image, unit)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return context.Cause(ctx)
		default:
			b.left = append(b.left, leftUnit{unit, err})
		}
		for _, it := range items {
			if !asked.Add(it.id) {
				continue // it is on its way
			}
			if p.cfg.Known.Has(it.id) {
				b.here++
				continue
			}
			if b.items = append(b.items, it); len(b.items) >= size {
				if more, err := send(unit); !more {
					return err
				}
			}
		}
		if unit+1-begin >= lastBatch {
			if more, err := send(unit + 1); !more {
				return err
			}
		}
	}
	_, err := send(p.plan.units())
	return err
}

// giveAll gives what is missing of each batch.
func (s *session) giveAll(ctx context.Context, batches <-chan *batch) error {
	for {
		select {
		case b, more := <-batches:
			if !more {
				if s.p.counted().Over {
					return errOver
				}
				return context.Cause(ctx) // of a question that could not be asked
			}
			if err := s.giveBatch(ctx, b); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *session) giveBatch(ctx context.Context, b *batch) error {
	p := s.p
	for _, l := range b.left {
		p.leave(l.unit, l.err)
	}
	p.count(func(s *Stats) { s.Here += b.here })
	if b.question != nil {
		missing, err := b.question.missing(ctx, len(b.items))
		if err != nil {
			return err
		}
		for i := range b.items {
			it := &b.items[i]
			if !missing(i) {
				p.cfg.Known.Add(it.id)
				p.count(func(s *Stats) { s.Here++ })
			} else if err := s.give(ctx, it); err != nil {
				return err
			}
		}
	}
	s.unit = b.end
	p.reach(b.end, 0)
	return nil
}

// give gives one object, with others.
func (s *session) give(ctx context.Context, it *item) error {
	p := s.p
	if p.left[it.unit] {
		return nil
	}
	data, err := p.plan.data(ctx, p.cfg.Image, it)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errImage):
		return err
	case err != nil:
		p.leave(it.unit, err)
		return nil
	case data == nil:
		return nil
	}
	if len(s.buf)+len(data) > p.giveSize() {
		if err := s.flush(ctx); err != nil {
			return err
		}
		if s.size >= keepBytes || len(s.ids) >= keepIDs {
			if err := s.keep(ctx); err != nil {
				return err
			}
		}
		p.reach(it.unit, it.off)
		if !s.open() {
			return errPaused
		}
	}
	if !p.spend(len(data) + recordSize + len(it.id)) { // its id goes once more, in the question whether it was kept
		return errOver
	}
	s.buf = replica.AppendObject(s.buf, tree.Object{ID: it.id, Data: data})
	s.ids = append(s.ids, it.id)
	p.count(func(s *Stats) { s.Given++ })
	return nil
}

// giveSize is about how many bytes go at once: at a low rate few, so that they do not hold up others for long.
func (p *pusher) giveSize() int {
	if r := p.cfg.Rate; r > 0 && r < replica.MaxGive*4 {
		return max(int(r/4), 16<<10)
	}
	return replica.MaxGive
}

// open tells whether there may be sending, without waiting for it.
func (s *session) open() bool {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	return s.p.cfg.Gate(now) == nil
}

// flush sends what is gathered.
func (s *session) flush(ctx context.Context) error {
	if len(s.buf) == 0 {
		return nil
	}
	if err := s.p.rate.take(ctx, len(s.buf)); err != nil {
		return err
	}
	if err := s.end.Send(ctx, files(wire.FilesGive, s.buf)); err != nil { // which copies it
		return err
	}
	s.size += len(s.buf)
	s.buf = s.buf[:0]
	return nil
}

// keep has the node write what it was given, once it has written what came before.
func (s *session) keep(ctx context.Context) error {
	if err := s.settle(ctx); err != nil {
		return err
	}
	m := &mark{unit: s.unit, ids: s.ids}
	var err error
	if m.kept, err = s.question(ctx, wire.FilesKept, nil); err != nil {
		return err
	}
	if m.have, err = s.have(ctx, m.ids); err != nil {
		return err
	}
	s.mark, s.ids, s.size = m, nil, 0
	return nil
}

// settle waits until the node has written what the mark says, and looks whether it has it.
func (s *session) settle(ctx context.Context) error {
	m := s.mark
	if m == nil {
		return nil
	}
	s.mark = nil
	if _, err := m.kept.wait(ctx); err != nil {
		return err
	}
	missing, err := m.have.missing(ctx, len(m.ids))
	if err != nil {
		return err
	}
	dropped := 0
	for i, id := range m.ids {
		if missing(i) {
			dropped++
			continue
		}
		s.p.cfg.Known.Add(id)
	}
	s.p.count(func(s *Stats) { s.Dropped += dropped })
	if dropped > 0 && dropped == len(m.ids) {
		return ErrNotKept
	}
	s.p.done = m.unit
	return nil
}
