// Command files measures what it takes that files follow a process to a clone, and prints tables.
//
//	go run ./bench/files [flags] [PART ...]
//
// A device runs within this process, the node's workers in processes of their own; between them are TLS and a network that
// package faultproxy makes. What is compared is measured in turn in one run (A B A B ...), and given as medians of
// ratios with bounds by bootstrapping, so that other load on the machine disturbs both sides alike. Trees of files
// are made up once for a run, in a temporary folder (TMPDIR says where), and removed at its end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/clonecloud/clonecloud"
	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/internal/link"
)

var parts = measure.Parts[*options]{
	{Name: "second", Title: "what a second offload moves, and when its clone begins, after one file has changed", Run: second},
	{Name: "cold", Title: "scanning a tree that the node has nothing of, over rsync -z of it", Run: cold},
	{Name: "sparse", Title: "what moves when a program reads one file in a hundred of such a tree", Run: sparse},
	{Name: "warm", Title: "scanning a tree that the node has, over scanning a copy on its disk", Run: warm},
	{Name: "status", Title: "looking through a tree that is as it was, over git status of it", Run: status},
}

type options struct {
	rounds   int
	size     float64
	seed     uint64
	links    []string
	verbose  bool
	events   bool
	profiles string
	scratch  string

	trees map[treeSpec]*tree
}

// Arguments by which this executable is something else than the command.
const (
	workerArg = "worker" // a node's worker, and where its profile goes
	lookArg   = "look"   // a process that looks through a directory
)

func main() {
	debug.SetGCPercent(400) // as the command does
	switch {
	case len(os.Args) == 3 && os.Args[1] == workerArg:
		os.Exit(work(os.Args[2]))
	case len(os.Args) == 5 && os.Args[1] == lookArg:
		os.Exit(look(os.Args[2], os.Args[3], os.Args[4] == watching))
	}
	var o options
	asJSON := flag.Bool("json", false, "print JSON")
	keep := flag.Bool("keep", false, "leave the temporary folder where it is, and say where")
	flag.StringVar(&o.profiles, "profiles", "", "write profiles of the processors' time, of the device and of each worker, to `directory`")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each side is measured: what takes minutes less often, what takes less than a second more often")
	flag.Float64Var(&o.size, "size", 1, "the share of the full sizes that the trees have, for trying out: 0.01 is one file in a hundred")
	flag.Uint64Var(&o.seed, "seed", 1, "of the trees, and of what is random in the parts")
	flag.BoolVar(&o.verbose, "verbose", false, "tell on stderr what device and node say")
	flag.BoolVar(&o.events, "events", false, "tell on stderr what goes on in runs with a clone")
	flag.Func("link", "measure only over these kinds of `links`, with commas between (cold, sparse)", func(s string) error {
		o.links = strings.Split(s, ",")
		for _, name := range o.links {
			if _, err := link.LookupProfile(name); err != nil {
				return err
			}
		}
		return nil
	})
	flag.Usage = parts.Usage("files")
	flag.Parse()
	if err := run(&o, flag.Args(), *asJSON, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "files:", err)
		os.Exit(1)
	}
}

var errInterrupted = errors.New("interrupted")

func run(o *options, names []string, asJSON, keep bool) (err error) {
	if err := parts.Check(names); err != nil {
		return err
	}
	if o.rounds < 1 || o.size <= 0 || o.size > 1 {
		return errors.New("there is at least one round, and a size is above 0 and at most 1")
	}
	if o.profiles != "" {
		if o.profiles, err = filepath.Abs(o.profiles); err != nil {
			return err
		}
		stop, err := profile(o.profiles, "device")
		if err != nil {
			return err
		}
		defer stop()
	}
	if o.scratch, err = os.MkdirTemp("", "clonecloud-bench-files-"); err != nil {
		return err
	}
	if keep {
		fmt.Fprintln(os.Stderr, "files: what was made stays in", o.scratch)
	} else {
		defer func() { err = errors.Join(err, os.RemoveAll(o.scratch)) }()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err = parts.Run(ctx, o, names, os.Stdout, asJSON); ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

// profile writes where this process spends its processor's time.
func profile(dir, name string) (stop func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%d.prof", name, os.Getpid())))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "files:", err)
		}
	}, nil
}

// work is the main function of a node's worker; its profiles go to a directory, "": nowhere.
func work(profiles string) int {
	if profiles == "" {
		return clonecloud.RunWorker()
	}
	// Its node ends it without a word, so that only what was written before counts: a file for each piece of time.
	const piece = 2 * time.Second
	go func() {
		for i := 0; ; i++ {
			stop, err := profile(profiles, fmt.Sprintf("worker-%03d", i))
			if err != nil {
				fmt.Fprintln(os.Stderr, "files: profile a worker:", err)
				return
			}
			time.Sleep(piece)
			stop()
		}
	}()
	return clonecloud.RunWorker()
}

// table returns a table that tells of its rows as they come.
func table(name, title string, columns ...string) *measure.Table {
	t := measure.NewTable(name, title, columns...)
	t.Progress = os.Stderr
	return t
}
