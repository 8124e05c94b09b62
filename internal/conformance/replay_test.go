package conformance

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/wire"
)

var (
	replayFlag = flag.String("replay", "", "trace of a cut run that TestReplay repeats")
	traceDir   = flag.String("trace-dir", "", "folder for the traces of cut runs that failed; default: a new one that stays, in the system's for temporary files")
)

// cutTest is the name under which recipes of cut runs go, of TestCuts and TestHostCuts.
const cutTest = "cuts"

// cutArg is the argument of a cut run.
func cutArg(seed uint64) string {
	if seed%7 == 0 {
		return "trap"
	}
	return ""
}

// keepTrace writes the trace of a cut run that differs, and says how to replay it.
func keepTrace(c Case, w Way, o *Outcome, difference string) (string, error) {
	dir := *traceDir
	var err error
	if dir == "" {
		dir, err = os.MkdirTemp("", "clonecloud-trace-")
	} else {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return "", err
	}
	name := strings.ReplaceAll(strings.TrimSpace(c.Name), " ", "-")
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("cut-%s-%d.trace", name, w.Seed)))
	if err != nil {
		return "", err
	}
	err = WriteTrace(f, NewRecipe(cutTest, c, w, difference), o)
	return f.Name(), errors.Join(err, f.Close())
}

// failedCut is keepTrace in words.
func failedCut(c Case, w Way, o *Outcome, difference string) string {
	path, err := keepTrace(c, w, o, difference)
	if err != nil {
		return fmt.Sprintf("its trace could not be written: %v", err)
	}
	return fmt.Sprintf("trace: %s\nreplay: go test ./internal/conformance -run TestReplay -replay %s", path, path)
}

// replay is what came of repeating a run.
type replay struct {
	recipe     *Recipe
	difference string // from the run on the device alone
	strayed    string // how it left the trace
	outline    []string
	want       []string // the trace's
	drawn      int      // of drawnTries, that differ
}

const drawnTries = 5

