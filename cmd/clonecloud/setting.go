package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/clonecloud/clonecloud"
)

// exit ends the process.
var exit = os.Exit

// keepLocal reads --keep-local, and what the configuration file keeps in each run.
func keepLocal(cmd *cobra.Command, cfg *clonecloud.Config, o *runOptions) error {
	for _, k := range o.keepLocal {
		kind, name, ok := strings.Cut(k, ":")
		if k == "" || ok && (kind == "dir" || kind == "env") && name == "" {
			return usageError{cmd, fmt.Sprintf("--keep-local %q names nothing: functions, dir:GUEST, env:NAME and stdin can be kept", k)}
		}
		if !keep(cfg, k) {
			cfg.KeepLocal = append(cfg.KeepLocal, k)
		}
	}
	for _, d := range cfg.KeepDirs {
		if !slices.ContainsFunc(cfg.Mounts, func(m clonecloud.Mount) bool { return m.Guest == d }) {
			return usageError{cmd, fmt.Sprintf("--keep-local dir:%s: the program has no directory of this name; --dir HOST::%s would give it one", d, d)}
		}
	}
	for _, k := range o.keptAlways {
		if dir, ok := strings.CutPrefix(k, "dir:"); ok &&
			!slices.ContainsFunc(cfg.Mounts, func(m clonecloud.Mount) bool { return m.Guest == dir }) {
			continue // this program does not have it
		}
		keep(cfg, k)
	}
	return nil
}

// keep keeps standard input, a directory or a variable; false: k is a function.
func keep(cfg *clonecloud.Config, k string) bool {
	kind, name, _ := strings.Cut(k, ":")
	switch {
	case k == "stdin":
		cfg.KeepStdin = true
	case kind == "dir" && name != "":
		cfg.KeepDirs = append(cfg.KeepDirs, name)
	case kind == "env" && name != "":
		cfg.KeepEnv = append(cfg.KeepEnv, name)
	default:
		return false
	}
	return true
}

// checkEngines refuses engines that there are not.
func checkEngines(cmd *cobra.Command, o *runOptions) error {
	for _, f := range []struct{ flag, value string }{{"engine", o.engine}, {"clone-engine", o.cloneEngine}} {
		if err := checkEngine(cmd, o.named(f.flag), f.value); err != nil {
			return err
		}
	}
	if o.wait < 0 {
		return usageError{cmd, fmt.Sprintf("%s %v: a time of 0 or more is wanted", o.named("wait"), o.wait)}
	}
	return nil
}

// checkEngine refuses an engine that there is not, or not in this binary.
func checkEngine(cmd *cobra.Command, flag, value string) error {
	switch {
	case value == "":
	case !slices.Contains(engines, value):
		last := len(engines) - 1
		return usageError{cmd, fmt.Sprintf("%s %q: there are %s and %s", flag, value, strings.Join(engines[:last], ", "), engines[last])}
	case value == wasmtimeEngine && !hasWasmtime():
		return usageError{cmd, flag + " wasmtime: this binary was built without wasmtime; build with -tags wasmtime"}
	}
	return nil
}

// offload reads --offload: a mode, or functions.
func offload(cmd *cobra.Command, o *runOptions) (clonecloud.OffloadMode, []string, error) {
	const wantsCloud = "%s %s needs a cloud: --cloud local, or the name of one"
	switch mode := clonecloud.OffloadMode(o.offload); mode {
	case clonecloud.OffloadNever, clonecloud.OffloadAuto:
		return mode, nil, nil
	case clonecloud.OffloadAlways:
		if o.cloud == "" {
			return "", nil, usageError{cmd, fmt.Sprintf(wantsCloud, o.named("offload"), o.offload)}
		}
		return mode, nil, nil
	}
	names := strings.Split(o.offload, ",")
	for _, n := range names {
		switch n {
		case "":
			return "", nil, usageError{cmd, fmt.Sprintf("%s %q names no function: never, always, auto or functions are wanted", o.named("offload"), o.offload)}
		case "never", "always", "auto":
			return "", nil, usageError{cmd, fmt.Sprintf("%s %q: %s stands alone", o.named("offload"), o.offload, n)}
		}
	}
	if o.cloud == "" {
		return "", nil, usageError{cmd, fmt.Sprintf(wantsCloud, o.named("offload"), o.offload)}
	}
	return clonecloud.OffloadListed, names, nil
}

