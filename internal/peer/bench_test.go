package peer_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// BenchmarkRoundTrip measures a home call and its answer over a link in memory.
func BenchmarkRoundTrip(b *testing.B) {
	for _, size := range []int{64, 4096, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			ctx := b.Context()
			acc := &peer.Acceptor{
				Admit: func(h *wire.Hello) (*wire.Welcome, error) {
					return &wire.Welcome{Version: wire.Version, Session: h.Session}, nil
				},
				Serve: func(ctx context.Context, e *peer.Endpoint, _ *wire.Hello, _ *wire.Welcome) {
					for {
						m, err := e.Recv(ctx)
						if err != nil {
							return
						}
						c := m.(*wire.HomeCall)
						if e.Send(ctx, &wire.HomeResult{Offload: 1, Attempt: 1, Call: c.Call, Response: c.Request}) != nil {
							return
						}
					}
				},
			}
			defer acc.Close()
			e, _, err := peer.Dial(ctx, func(context.Context) (link.Link, error) {
				here, there := link.Pipe(0)
				go acc.Accept(context.Background(), there)
				return here, nil
			}, wire.Hello{Version: wire.Version, Session: wire.Token{1}}, peer.Config{})
			if err != nil {
				b.Fatal(err)
			}
			defer e.Close()
			req := make([]byte, size)
			call := uint64(0)
			for b.Loop() {
				call++
				if err := e.Send(ctx, &wire.HomeCall{Offload: 1, Attempt: 1, Call: call, Request: req}); err != nil {
					b.Fatal(err)
				}
				if _, err := e.Recv(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
