package conformance

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/conformance/corpus"
)

var (
	corpusDir = flag.String("corpus", os.Getenv("CLONECLOUD_CORPUS"),
		"folder with the built programs: c/ (corpus/build.sh) and gotests/; without it only what go builds by itself runs")
	full  = flag.Bool("full", false, "run the whole campaign, not its short form")
	whole = flag.Bool("whole", false, "move programs as a whole only, nothing inside them")
	// filesFlag has all ways of all suites, where only some do by default.
	filesFlag = flag.Bool("files", false, "run all of the suites with directories that follow the program too, not only a part")

	only    = flag.String("program", "", "run just the programs whose name contains this")
	oneSeed = flag.Uint64("seed", 0, "replay one seed")
)

func newLab(t testing.TB) *Lab {
	l := &Lab{CacheDir: filepath.Join(os.TempDir(), "clonecloud-test-code")}
	switch *linkFlag {
	case "memory":
	case "tls":
		l.Sites = t.TempDir()
	default:
		t.Fatalf("no link %q: there are memory and tls", *linkFlag)
	}
	t.Cleanup(l.Close)
	return l
}

// cases makes the cases of one program: its runs in order, over one set of directories.
func runProgram(t *testing.T, l *Lab, p corpus.Program, built string, w Way, verify bool) []*Outcome {
	t.Helper()
	mounts, err := p.Prepare(built, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var out []*Outcome
	for _, r := range p.Runs {
		bin, err := os.ReadFile(filepath.Join(built, p.Module(&r)))
		if err != nil {
			t.Fatal(err)
		}
		stdin, err := inputOf(built, r.Stdin)
		if err != nil {
			t.Fatal(err)
		}
		c := Case{Name: p.Name + " " + r.Name, Module: bin, Args: r.Args, Env: r.Env, Stdin: stdin}
		for _, m := range mounts {
			c.Mounts = append(c.Mounts, Mount(m))
		}
		o, err := l.Run(context.Background(), c, w)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		if verify {
			code := uint32(0)
			fmt.Sscanf(o.End, "exit status %d", &code)
			if err := p.Check(&r, built, mounts, code, o.Stdout); err != nil {
				t.Errorf("local run: %v (%s)\n%s", err, o.End, tail(o.Stderr))
			}
		}
		out = append(out, o)
	}
	return out
}

func inputOf(built, name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	return corpus.Input(built, name)
}

func tail(b []byte) []byte { return b[max(0, len(b)-500):] }

// tally sums up what a suite did, so that it can be seen to be no empty one.
type tally struct {
	offloads, fallbacks, home int
	kept                      map[string]int
	device, clone             time.Duration
}

func (s *tally) add(o *Outcome) {
	r := o.Report
	done, back := r.Offloads()
	s.offloads += done
	s.fallbacks += back
	s.device += r.Device
	s.clone += r.Clone
	if s.kept == nil {
		s.kept = map[string]int{}
	}
	for _, f := range r.Functions {
		s.home += f.HomeCalls
		for k, n := range f.Kept {
			s.kept[k] += n
		}
	}
}

func (s *tally) share() float64 {
	if s.clone+s.device == 0 {
		return 0
	}
	return float64(s.clone) / float64(s.clone+s.device)
}

func (s *tally) String() string {
	return fmt.Sprintf("%d offloads, %d fallbacks, %d home calls, kept %v, %.1f %% of guest time on the clone",
		s.offloads, s.fallbacks, s.home, s.kept, 100*s.share())
}

func testPrograms(t *testing.T, programs []corpus.Program, built string, ways func(pair [2]string) []Way, floor float64) {
	l := newLab(t)
	for _, p := range programs {
		if strings.Contains(p.Name, *only) {
			t.Run(strings.ReplaceAll(p.Name, "/", "."), func(t *testing.T) { testProgram(t, l, p, built, ways, floor) })
		}
	}
}

func testProgram(t *testing.T, l *Lab, p corpus.Program, built string, ways func(pair [2]string) []Way, floor float64) {
	pairs := pairingsOf(2)
	if testing.Short() {
		pairs = pairingsOf(1)
	}
	want := runProgram(t, l, p, built, Way{Canonical: true}, true)
	for _, pair := range pairs {
		ways := ways(pair)
		if testing.Short() || *whole {
			ways = ways[:1]
		}
		if len(p.Dirs) > 0 {
			ways = withFiles(ways)
		}
		for _, w := range ways {
			got := runProgram(t, l, p, built, w, false)
			var s filesTally
			for i, o := range got {
				s.add(o)
				if d := Diff(want[i], o); d != "" {
					t.Errorf("%s %s, way %v:\n%s\nlog: %v", p.Name, p.Runs[i].Name, w, d, o.Log)
				}
			}
			t.Logf("%s>%s deep=%t all=%t depth=%d files=%t: %v", pair[0], pair[1], w.Deep, w.All, w.Depth, w.Files, &s)
			if w.Files && s.onFiles() > 10+s.offloads/10 {
				t.Errorf("way %v: %v: the files did not follow", w, &s)
			}
			if s.offloads == 0 || !w.Deep && s.share() < floor {
				t.Errorf("way %v: %v: below the floor", w, &s)
			}
		}
	}
}

// withFiles adds ways in which the directories follow: with -files for each way, else for the first.
func withFiles(ways []Way) []Way {
	all := slices.Clone(ways)
	for i, w := range ways {
		if *filesFlag || i == 0 {
			w.Files, w.Trace = true, true
			all = append(all, w)
		}
	}
	return all
}

// deepWays are a way that moves whole programs, one that moves what _start calls, one that moves anything that
// _start calls, and one that moves in the middle of whatever runs, back and forth.
func deepWays(pair [2]string) []Way {
	w := Way{Device: pair[0], Clone: pair[1], Canonical: true, Sample: 0.001, Seed: 1 + *oneSeed, First: 8}
	deep := w
	deep.Deep = true
	every := deep
	every.All, every.First, every.Sample, every.Skip, every.Depth = true, 8, 0.0002, 0.5, 1
	middle := every
	middle.First, middle.Skip, middle.Depth = 40, 0.7, 2+int(*oneSeed%3)
	return []Way{w, deep, every, middle}
}

// goWays leave out those that have an interpreter run the better part of a test, and take small samples: the
// tests call thousands of functions, millions of times.
func goWays(pair [2]string) []Way {
	ways := deepWays(pair)
	if pair[0] == Interpreter || pair[1] == Interpreter {
		return ways[:1]
	}
	ways[1].Sample = 1e-5
	middle := ways[3]
	middle.First, middle.Sample = 2, 1e-6
	return []Way{ways[0], ways[1], middle}
}

func TestCPrograms(t *testing.T) {
	if *corpusDir == "" {
		t.Skip("no -corpus: programs from Debian's sources are not built")
	}
	programs, err := corpus.Programs()
	if err != nil {
		t.Fatal(err)
	}
	testPrograms(t, programs, filepath.Join(*corpusDir, "c"), deepWays, 0.9)
}

func TestGoPrograms(t *testing.T) {
	tests, err := corpus.GoTests()
	if err != nil {
		t.Fatal(err)
	}
	built := filepath.Join(*corpusDir, "gotests")
	if *corpusDir == "" {
		built = t.TempDir()
		tests, *whole = tests[:1], true
	}
	if testing.Short() {
		if *corpusDir == "" {
			t.Skip("building takes too long")
		}
		tests = tests[:1]
	}
	if err := corpus.BuildGoTests(context.Background(), built, tests); err != nil {
		t.Fatal(err)
	}
	var programs []corpus.Program
	for i := range tests {
		programs = append(programs, tests[i].Program())
	}
	testPrograms(t, programs, built, goWays, 0.9)
}
