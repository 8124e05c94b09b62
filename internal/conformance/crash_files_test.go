package conformance

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/clonecloud/clonecloud/internal/replica/origin"
	"github.com/clonecloud/clonecloud/internal/trace"
)

// crashChild is the first argument of this executable where it is a device that will be killed.
const crashChild = "files-crash"

// crashScript makes a script of groups, each of which is one offload.
func crashScript(seed uint64) []string {
	rng := rand.New(rand.NewPCG(seed, 0xc4a54))
	name := func() string { return guestName(markedNames[rng.IntN(len(markedNames))]) }
	groups := make([]string, 3+rng.IntN(4))
	mark := 1000
	for i := range groups {
		var b strings.Builder
		for range 3 + rng.IntN(10) {
			switch rng.IntN(12) {
			case 0, 1, 2:
				mark++
				fmt.Fprintf(&b, "P 0 %s %d %d\n", name(), mark, []int{0, 30, 5000, 300_000}[rng.IntN(4)])
			case 3:
				fmt.Fprintf(&b, "D 0 %s\n", name())
			case 4, 5, 6:
				fmt.Fprintf(&b, "n 0 %s 0 %s\n", name(), name())
			case 7:
				fmt.Fprintf(&b, "m 0 %s\n", name())
			case 8:
				fmt.Fprintf(&b, "l 0 %s 0 0 %s\n", name(), name())
			case 9, 10: // in the midst of a file
				fmt.Fprintf(&b, "o 2 0 %s 0 %d 3 0\nw 2 %d %d %d\nz 2 %d\nc 2\n", name(), rng.IntN(2), rng.IntN(9000), rng.IntN(9000), rng.IntN(99), rng.IntN(12000))
			default:
				fmt.Fprintf(&b, "y %s 0 %s\nT 0 %s 0 %d000 %d000 5\n", name(), name(), name(), 1+rng.IntN(99), 1+rng.IntN(99))
			}
		}
		groups[i] = b.String()
	}
	return groups
}

// crashTree makes the directories in which it runs.
func crashTree(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "b"), 0o755); err != nil {
		return err
	}
	return markedTree(filepath.Join(dir, "a"), newLedger())
}

func newLedger() *ledger {
	return &ledger{size: map[int]int{}, made: map[int]string{}, lost: map[int]string{}}
}

// allOf is all that the test compares of a directory.
func allOf(dir string) (map[string]string, error) {
	all := map[string]string{}
	if err := tree(dir, "", all); err != nil {
		return nil, err
	}
	more, err := attributes(dir)
	if err != nil {
		return nil, err
	}
	for p, text := range more {
		all[":"+filepath.ToSlash(p)] += " " + text
	}
	return all, nil
}

