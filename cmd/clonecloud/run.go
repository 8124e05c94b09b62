package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/clonecloud/clonecloud"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// runOptions are the flags of run.
type runOptions struct {
	cloud, offload, engine string
	cloneEngine            string
	dirs, env              []string
	invoke, argv0          string
	keepLocal              []string
	report                 string
	verbose                bool
	seed                   uint64
	virtualClock           bool
	noCache                bool
}

func (o *runOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.cloud, "cloud", "", "where clones run: `local`, a second engine within this process; nowhere if not given")
	f.StringVar(&o.offload, "offload", "auto", "when functions move: never, always, auto, or a list of functions `FUNC,...`")
	f.StringVar(&o.engine, "engine", "", "how the device runs code: `compiler or interpreter` (a compiler where there is one)")
	f.StringVar(&o.cloneEngine, "clone-engine", "", "how a local clone runs code: `compiler or interpreter`")
	f.StringArrayVar(&o.dirs, "dir", nil, "let the program use a directory, `HOST[::GUEST]`; may be repeated")
	f.StringArrayVar(&o.env, "env", nil, "set a variable for the program, `K=V`, or K to pass on one's own; may be repeated")
	f.StringVar(&o.invoke, "invoke", "", "call the exported `function` in place of the program; ARGS are its arguments")
	f.StringVar(&o.argv0, "argv0", "", "the program's `name` as it sees it (the file's)")
	f.StringSliceVar(&o.keepLocal, "keep-local", nil, "`functions` that never leave the device, nor what calls them")
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
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("run: name a module; see clonecloud run --help")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return runRun(cmd.Context(), &o, args) },
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
	return bin, err
}

func runRun(ctx context.Context, o *runOptions, args []string) error {
	bin, err := readModule(args[0])
	if err != nil {
		return err
	}
	cfg := clonecloud.Config{
		Module: bin, Args: append([]string{argv0(o, args[0])}, args[1:]...), Seed: o.seed, VirtualClock: o.virtualClock,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Engine: clonecloud.EngineKind(o.engine), KeepLocal: o.keepLocal,
		Log: func(format string, args ...any) { fmt.Fprintf(os.Stderr, "clonecloud: "+format+"\n", args...) },
	}
	if o.verbose {
		cfg.Trace = cfg.Log
	}
	if cfg.Mounts, err = mounts(o.dirs); err != nil {
		return err
	}
	if cfg.Env, err = environment(o.env); err != nil {
		return err
	}
	if o.invoke != "" {
		cfg.Invoke, cfg.Args = o.invoke, cfg.Args[:1]
		if cfg.Params, err = parameters(bin, o.invoke, args[1:]); err != nil {
			return err
		}
	}
	if !o.noCache {
		cfg.CacheDir = cacheDir()
	}
	switch o.offload {
	case "never", "always", "auto":
		cfg.Offload = clonecloud.OffloadMode(o.offload)
	default:
		cfg.Offload, cfg.Functions = clonecloud.OffloadListed, strings.Split(o.offload, ",")
	}
	switch o.cloud {
	case "":
	case "local":
		cloud := clonecloud.NewLocalCloud(clonecloud.LocalCloudConfig{
			Engine: clonecloud.EngineKind(o.cloneEngine), CacheDir: cfg.CacheDir, Log: cfg.Trace,
		})
		defer cloud.Close()
		cfg.Cloud = cloud
	default:
		return usageError{fmt.Errorf("no cloud %q: only local is there", o.cloud)}
	}
	r, results, err := clonecloud.RunResults(ctx, cfg)
	if o.invoke != "" && err == nil {
		printResults(bin, o.invoke, results)
	}
	if r != nil && o.verbose {
		done, back := r.Offloads()
		cfg.Log("%d offloads, %d fallbacks, %.0f %% of the guest's time on the clone", done, back, 100*r.Share)
		if r.Stay != "" {
			cfg.Log("the module stays here: %s", r.Stay)
		}
	}
	if r != nil && o.report != "" {
		if werr := writeReport(o.report, r); werr != nil {
			err = errors.Join(err, werr)
		}
	}
	return err
}

