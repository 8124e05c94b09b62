package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// build links the command for a platform. The flags that packages are compiled with are those of .ci/run, so that both
// have one cache.
func (r *release) build(ctx context.Context, p platform) (string, error) {
	path := filepath.Join(r.stage, r.base(p), "clonecloud")
	if p.os == "windows" {
		path += ".exe"
	}
	flags := "-s -w -X main.stamped=" + r.version
	if p.wasmtime {
		flags += staticFlags
	}
	_, err := output(ctx, r.root, p.env(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", path, "./cmd/clonecloud")
	return path, err
}

// documents makes what is the same in all archives and packages: texts, and man pages and completions as the command
// itself prints them.
func (r *release) documents(ctx context.Context) ([]entry, error) {
	texts, err := r.texts()
	if err != nil {
		return nil, err
	}
	all := append(texts, entry{name: "LICENSE", path: filepath.Join(r.root, "LICENSE")},
		entry{name: "systemd/" + unit, path: r.packaging(unit), linux: true})
	self, err := r.build(ctx, platform{os: runtime.GOOS, arch: runtime.GOARCH})
	if err != nil {
		return nil, err
	}
	for _, c := range completions {
		text, err := r.ask(ctx, self, "completion", c.shell)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(r.stage, c.name)
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			return nil, err
		}
		all = append(all, entry{name: "completions/" + c.name, path: path})
	}
	pages, err := r.manPages(ctx, self)
	if err != nil {
		return nil, err
	}
	return append(all, pages...), r.shelve(texts)
}

// texts are the README and what it leads to.
func (r *release) texts() ([]entry, error) {
	var all []entry
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		paths, err := filepath.Glob(filepath.Join(r.root, pattern))
		if err != nil {
			return nil, err
		}
		if len(paths) == 0 {
			return nil, fmt.Errorf("pack %s: there is none in %s", pattern, r.root)
		}
		for _, path := range paths {
			name, err := filepath.Rel(r.root, path)
			if err != nil {
				return nil, err
			}
			all = append(all, entry{name: filepath.ToSlash(name), path: path})
		}
	}
	return all, nil
}

const unit = "clonecloud-node.service"

var completions = []struct{ shell, name string }{
	{"bash", "clonecloud.bash"}, {"zsh", "_clonecloud"}, {"fish", "clonecloud.fish"}, {"powershell", "clonecloud.ps1"},
}

func (r *release) packaging(name string) string { return filepath.Join(r.root, "packaging", name) }

// ask runs the command that was built. What the user has configured is none of its business.
func (r *release) ask(ctx context.Context, self string, args ...string) (string, error) {
	home := filepath.Join(r.stage, "home")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", err
	}
	env := []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", r.epoch), "HOME=" + home, "XDG_CONFIG_HOME=" + home,
		"XDG_CACHE_HOME=" + home, "LC_ALL=C", "TZ=UTC", "CLONECLOUD_CONFIG="}
	return output(ctx, r.stage, env, self, args...)
}

// manPages are packed as they are in archives, and compressed in packages.
func (r *release) manPages(ctx context.Context, self string) ([]entry, error) {
	dir := filepath.Join(r.stage, "man1")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if _, err := r.ask(ctx, self, "man", dir); err != nil {
		return nil, err
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil {
		return nil, err
	}
	if len(pages) == 0 {
		return nil, fmt.Errorf("clonecloud man %s: it wrote no page", dir)
	}
	var all []entry
	for _, path := range pages {
		all = append(all, entry{name: "man/man1/" + filepath.Base(path), path: path})
	}
	return all, nil
}

// licenses gathers the terms of everything that is linked into the binary, which its copies must carry.
func (r *release) licenses(ctx context.Context, p platform) (entry, error) {
	list, err := output(ctx, r.root, p.env(), "go", "list", "-deps",
		"-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}\t{{.Dir}}{{end}}{{end}}", "./cmd/clonecloud")
	if err != nil {
		return entry{}, err
	}
	goroot, err := output(ctx, r.root, p.env(), "go", "env", "GOROOT", "GOVERSION")
	if err != nil {
		return entry{}, err
	}
	dir, version, _ := strings.Cut(goroot, "\n")
	lines := strings.Split(list+"\nThe Go standard library "+version+"\t"+dir, "\n")
	slices.SortFunc(lines, cmp.Compare)
	var text strings.Builder
	text.WriteString("CloneCloud is under the Apache License 2.0. Its binary holds the following, each under its own terms.\n")
	for _, line := range slices.Compact(lines) {
		name, dir, ok := strings.Cut(line, "\t")
		if !ok {
			continue
		}
		if err := terms(&text, name, dir); err != nil {
			return entry{}, err
		}
	}
	if p.wasmtime {
		if !strings.Contains(list, wasmtimeModule+" ") {
			return entry{}, fmt.Errorf("the command does not import %s", wasmtimeModule)
		}
		if err := r.nativeTerms(ctx, &text, p); err != nil {
			return entry{}, err
		}
	}
	path := filepath.Join(r.stage, r.base(p)+"-licenses.txt")
	return entry{name: "third-party.txt", path: path}, os.WriteFile(path, []byte(text.String()), 0o644)
}

// terms appends the licence of a module, and its notice if it has one.
func terms(text *strings.Builder, name, dir string) error {
	found := false
	for _, file := range []string{"LICENSE", "LICENSE.txt", "LICENSE.md", "COPYING", "NOTICE", "NOTICE.txt"} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		found = found || !strings.HasPrefix(file, "NOTICE")
		fmt.Fprintf(text, "\n%s\n%s (%s)\n\n%s\n", strings.Repeat("=", 100), name, file, strings.TrimSpace(string(b)))
	}
	if !found {
		return fmt.Errorf("gather licences: %s has none in %s; say its terms in packaging/dist", name, dir)
	}
	return nil
}
