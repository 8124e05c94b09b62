package analysis

import (
	"cmp"
	"fmt"
	"slices"
)

// choose marks the candidates.
//
// Functions that the host calls come first: a call of one is the whole of a run, or all that an
// embedder asks for. Behind them stand inner functions by their guessed share of the program's time, so that the
// hot path is covered at every level where calls are heavy enough to carry a trip: functions with nested loops,
// loops that call, or recursion. Of functions that call each other only those are taken that are
// called from outside, and of a chain of functions that hand on one call only the last.
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
		case f.Exported && !(p.fine(f, w) && w.called[i]):
			outer = append(outer, f.Index)
		case !p.fine(f, w) && w.entry[i] && !p.handsOn(r, f, w) && !(p.goMade && p.goRuntime[i]):
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
	slices.SortFunc(inner, byShare)
	if len(only) == 0 && !p.opt.All {
		limit := cmp.Or(max(p.opt.MaxCandidates, 0), DefaultMaxCandidates)
		outer = outer[:min(len(outer), max(limit/2, limit-len(inner)))]
		inner = inner[:min(len(inner), limit-len(outer))]
	}
	r.Candidates = slices.Concat(outer, inner)
	for _, f := range r.Candidates {
		r.Funcs[f].Candidate = true
	}
	return nil
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
