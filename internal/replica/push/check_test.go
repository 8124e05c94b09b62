package push

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/replica"
	"github.com/clonecloud/clonecloud/internal/replica/mirror"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// checker is a store that is checked as a test says.
type checker struct {
	*store
	check func(ctx context.Context, readData bool, progress func(mirror.Checked)) (mirror.Checked, error)
}

func (c *checker) Check(ctx context.Context, readData bool, progress func(mirror.Checked)) (mirror.Checked, error) {
	return c.check(ctx, readData, progress)
}

// checkLab is a node whose store is checked as f says.
func checkLab(t *testing.T, f func(ctx context.Context, readData bool, progress func(mirror.Checked)) (mirror.Checked, error)) (*lab, CheckConfig) {
	t.Helper()
	l := openLab(t, link.Plan{}, t.TempDir())
	l.host.Files.Open = func([32]byte) (mirror.Store, error) { return &checker{l.store, f}, nil }
	l.host.Files.CheckEvery = time.Millisecond
	l.host.Log = t.Logf
	c := l.config(nil)
	return l, CheckConfig{Dial: c.Dial, Peer: c.Peer, Key: l.key}
}

func TestCheck(t *testing.T) {
	want := mirror.Checked{Objects: 7, Bytes: 700, Read: 6, Roots: 1, Reached: 5, Damaged: 2, Removed: 1, Foreign: 3, Missing: 4}
	seen := make(chan struct{})
	_, cfg := checkLab(t, func(_ context.Context, readData bool, progress func(mirror.Checked)) (mirror.Checked, error) {
		if !readData {
			return mirror.Checked{}, errors.New("contents are to be read")
		}
		progress(mirror.Checked{Objects: 1, Bytes: 100})
		<-seen // the device was told
		return want, nil
	})
	cfg.ReadData = true
	told := false
	cfg.Progress = func(c Checked) {
		if c.Objects == 1 && c.Bytes == 100 && !told {
			told = true
			close(seen)
		}
	}
	got, err := Check(t.Context(), cfg)
	want.State = replica.CheckDone
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestCheckFails(t *testing.T) {
	_, cfg := checkLab(t, func(context.Context, bool, func(mirror.Checked)) (mirror.Checked, error) {
		return mirror.Checked{Damaged: 3}, errors.New("disk is gone\x1b")
	})
	got, err := Check(t.Context(), cfg)
	if !errors.Is(err, ErrCheck) || !strings.Contains(err.Error(), "disk is gone?") || got.Damaged != 3 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestCheckNothing: a store in memory has nothing to check.
func TestCheckNothing(t *testing.T) {
	l, cfg := checkLab(t, nil)
	l.host.Files.Open = nil
	if _, err := Check(t.Context(), cfg); !errors.Is(err, ErrCheck) || !strings.Contains(err.Error(), mirror.ErrNothingKept.Error()) {
		t.Errorf("got %v", err)
	}
}

// TestCheckCancelled: the end of the device's context ends the check on the node, and another may follow. Meanwhile there
// is no second one.
func TestCheckCancelled(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	l, cfg := checkLab(t, func(ctx context.Context, _ bool, _ func(mirror.Checked)) (mirror.Checked, error) {
		close(begun)
		<-ctx.Done()
		close(ended)
		return mirror.Checked{}, context.Cause(ctx)
	})
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	result := make(chan error)
	go func() {
		_, err := Check(ctx, cfg)
		result <- err
	}()
	<-begun
	if _, err := Check(t.Context(), cfg); !errors.Is(err, ErrCheck) || !strings.Contains(err.Error(), "running already") {
		t.Errorf("a second check: got %v", err)
	}
	cancel(why)
	if err := <-result; !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
	<-ended
	if err := l.host.Close(context.Background()); err != nil { // which waits until the conversations are over
		t.Fatal(err)
	}
}

// TestCheckDrained: a node that takes no more work ends a check, and says so.
func TestCheckDrained(t *testing.T) {
	begun := make(chan struct{})
	l, cfg := checkLab(t, func(ctx context.Context, _ bool, _ func(mirror.Checked)) (mirror.Checked, error) {
		close(begun)
		<-ctx.Done()
		return mirror.Checked{}, context.Cause(ctx)
	})
	result := make(chan error)
	go func() {
		_, err := Check(t.Context(), cfg)
		result <- err
	}()
	<-begun
	if err := l.host.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	var refused *peer.RefusedError
	if err := <-result; !errors.As(err, &refused) || refused.Code != wire.CodeDone {
		t.Errorf("got %v", err)
	}
}

// TestCheckLied: what a node says of a check is not trusted.
func TestCheckLied(t *testing.T) {
	for name, m := range map[string]wire.Message{
		"another_kind":    files(wire.FilesKept, nil),
		"another_message": &wire.Cancel{Offload: 1, Attempt: 1, Reason: 1},
		"cut":             files(wire.FilesCheck, []byte{1, 2}),
		"no_state":        files(wire.FilesCheck, append([]byte{9}, make([]byte, 10)...)),
	} {
		t.Run(name, func(t *testing.T) {
			l := openLab(t, link.Plan{}, t.TempDir())
			dial := hostile(t, l.net, func(e *peer.Endpoint) {
				if _, err := e.Recv(t.Context()); err == nil {
					_ = e.Send(t.Context(), m)
				}
			})
			if _, err := Check(t.Context(), CheckConfig{Dial: dial}); !errors.Is(err, wire.ErrProtocol) {
				t.Errorf("got %v", err)
			}
		})
	}
}
