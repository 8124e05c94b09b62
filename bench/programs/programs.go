// Package programs holds small programs in C and Rust, built, for measuring: each spends its time in a few functions,
// most of them on nothing but the processor. Command gowork, beside it, has those in Go.
package programs

import (
	"embed"
	"fmt"
	"io/fs"
)

//go:embed *.wasm
var built embed.FS

//go:embed src/*.c src/bench.h src/rust/*.rs
var source embed.FS

// Program is one that computes and prints a number. Its argument says how much.
type Program struct {
	Name string
	// Compiled and Interpreted are arguments for some 60 ms on a compiler and on an interpreter.
	Compiled, Interpreted string
	// Long is the argument for about a second on an interpreter.
	Long string
	// Float says that it computes with floating point.
	Float bool
}

// List are the programs in C that are bound by the processor and measured with what offloading costs.
func List() []Program {
	return []Program{
		{"nbody", "700000", "8000", "130000", true},
		{"mandelbrot", "800", "70", "280", true},
		{"sha256", "100", "1", "16", false},
		{"matmul", "256", "56", "140", true},
		{"quicksort", "250000", "5000", "70000", false},
		{"fib", "35", "25", "31", false},
		{"queens", "13", "10", "11", false},
		{"trees", "60", "6", "100", false},
		{"dispatch", "400", "12", "200", false},
		{"lines", "1000", "10", "160", false},
	}
}

// Wasm is a built module: of a program of List, of one of Portable that is not in Go, or "state", "calls" or "edges".
func Wasm(name string) []byte {
	b, err := built.ReadFile(name + ".wasm")
	if err != nil {
		panic(fmt.Sprintf("BUG: no program %q", name))
	}
	return b
}

// Source are the files that the programs in C and Rust are built from.
func Source() fs.FS {
	s, err := fs.Sub(source, "src")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return s
}
