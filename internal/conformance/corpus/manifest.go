// Package corpus describes programs that were not written for this project, and how to build and run them: C programs from Debian's
// sources, Rust programs from Debian's crates, Go programs, and the tests of Go's standard library. Neither their sources nor
// the built modules are kept here, only the recipe: build.sh, build-rust.sh and build-go.sh build programs, BuildGoTests
// the tests; programs.json, commands.json and gotests.json say how each is run.
//
// A program is a module and a list of runs, in order, over one set of directories: what a run leaves in a file is there for the next.
// Input is made up here, from nothing but its name: "text:200000" is the same 200,000 bytes of prose on every machine.
package corpus

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

//go:embed programs.json
var programsJSON []byte

//go:embed gotests.json
var goTestsJSON []byte

// Program is one module and what to run with it.
type Program struct {
	Name string `json:"name"`
	// Lang is what it was written in: c, rust or go; "" for C programs of programs.json and the tests of Go's standard library.
	Lang string `json:"lang,omitempty"`
	// Package is where it comes from: a Debian source package, a crate or module and its version, or an import path of Go's
	// standard library.
	Package string `json:"package"`
	// Does says what it computes.
	Does string `json:"does,omitempty"`
	// Wasm is the module's file in the directory that it was built into. A run may have its own, as a decoder beside an encoder.
	Wasm string `json:"wasm"`
	Dirs []Dir  `json:"dirs,omitempty"`
	Runs []Run  `json:"runs"`
}

// Dir is a directory that all runs of a program see.
type Dir struct {
	// Guest is the path under which it is preopened: absolute and clean, or ".".
	Guest string `json:"guest"`
	// Files maps slash-separated paths below it to inputs; a path that ends in a slash is an empty directory.
	Files map[string]string `json:"files,omitempty"`
	// Goroot lists paths below GOROOT, directories or files, to be copied to the same path below this directory.
	Goroot []string `json:"goroot,omitempty"`
}

// Run is one execution.
type Run struct {
	Name string `json:"name"`
	Wasm string `json:"wasm,omitempty"`
	// Args is the whole argument vector, the program's name first.
	Args []string `json:"args"`
	Env  []string `json:"env,omitempty"`
	// Stdin names an input; empty means no bytes.
	Stdin string `json:"stdin,omitempty"`
	Exit  uint32 `json:"exit,omitempty"`

	// What must come out, where it is known without running the program: StdoutIs and FileIs name inputs (FileIs by guest path),
	// StdoutHas lists pieces of the output.
	StdoutIs  string            `json:"stdout_is,omitempty"`
	StdoutHas []string          `json:"stdout_has,omitempty"`
	FileIs    map[string]string `json:"file_is,omitempty"`
}

// Programs returns the C programs, in the order of programs.json.
func Programs() ([]Program, error) { return programs("programs.json", programsJSON) }

func programs(file string, data []byte) ([]Program, error) {
	var list []Program
	if err := decode(data, &list); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	for i := range list {
		if err := list[i].validate(); err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
	}
	return list, nil
}

func decode(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// validate lists every fault at once.
func (p *Program) validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("program %q: "+format, append([]any{p.Name}, args...)...))
	}
	if p.Name == "" || p.Package == "" || p.Wasm == "" || len(p.Runs) == 0 {
		fault("name, package, wasm and runs are required")
	}
	for _, d := range p.Dirs {
		if d.Guest != "." && !path.IsAbs(d.Guest) || path.Clean(d.Guest) != d.Guest {
			fault("directory %q is not an absolute, clean path", d.Guest)
		}
		for name, in := range d.Files {
			if !filepath.IsLocal(filepath.FromSlash(strings.TrimSuffix(name, "/"))) {
				fault("file %q leaves its directory", name)
			}
			if !strings.HasSuffix(name, "/") && !validInput(in) {
				fault("file %q: no input %q", name, in)
			}
		}
		for _, name := range d.Goroot {
			if !filepath.IsLocal(filepath.FromSlash(name)) {
				fault("path %q leaves GOROOT", name)
			}
		}
	}
	seen := map[string]bool{}
	for _, r := range p.Runs {
		if r.Name == "" || seen[r.Name] {
			fault("run %q: name is missing or taken", r.Name)
		}
		seen[r.Name] = true
		if w := p.Module(&r); w != filepath.Base(w) {
			fault("module %q is not a plain file name", w)
		}
		if len(r.Args) == 0 {
			fault("run %q: no arguments, not even the program's name", r.Name)
		}
		for _, in := range []string{r.Stdin, r.StdoutIs} {
			if in != "" && !validInput(in) {
				fault("run %q: no input %q", r.Name, in)
			}
		}
		for name, in := range r.FileIs {
			if _, _, err := p.place(name); err != nil || !validInput(in) {
				fault("run %q: result %q: no such place or input", r.Name, name)
			}
		}
	}
	return errors.Join(faults...)
}