func argv0(o *runOptions, path string) string {
	if o.argv0 != "" {
		return o.argv0
	}
	return filepath.Base(path)
}

func mounts(dirs []string) ([]clonecloud.Mount, error) {
	var ms []clonecloud.Mount
	for _, d := range dirs {
		host, guest, ok := strings.Cut(d, "::")
		if !ok {
			guest = host
		}
		if host == "" || guest == "" {
			return nil, usageError{fmt.Errorf("--dir %q: HOST or HOST::GUEST is wanted", d)}
		}
		ms = append(ms, clonecloud.Mount{Host: host, Guest: guest})
	}
	return ms, nil
}

func environment(vars []string) ([]string, error) {
	var env []string
	for _, v := range vars {
		name, _, ok := strings.Cut(v, "=")
		if name == "" {
			return nil, usageError{fmt.Errorf("--env %q: K=V is wanted", v)}
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

func writeReport(path string, r *clonecloud.Report) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// exportType finds the type of an exported function.
func exportType(bin []byte, export string) (wasm.FuncType, error) {
	m, err := wasm.Decode(bin)
	if err != nil {
		return wasm.FuncType{}, fmt.Errorf("%w: %w", clonecloud.ErrModule, err)
	}
	for _, e := range m.Exports {
		if e.Name == export && e.Kind == wasm.ExternFunc {
			if t, ok := m.FuncType(e.Index); ok {
				return t, nil
			}
		}
	}
	return wasm.FuncType{}, fmt.Errorf("%w: the module exports no function %q", clonecloud.ErrInvoke, export)
}

// parameters reads the arguments of an export to invoke.
func parameters(bin []byte, export string, args []string) ([]uint64, error) {
	t, err := exportType(bin, export)
	if err != nil {
		return nil, err
	}
	if len(args) != len(t.Params) {
		return nil, fmt.Errorf("%w: %s takes %d arguments, %d given", clonecloud.ErrInvoke, export, len(t.Params), len(args))
	}
	var out []uint64
	for i, a := range args {
		v, err := parseValue(t.Params[i].Kind, a)
		if err != nil {
			return nil, fmt.Errorf("%w: argument %d of %s: %w", clonecloud.ErrInvoke, i+1, export, err)
		}
		out = append(out, v)
	}
	return out, nil
}

func parseValue(kind byte, s string) (uint64, error) {
	switch kind {
	case wasm.I32:
		v, err := strconv.ParseInt(s, 0, 64)
		if err == nil && (v < math.MinInt32 || v > math.MaxUint32) {
			err = fmt.Errorf("%s does not fit an i32", s)
		}
		return uint64(uint32(v)), err
	case wasm.I64:
		v, err := strconv.ParseInt(s, 0, 64)
		if err != nil {
			return strconv.ParseUint(s, 0, 64)
		}
		return uint64(v), nil
	case wasm.F32:
		v, err := strconv.ParseFloat(s, 32)
		return uint64(math.Float32bits(float32(v))), err
	case wasm.F64:
		v, err := strconv.ParseFloat(s, 64)
		return math.Float64bits(v), err
	}
	return 0, errors.New("only numbers can be given")
}

// printResults prints the results of an invoked export, one a line.
func printResults(bin []byte, export string, results []uint64) {
	t, err := exportType(bin, export)
	if err != nil {
		return
	}
	for i, v := range results {
		switch t.Results[i].Kind {
		case wasm.I32:
			fmt.Println(int32(v))
		case wasm.I64:
			fmt.Println(int64(v))
		case wasm.F32:
			fmt.Println(math.Float32frombits(uint32(v)))
		case wasm.F64:
			fmt.Println(math.Float64frombits(v))
		}
	}
}
