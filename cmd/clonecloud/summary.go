package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/clonecloud/clonecloud"
)

// tally counts what a summary needs besides the report.
type tally struct {
	mu        sync.Mutex
	functions map[string]*figures // guarded by mu
}

// figures are those of a function.
type figures struct {
	local    int           // runs here that were measured
	took     time.Duration // by these
	offloads int
	away     time.Duration // by offloads, all in all
	expected time.Duration // that these would have taken here, as the policy expected
	unknown  int           // offloads of which it expected nothing
	open     time.Duration // expected of the one under way
}

// event takes an event of the run.
func (t *tally) event(e clonecloud.Event) {
	switch e.Kind {
	case "decide", "local", "offloaded":
	default:
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.of(e.Function)
	switch {
	case e.Kind == "local":
		f.local++
		f.took += e.Took
	case e.Kind == "decide" && e.Choice == "clone":
		f.open = e.EstLocal
	case e.Kind == "offloaded":
		f.offloads++
		f.away += e.Took
		if f.expected += f.open; f.open == 0 {
			f.unknown++
		}
		f.open = 0
	}
}

func (t *tally) of(function string) *figures {
	if t.functions == nil {
		t.functions = map[string]*figures{}
	}
	f := t.functions[function]
	if f == nil {
		f = &figures{}
		t.functions[function] = f
	}
	return f
}

// saved is the time that offloads of a function saved, negative if they cost some, and how that is known; false: it is not.
func (f *figures) saved() (time.Duration, string, bool) {
	switch {
	case f.offloads == 0:
		return 0, "", true
	case f.local > 0:
		here := time.Duration(float64(f.took) / float64(f.local) * float64(f.offloads))
		return here - f.away, fmt.Sprintf("by %s here", times(f.local, "run")), true
	case f.unknown == 0:
		return f.expected - f.away, "as auto expects", true
	}
	return 0, "", false
}

func times(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return thousands(n) + " " + what + "s"
}

// writeSummary writes what ran where, and what came of it.
func writeSummary(w io.Writer, r *clonecloud.Report, t *tally) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "clonecloud: %s in all, %s here, %s on the clone (%.0f %% of the program's time)\n",
		seconds(r.Wall), seconds(r.Device), seconds(r.Clone), 100*r.Share)
	switch {
	case r.Stay != "":
		fmt.Fprintf(&b, "  stayed here   %s\n", printable(r.Stay))
	case r.Cloud == "" && r.Preparing > 0:
		fmt.Fprintf(&b, "  clone         none was ready: the node made the program's code ready for %s\n", seconds(r.Preparing))
	case r.Cloud == "":
		fmt.Fprintf(&b, "  clone         none was ready\n")
	case r.Preparing > 0 && slices.ContainsFunc(r.Functions, func(f clonecloud.FunctionReport) bool { return f.Kept["no clone"] > 0 }):
		fmt.Fprintf(&b, "  clone         %s, ready after the node had made the program's code ready for %s\n", printable(r.Cloud), seconds(r.Preparing))
	default:
		fmt.Fprintf(&b, "  clone         %s\n", printable(r.Cloud))
	}
	fmt.Fprintf(&b, "  time saved    %s\n", t.savedText(r))
	var up, down, pages uint64
	for _, f := range r.Functions {
		up, down, pages = up+f.Up, down+f.Down, pages+f.PagesUp+f.PagesDn
	}
	fmt.Fprintf(&b, "  bytes moved   %s up, %s down: %s of state, the rest the program, calls and output\n",
		bytesText(r.LinkUp), bytesText(r.LinkDown), bytesText(up+down))
	if whole := pages * 4096; whole > up+down {
		fmt.Fprintf(&b, "  bytes saved   %s, which the %s pages that moved have besides\n", bytesText(whole-up-down), thousands(int(pages)))
	}
	t.writeFunctions(&b, r)
	_, err := io.WriteString(w, b.String())
	return err
}

// savedText sums up what functions saved.
func (t *tally) savedText(r *clonecloud.Report) string {
	var sum time.Duration
	known, unknown := 0, 0
	for i := range r.Functions {
		f := t.figures(&r.Functions[i])
		if f.offloads == 0 {
			continue
		}
		if d, _, ok := f.saved(); ok {
			sum += d
			known++
		} else {
			unknown++
		}
	}
	switch {
	case known+unknown == 0:
		return "none: nothing was offloaded"
	case known == 0:
		return "unknown: what was offloaded has not run here"
	case unknown > 0:
		return fmt.Sprintf("about %s, and unknown for %s", seconds(sum), times(unknown, "function"))
	}
	return "about " + seconds(sum)
}

func (t *tally) figures(f *clonecloud.FunctionReport) *figures {
	if g := t.functions[functionName(f)]; g != nil {
		return g
	}
	return &figures{}
}

// functionName is the function's name as events give it.
func functionName(f *clonecloud.FunctionReport) string {
	return cmp.Or(f.Name, fmt.Sprintf("function %d", f.Index))
}

// summaryFunctions bounds the functions that are listed.
const summaryFunctions = 20

func (t *tally) writeFunctions(b *strings.Builder, r *clonecloud.Report) {
	list := slices.DeleteFunc(slices.Clone(r.Functions), func(f clonecloud.FunctionReport) bool { return f.Calls == 0 })
	if len(list) == 0 {
		return
	}
	slices.SortStableFunc(list, func(a, b clonecloud.FunctionReport) int { return cmp.Compare(b.Device+b.Clone, a.Device+a.Clone) })
	engines := map[string]bool{}
	for _, f := range list {
		for e := range f.Engines {
			engines[e] = true
		}
	}
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "  function\tcalls\toffloads\there\ton the clone\tup\tdown\tsaved\tnot offloaded\n")
	for i, f := range list {
		if i == summaryFunctions {
			fmt.Fprintf(w, "  and %d more\n", len(list)-i)
			break
		}
		saved := "unknown"
		if d, how, ok := t.figures(&f).saved(); ok {
			if saved = seconds(d); how != "" {
				saved += " " + how
			}
		}
		away := seconds(f.Clone)
		if len(engines) > 1 && len(f.Engines) > 0 {
			away += " (" + ranOn(&f) + ")"
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", printable(functionName(&f)), thousands(f.Calls), thousands(f.Offloads),
			seconds(f.Device), away, bytesText(f.Up), bytesText(f.Down), saved, kept(&f))
	}
	w.Flush()
}

// ranOn says on which engines the offloads of a function ran.
func ranOn(f *clonecloud.FunctionReport) string {
	var parts []string
	for _, e := range slices.Sorted(maps.Keys(f.Engines)) {
		parts = append(parts, fmt.Sprintf("%s on %s", thousands(f.Engines[e]), printable(e)))
	}
	return strings.Join(parts, ", ")
}

// kept says why calls ran here.
func kept(f *clonecloud.FunctionReport) string {
	var parts []string
	add := func(m map[string]int, form string) {
		var names []string
		for k := range m {
			names = append(names, k)
		}
		slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(m[b], m[a]), strings.Compare(a, b)) })
		for _, k := range names {
			parts = append(parts, fmt.Sprintf(form, thousands(m[k]), printable(k)))
		}
	}
	add(f.Kept, "%s %s")
	add(f.Fallbacks, "%s fell back: %s")
	return strings.Join(parts, ", ")
}

// seconds is a time for people.
func seconds(d time.Duration) string {
	switch a := d.Abs(); {
	case a == 0:
		return "0 s"
	case a < time.Millisecond:
		return fmt.Sprintf("%.3f ms", float64(d)/float64(time.Millisecond))
	case a < time.Second:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
