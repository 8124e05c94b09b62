// Package origin is a device's end of the files that follow a process: it watches the directories, pins a version of them
// when an offload departs, gives the clone what it lacks, and takes in what the clone did to them.
//
// A Files belongs to one process and is used by the goroutine that runs its guest.
package origin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/reconcile"
	"github.com/clonecloud/clonecloud/internal/replica"
	"github.com/clonecloud/clonecloud/internal/replica/used"
	"github.com/clonecloud/clonecloud/internal/scan"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// Mount is a directory that may be replicated.
type Mount struct {
	Index    int // of the mount in the process's local.Config
	Dir      string
	Guest    string
	ReadOnly bool
}

// Config says which directories follow a process, and how.
type Config struct {
	Mounts []Mount
	// Cache is the path of the stat cache, "": none. Plans is a folder for plans of changes, Spool one for passing data.
	Cache, Plans, Spool string
	// Used is a folder for which files clones were given, for package push to bring them ahead of need; "": none.
	Used string
	// Known is a folder for what nodes have been given, Peer the name of the one that this process will have clones on; "": that is
	// kept nowhere.
	Known, Peer string
	// Policy says what becomes of files that the device and the clone both changed.
	Policy reconcile.Policy
	// Patience is how long an offload may wait until the directories have been looked through; then its files stay at home.
	Patience time.Duration
	// Entries bounds the entries of one directory tree that is replicated; 0: package scan's default.
	Entries int
	// Limit bounds the bytes that may come back of one offload. Default 64 GiB.
	Limit uint64
	// Log is told what a person should know; Audit what of the files was given to a clone.
	Log, Audit func(format string, args ...any)
}

// Files are the directories of one process.
type Files struct {
	cfg    Config
	mounts []*mount
	cancel context.CancelFunc
	lives  context.Context
	all    sync.WaitGroup
	last   *Peer // of the latest conversation
}

// mount is a directory that is being looked through, or was.
type mount struct {
	Mount
	ready chan struct{} // closed when what follows holds
	tree  *scan.Tree
	again bool // it was pinned for an offload
	err   error
	told  bool
	used  map[string]bool // paths of files of which a clone was given something, or would have been
}

// mostUsed bounds them, of one process.
const mostUsed = 1 << 16

// use notes that a program has used a file on a clone.
func (m *mount) use(path string) {
	if m.used == nil {
		m.used = map[string]bool{}
	}
	if len(m.used) < mostUsed {
		m.used[path] = true
	}
}

// New begins to look through the directories in the background. Close it after use.
func New(cfg Config) *Files {
	if cfg.Log == nil {
		cfg.Log = func(string, ...any) {}
	}
	if cfg.Audit == nil {
		cfg.Audit = func(string, ...any) {}
	}
	if cfg.Limit == 0 {
		cfg.Limit = 64 << 30
	}
	f := &Files{cfg: cfg}
	f.lives, f.cancel = context.WithCancel(context.Background())
	for _, m := range cfg.Mounts {
		x := &mount{Mount: m, ready: make(chan struct{})}
		f.mounts = append(f.mounts, x)
		f.all.Go(func() { f.look(x) })
	}
	return f
}

func (f *Files) look(m *mount) {
	defer close(m.ready)
	m.tree, m.err = scan.Open(m.Dir, scan.Options{Cache: f.cfg.Cache, Watch: true, Limit: f.cfg.Entries, Log: f.cfg.Log})
	if m.err == nil {
		_, m.err = m.tree.Pin(f.lives)
	}
}

// Close ends all use of the directories, and keeps what was learned of them.
func (f *Files) Close() error {
	f.cancel()
	f.all.Wait()
	errs := []error{f.saveKnown()}
	for _, m := range f.mounts {
		if f.cfg.Used != "" && len(m.used) > 0 {
			errs = append(errs, used.Note(f.cfg.Used, m.Dir, slices.Sorted(maps.Keys(m.used))))
		}
		if m.tree != nil {
			errs = append(errs, m.tree.Close())
		}
	}
	return errors.Join(errs...)
}

// Replicated tells whether a mount may be replicated.
func (f *Files) Replicated(mount int) bool {
	if f == nil {
		return false
	}
	for _, m := range f.mounts {
		if m.Index == mount {
			return true
		}
	}
	return false
}

// Peer is what the clone of a conversation knows.
type Peer struct {
	known   map[tree.ID]bool
	grown   bool        // known has
	numbers map[int]int // position in the log of numbers, by mount
	packer  replica.Packer
	torn    bool // something is lacking in what was packed
}

