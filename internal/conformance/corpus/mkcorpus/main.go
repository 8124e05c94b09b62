// Command mkcorpus builds and checks the parts of the corpus that need no shell:
//
//	mkcorpus gotests OUT              build the tests of Go's standard library for wasip1
//	mkcorpus show                     print every run: program, module, command line
//	mkcorpus prepare OUT WORK NAME    fill WORK with a program's directories
//	mkcorpus check [-engine E] [-gotests] [-brief] [-virtual] OUT [NAME...]
//	                                  run programs on the engine's own WASI and compare with the manifest
//	mkcorpus lines [-rounds N] [-only NAME,...] ROOT COMMAND...
//	                                  run the command lines of commands.json with each COMMAND (wasmtime, clonecloud,
//	                                  'clonecloud --cloud local'), compare and print times; ROOT has c, rust and go
//	mkcorpus lines -show              print those command lines
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/clonecloud/clonecloud/internal/conformance/corpus"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mkcorpus:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: mkcorpus gotests OUT | show | prepare OUT WORK NAME | lines -show | lines [-rounds N] [-only NAME,...] ROOT COMMAND... | " +
	"check [-engine compiler|interpreter] [-gotests] [-brief] [-virtual] OUT [NAME...]")

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	switch verb, args := args[0], args[1:]; {
	case verb == "gotests" && len(args) == 1:
		tests, err := corpus.GoTests()
		if err != nil {
			return err
		}
		return corpus.BuildGoTests(ctx, args[0], tests)
	case verb == "show" && len(args) == 0:
		return show()
	case verb == "prepare" && len(args) == 3:
		return prepare(args[0], args[1], args[2])
	case verb == "check":
		flags := flag.NewFlagSet("check", flag.ContinueOnError)
		kind := flags.String("engine", "compiler", "compiler or interpreter")
		brief := flags.Bool("brief", false, "leave out the slow tests, as an interpreter does")
		virtual := flags.Bool("virtual", false, "fixed clock and random numbers; run everything twice and compare what was printed")
		gotests := flags.Bool("gotests", false, "the tests of Go's standard library in place of the C programs")
		if err := flags.Parse(args); err != nil {
			return err
		}
		if flags.NArg() < 1 {
			return errUsage
		}
		list, err := programs(*gotests, *brief || *kind == "interpreter")
		if err != nil {
			return err
		}
		return check(ctx, options{engine: *kind, virtual: *virtual, built: flags.Arg(0)}, list, flags.Args()[1:])
	case verb == "lines":
		return lines(ctx, args)
	}
	return errUsage
}

// programs returns the C programs or the Go tests, on request without their slow ones.
func programs(gotests, brief bool) ([]corpus.Program, error) {
	if !gotests {
		return corpus.Programs()
	}
	tests, err := corpus.GoTests()
	if err != nil {
		return nil, err
	}
	list := make([]corpus.Program, len(tests))
	for i := range tests {
		list[i] = tests[i].Program()
		if brief {
			list[i] = tests[i].Brief()
		}
	}
	return list, nil
}

func all() ([]corpus.Program, error) {
	c, err := programs(false, false)
	if err != nil {
		return nil, err
	}
	g, err := programs(true, false)
	return append(c, g...), err
}

func show() error {
	list, err := all()
	if err != nil {
		return err
	}
	for _, p := range list {
		for _, r := range p.Runs {
			fmt.Printf("%s\t%s\t%s\t%s\n", p.Name, r.Name, p.Module(&r), strings.Join(r.Args, " "))
		}
	}
	return nil
}

func prepare(built, work, name string) error {
	list, err := all()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(p corpus.Program) bool { return p.Name == name })
	if i < 0 {
		return fmt.Errorf("no program %s", name)
	}
	mounts, err := list[i].Prepare(built, work)
	for _, m := range mounts {
		fmt.Printf("%s::%s\n", m.Host, m.Guest)
	}
	return err
}