// Module returns the file name of the module that a run executes.
func (p *Program) Module(r *Run) string {
	if r.Wasm != "" {
		return r.Wasm
	}
	return p.Wasm
}

// place finds the directory that holds a guest path: its index and the path below it.
func (p *Program) place(guest string) (int, string, error) {
	best, rest := -1, ""
	for i, d := range p.Dirs {
		prefix := strings.TrimSuffix(d.Guest, "/") + "/"
		if d.Guest == "." && !path.IsAbs(guest) {
			prefix = ""
		}
		if strings.HasPrefix(guest, prefix) && (best < 0 || len(d.Guest) > len(p.Dirs[best].Guest)) {
			best, rest = i, guest[len(prefix):]
		}
	}
	if best < 0 || !filepath.IsLocal(filepath.FromSlash(rest)) {
		return 0, "", fmt.Errorf("path %q is in no directory of %s", guest, p.Name)
	}
	return best, rest, nil
}

// Mount is a directory on the host, filled, and the guest path under which to preopen it.
type Mount struct{ Host, Guest string }

// Prepare fills one fresh directory below work for each directory of the program, and returns them in the order of Dirs. built is where
// the modules were built.
func (p *Program) Prepare(built, work string) ([]Mount, error) {
	mounts := make([]Mount, 0, len(p.Dirs))
	for i, d := range p.Dirs {
		host := filepath.Join(work, fmt.Sprintf("dir%d", i))
		if err := d.fill(built, host); err != nil {
			return nil, fmt.Errorf("prepare %s: %w", p.Name, err)
		}
		mounts = append(mounts, Mount{Host: host, Guest: d.Guest})
	}
	return mounts, nil
}

func (d *Dir) fill(built, host string) error {
	if err := os.MkdirAll(host, 0o755); err != nil {
		return err
	}
	for name, in := range d.Files {
		at := filepath.Join(host, filepath.FromSlash(name))
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(at, 0o755); err != nil {
				return err
			}
			continue
		}
		data, err := Input(built, in)
		if err != nil {
			return err
		}
		if err := writeFile(at, data); err != nil {
			return err
		}
	}
	for _, name := range d.Goroot {
		root, err := goroot()
		if err != nil {
			return err
		}
		if err := copyTree(filepath.Join(root, filepath.FromSlash(name)), filepath.Join(host, filepath.FromSlash(name))); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(at string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	return os.WriteFile(at, data, 0o644)
}

func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return writeFile(filepath.Join(to, rel), data)
	})
}

// Check compares what a run printed and left behind with what the manifest knows of it.
func (p *Program) Check(r *Run, built string, mounts []Mount, exit uint32, stdout []byte) error {
	var faults []error
	if exit != r.Exit {
		faults = append(faults, fmt.Errorf("exit code %d, want %d", exit, r.Exit))
	}
	same := func(what string, got []byte, in string) {
		want, err := Input(built, in)
		if err == nil && !bytes.Equal(got, want) {
			err = fmt.Errorf("%s: %d bytes differ from input %s of %d bytes", what, len(got), in, len(want))
		}
		faults = append(faults, err)
	}
	if r.StdoutIs != "" {
		same("standard output", stdout, r.StdoutIs)
	}
	for _, piece := range r.StdoutHas {
		if !bytes.Contains(stdout, []byte(piece)) {
			faults = append(faults, fmt.Errorf("standard output lacks %q", piece))
		}
	}
	for name, in := range r.FileIs {
		i, rest, err := p.place(name)
		if err != nil {
			return err
		}
		got, err := os.ReadFile(filepath.Join(mounts[i].Host, filepath.FromSlash(rest)))
		if err != nil {
			faults = append(faults, err)
			continue
		}
		same(name, got, in)
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("%s %s: %w", p.Name, r.Name, err)
	}
	return nil
}
