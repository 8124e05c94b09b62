package programs

import "slices"

// Language is one that programs are written in.
type Language string

// The languages.
const (
	C    Language = "C"
	Rust Language = "Rust"
	Go   Language = "Go"
)

// GoCommand is the package of the programs in Go.
const GoCommand = "github.com/clonecloud/clonecloud/bench/programs/gowork"

// Portable is a program that is built natively as well.
type Portable struct {
	// Name is the module's, see Wasm; of a program in Go, which is no module of its own, "go-" and its first argument.
	Name string
	Lang Language
	// Source is the file that it is built from; of a program in Go it is "".
	Source string
	// SIMD says that the module has vectors.
	SIMD bool
	// Full are arguments for some 150 ms natively, Small for a second and less on an interpreter.
	Full, Small []string
}

// Portables are the programs that engines are compared with: those of List, and more.
func Portables() []Portable {
	var list []Portable
	full := map[string]string{
		"nbody": "3500000", "mandelbrot": "1500", "sha256": "400", "matmul": "500", "quicksort": "800000", "fib": "40", "queens": "14",
		"trees": "500", "dispatch": "2500", "lines": "6000",
	}
	for _, p := range List() {
		list = append(list, inC(p.Name, p.Name, full[p.Name], p.Long))
	}
	return slices.Concat(list, []Portable{
		inC("fft", "fft", "300", "12"),
		inC("spectral", "spectral", "2000", "450"),
		inC("fannkuch", "fannkuch", "10", "9"),
		inC("lz", "lz", "150", "9"),
		inC("hashmap", "hashmap", "600", "25"),
		inC("search", "search", "200", "8"),
		inC("gemm", "gemm", "1200", "40"),
		inC("blur", "blur", "1200", "40"),
		inC("gemm-simd", "gemm", "1200", "40"),
		inC("blur-simd", "blur", "1200", "40"),
		inC("chacha-simd", "chacha", "1000", "60"),
		inC("pairs-simd", "pairs", "2000", "450"),
		inRust("words", "40", "2"),
		inRust("tree", "250", "12"),
		inRust("heat", "1200", "80"),
		inGo("words", "20", "1"),
		inGo("trees", "1000", "40"),
		inGo("matrix", "80", "6"),
		inGo("life", "500", "25"),
	})
}

func inC(name, source, full, small string) Portable {
	return Portable{Name: name, Lang: C, Source: source + ".c", SIMD: name != source, Full: []string{full}, Small: []string{small}}
}

func inRust(name, full, small string) Portable {
	return Portable{Name: "rust-" + name, Lang: Rust, Source: "rust/" + name + ".rs", Full: []string{full}, Small: []string{small}}
}

func inGo(name, full, small string) Portable {
	return Portable{Name: "go-" + name, Lang: Go, Full: []string{name, full}, Small: []string{name, small}}
}
