// Command dist builds what a release consists of: an archive for each platform, deb and rpm packages, a bill of
// materials for each binary (CycloneDX), and SHA256SUMS over all of them. The same commit gives the same bytes.
//
//	go run ./packaging/dist [-out DIR] [-platforms OS/ARCH,...] [-archives] [-wasmtime]
//
// VERSION and SOURCE_DATE_EPOCH take the place of what git says: the nearest tag, and the time of the commit. The
// tools that it needs (nfpm, cyclonedx-gomod) are built into CI_CACHE/bin if they are not there in the right version.
//
// With -wasmtime it builds the archives of nodes that have wasmtime, for Linux, in place of all else: these take a C compiler.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
)

func main() {
	out := flag.String("out", "dist", "the `directory` to write; what a release put there before is replaced")
	only := flag.String("platforms", "", "a list of `os/arch,...`; without, all")
	archives := flag.Bool("archives", false, "make archives only, which takes no tool of another module")
	wasmtime := flag.Bool("wasmtime", false, "make the archives for Linux whose binary has wasmtime, and nothing else")
	install := flag.Bool("tools", false, "build the tools if need be, and nothing else")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *install {
		err = tools{cacheDir()}.install(ctx)
	} else {
		err = run(ctx, *out, *only, *archives, *wasmtime, flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, only string, archives, wasmtime bool, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("no argument %q is known; see -help", args[0])
	}
	all := platforms
	if wasmtime {
		all = withWasmtime
	}
	targets, err := choose(all, only)
	if err != nil {
		return err
	}
	root, err := output(ctx, ".", nil, "go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return fmt.Errorf("find the checkout: %w", err)
	}
	r := &release{root: root, bare: archives, tools: tools{cacheDir()}}
	if r.stamp, err = readStamp(ctx, root); err != nil {
		return err
	}
	if r.out, err = filepath.Abs(out); err != nil {
		return err
	}
	if err := clear(r.out); err != nil {
		return err
	}
	if r.stage, err = os.MkdirTemp("", "clonecloud-dist-"); err != nil {
		return err
	}
	defer os.RemoveAll(r.stage)
	return r.make(ctx, targets)
}

// release is one run.
type release struct {
	stamp
	root  string // of the checkout
	out   string // what is kept
	stage string // what is not
	bare  bool   // archives only
	tools tools
}

// make builds everything for the platforms.
func (r *release) make(ctx context.Context, targets []platform) error {
	fmt.Printf("clonecloud %s, of %s\n", r.version, r.time().Format("2006-01-02 15:04:05 MST"))
	common, err := r.documents(ctx)
	if err != nil {
		return err
	}
	if !r.bare {
		if err := r.tools.install(ctx); err != nil {
			return err
		}
	}
	if err := each(ctx, targets, func(ctx context.Context, p platform) error { return r.one(ctx, p, common) }); err != nil {
		return err
	}
	for _, p := range leftOut {
		if !targets[0].wasmtime {
			fmt.Printf("left out: %s, %s\n", p.platform, p.why)
		}
	}
	return checksums(r.out)
}

// each calls do for all platforms, as many at once as there are processors. The first error ends the others.
func each(ctx context.Context, targets []platform, do func(context.Context, platform) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan platform)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for p := range next {
				if err := do(ctx, p); err != nil {
					cancel(fmt.Errorf("%s: %w", p, err))
				}
			}
		})
	}
	for _, p := range targets {
		select {
		case next <- p:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

// one makes what there is for a platform.
func (r *release) one(ctx context.Context, p platform, common []entry) error {
	fmt.Printf("build for %s\n", p)
	licenses, err := r.licenses(ctx, p)
	if err != nil {
		return err
	}
	binary, err := r.build(ctx, p)
	if err != nil {
		return err
	}
	if err := r.archive(p, binary, append(slices.Clone(common), licenses)); err != nil {
		return err
	}
	if r.bare {
		return nil
	}
	if err := r.materials(ctx, p); err != nil {
		return err
	}
	if p.os != "linux" || p.wasmtime {
		return nil
	}
	return r.packages(ctx, p, binary, licenses)
}

// platform is one that is promised.
type platform struct {
	os, arch string
	wasmtime bool // the binary has wasmtime, and is linked by a C compiler
}

func (p platform) String() string { return p.os + "/" + p.arch }

// env is what makes go build for the platform, and the same on each machine.
func (p platform) env() []string {
	env := []string{"GOOS=" + p.os, "GOARCH=" + p.arch, "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOWORK=off"}
	if p.wasmtime {
		return append(env, p.cgo()...)
	}
	return append(env, "CGO_ENABLED=0", "GOFLAGS=")
}

var platforms = []platform{
	{os: "linux", arch: "amd64"}, {os: "linux", arch: "arm64"}, {os: "darwin", arch: "amd64"}, {os: "darwin", arch: "arm64"},
	{os: "windows", arch: "amd64"}, {os: "windows", arch: "arm64"}, {os: "android", arch: "arm64"},
}

var leftOut = []struct {
	platform
	why string
}{{platform{os: "android", arch: "amd64"}, "whose programs Go links by the C tool chain of Android's NDK alone"}}

// choose reads a list of platforms, out of all.
func choose(all []platform, list string) ([]platform, error) {
	if list == "" {
		return all, nil
	}
	var chosen []platform
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(p platform) bool { return p.String() == name })
		if i < 0 {
			return nil, fmt.Errorf("-platforms: no platform %q; there are %v", name, all)
		}
		if !slices.Contains(chosen, all[i]) {
			chosen = append(chosen, all[i])
		}
	}
	return chosen, nil
}

// marker is in each folder that dist has written: no other is emptied.
const marker = "SHA256SUMS"

// clear makes an empty folder, of one that is not there, is empty, or holds an earlier release.
func clear(dir string) error {
	old, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	ours := slices.ContainsFunc(old, func(e os.DirEntry) bool { return e.Name() == marker })
	if len(old) > 0 && !ours {
		return fmt.Errorf("-out %s: it holds other files than a release; name an empty directory", dir)
	}
	// The marker goes last, so that a release that was interrupted is known for one.
	slices.SortFunc(old, func(a, b os.DirEntry) int {
		return cmp.Compare(boolInt(a.Name() == marker), boolInt(b.Name() == marker))
	})
	for _, e := range old {
		if e.IsDir() {
			return fmt.Errorf("-out %s: %s in it is a directory, which no release has", dir, e.Name())
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, marker), nil, 0o644)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// output runs a command and returns what it prints. Its environment is ours and env.
func output(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		text := strings.TrimSpace(errs.String())
		if text != "" {
			text = "\n" + text
		}
		return "", fmt.Errorf("%s %s: %w%s", filepath.Base(name), strings.Join(args, " "), err, text)
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}
