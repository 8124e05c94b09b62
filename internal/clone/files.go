package clone

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/replica"
	"github.com/clonecloud/clonecloud/internal/replica/mirror"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Files is where a host keeps files of its devices.
type Files struct {
	// Open opens the store of the device with a key; nil, or an error: some are kept in memory. It is called once for a key.
	Open func(key [32]byte) (mirror.Store, error)
	// Spool is a folder for what guests write, "": the system's for temporary files. Memory is how many bytes of it one
	// offload may have in memory (default 16 MiB), Limit in all (default 16 GiB).
	Spool         string
	Memory, Limit uint64
	// CheckEvery is how often a device is told how far a check of its files is. Default 1 s.
	CheckEvery time.Duration
}

// newFiles makes the files of a conversation.
func (h *Host) newFiles(s *session, ctx context.Context) *mirror.Files {
	f := h.Files
	store := h.filesStore(s.hello.FilesKey)
	if f.Memory == 0 {
		f.Memory = 16 << 20
	}
	if f.Limit == 0 {
		f.Limit = 16 << 30
	}
	return mirror.New(mirror.Config{
		Store: store, Spool: f.Spool, Memory: f.Memory, Limit: f.Limit, Log: h.Log,
		Want:    func(data []byte) error { return s.want(ctx, data) },
		Waiting: s.waiting,
		Fault:   func(err error) { s.flood(fmt.Errorf("%w: %w", err, wire.ErrProtocol)) },
	})
}

// filesStore is the store of one key, once it has been opened.
type filesStore struct {
	once  sync.Once
	store mirror.Store
}

// filesStore returns the store of a key. To open it may take long: the host goes on meanwhile.
func (h *Host) filesStore(key [32]byte) mirror.Store {
	h.mu.Lock()
	s := h.stores[key]
	if s == nil {
		s = &filesStore{}
		h.stores[key] = s
	}
	h.mu.Unlock()
	s.once.Do(func() { s.store = h.openStore(key) })
	return s.store
}

func (h *Host) openStore(key [32]byte) mirror.Store {
	if h.Files.Open != nil && key != ([32]byte{}) {
		s, err := h.Files.Open(key)
		if err == nil {
			return s
		}
		h.Log("files of the device are kept in memory: %v", err)
	}
	return mirror.NewMemory(memoryFiles)
}

// memoryFiles bounds what a host without a store keeps.
const memoryFiles = 256 << 20

