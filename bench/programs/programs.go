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
	// Float says that it computes with floating point.
	Float bool
}

// List are the programs that are bound by the processor.
func List() []Program {
	return []Program{
		{"nbody", "700000", "8000", true},
		{"mandelbrot", "550", "60", true},
		{"sha256", "120", "2", false},
		{"matmul", "190", "32", true},
		{"quicksort", "350000", "5000", false},
		{"fib", "33", "23", false},
		{"queens", "11", "7", false},
		{"trees", "24", "2", false},
		{"dispatch", "1500", "20", false},
		{"lines", "500", "4", false},
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
