package corpus

import (
	_ "embed"
	"fmt"
	"path/filepath"
)

//go:embed commands.json
var commandsJSON []byte

// Commands returns programs in C, Rust and Go with one command line each, as a user would write it; their output, exit code and files do
// not depend on time or chance. They are built by build.sh, build-rust.sh and build-go.sh, each into the folder of its language.
func Commands() ([]Program, error) {
	list, err := programs("commands.json", commandsJSON)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if p := &list[i]; p.Lang == "" || p.Does == "" || len(p.Runs) != 1 || len(p.Dirs) > 1 {
			return nil, fmt.Errorf("read commands.json: program %q: lang and does are required, one run, and at most one directory", p.Name)
		}
	}
	return list, nil
}

// Built is the folder below root that a program's modules are built into: that of its language.
func (p *Program) Built(root string) string {
	if p.Lang == "" {
		return filepath.Join(root, "c")
	}
	return filepath.Join(root, p.Lang)
}

// CommandLine is what stands behind the word clonecloud, or wasmtime, to execute a run in its directory: the module at path.
func (p *Program) CommandLine(r *Run, path string) []string {
	line := []string{"run"}
	for _, d := range p.Dirs {
		host := "."
		if d.Guest != "." {
			host += "::" + d.Guest
		}
		line = append(line, "--dir", host)
	}
	for _, e := range r.Env {
		line = append(line, "--env", e)
	}
	return append(append(line, path), r.Args[1:]...)
}
