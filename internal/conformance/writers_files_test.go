package conformance

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/reconcile"
	"github.com/clonecloud/clonecloud/internal/replica/origin"
	"github.com/clonecloud/clonecloud/internal/trace"
)

// Files of these tests carry a mark: "+", a number that no other file has, a line's end, and what the guest's fill makes of the
// number. So it can be told what became of each version of each file that anybody has written.

// marked is a file with a mark and n bytes after it.
func marked(mark, n int) []byte {
	return append(fmt.Appendf(nil, "+%d\n", mark), filling(n, uint64(mark))...)
}

// markOf is the mark of contents, 0 if they have none.
func markOf(b []byte) int {
	line, _, ok := bytes.Cut(b, []byte("\n"))
	if !ok || len(line) < 2 || line[0] != '+' {
		return 0
	}
	n, err := strconv.Atoi(string(line[1:]))
	if err != nil {
		return 0
	}
	return n
}

// ledger says which versions of files there were.
type ledger struct {
	size map[int]int    // bytes after the mark, of all that may be written
	made map[int]string // that were written, and by whom
	lost map[int]string // that were written over or removed by an order of somebody who saw them
}

// markedNames are the names that the program and the other writer use.
var markedNames = []string{"a", "b", "c", "d/a", "d/b", "d/c", "e/a", "e/b", "d/f/a", "d/f/b", "n", "d/n", "e/n", "new/a", "new/b", "d/f", "e", "new"}

// writer is another program that changes a directory of the device.
type writer struct {
	dir  string
	rng  *rand.Rand
	l    *ledger
	next int // mark
	did  []string
	err  error
}

// at does something at one of the moments that events tell of, or nothing.
func (w *writer) at(e trace.Event) {
	switch e.Kind {
	case trace.Depart, trace.Pinned, trace.FilesGiven, trace.HomeCall, trace.Output, trace.Back, trace.Received, trace.Merge, trace.Fallback:
	default:
		return
	}
	often := 9 // or a clone would hardly ever find a file as it is to be
	if e.Kind == trace.Back || e.Kind == trace.Received {
		often = 2
	}
	if w.rng.IntN(often) != 0 || w.err != nil {
		return
	}
	for range 1 + w.rng.IntN(2) {
		w.did = append(w.did, fmt.Sprintf("%s: %s", e.Kind, w.one()))
	}
}

func (w *writer) name() string {
	return filepath.Join(w.dir, markedNames[w.rng.IntN(len(markedNames))])
}

// lose notes what a name loses.
func (w *writer) lose(name string) {
	if b, err := os.ReadFile(name); err == nil && markOf(b) != 0 {
		if fi, err := os.Lstat(name); err == nil && fi.Mode().IsRegular() {
			w.l.lost[markOf(b)] = "the other writer"
		}
	}
}

func (w *writer) one() string {
	name := w.name()
	fi, err := os.Lstat(name)
	there, dir := err == nil, err == nil && fi.IsDir()
	rel := func(p string) string { return strings.TrimPrefix(p, w.dir+"/") }
	switch w.rng.IntN(10) {
	case 0, 1, 2, 3: // in place
		if dir {
			return "nothing"
		}
		if there && fi.Mode()&fs.ModeSymlink != 0 {
			return "nothing"
		}
		lost := 0
		if b, err := os.ReadFile(name); err == nil {
			lost = markOf(b)
		}
		mark, n := w.mark()
		if os.WriteFile(name, marked(mark, n), 0o644) != nil {
			return "nothing" // there is no such directory
		}
		w.l.made[mark] = "the other writer"
		if lost != 0 {
			w.l.lost[lost] = "the other writer"
		}
		return fmt.Sprintf("wrote %d to %s, over %d", mark, rel(name), lost)
	case 4, 5: // as editors do
		if dir {
			return "nothing"
		}
		mark, n := w.mark()
		temp := filepath.Join(filepath.Dir(name), "writing~")
		if os.WriteFile(temp, marked(mark, n), 0o644) != nil {
			return "nothing"
		}
		w.lose(name)
		if err := os.Rename(temp, name); err != nil {
			w.err = err
		}
		w.l.made[mark] = "the other writer"
		return fmt.Sprintf("replaced %s by %d", rel(name), mark)
	case 6:
		if dir {
			if os.Remove(name) != nil {
				return "nothing"
			}
			return "removed directory " + rel(name)
		}
		w.lose(name)
		_ = os.Remove(name) // it need not be there
		return "removed " + rel(name)
	case 7:
		to := w.name()
		if ti, err := os.Lstat(to); err == nil && ti.IsDir() {
			return "nothing"
		}
		b, _ := os.ReadFile(to)
		if os.Rename(name, to) != nil {
			return "nothing"
		}
		if m := markOf(b); m != 0 && to != name {
			w.l.lost[m] = "the other writer"
		}
		return fmt.Sprintf("moved %s to %s", rel(name), rel(to))
	case 8:
		if os.Mkdir(name, 0o755) != nil {
			return "nothing"
		}
		return "made directory " + rel(name)
	}
	if there && !dir && fi.Mode().IsRegular() && os.Chmod(name, 0o600) == nil {
		return "chmod " + rel(name)
	}
	return "nothing"
}

