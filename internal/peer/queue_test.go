package peer_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// batches is a link that takes many frames at once, and notes how many.
type batches struct {
	link.Link
	log *writes
}

type writes struct {
	mu    sync.Mutex
	sizes []int // of batches, frames of numbered messages alone
}

func (b *batches) SendBatch(ctx context.Context, frames [][]byte) error {
	n := 0
	for _, f := range frames {
		if h, err := wire.ParseHeader(f); err == nil && h.Type.Numbered() {
			n++
		}
		if err := b.Link.Send(ctx, f); err != nil {
			return err
		}
	}
	if n > 0 {
		b.log.mu.Lock()
		b.log.sizes = append(b.log.sizes, n)
		b.log.mu.Unlock()
	}
	return nil
}

func (w *writes) expect(t *testing.T, want ...int) {
	t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.sizes, want) {
		t.Errorf("wrote batches of %v, want %v", w.sizes, want)
	}
	w.sizes = nil
}

// batched is connect over links that take batches on the device's side.
func batched(t *testing.T, plan link.Plan) (*pair, *writes) {
	t.Helper()
	p := &pair{net: link.NewNetwork(plan, link.NetworkConfig{}), release: make(chan struct{})}
	nodes, log := make(chan *peer.Endpoint, 1), &writes{}
	p.acc = &peer.Acceptor{Config: patient, Admit: welcome, Serve: func(ctx context.Context, e *peer.Endpoint, _ *wire.Hello, _ *wire.Welcome) {
		nodes <- e
		select {
		case <-p.release:
		case <-ctx.Done():
		}
	}}
	dial := p.net.Dialer(func(l link.Link) { _ = p.acc.Accept(t.Context(), l) })
	var err error
	p.device, _, err = peer.Dial(t.Context(), func(ctx context.Context) (link.Link, error) {
		l, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return &batches{l, log}, nil
	}, wire.Hello{Version: wire.Version, Session: wire.Token{1}}, patient)
	if err != nil {
		t.Fatal(err)
	}
	p.node = <-nodes
	return p, log
}

func tiny(n uint64) wire.Message {
	return &wire.HomeCall{Offload: 1, Attempt: 1, Call: n, Request: []byte{byte(n), byte(n >> 8), 0, 0, 0, 0, 0, 0}}
}

// TestQueue: what is queued goes with what follows at once, or alone with the next heartbeat.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, log := batched(t, link.Plan{})
		defer p.close()
		n := uint64(0)
		put := func(f func(context.Context, wire.Message) error) {
			t.Helper()
			n++
			if err := f(t.Context(), tiny(n)); err != nil {
				t.Fatal(err)
			}
		}
		put(p.device.Queue)
		put(p.device.Queue)
		log.expect(t)
		put(p.device.Send)
		log.expect(t, 3)
		put(p.device.Queue)
		time.Sleep(2 * time.Millisecond)
		log.expect(t)
		put(p.device.Send)
		log.expect(t, 2)
		put(p.device.Queue)
		put(p.device.Queue)
		if err := drain(t.Context(), p.node, n); err != nil {
			t.Error(err)
		}
		// Where the link cannot take batches nothing is gained by waiting.
		if err := p.node.Queue(t.Context(), tiny(1)); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := drain(t.Context(), p.device, 1); err != nil || time.Since(start) > 0 {
			t.Errorf("received after %v: %v", time.Since(start), err)
		}
	})
}

// TestQueueMuch does not keep back more than goes into one write.
func TestQueueMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, log := batched(t, link.Plan{})
		defer p.close()
		for i := range uint64(4) {
			if err := p.device.Queue(t.Context(), &wire.HomeCall{Offload: 1, Attempt: 1, Call: i + 1, Request: make([]byte, 5<<10)}); err != nil {
				t.Fatal(err)
			}
		}
		log.expect(t, 4)
	})
}

// TestQueueOrder mixes Queue and Send while links break: all arrives, once and in order.
func TestQueueOrder(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			p, _ := batched(t, link.Plan{Latency: time.Duration(r.IntN(3)) * time.Millisecond})
			defer p.close()
			const total = 300
			errs := make(chan error, 1)
			go func() { errs <- drain(t.Context(), p.node, total) }()
			for n := uint64(1); n <= total; n++ {
				send, m := p.device.Queue, tiny(n)
				switch r.IntN(8) {
				case 0:
					send = p.device.Send
				case 1:
					m = numbered(n)
				case 2:
					time.Sleep(time.Duration(r.IntN(4000)) * time.Microsecond)
				}
				if err := send(t.Context(), m); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if r.IntN(40) == 0 {
					p.net.Cut()
				}
			}
			if err := <-errs; err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
		})
	}
}

// TestQueueLost breaks the link with something queued, and the conversation: what was queued goes over the next link,
// and is no reason to wait at the end.
func TestQueueLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, log := batched(t, link.Plan{Latency: time.Millisecond})
		defer p.close()
		for n := range uint64(3) {
			if err := p.device.Queue(t.Context(), tiny(n+1)); err != nil {
				t.Fatal(err)
			}
		}
		p.net.Cut()
		if err := drain(t.Context(), p.node, 3); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		log.expect(t, 3)
		if err := p.device.Queue(t.Context(), tiny(4)); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		p.device.Close() // takes it along
		m, err := p.node.Recv(t.Context())
		if err != nil || m.(*wire.HomeCall).Call != 4 || time.Since(start) > 2*time.Millisecond {
			t.Errorf("received %v after %v: %v", m, time.Since(start), err)
		}
	})
}
