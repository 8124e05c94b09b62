package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/clonecloud/clonecloud"
)

// runOptions are the flags of run.
type runOptions struct {
	cloud, offload, engine string
	cloneEngine            string
	dirs, env              []string
	invoke, argv0          string
	keepLocal              []string
	report, audit          string
	maxUpload              size
	verbose                bool
	seed                   uint64
	virtualClock           bool
	noCache                bool
	wait                   time.Duration
}

func (o *runOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.cloud, "cloud", "", "`where` clones run: a cloud that was added, local for a node of its own on this machine, or an address; nowhere if not given")
	f.StringVar(&o.offload, "offload", "auto", "when functions move: never, always, auto, or a list of functions `FUNC,...`")
	f.DurationVar(&o.wait, "wait", 0, "how long the start may wait for a clone to be ready; 0: 40ms with auto, else a minute")
	f.StringVar(&o.engine, "engine", "", "the `engine` of the device: compiler or interpreter (a compiler where there is one)")
	f.StringVar(&o.cloneEngine, "clone-engine", "", "the `engine` of a local clone: compiler or interpreter")
	f.StringArrayVar(&o.dirs, "dir", nil, "let the program use a directory, `HOST[::GUEST]`; may be repeated")
	f.StringArrayVar(&o.env, "env", nil, "set a variable for the program, `K=V`, or K to pass on one's own; may be repeated")
	f.StringVar(&o.invoke, "invoke", "", "call the exported `function` in place of the program; ARGS are its arguments")
	f.StringVar(&o.argv0, "argv0", "", "the program's `name` as it sees it (the file's)")
	f.StringSliceVar(&o.keepLocal, "keep-local", nil, "`what` never leaves the device: functions, dir:GUEST, env:NAME, stdin")
	f.Var(&o.maxUpload, "max-upload", "the most bytes that may leave the device in this run, e.g. 10MB")
	f.StringVar(&o.audit, "audit", "", "write to `file` what of the device's files and streams a clone was given, a line each")
	f.StringVar(&o.report, "report", "", "write what ran where and what it took to `file`, as JSON")
	f.BoolVar(&o.verbose, "verbose", false, "say on stderr what is decided for each call, and how it went")
	f.Uint64Var(&o.seed, "seed", 0, "make random numbers repeatable; 0 takes a new seed")
	f.BoolVar(&o.virtualClock, "virtual-clock", false, "replace time by a count, so that runs repeat exactly")
	f.BoolVar(&o.noCache, "no-cache", false, "keep no compiled code on disk")
}

func newRunCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run [flags] prog.wasm [ARGS...]",
		Short: "Run a WASI program, with functions executing on a clone where that pays",
		Long: `Run a WASI preview 1 program. What stands behind the module's name belongs to the program.

Output, exit code and files are those of a run on the device alone, whatever moves and whatever fails.`,
		Example: `  clonecloud run prog.wasm -n 10
  clonecloud run --cloud local --engine interpreter --dir . prog.wasm data.txt`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{cmd, "name a module"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return runRun(cmd, &o, args[0], args[1:]) },
	}
	cmd.Flags().SetInterspersed(false)
	o.addFlags(cmd.Flags())
	return cmd
}

// errNoModule marks a module's file that is not there.
var errNoModule = errors.New("no such module")

func readModule(path string) ([]byte, error) {
	bin, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", errNoModule, path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", clonecloud.ErrModule, err)
	}
	return bin, nil
}