func (w *writer) mark() (mark, n int) {
	w.next++
	n = []int{0, 10, 5000, 200_000}[w.rng.IntN(4)]
	w.l.size[w.next] = n
	return w.next, n
}

// markedTree makes the directory that both change.
func markedTree(dir string, l *ledger) error {
	mark := 1
	for _, d := range []string{"", "d", "d/f", "e"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
		for _, name := range []string{"a", "b", "o"} {
			n := mark * 1000
			l.size[mark], l.made[mark] = n, "the beginning"
			if err := os.WriteFile(filepath.Join(dir, d, name), marked(mark, n), 0o644); err != nil {
				return err
			}
			mark++
		}
	}
	return os.Link(filepath.Join(dir, "o"), filepath.Join(dir, "e", "same"))
}

// markedScript makes a program's orders, with marks from 1000 on.
func markedScript(rng *rand.Rand, l *ledger) string {
	var b strings.Builder
	name := func() string { return guestName(markedNames[rng.IntN(len(markedNames))]) }
	depth, mark := 0, 1000
	for range 12 + rng.IntN(30) {
		switch rng.IntN(10) {
		case 0, 1, 2:
			b.WriteString("{\n")
			depth++
		case 3, 4:
			if depth > 0 {
				b.WriteString("}\n")
				depth--
			}
		}
		switch rng.IntN(16) {
		case 0, 1, 2, 3, 4:
			mark++
			l.size[mark] = []int{0, 30, 5000, 300_000}[rng.IntN(4)]
			fmt.Fprintf(&b, "P 0 %s %d %d\n", name(), mark, l.size[mark])
		case 5, 6:
			fmt.Fprintf(&b, "D 0 %s\n", name())
		case 7, 8, 9:
			fmt.Fprintf(&b, "M 0 %s 0 %s\n", name(), name())
		case 10:
			fmt.Fprintf(&b, "m 0 %s\n", name())
		case 11:
			fmt.Fprintf(&b, "x 0 %s\n", name())
		case 12:
			fmt.Fprintf(&b, "l 0 %s 0 0 %s\n", name(), name())
		case 13:
			fmt.Fprintf(&b, "K 0 %s\n", name())
		case 14:
			fmt.Fprintf(&b, "d 0 0 4000\n")
		default:
			b.WriteString("!\n")
		}
	}
	return b.String()
}

// operation matches the guest's functions in which what is lost is looked at and lost: where one of those moves that they call, the
// other writer may come between the two, as in any run.
var operation = regexp.MustCompile(`^(_start.*|__original_main|main|outermost|group|turn|step|op_.*)$`)

var sayings = regexp.MustCompile(`(?m)^. (put|drop|move) (\d+)(?: (\d+))? lost (\d+)(?: wrote (\d+))?$`)

// read takes what the program says that it did.
func (l *ledger) read(stdout []byte) {
	for _, m := range sayings.FindAllSubmatch(stdout, -1) {
		lost, _ := strconv.Atoi(string(m[4]))
		wrote, _ := strconv.Atoi(string(m[5]))
		if lost != 0 {
			l.lost[lost] = "the program"
		}
		if wrote != 0 {
			l.made[wrote] = "the program"
		}
	}
}

// judge looks at what is left in a directory: nothing may be missing or half there, and what has a name that nobody gave it must
// have been reported.
func (l *ledger) judge(dir string, conflicts []device.Conflict) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	have := map[int]string{}
	known := map[string]bool{"d": true, "f": true, "o": true, "same": true}
	for _, n := range markedNames {
		known[filepath.Base(n)] = true
	}
	aside, seen := map[string]bool{}, map[string]bool{}
	for _, c := range conflicts {
		if c.Aside != "" {
			aside[filepath.Base(c.Aside)] = true
		}
	}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		if !known[d.Name()] && !aside[d.Name()] {
			fault("%s was laid aside, and not reported", rel)
		}
		seen[d.Name()] = true
		if d.IsDir() {
			return nil
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		mark := markOf(b)
		if n, ok := l.size[mark]; mark == 0 || !ok || !bytes.Equal(b, marked(mark, n)) {
			fault("%s has %d bytes that nobody wrote: %.20q", rel, len(b), b)
		}
		have[mark] = rel
		return nil
	})
	if err != nil {
		fault("%v", err)
	}
	for _, m := range slices.Sorted(maps.Keys(l.made)) {
		if _, ok := have[m]; !ok && l.lost[m] == "" {
			fault("what %s wrote as %d is gone", l.made[m], m)
		}
	}
	return faults
}

