package analysis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// choose marks the candidates.
//
// Functions that the host calls come first: a call of one is the whole of a run, or all that an embedder asks
// for. Behind them stand inner functions whose calls are heavy enough to carry a trip: those with nested loops,
// with loops that call, or with recursion. Of functions that call each other only those are taken that are
// called from outside, and of a chain of functions that hand on one call only the last. Where there are too
// many, two orders take turns: by what is executed in the function and in callees too fine to be chosen,
// which finds where the time goes, and by all that is executed in its calls, which finds what holds much of it.
func (p *program) choose(r *Report, w *weights) error {
	only, err := p.findAll(p.opt.Only)
	if err != nil {
		return fmt.Errorf("only: %w", err)
	}
	exclude, err := p.findAll(p.opt.Exclude)
	if err != nil {
		return fmt.Errorf("exclude: %w", err)
	}
	var outer, inner []uint32
	for i := range r.Funcs {
		f := &r.Funcs[i]
		switch {
		case !f.May || exclude[f.Index] || p.once(f.Index):
		case len(only) > 0:
			if only[f.Index] {
				outer = append(outer, f.Index)
			}
		case p.opt.All:
			outer = append(outer, f.Index)
		case allocators[f.Name] || strings.HasPrefix(f.Name, "runtime."):
		case f.Exported && !(p.fine(f, w) && w.called[i]):
			outer = append(outer, f.Index)
		case !p.fine(f, w) && w.entry[i] && !p.bodies[i].traps && !p.handsOn(r, f, w) && !(p.goMade && p.goRuntime[i]):
			inner = append(inner, f.Index)
		}
	}
	byShare := func(a, b uint32) int {
		return cmp.Or(cmp.Compare(w.share[b], w.share[a]), cmp.Compare(w.trans[b], w.trans[a]), cmp.Compare(a, b))
	}
	slices.SortFunc(outer, func(a, b uint32) int {
		if whole := p.start; int64(a) == whole || int64(b) == whole {
			return cmp.Compare(btoi(int64(b) == whole), btoi(int64(a) == whole))
		}
		return byShare(a, b)
	})
	switch {
	case len(only) > 0:
	case p.opt.All:
		if n := p.opt.MaxCandidates; n > 0 {
			outer = outer[:min(len(outer), n)]
		}
	default:
		limit := cmp.Or(max(p.opt.MaxCandidates, 0), DefaultMaxCandidates)
		outer = outer[:min(len(outer), max((limit+1)/2, limit-len(inner)))]
		work := p.work(r, w)
		byWork := func(a, b uint32) int { return cmp.Or(cmp.Compare(work[b], work[a]), cmp.Compare(a, b)) }
		inner = takeTurns(inner, limit-len(outer), byWork, byShare)
	}
	r.Candidates = slices.Concat(outer, inner)
	for _, f := range r.Candidates {
		r.Funcs[f].Candidate = true
	}
	return nil
}

// allocators are exported by many modules, for a host that hands in data. Calls of them are short, whatever
// their code looks like, as are those of a runtime by its name, which several compilers give to theirs.
var allocators = map[string]bool{
	"malloc": true, "calloc": true, "realloc": true, "free": true, "aligned_alloc": true, "posix_memalign": true,
	"cabi_realloc": true,
}

// takeTurns picks n of the functions by two orders in turn.
func takeTurns(from []uint32, n int, orders ...func(a, b uint32) int) []uint32 {
	n = min(n, len(from))
	picked := make([]uint32, 0, n)
	seen := make(map[uint32]bool, n)
	var lists [][]uint32
	for _, order := range orders {
		lists = append(lists, slices.SortedFunc(slices.Values(from), order))
	}
	for i := 0; len(picked) < n; i++ {
		list := &lists[i%len(lists)]
		for seen[(*list)[0]] {
			*list = (*list)[1:]
		}
		seen[(*list)[0]] = true
		picked = append(picked, (*list)[0])
	}
	return picked
}

// work guesses, by function, the instructions of a run that are executed in its calls and in no other
// function that could be chosen.
func (p *program) work(r *Report, w *weights) []float64 {
	work := make([]float64, p.numFuncs)
	for i := p.numImports; i < p.numFuncs; i++ {
		f := &r.Funcs[i]
		sum := p.bodies[i].weight
		for _, c := range p.callsOf(f.Index) {
			if int(c.to) < p.numFuncs && p.isDirect(f.Index, c) && r.Funcs[c.to].SCC != f.SCC && p.fine(&r.Funcs[c.to], w) {
				sum += float64(c.freq) * min(w.trans[c.to], DefaultMinWeight)
			}
		}
		if f.Recursive {
			sum *= recursionFor
		}
		work[i] = sum * w.freq[i]
	}
	return work
}

// once reports whether f runs only while the process is made ready, which the device does alone.
func (p *program) once(f uint32) bool {
	return int64(f) == p.initialize || p.m.Start != nil && *p.m.Start == f
}

// fine reports whether a call of f is too short to be worth watching.
func (p *program) fine(f *Func, w *weights) bool {
	if f.TransWeight < cmp.Or(p.opt.MinWeight, DefaultMinWeight) || !w.loops[f.Index] {
		return true
	}
	return len(p.callsOf(f.Index)) == 0 && f.Loops.Depth <= 1 // strlen, memcpy and the like
}

// handsOn reports whether f does little but call one function that can stand for it.
func (p *program) handsOn(r *Report, f *Func, w *weights) bool {
	if !w.passes[f.Index] {
		return false
	}
	for _, c := range f.Calls {
		g := &r.Funcs[c]
		if g.May && !p.fine(g, w) && w.trans[c] >= 0.5*w.trans[f.Index] {
			return true
		}
	}
	return false
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
