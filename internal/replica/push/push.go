// Package push brings the files of a device to a node ahead of need: what a pinned version of a directory consists of, as
// far as the node lacks it. It asks before it gives, and goes on where it was after any cut.
//
// A push is a session without a process (Hello.FilesOnly). The device asks by Have which of some objects are missing,
// gives those, and has the node say that they are on its disk (Kept). Directories go first, then the files that programs
// used last, then the others. At the end Start names the root, which the node then holds on to. Questions run ahead of
// what is given, so that the link is never idle; not more is given than the node has room for until it has kept it.
package push

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Image is a version of a directory; a scan.Version is one. Safe for concurrent use.
type Image interface {
	Root() tree.Entry
	Lookup(path string) (tree.Entry, bool)
	Entries(dir string) ([]tree.Entry, bool)
	Node(id tree.ID) ([]byte, bool)
	// Content and ReadChunk fail when a file is not what it was in the version.
	Content(ctx context.Context, ino uint64) ([]tree.Chunk, error)
	ReadChunk(ctx context.Context, ino, off uint64, c tree.Chunk) ([]byte, error)
}

// Config is what a push needs. Dial and Image must be set.
type Config struct {
	Dial link.Dialer
	Peer peer.Config
	// Key is what the node encrypts the device's files with; it must not keep it.
	Key   [32]byte
	Image Image
	// Used are paths of files that come first, in this order. UsedOnly leaves the others.
	Used     []string
	UsedOnly bool
	// MaxBytes bounds the bytes of objects and of questions about them, 0: no bound. Rate bounds those of a second.
	MaxBytes, Rate uint64
	// Gate waits until there may be sending, nil: always. It must return at once where there may be, even if ctx has ended,
	// and else when there may be or ctx ends, with an error. While it waits there is no connection.
	Gate func(ctx context.Context) error
	// Known are objects that the node has for sure, of earlier pushes; the push adds to them. nil: none.
	Known *Known
	// Failures is how many sessions in a row may come to nothing. Default 6.
	Failures int
	// Progress is told how far it is, Log what a person should know.
	Progress func(Stats)
	Log      func(format string, args ...any)
	// Clock has the time. Default: the system's.
	Clock Clock
}

// Clock is the time as a push sees it.
type Clock interface {
	Now() time.Time
	// Sleep returns an error if ctx ends first.
	Sleep(ctx context.Context, d time.Duration) error
}

// Stats say what a push came to.
type Stats struct {
	Files, FilesTotal int    // that are done, and of the push
	Bytes, BytesTotal uint64 // of their contents
	// Sent are the bytes of objects and questions that were sent, Given the objects. Here is how many were there already,
	// Dropped how many the node did not keep.
	Sent                 uint64
	Given, Here, Dropped int
	// Left are files that changed while they were read, or could not be read.
	Left     int
	Sessions int
	// Over says that MaxBytes ended it.
	Over bool
}

// ErrNotKept marks a node that takes files and does not keep them.
var ErrNotKept = errors.New("the node does not keep the files: its room for those of this device may be full")

// pusher is a push on its way.
type pusher struct {
	cfg  Config
	plan *plan
	rate bucket
	done int          // units up to here are on the node's disk
	left map[int]bool // units that changed

	mu    sync.Mutex
	stats Stats // guarded by mu
}

// count changes the stats.
func (p *pusher) count(f func(*Stats)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.stats)
}

func (p *pusher) counted() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

// Push brings what the image consists of to the node. It returns when all is there and durable, when MaxBytes is reached,
// or when ctx or too many failures end it; the stats hold in any case. A repetition goes on from there.
func Push(ctx context.Context, cfg Config) (Stats, error) {
	if cfg.Failures <= 0 {
		cfg.Failures = 6
	}
	if cfg.Gate == nil {
		cfg.Gate = func(context.Context) error { return nil }
	}
	if cfg.Progress == nil {
		cfg.Progress = func(Stats) {}
	}
	if cfg.Log == nil {
		cfg.Log = func(string, ...any) {}
	}
	if cfg.Clock == nil {
		cfg.Clock = System{}
	}
	if cfg.Known == nil {
		cfg.Known = &Known{}
	}
	p := &pusher{cfg: cfg, rate: bucket{rate: float64(cfg.Rate), clock: cfg.Clock}, left: map[int]bool{}}
	var err error
	if p.plan, err = newPlan(ctx, &cfg); err != nil {
		return p.counted(), fmt.Errorf("look at the files to bring: %w", err)
	}
	p.count(func(s *Stats) { s.FilesTotal, s.BytesTotal = len(p.plan.files), p.plan.total() })
	err = p.run(ctx)
	return p.counted(), err
}

// Waits between sessions that came to nothing.
const (
	firstWait = 500 * time.Millisecond
	lastWait  = time.Minute
)

var errPaused = errors.New("there may be no sending now")

// run makes sessions until one gets to the end.
func (p *pusher) run(ctx context.Context) error {
	failures, wait := 0, firstWait
	for {
		if err := p.cfg.Gate(ctx); err != nil {
			return err
		}
		before := p.done
		p.count(func(s *Stats) { s.Sessions++ })
		err := p.session(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errPaused):
			continue
		case final(err):
			return err
		}
		if failures++; p.done > before {
			failures, wait = 1, firstWait
		}
		if failures >= p.cfg.Failures {
			return fmt.Errorf("%d attempts: %w", failures, err)
		}
		p.cfg.Log("the connection was lost, another is made: %v", err)
		if err := p.cfg.Clock.Sleep(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, lastWait)
	}
}

// final tells whether another session would end the same way.
func final(err error) bool {
	if errors.Is(err, peer.ErrHopeless) || errors.Is(err, ErrNotKept) || errors.Is(err, wire.ErrProtocol) || errors.Is(err, errImage) {
		return true
	}
	var refused *peer.RefusedError
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.Code {
	case wire.CodeLimit, wire.CodeUnknown, wire.CodeDone, wire.CodeInternal:
		return false // which passes
	}
	return true
}

// spend counts bytes that are about to be sent, false: there are no more to spend.
func (p *pusher) spend(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.stats
	if m := p.cfg.MaxBytes; m > 0 && (s.Over || s.Sent+uint64(n) > m) {
		s.Over = true
		return false
	}
	s.Sent += uint64(n)
	return true
}

// reach notes how far the push is: all before off in a unit is dealt with.
func (p *pusher) reach(unit int, off uint64) {
	p.count(func(s *Stats) {
		s.Files, s.Bytes = max(unit-len(p.plan.nodes), 0), p.plan.before(unit)+off
	})
	p.cfg.Progress(p.counted())
}

// leave gives up a file for this time.
func (p *pusher) leave(unit int, err error) {
	if p.left[unit] {
		return
	}
	p.left[unit] = true
	p.count(func(s *Stats) { s.Left++ })
	if len(p.left) <= maxTold {
		p.cfg.Log("a file is left for the next time: %v", err)
	}
}

// maxTold bounds the files that the log names.
const maxTold = 10
