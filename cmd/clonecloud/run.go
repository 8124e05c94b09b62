package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/clonecloud/clonecloud"
)

// runOptions are the flags of run.
type runOptions struct {
	cloud, offload, engine  string
	cloneEngine             string
	dirs, mounts, env       []string
	inheritEnv              bool
	invoke, argv0           string
	keepLocal               []string
	report, audit, trace    string
	files, conflict         string
	maxUpload, maxMemory    size
	verbose, quiet, summary bool
	seed                    uint64
	virtualClock            bool
	noCache                 bool
	wait                    time.Duration
	timeout                 limit

	notes      []string          // what --verbose says of the command line
	place      map[string]string // of flags that the configuration file has set: where there
	keptAlways []string          // by the configuration file
}

func (o *runOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.cloud, "cloud", "", "`where` clones run: a cloud that was added, local for a node of its own on this machine, or an address; nowhere if not given")
	f.StringVar(&o.offload, "offload", "auto", "when functions move: never, always, auto, or a list of functions `FUNC,...`")
	f.DurationVar(&o.wait, "wait", 0, "how long the start may wait for a clone to be ready; 0: 45ms with auto, else a minute")
	f.StringVar(&o.engine, "engine", "", "the `engine` of the device: compiler, interpreter or wasmtime (a compiler where there is one, never wasmtime)")
	f.StringVar(&o.cloneEngine, "clone-engine", "", "the `engine` of a local clone: wasmtime, compiler or interpreter (as of a node)")
	f.StringArrayVar(&o.dirs, "dir", nil, "let the program use a directory, `HOST[::GUEST]`; may be repeated")
	f.StringArrayVar(&o.mounts, "mount", nil, "the same as wazero writes it, with ro for reading only, `HOST[:GUEST][:ro]`; may be repeated")
	f.StringArrayVar(&o.env, "env", nil, "set a variable for the program, `K=V`, or K to pass on one's own; may be repeated")
	f.StringVar(&o.invoke, "invoke", "", "call the exported `function` in place of the program; ARGS are its arguments")
	f.StringVar(&o.argv0, "argv0", "", "the program's `name` as it sees it (the file's)")
	f.Var(&o.timeout, "timeout", "end the program after so long: `seconds`, or such as 500ms or 1m30s")
	f.StringSliceVar(&o.keepLocal, "keep-local", nil, "`what` never leaves the device: functions, dir:GUEST, env:NAME, stdin")
	f.StringVar(&o.files, "files", "replicate", "`how` clones get at the directories: replicate gives them a version of each, home asks the device for each call")
	f.StringVar(&o.conflict, "conflict", "keep-both", "`what` becomes of files that others changed while a clone did: keep-both, fail, clone-wins or device-wins")
	f.Var(&o.maxUpload, "max-upload", "the most bytes that may leave the device in this run, e.g. 10MB")
	f.StringVar(&o.audit, "audit", "", "write to `file` what of the device's files and streams a clone was given, a line each")
	f.StringVar(&o.report, "report", "", "write what ran where and what it took to `file`, as JSON")
	f.StringVar(&o.trace, "trace", "", "write every decision, message and figure of the run to `file`, for clonecloud inspect")
	f.BoolVar(&o.summary, "summary", false, "say on stderr after the run what ran where, and what that saved")
	f.BoolVar(&o.verbose, "verbose", false, "say on stderr what is decided for each call, and how it went")
	f.BoolVar(&o.quiet, "quiet", false, "say nothing on stderr but why the run failed; show no progress")
	f.Uint64Var(&o.seed, "seed", 0, "make random numbers repeatable; 0 takes a new seed")
	f.BoolVar(&o.virtualClock, "virtual-clock", false, "replace time by a count, so that runs repeat exactly")
	f.BoolVar(&o.noCache, "no-cache", false, "keep no compiled code on disk")
	for i, g := range foreignGroups {
		f.VarP(foreign{o, i}, g.flag, g.letter, g.usage)
	}
}

func newRunCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run [flags] prog.wasm [ARGS...]",
		Short: "Run a WASI program, with functions executing on a clone where that pays",
		Long: `Run a WASI preview 1 program. What stands behind the module's name belongs to the program; - is a module on
standard input.

Output, exit code and files are those of a run on the device alone, whatever moves and whatever fails.

The configuration file (clonecloud paths says where it is) has defaults for flags: cloud = "home".`,
		Example: `  clonecloud run prog.wasm -n 10
  clonecloud run --cloud local --engine interpreter --dir . prog.wasm data.txt`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{cmd, "run: name a module, such as prog.wasm"}
			}
			return nil
		},
		RunE:              func(cmd *cobra.Command, args []string) error { return runRun(cmd, &o, args[0], args[1:]) },
		ValidArgsFunction: completeModule,
	}
	cmd.Flags().SetInterspersed(false)
	o.addFlags(cmd.Flags())
	o.addCompletions(cmd)
	return cmd
}

