package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/bench/programs"
	"github.com/clonecloud/clonecloud/internal/engine/engines"
)

// What is asked of the engine of clones.
const (
	mostOverNative = 1.25 // of the mean of the programs in C over gcc -O2
	mostOverWazero = 1.05 // of any program
)

// each lists the sides of engines of these kinds.
func each(kinds []string) []who {
	var list []who
	for _, k := range kinds {
		for v := range variants {
			list = append(list, who{k, v})
		}
	}
	return list
}

// tables are those for the programs: with full inputs, and with small ones.
func (w *workshop) tables() (full, small *measure.Table) {
	columns := []string{"program", "language", "native ms", "clang -O2"}
	for _, s := range each(w.compiled) {
		columns = append(columns, s.String())
	}
	full = newTable("speed", "the processor's time over native code's, computing alone", append(columns, "spread")...)
	full.Note("native: gcc -O2, for Rust rustc -O, for Go go build. %d rounds. spread: the greatest of the ratios' 90th percentiles over their 10th.", w.o.rounds)
	columns = []string{"program", "language", "native ms"}
	for _, s := range each(w.interpreted) {
		columns = append(columns, s.String())
	}
	small = newTable("speed-interpreter", "the same with smaller inputs", append(columns, "spread")...)
	return full, small
}

// add adds a program's rows.
func (w *workshop) add(full, small *measure.Table, f *figures) {
	if len(w.compiled) > 0 {
		full.Add(f.row(f.base, append([]who{{clang, plain}}, each(w.compiled)...))...)
	}
	if len(w.interpreted) > 0 {
		small.Add(f.row(f.small, each(w.interpreted))...)
	}
}

// row is a program's name, native milliseconds, ratios of sides, and their spread.
func (f *figures) row(base []float64, sides []who) []any {
	row := []any{f.prog.Name, string(f.prog.Lang), 1e3 * measure.Median(base)}
	spread := 1.0
	for _, s := range sides {
		r := f.over[s]
		if len(r) == 0 {
			row = append(row, "")
			continue
		}
		row = append(row, measure.Median(r))
		spread = max(spread, measure.Quantile(r, 0.9)/measure.Quantile(r, 0.1))
	}
	return append(row, spread)
}

// group is a set of programs.
type group struct {
	name string
	has  func(p *programs.Portable) bool
}

var inC = group{"C", func(p *programs.Portable) bool { return p.Lang == programs.C }}

var groups = []group{
	{"C without vectors", func(p *programs.Portable) bool { return p.Lang == programs.C && !p.SIMD }},
	{"C with vectors", func(p *programs.Portable) bool { return p.Lang == programs.C && p.SIMD }},
	inC,
	{"Rust", func(p *programs.Portable) bool { return p.Lang == programs.Rust }},
	{"Go", func(p *programs.Portable) bool { return p.Lang == programs.Go }},
	{"all", func(*programs.Portable) bool { return true }},
}

// mean is the geometric mean of a side over the programs of a group that it was measured with; NaN if there are none.
func (g group) mean(all []figures, s who) float64 {
	var medians []float64
	for i := range all {
		if r := all[i].over[s]; len(r) > 0 && g.has(&all[i].prog) {
			medians = append(medians, measure.Median(r))
		}
	}
	return measure.Mean(medians)
}

// size is how many programs are in the group.
func (g group) size(all []figures) (n int) {
	for i := range all {
		if g.has(&all[i].prog) {
			n++
		}
	}
	return n
}

// means is a table of the groups' geometric means.
func means(all []figures, compiled, interpreted []string) *measure.Table {
	sides := slices.Concat([]who{{clang, plain}}, each(compiled), each(interpreted))
	columns := []string{"programs", "count"}
	for _, s := range sides {
		columns = append(columns, s.String())
	}
	t := newTable("speed-mean", "geometric means of the programs' medians", columns...)
	for _, g := range groups {
		n := g.size(all)
		if n == 0 {
			continue
		}
		row := []any{g.name, n}
		for _, s := range sides {
			if m := g.mean(all, s); math.IsNaN(m) {
				row = append(row, "")
			} else {
				row = append(row, m)
			}
		}
		t.Add(row...)
	}
	return t
}

// targets is a table of what is asked of the engine of clones, and what was found.
func targets(all []figures) *measure.Table {
	t := newTable("speed-target", "what is asked of a clone's engine", "what", "engine", "code", "found", "at most", "held")
	for _, kind := range []string{engines.Wasmtime, engines.Compiler} {
		for _, v := range []variant{cloned, canonical} {
			if m := inC.mean(all, who{kind, v}); !math.IsNaN(m) {
				t.Add("geometric mean of the programs in C over gcc -O2", kind, v.String(), m, mostOverNative, m <= mostOverNative)
			}
		}
	}
	for _, v := range []variant{cloned, canonical} {
		worst, missed := rivals(all, v)
		if worst.Mid == 0 {
			continue
		}
		t.Add("slowest program over wazero's compiler", engines.Wasmtime, v.String(), worst.Mid, mostOverWazero, len(missed) == 0)
		if len(missed) > 0 {
			t.Note("slower than wazero by more than 5 %% (%v; median with 95 %% bounds): %s.", v, strings.Join(missed, ", "))
		}
	}
	return t
}

// rivals compares wasmtime with wazero's compiler, pair by pair: the worst program, and those that are slower than is
// allowed. A zero bound: they were not both measured.
func rivals(all []figures, v variant) (worst measure.Bound, missed []string) {
	for i := range all {
		f := &all[i]
		r := measure.Ratios(f.over[who{engines.Compiler, v}], f.over[who{engines.Wasmtime, v}])
		if len(r) == 0 {
			continue
		}
		b := measure.Bootstrap(r)
		if b.Mid > worst.Mid {
			worst = b
		}
		if b.Mid > mostOverWazero {
			missed = append(missed, fmt.Sprintf("%s %.2f (%.2f to %.2f)", f.prog.Name, b.Mid, b.Low, b.High))
		}
	}
	return worst, missed
}
