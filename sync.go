package clonecloud

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/replica/push"
	"github.com/clonecloud/clonecloud/internal/replica/used"
	"github.com/clonecloud/clonecloud/internal/runner"
	"github.com/clonecloud/clonecloud/internal/scan"
)

// SyncConfig says which directories to bring to a cloud ahead of need, see [SyncFiles]. Dirs and Cloud are needed.
type SyncConfig struct {
	Dirs  []string
	Cloud Cloud
	// FilesDir is as Config.FilesDir: what is known of the directories, and which of their files programs have used.
	FilesDir string
	// MaxBytes bounds the bytes that are sent in all, before compression; 0: no bound. Rate bounds those of a second.
	MaxBytes, Rate uint64
	// UsedOnly brings, besides the directories themselves, only files that a clone was once given.
	UsedOnly bool
	// When waits until there may be reading and sending, nil: always. It must return at once where there may be, even if ctx
	// has ended, and else when there may be or ctx ends, with an error. While it waits there is no connection.
	When func(ctx context.Context) error
	// Progress is told how far it is. It must be quick. Log is told what a person should know, in one line each.
	Progress func(SyncProgress)
	Log      func(format string, args ...any)
}

// SyncProgress says how far SyncFiles is with a directory.
type SyncProgress struct {
	Dir string
	// Reading says that what is new is read and hashed: Files and Bytes are those read by now, the totals are not known. Else
	// files are compared with the cloud's, and sent.
	Reading           bool
	Files, FilesTotal int
	Bytes, BytesTotal uint64
	Sent              uint64 // bytes, of this directory
}

// SyncReport is what SyncFiles came to.
type SyncReport struct {
	Version int       `json:"version"` // of this form, now 1
	Dirs    []SyncDir `json:"dirs"`
}

// SyncDir is what became of one directory.
type SyncDir struct {
	Dir   string `json:"dir"`
	Files int    `json:"files"` // that were dealt with, of FilesTotal
	Bytes uint64 `json:"bytes"` // of their contents
	// FilesTotal and BytesTotal are those that were to be brought.
	FilesTotal int    `json:"files_total"`
	BytesTotal uint64 `json:"bytes_total"`
	Sent       uint64 `json:"sent"`    // bytes that were sent, before compression
	Given      int    `json:"given"`   // pieces of files and directories that were sent
	Here       int    `json:"here"`    // that the cloud had already
	Dropped    int    `json:"dropped"` // that the cloud did not keep
	Changed    int    `json:"changed"` // files that changed while they were read, or could not be read: left for the next time
	// Skipped are files that stay on the device: sockets, devices, other file systems.
	Skipped int `json:"skipped"`
	// Over says that MaxBytes was reached, Done that all is in the cloud.
	Over bool `json:"over"`
	Done bool `json:"done"`
}

// syncVersion is the version of the form of a SyncReport.
const syncVersion = 1

// Sent is the bytes that were sent, of all directories.
func (r *SyncReport) Sent() uint64 {
	n := uint64(0)
	for i := range r.Dirs {
		n += r.Dirs[i].Sent
	}
	return n
}

// Over says whether MaxBytes was reached.
func (r *SyncReport) Over() bool {
	for i := range r.Dirs {
		if r.Dirs[i].Over {
			return true
		}
	}
	return false
}

// SyncFiles brings the files of directories to a cloud ahead of need, so that later offloads of programs that use these
// directories find them there: first those that programs used last. Nothing is sent that the cloud has. After a cut it
// goes on by itself; where it ends early, a repetition goes on from there. The report is there in any case.
//
// What the cloud keeps belongs to this device's identity, see [RemoteCloudConfig]: a run with the same DeviceFile finds it.
func SyncFiles(ctx context.Context, cfg SyncConfig) (*SyncReport, error) {
	s, err := newSyncer(cfg, false)
	if err != nil {
		return &SyncReport{Version: syncVersion}, err
	}
	rep, err := s.run(ctx)
	return rep, errors.Join(err, s.close())
}

// syncer brings directories to a cloud.
type syncer struct {
	cfg   SyncConfig
	files string // folder
	base  push.Config
	trees []*syncTree
	clock push.Clock // nil: the system's
}

// syncTree is one directory.
type syncTree struct {
	dir   string
	tree  *scan.Tree
	known push.Known

	mu   sync.Mutex
	past func(files int, bytes uint64) // guarded by mu; how far reading is, nil: nobody wants to know
}

// hashed passes on how far reading is.
func (t *syncTree) hashed(files int, bytes uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.past != nil {
		t.past(files, bytes)
	}
}

func (t *syncTree) listen(f func(files int, bytes uint64)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.past = f
}

// nameless stands for an engine where a cloud is asked for the way to it.
type nameless struct{ engine.Engine }

// Name implements engine.Engine.
func (nameless) Name() string { return "none" }