// run is one run on its way.
type run struct {
	cmd    *cobra.Command
	o      *runOptions
	cfg    clonecloud.Config
	stderr io.Writer
	screen *screen // nil: none
	tally  *tally  // nil: none is wanted
	result clonecloud.Signature
	ends   []func() // what to call at the end, in reverse
}

func (r *run) atEnd(f func()) { r.ends = append(r.ends, f) }

func (r *run) end() {
	for i := len(r.ends) - 1; i >= 0; i-- {
		r.ends[i]()
	}
}

func runRun(cmd *cobra.Command, o *runOptions, path string, args []string) error {
	if err := o.applyConfig(cmd.Flags()); err != nil {
		return err
	}
	if o.verbose && o.quiet {
		return usageError{cmd, "--verbose and --quiet: one of them says what the other forbids"}
	}
	if o.trace != "" && o.trace == o.report {
		return usageError{cmd, fmt.Sprintf("--trace and --report: both would write %s", o.trace)}
	}
	r := &run{cmd: cmd, o: o}
	defer r.end()
	if err := r.configure(path, args); err != nil {
		return err
	}
	ctx, finish := within(cmd.Context(), time.Duration(o.timeout), r.halt)
	r.atEnd(finish)
	ctx, r.cfg.Away = untilSignal(ctx)
	report, err := openReport(o.report)
	if err != nil {
		return err
	}
	defer report.close()
	if err := r.openAudit(); err != nil {
		return err
	}
	traced, err := openTrace(o.trace, r.cfg.Log)
	if err != nil {
		return err
	}
	defer traced.close()
	r.cfg.Events = traced.events(r.cfg.Events)
	rep, results, err := clonecloud.RunResults(ctx, r.cfg)
	r.screen.close()
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		if err = cause; errors.As(err, &interrupted{}) {
			return err // while it was away
		}
	}
	if rep != nil {
		r.tell(rep)
		err = errors.Join(err, report.write(rep))
	}
	if err == nil && rep != nil && len(rep.Conflicts) > 0 {
		err = &conflicts{rep.Conflicts}
	}
	if err != nil {
		return r.explain(path, err)
	}
	for _, s := range r.result.Results(results) {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), s); err != nil {
			return fmt.Errorf("write the results: %w", err)
		}
	}
	return nil
}

// conflicts is what a run ends with whose program returned, and whose files others have changed meanwhile.
type conflicts struct{ list []clonecloud.Conflict }

func (c *conflicts) Error() string {
	first := c.list[0]
	text := fmt.Sprintf("files were changed here while a clone changed them: %s/%s", first.Dir, first.Path)
	if first.Aside != "" {
		text += fmt.Sprintf(" (the other version is %s)", first.Aside)
	}
	if n := len(c.list) - 1; n > 0 {
		text += fmt.Sprintf(", and %d more: see --report", n)
	}
	return text
}

// halt ends the process, whose program does not end by itself.
func (r *run) halt(err error) {
	r.screen.abandon()
	code, text := outcome(err)
	complain(r.stderr, false, code, text)
	exit(code)
}

// configure makes the configuration of the run.
func (r *run) configure(path string, args []string) (err error) {
	cmd, o := r.cmd, r.o
	if err := checkEngines(cmd, o); err != nil {
		return err
	}
	bin, err := readModule(path, cmd.InOrStdin())
	if err != nil {
		return err
	}
	r.cfg = clonecloud.Config{
		Module: bin, Args: append([]string{cmp.Or(o.argv0, filepath.Base(path))}, args...), Seed: o.seed, VirtualClock: o.virtualClock,
		Stdin: cmd.InOrStdin(), Engine: clonecloud.EngineKind(o.engine), CloneWait: o.wait, MaxUpload: uint64(o.maxUpload),
	}
	r.listen()
	if path == "-" {
		r.cfg.Stdin = nil
	}
	if !o.noCache {
		r.cfg.CacheDir = cacheDir()
	}
	if o.maxMemory > 0 {
		if r.cfg.Module, err = clonecloud.LimitMemory(bin, uint64(o.maxMemory)); err != nil {
			return r.explain(path, err)
		}
	}
	if r.cfg.Mounts, err = mounts(cmd, o); err != nil {
		return err
	}
	if r.cfg.Env, err = environment(cmd, o); err != nil {
		return err
	}
	if o.invoke != "" {
		r.cfg.Invoke, r.cfg.Args = o.invoke, r.cfg.Args[:1]
		if r.result, err = clonecloud.ExportSignature(bin, o.invoke); err != nil {
			return r.explain(path, err)
		}
		if r.cfg.Params, err = r.result.Params(args); err != nil {
			return r.explain(path, err)
		}
	}
	if r.cfg.Offload, r.cfg.Functions, err = offload(cmd, o); err != nil {
		return err
	}
	if err := filesFlags(cmd, &r.cfg, o); err != nil {
		return err
	}
	if err := keepLocal(cmd, &r.cfg, o); err != nil {
		return err
	}
	return r.openCloud()
}