// want asks the device for what the running attempt lacks.
func (s *session) want(ctx context.Context, data []byte) error {
	s.asking.Lock()
	defer s.asking.Unlock()
	s.mu.Lock()
	t := s.running
	s.mu.Unlock()
	if t == nil {
		return mirror.ErrIdle
	}
	for len(data) > 0 {
		n := min(len(data), wire.MaxFiles)
		if err := s.end.Send(ctx, &wire.Files{Offload: t.Offload, Attempt: t.Number, Kind: wire.FilesWant, Data: data[:n]}); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// waiting is called when the guest waits for files from the device.
func (s *session) waiting() (end func()) {
	s.mu.Lock()
	t := s.running
	s.mu.Unlock()
	if t == nil {
		return func() {}
	}
	t.await()
	if !t.inside.Load() {
		return t.awaited
	}
	t.gate.leave()
	return func() {
		t.awaited()
		t.gate.enter()
	}
}

// leaveTrip ends the running trip: nothing is asked for on its account any more.
func (s *session) leaveTrip() {
	s.asking.Lock()
	defer s.asking.Unlock()
	_ = s.enter(nil) // which does not fail
	s.files.Rest()
}

// started are the files of an attempt that is about to begin.
type started struct {
	attempt migrate.Attempt
	start   *replica.Start
	err     error // why they cannot be used
}

// takeStart takes the word of the files of the attempt that comes next.
func (s *session) takeStart(m *wire.Files) error {
	if m.Kind != wire.FilesStart {
		return fmt.Errorf("files of kind %d between attempts: %w", m.Kind, wire.ErrProtocol)
	}
	st, err := s.files.Start(m.Data)
	s.start = &started{migrate.Attempt{Offload: m.Offload, Number: m.Attempt}, st, err}
	return nil
}

// openFiles makes t, or the files that came for it before it, the System of the process.
func (s *session) openFiles(ctx context.Context, t *trip) (*replica.System, error) {
	s.proc.WASI.System = noting{t, t}
	m := s.start
	s.start = nil
	if m == nil || m.attempt != t.Attempt {
		return nil, nil
	}
	if m.err != nil {
		return nil, m.err
	}
	state := func() uint64 { return s.proc.WASI.State.Clocks[wasi.Realtime] }
	files, err := s.files.Begin(ctx, m.start, t, state)
	if err != nil {
		return nil, fmt.Errorf("open the device's files: %w", err)
	}
	s.proc.WASI.System = noting{files, t}
	return files, nil
}

// sendFiles sends what became of the files.
func (s *session) sendFiles(ctx context.Context, t *trip, files *replica.System) error {
	back, chunks, err := files.Back(ctx, s.proc.WASI.State)
	if err != nil {
		return err
	}
	send := func(kind wire.FilesKind, data []byte) error {
		if len(data) > wire.MaxFiles {
			return fmt.Errorf("changes of files that take %d bytes to describe", len(data))
		}
		return s.part(&wire.Files{Offload: t.Offload, Attempt: t.Number, Kind: kind, Data: data})
	}
	if len(back.Mounts) == 0 {
		return nil
	}
	if err := send(wire.FilesBack, back.AppendTo(nil)); err != nil {
		return err
	}
	var buf []byte
	var fault error
	chunks(func(o tree.Object, err error) bool {
		if err != nil {
			fault = err
			return false
		}
		if len(buf) > 0 && len(buf)+len(o.Data) > replica.MaxGive {
			if fault = send(wire.FilesData, buf); fault != nil {
				return false
			}
			buf = nil
		}
		buf = replica.AppendData(buf, o)
		s.files.Keep(o)
		return true
	})
	if fault == nil && len(buf) > 0 {
		fault = send(wire.FilesData, buf)
	}
	return fault
}

// handBack gives an attempt back to its device, which can do without.
func (s *session) handBack(r *wire.Reintegrate, why error) error {
	text := why.Error()
	r.Outcome, r.Results, r.Detail = wire.OutcomeHandedBack, nil, text[:min(len(text), wire.MaxText)]
	return s.send(r)
}

// keepFiles serves a conversation that brings files ahead of need.
func (s *session) keepFiles(ctx context.Context) error {
	for {
		m, err := s.idle(ctx)
		if err != nil {
			return err
		}
		f, ok := m.(*wire.Files)
		if !ok {
			return fmt.Errorf("%v where only files are brought: %w", m.Type(), wire.ErrProtocol)
		}
		answer := wire.Files{Offload: 1, Attempt: 1}
		switch f.Kind {
		case wire.FilesHave:
			answer.Kind = wire.FilesMiss
			if answer.Data, err = s.files.Missing(f.Data); err != nil {
				err = fmt.Errorf("%w: %w", err, wire.ErrProtocol)
			}
		case wire.FilesKept:
			answer.Kind = wire.FilesKept
			err = s.files.Flush(ctx)
		case wire.FilesStart:
			if err := s.files.Hold(ctx, f.Data); err != nil {
				return fmt.Errorf("%w: %w", err, wire.ErrProtocol)
			}
			continue
		case wire.FilesCheck:
			if err := s.checkFiles(ctx, f); err != nil {
				return err
			}
			continue
		default:
			err = fmt.Errorf("files of kind %d: %w", f.Kind, wire.ErrProtocol)
		}
		if err != nil {
			return err
		}
		if err := s.send(&answer); err != nil {
			return err
		}
	}
}
