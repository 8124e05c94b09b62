package analysis

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// Data says which of a program's data would leave the device if its candidates moved. What a clone may ask the device for
// follows from the imports that candidates may reach; it is too much rather than too little.
type Data struct {
	ModuleBytes uint64      `json:"module_bytes"`
	Memory      *MemoryData `json:"memory,omitempty"` // nil: the module has none
	// Kinds are the kinds of data, those that go with each offload first.
	Kinds []DataKind `json:"kinds"`
}

// MemoryData is the size of the memory, as the module says.
type MemoryData struct {
	MinBytes uint64 `json:"min_bytes"`           // at the start
	MaxBytes uint64 `json:"max_bytes,omitempty"` // 0: as large as a memory can be
	// SegmentBytes are the data that the module itself brings, which both sides have.
	SegmentBytes uint64 `json:"segment_bytes"`
}

// DataKind is one kind of data.
type DataKind struct {
	Kind string `json:"kind"`
	// Always says that it goes with each offload; else a clone has to ask for it.
	Always bool `json:"always"`
	// Candidates counts those that may ask for it, and Imports are what they would ask by, as "module.name".
	Candidates int      `json:"candidates,omitempty"`
	Imports    []string `json:"imports,omitempty"`
	// KeepLocal is what keeps it on the device, "" if nothing of its own does.
	KeepLocal string `json:"keep_local,omitempty"`
}

// Kinds of data in DataKind.
const (
	DataMemory      = "memory"
	DataArguments   = "arguments"
	DataEnvironment = "environment"
	DataFiles       = "files"
	DataNames       = "names"
	DataStdin       = "stdin"
	DataHost        = "host"
)

// asked lists the kinds that a clone asks for, and by which functions of WASI.
var asked = []struct{ kind, keep, imports string }{
	{DataFiles, "dir:GUEST", "path_open fd_read fd_pread"},
	{DataNames, "dir:GUEST", "fd_readdir path_filestat_get path_readlink fd_filestat_get"},
	{DataStdin, "stdin", "fd_read fd_pread"},
}

// Data says which data of m, of which r is the report, may leave the device.
func (r *Report) Data(m *wasm.Module) *Data {
	d := &Data{Kinds: []DataKind{}}
	if mems := m.MemoryTypes(); len(mems) > 0 {
		const page = 64 << 10
		d.Memory = &MemoryData{MinBytes: mems[0].Min * page}
		if mems[0].HasMax {
			d.Memory.MaxBytes = mems[0].Max * page
		}
		for _, s := range m.Data {
			d.Memory.SegmentBytes += uint64(len(s.Init))
		}
	}
	if len(r.Candidates) == 0 {
		return d
	}
	if d.Memory != nil {
		d.Kinds = append(d.Kinds, DataKind{Kind: DataMemory, Always: true})
	}
	d.Kinds = append(d.Kinds, DataKind{Kind: DataArguments, Always: true},
		DataKind{Kind: DataEnvironment, Always: true, KeepLocal: "env:NAME"})
	for _, a := range asked {
		names := strings.Fields(a.imports)
		d.ask(r, DataKind{Kind: a.kind, KeepLocal: a.keep}, func(module, name string) bool {
			return (module == wasiPreview1 || module == wasiUnstable) && slices.Contains(names, name)
		})
	}
	d.ask(r, DataKind{Kind: DataHost}, func(module, _ string) bool { return module != wasiPreview1 && module != wasiUnstable })
	return d
}

// ask adds a kind, if any candidate may ask for it.
func (d *Data) ask(r *Report, k DataKind, by func(module, name string) bool) {
	reached := map[string]bool{}
	for _, c := range r.Candidates {
		any := false
		for i := range r.Funcs[c].Imports.All() {
			full := r.Funcs[i].Name
			module, name, _ := strings.Cut(full, ".")
			if by(module, name) {
				any, reached[full] = true, true
			}
		}
		if any {
			k.Candidates++
		}
	}
	if k.Candidates == 0 {
		return
	}
	for name := range reached {
		k.Imports = append(k.Imports, name)
	}
	slices.Sort(k.Imports)
	d.Kinds = append(d.Kinds, k)
}

// says is each kind in words.
var says = map[string]string{
	DataMemory:      "the pages of its memory that it has written since the last time, with all that it has read or computed",
	DataArguments:   "its arguments, and the names of its directories",
	DataEnvironment: "its variables, as run --env gives them",
	DataFiles:       "contents of files in its directories",
	DataNames:       "names, sizes and times of files in its directories",
	DataStdin:       "standard input",
	DataHost:        "what functions of the embedding application return",
}

// WriteText writes the data for people.
func (d *Data) WriteText(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, "\nData that would leave the device:")
	line := func(when, format string, args ...any) {
		fmt.Fprintf(b, "%12s  "+format+"\n", append([]any{when}, args...)...)
	}
	if len(d.Kinds) == 0 {
		line("none", "no function moves")
		return b.Flush()
	}
	line("once", "the module, %s", bytesText(d.ModuleBytes))
	for _, k := range d.Kinds {
		text := says[k.Kind]
		if k.Kind == DataMemory {
			most := "no maximum"
			if d.Memory.MaxBytes > 0 {
				most = "at most " + bytesText(d.Memory.MaxBytes)
			}
			text += fmt.Sprintf(" (%s at the start, %s)", bytesText(d.Memory.MinBytes), most)
		}
		when := "each time"
		if !k.Always {
			when = "if asked for"
			text += fmt.Sprintf(", by %d of the candidates: %s", k.Candidates, importNames(k.Imports))
		}
		if k.KeepLocal != "" {
			text += fmt.Sprintf(" [--keep-local %s]", k.KeepLocal)
		}
		line(when, "%s", text)
	}
	fmt.Fprintln(b, "\nWhat stands in brackets keeps the data on the device; --keep-local FUNC,... keeps a function, with all that may call it.")
	return b.Flush()
}

// bytesText is a number of bytes for people.
func bytesText(n uint64) string { return short(n) + "B" }

// importNames lists imports for people, without the module that most programs import all from.
func importNames(names []string) string {
	const most = 8
	var out []string
	for i, n := range names {
		if i == most {
			out = append(out, fmt.Sprintf("and %d more", len(names)-most))
			break
		}
		out = append(out, printable(strings.TrimPrefix(n, wasiPreview1+".")))
	}
	return strings.Join(out, " ")
}
