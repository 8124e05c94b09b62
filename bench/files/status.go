package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/internal/scan"
)

const (
	statusFiles = 100_000
	watching    = "watching" // an argument of look
)

// look is a process that looks through a directory as a run does when it begins, and says what it saw and what it took.
func look(cache, dir string, watch bool) int {
	if err := lookThrough(cache, dir, watch); err != nil {
		fmt.Fprintln(os.Stderr, "look:", err)
		return 1
	}
	return 0
}

func lookThrough(cache, dir string, watch bool) (err error) {
	begin := time.Now()
	t, err := scan.Open(dir, scan.Options{Cache: cache, Watch: watch})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	ctx := context.Background()
	v, err := t.Pin(ctx)
	if err != nil {
		return err
	}
	opened := time.Since(begin)
	var again time.Duration
	if watch { // else it would look at all again, which is not what the process is timed for
		begin = time.Now()
		if _, err := t.Pin(ctx); err != nil {
			return err
		}
		again = time.Since(begin)
	}
	files, _, _ := v.Stats()
	fmt.Printf("%d %v %d %d\n", files, v.Root().Dir, opened.Nanoseconds(), again.Nanoseconds())
	return nil
}

// status measures how soon it is known that a tree is as it was.
func status(ctx context.Context, o *options) ([]*measure.Table, error) {
	if _, err := exec.LookPath("git"); err != nil {
		return nil, err
	}
	n := max(int(statusFiles*o.size), 100)
	t := table("status", fmt.Sprintf("looking through %d files that are as they were, from what is kept of them, over git status in the same tree; whole processes", n),
		"looking", "over", "rounds", "look ms", "git ms", "look/git", "low", "high", "opened and pinned ms", "of it/git", "pinned again ms")
	t.Note("Attributes and directories are in memory on both sides; all files have been hashed once by either. " +
		"Opened and pinned: within the process, without its start and end, as in a program that does more than look; git's process is all of git. " +
		"Pinned again: in the same process, from what the system has told.")
	s := &statusTree{o: o, dir: filepath.Join(o.scratch, "status"), files: n}
	defer s.remove()
	if err := s.make(ctx); err != nil {
		return nil, err
	}
	for _, mode := range []string{watching, "looking only"} {
		for _, git := range [][]string{{"status"}, {"status", "--untracked-files=no"}} {
			if err := s.measure(ctx, t, mode, git); err != nil {
				return []*measure.Table{t}, err
			}
		}
	}
	return []*measure.Table{t}, nil
}

// statusTree is a tree of many small files, known to git and to us.
type statusTree struct {
	o     *options
	dir   string
	files int
	root  string // what looking has found
}

func (s *statusTree) work() string  { return filepath.Join(s.dir, "tree") }
func (s *statusTree) cache() string { return filepath.Join(s.dir, "cache", "stat.db") }

func (s *statusTree) make(ctx context.Context) error {
	spec := treeSpec{files: s.files, bytes: int64(s.files) * 300, seed: s.o.seed}
	if _, err := spec.generate(ctx, s.work()); err != nil {
		return err
	}
	settle(ctx)
	for _, args := range [][]string{
		{"init", "-q"}, {"config", "core.looseCompression", "0"}, {"add", "-A"}, {"commit", "-q", "-m", "all"},
	} {
		if _, err := s.git(ctx, args...); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(s.cache()), 0o755); err != nil {
		return err
	}
	t, err := scan.Open(s.work(), scan.Options{Cache: s.cache()})
	if err != nil {
		return err
	}
	// The second look takes in what was hashed; what was too fresh to be trusted is hashed again by the next one.
	for range 2 {
		if err = t.Hash(ctx, nil); err == nil {
			_, err = t.Pin(ctx)
		}
		if err != nil {
			break
		}
	}
	settle(ctx)
	return errors.Join(err, t.Close())
}

// git runs git on the tree, with a folder of its own for what it keeps and nobody's configuration.
func (s *statusTree) git(ctx context.Context, args ...string) (string, error) {
	c := exec.CommandContext(ctx, "git", args...)
	c.Dir = s.work()
	c.Env = append(os.Environ(), "GIT_DIR="+filepath.Join(s.dir, "git"), "GIT_WORK_TREE="+s.work(),
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "LC_ALL=C",
		"GIT_AUTHOR_NAME=bench", "GIT_AUTHOR_EMAIL=bench@example.com", "GIT_COMMITTER_NAME=bench", "GIT_COMMITTER_EMAIL=bench@example.com")
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// measure compares looking with one way to call git.
func (s *statusTree) measure(ctx context.Context, t *measure.Table, mode string, git []string) error {
	var ours, theirs, opened, again []float64
	rounds := 4 * s.o.rounds
	for round := -2; round < rounds; round++ {
		lookOnce := func() error {
			ms, open, pin, err := s.look(ctx, mode)
			if err == nil && round >= 0 { // the first warm up
				ours, opened, again = append(ours, ms), append(opened, open), append(again, pin)
			}
			return err
		}
		gitOnce := func() error {
			begin := time.Now()
			out, err := s.git(ctx, git...)
			if err == nil && !strings.Contains(out, "nothing to commit") {
				err = fmt.Errorf("git finds the tree changed: %.300s", out)
			}
			if ms := float64(time.Since(begin)) / 1e6; err == nil && round >= 0 {
				theirs = append(theirs, ms)
			}
			return err
		}
		turns := []func() error{lookOnce, gitOnce}
		for k := range turns {
			if err := turns[(k+round+2)%2](); err != nil {
				return err
			}
		}
	}
	b := measure.Bootstrap(measure.Ratios(theirs, ours))
	var repeated any = "-"
	if mode == watching {
		repeated = measure.Median(again)
	}
	t.Add(mode, "git "+strings.Join(git, " "), rounds, measure.Median(ours), measure.Median(theirs), b.Mid, b.Low, b.High,
		measure.Median(opened), measure.Median(measure.Ratios(theirs, opened)), repeated)
	return nil
}

// look runs a process that looks: milliseconds of all of it, and of its parts.
func (s *statusTree) look(ctx context.Context, mode string) (ms, open, again float64, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, 0, 0, err
	}
	c := exec.CommandContext(ctx, self, lookArg, s.cache(), s.work(), mode)
	c.Stderr = os.Stderr
	begin := time.Now()
	out, err := c.Output()
	ms = float64(time.Since(begin)) / 1e6
	if err != nil {
		return 0, 0, 0, fmt.Errorf("look through %s: %w", s.work(), err)
	}
	var files int
	var root string
	if _, err := fmt.Sscanf(string(out), "%d %s %g %g", &files, &root, &open, &again); err != nil {
		return 0, 0, 0, fmt.Errorf("look through %s: it says %q: %w", s.work(), out, err)
	}
	if s.root == "" {
		s.root = root
	}
	if files != s.files || root != s.root {
		return 0, 0, 0, fmt.Errorf("looking found %d files under %s, and there are %d under %s", files, root, s.files, s.root)
	}
	return ms, open / 1e6, again / 1e6, nil
}

// remove removes the tree, git's folder and the cache.
func (s *statusTree) remove() {
	if err := os.RemoveAll(s.dir); err != nil {
		fmt.Fprintln(os.Stderr, "files:", err)
	}
}
