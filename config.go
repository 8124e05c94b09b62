package clonecloud

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/clonecloud/clonecloud/internal/engine/engines"
)

// EngineKind says how WebAssembly is executed.
type EngineKind string

// The kinds of engines. A device is pure Go, so that EngineAuto is never wasmtime there; it can be asked for. A node with
// EngineAuto has all that the binary has, measures them, and runs each module on the one that is fastest for it.
const (
	EngineAuto        EngineKind = ""            // a compiler where the platform has one; of a node: see above
	EngineCompiler    EngineKind = "compiler"    // machine code
	EngineInterpreter EngineKind = "interpreter" // everywhere, 50 to 180 times slower
	// EngineWasmtime is machine code of another compiler, which is written in Rust: up to four times as fast. A binary has it
	// that was built on Linux, for amd64 or arm64, with cgo and -tags wasmtime.
	EngineWasmtime EngineKind = "wasmtime"
)

// OffloadMode says when functions move.
type OffloadMode string

// The modes.
const (
	OffloadAuto   OffloadMode = "auto"   // where it is measured or bounded to pay
	OffloadNever  OffloadMode = "never"  // never
	OffloadAlways OffloadMode = "always" // whenever possible: for tests
	OffloadListed OffloadMode = "listed" // the functions of Config.Functions, always
)

// Mount is a directory of the host that the guest may use.
type Mount struct {
	Host     string
	Guest    string // the name the guest sees; "" means Host
	ReadOnly bool
}

// Config says what to run. Only Module is needed; for each other field the zero value is a choice, as it says there.
type Config struct {
	Module []byte // in the binary format
	// Args are the program's arguments, its name first; default: just "main.wasm". Env has entries "NAME=VALUE".
	Args, Env []string
	Mounts    []Mount
	// Stdin is empty, Stdout and Stderr are discarded when nil.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Hosts are functions of the application that the guest may import besides WASI, by module and name.
	Hosts map[string]HostModule
	// Invoke names an export to call in place of _start, with Params as its arguments, in raw 64-bit slots:
	// ExportSignature helps with them.
	Invoke string
	Params []uint64

	Engine EngineKind // of the device; default: compiler where there is one
	// CacheDir keeps compiled code between runs; "" keeps none.
	CacheDir string
	// Cloud has the clones; nil: everything runs here, and Offload may not ask for more.
	Cloud   Cloud
	Offload OffloadMode // default: OffloadAuto
	// CloneWait is how long the first function that could move waits for its clone, which takes time to be sent the
	// module and to compile it; default: 45 ms for OffloadAuto, so that short programs start as fast as they do alone,
	// a minute for the other modes.
	CloneWait time.Duration
	// Functions are those that OffloadListed sends, by name or as "#12". Those that may not move stay.
	Functions []string
	// KeepLocal names functions that never leave the device, nor what may call them.
	KeepLocal []string
	// KeepStdin, KeepDirs and KeepEnv name what of the program's input never leaves the device: directories by the names
	// that the guest sees. From the first reading of any of it the process stays, since what was read may be
	// anywhere in its memory. Functions that may read variables stay if KeepEnv names one.
	KeepStdin bool
	KeepDirs  []string
	KeepEnv   []string
	// MaxUpload bounds the bytes that leave the device in this run, or of each process, the module included; 0: no bound.
	MaxUpload uint64
	// Files says how clones get at the directories of Mounts; default: FilesReplicate. FilesDir keeps what is known of them and
	// plans of changes that a crash has cut short, which the next run with the same directories finishes; default: a folder
	// of the user's cache. Conflicts says what becomes of files that others changed meanwhile.
	Files     FilesMode
	FilesDir  string
	Conflicts ConflictPolicy
	// Seed makes random numbers of guest and sampling repeatable; 0: from the system.
	Seed uint64
	// VirtualClock replaces time by a count, so that runs with equal input are equal.
	VirtualClock bool
	// Interruptible lets a cancelled context end code that calls nothing, at the cost of a few percent.
	Interruptible bool

	// Log is told what a person should know, in one line each; Audit what of the device's files and streams was given to
	// a clone. Default: nothing.
	Log, Audit func(format string, args ...any)
	// Events is told of each decision and what came of it, how far a clone is from being ready, and of all that goes on inside
	// an offload, frames included (Event.Fine). Several goroutines may call it at once, that of the program among them, which
	// waits meanwhile; some hold locks of the run: it must not use the run or the process. JoinEvents has several listeners.
	Events func(Event)
	// Away is called when the program has been on a clone for a while, and what it returns when it is back: only then is
	// the calling goroutine sure to notice the end of its context soon. Optional.
	Away func() (back func())
}

// validate lists every fault of the configuration that can be seen without running anything.
func (c *Config) validate() error {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if c.Module == nil {
		fault("no module")
	}
	if err := c.Engine.check(); err != nil {
		fault("%v", err)
	}
	switch c.Offload {
	case OffloadAuto, "", OffloadNever:
	case OffloadAlways, OffloadListed:
		if c.Cloud == nil {
			fault("offload mode %q needs a cloud", c.Offload)
		}
	default:
		fault("no offload mode %q: there are auto, never, always and listed", c.Offload)
	}
	if (c.Offload == OffloadListed) != (len(c.Functions) > 0) {
		fault("functions are listed if, and only if, the offload mode is listed")
	}
	if c.Files != FilesReplicate && c.Files != FilesHome {
		fault("no files mode %q: there is home", c.Files)
	}
	if _, ok := conflictPolicies[c.Conflicts]; !ok {
		fault("no conflict policy %q: there are fail, clone-wins and device-wins", c.Conflicts)
	}
	if c.CloneWait < 0 {
		fault("a clone cannot be waited for during %v", c.CloneWait)
	}
	if c.Invoke == "" && len(c.Params) > 0 {
		fault("parameters without an export to invoke")
	}
	for _, a := range c.Args {
		if strings.ContainsRune(a, 0) {
			fault("argument %q has a zero byte", a)
		}
	}
	for _, e := range c.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" || strings.ContainsRune(e, 0) {
			fault("variable %q is not NAME=VALUE", e)
		}
	}
	for _, m := range c.Mounts {
		if m.Host == "" {
			fault("a directory to mount has no name")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Hosts)) {
		c.Hosts[name].faults(name, fault)
	}
	if faults == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrConfig, errors.New(strings.Join(faults, "; ")))
}

// check tells whether this binary has an engine of the kind.
func (k EngineKind) check() error {
	switch {
	case !engines.Known(string(k)):
		return fmt.Errorf("no engine %q: there are compiler, interpreter and wasmtime", string(k))
	case k == EngineWasmtime && !slices.Contains(engines.Kinds(), engines.Wasmtime):
		return errNoWasmtime
	}
	return nil
}

var errNoWasmtime = errors.New("this binary was built without wasmtime; build with -tags wasmtime")
