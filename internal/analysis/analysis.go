// Package analysis finds out which functions of a module may run elsewhere, and which of those are worth it.
//
// What may move is decided on a call graph that errs on the safe side: an indirect call reaches every
// function of its type that the table may hold, and what other modules may supply counts as unknown. What
// is worth it is a guess from loops and calls; it only chooses what is watched at run time.
package analysis

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// Options say what may move and how candidates are chosen. The zero value is the careful default.
type Options struct {
	// Pinned gives the reason for which an imported function must run on the device, beside the code that
	// calls it, or "" if a clone may cause the call. nil pins all but WASI. An import that is not pinned is
	// taken to throw no exception, to call nothing back and to leave guest memory alone except as declared.
	Pinned func(module, name string) string
	// KeepLocal names functions that never leave the device, nor any function that may call them: names as in
	// Report, names of exports, or indices as "#12"; of imports, "module.name".
	KeepLocal []string
	// Alone says that no other module is linked to this one's exports.
	Alone bool

	// All makes every function a candidate that may be one, of more than MaxCandidates (if that is not 0) the heaviest.
	All bool
	// Only names the candidates in place of choosing them; those that may not move are left out.
	Only []string
	// Exclude names functions that are no candidates.
	Exclude []string
	// MaxCandidates bounds those that are chosen; 0: 256, or none with All.
	MaxCandidates int
	// MinWeight is the weight (about: instructions for a call) below which a function is too fine; 0: 500.
	MinWeight uint64
}

// The defaults of Options.
const (
	DefaultMaxCandidates = 256
	DefaultMinWeight     = 500
)

// ErrNoFunction marks a name in Options that no function of the module has.
var ErrNoFunction = errors.New("no function is named")

// Report is what Analyze found.
type Report struct {
	// Stay is the reason for which the whole module stays on the device, or "".
	Stay string
	// Go says that the Go compiler made the module: a function that returns 1 has unwound, not finished.
	Go bool
	// Funcs is the function index space, imports first.
	Funcs []Func
	// Candidates lists the chosen functions, the most promising first.
	Candidates []uint32

	numImports int
}

// Func is what is known of one function.
type Func struct {
	Index    uint32
	Name     string // from the name section, else of an export, else ""; of an import "module.name"
	Type     uint32
	Imported bool
	Exported bool
	// SCC numbers the strongly connected components of the direct calls, those aside that only lead to a trap.
	// Functions that call each other in a cycle share a number; Recursive says that there is such a cycle.
	SCC       int
	Recursive bool
	Loops     Loops
	// Weight guesses how many instructions a call executes in the function itself, TransWeight with all it calls.
	Weight, TransWeight uint64
	// Imports are the imported functions that a call may reach, through any number of calls.
	Imports ImportSet
	// Calls lists the functions called directly, each once. Indirect says that there are other calls.
	Calls    []uint32
	Indirect bool
	// May says that a call of the function may run elsewhere; otherwise Why says why not.
	May       bool
	Why       string
	Candidate bool
}

// Label names the function for people: its name, or its index.
func (f *Func) Label() string {
	if f.Name == "" {
		return fmt.Sprintf("func[%d]", f.Index)
	}
	return f.Name
}

// Analyze analyses a module. The error says where the module is malformed, or which function named in opt
// it does not have. It does not change m, which must not change while the report is in use.
func Analyze(m *wasm.Module, opt Options) (*Report, error) {
	p, err := newProgram(m, &opt)
	if err != nil {
		return nil, fmt.Errorf("analyse module: %w", err)
	}
	if err := p.scan(); err != nil {
		return nil, fmt.Errorf("analyse module: %w", err)
	}
	p.link()
	r := &Report{Stay: p.stay(), Go: p.goMade, Funcs: make([]Func, p.numFuncs), numImports: p.numImports}
	for i := range r.Funcs {
		f := &r.Funcs[i]
		b := &p.bodies[i]
		f.Index, f.Name, f.Type = uint32(i), p.names[i], p.types[i]
		f.Imported, f.Exported = i < p.numImports, p.exported[i]
		f.Loops, f.Weight, f.Indirect = b.loops, roundWeight(b.weight), b.indirect
	}
	if err := p.judge(r); err != nil {
		return nil, fmt.Errorf("analyse module: %w", err)
	}
	w := p.weigh(r)
	if err := p.choose(r, w); err != nil {
		return nil, fmt.Errorf("analyse module: %w", err)
	}
	return r, nil
}

// find gives the functions that a name of Options means.
func (p *program) find(name string) ([]uint32, error) {
	var found []uint32
	if s, ok := strings.CutPrefix(name, "#"); ok {
		if i, err := strconv.ParseUint(s, 10, 32); err == nil && i < uint64(p.numFuncs) {
			return []uint32{uint32(i)}, nil
		}
	}
	mangled := name
	if p.goMade {
		mangled = goMangle(name)
	}
	for f, n := range p.names {
		if n != "" && (n == name || f >= p.numImports && n == mangled) {
			found = append(found, uint32(f))
		}
	}
	if e := p.m.Export(name); e != nil && e.Kind == wasm.ExternFunc {
		found = append(found, e.Index)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w %q", ErrNoFunction, name)
	}
	return found, nil
}

// findAll gives the set of functions that names mean.
func (p *program) findAll(names []string) (map[uint32]bool, error) {
	set := map[uint32]bool{}
	for _, n := range names {
		fs, err := p.find(n)
		if err != nil {
			return nil, err
		}
		for _, f := range fs {
			set[f] = true
		}
	}
	return set, nil
}