// crashMain is a device whose program runs the script of a seed in dir, a clone each group. It says how far it is.
func crashMain(dir, seed, clone string) int {
	n, err := strconv.ParseUint(seed, 10, 64)
	if err == nil {
		err = crashRun(dir, n, clone)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func crashRun(dir string, seed uint64, clone string) error {
	bin, err := os.ReadFile("testdata/files.wasm")
	if err != nil {
		return err
	}
	var script strings.Builder
	for _, g := range crashScript(seed) {
		script.WriteString("{\n" + g + "}\n")
	}
	l := &Lab{CacheDir: filepath.Join(os.TempDir(), "clonecloud-test-code")}
	defer l.Close()
	w := Way{Device: Compiler, Clone: clone, Deep: true, All: true, Files: true, First: 1000}
	w.only = func(name string) bool { return name == "group" }
	w.hear = func(e trace.Event) {
		switch e.Kind {
		case trace.Depart, trace.Pinned, trace.FilesGiven, trace.Back, trace.Received, trace.Merge, trace.Offloaded, trace.Fallback:
			fmt.Println(e.Kind)
		}
	}
	w.settle = func(c *origin.Config) {
		c.Cache, c.Plans, c.Spool = filepath.Join(dir, "stat.db"), filepath.Join(dir, "plans"), filepath.Join(dir, "spool")
	}
	o, err := l.Run(context.Background(), filesCase(bin, dir, script.String()), w)
	if err != nil {
		return err
	}
	fmt.Println(o.End)
	return nil
}

// TestDeviceCrash kills a device at random moments of a run whose clones change files. What is there when the next run has looked
// after it is what some offload left, whole, and none that the device had merged is undone.
func TestDeviceCrash(t *testing.T) {
	needsLinux(t)
	bin := filesGuest(t)
	runs := uint64(14)
	switch {
	case *full:
		runs = 400
	case testing.Short():
		runs = 4
	}
	l := newLab(t)
	var mu sync.Mutex
	at := map[string]int{}
	pending, between := 0, 0
	one := func(seed uint64) {
		c, err := crashOnce(l, bin, seed)
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		at[c.killed]++
		if c.plans > 0 {
			pending++
		}
		if c.state > 0 && c.state < c.groups {
			between++
		}
	}
	if !eachSeed(t, 2, runs, one) {
		return
	}
	t.Logf("%d runs killed after %v; %d with a plan to finish or to drop; %d in the midst of the groups", runs, at, pending, between)
	if !t.Failed() && runs > 10 && (runs > 100 && pending == 0 || between < int(runs)/6) {
		t.Error("too little was interrupted to mean anything")
	}
}

// crash is what became of a run that was killed.
type crash struct {
	killed               string // after this event
	plans, state, groups int
}

// crashOnce kills a run, looks after the directory as the next run would, and compares.
func crashOnce(l *Lab, bin []byte, seed uint64) (*crash, error) {
	rng := rand.New(rand.NewPCG(seed, 3))
	states, err := crashStates(l, bin, seed)
	if err != nil {
		return nil, err
	}
	dir, err := ramDir()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := crashTree(dir); err != nil {
		return nil, err
	}
	c := &crash{groups: len(states) - 1}
	merged, err := c.kill(dir, seed, rng)
	if err != nil {
		return nil, err
	}
	plans := filepath.Join(dir, "plans")
	if list, err := os.ReadDir(plans); err == nil {
		c.plans = len(list)
	}
	var log []string
	if err := origin.Recover(context.Background(), plans, filepath.Join(dir, "a"), func(f string, a ...any) { log = append(log, fmt.Sprintf(f, a...)) }); err != nil {
		return nil, fmt.Errorf("killed after %s: recover: %w", c.killed, err)
	}
	if list, err := os.ReadDir(plans); err == nil && len(list) > 0 {
		return nil, fmt.Errorf("killed after %s: plans are left: %v", c.killed, list)
	}
	got, err := allOf(filepath.Join(dir, "a"))
	if err != nil {
		return nil, err
	}
	for i := len(states) - 1; i >= merged; i-- {
		if maps.Equal(states[i], got) {
			c.state = i
			return c, nil
		}
	}
	return nil, fmt.Errorf("killed after %s, with %d of %d merged: the directory is none that an offload has left; it differs from the next one by\n%s\nfrom the one before by\n%s\nlog: %v",
		c.killed, merged, c.groups, diffAttributes(states[min(merged+1, c.groups)], got), diffAttributes(states[merged], got), log)
}

// crashStates are what the directory is after each number of groups.
func crashStates(l *Lab, bin []byte, seed uint64) ([]map[string]string, error) {
	groups := crashScript(seed)
	var states []map[string]string
	for i := range len(groups) + 1 {
		dir, err := ramDir()
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		if err := crashTree(dir); err != nil {
			return nil, err
		}
		if _, err := l.Run(context.Background(), filesCase(bin, dir, strings.Join(groups[:i], "")), Way{}); err != nil {
			return nil, err
		}
		s, err := allOf(filepath.Join(dir, "a"))
		if err != nil {
			return nil, err
		}
		states = append(states, s)
	}
	return states, nil
}

// kill starts the run and kills it at a random moment after one of its events. It returns how many offloads were merged before.
func (c *crash) kill(dir string, seed uint64, rng *rand.Rand) (merged int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, crashChild, dir, strconv.FormatUint(seed, 10), siteEngine())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() { _ = cmd.Wait() }() // killed
	lines := bufio.NewScanner(out)
	next := func() bool {
		ok := lines.Scan()
		if ok && lines.Text() == string(trace.Merge) {
			merged++
		}
		return ok
	}
	// In half of the runs it is when an offload is about to be merged.
	only, n := "", 1+rng.IntN(6*c.groups)
	if seed%2 == 0 {
		only, n = string(trace.Received), 1+rng.IntN(c.groups)
	}
	for n > 0 && next() {
		if c.killed = lines.Text(); only == "" || c.killed == only {
			n--
		}
	}
	for x := rng.Uint64() % 3_000_000; x > 0; x-- { // a moment, of no certain length
		if x%1024 == 0 {
			_ = rng.Uint64()
		}
	}
	if err := cmd.Process.Kill(); err != nil && c.killed == "" {
		return 0, err
	}
	for next() { // what it has said meanwhile
	}
	return merged, lines.Err()
}
