// Command core measures what offloading costs and gains within one machine, and prints tables.
//
//	go run ./bench/core [flags] [PART ...]
//
// All that is compared is measured in turn in one run (A B A B ...), and given as medians of ratios with bounds by
// bootstrapping, so that other load on the machine disturbs both sides alike.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"runtime/pprof"
	"strings"

	"github.com/clonecloud/clonecloud"
	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/internal/engine/engines"
)

var parts = measure.Parts[*options]{
	{Name: "wrappers", Title: "code with wrappers that are not armed, over the plain module", Run: wrappers},
	{Name: "variants", Title: "canonical NaNs and polls, over the plain module", Run: variants},
	{Name: "capture", Title: "finding and copying the pages that were written, over copying them", Run: capture},
	{Name: "repeat", Title: "bytes of the first offload of a function and of later ones", Run: repeat},
	{Name: "start", Title: "start of a run with a cloud, over one without", Run: start},
	{Name: "trip", Title: "what a trip takes that moves next to nothing, and what moving costs", Run: trips},
	{Name: "net", Title: "what a trip takes over TLS to another process", Run: network},
	{Name: "again", Title: "the start of a second run over slow links", Run: again},
	{Name: "idle", Title: "memory of a node for an idle link", Run: idle},
	{Name: "auto", Title: "runs with auto over links of all kinds, over runs with never", Run: auto},
	{Name: "demo", Title: "the examples with a clone, over the device alone", Run: demo},
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
	flag.Usage = parts.Usage("core")
	flag.Parse()
	if err := run(&o, flag.Args(), *asJSON, *profile); err != nil {
		fmt.Fprintln(os.Stderr, "core:", err)
		os.Exit(1)
	}
}

func run(o *options, names []string, asJSON bool, profile string) (err error) {
	if err := parts.Check(names); err != nil {
		return err
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
	return parts.Run(ctx, o, names, os.Stdout, asJSON)
}

// newTable is a table whose rows are told on stderr as they come.
func newTable(name, title string, columns ...string) *measure.Table {
	t := measure.NewTable(name, title, columns...)
	t.Progress = os.Stderr
	return t
}