// The words of --files and --conflict; the first is the default.
var (
	filesModes       = []string{"replicate", string(clonecloud.FilesHome)}
	conflictPolicies = []string{"keep-both", string(clonecloud.ConflictFail), string(clonecloud.ConflictCloneWins), string(clonecloud.ConflictDeviceWins)}
)

// filesFlags takes how directories go with offloaded functions.
func filesFlags(cmd *cobra.Command, cfg *clonecloud.Config, o *runOptions) error {
	if !slices.Contains(filesModes, o.files) {
		return usageError{cmd, fmt.Sprintf("%s %q: there are %s", o.named("files"), o.files, strings.Join(filesModes, " and "))}
	}
	if !slices.Contains(conflictPolicies, o.conflict) {
		return usageError{cmd, fmt.Sprintf("%s %q: there are %s", o.named("conflict"), o.conflict, strings.Join(conflictPolicies, ", "))}
	}
	if o.files != filesModes[0] {
		cfg.Files = clonecloud.FilesMode(o.files)
	}
	if o.conflict != conflictPolicies[0] {
		cfg.Conflicts = clonecloud.ConflictPolicy(o.conflict)
	}
	cfg.FilesDir = filesDir()
	return nil
}

// listen prepares what is said and shown during the run.
func (r *run) listen() {
	stdout, stderr := r.cmd.OutOrStdout(), r.cmd.ErrOrStderr()
	if !r.o.quiet {
		r.screen, stdout, stderr = openScreen(stdout, stderr)
		r.atEnd(r.screen.close)
	}
	r.stderr = stderr
	r.cfg.Stdout, r.cfg.Stderr = stdout, stderr
	var saying sync.Mutex // several goroutines have something to say
	r.cfg.Log = func(format string, args ...any) {
		if !r.o.quiet {
			saying.Lock()
			defer saying.Unlock()
			fmt.Fprintf(stderr, "clonecloud: "+format+"\n", args...)
		}
	}
	var sinks []func(clonecloud.Event)
	if r.o.verbose {
		for _, n := range r.o.notes {
			r.cfg.Log("%s", n)
		}
		n := &narrator{say: r.cfg.Log}
		sinks = append(sinks, n.event)
		r.atEnd(n.close)
	}
	if r.o.summary {
		r.tally = &tally{}
		sinks = append(sinks, r.tally.event)
	}
	if r.screen != nil {
		sinks = append(sinks, r.screen.event)
	}
	r.cfg.Events = clonecloud.JoinEvents(sinks...)
}

// openCloud finds the cloud that the run may use.
func (r *run) openCloud() (err error) {
	o := r.o
	var nodeLog func(string, ...any)
	if o.verbose {
		nodeLog = r.cfg.Log
	}
	switch {
	case o.cloneEngine != "" && o.cloud != "local":
		return usageError{r.cmd, "--clone-engine is for --cloud local: a node elsewhere has chosen its own"}
	case o.cloud == "":
		return nil
	case o.cloud == "local":
		r.cfg.Cloud = clonecloud.NewLocalCloud(clonecloud.LocalCloudConfig{
			Engine: clonecloud.EngineKind(o.cloneEngine), CacheDir: r.cfg.CacheDir, Worker: workerCommand(), Log: nodeLog,
			MemoryDir: knownDir(),
		})
	default:
		if r.cfg.Cloud, err = openCloud(r.cmd, o.named("cloud"), o.cloud); err != nil {
			return err
		}
	}
	r.atEnd(func() { r.cfg.Cloud.Close() })
	return nil
}

// tell says how the run went.
func (r *run) tell(rep *clonecloud.Report) {
	done, back := rep.Offloads()
	if r.o.verbose {
		r.cfg.Log("%d offloads, %d fallbacks, %.0f %% of the guest's time on the clone", done, back, 100*rep.Share)
	}
	forced := r.cfg.Offload != clonecloud.OffloadAuto && r.cfg.Offload != clonecloud.OffloadNever
	if rep.Stay != "" && (r.o.verbose || forced) {
		r.cfg.Log("the module stays here: %s", rep.Stay)
	}
	if r.tally != nil {
		// What cannot be written to stderr can be said nowhere.
		_ = writeSummary(r.stderr, rep, r.tally)
	}
}
