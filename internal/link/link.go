// Package link carries frames between a device and a node, and breaks them on purpose.
//
// A Link delivers whole frames in order, or fails. It promises no more: what was sent may be lost when a link fails,
// and the session above (package wire) makes up for it on the next link. A frame given to Send is never changed
// afterwards, by neither side; one got from Recv belongs to the receiver, who may keep it but not change it either.
//
// A Stream is a Link over a connection, and compresses where that saves time.
//
// A Network makes links in memory that have a latency and a rate, and on which a Plan lets things go wrong: at given
// frames, so that a run that failed can be had again.
package link

import (
	"context"
	"errors"
	"time"
)

// ErrClosed is what Send and Recv return on a link that either end has closed or a fault has cut; ErrCut, which
// matches it, in the latter case.
var (
	ErrClosed       = errors.New("link closed")
	ErrCut    error = cutError{}
)

type cutError struct{}

func (cutError) Error() string        { return "link cut" }
func (cutError) Is(target error) bool { return target == ErrClosed }

// Link is one end of a connection that carries frames. Send, Recv and Close may be called by different goroutines;
// each of Send and Recv by one at a time.
type Link interface {
	// Send hands over a frame. It blocks while the link is busy, and returns before the frame has arrived. Any
	// error but ctx's ends the link; after one of ctx's the frame has not been sent.
	Send(ctx context.Context, frame []byte) error
	// Recv waits for the next frame. Any error but ctx's ends the link.
	Recv(ctx context.Context) ([]byte, error)
	// Close ends the link: this end at once, the other once it has received what was on the way. It may be
	// called again.
	Close() error
}

// TrySender is a Link that can tell whether Send would have to wait. All links in memory are.
type TrySender interface {
	// TrySend does what Send does if that is possible at once; false: it is not, and the frame has not been sent.
	TrySend(frame []byte) (bool, error)
}

// Finisher is a Link that can say that nothing more will be sent, so that the other end closes it once it has received
// all. Closing it at once may lose what was sent last.
type Finisher interface {
	Finish() error
}

// Ahead is a Link that tells whether another frame has arrived together with the last one.
type Ahead interface {
	// Ahead is for the goroutine that calls Recv, which will then not wait.
	Ahead() bool
}

// Hearer is a Link that notices each byte that comes, not just whole frames.
type Hearer interface {
	// Silence is how long none has come. Any goroutine may ask.
	Silence() time.Duration
}

// Timed is a Link that knows how long a round trip took while it was made.
type Timed interface {
	RTT() time.Duration
}

// BatchSender is a Link that writes several frames at once. Streams do.
type BatchSender interface {
	// SendBatch sends frames as Send does, in few writes. After an error of ctx's none has been sent.
	SendBatch(ctx context.Context, frames [][]byte) error
}

// Rated is a Link that adapts to how fast it is. Streams do.
type Rated interface {
	// SetRate tells how many bytes of frames the link carries in a second (0: unknown), and the time of a round trip.
	SetRate(bytesPerSecond float64, rtt time.Duration)
}

// Dialer makes a new link to the same peer; it is called again after a cut.
type Dialer func(ctx context.Context) (Link, error)

// PipeBytes is how much one direction of a link in memory holds by default before Send blocks.
const PipeBytes = 256 << 10

// Pipe returns the two ends of a link in memory. Each direction holds capacity bytes (0: PipeBytes), at least one
// frame, and then Send blocks until the other end has received.
func Pipe(capacity int) (Link, Link) {
	up, down := newQueue(capacity, 0, 0), newQueue(capacity, 0, 0)
	return &pipeEnd{out: up, in: down}, &pipeEnd{out: down, in: up}
}

type pipeEnd struct{ out, in *queue }

func (p *pipeEnd) Send(ctx context.Context, frame []byte) error {
	return p.out.push(ctx, queued{frame: frame})
}
func (p *pipeEnd) TrySend(frame []byte) (bool, error) { return p.out.tryPush(queued{frame: frame}) }

func (p *pipeEnd) Recv(ctx context.Context) ([]byte, error) { return p.in.pop(ctx) }

func (p *pipeEnd) Close() error {
	p.out.closeSend()
	p.in.abort(ErrClosed)
	return nil
}
