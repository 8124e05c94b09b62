package conformance

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/replica/origin"
	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/wire"

	"pgregory.net/rapid"
)

// rapidChecks sets how many cases rapid draws, if the command line does not.
func rapidChecks(t *testing.T, short, normal, whole int) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	was, n := f.Value.String(), normal
	switch {
	case *full:
		n = whole
	case testing.Short():
		n = short * 5 // of which rapid then makes a fifth
	}
	given := false
	flag.Visit(func(x *flag.Flag) { given = given || x == f })
	if given {
		return
	}
	if err := f.Value.Set(strconv.Itoa(n)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Value.Set(was); err != nil {
			t.Error(err)
		}
	})
}

// filesTally sums up what runs with files that follow did.
type filesTally struct {
	tally
	runs, moved, changed int            // moved: with an offload; changed: from which changes came back
	up, down             uint64         // bytes of files
	calls                map[string]int // home calls on files, by operation
	reasons, logs        map[string]int
}

func (s *filesTally) add(o *Outcome) {
	s.tally.add(o)
	s.runs++
	if n, _ := o.Report.Offloads(); n > 0 {
		s.moved++
	}
	if s.calls == nil {
		s.calls, s.reasons, s.logs = map[string]int{}, map[string]int{}, map[string]int{}
	}
	for _, line := range o.Log {
		if line, _, _ = strings.Cut(line, ": "); len(line) < 100 {
			s.logs[line]++
		}
	}
	down := s.down
	for _, f := range o.Report.Functions {
		s.up += f.FilesUp
		s.down += f.FilesDown
		for r, n := range f.Fallbacks {
			s.reasons[r] += n
		}
	}
	if s.down > down {
		s.changed++
	}
	for _, e := range o.Events {
		if e.Kind == trace.HomeCall && fileOperations[e.Op] {
			s.calls[e.Op]++
		}
	}
}

func (s *filesTally) String() string {
	return fmt.Sprintf("%d runs, %d with offloads, %d with changes that came back; %v; files: %d bytes up, %d down; home calls on files %v; fallbacks by reason %v; told %v",
		s.runs, s.moved, s.changed, &s.tally, s.up, s.down, s.calls, s.reasons, s.logs)
}

func (s *filesTally) onFiles() (n int) {
	for _, c := range s.calls {
		n += c
	}
	return n
}

// fileOperations are those of which a clone that has the files asks the device none.
var fileOperations = map[string]bool{}

func init() {
	for _, op := range []string{
		"read-at", "write-at", "append", "open", "stat-path", "set-times-path", "set-size", "allocate", "read-dir", "mkdir", "rmdir", "unlink", "rename",
		"link", "symlink", "readlink",
	} {
		fileOperations[op] = true
	}
}

// filesRun runs a script over fresh directories, which are told of in full.
func filesRun(l *Lab, bin []byte, script string, w Way) (*Outcome, map[string]string, error) {
	dir, err := ramDir()
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	if err := plantBoth(dir); err != nil {
		return nil, nil, err
	}
	w.settle = func(c *origin.Config) {
		state := filepath.Join(dir, "state")
		c.Cache, c.Plans, c.Spool = filepath.Join(state, "stat.db"), filepath.Join(state, "plans"), filepath.Join(state, "spool")
	}
	o, err := l.Run(context.Background(), filesCase(bin, dir, script), w)
	if err != nil {
		return nil, nil, err
	}
	all := map[string]string{}
	for _, name := range []string{"a", "b"} {
		a, err := attributes(filepath.Join(dir, name))
		if err != nil {
			return nil, nil, err
		}
		for p, text := range a {
			all[name+":"+p] = text
		}
	}
	return o, all, nil
}

