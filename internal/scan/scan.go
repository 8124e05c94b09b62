// Package scan keeps the image of a directory on the device: which files there are, what they consist of, and which of
// that has changed. It reads attributes eagerly and contents when somebody asks.
//
// A Tree stands for the directory. Pin looks at it and returns an immutable Version; a later Version shares with an
// earlier one what did not change. Nothing is done between the calls: no goroutine runs, and what the system noticed of
// changes is asked for when Pin begins, so that a change completed before the call is seen by it.
//
// The walk never follows a link and never leaves the directory: it opens one name at a time below an open directory.
// It reads the names of each directory and the attributes of each file, and compares both with what it knows; only what
// differs is encoded, only what is new is hashed. What is known is kept between processes in a cache on disk.
//
// A Tree and its Versions are safe for concurrent use. Pin, Save and Close exclude each other; reading a Version waits for none of
// them.
package scan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clonecloud/clonecloud/internal/scan/hostdir"
)

// Errors, to be tested with errors.Is.
var (
	// ErrTooLarge: there are more files than Options.Limit.
	ErrTooLarge = errors.New("too many files")
	// ErrChanged: a file is not what it was when the version was pinned, or does not stand still.
	ErrChanged = errors.New("file has changed")
	// ErrUnfit: the directory holds a name or a number that an image cannot describe.
	ErrUnfit = errors.New("directory cannot be described")
)

// Options are the choices of Open. The zero value is usable.
type Options struct {
	// Cache is the path of the file that keeps what is known from one process to the next. "": none.
	Cache string
	// Limit bounds the number of entries. 0: 4,000,000.
	Limit int
	// Watch lets the system tell between two Pins what changes, where it can (inotify on Linux, on file systems of this
	// machine). Without it, each Pin looks at everything.
	Watch bool
	// Progress is told how far Hash is, and, with no bytes, how far a long scan is. Calls do not overlap.
	Progress func(files int, bytes uint64)
	// Log takes messages of what was amiss and is dealt with. nil: none.
	Log func(format string, args ...any)
}

const (
	defaultLimit = 4_000_000
	// maxDepth bounds how deep directories are looked into, each of which is open while its own are.
	maxDepth = 1000
	// rounds is how often Pin looks at what changes meanwhile.
	rounds = 4
	// ours begins the names at the top of a tree that are not of it: staging of changes to be applied.
	ours = ".clonecloud-"
)

// Tree is a directory whose image is kept.
type Tree struct {
	o      Options
	name   string       // as given
	key    string       // in the cache
	self   hostdir.Stat // of the directory, when it was opened
	access hostdir.Access
	life   sync.RWMutex // held by who uses top without t.mu; top is open while Tree.ended is not set
	ended  bool         // guarded by life
	top    *hostdir.Dir
	local  bool // changes are made by this machine alone
	files  hostdir.Files
	hint   atomic.Pointer[index]
	slots  chan struct{} // bounds how many files are hashed at a time
	now    func() time.Time

	mu      sync.Mutex
	closed  bool
	root    *dir
	byIno   map[uint64]*dir
	links   map[uint64]*link
	store   store
	last    *Version
	stale   bool          // everything has to be looked at
	dirty   map[*dir]bool // has to be looked at
	blind   map[*dir]bool // cannot be watched: always dirty
	watcher *watcher      // nil: there is none
	// unwatched: the system refused, and is not asked again. Guarded by the mutex of the walk while there is one.
	unwatched bool

	hashMu sync.Mutex
	hashed map[uint64]*hashed // guarded by hashMu: not in an image yet
}

// Open opens a directory. Pin looks at it.
func Open(dirname string, o Options) (*Tree, error) {
	if o.Limit <= 0 {
		o.Limit = defaultLimit
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	top, err := hostdir.Open(dirname)
	if err != nil {
		return nil, fmt.Errorf("open directory %s: %w", dirname, err)
	}
	t := &Tree{
		o: o, name: dirname, top: top, byIno: map[uint64]*dir{}, links: map[uint64]*link{}, stale: true,
		dirty: map[*dir]bool{}, blind: map[*dir]bool{}, hashed: map[uint64]*hashed{}, slots: make(chan struct{}, workers()),
		now: time.Now,
	}
	if err := t.identify(); err != nil {
		return nil, errors.Join(fmt.Errorf("open directory %s: %w", dirname, err), top.Close())
	}
	t.load()
	return t, nil
}

// identify says which directory this is: a copy of a cache, or another directory under its path, is not mistaken for it.
func (t *Tree) identify() error {
	var err error
	if t.self, err = t.top.Stat(); err != nil {
		return err
	}
	var readOnly bool
	t.local, readOnly = t.top.System()
	t.access = hostdir.OwnAccess(readOnly)
	real, err := filepath.EvalSymlinks(t.name)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return err
	}
	t.key = fmt.Sprintf("%s\x00%d\x00%d\x00%s", real, t.self.Dev, t.self.Ino, t.access.Key())
	return nil
}

// Touched says that the caller changed what these paths name, or their names. The next Pin looks there.
func (t *Tree) Touched(paths ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range paths {
		d := t.root
		for d != nil {
			t.dirty[d] = true
			name, rest, more := strings.Cut(p, "/")
			d = d.child(name)
			if !more {
				break
			}
			p = rest
		}
		if d != nil {
			t.dirty[d] = true
		}
	}
}

// Pin brings the image up to date and returns it as it is now.
func (t *Tree) Pin(ctx context.Context) (*Version, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, fmt.Errorf("look at %s: %w", t.name, os.ErrClosed)
	}
	// What changes while it is read is read again, so that the version is of one moment where that can be known; but a tree
	// that never stands still must not keep an offload waiting.
	for range rounds {
		if err := t.update(ctx, true); err != nil {
			return nil, fmt.Errorf("look at %s: %w", t.name, err)
		}
		if t.atRest() {
			break
		}
	}
	if t.root.img.apart {
		return nil, fmt.Errorf("look at %s: %w", t.name, ErrUnfit)
	}
	if t.last == nil || t.last.top != t.root.img {
		t.last = &Version{t: t, top: t.root.img}
	}
	return t.last, nil
}

// descend opens the directory that the names lead to, whether or not an update goes on.
func (t *Tree) descend(names []string) (*hostdir.Dir, error) {
	t.life.RLock()
	defer t.life.RUnlock()
	if t.ended {
		return nil, os.ErrClosed
	}
	return t.top.Descend(names)
}

// Close keeps what is known in the cache and ends all use of the directory. Versions can be looked at further, but give no
// contents.
func (t *Tree) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	err := t.save()
	t.closed = true
	if t.watcher != nil {
		err = errors.Join(err, t.watcher.close())
	}
	t.files.Close()
	t.life.Lock()
	defer t.life.Unlock()
	t.ended = true
	return errors.Join(err, t.top.Close())
}
