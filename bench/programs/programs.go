// Package programs holds small programs in C, built, for measuring: each spends its time in a few functions, most of them
// on nothing but the processor.
package programs

import (
	"embed"
	"fmt"
)

//go:embed *.wasm
var built embed.FS

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

// List are the programs that are bound by the processor.
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

// Wasm is a built module: of a program of List, or "state" or "calls".
func Wasm(name string) []byte {
	b, err := built.ReadFile(name + ".wasm")
	if err != nil {
		panic(fmt.Sprintf("BUG: no program %q", name))
	}
	return b
}
