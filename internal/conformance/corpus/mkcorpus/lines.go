package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/clonecloud/clonecloud/internal/conformance/corpus"
)

// lineOptions say how lines runs command lines.
type lineOptions struct {
	rounds int
	only   []string
	root   string
}

// lines runs the command line of each program of commands.json with each command, in turn, and compares all of them with the
// first. A command is a program and, if need be, flags that come behind its run.
func lines(ctx context.Context, args []string) error {
	var o lineOptions
	flags := flag.NewFlagSet("lines", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 3, "how often each command runs each line")
	show := flags.Bool("show", false, "print the lines")
	flags.Func("only", "run just these `programs`, with commas between", func(s string) error {
		o.only = strings.Split(s, ",")
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	list, err := corpus.Commands()
	if err != nil {
		return err
	}
	if *show {
		for i := range list {
			p := &list[i]
			fmt.Println("COMMAND", strings.Join(quote(p.CommandLine(&p.Runs[0], p.Wasm)), " "))
		}
		return nil
	}
	if flags.NArg() < 2 || o.rounds < 1 {
		return errUsage
	}
	o.root = flags.Arg(0)
	commands := flags.Args()[1:]
	fmt.Println("program\tlang\tstdout\tfiles\t" + strings.Join(commands, "\t") + "\t(seconds: first, median of the later ones)")
	var faults []error
	for i := range list {
		p := &list[i]
		if len(o.only) > 0 && !slices.Contains(o.only, p.Name) {
			continue
		}
		if err := line(ctx, o, p, commands); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", p.Name, err))
		}
	}
	return errors.Join(faults...)
}

func line(ctx context.Context, o lineOptions, p *corpus.Program, commands []string) error {
	took := make([][]time.Duration, len(commands))
	var want *corpus.Seen
	var faults []error
	for round := range o.rounds {
		for k, command := range commands {
			got, err := p.Execute(ctx, o.root, nil, strings.Fields(command))
			if err != nil {
				return fmt.Errorf("%s: %w", command, err)
			}
			took[k] = append(took[k], got.Took)
			if want == nil {
				want = got
			} else if d := want.Differs(got); d != "" {
				faults = append(faults, fmt.Errorf("%s, round %d: %s", command, round+1, d))
			}
		}
	}
	fmt.Printf("%s\t%s\t%d\t%d", p.Name, p.Lang, len(want.Stdout), len(want.Files))
	for _, t := range took {
		fmt.Printf("\t%.2f", t[0].Seconds())
		if later := slices.Sorted(slices.Values(t[1:])); len(later) > 0 {
			fmt.Printf(", %.2f", later[len(later)/2].Seconds())
		}
	}
	fmt.Println()
	return errors.Join(faults...)
}

// quote makes words that a shell takes apart again.
func quote(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w
		if strings.ContainsAny(w, " \t\"'$&|;()<>*?[]{}\\~#!`") || w == "" {
			out[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return out
}
