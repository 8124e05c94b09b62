package conformance

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/conformance/corpus"
	"github.com/clonecloud/clonecloud/internal/remote"
	"github.com/clonecloud/clonecloud/internal/trust"
)

// jobs are what a device of another architecture is to run, in its own process.
type jobs struct {
	Node    string // its address, with the token
	Way     Way
	Cases   []Case // in order
	Scripts []string
}

// results are what it saw.
type results struct {
	Arch     string
	Outcomes []*Outcome
	Scripts  map[string][]string
	Problems map[string][]string
	Modules  int
	Moved    int
	Calls    int
}

// TestDeviceProcess is no test but the other process of TestArchitectures.
func TestDeviceProcess(t *testing.T) {
	file := os.Getenv("CLONECLOUD_TEST_JOBS")
	if file == "" {
		t.Skip("the device's process of TestArchitectures")
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var j jobs
	if err := json.Unmarshal(raw, &j); err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	address, err := trust.ParseAddress(j.Node)
	if err != nil {
		t.Fatal(err)
	}
	l.Dial = (&remote.Node{Address: address, Device: trust.NewSecret()}).Connect
	r := results{Arch: runtime.GOARCH, Scripts: map[string][]string{}, Problems: map[string][]string{}}
	for _, c := range j.Cases {
		o, err := l.Run(t.Context(), c, j.Way)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		r.Outcomes = append(r.Outcomes, o)
	}
	sum := newSpecTally()
	for _, file := range j.Scripts {
		s, err := readScript(file)
		if err != nil {
			t.Fatal(err)
		}
		w := j.Way
		w.Deep, w.All = false, true
		got, problems, _, err := l.play(t.Context(), s, w, sum)
		if err != nil {
			t.Fatal(err)
		}
		r.Scripts[file], r.Problems[file] = got, problems
	}
	r.Modules, r.Moved, r.Calls = sum.modules, sum.moved, sum.offloaded
	if raw, err = json.Marshal(r); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".results", raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestArchitectures runs devices of arm64, under qemu, with clones of this process's architecture in worker processes,
// over TLS, and compares with runs of this process alone. The device is pure Go, whatever the clone has.
func TestArchitectures(t *testing.T) {
	qemu, err := exec.LookPath("qemu-aarch64-static")
	if err != nil || runtime.GOARCH == "arm64" || *corpusDir == "" && !*full {
		t.Skip("no qemu-aarch64-static, or it is not needed, or neither -corpus nor -full is given")
	}
	ctx := t.Context()
	dir := t.TempDir()
	bin := filepath.Join(dir, "device.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", bin, ".")
	build.Env = append(os.Environ(), "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build for arm64: %v\n%s", err, out)
	}
	l := newLab(t)
	w := Way{Device: Compiler, Clone: siteEngine(), Canonical: true, Seed: 1, First: 8, Sample: 0.001}
	site := &Site{State: t.TempDir(), Engine: w.Clone}
	if err := site.Start(); err != nil {
		t.Fatal(err)
	}
	defer site.Close()
	deep := w
	deep.Deep, deep.All, deep.Skip, deep.Depth = true, true, 0.5, 1
	for _, w := range []Way{w, deep} {
		t.Run(fmt.Sprintf("deep=%t", w.Deep), func(t *testing.T) {
			here := archCases(t)
			j := jobs{Node: site.Address().String(), Way: w, Cases: archCases(t)}
			if w.Deep {
				here, j.Cases = here[:2], j.Cases[:2] // the emulated device runs the better part of these
			} else {
				j.Scripts = archScripts(t)
			}
			r := onDevice(t, qemu, bin, j)
			var s tally
			for i, c := range here {
				want, err := l.Run(ctx, c, Way{Canonical: true})
				if err != nil {
					t.Fatal(err)
				}
				if d := Diff(want, r.Outcomes[i]); d != "" {
					t.Errorf("%s, way %v:\n%s\nlog: %v", c.Name, w, d, r.Outcomes[i].Log)
				}
				s.add(r.Outcomes[i])
			}
			t.Logf("%s device, %d runs, cloud %s: %v", r.Arch, len(here), r.Outcomes[0].Report.Cloud, &s)
			if r.Arch != "arm64" || s.offloads < len(here) || len(here) > 2 && !w.Deep && s.share() < 0.7 { // an emulated device takes long for home calls
				t.Errorf("below the floor")
			}
			for file, got := range r.Scripts {
				script, err := readScript(file)
				if err != nil {
					t.Fatal(err)
				}
				want, _, _, err := l.play(ctx, script, Way{Device: Compiler, Canonical: true}, newSpecTally())
				if err != nil {
					t.Fatal(err)
				}
				for i := range got {
					refusal := i < len(script.Commands) && slices.Contains([]string{"assert_invalid", "assert_malformed"}, script.Commands[i].Type)
					if got[i] != want[i] && !refusal {
						t.Errorf("%v, command %d: got %q, want %q", script, i, got[i], want[i])
					}
				}
				if p := r.Problems[file]; len(p) > 0 {
					t.Errorf("%v: %v", script, p)
				}
			}
			if !w.Deep {
				t.Logf("%d scripts, %d modules, %d moved, %d calls moved", len(r.Scripts), r.Modules, r.Moved, r.Calls)
			}
		})
	}
}

// onDevice runs jobs in a process of the other architecture.
func onDevice(t *testing.T, qemu, bin string, j jobs) *results {
	t.Helper()
	raw, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "jobs")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), qemu, bin, "-test.run=^TestDeviceProcess$")
	cmd.Env = append(os.Environ(), "CLONECLOUD_TEST_JOBS="+file, "TMPDIR="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("device: %v\n%s", err, tail(out))
	}
	var r results
	if raw, err = os.ReadFile(file + ".results"); err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err != nil || len(r.Outcomes) != len(j.Cases) {
		t.Fatalf("results: %d outcomes, %v", len(r.Outcomes), err)
	}
	return &r
}

// archCases are runs in fresh folders: of the mixed program, and of some C programs if there is a corpus.
func archCases(t *testing.T) (all []Case) {
	bin, err := os.ReadFile("testdata/mix.wasm")
	if err != nil {
		t.Fatal(err)
	}
	for _, arg := range []string{"", "trap"} {
		c, err := mixCase(filepath.Join(t.TempDir(), "out"), bin, arg)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if *corpusDir == "" {
		return all
	}
	programs, err := corpus.Programs()
	if err != nil {
		t.Fatal(err)
	}
	built := filepath.Join(*corpusDir, "c")
	for _, p := range programs {
		if !*full && !slices.Contains([]string{"bzip2", "zstd", "cmark", "sqlite3"}, p.Name) || !strings.Contains(p.Name, *only) {
			continue
		}
		mounts, err := p.Prepare(built, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
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
			all = append(all, c)
		}
	}
	return all
}

// archScripts are a sample of the specification's tests.
func archScripts(t *testing.T) (files []string) {
	all := scripts(t)
	every := 24
	if *full {
		every = 4
	}
	for i := 0; i < len(all); i += every {
		files = append(files, all[i].file)
	}
	return files
}
