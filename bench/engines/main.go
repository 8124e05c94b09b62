// Command engines compares WebAssembly engines with native code and with each other, and prints tables.
//
//	go run -tags wasmtime ./bench/engines [flags] [PART ...]
//
// Without the tag, or without cgo, it works too, but then has no wasmtime. It takes gcc, for the code that all else
// is compared with, and, where they are there, clang, Debian's rustc and go. It is run within the module, where the
// programs in Go are.
//
// All that is compared is measured in turn in one run (A B B A ...), computing alone and by the processor's time,
// and given as medians of the ratios of pairs, so that other load on the machine disturbs both sides alike.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/clonecloud/clonecloud"
	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/internal/engine/engines"
)

var parts = measure.Parts[*options]{
	{Name: "speed", Title: "programs on each engine, over native code", Run: speed},
	{Name: "calls", Title: "a call of the host, a call from it, and growth of the memory", Run: calls},
	{Name: "capture", Title: "finding and encoding 1 % of the pages of a process", Run: capture},
	{Name: "clones", Title: "a further clone of a module that is in use: time and memory", Run: clones},
	{Name: "code", Title: "compiling, and loading what was compiled", Run: code},
}

type options struct {
	rounds  int
	kinds   []string
	filter  string
	chart   string
	quick   bool
	verbose bool
	scratch string
	natives *natives // see builder
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		os.Exit(clonecloud.RunWorker())
	}
	debug.SetGCPercent(400) // as the command does
	o := options{kinds: engines.Kinds()}
	asJSON := flag.Bool("json", false, "print JSON")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each side is measured")
	flag.StringVar(&o.filter, "only", "", "measure only programs whose name contains `text` (speed, code)")
	flag.StringVar(&o.chart, "chart", "", "draw what speed found to an SVG `file`")
	flag.BoolVar(&o.quick, "quick", false, "a short run, to see that all works: few programs, small inputs, one round. Its figures mean little")
	flag.BoolVar(&o.verbose, "verbose", false, "tell on stderr what the node says (clones)")
	flag.Func("engines", "measure only these `engines`, with commas between; there are "+strings.Join(o.kinds, ", "), func(s string) error {
		there := o.kinds
		o.kinds = strings.Split(s, ",")
		for _, k := range o.kinds {
			if !slices.Contains(there, k) {
				return fmt.Errorf("no engine %q in this binary", k)
			}
		}
		return nil
	})
	flag.Usage = parts.Usage("engines")
	flag.Parse()
	done := make(chan error)
	// Not here: wasmtime takes what the main goroutine calls to another thread, whose time is not the caller's.
	go func() { done <- run(&o, flag.Args(), *asJSON) }()
	if err := <-done; err != nil {
		fmt.Fprintln(os.Stderr, "engines:", err)
		os.Exit(1)
	}
}

func run(o *options, names []string, asJSON bool) (err error) {
	if err := parts.Check(names); err != nil {
		return err
	}
	switch {
	case o.rounds < 1:
		return errors.New("there is at least one round")
	case o.chart != "" && len(names) > 0 && !slices.Contains(names, "speed"):
		return errors.New("a chart shows what speed found, which is not asked for")
	case o.quick:
		o.rounds = 1
	}
	if o.scratch, err = os.MkdirTemp("", "clonecloud-bench"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.scratch)) }()
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
