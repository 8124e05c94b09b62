package peer_test

import (
	"context"
	"errors"
	"testing"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// A greeting that cannot be written would not be written the next time either, and no node hears of it.
func TestGreetingThatDoesNotFitIsHopeless(t *testing.T) {
	hello := wire.Hello{Version: wire.Version, Session: wire.Token{1}, Candidates: make([]uint32, wire.MaxCandidates+1)}
	dials := 0
	dial := func(context.Context) (link.Link, error) {
		dials++
		return nil, errors.New("nobody there")
	}
	if _, _, err := peer.Dial(t.Context(), dial, hello, patient); !errors.Is(err, peer.ErrHopeless) {
		t.Errorf("Dial: %v", err)
	}
	if _, err := peer.DialEarly(t.Context(), dial, hello, patient); !errors.Is(err, peer.ErrHopeless) {
		t.Errorf("DialEarly: %v", err)
	}
	if dials != 0 {
		t.Errorf("dialed %d times", dials)
	}
}