// Tear says that something that was packed has not gone: there is no going on with packing.
func (p *Peer) Tear() { p.torn = true }

// Torn tells whether that was so.
func (p *Peer) Torn() bool { return p.torn }

// Pack compresses a Give message, behind all that the peer was given so before.
func (p *Peer) Pack(data []byte) ([]byte, error) { return p.packer.Pack(data) }

// NewPeer returns what the clone of a new conversation knows: directories that its node has been given before.
func (f *Files) NewPeer() *Peer {
	if f == nil {
		return nil
	}
	f.last = &Peer{known: f.loadKnown(), numbers: map[int]int{}}
	return f.last
}

func (p *Peer) given(id tree.ID) { p.known[id], p.grown = true, true }

// pin returns the present version of a mount, nil if it stays at home this time.
func (f *Files) pin(ctx context.Context, m *mount, until <-chan time.Time) (*scan.Version, error) {
	select {
	case <-m.ready:
	default:
		select {
		case <-m.ready:
		case <-until:
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	var v *scan.Version
	err := m.err
	if err == nil {
		// What others changed since is noticed now.
		v, err = m.tree.Pin(ctx)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		m.stays(f, err)
		return nil, nil
	}
	if !m.again {
		m.again = true
		if s := v.Skipped(); len(s) > 0 && !m.told {
			m.told = true
			f.cfg.Log("%s: %d files are neither regular, directories nor links, and stay here: %s", m.Guest, len(s), s[0])
		}
	}
	return v, nil
}

// stays tells once that a mount is not replicated.
func (m *mount) stays(f *Files, err error) {
	if !m.told {
		m.told = true
		f.cfg.Log("files in %s are read and written here, one call at a time: %v", m.Guest, err)
	}
}

// Depart pins the directories for an offload of a process with this state; nil: all of its files stay at home. The handles
// that the clone issues follow number handles, and none up to handles+MaxIssued may be used otherwise.
func (f *Files) Depart(ctx context.Context, l *local.System, state *wasi.State, p *Peer, handles, now uint64) (*Trip, error) {
	if f == nil || len(f.mounts) == 0 {
		return nil, nil
	}
	until := time.NewTimer(f.cfg.Patience)
	defer until.Stop()
	t := &Trip{files: f, local: l, peer: p, start: &replica.Start{Handles: handles, Now: now}, audited: map[fileOf]bool{}, home: map[uint64]bool{}}
	for _, m := range f.mounts {
		v, err := f.pin(ctx, m, until.C)
		if err != nil {
			return nil, err
		}
		if v == nil {
			continue
		}
		top, err := l.StatPath(m.Index, "")
		if err != nil {
			m.stays(f, err)
			continue
		}
		s := replica.Mount{Index: uint32(m.Index), Dev: l.Dev(m.Index), ReadOnly: m.ReadOnly, Root: v.Root(), Cold: len(p.known) == 0}
		for _, fd := range state.FDs() {
			if o, ok := l.Opened(fd.Handle); ok && o.Mount == m.Index {
				if x, ok := opened(v, o, top.Dev); ok {
					s.Open = append(s.Open, x)
				} else {
					t.home[fd.Handle] = true
				}
			}
		}
		from, ok := p.numbers[m.Index]
		if !ok {
			from, s.Fresh = -1, true
		}
		var to int
		s.Numbers, s.Last, to = l.Numbers(m.Index, from)
		t.positions = append(t.positions, to)
		t.start.Mounts = append(t.start.Mounts, s)
		t.mounts = append(t.mounts, m)
		t.versions = append(t.versions, v)
	}
	if len(t.mounts) == 0 {
		return nil, nil
	}
	return t, nil
}

// opened says what the process has open in terms of a version, which is of the file system dev. What has no name there stays
// at home.
func opened(v *scan.Version, o local.Open, dev uint64) (replica.Open, bool) {
	path, ok := "", o.Issued.Preopen != ""
	if !ok && o.Stat.Dev == dev {
		path, ok = v.Path(o.Stat.Ino)
	}
	if !ok {
		return replica.Open{}, false
	}
	return replica.Open{Issued: o.Issued, Ino: o.Stat.Ino, Virtual: o.Virtual, Path: path, Listing: o.Listing}, true
}

// MaxIssued is how many handles a clone can issue in one offload.
const MaxIssued = 1 << 32

var errDevice = fmt.Errorf("the file is not what it was when the offload began")
