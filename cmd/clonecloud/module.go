package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/clonecloud/clonecloud"
)

// errNoModule marks a module's file that is not there.
var errNoModule = errors.New("no such module")

// maxModule bounds what is read as a module.
const maxModule = 1 << 30

// readModule reads the module at path, or standard input for "-".
func readModule(path string, stdin io.Reader) ([]byte, error) {
	bin, err := readFile(path, stdin)
	if err != nil {
		return nil, err
	}
	if why := notModule(bin); why != "" {
		return nil, fmt.Errorf("%s: %w: %s", moduleName(path), clonecloud.ErrModule, why)
	}
	return bin, nil
}

func moduleName(path string) string {
	if path == "-" {
		return "standard input"
	}
	return path
}

func readFile(path string, stdin io.Reader) ([]byte, error) {
	if path != "-" {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil, fmt.Errorf("%w: %s%s", errNoModule, path, neighbour(path))
		case err != nil:
			return nil, fmt.Errorf("%w: %w", clonecloud.ErrModule, err)
		case info.IsDir():
			return nil, fmt.Errorf("%w: %s is a folder: name the module in it", clonecloud.ErrModule, path)
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", clonecloud.ErrModule, err)
		}
		defer f.Close()
		stdin = f
	}
	bin, err := io.ReadAll(io.LimitReader(stdin, maxModule+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: read %s: %w", clonecloud.ErrModule, moduleName(path), err)
	case len(bin) > maxModule:
		return nil, fmt.Errorf("%w: %s is larger than 1 GiB", clonecloud.ErrModule, moduleName(path))
	}
	return bin, nil
}

// neighbour names the file beside path that is probably meant.
func neighbour(path string) string {
	dir, base := filepath.Split(path)
	files, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return fmt.Sprintf(": there is no folder %s", filepath.Clean(dir))
	}
	var names []string
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".wasm") {
			names = append(names, f.Name())
		}
	}
	if near := nearest(base, names); near != "" {
		return fmt.Sprintf("; do you mean %s?", dir+near)
	}
	return ": no file of this name"
}

// explain adds to an error of a run where it is and what to do.
func (r *run) explain(path string, err error) error {
	switch {
	case errors.Is(err, clonecloud.ErrInvoke):
		return fmt.Errorf("%s: %w%s", moduleName(path), err, r.invocable())
	case errors.Is(err, clonecloud.ErrModule):
		return malformed(path, err)
	case errors.Is(err, clonecloud.ErrConfig):
		if e := r.misnamed(path); e != nil {
			return e
		}
	}
	return err
}

// malformed is a module that cannot be run.
func malformed(path string, err error) error {
	return fmt.Errorf("%s: %w: build it again, for wasm32-wasi", moduleName(path), err)
}

// invocable says what can be invoked, and with what.
func (r *run) invocable() string {
	list, err := clonecloud.ExportSignatures(r.cfg.Module)
	if err != nil || len(list) == 0 {
		return ""
	}
	var names []string
	for _, s := range list {
		if s.Name() == r.o.invoke {
			return "; it is " + printable(s.String())
		}
		names = append(names, printable(s.Name()))
	}
	const most = 20
	if len(names) > most {
		names = append(names[:most], "and others")
	}
	return "; --invoke may name " + strings.Join(names, ", ")
}

// misnamed is the error of a function that a flag names and the module does not have, nil if there is none.
func (r *run) misnamed(path string) error {
	for _, f := range []struct {
		flag  string
		names []string
	}{{"offload", r.cfg.Functions}, {"keep-local", r.cfg.KeepLocal}} {
		for _, n := range f.names {
			if _, err := clonecloud.Analyze(r.cfg.Module, []string{n}); errors.Is(err, clonecloud.ErrConfig) {
				return usageError{r.cmd, noFunction(r.o.named(f.flag), n, path)}
			}
		}
	}
	return nil
}

func noFunction(flag, name, path string) string {
	return fmt.Sprintf("%s %q: %s has no function of this name; clonecloud analyze --all lists them", flag, name, moduleName(path))
}

// formats are files that are taken for modules at times.
var formats = []struct{ magic, what string }{
	{"\x7fELF", "it is a native program, or a module that was compiled already: the module itself is wanted"},
	{"MZ", "it is a native program: build it for wasm32-wasi"},
	{"\xcf\xfa\xed\xfe", "it is a native program: build it for wasm32-wasi"},
	{"#!", "it is a script: a module is wanted"},
	{"BC\xc0\xde", "it is LLVM bitcode: link it into a module"},
	{"!<arch>\n", "it is a library of object files: link it into a module"},
	{"\x1f\x8b", "it is compressed: unpack it first"},
	{"PK\x03\x04", "it is an archive: unpack it first"},
}

// notModule says why a file is no module, and what to do, as far as its first bytes tell.
func notModule(bin []byte) string {
	if len(bin) == 0 {
		return "the file is empty: build the program again"
	}
	if !bytes.HasPrefix(bin, []byte("\x00asm")) {
		for _, f := range formats {
			if bytes.HasPrefix(bin, []byte(f.magic)) {
				return f.what
			}
		}
		if text := bytes.TrimLeft(bin[:min(len(bin), 4096)], " \t\r\n\ufeff"); bytes.HasPrefix(text, []byte("(")) || bytes.HasPrefix(text, []byte(";;")) {
			return "it is WebAssembly text: turn it into a module first, for example with wat2wasm"
		}
		return fmt.Sprintf("it begins with %q, not with the magic header of WebAssembly: build the program for wasm32-wasi", bin[:min(len(bin), 8)])
	}
	if len(bin) < 8 {
		return "the file ends within its header: build or copy it again"
	}
	version, layer := binary.LittleEndian.Uint16(bin[4:]), binary.LittleEndian.Uint16(bin[6:])
	switch {
	case layer == 1:
		return "it is a component (WASI preview 2): modules for WASI preview 1 can run, so build it for wasm32-wasip1"
	case layer != 0 || version != 1:
		return fmt.Sprintf("it has version %d of the binary format, layer %d: version 1 can run", version, layer)
	}
	return ""
}