func runRun(cmd *cobra.Command, o *runOptions, path string, args []string) (err error) {
	bin, err := readModule(path)
	if err != nil {
		return err
	}
	stdout, stderr := cmd.OutOrStdout(), cmd.ErrOrStderr()
	cfg := clonecloud.Config{
		Module: bin, Args: append([]string{o.argv0}, args...), Seed: o.seed, VirtualClock: o.virtualClock,
		Stdin: cmd.InOrStdin(), Stdout: stdout, Stderr: stderr,
		Engine: clonecloud.EngineKind(o.engine), CloneWait: o.wait, MaxUpload: uint64(o.maxUpload),
		Log: func(format string, args ...any) { fmt.Fprintf(stderr, "clonecloud: "+format+"\n", args...) },
	}
	if o.argv0 == "" {
		cfg.Args[0] = filepath.Base(path)
	}
	if o.verbose {
		cfg.Events = func(e clonecloud.Event) { cfg.Log("%v", e) }
	}
	if !o.noCache {
		cfg.CacheDir = cacheDir()
	}
	if cfg.Mounts, err = mounts(cmd, o.dirs); err != nil {
		return err
	}
	if cfg.Env, err = environment(cmd, o.env); err != nil {
		return err
	}
	var signature clonecloud.Signature
	if o.invoke != "" {
		cfg.Invoke, cfg.Args = o.invoke, cfg.Args[:1]
		if signature, err = clonecloud.ExportSignature(bin, o.invoke); err != nil {
			return err
		}
		if cfg.Params, err = signature.Params(args); err != nil {
			return err
		}
	}
	if cfg.Offload, cfg.Functions, err = offload(cmd, o); err != nil {
		return err
	}
	if err := keepLocal(cmd, &cfg, o.keepLocal); err != nil {
		return err
	}
	var nodeLog func(string, ...any)
	if o.verbose {
		nodeLog = cfg.Log
	}
	switch o.cloud {
	case "":
	case "local":
		cfg.Cloud = clonecloud.NewLocalCloud(clonecloud.LocalCloudConfig{
			Engine: clonecloud.EngineKind(o.cloneEngine), CacheDir: cfg.CacheDir, Worker: workerCommand(), Log: nodeLog,
			MemoryDir: knownDir(),
		})
	default:
		if o.cloneEngine != "" {
			return usageError{cmd, "--clone-engine is for --cloud local: a node elsewhere has chosen its own"}
		}
		if cfg.Cloud, err = openCloud(cmd, o.cloud); err != nil {
			return err
		}
	}
	if cfg.Cloud != nil {
		defer cfg.Cloud.Close()
	}
	audit, err := openAudit(o.audit)
	if err != nil {
		return err
	}
	defer audit.close()
	cfg.Audit = audit.line
	ctx, back := untilSignal(cmd.Context())
	cfg.Away = back
	report, err := openReport(o.report)
	if err != nil {
		return err
	}
	defer report.close()

	r, results, err := clonecloud.RunResults(ctx, cfg)
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		return cause // interrupted while it was away
	}
	if r != nil {
		if o.verbose {
			done, back := r.Offloads()
			cfg.Log("%d offloads, %d fallbacks, %.0f %% of the guest's time on the clone", done, back, 100*r.Share)
		}
		forced := cfg.Offload != clonecloud.OffloadAuto && cfg.Offload != clonecloud.OffloadNever
		if r.Stay != "" && (o.verbose || forced) {
			cfg.Log("the module stays here: %s", r.Stay)
		}
		err = errors.Join(err, report.write(r))
	}
	if err != nil {
		return err
	}
	for _, s := range signature.Results(results) {
		if _, err := fmt.Fprintln(stdout, s); err != nil {
			return err
		}
	}
	return nil
}

// keepLocal reads --keep-local.
func keepLocal(cmd *cobra.Command, cfg *clonecloud.Config, list []string) error {
	for _, k := range list {
		kind, name, ok := strings.Cut(k, ":")
		switch {
		case k == "stdin":
			cfg.KeepStdin = true
		case ok && (kind == "dir" || kind == "env") && name == "":
			return usageError{cmd, fmt.Sprintf("--keep-local %q names nothing", k)}
		case ok && kind == "dir":
			cfg.KeepDirs = append(cfg.KeepDirs, name)
		case ok && kind == "env":
			cfg.KeepEnv = append(cfg.KeepEnv, name)
		default:
			cfg.KeepLocal = append(cfg.KeepLocal, k)
		}
	}
	return nil
}

