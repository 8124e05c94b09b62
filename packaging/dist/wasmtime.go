package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// withWasmtime are the platforms of nodes that have wasmtime.
var withWasmtime = []platform{{os: "linux", arch: "amd64", wasmtime: true}, {os: "linux", arch: "arm64", wasmtime: true}}

// wasmtimeModule brings the C library.
const wasmtimeModule = "github.com/bytecodealliance/wasmtime-go/v39"

// staticFlags link without shared libraries: such a binary serves every distribution and an image that holds nothing else.
const staticFlags = " -linkmode=external -extldflags=-static"

// compilers are the C compilers, by architecture, under the names that they have on machines of each: the same bytes come of
// both. Each stands in a package of Debian's beside the C library for it.
var compilers = map[string]struct{ name, packages string }{
	"amd64": {"x86_64-linux-gnu-gcc", "gcc libc6-dev, or elsewhere gcc-x86-64-linux-gnu libc6-dev-amd64-cross"},
	"arm64": {"aarch64-linux-gnu-gcc", "gcc libc6-dev, or elsewhere gcc-aarch64-linux-gnu libc6-dev-arm64-cross"},
}

// cgo is what makes go build with wasmtime. netgo and osusergo keep out what the C library has for the same, which works only
// beside its shared files.
func (p platform) cgo() []string {
	return []string{"CGO_ENABLED=1", "CC=" + compilers[p.arch].name, "GOFLAGS=-tags=wasmtime,netgo,osusergo",
		"CGO_CFLAGS=-O2 -g0", "CGO_CPPFLAGS=", "CGO_CXXFLAGS=", "CGO_FFLAGS=", "CGO_LDFLAGS="}
}

// compiler returns the C compiler for the platform, or says what brings it.
func (p platform) compiler() (string, error) {
	cc := compilers[p.arch]
	if _, err := exec.LookPath(cc.name); err != nil {
		return "", fmt.Errorf("build for %s with wasmtime: it takes a C compiler (Debian: %s): %w", p, cc.packages, err)
	}
	return cc.name, nil
}

// component is a part of a bill of materials.
type component struct {
	Type     string    `json:"type"`
	Name     string    `json:"name"`
	Version  string    `json:"version"`
	Licenses []license `json:"licenses"`
	Links    []link    `json:"externalReferences"`
}

type license struct {
	Expression string `json:"expression"`
}

type link struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

// native are the libraries that are linked into a binary with wasmtime and are no Go modules.
func (r *release) native(ctx context.Context, p platform) ([]component, error) {
	cc, err := p.compiler()
	if err != nil {
		return nil, err
	}
	header, err := r.wasmtimeFile(ctx, p, "build/include/wasmtime.h")
	if err != nil {
		return nil, err
	}
	wasmtime, err := definition(header, "WASMTIME_VERSION")
	if err != nil {
		return nil, err
	}
	gcc, err := output(ctx, r.stage, nil, cc, "-dumpfullversion")
	if err != nil {
		return nil, err
	}
	macros, err := output(ctx, r.stage, nil, cc, "-dM", "-E", "-include", "features.h", "-x", "c", os.DevNull)
	if err != nil {
		return nil, err
	}
	major, err := definition(macros, "__GLIBC__")
	if err != nil {
		return nil, err
	}
	minor, err := definition(macros, "__GLIBC_MINOR__")
	if err != nil {
		return nil, err
	}
	library := func(name, version, terms, url string) component {
		return component{Type: "library", Name: name, Version: version, Licenses: []license{{terms}}, Links: []link{{"website", url}}}
	}
	return []component{
		library("wasmtime-c-api", wasmtime, "Apache-2.0 WITH LLVM-exception", "https://github.com/bytecodealliance/wasmtime"),
		library("glibc", major+"."+minor, "LGPL-2.1-or-later", "https://sourceware.org/glibc/"),
		library("libgcc", gcc, "GPL-3.0-or-later WITH GCC-exception-3.1", "https://gcc.gnu.org/"),
	}, nil
}

// definition finds the value of a macro.
func definition(text, name string) (string, error) {
	m := regexp.MustCompile(`(?m)^#define ` + name + ` "?([0-9A-Za-z.+-]+)"?$`).FindStringSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("find the version of a library: %s is not defined", name)
	}
	return m[1], nil
}

var errNotHere = errors.New("the module is not downloaded")

// wasmtimeFile reads a file of the module that brings wasmtime.
func (r *release) wasmtimeFile(ctx context.Context, p platform, name string) (string, error) {
	dir, err := output(ctx, r.root, p.env(), "go", "list", "-m", "-f", "{{.Dir}}", wasmtimeModule)
	if err != nil {
		return "", err
	}
	if dir == "" {
		return "", fmt.Errorf("read %s of %s: %w", name, wasmtimeModule, errNotHere)
	}
	b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	return string(b), err
}

// lgpl is where Debian has the text.
const lgpl = "/usr/share/common-licenses/LGPL-2.1"

// nativeTerms appends the terms of what is no Go module. Those of wasmtime are the text of its module, which is there already.
func (r *release) nativeTerms(ctx context.Context, text *strings.Builder, p platform) error {
	list, err := r.native(ctx, p)
	if err != nil {
		return err
	}
	terms, err := os.ReadFile(lgpl)
	if err != nil {
		return fmt.Errorf("gather licences: glibc is linked in: %w", err)
	}
	line := strings.Repeat("=", 100)
	for _, c := range list {
		fmt.Fprintf(text, "\n%s\n%s %s (%s), %s\n", line, c.Name, c.Version, c.Links[0].URL, c.Licenses[0].Expression)
		switch c.Name {
		case "wasmtime-c-api":
			fmt.Fprintf(text, "\nThe terms are those of %s above.\n", wasmtimeModule)
		case "glibc":
			fmt.Fprintf(text, "\nIt is linked in without changes. To link another one, build this version of CloneCloud from its source, which is under the\n"+
				"Apache License 2.0, on a machine that has it: go run ./packaging/dist -wasmtime\n\n%s\n", strings.TrimSpace(string(terms)))
		case "libgcc":
			text.WriteString("\nThe exception lets what is compiled with GCC be conveyed under terms of one's own choice.\n")
		}
	}
	return nil
}
