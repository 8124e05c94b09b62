package main

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestChooseWithWasmtime(t *testing.T) {
	all, err := choose(withWasmtime, "")
	if err != nil || len(all) != 2 {
		t.Errorf("got %v, %v; want two platforms", all, err)
	}
	if got, err := choose(withWasmtime, "darwin/arm64"); err == nil {
		t.Errorf("got %v for a platform that has no wasmtime", got)
	}
	r := &release{stamp: stamp{version: "v1.2.3"}}
	for _, p := range all {
		plain := platform{os: p.os, arch: p.arch}
		if r.base(p) == r.base(plain) || !strings.HasPrefix(r.base(p), r.base(plain)+"_") {
			t.Errorf("its archive is called %s, the one without wasmtime %s", r.base(p), r.base(plain))
		}
		for name, env := range map[string][]string{"CGO_ENABLED=0": plain.env(), "CGO_ENABLED=1": p.env()} {
			if !slices.Contains(env, name) {
				t.Errorf("%s: want %s in %q", p, name, env)
			}
		}
		if compilers[p.arch].name == "" {
			t.Errorf("%s: there is no compiler for it", p)
		}
	}
}

func TestDefinition(t *testing.T) {
	text := "#define NAME_MAJOR 1\n# define NAME 2\n#define NAME \"39.0.0\"\n#define OTHER 36\n"
	for name, want := range map[string]string{"NAME": "39.0.0", "NAME_MAJOR": "1", "OTHER": "36"} {
		if got, err := definition(text, name); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, want)
		}
	}
	if got, err := definition(text, "NAM"); err == nil || !strings.Contains(err.Error(), "NAM") {
		t.Errorf("got %q, %v; want an error that names it", got, err)
	}
}

// TestNative wants the bill of materials of a binary with wasmtime to name what is no Go module.
func TestNative(t *testing.T) {
	p := withWasmtime[0]
	if _, err := p.compiler(); err != nil {
		t.Skip(err)
	}
	r := &release{root: "../..", stage: t.TempDir()}
	list, err := r.native(t.Context(), p)
	if errors.Is(err, errNotHere) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	bom, err := settle([]byte(`{"metadata":{"tools":[],"component":{}},"components":[{"name":"n"}]}`), "v1.2.3", time.Unix(0, 0), list)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Components []struct {
			Name, Version string
			Licenses      []license
		}
	}
	if err := json.Unmarshal(bom, &doc); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range doc.Components {
		names = append(names, c.Name)
		if c.Name != "n" && (c.Version == "" || len(c.Licenses) != 1 || c.Licenses[0].Expression == "") {
			t.Errorf("%s has version %q and licences %v", c.Name, c.Version, c.Licenses)
		}
	}
	if want := []string{"n", "wasmtime-c-api", "glibc", "libgcc"}; !slices.Equal(names, want) {
		t.Errorf("got components %q, want %q", names, want)
	}
}