// auditFile is where lines of the audit go; each is written at once.
type auditFile struct{ f *os.File }

func openAudit(path string) (auditFile, error) {
	if path == "" {
		return auditFile{}, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return auditFile{}, fmt.Errorf("write audit: %w", err)
	}
	return auditFile{f}, nil
}

func (a auditFile) line(format string, args ...any) {
	if a.f != nil {
		fmt.Fprintf(a.f, "%s "+format+"\n", append([]any{time.Now().UTC().Format("2006-01-02T15:04:05.000Z")}, args...)...)
	}
}

func (a auditFile) close() {
	if a.f != nil {
		a.f.Close() // each line was written by itself
	}
}

// offload reads --offload: a mode, or functions.
func offload(cmd *cobra.Command, o *runOptions) (clonecloud.OffloadMode, []string, error) {
	switch mode := clonecloud.OffloadMode(o.offload); mode {
	case clonecloud.OffloadNever, clonecloud.OffloadAuto:
		return mode, nil, nil
	case clonecloud.OffloadAlways:
		if o.cloud == "" {
			return "", nil, usageError{cmd, "--offload always needs --cloud"}
		}
		return mode, nil, nil
	}
	names := strings.Split(o.offload, ",")
	for _, n := range names {
		switch n {
		case "":
			return "", nil, usageError{cmd, fmt.Sprintf("--offload %q names no function", o.offload)}
		case "never", "always", "auto":
			return "", nil, usageError{cmd, fmt.Sprintf("--offload %q: %s stands alone", o.offload, n)}
		}
	}
	if o.cloud == "" {
		return "", nil, usageError{cmd, "--offload with functions needs --cloud"}
	}
	return clonecloud.OffloadListed, names, nil
}

func mounts(cmd *cobra.Command, dirs []string) ([]clonecloud.Mount, error) {
	var ms []clonecloud.Mount
	for _, d := range dirs {
		host, guest, ok := strings.Cut(d, "::")
		if !ok {
			guest = host
		}
		if host == "" || guest == "" {
			return nil, usageError{cmd, fmt.Sprintf("--dir %q: HOST or HOST::GUEST is wanted", d)}
		}
		ms = append(ms, clonecloud.Mount{Host: host, Guest: guest})
	}
	return ms, nil
}

func environment(cmd *cobra.Command, vars []string) ([]string, error) {
	var env []string
	for _, v := range vars {
		name, _, ok := strings.Cut(v, "=")
		if name == "" {
			return nil, usageError{cmd, fmt.Sprintf("--env %q: K=V or K is wanted", v)}
		}
		if !ok {
			value, set := os.LookupEnv(name)
			if !set {
				continue
			}
			v = name + "=" + value
		}
		env = append(env, v)
	}
	return env, nil
}

// cacheDir is where compiled code stays between runs, "" if there is no such place.
func cacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "clonecloud", "code")
}

// reportFile is where the report goes. It is opened before the run: a run may take long, and a wrong name should not
// cost its report.
type reportFile struct{ f *os.File }

func openReport(path string) (reportFile, error) {
	if path == "" {
		return reportFile{}, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return reportFile{}, fmt.Errorf("write report: %w", err)
	}
	return reportFile{f}, nil
}

func (r reportFile) write(v *clonecloud.Report) error {
	if r.f == nil {
		return nil
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		_, err = r.f.Write(append(b, '\n'))
	}
	if err != nil {
		return reportError{err}
	}
	return nil
}

func (r reportFile) close() {
	if r.f != nil {
		r.f.Close() // an error of a write has been seen by then
	}
}

// reportError is a report that could not be written, after a run that may have gone well.
type reportError struct{ err error }

func (e reportError) Error() string { return "write report: " + e.err.Error() }
func (e reportError) Unwrap() error { return e.err }
