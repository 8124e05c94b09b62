package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/clonecloud/clonecloud"
	"github.com/clonecloud/clonecloud/examples"
)

// demoOptions are the flags of demo.
type demoOptions struct {
	example, size, link string
	seed                uint64
	json                bool
}

func (o *demoOptions) addFlags(f *pflag.FlagSet) {
	names := exampleNames()
	f.StringVar(&o.example, "example", names[0], "which `program`: "+strings.Join(names, ", "))
	f.StringVar(&o.size, "size", "medium", "how `much` input: small, medium or large")
	f.StringVar(&o.link, "link", "", "the kind of `network` between device and clone: "+strings.Join(clonecloud.LinkProfiles(), ", ")+" (loopback)")
	f.Uint64Var(&o.seed, "seed", 1, "of the input that is made up")
}

func newDemoCommand() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo [flags]",
		Short: "Run an example on a slow device alone, and again with a clone",
		Long: `Run an example on a device that interprets code, and again on the same device with a clone of the process on a
compiler, in a node of its own on this machine, over TLS and, with --link, over a network of that kind. Both times are
measured, from the start of the program to its end; that with a clone includes waiting until the clone is ready.`,
		Args: exactly(0, "it takes no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDemo(cmd, &o) },
	}
	addJSON(cmd, &o.json)
	o.addFlags(cmd.Flags())
	complete(cmd, "example", choices(exampleNames()...))
	complete(cmd, "size", choices("small", "medium", "large"))
	complete(cmd, "link", choices(clonecloud.LinkProfiles()...))
	return cmd
}

// differsError says that a run with a clone was not equal to the one without.
type differsError struct{ what string }

func (e differsError) Error() string { return "the runs differ: " + e.what }

// patient is how long a run waits for its clone. Alone it would take longer than that.
const patient = 10 * time.Second

// demoRun is what became of one run of an example.
type demoRun struct {
	report         *clonecloud.Report
	took           time.Duration
	stdout, stderr bytes.Buffer
	code           uint32
}