// mounts reads --dir and --mount.
func mounts(cmd *cobra.Command, o *runOptions) ([]clonecloud.Mount, error) {
	var ms []clonecloud.Mount
	add := func(flag, text string, m clonecloud.Mount) error {
		if m.Guest == "" {
			m.Guest = m.Host
		}
		switch info, err := os.Stat(m.Host); {
		case err != nil:
			return usageError{cmd, fmt.Sprintf("%s %s: %v", flag, text, err)}
		case !info.IsDir():
			return usageError{cmd, fmt.Sprintf("%s %s: %s is not a directory; one is wanted", flag, text, m.Host)}
		case slices.ContainsFunc(ms, func(o clonecloud.Mount) bool { return o.Guest == m.Guest }):
			return usageError{cmd, fmt.Sprintf("%s %s: the program has a directory %q already; give this one another name by HOST::GUEST", flag, text, m.Guest)}
		}
		ms = append(ms, m)
		return nil
	}
	for _, d := range o.dirs {
		host, guest, named := strings.Cut(d, "::")
		if host == "" || named && guest == "" {
			return nil, usageError{cmd, fmt.Sprintf("--dir %q: HOST or HOST::GUEST is wanted", d)}
		}
		if err := add("--dir", d, clonecloud.Mount{Host: host, Guest: guest}); err != nil {
			return nil, err
		}
	}
	for _, d := range o.mounts {
		path, ro := strings.CutSuffix(d, ":ro")
		volume := filepath.VolumeName(path) // C: has a colon too
		host, guest, named := strings.Cut(path[len(volume):], ":")
		if host = volume + host; host == "" || named && guest == "" || strings.Contains(guest, ":") {
			return nil, usageError{cmd, fmt.Sprintf("--mount %q: HOST, HOST:GUEST or either with :ro is wanted", d)}
		}
		if err := add("--mount", d, clonecloud.Mount{Host: host, Guest: guest, ReadOnly: ro}); err != nil {
			return nil, err
		}
	}
	return ms, nil
}

// environment is that of the program: the caller's if it is inherited, then --env, whose last value of a name counts.
func environment(cmd *cobra.Command, o *runOptions) ([]string, error) {
	var vars []string
	if o.inheritEnv {
		for _, v := range os.Environ() {
			if !strings.HasPrefix(v, "=") { // Windows keeps folders of drives there
				vars = append(vars, v)
			}
		}
	}
	for _, v := range o.env {
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
		vars = slices.DeleteFunc(vars, func(o string) bool { return strings.HasPrefix(o, name+"=") })
		vars = append(vars, v)
	}
	return vars, nil
}

// cacheDir is where compiled code stays between runs, "" if there is no such place.
func cacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "clonecloud", "code")
}

// openAudit opens the file for lines of the audit; each is written at once.
func (r *run) openAudit() error {
	path := r.o.audit
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("%s: write audit: %w", r.o.named("audit"), err)
	}
	r.atEnd(func() { f.Close() }) // each line was written by itself
	r.cfg.Audit = func(format string, args ...any) {
		fmt.Fprintf(f, "%s "+format+"\n", append([]any{time.Now().UTC().Format("2006-01-02T15:04:05.000Z")}, args...)...)
	}
	return nil
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
		return reportFile{}, fmt.Errorf("--report: %w", err)
	}
	return reportFile{f}, nil
}

func (r reportFile) write(v *clonecloud.Report) error {
	if r.f == nil {
		return nil
	}
	if err := writeJSON(r.f, v); err != nil {
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
