package conformance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
)

// mixCase is a run of testdata/mix.c in fresh directories.
func mixCase(dir string, bin []byte, arg string) (Case, error) {
	var in strings.Builder
	for i := range 13 {
		fmt.Fprintf(&in, "this is line %d, of no great length %s\n", i, strings.Repeat("x", i*7%40))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Case{}, err
	}
	return Case{Name: "mix", Module: bin, Args: []string{"mix", arg}, Stdin: []byte(in.String()),
		Mounts: []Mount{{Host: dir, Guest: "/out"}}}, nil
}

// mixAlone runs it on the device alone, with each argument that it is run with.
func mixAlone(t *testing.T, l *Lab, bin []byte) map[string]*Outcome {
	t.Helper()
	want := map[string]*Outcome{}
	for _, arg := range []string{"", "trap"} {
		c, err := mixCase(filepath.Join(t.TempDir(), "out"), bin, arg)
		if err != nil {
			t.Fatal(err)
		}
		if want[arg], err = l.Run(context.Background(), c, Way{Canonical: true}); err != nil {
			t.Fatal(err)
		}
	}
	return want
}

// cutWay draws how one run is broken: what moves, and what happens to the link or the node.
func cutWay(seed uint64) Way {
	rng := rand.New(rand.NewPCG(seed, 0xc07))
	w := Way{
		Device: Compiler, Clone: Compiler, Canonical: true, All: true, Seed: seed,
		First: 1 + rng.IntN(8), Skip: float64(rng.IntN(3)) * 0.4, Depth: rng.IntN(5), Sample: 0.05,
		Grace: time.Duration(40+rng.IntN(100)) * time.Millisecond,
	}
	if rng.IntN(2) == 0 {
		w.Grace = time.Millisecond // no time to resume: fall back
	}
	if rng.IntN(5) == 0 {
		w.Device = Interpreter
	}
	w = drawEngines(w)
	w.Files = *filesFlag || seed%2 == 0
	if rng.IntN(6) == 0 {
		w.KillAt = 1 + rng.IntN(120)
		return w
	}
	w.Faults = link.RandomPlan(seed, link.Chaos{Frames: 160, Faults: 1 + rng.IntN(4)})
	return w
}

// eachSeed calls one with the seeds from 1 to runs, some at a time, until one has failed. With -seed it calls it with that
// one alone, and is false: what the runs came to together means nothing then.
func eachSeed(t *testing.T, workers int, runs uint64, one func(seed uint64)) bool {
	if *oneSeed != 0 {
		one(*oneSeed)
		return false
	}
	var next atomic.Uint64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for n := next.Add(1); n <= runs && !t.Failed(); n = next.Add(1) {
				one(n)
			}
		})
	}
	wg.Wait()
	return true
}

// TestCuts breaks runs at random points. With -full it makes 10,000 of them; a failure prints its seed, and -seed
// draws that one again; and it leaves its trace, which -replay repeats as it went, see TestReplay.
func TestCuts(t *testing.T) {
	bin, err := os.ReadFile("testdata/mix.wasm")
	if err != nil {
		t.Fatal(err)
	}
	runs := uint64(150)
	switch {
	case *full:
		runs = 10_000
	case testing.Short():
		runs = 30
	}
	l := newLab(t)
	want := mixAlone(t, l, bin)
	var s tally
	var follow filesTally
	var mu sync.Mutex
	var struck, resumed, killed int
	reasons := map[string]int{}
	one := func(seed uint64) {
		w, arg := cutWay(seed), cutArg(seed)
		w.Trace = true
		dir, err := os.MkdirTemp("", "cut")
		if err != nil {
			t.Error(err)
			return
		}
		defer os.RemoveAll(dir)
		c, err := mixCase(filepath.Join(dir, "out"), bin, arg)
		if err != nil {
			t.Error(err)
			return
		}
		got, err := l.Run(context.Background(), c, w)
		if err != nil {
			t.Errorf("seed %d: way %v: %v", seed, w, err)
			return
		}
		if d := Diff(want[arg], got); d != "" {
			t.Errorf("seed %d: way %v:\n%s\nlog: %v\n%s", seed, w, d, got.Log, failedCut(c, w, got, d))
		}
		mu.Lock()
		defer mu.Unlock()
		s.add(got)
		if w.Files {
			follow.add(got)
		}
		if got.Fired > 0 {
			struck++
		}
		if w.KillAt > 0 {
			killed++
		}
		if got.Report.Resumed > 0 {
			resumed++
		}
		for _, f := range got.Report.Functions {
			for r, n := range f.Fallbacks {
				reasons[r] += n
			}
		}
	}
	if !eachSeed(t, 8, runs, one) {
		return
	}
	t.Logf("%d runs: %d with a fault that struck, %d with the clones killed, %d resumed; %v; fallbacks by reason %v",
		runs, struck, killed, resumed, &s, reasons)
	t.Logf("with files: %v", &follow)
	if n := int(runs); !t.Failed() && (struck < n/3 || resumed < n/20 || s.fallbacks < n/10 || s.offloads < n) {
		t.Errorf("too little was broken to mean anything")
	}
	if f := &follow; !t.Failed() && (f.changed < f.runs/2 || f.up == 0 || f.onFiles() > f.offloads/10) {
		t.Error("too little of the files followed to mean anything")
	}
}
