// Command gen makes up the input of an example:
//
//	gen [-size small|medium|large] [-seed N] EXAMPLE FOLDER
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/clonecloud/clonecloud/examples"
)

func main() {
	size := flag.String("size", "small", "small, medium or large")
	seed := flag.Uint64("seed", 1, "the same seed gives the same input")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: gen [-size small|medium|large] [-seed N] EXAMPLE FOLDER")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*size, *seed, flag.Arg(0), flag.Arg(1)); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(sizeName string, seed uint64, name, dir string) error {
	size, err := examples.ParseSize(sizeName)
	if err != nil {
		return err
	}
	p, err := examples.Lookup(name)
	if err != nil {
		return err
	}
	if err := p.Generate(dir, size, seed); err != nil {
		return err
	}
	fmt.Printf("--dir %s::%s, arguments: %s\n", dir, examples.Mount, strings.Join(p.Args[1:], " "))
	return nil
}
