package local

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
)

// wait waits until something can be read, at most ns.
func (p *pump) wait(ctx context.Context, ns uint64) error {
	if p.ready() {
		return nil
	}
	p.ask(peek)
	var expired <-chan time.Time
	if ns != math.MaxUint64 {
		t := time.NewTimer(time.Duration(min(ns, math.MaxInt64)))
		defer t.Stop()
		expired = t.C
	}
	select {
	case p.rest = <-p.done:
		p.busy = false
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-expired:
		return errNotReady
	}
}

// poll waits for the first of several events.
func (l *System) poll(ctx context.Context, req *wasi.Request, resp *wasi.Response) error {
	subs, err := wasi.ParseSubs(req.Data)
	if err != nil {
		return err
	}
	timers, err := l.clocks.Timers(subs, req)
	if err != nil {
		return err
	}
	var waiting []waiter
	for i, s := range subs {
		if s.Kind == wasi.SubClock {
			continue
		}
		ev := wasi.Event{Index: uint32(i)}
		h, ok := l.handles[s.Arg]
		switch {
		case !ok:
			ev.Errno = vfs.EBADF
		case h.issued.Base&wasi.RightPoll == 0:
			ev.Errno = vfs.ENOTCAPABLE
		case h.stream != nil:
			w := waiter{ev, h.stream, s.Kind == wasi.SubWrite}
			if err := w.wait(ctx, 0); errors.Is(err, errNotReady) {
				waiting = append(waiting, w)
				continue
			} else if ctx.Err() != nil {
				return ctx.Err()
			}
			ev.Size = 1
		default: // a file is always ready
			if st, err := h.file.Stat(); err == nil {
				ev.Size = st.Size
			}
		}
		resp.Data = wasi.AppendEvent(resp.Data, ev)
	}
	if len(resp.Data) > 0 {
		return nil
	}
	ready, err := l.waitAny(ctx, waiting, timers.Wait)
	if err != nil {
		return err
	}
	if len(ready) == 0 {
		l.clocks.Fire(timers, req, resp)
	}
	for _, ev := range ready {
		resp.Data = wasi.AppendEvent(resp.Data, ev)
	}
	return nil
}

// waiter waits for one stream.
type waiter struct {
	ev     wasi.Event
	stream *stream
	write  bool
}

func (w waiter) wait(ctx context.Context, ns uint64) error {
	if w.write {
		return w.stream.waitWrite(ctx, ns)
	}
	return w.stream.waitRead(ctx, ns)
}

// waitAny waits for the first of the waiters, at most ns, and returns those that are ready; none if time was up.
func (l *System) waitAny(ctx context.Context, ws []waiter, ns uint64) ([]wasi.Event, error) {
	if len(ws) == 0 {
		return nil, l.clocks.Sleep(ctx, ns)
	}
	if len(ws) > 1 {
		// The waits of several streams run side by side until the first ends; each touches its own stream only.
		first, cancel := context.WithCancel(ctx)
		defer cancel()
		byStream := map[*stream][]waiter{}
		for _, w := range ws {
			byStream[w.stream] = append(byStream[w.stream], w)
		}
		done := make(chan struct{}, len(byStream))
		for _, same := range byStream {
			go func() {
				_ = same[0].wait(first, ns)
				cancel()
				done <- struct{}{}
			}()
		}
		for range byStream {
			<-done
		}
	} else if err := ws[0].wait(ctx, ns); err != nil && !errors.Is(err, errNotReady) && ctx.Err() != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var ready []wasi.Event
	for _, w := range ws {
		if err := w.wait(ctx, 0); !errors.Is(err, errNotReady) {
			w.ev.Size = 1
			ready = append(ready, w.ev)
		}
	}
	return ready, nil
}
