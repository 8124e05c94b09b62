// Package link carries frames between a device and a node, and breaks them on purpose.
//
// A Link delivers whole frames in order, or fails. It promises no more: what was sent may be lost when a link fails,
// and the session above (package wire) makes up for it on the next link. A frame given to Send is never changed
// afterwards, by neither side; one got from Recv belongs to the receiver, who may keep it but not change it either.
package link

import (
	"context"
	"errors"
	"sync"
)

// Errors of links. ErrClosed is what a closed or cut link returns, on both ends; for a closed one after the frames
// that were on the way.
var (
	ErrClosed = errors.New("link closed")
	// ErrCut marks a link that a fault cut. It matches ErrClosed too.
	ErrCut error = cutError{}
)

type cutError struct{}

func (cutError) Error() string        { return "link cut" }
func (cutError) Is(target error) bool { return target == ErrClosed }

// Link is one end of a connection that carries frames. Send, Recv and Close may be called by different goroutines;
// each of Send and Recv by one at a time.
type Link interface {
	// Send hands over a frame. It blocks while the link is busy. It returns before the frame has arrived. Any error
	// but ctx's ends the link; after an error of ctx the frame may or may not have been sent.
	Send(ctx context.Context, frame []byte) error
	// Recv waits for the next frame. Any error but ctx's ends the link.
	Recv(ctx context.Context) ([]byte, error)
	// Close ends the link. Both ends return ErrClosed afterwards. It may be called again.
	Close() error
}

// Dialer makes a new link to the same peer; called again after a cut.
type Dialer func(ctx context.Context) (Link, error)

// PipeBytes is how much a direction of a Pipe holds by default before Send blocks.
const PipeBytes = 256 << 10

// Pipe returns the two ends of a link in memory. Each direction holds capacity bytes (0: PipeBytes), at least one
// frame, and then Send blocks until the other end has received.
func Pipe(capacity int) (Link, Link) {
	if capacity <= 0 {
		capacity = PipeBytes
	}
	up, down := newQueue(capacity), newQueue(capacity)
	return &pipeEnd{out: up, in: down}, &pipeEnd{out: down, in: up}
}

type pipeEnd struct{ out, in *queue }

func (p *pipeEnd) Send(ctx context.Context, frame []byte) error { return p.out.push(ctx, frame) }
func (p *pipeEnd) Recv(ctx context.Context) ([]byte, error)     { return p.in.pop(ctx) }

func (p *pipeEnd) Close() error {
	p.out.close(ErrClosed)
	p.in.close(ErrClosed)
	return nil
}

// queue is one direction of a pipe.
type queue struct {
	capacity int
	space    chan struct{} // signalled when there may be room
	ready    chan struct{} // signalled when there may be a frame
	closed   chan struct{}

	mu     sync.Mutex
	frames [][]byte // guarded by mu
	bytes  int      // guarded by mu
	err    error    // guarded by mu; set once, closed is closed then
}

func newQueue(capacity int) *queue {
	return &queue{
		capacity: capacity,
		space:    make(chan struct{}, 1),
		ready:    make(chan struct{}, 1),
		closed:   make(chan struct{}),
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (q *queue) push(ctx context.Context, frame []byte) error {
	for {
		q.mu.Lock()
		if q.err != nil {
			err := q.err
			q.mu.Unlock()
			return err
		}
		if len(q.frames) == 0 || q.bytes+len(frame) <= q.capacity {
			q.frames = append(q.frames, frame)
			q.bytes += len(frame)
			q.mu.Unlock()
			wake(q.ready)
			return nil
		}
		q.mu.Unlock()
		select {
		case <-q.space:
		case <-q.closed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (q *queue) pop(ctx context.Context) ([]byte, error) {
	for {
		q.mu.Lock()
		if len(q.frames) > 0 {
			f := q.frames[0]
			q.frames[0] = nil
			q.frames = q.frames[1:]
			q.bytes -= len(f)
			q.mu.Unlock()
			wake(q.space)
			return f, nil
		}
		err := q.err
		q.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-q.ready:
		case <-q.closed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// close lets frames on the way still arrive.
func (q *queue) close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
		close(q.closed)
	}
}

// cut is close without the frames on the way.
func (q *queue) cut(err error) {
	q.close(err)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.frames, q.bytes = nil, 0
}
