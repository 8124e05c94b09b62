package push

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/replica"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Checked is what a check came to.
type Checked = replica.Checked

// CheckConfig is what a check needs. Dial must be set.
type CheckConfig struct {
	Dial link.Dialer
	Peer peer.Config
	// Key is what the node encrypts the device's files with: it is the device that has it.
	Key [32]byte
	// ReadData has the node read and verify all contents.
	ReadData bool
	// Progress is told now and then how far it is. Optional.
	Progress func(Checked)
}

// ErrCheck marks a check that the node could not carry out.
var ErrCheck = errors.New("the node could not check the files")

// Check has the node check what it keeps of this device's files. With an error it returns what was found by then. The end of
// ctx ends the check on the node, too.
func Check(ctx context.Context, cfg CheckConfig) (Checked, error) {
	c, err := check(ctx, cfg)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return c, err
}

func check(ctx context.Context, cfg CheckConfig) (Checked, error) {
	end, _, err := peer.Dial(ctx, cfg.Dial, greeting(cfg.Key), cfg.Peer)
	if err != nil {
		return Checked{}, err
	}
	defer end.Close() // which tells the node
	if err := end.Send(ctx, files(wire.FilesCheck, replica.AppendCheck(nil, cfg.ReadData))); err != nil {
		return Checked{}, err
	}
	var last Checked
	for {
		c, err := nextChecked(ctx, end)
		if err != nil {
			return last, err
		}
		last = *c
		switch c.State {
		case replica.CheckDone:
			return last, nil
		case replica.CheckFailed:
			return last, fmt.Errorf("%w: %s", ErrCheck, peer.Printable(c.Text))
		}
		if cfg.Progress != nil {
			cfg.Progress(last)
		}
	}
}

// nextChecked waits for the next word of the node.
func nextChecked(ctx context.Context, end *peer.Endpoint) (*replica.Checked, error) {
	quiet, stop := context.WithTimeoutCause(ctx, patience, errQuiet)
	defer stop()
	m, err := end.Recv(quiet)
	switch {
	case err != nil && quiet.Err() != nil:
		return nil, context.Cause(quiet)
	case err != nil:
		return nil, err
	}
	f, ok := m.(*wire.Files)
	if !ok || f.Kind != wire.FilesCheck {
		return nil, fmt.Errorf("%v in place of the word on a check: %w", m.Type(), wire.ErrProtocol)
	}
	c, err := replica.DecodeChecked(f.Data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, wire.ErrProtocol)
	}
	return c, nil
}
