// Command gowork holds the programs in Go that engines are compared with:
//
//	gowork PROGRAM SIZE
//
// It prints a number, and on stderr a word when it begins to compute. Built natively it says there in the end how many
// nanoseconds of the processors it took, the garbage collector's among them.
package main

import (
	"fmt"
	"os"
	"strconv"
)

// works are the programs, by name.
var works = map[string]func(size int) uint64{"words": words, "trees": trees, "matrix": matrix, "life": life}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gowork:", err)
		os.Exit(2)
	}
}

func run(args []string) error {
	if len(args) != 2 || works[args[0]] == nil {
		return fmt.Errorf("usage: gowork words|trees|matrix|life SIZE")
	}
	size, err := strconv.Atoi(args[1])
	if err != nil || size < 1 {
		return fmt.Errorf("size %q is no positive number", args[1])
	}
	if _, err := os.Stderr.WriteString("begin\n"); err != nil {
		return err
	}
	begin := clock()
	result := works[args[0]](size)
	took := clock() - begin
	if _, err := fmt.Printf("%016x\n", result); err != nil {
		return err
	}
	if took > 0 {
		fmt.Fprintln(os.Stderr, took.Nanoseconds())
	}
	return nil
}

// next is xorshift.
func next(state *uint32) uint32 {
	*state ^= *state << 13
	*state ^= *state >> 17
	*state ^= *state << 5
	return *state
}