func runDemo(cmd *cobra.Command, o *demoOptions) error {
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	stdout, stderr := cmd.OutOrStdout(), cmd.ErrOrStderr()
	program, err := examples.Lookup(o.example)
	if err != nil {
		return usageError{cmd, "--example: " + err.Error()}
	}
	size, err := examples.ParseSize(o.size)
	if err != nil {
		return usageError{cmd, "--size: " + err.Error()}
	}
	if o.link != "" && !slices.Contains(clonecloud.LinkProfiles(), o.link) {
		return usageError{cmd, fmt.Sprintf("--link %q: no such kind of network: there are %s", o.link, strings.Join(clonecloud.LinkProfiles(), ", "))}
	}
	if o.json {
		stderr = io.Discard // progress and JSON do not mix
	}
	dir, err := os.MkdirTemp("", "clonecloud-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	input := filepath.Join(dir, "input")
	if err := program.Generate(input, size, o.seed); err != nil {
		return err
	}
	module, err := buildExample(ctx, program, dir, stderr)
	if err != nil {
		return err
	}
	cfg := clonecloud.Config{
		Module: module, Args: program.Args, Engine: clonecloud.EngineInterpreter,
		Mounts: []clonecloud.Mount{{Host: input, Guest: examples.Mount, ReadOnly: true}},
	}
	alone, err := measure(ctx, stderr, "on the device alone", cfg)
	if err != nil {
		return err
	}
	cloud := clonecloud.NewLocalCloud(clonecloud.LocalCloudConfig{CacheDir: cacheDir(), Worker: workerCommand(), Link: o.link})
	defer cloud.Close()
	cfg.Cloud, cfg.Offload, cfg.CloneWait = cloud, clonecloud.OffloadAuto, patient
	helped, err := measure(ctx, stderr, "with a clone", cfg)
	if err != nil {
		return err
	}

	if o.json {
		return writeDemoJSON(stdout, program, o, input, alone, helped)
	}
	w := &bytes.Buffer{}
	fmt.Fprintf(w, "%s: %s (size %v, seed %d)\n\n", program.Name, program.Title, size, o.seed)
	writeDemo(w, alone, helped)
	differ := judgeDemo(program, input, alone, helped)
	if differ == nil {
		fmt.Fprintf(w, "outputs equal           yes: %d bytes, exit code %d\n", alone.stdout.Len()+alone.stderr.Len(), alone.code)
	} else {
		fmt.Fprintf(w, "outputs equal           no\n")
	}
	if _, err := stdout.Write(w.Bytes()); err != nil {
		return err
	}
	return differ
}

// judgeDemo says whether the runs are equal, and what they should be.
func judgeDemo(p examples.Program, input string, alone, helped *demoRun) error {
	if differ := compareRuns(alone, helped); differ != nil {
		return differ
	}
	if alone.code != p.Exit || examples.Check(input, alone.stdout.String()) != nil {
		return differsError{"both are equal, but not what the input was made for"}
	}
	return nil
}

// demoVersion is the schema version of what demo writes as JSON.
const demoVersion = 1

func writeDemoJSON(w io.Writer, p examples.Program, o *demoOptions, input string, alone, helped *demoRun) error {
	differ := judgeDemo(p, input, alone, helped)
	why := ""
	if differ != nil {
		why = differ.Error()
	}
	err := writeJSON(w, struct {
		Version int                `json:"version"`
		Example string             `json:"example"`
		Size    string             `json:"size"`
		Seed    uint64             `json:"seed"`
		Link    string             `json:"link,omitempty"`
		Alone   time.Duration      `json:"alone_ns"`
		Clone   time.Duration      `json:"with_clone_ns"`
		SpeedUp float64            `json:"speed_up"`
		Equal   bool               `json:"equal"`
		Differ  string             `json:"differ,omitempty"`
		Report  *clonecloud.Report `json:"report"` // of the run with a clone
	}{
		demoVersion, p.Name, o.size, o.seed, o.link, alone.took, helped.took, alone.took.Seconds() / helped.took.Seconds(),
		differ == nil, why, helped.report,
	})
	return errors.Join(err, differ)
}

func writeDemo(w io.Writer, alone, helped *demoRun) {
	r := helped.report
	var home int
	var up, down uint64
	for _, f := range r.Functions {
		home += f.HomeCalls
		up += f.Up
		down += f.Down
	}
	done, back := r.Offloads()
	cloud := r.Cloud
	if cloud == "" {
		cloud = "none was ready"
	}
	fmt.Fprintf(w, "device alone            %9.3f s   %s\n", alone.took.Seconds(), alone.report.Engine)
	fmt.Fprintf(w, "device with a clone     %9.3f s   %s, clone: %s\n", helped.took.Seconds(), r.Engine, cloud)
	fmt.Fprintf(w, "speed-up                %9.1f x\n", alone.took.Seconds()/helped.took.Seconds())
	fmt.Fprintf(w, "guest time on the clone %9.1f %%\n", 100*r.Share)
	fmt.Fprintf(w, "offloads                %9d     %d fallbacks, %d home calls\n", done, back, home)
	fmt.Fprintf(w, "process state           %9d bytes up, %d down\n", up, down)
	fmt.Fprintf(w, "link in all             %9d bytes up, %d down\n", r.LinkUp, r.LinkDown)
	if r.Stay != "" {
		fmt.Fprintf(w, "the module stays here   %s\n", r.Stay)
	}
}

// compareRuns says in what the runs differ, nil if in nothing.
func compareRuns(a, b *demoRun) error {
	switch {
	case a.code != b.code:
		return differsError{fmt.Sprintf("exit code %d alone, %d with a clone", a.code, b.code)}
	case !bytes.Equal(a.stdout.Bytes(), b.stdout.Bytes()):
		return differsError{"standard output"}
	case !bytes.Equal(a.stderr.Bytes(), b.stderr.Bytes()):
		return differsError{"standard error"}
	}
	return nil
}

// measure runs the guest once and says on stderr that it goes on. A guest that is interrupted is left behind: the
// process is about to end.
func measure(ctx context.Context, stderr io.Writer, what string, cfg clonecloud.Config) (*demoRun, error) {
	run := &demoRun{}
	cfg.Stdout, cfg.Stderr = &run.stdout, &run.stderr
	done := make(chan error, 1)
	begin := time.Now()
	go func() {
		var err error
		run.report, err = clonecloud.Run(ctx, cfg)
		run.took = time.Since(begin)
		done <- err
	}()
	var tick <-chan time.Time
	if isTerminal(stderr) {
		t := time.NewTicker(100 * time.Millisecond)
		defer t.Stop()
		tick = t.C
	} else {
		fmt.Fprintf(stderr, "running %s\n", what)
	}
	for {
		select {
		case <-tick:
			fmt.Fprintf(stderr, "\rrunning %s: %.1f s", what, time.Since(begin).Seconds())
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case err := <-done:
			if tick != nil {
				fmt.Fprintf(stderr, "\rrunning %s: %.1f s\n", what, run.took.Seconds())
			}
			var exit *clonecloud.ExitError
			if errors.As(err, &exit) {
				run.code, err = exit.Code, nil
			}
			if err != nil {
				return nil, fmt.Errorf("run %s: %w", what, err)
			}
			return run, nil
		}
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, ok = columns(f)
	return ok
}

// buildExample returns the example's module. Those in C are built already; for the one in Go there is a compiler
// wherever this command is run from its sources.
func buildExample(ctx context.Context, p examples.Program, dir string, stderr io.Writer) ([]byte, error) {
	if p.Wasm != nil {
		return p.Wasm, nil
	}
	fmt.Fprintf(stderr, "building %s\n", p.Source)
	out := filepath.Join(dir, p.Name+".wasm")
	build := exec.CommandContext(ctx, "go", "build", "-o", out, "github.com/clonecloud/clonecloud/"+p.Source)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build %s (this needs Go, and the sources of clonecloud as working directory): %w: %s",
			p.Source, err, strings.TrimSpace(string(text)))
	}
	return os.ReadFile(out)
}

// interrupted is the cause of a context that a signal ended.
type interrupted struct{ signal os.Signal }

func (i interrupted) Error() string { return i.signal.String() }

func (i interrupted) code() int {
	if i.signal == syscall.SIGTERM {
		return exitTerminated
	}
	return exitInterrupted
}

// interruptible ends ctx at the first ctrl-C or SIGTERM, so that the demo can tidy up after itself. Its long run is
// interpreted, which leaves handlers room; a second signal ends the process at once.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancelCause(ctx)
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case s := <-c:
			signal.Stop(c)
			stop(interrupted{s})
		case <-ctx.Done():
		}
	}()
	return ctx, func() { signal.Stop(c); stop(nil) }
}