// TestRandomFiles carries out random operations on files on the device alone and with clones that have the files, over a link that
// is sound and over one that is broken: output, end and directories are the same.
func TestRandomFiles(t *testing.T) {
	needsLinux(t)
	bin := filesGuest(t)
	l := newLab(t)
	rapidChecks(t, 8, 60, 3000)
	var sound, broken filesTally
	struck := 0
	rapid.Check(t, func(r *rapid.T) {
		script := scriptOf(r, 60)
		seed := rapid.Uint64Range(1, 1<<32).Draw(r, "way")
		want, tree, err := filesRun(l, bin, script, Way{Canonical: true})
		if err != nil {
			r.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(seed, 0xf11e5))
		one := func(w Way) *Outcome {
			w.Trace = true
			got, have, err := filesRun(l, bin, script, w)
			if err != nil {
				r.Fatalf("way %v: %v", w, err)
			}
			d := Diff(want, got)
			if d == "" {
				d = diffAttributes(tree, have)
			}
			if d != "" {
				r.Fatalf("way %v:\n%s\nlog: %v\nscript:\n%s\noutline:\n%s", w, d, got.Log, script, moves(got.Events))
			}
			return got
		}
		w := drawFilesWay(rng, seed)
		sound.add(one(w))
		w, c := breakWay(rng, w)
		got := one(w)
		broken.add(got)
		if got.Fired > 0 || w.KillAt > 0 || c.struck() {
			struck++
		}
	})
	t.Logf("sound: %v", &sound)
	t.Logf("broken: %v, %d struck", &broken, struck)
	if t.Failed() {
		return
	}
	if n := sound.runs; n >= 20 && (sound.moved < n/2 || sound.changed < n/3 || sound.onFiles() > sound.offloads/10 || struck < n/8 || broken.fallbacks < n/20) {
		t.Error("too little was moved or broken to mean anything")
	}
}

// breakWay breaks the way's link, or ends its clones, mostly in the midst of an offload.
func breakWay(rng *rand.Rand, w Way) (Way, *cutter) {
	w.Grace = time.Duration(40+rng.IntN(100)) * time.Millisecond
	if rng.IntN(2) == 0 {
		w.Grace = time.Millisecond
	}
	switch rng.IntN(6) {
	case 0:
		w.KillAt = 1 + rng.IntN(60)
		return w, nil
	case 1:
		w.Faults = link.RandomPlan(rng.Uint64(), link.Chaos{Frames: 80, Faults: 1 + rng.IntN(4)})
		return w, nil
	}
	c := &cutter{at: map[int]bool{}}
	for range 1 + rng.IntN(3) {
		c.at[1+rng.IntN(40)] = true
	}
	w.tamper = func(l link.Link, kill func()) link.Link { return &cutLink{l, c, kill} }
	return w, c
}

// cutter ends all clones when certain frames of offloads have come to the device.
type cutter struct {
	at map[int]bool // counts from 1

	mu      sync.Mutex
	n, hits int // guarded by mu
}

type cutLink struct {
	link.Link
	c    *cutter
	kill func()
}

func (l *cutLink) Recv(ctx context.Context) ([]byte, error) {
	f, err := l.Link.Recv(ctx)
	if err != nil || !l.c.hit(f) {
		return f, err
	}
	l.kill()
	l.Close()
	return nil, link.ErrClosed
}

// hit counts a frame.
func (c *cutter) hit(f []byte) bool {
	h, err := wire.ParseHeader(f)
	if err != nil {
		return false
	}
	switch h.Type {
	case wire.TypeHomeCall, wire.TypeOutput, wire.TypeReintegrate, wire.TypeFiles, wire.TypePages, wire.TypePagesEnd:
	default:
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	if c.at[c.n] {
		c.hits++
		return true
	}
	return false
}

func (c *cutter) struck() bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hits > 0
}

// ramDir makes a folder that is kept in memory, where there is a place for such: the tests' folders last for less than a disk takes to
// be sure of anything.
func ramDir() (string, error) {
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() && os.Getenv("TMPDIR") == "" {
		if dir, err := os.MkdirTemp("/dev/shm", "clonecloud-random-"); err == nil {
			return dir, nil
		}
	}
	return os.MkdirTemp("", "clonecloud-random-")
}
