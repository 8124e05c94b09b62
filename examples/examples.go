// Package examples holds three programs worth offloading, after the applications that the CloneCloud paper measured: a virus scanner
// (Go), an image search (C) and behaviour profiling (C). They were written for WASI and nothing else; each stands in its own folder with
// how to build it. This package knows their built modules and makes up their input, the same for the same seed on every machine.
package examples

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

//go:embed imagesearch/imagesearch.wasm
var imagesearchWasm []byte

//go:embed behaviour/behaviour.wasm
var behaviourWasm []byte

// Mount is the guest path under which a program's arguments expect the directory with its input.
const Mount = "/data"

// Expected is the file beside the input that lists, a line each, what the output must contain.
const Expected = "expected.txt"

// Size says how much input to make up. On an interpreter small takes a second or two, medium about ten, large a minute or two.
type Size int

// The sizes, in order.
const (
	Small Size = iota
	Medium
	Large
)

var sizeNames = [...]string{Small: "small", Medium: "medium", Large: "large"}

func (s Size) String() string {
	if s < 0 || int(s) >= len(sizeNames) {
		return fmt.Sprintf("Size(%d)", int(s))
	}
	return sizeNames[s]
}

// ParseSize reads "small", "medium" or "large".
func ParseSize(name string) (Size, error) {
	for s, n := range sizeNames {
		if n == name {
			return Size(s), nil
		}
	}
	return 0, fmt.Errorf("no size %q: there are %s", name, strings.Join(sizeNames[:], ", "))
}

// Program is one of the examples.
type Program struct {
	Name string
	// Title says in a few words what it does.
	Title string
	// Wasm is the built module; empty for the one in Go, which `GOOS=wasip1 GOARCH=wasm go build` builds from Source.
	Wasm []byte
	// Source is the import path below the repository's root.
	Source string
	// Args is the argument vector. It names files below Mount.
	Args []string
	// Exit is the exit code over the input made up here.
	Exit uint32

	generate func(dir string, size Size, seed uint64) (expected []string, err error)
}

// Programs returns the examples.
func Programs() []Program {
	return []Program{
		{
			Name: "imagesearch", Title: "find a picture in a folder of photos", Wasm: imagesearchWasm, Source: "examples/imagesearch",
			Args:     []string{"imagesearch", Mount + "/needle.pgm", Mount + "/photos"},
			generate: generatePhotos,
		},
		{
			Name: "behaviour", Title: "find the interests behind a browsing history", Wasm: behaviourWasm, Source: "examples/behaviour",
			Args:     []string{"behaviour", Mount + "/categories.txt", Mount + "/history.txt"},
			generate: generateHistory,
		},
		{
			Name: "virusscan", Title: "look for known malware in a folder", Source: "examples/virusscan",
			Args: []string{"virusscan", Mount + "/signatures.txt", Mount + "/files"}, Exit: 1,
			generate: generateFiles,
		},
	}
}

// Lookup returns the example of that name.
func Lookup(name string) (Program, error) {
	var names []string
	for _, p := range Programs() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Program{}, fmt.Errorf("no example %q: there are %s", name, strings.Join(names, ", "))
}

// Generate fills dir, which it creates, with the program's input, and with the file Expected.
func (p Program) Generate(dir string, size Size, seed uint64) error {
	if size < Small || size > Large {
		return fmt.Errorf("generate input of %s: no size %d", p.Name, int(size))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("generate input of %s: %w", p.Name, err)
	}
	expected, err := p.generate(dir, size, seed)
	if err == nil {
		err = write(dir, Expected, []byte(strings.Join(expected, "\n")+"\n"))
	}
	if err != nil {
		return fmt.Errorf("generate input of %s: %w", p.Name, err)
	}
	return nil
}

// Check returns an error that names the first line of dir's file Expected that the output lacks.
func Check(dir, output string) error {
	expected, err := os.ReadFile(filepath.Join(dir, Expected))
	if err != nil {
		return fmt.Errorf("check output: %w", err)
	}
	for line := range strings.Lines(string(expected)) {
		if line = strings.TrimSuffix(line, "\n"); !strings.Contains(output, line) {
			return fmt.Errorf("check output: %q is missing", line)
		}
	}
	return nil
}

// write makes a file below dir, and the folders on the way.
func write(dir, name string, data []byte) error {
	at := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	return os.WriteFile(at, data, 0o644)
}