// newSyncer opens the directories; watch has changes in them noticed.
func newSyncer(cfg SyncConfig, watch bool) (_ *syncer, err error) {
	switch {
	case len(cfg.Dirs) == 0:
		return nil, fmt.Errorf("%w: no directories to bring to a cloud", ErrConfig)
	case cfg.Cloud == nil:
		return nil, fmt.Errorf("%w: no cloud to bring directories to", ErrConfig)
	}
	if cfg.Log == nil {
		cfg.Log = func(string, ...any) {}
	}
	if cfg.Progress == nil {
		cfg.Progress = func(SyncProgress) {}
	}
	if cfg.When == nil {
		cfg.When = func(context.Context) error { return nil }
	}
	rc := runner.Config{Engine: nameless{}}
	if err := cfg.Cloud.join(&rc); err != nil {
		return nil, err
	}
	c := Config{FilesDir: cfg.FilesDir}
	s := &syncer{cfg: cfg, files: c.filesDir()}
	s.base = push.Config{
		Dial: rc.Dial, Peer: rc.Peer, Key: rc.FilesKey, Rate: cfg.Rate, UsedOnly: cfg.UsedOnly, Gate: cfg.When, Log: cfg.Log,
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	for _, dir := range cfg.Dirs {
		t := &syncTree{dir: dir}
		t.tree, err = scan.Open(dir, scan.Options{Cache: filepath.Join(s.files, "stat.db"), Watch: watch, Progress: t.hashed, Log: cfg.Log})
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		s.trees = append(s.trees, t)
	}
	return s, nil
}

func (s *syncer) close() error {
	var errs []error
	for _, t := range s.trees {
		errs = append(errs, t.tree.Close())
	}
	return errors.Join(errs...)
}

// run brings all directories, one after the other.
func (s *syncer) run(ctx context.Context) (*SyncReport, error) {
	rep := &SyncReport{Version: syncVersion}
	for _, t := range s.trees {
		d, _, err := s.bring(ctx, t, rep.Sent(), s.cfg.MaxBytes)
		rep.Dirs = append(rep.Dirs, d)
		if err != nil {
			return rep, fmt.Errorf("bring %s: %w", t.dir, err)
		}
	}
	return rep, nil
}

// bring brings one directory, and returns the version that it brought. sent is what most has gone to already.
func (s *syncer) bring(ctx context.Context, t *syncTree, sent, most uint64) (SyncDir, *scan.Version, error) {
	d := SyncDir{Dir: t.dir}
	if most > 0 && sent >= most {
		d.Over = true
		return d, nil, nil
	}
	cfg := s.base
	if most > 0 {
		cfg.MaxBytes = most - sent
	}
	cfg.Used = used.List(usedDir(s.files), t.dir)
	v, err := s.read(ctx, t, cfg.Used, cfg.MaxBytes)
	if err != nil {
		return d, nil, err
	}
	cfg.Image, cfg.Known, cfg.Clock = v, &t.known, s.clock
	cfg.Progress = func(p push.Stats) {
		s.cfg.Progress(SyncProgress{Dir: t.dir, Files: p.Files, FilesTotal: p.FilesTotal, Bytes: p.Bytes, BytesTotal: p.BytesTotal, Sent: p.Sent})
	}
	p, err := push.Push(ctx, cfg)
	d.Files, d.FilesTotal, d.Bytes, d.BytesTotal = p.Files, p.FilesTotal, p.Bytes, p.BytesTotal
	d.Sent, d.Given, d.Here, d.Dropped, d.Changed, d.Over = p.Sent, p.Given, p.Here, p.Dropped, p.Left, p.Over
	d.Skipped = skipped(v)
	d.Done = err == nil && !d.Over && d.Dropped == 0 && d.Changed == 0
	if e := t.tree.Save(); e != nil {
		s.cfg.Log("%s: what is known of it is not kept: %v", t.dir, e)
	}
	return d, v, err
}

// usedDir is where it stands which files programs have used.
func usedDir(files string) string { return filepath.Join(files, "used") }

// skipped counts what an image leaves out.
func skipped(v *scan.Version) int {
	const listed = 100
	list := v.Skipped()
	if len(list) <= listed {
		return len(list)
	}
	more := 0
	_, _ = fmt.Sscanf(list[listed], "and %d more", &more)
	return listed + more
}

// read looks through a directory and hashes what is new, so that the version says what files consist of: those used
// before, and as much of the others as may be sent.
func (s *syncer) read(ctx context.Context, t *syncTree, usedFiles []string, most uint64) (*scan.Version, error) {
	if err := s.cfg.When(ctx); err != nil {
		return nil, err
	}
	v, err := t.tree.Pin(ctx)
	if err != nil {
		return nil, err
	}
	r := &reading{when: s.cfg.When, ctx: ctx, v: v, first: map[string]bool{}, most: most}
	for _, p := range usedFiles {
		r.first[p] = true
	}
	t.listen(func(files int, n uint64) {
		s.cfg.Progress(SyncProgress{Dir: t.dir, Reading: true, Files: files, Bytes: n})
	})
	defer t.listen(nil)
	picks := []func(path string) bool{r.used, r.other}
	if s.cfg.UsedOnly {
		picks = picks[:1]
	}
	for _, pick := range picks {
		if err := t.tree.Hash(ctx, pick); ctx.Err() != nil {
			return nil, context.Cause(ctx)
		} else if err != nil {
			s.cfg.Log("%s: %v", t.dir, err) // it is read again when it is its turn to be sent
		}
	}
	return t.tree.Pin(ctx)
}

// reading chooses the files to hash.
type reading struct {
	when  func(context.Context) error
	ctx   context.Context
	v     *scan.Version
	first map[string]bool // used before
	most  uint64          // bytes to read of the others, 0: no bound
	bytes uint64          // that were read of these
}

func (r *reading) used(path string) bool { return r.first[path] && r.when(r.ctx) == nil }

func (r *reading) other(path string) bool {
	if r.first[path] || r.most > 0 && r.bytes >= r.most || r.when(r.ctx) != nil {
		return false
	}
	if e, ok := r.v.Lookup(path); ok {
		r.bytes += e.Size
	}
	return true
}
