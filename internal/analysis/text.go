package analysis

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// TextOptions say how much WriteText writes.
type TextOptions struct {
	// Top bounds the candidates that are listed; 0: 20; negative: all.
	Top int
	// Functions lists every function.
	Functions bool
}

// Summary is a report in few words, ready for JSON.
type Summary struct {
	Stay       string     `json:"stay,omitempty"` // why the whole module stays on the device
	Go         bool       `json:"go,omitempty"`   // made by the Go compiler
	Functions  int        `json:"functions"`      // of the module itself
	Imported   int        `json:"imported"`
	May        int        `json:"may"` // functions that may move
	WhyNot     []WhyNot   `json:"why_not"`
	Candidates []FuncInfo `json:"candidates"`
	// Funcs is every function of the module itself; only if asked for.
	Funcs []FuncInfo `json:"funcs,omitempty"`
}

// WhyNot counts the functions that stay for the same reason.
type WhyNot struct {
	Reason string `json:"reason"`
	Count  int    `json:"count"`
	// Example is the label of one of them.
	Example string `json:"example"`
}

// FuncInfo describes one function.
type FuncInfo struct {
	Index       uint32   `json:"index"`
	Name        string   `json:"name,omitempty"`
	May         bool     `json:"may"`
	Why         string   `json:"why,omitempty"`
	Candidate   bool     `json:"candidate,omitempty"`
	Loops       Loops    `json:"loops"`
	Recursive   bool     `json:"recursive,omitempty"`
	Weight      uint64   `json:"weight"`
	TransWeight uint64   `json:"trans_weight"`
	Imports     []string `json:"imports,omitempty"` // what it may reach
}

// Summary sums the report up; all adds every function.
func (r *Report) Summary(all bool) *Summary {
	s := &Summary{
		Stay: r.Stay, Go: r.Go, Imported: r.numImports, Functions: len(r.Funcs) - r.numImports,
		WhyNot: []WhyNot{}, Candidates: []FuncInfo{},
	}
	at := map[string]int{}
	for i := range r.Funcs[r.numImports:] {
		f := &r.Funcs[r.numImports+i]
		if all {
			s.Funcs = append(s.Funcs, r.info(f))
		}
		if f.May {
			s.May++
			continue
		}
		k, ok := at[f.Why]
		if !ok {
			k = len(s.WhyNot)
			at[f.Why] = k
			s.WhyNot = append(s.WhyNot, WhyNot{Reason: f.Why, Example: f.Label()})
		}
		s.WhyNot[k].Count++
	}
	slices.SortStableFunc(s.WhyNot, func(a, b WhyNot) int { return cmp.Compare(b.Count, a.Count) })
	for _, i := range r.Candidates {
		s.Candidates = append(s.Candidates, r.info(&r.Funcs[i]))
	}
	return s
}

func (r *Report) info(f *Func) FuncInfo {
	info := FuncInfo{
		Index: f.Index, Name: f.Name, May: f.May, Why: f.Why, Candidate: f.Candidate,
		Loops: f.Loops, Recursive: f.Recursive, Weight: f.Weight, TransWeight: f.TransWeight,
	}
	for i := range f.Imports.All() {
		info.Imports = append(info.Imports, r.Funcs[i].Name)
	}
	return info
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer, opt TextOptions) error {
	s := r.Summary(false)
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "functions   %d, and %d imported\n", s.Functions, s.Imported)
	fmt.Fprintf(b, "may move    %d\n", s.May)
	fmt.Fprintf(b, "candidates  %d\n", len(s.Candidates))
	if s.Go {
		fmt.Fprintln(b, "made by     the Go compiler")
	}
	if s.Stay != "" {
		fmt.Fprintf(b, "\nThe module stays on the device: %s.\n", printable(s.Stay))
	} else if len(s.WhyNot) > 0 {
		fmt.Fprintln(b, "\nStay on the device:")
		for _, n := range s.WhyNot {
			fmt.Fprintf(b, "%8d  %s (%s)\n", n.Count, printable(n.Reason), printable(n.Example))
		}
	}
	top := cmp.Or(opt.Top, 20)
	if top < 0 || top > len(r.Candidates) {
		top = len(r.Candidates)
	}
	if top > 0 {
		fmt.Fprintln(b, "\nCandidates:")
		r.writeFuncs(b, r.Candidates[:top])
		if rest := len(r.Candidates) - top; rest > 0 {
			fmt.Fprintf(b, "%8s  %d more\n", "", rest)
		}
	}
	if opt.Functions {
		fmt.Fprintln(b, "\nFunctions:")
		all := make([]uint32, 0, s.Functions)
		for i := r.numImports; i < len(r.Funcs); i++ {
			all = append(all, uint32(i))
		}
		r.writeFuncs(b, all)
	}
	return b.Flush()
}

// writeFuncs writes one line for each function.
func (r *Report) writeFuncs(b *bufio.Writer, funcs []uint32) {
	fmt.Fprintf(b, "%8s  %5s  %8s  %8s  %s\n", "index", "loops", "weight", "with all", "name, and what it may reach")
	for _, i := range funcs {
		f := &r.Funcs[i]
		fmt.Fprintf(b, "%8d  %5s  %8s  %8s  %s", f.Index, f.loopText(), short(f.Weight), short(f.TransWeight), printable(f.Label()))
		switch {
		case f.Why != "":
			fmt.Fprintf(b, "  [%s]", printable(f.Why))
		case f.Imports.Len() > 0:
			fmt.Fprintf(b, "  -> %s", r.importText(f.Imports))
		}
		fmt.Fprintln(b)
	}
}

// loopText is the nesting depth of the loops, and r for recursion.
func (f *Func) loopText() string {
	s := fmt.Sprint(f.Loops.Depth)
	if f.Recursive {
		s += "r"
	}
	return s
}

// importText names imports without the module that most programs import all from.
func (r *Report) importText(set ImportSet) string {
	const most = 8
	if set.Len() == r.numImports && set.Len() > most {
		return "any import"
	}
	var names []string
	for i := range set.All() {
		if len(names) == most {
			names = append(names, fmt.Sprintf("and %d more", set.Len()-most))
			break
		}
		names = append(names, printable(strings.TrimPrefix(r.Funcs[i].Name, wasiPreview1+".")))
	}
	return strings.Join(names, " ")
}

// short writes a number in at most five characters.
func short(n uint64) string {
	const units = " kMGTP"
	u, x := 0, float64(n)
	for x >= 999.5 && u < len(units)-1 {
		x /= 1000
		u++
	}
	if u == 0 {
		return fmt.Sprint(n)
	}
	if x < 9.95 {
		return fmt.Sprintf("%.1f%c", x, units[u])
	}
	return fmt.Sprintf("%.0f%c", x, units[u])
}

// printable replaces what a terminal might obey: names come from the module.
func printable(s string) string {
	const most = 200
	n := 0
	s = strings.Map(func(c rune) rune {
		if n++; n > most {
			return -1
		}
		if c < ' ' || c >= 0x7f && c < 0xa0 || c == 0x2028 || c == 0x2029 || c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069 {
			return '?'
		}
		return c
	}, s)
	if n > most {
		s += "..."
	}
	return s
}
