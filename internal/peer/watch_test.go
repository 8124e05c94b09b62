package peer_test

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// TestWatch: each frame is told of, the greeting's too, and so is a link that fails and the one that follows.
func TestWatch(t *testing.T) {
	plan, err := link.ParsePlan("latency=5ms cut@9:up refuse@2 refuse@3")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var up, down uint64 // without greetings
		greetings := map[wire.Type]int{}
		var links []peer.Sight
		cfg := patient
		cfg.Watch = func(s peer.Sight) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case s.What == peer.SawLinkLost || s.What == peer.SawLinkBack:
				links = append(links, s)
			case s.Type == wire.TypeHello || s.Type == wire.TypeWelcome:
				greetings[s.Type]++
			case s.What == peer.SawSent:
				up += uint64(s.Bytes)
			default:
				down += uint64(s.Bytes)
			}
		}
		net := link.NewNetwork(plan, link.NetworkConfig{})
		p := connectTo(t, net, patient, cfg)
		defer p.close()
		if err := p.both(t.Context(), 40); err != nil {
			t.Fatal(err)
		}
		p.device.Close()
		traffic := p.device.Traffic()
		mu.Lock()
		defer mu.Unlock()
		if up != traffic.Sent || down != traffic.Received || up == 0 || down == 0 {
			t.Errorf("told of %d and %d bytes, %d and %d went over the links", up, down, traffic.Sent, traffic.Received)
		}
		if greetings[wire.TypeHello] != 2 || greetings[wire.TypeWelcome] != 2 {
			t.Errorf("greetings %v, want two of each", greetings)
		}
		if len(links) != 2 || links[0].What != peer.SawLinkLost || links[1].What != peer.SawLinkBack {
			t.Fatalf("links: %+v, want one lost and back", links)
		}
		if links[0].Err == nil || !strings.Contains(links[0].Err.Error(), "cut") && !strings.Contains(links[0].Err.Error(), "closed") {
			t.Errorf("it was lost by %v", links[0].Err)
		}
		if links[1].Away < 20*time.Millisecond || links[1].Away > time.Minute || links[1].RTT < 10*time.Millisecond {
			t.Errorf("it was back after %v, with a round trip of %v", links[1].Away, links[1].RTT)
		}
	})
}
