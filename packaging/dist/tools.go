package main

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// tool is a program of another module. It is no dependency of ours: it is built where CI keeps its tools.
type tool struct{ module, pkg, version string }

var (
	nfpm      = tool{"github.com/goreleaser/nfpm/v2", "cmd/nfpm", "v2.43.0"}
	cyclonedx = tool{"github.com/CycloneDX/cyclonedx-gomod", "cmd/cyclonedx-gomod", "v1.10.0"}
)

type tools struct{ dir string }

// cacheDir is what CI_CACHE names, or its default in .ci/run.
func cacheDir() string {
	if dir := os.Getenv("CI_CACHE"); dir != "" {
		return dir
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = filepath.Join(os.Getenv("HOME"), ".cache")
	}
	return filepath.Join(cache, "clonecloud-ci")
}

// path returns where the tool stands, and builds it first if it does not.
func (t tools) path(ctx context.Context, want tool) (string, error) {
	bin, err := filepath.Abs(filepath.Join(t.dir, "bin"))
	if err != nil {
		return "", err
	}
	path := filepath.Join(bin, filepath.Base(want.pkg))
	if info, err := buildinfo.ReadFile(path); err == nil && info.Main.Path == want.module && info.Main.Version == want.version {
		return path, nil
	}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	at := want.module + "/" + want.pkg + "@" + want.version
	fmt.Println("install", at)
	env := []string{"GOBIN=" + bin, "GOFLAGS=", "GOOS=", "GOARCH=", "GOWORK=off", "CGO_ENABLED=0"}
	if _, err := output(ctx, bin, env, "go", "install", at); err != nil {
		return "", fmt.Errorf("install %s: %w", at, err)
	}
	return path, nil
}

// install sees to it that all are there.
func (t tools) install(ctx context.Context) error {
	for _, want := range []tool{nfpm, cyclonedx} {
		if _, err := t.path(ctx, want); err != nil {
			return err
		}
	}
	return nil
}

// materials writes the bill of materials of a platform's binary.
func (r *release) materials(ctx context.Context, p platform) error {
	tool, err := r.tools.path(ctx, cyclonedx)
	if err != nil {
		return err
	}
	text, err := output(ctx, r.root, p.env(), tool, "app", "-json", "-noserial", "-std", "-main", "cmd/clonecloud")
	if err != nil {
		return err
	}
	var native []component
	if p.wasmtime {
		if native, err = r.native(ctx, p); err != nil {
			return err
		}
	}
	b, err := settle([]byte(text), r.version, r.time(), native)
	if err != nil {
		return fmt.Errorf("read what cyclonedx-gomod printed for %s: %w", p, err)
	}
	return os.WriteFile(filepath.Join(r.out, r.base(p)+".cdx.json"), b, 0o644)
}

// settle replaces what differs from run to run or is not ours to say: the time, the tool's hashes, and the version that
// the tool made up. It adds what is linked in and no Go module.
func settle(bom []byte, version string, at time.Time, native []component) ([]byte, error) {
	var doc struct {
		Metadata struct {
			Component struct {
				Version string `json:"version"`
			} `json:"component"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(bom, &doc); err != nil {
		return nil, err
	}
	if guess := doc.Metadata.Component.Version; guess != "" {
		bom = []byte(strings.ReplaceAll(string(bom), guess, version))
	}
	var all map[string]any
	if err := json.Unmarshal(bom, &all); err != nil {
		return nil, err
	}
	meta, ok := all["metadata"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("it has no metadata")
	}
	meta["timestamp"] = at.Format(time.RFC3339)
	list, ok := meta["tools"].([]any)
	if !ok {
		return nil, fmt.Errorf("metadata names no tools")
	}
	for _, t := range list {
		if t, ok := t.(map[string]any); ok {
			delete(t, "hashes")
		}
	}
	if len(native) > 0 {
		list, ok := all["components"].([]any)
		if !ok {
			return nil, fmt.Errorf("it has no components")
		}
		for _, c := range native {
			list = append(list, c)
		}
		all["components"] = list
	}
	out, err := json.MarshalIndent(all, "", "  ")
	return append(out, '\n'), err
}
