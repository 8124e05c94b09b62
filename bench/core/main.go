// Command core measures what offloading costs and gains within one machine, and prints tables.
//
//	go run ./bench/core [flags] [PART ...]
//
// All that is compared is measured in turn in one run (A B A B ...), and given as medians of ratios with bounds by
// bootstrapping, so that other load on the machine disturbs both sides alike.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/clonecloud/clonecloud"
	"github.com/clonecloud/clonecloud/internal/engine/engines"
)

// part is one selectable measurement.
type part struct {
	name, title string
	run         func(ctx context.Context, o *options) ([]*table, error)
}

var parts = []part{
	{"wrappers", "code with wrappers that are not armed, over the plain module", wrappers},
	{"variants", "canonical NaNs and polls, over the plain module", variants},
	{"capture", "finding and copying the pages that were written, over copying them", capture},
	{"repeat", "bytes of the first offload of a function and of later ones", repeat},
	{"start", "start of a run with a cloud, over one without", start},
	{"trip", "what a trip takes that moves next to nothing, and what moving costs", trips},
	{"net", "what a trip takes over TLS to another process", network},
	{"again", "the start of a second run over slow links", again},
	{"idle", "memory of a node for an idle link", idle},
	{"auto", "runs with auto over links of all kinds, over runs with never", auto},
	{"demo", "the examples with a clone, over the device alone", demo},
}

type options struct {
	rounds int
	corpus string
	// programs is where real programs are built, in a folder for each language.
	programs string
	filter   string
	links    []string
	events   bool
	scratch  string
	// node is the kind of engine that clones run on (repeat, trip, net, demo).
	node string
}

func main() {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "worker":
		os.Exit(clonecloud.RunWorker())
	case len(os.Args) == 2 && os.Args[1] == yardstickArg:
		fmt.Fprintln(os.Stderr, "yardstick:", serveYardstick()) // which ends with the parent, or with an error
		os.Exit(1)
	}
	debug.SetGCPercent(400) // as the command does
	var o options
	asJSON := flag.Bool("json", false, "print JSON")
	profile := flag.String("cpuprofile", "", "write a profile of the processor's time to `file`")
	flag.IntVar(&o.rounds, "rounds", 15, "how often each side is measured")
	flag.StringVar(&o.corpus, "corpus", "", "`directory` of built corpus programs to measure too (wrappers, variants)")
	flag.StringVar(&o.programs, "programs", "", "`directory` of built real programs, with a folder for each language (auto)")
	flag.StringVar(&o.filter, "only", "", "measure only programs whose name contains `text`")
	flag.StringVar(&o.node, "node", engines.Compiler, "`engine` of clones: compiler, interpreter or wasmtime (repeat, trip, net, demo)")
	flag.BoolVar(&o.events, "events", false, "tell on stderr what is decided (auto)")
	flag.Func("link", "measure only over these kinds of `links`, with commas between (auto)", func(s string) error {
		o.links = strings.Split(s, ",")
		return nil
	})
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: core [flags] [PART ...]\n\nParts (all if none is named):")
		for _, p := range parts {
			fmt.Fprintf(flag.CommandLine.Output(), "  %-10s %s\n", p.name, p.title)
		}
		fmt.Fprintln(flag.CommandLine.Output(), "\nFlags:")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(&o, flag.Args(), *asJSON, *profile); err != nil {
		fmt.Fprintln(os.Stderr, "core:", err)
		os.Exit(1)
	}
}

func run(o *options, names []string, asJSON bool, profile string) (err error) {
	for _, n := range names {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.name == n }) {
			return fmt.Errorf("no part %q; see --help", n)
		}
	}
	if o.scratch, err = os.MkdirTemp("", "clonecloud-bench"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.scratch)) }()
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var all []*table
	for _, p := range parts {
		if len(names) > 0 && !slices.Contains(names, p.name) {
			continue
		}
		ts, err := p.run(ctx, o)
		for _, t := range ts {
			if !asJSON {
				t.print()
			}
			all = append(all, t)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(map[string]any{
			"version": 1, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH, "cpus": runtime.NumCPU(), "tables": all,
		})
	}
	return nil
}

// table is what a part measured.
type table struct {
	Name    string           `json:"name"`
	Title   string           `json:"title"`
	Columns []string         `json:"columns"`
	Rows    []map[string]any `json:"rows"`
	Notes   []string         `json:"notes,omitempty"`
}

func newTable(name, title string, columns ...string) *table {
	return &table{Name: name, Title: title, Columns: columns, Rows: []map[string]any{}}
}

func (t *table) add(values ...any) {
	row := map[string]any{}
	for i, v := range values {
		row[t.Columns[i]] = v
	}
	t.Rows = append(t.Rows, row)
	fmt.Fprintf(os.Stderr, "%s: %v\n", t.Name, values)
}

func (t *table) note(format string, args ...any) {
	t.Notes = append(t.Notes, fmt.Sprintf(format, args...))
}

func (t *table) print() {
	fmt.Printf("\n%s: %s\n\n", t.Name, t.Title)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| "+strings.Join(t.Columns, "\t| ")+"\t|")
	fmt.Fprintln(w, "|"+strings.Repeat("---\t|", len(t.Columns)))
	for _, r := range t.Rows {
		for _, c := range t.Columns {
			fmt.Fprintf(w, "| %s\t", text(r[c]))
		}
		fmt.Fprintln(w, "|")
	}
	w.Flush()
	for _, n := range t.Notes {
		fmt.Println("\n" + n)
	}
}

// text shows three digits, or all before the point.
func text(v any) string {
	f, ok := v.(float64)
	switch {
	case !ok:
		return fmt.Sprint(v)
	case f >= 100 || f <= -100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10 || f <= -10:
		return fmt.Sprintf("%.1f", f)
	case f == 0:
		return "0"
	}
	return fmt.Sprintf("%.3f", f)
}
