package runner

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// TestOpenFails: what goes on beside the decoding of a module is over when that has failed.
func TestOpenFails(t *testing.T) {
	begun := false
	_, err := Open(t.Context(), Config{
		Module: []byte("no module"),
		Dial:   func(context.Context) (link.Link, error) { return nil, errors.New("dialed") },
		Begin: func(wire.ID) time.Duration {
			time.Sleep(20 * time.Millisecond)
			begun = true
			return 0
		},
	})
	if !errors.Is(err, ErrModule) || !begun {
		t.Errorf("error %v, Begin has returned: %v", err, begun)
	}
}