// TestOtherWriters has another program change a directory while functions that change it run on clones, with links that
// are sound or broken: no version of a file is lost that nobody has written over or removed, and what cannot have its name stands
// beside it and is reported.
func TestOtherWriters(t *testing.T) {
	bin := filesGuest(t)
	l := newLab(t)
	runs := uint64(120)
	switch {
	case *full:
		runs = 5000
	case testing.Short():
		runs = 20
	}
	var mu sync.Mutex
	var s filesTally
	kinds := map[string]int{}
	wrote, diverged := 0, 0
	one := func(seed uint64) {
		got, w, err := writersRun(l, bin, seed)
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		s.add(got)
		wrote += len(w.did)
		if strings.Contains(got.End, migrate.ErrDiverged.Error()) {
			diverged++ // what the clone had read and made visible is not there any more to be repeated
		}
		for _, c := range got.Report.Conflicts {
			kinds[c.Kind]++
		}
	}
	if !eachSeed(t, 4, runs, one) {
		return
	}
	t.Logf("%v; the other writer did %d things; conflicts %v; %d runs diverged", &s, wrote, kinds, diverged)
	if n := int(runs); !testing.Short() && !t.Failed() && (diverged > n/4 || s.moved < n/4 || s.changed < n/4 || wrote < n/2 || n >= 100 && len(kinds) < 3) {
		t.Error("too little met to mean anything")
	}
}

// writersRun makes one run, and says what is wrong with it.
func writersRun(l *Lab, bin []byte, seed uint64) (*Outcome, *writer, error) {
	rng := rand.New(rand.NewPCG(seed, 0x3717e5))
	dir, err := ramDir()
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	book := &ledger{size: map[int]int{}, made: map[int]string{}, lost: map[int]string{}}
	a := filepath.Join(dir, "a")
	if err := os.Mkdir(filepath.Join(dir, "b"), 0o755); err != nil {
		return nil, nil, err
	}
	if err := markedTree(a, book); err != nil {
		return nil, nil, err
	}
	script := markedScript(rng, book)
	eager := rng.IntN(3) == 0
	if eager {
		script = "F\n" + script
	}
	w := drawFilesWay(rng, seed)
	if rng.IntN(3) == 0 {
		w, _ = breakWay(rng, w)
	}
	w.Trace = true
	w.only = func(name string) bool { return operation.MatchString(name) }
	w.Conflicts = []reconcile.Policy{reconcile.KeepBoth, reconcile.KeepBoth, reconcile.CloneWins, reconcile.DeviceWins, reconcile.Fail}[rng.IntN(5)]
	other := &writer{dir: a, rng: rand.New(rand.NewPCG(seed, 2)), l: book, next: 1_000_000}
	w.hear = other.at
	w.settle = func(c *origin.Config) {
		state := filepath.Join(dir, "state")
		c.Cache, c.Plans, c.Spool = filepath.Join(state, "stat.db"), filepath.Join(state, "plans"), filepath.Join(state, "spool")
	}
	got, err := l.Run(context.Background(), filesCase(bin, dir, script), w)
	if err != nil {
		return nil, nil, fmt.Errorf("way %v: %w", w, err)
	}
	book.read(got.Stdout)
	faults := book.judge(a, got.Report.Conflicts)
	// A run that ends early has said some things last that do not count, and may not have said all that do.
	early := w.Conflicts == reconcile.Fail && strings.Contains(got.End, device.ErrConflict.Error()) || strings.Contains(got.End, migrate.ErrDiverged.Error())
	gone := 0
	mine := func(f string) bool {
		if strings.HasPrefix(f, "what the program wrote") || early && !eager && strings.HasSuffix(f, " is gone") {
			gone++
			return true
		}
		return false
	}
	switch {
	case early:
		faults = slices.DeleteFunc(faults, mine)
	case got.End != "returned":
		faults = append(faults, "ended: "+got.End)
	case w.Conflicts == reconcile.DeviceWins:
		if faults = slices.DeleteFunc(faults, mine); gone > len(got.Report.Conflicts) {
			faults = append(faults, fmt.Sprintf("%d versions of the program are gone, %d conflicts are reported", gone, len(got.Report.Conflicts)))
		}
	}
	if list, err := os.ReadDir(filepath.Join(dir, "state", "plans")); err == nil && len(list) > 0 {
		faults = append(faults, fmt.Sprintf("plans are left: %v", list))
	}
	if other.err != nil {
		faults = append(faults, other.err.Error())
	}
	if len(faults) > 0 {
		return nil, nil, fmt.Errorf("way %v:\n%s\nthe other writer:\n%s\nscript:\n%s\nstdout:\n%s\nconflicts: %v\nend: %s\nlog: %s\noutline:\n%s", w,
			strings.Join(faults, "\n"), strings.Join(other.did, "\n"), script, got.Stdout, got.Report.Conflicts, got.End, strings.Join(got.Log, "\n"),
			moves(got.Events))
	}
	return got, other, nil
}

// moves is the outline of a run without the calls that stayed.
func moves(events []trace.Event) string {
	return strings.Join(slices.DeleteFunc(Outline(events), func(l string) bool {
		return strings.HasPrefix(l, "local ") || strings.HasPrefix(l, "decide ") && strings.Contains(l, " local ")
	}), "\n")
}