// replayTrace repeats the run of a trace: as it is told there, and if that shows no difference as it was drawn, with its faults
// on the link. What these do depends on the moment, so it is tried a few times.
func replayTrace(t *testing.T, l *Lab, path string) *replay {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	recipe, events, err := ReadRecipe(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if recipe.Test != cutTest || len(recipe.Args) != 2 {
		t.Fatalf("%s: it is of %q, with %d arguments; this test repeats runs of %q, with 2", path, recipe.Test, len(recipe.Args), cutTest)
	}
	w, err := recipe.Way()
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	run := func(w Way) *Outcome {
		c := caseOf(t, recipe)
		if err := recipe.IsOf(c); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		o, err := l.Run(context.Background(), c, w)
		if err != nil {
			t.Fatalf("%s: way %v: %v", path, w, err)
		}
		return o
	}
	alone := run(Way{Canonical: recipe.Canonical})
	r := &replay{recipe: recipe, want: Outline(events)}
	d, err := NewDirector(events)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	told := w
	told.Faults, told.KillAt, told.Direct = link.Plan{}, 0, d
	got := run(told)
	r.difference, r.strayed, r.outline = Diff(alone, got), d.Strayed(), Outline(got.Events)
	for range drawnTries {
		if r.difference != "" {
			break
		}
		if d := Diff(alone, run(w)); d != "" {
			r.drawn++
		}
	}
	return r
}

// caseOf makes the case that a recipe is of, in fresh directories.
func caseOf(t *testing.T, r *Recipe) Case {
	t.Helper()
	switch name, _, _ := strings.Cut(r.Case, " "); name {
	case "mix":
		c, err := mixCase(filepath.Join(t.TempDir(), "out"), mixModule(t), r.Args[1])
		if err != nil {
			t.Fatal(err)
		}
		return c
	case "hosts":
		return hostsCase(t, r.Args[1])
	}
	t.Fatalf("the trace is of case %q; there are mix and hosts", r.Case)
	return Case{}
}

// TestReplay repeats the run of a trace that TestCuts or TestHostCuts has left: -replay names it. It fails if the run differs again.
func TestReplay(t *testing.T) {
	if *replayFlag == "" {
		t.Skip("no -replay")
	}
	r := replayTrace(t, newLab(t), *replayFlag)
	if r.strayed != "" {
		t.Logf("the run does not go as the trace tells: %s", r.strayed)
	}
	if at := firstDifference(r.want, r.outline); at != "" {
		t.Logf("events differ from the trace's: %s", at)
	}
	switch {
	case r.difference != "" && r.difference == r.recipe.Difference:
		t.Errorf("it differs again, in the same way:\n%s", r.difference)
	case r.difference != "":
		t.Errorf("it differs again, in another way:\n%s\nthe trace's:\n%s", r.difference, r.recipe.Difference)
	case r.drawn > 0:
		t.Errorf("it differs again in %d of %d tries with the faults on the link, but not where these are left out and only what came of them is repeated", r.drawn, drawnTries)
	case r.recipe.Difference != "":
		t.Logf("it does not differ any more; the trace's difference:\n%s", r.recipe.Difference)
	default:
		t.Log("it does not differ, nor did the trace's run")
	}
}

func firstDifference(want, got []string) string {
	for i := range max(len(want), len(got)) {
		line := func(l []string) string {
			if i < len(l) {
				return l[i]
			}
			return "nothing"
		}
		if line(want) != line(got) {
			return fmt.Sprintf("event %d is %q, want %q", i+1, line(got), line(want))
		}
	}
	return ""
}

// cutRun makes one cut run, with its trace.
func cutRun(t *testing.T, l *Lab, bin []byte, seed uint64) (Case, Way, *Outcome) {
	t.Helper()
	c, err := mixCase(filepath.Join(t.TempDir(), "out"), bin, cutArg(seed))
	if err != nil {
		t.Fatal(err)
	}
	w := cutWay(seed)
	w.Trace, w.Files = true, w.Files && seed > 8 // a link is lost less often where calls on files do not come home
	o, err := l.Run(context.Background(), c, w)
	if err != nil {
		t.Fatal(err)
	}
	return c, w, o
}

func mixModule(t *testing.T) []byte {
	t.Helper()
	bin, err := os.ReadFile("testdata/mix.wasm")
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// TestReplayOfPassingRuns: the trace of a run that went well, whatever struck it, replays to the same events.
func TestReplayOfPassingRuns(t *testing.T) {
	l, bin := newLab(t), mixModule(t)
	*traceDir = t.TempDir()
	t.Cleanup(func() { *traceDir = "" })
	seeds, lost, fallbacks := 25, 0, 0
	if testing.Short() {
		seeds = 8
	}
	for seed := uint64(1); seed <= uint64(seeds); seed++ {
		c, w, o := cutRun(t, l, bin, seed)
		if seed%5 == 0 {
			c = hostsCase(t, "")
			var err error
			if o, err = l.Run(context.Background(), c, w); err != nil {
				t.Fatal(err)
			}
		}
		path, err := keepTrace(c, w, o, "")
		if err != nil {
			t.Fatal(err)
		}
		r := replayTrace(t, l, path)
		if at := firstDifference(r.want, r.outline); at != "" || r.strayed != "" || r.difference != "" || r.drawn > 0 {
			t.Errorf("seed %d, way %v: %s; strayed: %s; difference: %s, %d", seed, w, at, r.strayed, r.difference, r.drawn)
		}
		for _, line := range r.want {
			if strings.HasPrefix(line, "fallback ") {
				fallbacks++
				if strings.Contains(line, lostLink) {
					lost++
				}
			}
		}
		least := 20
		if w.Files {
			least = 8 // calls on files do not come home
		}
		if len(r.want) < least {
			t.Errorf("seed %d: %d events are too few to mean anything", seed, len(r.want))
		}
	}
	t.Logf("%d runs, %d fallbacks, %d of them after a lost link", seeds, fallbacks, lost)
	if lost == 0 {
		t.Error("no link was lost for good: that means too little")
	}
}

// forger is an injected bug: from some offload on, the link changes a byte of the output that a clone sends.
type forger struct {
	link.Link
	from uint64
}

func (l *forger) Recv(ctx context.Context) ([]byte, error) {
	f, err := l.Link.Recv(ctx)
	if err != nil {
		return f, err
	}
	h, m, err := wire.Decode(f)
	if out, ok := m.(*wire.Output); err == nil && ok && out.Offload >= l.from && len(out.Data) > 0 {
		out.Data = bytes.Clone(out.Data)
		out.Data[0] ^= 1
		return wire.Encode(h.Seq, h.Ack, out)
	}
	return f, nil
}

// TestReplayOfAFailure: with a bug injected, cut runs differ, leave their traces, and these replay to the same difference;
// without it they replay to none.
func TestReplayOfAFailure(t *testing.T) {
	l, bin := newLab(t), mixModule(t)
	*traceDir = t.TempDir()
	t.Cleanup(func() { *traceDir = "" })
	want := mixAlone(t, l, bin)
	buggy := newLab(t)
	buggy.tamper = func(to link.Link) link.Link { return &forger{to, 3} }
	found := 0
	for seed := uint64(1); seed <= 40 && found < 3; seed++ {
		c, w, o := cutRun(t, buggy, bin, seed)
		d := Diff(want[cutArg(seed)], o)
		if d == "" {
			continue // nothing was printed by a clone, or it was lost
		}
		found++
		text := failedCut(c, w, o, d)
		_, path, ok := strings.Cut(text, "-replay ")
		if !ok {
			t.Fatal(text)
		}
		r := replayTrace(t, buggy, path)
		if r.difference != d || r.recipe.Difference != d {
			t.Errorf("seed %d replays to difference\n%s\nwant\n%s", seed, r.difference, d)
		}
		if at := firstDifference(r.want, r.outline); at != "" || r.strayed != "" {
			t.Errorf("seed %d: %s; strayed: %s", seed, at, r.strayed)
		}
		if r = replayTrace(t, l, path); r.difference != "" || r.drawn > 0 {
			t.Errorf("seed %d differs without the bug: %s", seed, r.difference)
		}
	}
	if found < 3 {
		t.Errorf("the bug was seen in %d runs", found)
	}
}

// TestRecipe holds what is refused of a trace that is to be replayed.
func TestRecipe(t *testing.T) {
	header := func(replay string) string { return `{"format":"clonecloud trace","version":1` + replay + "}\n" }
	for name, c := range map[string]struct{ file, want string }{
		"none":    {header(""), `no "replay"`},
		"version": {header(`,"replay":{"version":2}`), "version 2, this test reads 1"},
		"unknown": {header(`,"replay":{"version":1,"speed":3}`), "line 1"},
		"type":    {header(`,"replay":[1]`), "line 1"},
		"format":  {`{"format":"something else"}`, "line 1"},
	} {
		_, _, err := ReadRecipe(strings.NewReader(c.file))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	w := cutWay(12)
	r := NewRecipe(cutTest, Case{Name: "mix", Module: []byte("a"), Args: []string{"mix", ""}}, w, "d")
	var b bytes.Buffer
	if err := WriteTrace(&b, r, &Outcome{Events: []trace.Event{{Kind: trace.Begin}}}); err != nil {
		t.Fatal(err)
	}
	back, events, err := ReadRecipe(&b)
	if err != nil || len(events) != 1 || fmt.Sprint(back) != fmt.Sprint(r) {
		t.Errorf("read %+v, %v, %v", back, events, err)
	}
	again, err := back.Way()
	if again.Trace = false; err != nil || again.String() != w.String() || again.Grace != w.Grace {
		t.Errorf("way %v, want %v; %v", again, w, err)
	}
	if err := back.IsOf(Case{Name: "mix", Module: []byte("b")}); err == nil {
		t.Error("another module is taken for the trace's")
	}
	if lines := Outline([]trace.Event{{Kind: trace.Ready}, {Kind: trace.Decide, Function: "f", Choice: "clone", Reason: "policy"}}); !slices.Equal(lines, []string{"decide f clone policy"}) {
		t.Errorf("outline %q", lines)
	}
}
