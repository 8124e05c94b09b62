package clone

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/replica"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// checkEvery is how often a device is told how far a check is.
const checkEvery = time.Second

// errChecking tells that one check at a time is enough.
var errChecking = errors.New("a check of this device's files is running already")

// checkFiles checks the kept files, and tells the device how far that is and what came of it. It ends with the
// conversation, or when the host takes no more work.
func (s *session) checkFiles(ctx context.Context, m *wire.Files) error {
	readData, err := replica.DecodeCheck(m.Data)
	if err != nil {
		return fmt.Errorf("%w: %w", err, wire.ErrProtocol)
	}
	c, err := s.runCheck(readData)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case s.awake.Err() != nil:
		return errDraining
	case err != nil:
		s.host.Log("check files of the device: %v", err)
		c.State, c.Text = replica.CheckFailed, err.Error()
	default:
		c.State = replica.CheckDone
	}
	return s.tellChecked(c)
}

// runCheck runs a check unless one of the same files runs.
func (s *session) runCheck(readData bool) (replica.Checked, error) {
	key := s.hello.FilesKey
	if !s.host.beginCheck(key) {
		return replica.Checked{}, errChecking
	}
	defer s.host.endCheck(key)
	var mu sync.Mutex
	var last replica.Checked // guarded by mu
	stop := s.telling(func() replica.Checked {
		mu.Lock()
		defer mu.Unlock()
		return last
	})
	defer stop()
	return s.files.Check(s.awake, readData, func(c replica.Checked) {
		mu.Lock()
		defer mu.Unlock()
		last = c
	})
}

// telling tells the device now and then how far a check is, until the returned function has been called.
func (s *session) telling(state func() replica.Checked) (stop func()) {
	every := s.host.Files.CheckEvery
	if every <= 0 {
		every = checkEvery
	}
	over := make(chan struct{})
	var told sync.WaitGroup
	told.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-t.C:
			case <-over:
				return
			}
			c := state()
			c.State = replica.CheckRuns
			if s.tellChecked(c) != nil {
				return // the conversation is over, which ends the check
			}
		}
	})
	return func() {
		close(over)
		told.Wait()
	}
}

func (s *session) tellChecked(c replica.Checked) error {
	return s.send(&wire.Files{Offload: 1, Attempt: 1, Kind: wire.FilesCheck, Data: c.AppendTo(nil)})
}

func (h *Host) beginCheck(key [32]byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.checks[key] {
		return false
	}
	h.checks[key] = true
	return true
}

func (h *Host) endCheck(key [32]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.checks, key)
}
